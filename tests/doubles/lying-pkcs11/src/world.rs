//! What the module knows of its sessions, and which of them answer nothing any more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::handles::Places;
use crate::real;
use crate::script::Script;
use crate::turn::Target;

/// A session that is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    slot: CK_SLOT_ID,
    stuck: bool,
    pub(crate) sign: Option<crate::sign::Operation>,
}

/// Everything that lasts from call to call, in this process.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) sessions: HashMap<CK_SESSION_HANDLE, Session>,
    /// The PIN by which the user was logged in.
    pub(crate) pin: Vec<u8>,
    /// Signatures that the last C_Login is still good for, where each wants one.
    pub(crate) logins_left: usize,
    /// The signature that was made last.
    pub(crate) last_signature: Vec<u8>,
    /// The object that is found for ever, where that is the lie.
    pub(crate) endless: Option<CK_OBJECT_HANDLE>,
    /// Which object each handle names, where a login gives them anew.
    pub(crate) places: Places,
}

/// Looks at the world, or changes it. Not while the real module is asked.
pub(crate) fn with<T>(look: impl FnOnce(&mut World) -> T) -> T {
    look(WORLD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// What a token that was pulled, or a session that is stuck, answers.
pub(crate) fn refuses(script: &Script, call: &str, target: Target) -> Option<CK_RV> {
    if let Some(code) = script.gone {
        lose_sessions();
        match target {
            Target::Session(_) => return Some(code),
            Target::Slot(_) if call != "C_GetSlotInfo" => return Some(CKR_TOKEN_NOT_PRESENT),
            Target::Slot(_) | Target::Module => {}
        }
    }
    let Target::Session(session) = target else { return None };
    let always = ["C_CloseSession", "C_GetSessionInfo", "C_Login", "C_Logout", "C_FindObjectsFinal"];
    let stuck = with(|world| world.sessions.get(&session).is_some_and(|session| session.stuck));
    (stuck && !always.contains(&call)).then_some(CKR_OPERATION_ACTIVE)
}

/// From now on the session has an operation that does not end.
pub(crate) fn stick(session: CK_SESSION_HANDLE) {
    with(|world| world.sessions.entry(session).or_default().stuck = true);
}

/// With the token its sessions are lost, and with them the login.
fn lose_sessions() {
    let lost = with(|world| {
        world.logins_left = 0;
        std::mem::take(&mut world.sessions)
    });
    let Some(close) = real::list().and_then(|list| list.C_CloseSession) else { return };
    for session in lost.into_keys() {
        // SAFETY: a handle that the real module gave.
        unsafe { close(session) };
    }
}

pub(crate) fn opened(session: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
    with(|world| world.sessions.insert(session, Session { slot, ..Session::default() }));
}

/// Whether it was the last one.
pub(crate) fn closed(session: CK_SESSION_HANDLE) -> bool {
    with(|world| world.sessions.remove(&session).is_some() && world.sessions.is_empty())
}

pub(crate) fn closed_all(slot: CK_SLOT_ID) {
    with(|world| world.sessions.retain(|_, session| session.slot != slot));
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);
