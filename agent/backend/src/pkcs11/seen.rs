//! What was last seen of a token: the answer to everybody who must not wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use tuf::key::PublicKey;

use super::place::Place;
use super::profile::{Kept, mark_of};
use super::trouble::Trouble;
use crate::attestation::Firmware;
use crate::doctor::Hints;
use crate::host::confine::Confinement;
use crate::host::protocol::{HostError, HostErrorKind, TokenStatus, Wanted};
use crate::{BackendError, StoredKey, TokenInfo, TokenState};

/// What was last seen of the token.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// `None`: nothing yet.
    pub(crate) state: Option<TokenState>,
    pub(crate) status: TokenStatus,
    pub(crate) pid: Option<u32>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) keys: Vec<StoredKey>,
    /// Those of them that were shown by a locked token only: they may have no private half there.
    public_only: Vec<PublicKey>,
    /// Counts how often the token came back, or another program was seen to have reset it.
    arrivals: u64,
    /// The one since which `keys` were read.
    keys_since: Option<u64>,
    /// Keys that it has shown and shows no more, though nobody removed them here.
    pub(crate) missing: Vec<PublicKey>,
    /// What is wrong with its objects, and what of that is in the log.
    pub(crate) odd: Option<String>,
    pub(crate) odd_logged: Option<String>,
    /// Which of its keys cannot be used.
    pub(crate) unfit: Option<String>,
    /// Counts calls of `lock`.
    pub(crate) locks: u64,
    /// Counts helpers that ended while the token was unlocked: their logins ended with them.
    pub(crate) logins_lost: u64,
    /// What the last of them did, until somebody unlocks or locks.
    pub(crate) lost_login: Option<String>,
    /// Why it has not accepted its PIN, by its own word, where another PIN alone does not help.
    pub(crate) pin_trouble: Option<String>,
    /// What its helper keeps the module to.
    pub(crate) confinement: Confinement,
    /// The module that was loaded last.
    pub(crate) loaded: Option<Arc<Loaded>>,
    /// What was measured of the module that is loaded.
    pub(crate) measured: Measured,
    /// Keys after whose failures the module was last started anew.
    pub(crate) unwell: Vec<String>,
    /// Slots of the module in which helpers have hung: the next ones ask them last.
    pub(crate) slow_slots: Vec<u64>,
    /// The helper's module is of no use before it is started anew.
    pub(crate) worn: bool,
    /// Whether keys take the PIN for each signature, as far as that was asked since the token was unlocked.
    pub(crate) each_use: BTreeMap<PublicKey, bool>,
}

/// A module that a helper has loaded, and what it is kept to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Where its file lies.
    pub path: String,
    /// Of the file.
    pub sha256: String,
    /// Its name for itself.
    pub library: String,
    /// The helper confined itself before it loaded the module.
    pub confined: bool,
    /// What it is not kept from, and why.
    pub gap: Option<String>,
}

/// What is known of a module by `token doctor`.
#[derive(Clone, Debug, Default)]
pub(crate) enum Measured {
    /// No module was loaded yet.
    #[default]
    Unknown,
    /// Nothing.
    Never,
    /// The file that lay there before, and not this one.
    Before,
    /// These of its tokens.
    Now(Arc<Vec<Kept>>),
}

impl Seen {
    /// What was measured; without that, what is safe everywhere.
    ///
    /// # Errors
    /// [`BackendError::Failed`] when something was measured and cannot be read: it is not passed over.
    pub(crate) fn hints(&self) -> Result<Arc<Hints>, BackendError> {
        match self.kept().map(|kept| &kept.hints) {
            Some(Ok(hints)) => Ok(Arc::clone(hints)),
            Some(Err(trouble)) => Err(trouble.clone().into()),
            None => Ok(Arc::default()),
        }
    }

    /// What is kept of this very token; what was measured of another one says nothing of it.
    fn kept(&self) -> Option<&Kept> {
        let Measured::Now(all) = &self.measured else { return None };
        let TokenStatus { manufacturer, model, serial, label, .. } = &self.status;
        let mark = mark_of(manufacturer, model, serial, label);
        let mut of_this = all.iter().filter(|kept| self.is_known() && kept.is_of(&mark));
        // A newer one goes before what an earlier version kept.
        let first = of_this.next()?;
        if first.is_old() { of_this.next().or(Some(first)) } else { Some(first) }
    }

    /// The token answered. `overtaken`: somebody locked it meanwhile.
    pub(crate) fn answered(&mut self, status: TokenStatus, overtaken: bool) {
        if !self.is_there() || status.arrivals != self.status.arrivals {
            self.arrivals = self.arrivals.wrapping_add(1);
        }
        if self.is_known() && !self.status.is_same_token(&status) {
            self.forget_keys();
        }
        self.state = Some(match (status.blocked, status.logged_in && !overtaken) {
            (_, true) => TokenState::Unlocked,
            (true, false) => TokenState::Blocked,
            (false, false) => TokenState::Locked,
        });
        if self.state == Some(TokenState::Unlocked) {
            self.lost_login = None;
        }
        if self.state == Some(TokenState::Unlocked) || status.serial != self.status.serial {
            self.pin_trouble = None;
        }
        self.trouble = None;
        self.status = status;
    }

    /// The helper answered that something could not be done; some of it is about the token.
    pub(crate) fn refused(&mut self, error: &HostError) {
        let message = &error.message;
        let is_of_pin = matches!(
            error.kind,
            HostErrorKind::PinIncorrect
                | HostErrorKind::PinIncorrectFinalTry
                | HostErrorKind::PinChanged
                | HostErrorKind::PinUnclear
        );
        if let Some(left) = error.tries_left.filter(|_| is_of_pin) {
            self.status.tries_left = Some(left);
            self.status.final_try = left == 1;
        }
        if is_of_pin {
            self.pin_trouble = error.remedy.as_ref().map(|_| message.clone());
        }
        if let Some(key) = &error.unwell {
            self.unwell.retain(|known| known != key);
            if self.unwell.len() >= MOST_UNWELL {
                self.unwell.remove(0);
            }
            self.unwell.push(key.clone());
        }
        match error.kind {
            HostErrorKind::Absent => {
                self.state = Some(TokenState::Absent);
                self.trouble = Some(Trouble::Absent(message.clone()));
            }
            // A wrong PIN ends a login that stood.
            HostErrorKind::PinIncorrect
            | HostErrorKind::PinIncorrectFinalTry
            | HostErrorKind::PinUnclear
            | HostErrorKind::PinUnasked
            | HostErrorKind::PinWorn
                if self.state == Some(TokenState::Unlocked) =>
            {
                self.state = Some(TokenState::Locked);
            }
            HostErrorKind::NotLoggedIn | HostErrorKind::PinChanged | HostErrorKind::Worn => {
                self.state = Some(TokenState::Locked)
            }
            HostErrorKind::PinLocked | HostErrorKind::BothLocked => {
                self.state = Some(TokenState::Blocked);
                self.status.blocked = true;
                self.status.puk_blocked = error.kind == HostErrorKind::BothLocked;
            }
            HostErrorKind::Held => {
                let (why, remedy) = (message.clone(), error.remedy.clone().unwrap_or_default());
                self.state = Some(TokenState::Failed);
                self.trouble = Some(Trouble::InUse { why, remedy });
            }
            HostErrorKind::Reader => {
                let usual = || "check the token's entry in the configuration".to_owned();
                self.unusable(message.clone(), error.remedy.clone().unwrap_or_else(usual));
            }
            _ => {}
        }
    }

    /// The helper works, and what it sees of the devices is no token that could be used.
    pub(crate) fn unusable(&mut self, why: String, remedy: String) {
        let pid = self.pid;
        self.failed(&Trouble::Device { why, remedy });
        self.pid = pid;
    }

    /// The token shows these keys; `all`: it was unlocked, and their private halves lie there. Whether others are missing:
    /// of what a locked token shows some may have no private half, and such a one does not come back.
    pub(crate) fn shown(&mut self, keys: Vec<StoredKey>, all: bool) -> bool {
        let before: Vec<_> =
            std::mem::replace(&mut self.keys, keys).into_iter().map(|key| key.public).collect();
        let public_only = std::mem::take(&mut self.public_only);
        self.keys_since = Some(self.arrivals);
        if !all {
            let is_new = |key: &PublicKey| public_only.contains(key) || !before.contains(key);
            self.public_only =
                self.keys.iter().map(|key| &key.public).filter(|key| is_new(key)).cloned().collect();
        }
        self.missing.extend(before.into_iter().filter(|key| !all || !public_only.contains(key)));
        self.missing.retain(|key| !self.keys.iter().any(|shown| shown.public == *key));
        // A card tells it with its keys, anew each time.
        self.each_use
            .retain(|key, _| !self.keys.iter().any(|shown| shown.public == *key && shown.place.is_some()));
        !self.missing.is_empty()
    }

    /// Whether it is there, as far as was seen, and can be asked.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self.state, Some(TokenState::Locked | TokenState::Unlocked | TokenState::Blocked))
    }

    /// Whether its keys were read since it came.
    pub(crate) fn knows_keys(&self) -> bool {
        self.keys_since().is_some()
    }

    /// Since when its keys are known.
    pub(crate) fn keys_since(&self) -> Option<u64> {
        self.keys_since.filter(|since| *since == self.arrivals)
    }

    /// Why a token is of no use whose PIN is blocked.
    pub(crate) fn blocked(&self) -> BackendError {
        if self.status.puk_blocked { BackendError::BothBlocked } else { BackendError::Blocked }
    }

    /// A helper has ended while it asked this slot.
    pub(crate) fn hung_in(&mut self, slot: u64) {
        self.slow_slots.retain(|known| *known != slot);
        if self.slow_slots.len() >= MOST_SLOW_SLOTS {
            self.slow_slots.remove(0);
        }
        self.slow_slots.push(slot);
    }

    /// A key was removed on purpose.
    pub(crate) fn removed(&mut self, key: &PublicKey) {
        self.keys.retain(|stored| stored.public != *key);
        self.missing.retain(|missing| missing != key);
    }

    /// They are of a token that was there before the one that is there now.
    fn forget_keys(&mut self) {
        self.keys.clear();
        self.public_only.clear();
        self.missing.clear();
        self.each_use.clear();
        self.keys_since = None;
        self.unfit = None;
    }

    /// There is no helper that works.
    pub(crate) fn failed(&mut self, trouble: &Trouble) {
        if self.state == Some(TokenState::Unlocked) {
            self.logins_lost = self.logins_lost.wrapping_add(1);
            self.lost_login = Some(trouble.to_string());
        }
        self.state = Some(trouble.state());
        self.trouble = Some(trouble.clone());
        self.pid = None;
    }

    /// Its device has said which it is.
    fn is_known(&self) -> bool {
        !(self.status.serial.is_empty() && self.status.label.is_empty())
    }

    /// All that is known of the token, for everybody.
    pub(crate) fn info(&self, place: &Place, wanted: &Wanted) -> TokenInfo {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let tries = match (self.status.blocked, self.status.final_try) {
            (true, _) => Some(0),
            (_, true) => Some(1),
            _ => self.status.tries_left,
        };
        let told = |trouble: &Trouble| match trouble {
            // What to do with a reader or its service stands in no configuration; what to do with several devices that fit
            // it says in what words.
            Trouble::Device { why, remedy } => format!("{why}: {remedy}"),
            Trouble::Failed { why, remedy } | Trouble::InUse { why, remedy } if place.is_card() => {
                format!("{why}: {remedy}")
            }
            // What helps is one command.
            Trouble::Untrusted { why, remedy } => {
                format!("{why}: {}", remedy.replace("NAME", place.name.as_str()))
            }
            trouble => trouble.to_string(),
        };
        // What made it lose its login is over.
        let lost = || self.lost_login.as_ref().map(|how| format!("its login was lost: {how}"));
        let of_pin = || self.pin_trouble.clone().filter(|_| self.state == Some(TokenState::Locked));
        let problem = self.trouble.as_ref().map(told).or_else(of_pin).or_else(lost);
        let kept = self.kept().map(|kept| &kept.hints);
        let damaged = kept.and_then(|hints| hints.as_ref().err()).map(ToString::to_string);
        let state = self.state.unwrap_or(TokenState::Absent);
        // Of a card that is gone nothing is told as if it were there: a PIN could be asked for it.
        let there = state != TokenState::Absent;
        TokenInfo {
            name: place.name.clone(),
            kind: place.kind(),
            state,
            serial: text(&self.status.serial).filter(|_| there).or_else(|| wanted.serial.clone()),
            label: text(&self.status.label).filter(|_| there).or_else(|| wanted.label.clone()),
            pin_tries_left: tries.filter(|_| self.trouble.is_none()),
            helper_pid: self.pid,
            confined: Some(self.confinement.confined),
            unconfined: self.confinement.gap.clone(),
            measured: match (&self.measured, kept) {
                (Measured::Unknown, _) => None,
                (Measured::Never, _) => Some("never"),
                (Measured::Before, _) => Some("outdated"),
                (Measured::Now(_), Some(Ok(_))) => Some("yes"),
                (Measured::Now(_), Some(Err(_))) => Some("damaged"),
                (Measured::Now(_), None) => Some("module"),
            },
            problem: problem.or(damaged),
            in_use: matches!(self.trouble, Some(Trouble::InUse { .. })),
            puk_blocked: self.status.blocked && self.status.puk_blocked && self.trouble.is_none(),
            warnings: self
                .status
                .firmware
                .as_deref()
                .filter(|_| there)
                .and_then(advisory)
                .into_iter()
                .chain(self.odd.clone().filter(|_| there))
                .chain(self.unfit.clone().filter(|_| there))
                .collect(),
            fresh: false,
        }
    }
}

const MOST_UNWELL: usize = 64;
const MOST_SLOW_SLOTS: usize = 64;

fn advisory(firmware: &str) -> Option<String> {
    Firmware::parse(firmware)?.advisory()
}
