//! A token while it is there: its sessions, its login, and what was found in them (FAULTS D2, D8).
//!
//! Two sessions at most. One holds the login and is otherwise left alone, because with its last session a token logs
//! out; work is done in the other, which is dropped after any error: an operation that was begun and not ended makes
//! some modules refuse everything else in that session for ever. A token that has one session for us is worked with in
//! the one that holds the login, which is then lost together with it.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::{Limit, Slot, TokenInfo};

use super::protocol::{HostError, HostErrorKind, TokenStatus};

/// The token while it is there.
pub(crate) struct Live {
    pub(crate) slot: Slot,
    pub(crate) logged_in: bool,
    pub(crate) anchor: Session,
    pub(crate) status: TokenStatus,
    work: Work,
    /// Private keys that were found since the login, in the session that is worked in.
    found: Vec<Found>,
    /// The token says that it has one session for us.
    only_one: bool,
}

/// A private key and its public key.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// SPKI, DER.
    pub(crate) der: Vec<u8>,
    pub(crate) handle: ObjectHandle,
    /// CKA_ALWAYS_AUTHENTICATE: each signature takes a PIN of its own.
    pub(crate) always: bool,
}

enum Work {
    Closed,
    Own(Session),
    /// The token had no second session.
    InAnchor,
}

impl Live {
    /// Opens the session that will hold the login.
    pub(crate) fn open(
        pkcs11: &Pkcs11,
        slot: Slot,
        info: &TokenInfo,
        status: TokenStatus,
    ) -> Result<Self, Error> {
        let anchor = open(pkcs11, slot)?;
        let one = |limit: Limit| matches!(limit, Limit::Max(1));
        let only_one = one(info.max_session_count()) || one(info.max_rw_session_count());
        Ok(Self { slot, logged_in: false, anchor, status, work: Work::Closed, found: Vec::new(), only_one })
    }

    /// The session for work, opened when there is none. That the token has no further one is learnt here, each time anew:
    /// other programs may hold some for a while.
    pub(crate) fn work(&mut self, pkcs11: &Pkcs11) -> Result<&Session, Error> {
        if matches!(self.work, Work::Closed) {
            self.found.clear();
            self.work = match self.only_one {
                true => Work::InAnchor,
                false => match open(pkcs11, self.slot) {
                    Ok(session) => Work::Own(session),
                    Err(Error::Pkcs11(RvError::SessionCount, _)) => Work::InAnchor,
                    Err(error) => return Err(error),
                },
            };
        }
        match &self.work {
            Work::Own(session) => Ok(session),
            Work::InAnchor | Work::Closed => Ok(&self.anchor),
        }
    }

    /// Whether work is done in the session that holds the login.
    pub(crate) fn works_in_anchor(&self) -> bool {
        matches!(self.work, Work::InAnchor)
    }

    /// Drops the session for work and what was found in it.
    pub(crate) fn drop_work(&mut self) {
        self.found.clear();
        self.work = Work::Closed;
    }

    /// The login began or ended: handles of before are worth nothing.
    pub(crate) fn forget_found(&mut self) {
        self.found.clear();
    }

    /// A key that was found before.
    pub(crate) fn known(&self, der: &[u8]) -> Option<&Found> {
        self.found.iter().find(|found| found.der == der)
    }

    pub(crate) fn remember(&mut self, found: Found) {
        self.found.retain(|known| known.der != found.der);
        self.found.push(found);
    }

    /// Whether the module says that the user is logged in.
    pub(crate) fn has_login(&self) -> bool {
        let state = self.anchor.get_session_info().map(|info| info.session_state());
        matches!(state, Ok(SessionState::RoUser | SessionState::RwUser))
    }

    /// # Errors
    /// When the PIN was not presented.
    pub(crate) fn need_login(&self) -> Result<(), HostError> {
        if self.logged_in { Ok(()) } else { Err(not_logged_in()) }
    }
}

/// Read-write where the token allows it.
pub(crate) fn open(pkcs11: &Pkcs11, slot: Slot) -> Result<Session, Error> {
    pkcs11.open_rw_session(slot).or_else(|error| match error {
        Error::Pkcs11(RvError::TokenWriteProtected, _) => pkcs11.open_ro_session(slot),
        error => Err(error),
    })
}

pub(crate) fn not_logged_in() -> HostError {
    HostError::new(HostErrorKind::NotLoggedIn, "the token wants its PIN first")
}
