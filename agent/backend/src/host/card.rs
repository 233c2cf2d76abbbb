//! One YubiKey, inside the helper.
//!
//! Duty: answer for the card of one serial number, and get over everything that cards, readers and their service do.
//! Trust: the card's word on its tries, touches and keys; its signatures are verified by the agent. Invariants: one entry of
//! a PIN is one VERIFY, and none at the last try that was not said; a PIN that this card accepted rests in locked memory,
//! and is presented again only while all tries are left, once per loss; the card is never reset; a transaction lasts as
//! long as one request.
//!
//! The commands are our own, and not those of the `yubikey` crate (0.9.0-rc.0 was tried): it tells a touch that did not come,
//! a PIN that is missing and one that is used up by one error, and most other answers by another; a look at the tries selects
//! the application again, which makes the card forget a PIN that was verified; it resets the card when it lets go of it; it
//! takes Ed25519 messages of about a thousand bytes at most, and panics at one of 255; and it links libpcsclite, which then
//! has to be there on every machine.

mod apdu;
mod keys;
mod management;
mod names;
mod pin;
mod piv;
mod reader;
mod sign;
mod tlv;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey};
use zeroize::Zeroizing;

use super::line::Line;
use super::protocol::{HostError, HostErrorKind, Reply, Request, TokenStatus};
use super::{Answer, plain, protocol_error, public_key};
use crate::card::{CardFacts, SlotId};
use apdu::{Fault, Session};
use reader::{Presence, Readers, told};

/// The card of one serial number.
pub(crate) struct CardHost {
    serial: u32,
    /// What keys without a name are called after.
    token: String,
    readers: Readers,
    /// The PIN that the card accepted, while it is unlocked.
    pin: Option<SecretBytes>,
    status: TokenStatus,
    /// The firmware, once the card was asked.
    version: Option<[u8; 3]>,
    /// Where keys were found; looked at again before each use.
    slots: BTreeMap<PublicKey, SlotId>,
    /// Other programs that use the card are waited for so long.
    patience: Duration,
    /// It was locked while another program used it: the card is still to forget the PIN.
    to_forget: bool,
}

impl CardHost {
    pub(crate) fn new(serial: u32, token: String) -> Self {
        let status = TokenStatus { serial: serial.to_string(), ..TokenStatus::default() };
        let (readers, slots) = (Readers::default(), BTreeMap::new());
        let (patience, to_forget) = (PATIENCE, false);
        Self { serial, token, readers, pin: None, status, version: None, slots, patience, to_forget }
    }

    /// Answers one request; by `line` it says before that what the agent is to know at once. Whatever panics on what a card
    /// said ends with the request.
    pub(crate) fn answer(&mut self, request: Request, tail: &[u8], line: &Line<'_>) -> Answer {
        // Nobody waits for these, or what was known is as good.
        let soon = matches!(request, Request::Poll | Request::List | Request::Logout);
        self.patience = if soon { SHORT_PATIENCE } else { PATIENCE };
        let answered = catch_unwind(AssertUnwindSafe(|| self.serve(request, tail, line)));
        if self.pin.is_none() {
            // Others may want it for themselves, and the reader may take its power away.
            self.readers.close();
        }
        answered.unwrap_or_else(|_| {
            self.forget();
            let message = "the card gave an answer that nobody expected";
            Err(HostError::new(HostErrorKind::Device, message)
                .remedy("take it out, insert it again, and report this"))
        })
    }

    /// The end: the card forgets that it was unlocked, and is left as it is.
    pub(crate) fn close(&mut self) {
        self.logout();
        self.readers.forget();
    }

    fn serve(&mut self, request: Request, tail: &[u8], line: &Line<'_>) -> Answer {
        match request {
            Request::Poll => self.poll(),
            Request::Look => self.look(),
            Request::Login { last_try, meant } => self.login(tail, last_try, meant.serial.as_deref()),
            Request::Logout => {
                self.logout();
                plain(Reply::Done)
            }
            Request::ChangePin { old_len, last_try, meant } => {
                let (old, new) = tail.split_at_checked(old_len).ok_or_else(|| protocol_error("two PINs"))?;
                self.change_pin(old, new, last_try, meant.serial.as_deref())
            }
            Request::ChangePuk { old_len, last_try, serial } => {
                let (old, new) = tail.split_at_checked(old_len).ok_or_else(|| protocol_error("two PUKs"))?;
                self.change_puk((old, new), last_try, serial.as_deref())
            }
            Request::Unblock { puk_len, last_try, serial } => {
                let (puk, pin) =
                    tail.split_at_checked(puk_len).ok_or_else(|| protocol_error("PUK and PIN"))?;
                self.unblock((puk, pin), last_try, serial.as_deref())
            }
            Request::List => {
                let keys = self.with_card(|session, host| host.list(session))?;
                plain(Reply::Keys { keys, all: true, odd: None, unfit: None, of: None })
            }
            Request::Generate { name, kind, card, .. } => {
                let kind: KeyType = kind.parse().map_err(|_| protocol_error("a key type"))?;
                self.generate(&name, kind, card, (tail, line))
            }
            Request::Import { name, public, card, management_len } => {
                let public = public_key(&public)?;
                let parts = tail.split_at_checked(management_len).ok_or_else(|| protocol_error("a key"))?;
                self.import(&name, &public, card, parts, line)
            }
            Request::Remove { public, .. } => self.remove(&public_key(&public)?, tail, line),
            Request::Sign { public, scheme, pin_len, meant, .. } => {
                self.is_meant(meant.serial.as_deref())?;
                let key = public_key(&public)?;
                let scheme = scheme.parse().map_err(|_| protocol_error("a scheme"))?;
                let (pin, data) = match pin_len {
                    None => (None, tail),
                    Some(len) => {
                        let parts = tail.split_at_checked(len).ok_or_else(|| protocol_error("a PIN"))?;
                        (Some(parts.0), parts.1)
                    }
                };
                let (signature, presented) = self.sign(&key, scheme, pin, data, line)?;
                Ok((Reply::Signature { presented }, Zeroizing::new(signature)))
            }
            Request::EachUse { public } => {
                let key = self.find(&public_key(&public)?)?;
                plain(Reply::EachUse { pin: key.facts.pin == crate::card::PinPolicy::Always })
            }
            Request::Origin { public } => self.origin(&public_key(&public)?),
            Request::Attest { public } => self.attest(&public_key(&public)?),
            Request::CardFacts => {
                let facts = self.facts()?;
                plain(Reply::Card { facts })
            }
            Request::ChangeManagementKey { old_len, protect } => {
                let (old, new) = tail.split_at_checked(old_len).ok_or_else(|| protocol_error("two keys"))?;
                self.change_management_key(old, new, protect, line)
            }
            Request::Probe { .. } => {
                Err(HostError::new(HostErrorKind::Unsupported, "a YubiKey has no module to measure"))
            }
            Request::Open(_)
            | Request::OpenCard { .. }
            | Request::Confine(_)
            | Request::Load
            | Request::Enter { .. }
            | Request::Present { .. } => Err(protocol_error("a request in its order")),
        }
    }

    /// Whether it is there; not asked unless it has come just now.
    fn poll(&mut self) -> Answer {
        match self.readers.look(self.serial) {
            Ok(Presence::Still) => {
                if self.to_forget && self.pin.is_none() {
                    self.make_forget();
                }
                self.told()
            }
            Ok(Presence::New) => {
                self.arrived();
                self.look()
            }
            Err(error) => Err(self.gone(error)),
        }
    }

    /// Whether it is there, and what it tells of its tries now.
    fn look(&mut self) -> Answer {
        self.with_card(|session, host| host.look_at_tries(session).map(drop))?;
        self.told()
    }

    fn told(&self) -> Answer {
        plain(Reply::Status(TokenStatus { logged_in: self.pin.is_some(), ..self.status.clone() }))
    }

    /// Runs `job` in one transaction with the card. One that another program or the service took away before it was sent
    /// anything is taken up once more.
    fn with_card<T>(
        &mut self,
        mut job: impl FnMut(&Session<'_>, &mut Held<'_>) -> Result<T, Fault>,
    ) -> Result<T, HostError> {
        let mut again = true;
        loop {
            if let Presence::New = self.readers.look(self.serial).map_err(|error| self.gone(error))? {
                // Pulled and inserted again: what it accepted before is forgotten.
                self.arrived();
            }
            let mut held = Held {
                pin: &mut self.pin,
                status: &mut self.status,
                version: &mut self.version,
                slots: &mut self.slots,
                token: &self.token,
            };
            let fault = match self.readers.session(self.serial, self.patience) {
                Ok((session, reset)) => {
                    again = false;
                    // Whoever reset it may have changed its keys.
                    held.status.arrivals = held.status.arrivals.wrapping_add(reset.into());
                    let done = held.ask_version(&session).and_then(|()| job(&session, &mut held));
                    match done {
                        Ok(done) => return Ok(done),
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            let lost = matches!(
                fault,
                Fault::Pcsc(pcsc::Error::NoCard | pcsc::Error::NoReader | pcsc::Error::NoService)
            );
            if !lost || !again {
                if let Fault::Pcsc(error) = &fault
                    && *error != pcsc::Error::Busy
                {
                    self.readers.close();
                }
                let error = match fault {
                    Fault::Pcsc(pcsc::Error::NoAnswer) => self.pulled().unwrap_or_else(|| told(fault)),
                    fault => told(fault),
                };
                return Err(self.gone(error));
            }
            again = false;
            self.readers.close();
        }
    }

    /// Why a card is not there that gave no answer, if it was pulled, or pcscd has ended: that is told a moment later.
    fn pulled(&mut self) -> Option<HostError> {
        let end = Instant::now() + TOLD_WITHIN;
        loop {
            match self.readers.look(self.serial) {
                Ok(Presence::Still) if Instant::now() < end => std::thread::sleep(TOLD_SOON),
                Ok(Presence::Still) => return None,
                Ok(Presence::New) => {
                    // Pulled, and there again.
                    self.arrived();
                    return None;
                }
                // Neither the card's absence nor the service's: it has not come to an end yet.
                Err(error) if error.kind == HostErrorKind::Device && Instant::now() < end => {
                    std::thread::sleep(TOLD_SOON);
                }
                Err(mut error) => {
                    error.message.push_str(match error.kind {
                        HostErrorKind::Absent => "; it was pulled out while it was asked",
                        HostErrorKind::Reader => " any more; the card was being asked",
                        _ => "; the card was being asked",
                    });
                    return Some(error);
                }
            }
        }
    }

    /// It is not there, or cannot be asked.
    fn gone(&mut self, error: HostError) -> HostError {
        if matches!(error.kind, HostErrorKind::Absent | HostErrorKind::Held | HostErrorKind::Reader) {
            self.forget();
        }
        error
    }

    /// What was known of a card that is not there any more.
    fn forget(&mut self) {
        self.forget_pin();
        self.to_forget = false;
        self.version = None;
        self.readers.close();
    }

    fn forget_pin(&mut self) {
        self.pin = None;
    }

    /// It has come, maybe after somebody else had it.
    fn arrived(&mut self) {
        self.forget_pin();
        self.status.arrivals = self.status.arrivals.wrapping_add(1);
    }

    fn facts(&mut self) -> Result<CardFacts, HostError> {
        let serial = self.serial;
        self.with_card(|session, host| {
            let (pin, puk, management) = (session.pin_tries()?, session.puk_tries()?, session.management()?);
            host.note_tries(pin);
            host.status.puk_blocked = host.status.blocked && puk.is_some_and(|puk| puk.left == 0);
            Ok(CardFacts {
                serial,
                version: host.version_text(),
                default_pin: pin.and_then(|pin| pin.factory),
                default_puk: puk.and_then(|puk| puk.factory),
                default_management_key: management.factory,
                management_algorithm: management.algorithm.name().to_owned(),
                management_touch: management.touch,
                management_key_protected: session.management_key_is_protected()?,
                pin_tries_left: pin.map(|pin| pin.left),
                puk_tries_left: puk.map(|puk| puk.left),
            })
        })
    }

    fn change_management_key(&mut self, old: &[u8], new: &[u8], protect: bool, line: &Line<'_>) -> Answer {
        super::login::not_traced()?;
        self.with_card(|session, host| {
            // A key that the PIN protects is read once that is verified.
            host.verified(session, line)?;
            let before = session.authenticate(old, line)?;
            let changed = session.change_management_key(&before, new, protect, host.version());
            host.leave(session)?;
            changed
        })?;
        plain(Reply::Done)
    }

    /// The slot that holds the private key of `public`.
    fn find(&mut self, public: &PublicKey) -> Result<piv::SlotKey, HostError> {
        self.with_card(|session, host| host.key_of(session, public))
    }
}

/// What is known of the card, while a transaction has it.
struct Held<'a> {
    pin: &'a mut Option<SecretBytes>,
    status: &'a mut TokenStatus,
    version: &'a mut Option<[u8; 3]>,
    slots: &'a mut BTreeMap<PublicKey, SlotId>,
    token: &'a str,
}

impl Held<'_> {
    fn ask_version(&mut self, session: &Session<'_>) -> Result<(), Fault> {
        if self.version.is_none() {
            *self.version = Some(session.version()?);
            self.status.firmware = Some(self.version_text());
        }
        Ok(())
    }

    fn version(&self) -> [u8; 3] {
        self.version.unwrap_or_default()
    }

    fn version_text(&self) -> String {
        let [major, minor, patch] = self.version();
        format!("{major}.{minor}.{patch}")
    }

    /// Whether its firmware is new enough for `what`.
    fn needs(&self, version: [u8; 3], what: &str) -> Result<(), HostError> {
        if self.version() >= version {
            return Ok(());
        }
        let [major, minor, _] = version;
        let message =
            format!("{what} needs firmware {major}.{minor}, and this YubiKey has {}", self.version_text());
        Err(HostError::new(HostErrorKind::Unsupported, message))
    }

    /// The management key was proven in this transaction: nobody else is to use that. With it the PIN is forgotten, and
    /// presented again when it is needed.
    fn leave(&mut self, session: &Session<'_>) -> Result<(), Fault> {
        session.select().map(drop)
    }
}

/// Longer than another program waits for a touch. With the wait for a touch of one's own it is shorter than the agent's
/// deadline, which ends the helper.
const PATIENCE: Duration = Duration::from_secs(18);
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// pcscd looks for cards a few times a second.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
const TOLD_SOON: Duration = Duration::from_millis(25);
