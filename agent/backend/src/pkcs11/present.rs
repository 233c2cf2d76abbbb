//! A PIN on its way to the token, and what came of it (FAULTS C1, C2, C5).
//!
//! Whoever counts attempts has to know whether the token was asked, also when nothing else is known.

use std::time::Instant;

use secmem::SecretBytes;
use tuf::key::PublicKey;

use super::{Pkcs11Token, nonsense};
use crate::card::PinPolicy;
use crate::host::protocol::{Reply, Request, TokenStatus, Wanted, has_no_serial};
use crate::{BackendError, TokenState};

/// The token that is there now, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Its serial number; empty when it has none.
    pub serial: String,
    /// Its label.
    pub label: String,
    /// Its model; empty for a YubiKey.
    pub model: String,
    /// Who made it; empty for a YubiKey.
    pub manufacturer: String,
    /// Tries are gone; some modules say so for ever after the first wrong PIN.
    pub count_low: bool,
    /// One try is left.
    pub final_try: bool,
    /// No try is left.
    pub blocked: bool,
    /// By its own words nobody needs to log in (CKF_LOGIN_REQUIRED is not set).
    pub open: bool,
    /// Nor is one of its PUK.
    pub puk_blocked: bool,
    /// Tries that are left, where the card tells.
    pub tries_left: Option<u32>,
    /// Of a YubiKey, how many are gone since it accepted its PIN.
    pub tries_gone: Option<u32>,
}

impl Card {
    /// By what it is told from others, for the PIN that is for it alone.
    #[must_use]
    pub fn meant(&self) -> Wanted {
        Wanted::only([&self.serial, &self.label, &self.manufacturer, &self.model])
    }

    /// It has said what it is called.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !(self.serial.is_empty() && self.label.is_empty())
    }

    /// It has no serial number, or the zeros that some modules give to every token.
    #[must_use]
    pub fn has_no_serial(&self) -> bool {
        has_no_serial(&self.serial)
    }

    pub(super) fn of(status: TokenStatus) -> Self {
        let TokenStatus { serial, label, model, manufacturer, count_low, final_try, blocked, open, .. } =
            status;
        let TokenStatus { puk_blocked, tries_left, tries_gone, .. } = status;
        Self {
            serial,
            label,
            model,
            manufacturer,
            count_low,
            final_try,
            blocked,
            open,
            puk_blocked,
            tries_left,
            tries_gone,
        }
    }
}

/// How a PIN is presented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// Also when the token says that it is the final try (`--last-try`).
    pub last_try: bool,
    /// The token that the PIN is for: another one is not asked. Of what is not given it is whichever is there.
    pub meant: Wanted,
}

/// Whether the token was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It certainly was not.
    Nothing,
    /// It was, or may have been, and has not accepted the PIN.
    Perhaps,
    /// It has accepted the PIN.
    Accepted,
}

/// What came of presenting a PIN.
#[derive(Debug)]
pub struct Presented {
    /// What it may have cost.
    pub spent: Spent,
    /// Whether the token did what was wanted.
    pub result: Result<(), BackendError>,
}

impl Pkcs11Token {
    /// Looks which token is there, now.
    ///
    /// # Errors
    /// When none is, or it does not answer.
    pub fn card(&self) -> Result<Card, BackendError> {
        let shared = &self.shared;
        let mut link = shared.link();
        shared.ready(&mut link)?;
        shared.ask_how_it_is(&mut link, &Request::Look)?;
        if shared.with_seen(|seen| seen.status.worn) && link.renewal_in(Instant::now()).is_zero() {
            // It would be a try for nothing.
            shared.renew(&mut link)?;
        }
        let seen = shared.seen();
        match (seen.state, seen.trouble) {
            (Some(TokenState::Absent | TokenState::Failed), Some(trouble)) => Err(trouble.into()),
            _ => Ok(Card::of(seen.status)),
        }
    }

    /// The token as it was last seen; empty words when it was not.
    pub fn last_seen(&self) -> Card {
        Card::of(self.shared.with_seen(|seen| seen.status.clone()))
    }

    /// What [`Self::takes_pin_each_time`] gave since the token was unlocked.
    pub fn pin_each_time_known(&self, key: &PublicKey) -> Option<bool> {
        self.shared.with_seen(|seen| seen.each_use.get(key).copied())
    }

    /// Whether `key` takes the PIN for each signature (FAULTS C7), so that somebody can be asked for it in time.
    ///
    /// # Errors
    /// As [`Backend::sign`](crate::Backend::sign).
    pub fn takes_pin_each_time(&self, key: &PublicKey) -> Result<bool, BackendError> {
        let shared = &self.shared;
        // A YubiKey has said so with its keys.
        let known = shared.with_seen(|seen| {
            let stored = seen.keys.iter().find(|stored| stored.public == *key)?;
            stored.place.map(|place| place.pin == PinPolicy::Always)
        });
        if let Some(pin) = known {
            shared.note(|seen| seen.each_use.insert(key.clone(), pin));
            return Ok(pin);
        }
        self.need_unlocked()?;
        let request = Request::EachUse { public: hex::encode(key.spki_der()) };
        let (reply, _) = self.call_unlocked("looking at a key", &request, &[], shared.config.deadline)?;
        let Reply::EachUse { pin } = reply else { return Err(nonsense()) };
        shared.note(|seen| seen.each_use.insert(key.clone(), pin));
        Ok(pin)
    }

    /// One C_Login with this PIN, or none.
    pub fn present(&self, pin: &SecretBytes, asking: &Asking) -> Presented {
        let request = Request::Login { last_try: asking.last_try, meant: asking.meant.clone() };
        self.unlock_by(&request, &[pin.reveal_secret_bytes()])
    }

    /// Uses a token that wants no PIN; no C_Login. None: whichever serial number is there.
    ///
    /// # Errors
    /// [`BackendError::Failed`] for a token that wants one.
    pub fn enter(&self, serial: Option<String>) -> Result<(), BackendError> {
        self.unlock_by(&Request::Enter { serial }, &[]).result
    }

    fn unlock_by(&self, request: &Request, tail: &[&[u8]]) -> Presented {
        let shared = &self.shared;
        let locks = || shared.with_seen(|seen| seen.locks);
        let began = locks();
        let mut link = shared.link();
        // What it waited for, and a helper that starts, may have taken long.
        if let Err(error) = shared.ready(&mut link) {
            return Presented::failed(error);
        }
        shared.finish_lock(&mut link);
        if locks() != began {
            return Presented::failed(BackendError::LockedMeanwhile);
        }
        let status = match shared.call(&mut link, "unlocking", request, tail, shared.config.deadline) {
            Ok((Reply::Status(status), _)) => status,
            Ok(_) => return Presented { spent: Spent::Perhaps, result: Err(nonsense()) },
            Err(error) => return Presented::failed(error),
        };
        // A token that wants no PIN has not looked at it.
        let spent = if status.proven { Spent::Accepted } else { Spent::Nothing };
        shared.note_status(status, &link);
        // A `lock` that came meanwhile wins.
        shared.finish_lock(&mut link);
        let result = match shared.seen().state {
            Some(TokenState::Unlocked) => Ok(()),
            _ if locks() != began => Err(BackendError::LockedMeanwhile),
            _ => Err(BackendError::Locked),
        };
        Presented { spent, result }
    }

    /// One C_SetPIN, or none.
    pub fn present_change(&self, old: &SecretBytes, new: &SecretBytes, asking: &Asking) -> Presented {
        let shared = &self.shared;
        let (old, new) = (old.reveal_secret_bytes(), new.reveal_secret_bytes());
        let Asking { last_try, meant } = asking.clone();
        let request = Request::ChangePin { old_len: old.len(), last_try, meant };
        let mut link = shared.link();
        match shared.call(&mut link, "changing the PIN", &request, &[old, new], shared.config.deadline) {
            Ok(_) => {
                drop(link);
                shared.note(|seen| seen.pin_trouble = None);
                if self.is_card() {
                    // The new PIN has all its tries.
                    self.note_what_was_seen();
                }
                Presented { spent: Spent::Accepted, result: Ok(()) }
            }
            Err(BackendError::AttemptUnknown { why, remedy }) => {
                let why = format!("{why}; the new PIN may be in force already");
                Presented::failed(BackendError::AttemptUnknown { why, remedy })
            }
            Err(error) => Presented::failed(error),
        }
    }
}

impl Presented {
    fn failed(error: BackendError) -> Self {
        Self { spent: Spent::by(&error), result: Err(error) }
    }
}

impl Spent {
    /// What an attempt that ended so may have cost.
    #[must_use]
    pub const fn by(error: &BackendError) -> Self {
        match error {
            BackendError::SecretIncorrect { .. }
            | BackendError::SecretChanged { .. }
            | BackendError::AttemptUnknown { .. }
            | BackendError::Blocked
            | BackendError::BothBlocked => Self::Perhaps,
            _ => Self::Nothing,
        }
    }
}
