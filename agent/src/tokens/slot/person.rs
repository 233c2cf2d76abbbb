//! What the agent itself asks a person, through pinentry: the PIN that a request needs, and yes to a signature.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use backend::{BackendError, TokenState};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::Value;
use tuf::key::PublicKey;

use super::since::Since;
use super::unlock::{Attempt, Shown};
use super::{Slot, lock};
use crate::config::PinSource;
use crate::door::Connection;
use crate::refusal::{Refusal, plain};
use crate::tokens::pinentry::{self, Dialogue, NoAnswer, Unwanted};

/// What a PIN or a yes is wanted for, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Purpose {
    /// Lines for the person: what is done, with which key, and the digest.
    pub text: String,
    /// The caller's terminal.
    pub terminal: Option<std::path::PathBuf>,
    /// The caller's user.
    pub user: u32,
    /// What the journal keeps of the caller.
    pub caller: Value,
}

impl Purpose {
    /// What this caller wants it for.
    pub(crate) fn of(connection: &Connection, text: String) -> Self {
        let peer = connection.peer();
        Self { text, terminal: peer.terminal(), user: peer.uid, caller: peer.journal_json() }
    }
}

/// A PIN that a person typed for one signature: one attempt, at the card that the person was shown.
#[derive(Debug)]
pub struct Typed {
    /// The PIN.
    pub secret: SecretBytes,
    /// How it is presented, and for whom.
    pub attempt: Attempt,
}

impl Slot {
    /// Whether it can be used, or will be once a person was asked by pinentry.
    ///
    /// # Errors
    /// As [`Slot::ensure_usable`].
    pub async fn may_become_usable(self: &Arc<Self>) -> Result<(), Refusal> {
        self.first_look().await;
        if self.asks_a_person().is_none() {
            return self.ensure_usable().await;
        }
        self.is_no_stranger().await
    }

    /// Nobody is asked for the PIN of a card that has come in the place of another one, to use a key of that one.
    ///
    /// # Errors
    /// `TOKEN_SWAPPED`; `STATE_IO`.
    pub async fn is_no_stranger(&self) -> Result<(), Refusal> {
        self.recall_bound().await?;
        match self.stranger() {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// As [`Slot::ensure_usable`]; a person is asked by pinentry where the token is configured so.
    ///
    /// # Errors
    /// As [`Slot::ensure_usable`]; `PIN_REQUIRED` without a PIN, with `details.cancelled` where the person said no.
    pub async fn ensure_usable_for(self: &Arc<Self>, purpose: &Purpose) -> Result<(), Refusal> {
        let since = self.now();
        self.first_look().await;
        if self.asks_a_person().is_none() {
            return self.ensure_usable().await;
        }
        // Of many that want it, one asks; the others find it unlocked, or ask again.
        let _alone = self.asking.lock().await;
        let Some(program) = self.asks_a_person() else { return self.ensure_usable().await };
        self.is_no_stranger().await?;
        self.unlock_by_pinentry(&program, purpose, since, None, None).await
    }

    /// The program that asks for its PIN, while it is locked and nobody said `lock`.
    fn asks_a_person(&self) -> Option<std::path::PathBuf> {
        let PinSource::Pinentry(program) = &self.config.pin else { return None };
        let waits = self.state() == TokenState::Locked && !lock(&self.lease).held;
        waits.then(|| program.clone())
    }

    /// One entry, one attempt, at the card that the person was shown (FAULTS C1, C5).
    pub(super) async fn unlock_by_pinentry(
        self: &Arc<Self>,
        program: &Path,
        purpose: &Purpose,
        since: Since,
        last_try: Option<Shown>,
        meant: Option<String>,
    ) -> Result<(), Refusal> {
        let asked = self.ask_pinentry(program, purpose, since, (meant, last_try.is_some())).await?;
        let Typed { secret, attempt } = asked;
        self.unlock(secret, Attempt { last_try, ..attempt }).await
    }

    /// Whether this key takes the PIN for each signature and a person gives it; asked of the token, which is unlocked.
    ///
    /// # Errors
    /// What the token gives.
    pub async fn asks_for_each_signature(&self, key: &PublicKey) -> Result<bool, Refusal> {
        let Some(token) = self.pkcs11.clone().filter(|_| !self.config.pin.is_unattended()) else {
            return Ok(false);
        };
        let key = key.clone();
        match token.pin_each_time_known(&key) {
            Some(known) => Ok(known),
            None => self.run_in(&self.queue, move |_| token.takes_pin_each_time(&key)).await,
        }
    }

    /// The PIN for one signature, where pinentry asks for it. None: the client does.
    ///
    /// # Errors
    /// As [`Slot::ensure_usable_for`].
    pub async fn ask_for_signature(&self, purpose: &Purpose) -> Result<Option<Typed>, Refusal> {
        let PinSource::Pinentry(program) = &self.config.pin else { return Ok(None) };
        let since = self.now();
        let _alone = self.asking.lock().await;
        let text = format!("for one signature, as this key wants it for each\n{}", purpose.text);
        self.ask_pinentry(program, &Purpose { text, ..purpose.clone() }, since, (None, false)).await.map(Some)
    }

    /// Before a person is asked for the PIN of a YubiKey: what is told of it is what it says now, whoever has used tries
    /// meanwhile, and nobody types a PIN that would not be presented (FAULTS C3).
    ///
    /// # Errors
    /// `PIN_BLOCKED` also at the last try, unless `last_try` was agreed to; what the card gives when it cannot be asked.
    pub async fn look_before_asking(&self, last_try: bool) -> Result<(), Refusal> {
        let Some(token) = self.card() else { return Ok(()) };
        let card = self.run_in(&self.queue, move |_| token.card()).await?;
        match card.tries_left {
            _ if card.blocked => Err(self.refusal(&BackendError::Blocked)),
            Some(1) if !last_try => Err(self.refusal(&BackendError::LastTry { tries_left: Some(1) })),
            _ => Ok(()),
        }
    }

    /// One entry.
    async fn ask_pinentry(
        &self,
        program: &Path,
        purpose: &Purpose,
        since: Since,
        (meant, last_try): (Option<String>, bool),
    ) -> Result<Typed, Refusal> {
        self.unless_locked_since(since)?;
        self.not_too_early(purpose.user)?;
        self.look_before_asking(last_try).await?;
        let info = self.backend.info();
        let (name, word) = (self.name(), info.kind.secret_word());
        let shown = meant.or(self.shown_serial(info.serial));
        let mut text = format!("The {word} of token {name} is needed");
        let known = [("serial", shown.as_deref()), ("label", info.label.as_deref())];
        for (what, is) in known.into_iter().filter_map(|(what, is)| Some((what, is?))) {
            text.push_str(&format!("\n{what} {}", plain(is)));
        }
        if let Some(stranger) = self.stranger_problem() {
            text.push_str(&format!("\nANOTHER CARD: {}", plain(&stranger)));
        }
        if let Some(left) = info.pin_tries_left {
            text.push_str(&format!("\ntries left: {left}"));
        }
        text.push_str(&format!("\n{}", purpose.text));
        let dialogue = Dialogue { text, terminal: purpose.terminal.clone() };
        let path = program.to_owned();
        let asked = self.dialogue(since, move |flag| pinentry::ask(&path, word, &dialogue, flag)).await?;
        let what = format!("the {word} of token {name}");
        let secret =
            asked.map_err(|no| no.refusal(&what, program, Reason::PinRequired).detail("token", name))?;
        let Some(secret) = secret else {
            return Err(Refusal::new(Reason::PinRequired, format!("{what}: nothing was typed"))
                .remedy("ask again")
                .detail("token", name));
        };
        let (user, caller) = (purpose.user, purpose.caller.clone());
        Ok(Typed { secret, attempt: Attempt { serial: shown, since, user, caller, ..Attempt::default() } })
    }

    /// One dialogue, for what began at `since`. A `lock` ends it, whatever the person says then.
    async fn dialogue<T: Send + 'static>(
        &self,
        since: Since,
        ask: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let unwanted = Unwanted::default();
        let flag = unwanted.flag();
        let mut asking = tokio::task::spawn_blocking(move || ask(&flag));
        let asked = tokio::select! {
            asked = &mut asking => asked,
            () = self.locked_since(since) => {
                drop(unwanted);
                // The next one begins when this has left the screen.
                asking.await
            }
        };
        self.unless_locked_since(since)?;
        asked.map_err(Refusal::internal)
    }

    /// Has a person say yes to a signature, where the token wants that (`confirm = "pinentry"`), after what is unusual about
    /// it, if anything is: the program that asks for the signature may have told nobody.
    ///
    /// # Errors
    /// `CONFIRMATION_MISSING` without a yes to each.
    pub async fn confirm_by_person(&self, purpose: &Purpose, unusual: &[String]) -> Result<(), Refusal> {
        let Some(program) = self.config.confirm.clone() else { return Ok(()) };
        let (name, info) = (self.name(), self.backend.info());
        let serial = info.serial.map(|serial| format!(" (serial {})", plain(&serial))).unwrap_or_default();
        let asked = format!("a yes to the signature by token {name}");
        let since = self.now();
        let _alone = self.asking.lock().await;
        let pages = pages(unusual);
        for (at, page) in pages.iter().enumerate() {
            let part = part_of(at, pages.len());
            let text = format!("Before you sign with token {name}{serial}, know that\n{part}{page}");
            self.confirm_one(&program, text, since, "Go on", asked.clone()).await?;
        }
        let text = format!("Sign with token {name}{serial}?\n{}", purpose.text);
        self.confirm_one(&program, text, since, "Sign", asked).await
    }

    /// The same to a split of a key among people, told line by line: as many dialogues as it takes to show them all.
    ///
    /// # Errors
    /// `CONFIRMATION_MISSING` without a yes to each.
    pub async fn confirm_split(&self, key: &str, purpose: &Purpose, lines: &[String]) -> Result<(), Refusal> {
        let Some(program) = self.config.confirm.clone() else { return Ok(()) };
        let pages = pages(lines);
        let since = self.now();
        let _alone = self.asking.lock().await;
        for (at, page) in pages.iter().enumerate() {
            let part = part_of(at, pages.len());
            let text = format!("Split the key {key} (token {})? {}\n{part}{page}", self.name(), purpose.text);
            let asked = format!("a yes to the split of the key {key}");
            self.confirm_one(&program, text, since, "Split", asked).await?;
        }
        Ok(())
    }

    /// One dialogue that wants a yes. Never at the caller's terminal: the program there could say it by itself.
    async fn confirm_one(
        &self,
        program: &Path,
        text: String,
        since: Since,
        verb: &'static str,
        asked: String,
    ) -> Result<(), Refusal> {
        let (path, dialogue) = (program.to_owned(), Dialogue { text, terminal: None });
        let asking = move |flag: &AtomicBool| pinentry::confirm(&path, &dialogue, verb, flag);
        self.dialogue(since, asking).await?.map_err(|no| {
            let refusal =
                no.refusal(&asked, program, Reason::ConfirmationMissing).detail("token", self.name());
            match no {
                NoAnswer::Nowhere => refusal.remedy(NOT_AT_THE_CALLERS),
                _ => refusal,
            }
        })
    }
}

/// Lines, in pieces that a dialogue shows whole.
fn pages(lines: &[String]) -> Vec<String> {
    let mut pages: Vec<String> = Vec::new();
    for line in lines {
        let line = plain(line);
        match pages.last_mut().filter(|page| page.len().saturating_add(line.len()) < PAGE) {
            Some(page) => page.push_str(&format!("\n{line}")),
            None => pages.extend(pieces(&line)),
        }
    }
    pages
}

/// A line, in pieces that a dialogue shows whole.
fn pieces(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in line.chars() {
        match pieces.last_mut().filter(|piece| piece.len().saturating_add(c.len_utf8()) <= PAGE) {
            Some(piece) => piece.push(c),
            None => pieces.push(c.to_string()),
        }
    }
    pieces
}

/// Which of several dialogues it is.
fn part_of(at: usize, all: usize) -> String {
    if all > 1 { format!("part {} of {all}\n", at.saturating_add(1)) } else { String::new() }
}

/// What helps where the agent has nowhere to ask for a yes.
const NOT_AT_THE_CALLERS: &str = "start the agent in the desktop's session, or with GPG_TTY naming a terminal at which you sit: the terminal \
                                  of the program that asks is not used, as that program could type the yes";

/// Bytes of lines in one dialogue; ends of lines take three each, and its head a part.
const PAGE: usize = 480;
