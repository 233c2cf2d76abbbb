//! A token while it is there: its sessions, its login, and what was found in them (FAULTS D2, D8).
//!
//! One session holds the login and is otherwise left alone, because with its last session a token logs
//! out; work is done in another, which is dropped after any error: an operation that was begun and not ended makes
//! some modules refuse everything else in that session for ever. A token that has one session for us is worked with in
//! the one that holds the login, which is then lost together with it. Where the configuration says that the module may be
//! asked for several signatures at once, there is a pool of sessions beside these two, as far as the token has so many.

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
    pool: Pool,
}

/// Sessions in which other threads sign (see [`super::crew`]).
struct Pool {
    /// So many at most: as many as are wanted, or as the token was seen to have.
    most: usize,
    lent: usize,
    idle: Vec<Session>,
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
        pool: usize,
    ) -> Result<Self, Error> {
        let anchor = open(pkcs11, slot)?;
        let told = told(info.max_session_count()).min(told(info.max_rw_session_count()));
        // Beside the one that holds the login and the one for all other work.
        let pool = Pool { most: pool.min(told.saturating_sub(2)), lent: 0, idle: Vec::new() };
        let (work, found, only_one) = (Work::Closed, Vec::new(), told == 1);
        Ok(Self { slot, logged_in: false, anchor, status, work, found, only_one, pool })
    }

    /// A session of the pool. None: there is no further one, now or at all.
    pub(crate) fn lend(&mut self, pkcs11: &Pkcs11) -> Option<Session> {
        // No error of the pool's may cost the login.
        if self.works_in_anchor() {
            return None;
        }
        let pool = &mut self.pool;
        let session = match pool.idle.pop() {
            Some(session) => session,
            None if pool.lent >= pool.most => return None,
            None => match open(pkcs11, self.slot) {
                Ok(session) => session,
                Err(error) => {
                    // Learnt for as long as the token is there; any other error comes again where it is dealt with.
                    if matches!(error, Error::Pkcs11(RvError::SessionCount, _)) {
                        pool.most = pool.lent;
                    }
                    return None;
                }
            },
        };
        pool.lent += 1;
        Some(session)
    }

    /// A session that was lent is back; none, where it was of no use any more.
    pub(crate) fn give_back(&mut self, session: Option<Session>) {
        self.pool.lent = self.pool.lent.saturating_sub(1);
        self.pool.idle.extend(session);
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

    /// Drops the session for work and what was found in it, and those of the pool.
    pub(crate) fn drop_work(&mut self) {
        self.found.clear();
        self.work = Work::Closed;
        self.pool.idle.clear();
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

    /// Whether private objects are shown: by the module's word now, or because the token wants no login.
    pub(crate) fn shows_all(&self) -> bool {
        self.has_login() || (self.logged_in && self.status.open)
    }

    /// # Errors
    /// When the PIN was not presented.
    pub(crate) fn need_login(&self) -> Result<(), HostError> {
        if self.logged_in { Ok(()) } else { Err(not_logged_in()) }
    }
}

/// How many sessions the token says that it has for us.
fn told(limit: Limit) -> usize {
    match limit {
        Limit::Max(most) => usize::try_from(most).unwrap_or(usize::MAX),
        Limit::Infinite | Limit::Unavailable => usize::MAX,
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
