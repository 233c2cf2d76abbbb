//! PINs: tries that are counted, and the login that a signature may want.

use cryptoki_sys::*;

use crate::handles;
use crate::memory;
use crate::real::{self, bytes};
use crate::script::{EachTime, Script};
use crate::turn::Turn;
use crate::world;

const TRIES: &str = "tries";

/// How many wrong PINs the token still takes, of `all`.
pub(crate) fn tries_left(all: u64) -> u64 {
    memory::get(TRIES).and_then(|left| left.parse().ok()).unwrap_or(all).min(all)
}

/// The real module's verdict on a PIN, counted where tries are.
fn judged(script: &Script, ask: impl FnOnce() -> Option<CK_RV>) -> Option<CK_RV> {
    let Some(all) = script.tries else { return ask() };
    let left = tries_left(all);
    if left == 0 {
        return Some(CKR_PIN_LOCKED);
    }
    let code = ask()?;
    let now = match code {
        CKR_OK => all,
        CKR_PIN_INCORRECT => left - 1,
        _ => left,
    };
    memory::set(TRIES, &now.to_string());
    Some(if now == 0 { CKR_PIN_LOCKED } else { code })
}

pub(crate) unsafe fn login(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut u8,
    len: CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    let given = unsafe { bytes(pin, len) };
    if user == CKU_CONTEXT_SPECIFIC && turn.script.always_authenticate.is_some() {
        return context_login(turn, session, given);
    }
    // SAFETY: the same.
    let ask = || unsafe { Some(real::list()?.C_Login?(session, user, pin, len)) };
    if user != CKU_USER {
        return ask();
    }
    let code = judged(&turn.script, ask)?;
    if code == CKR_OK {
        world::with(|world| {
            world.pin = given.to_vec();
            world.logins_left = 1;
        });
        handles::logged_in(turn, session);
    }
    Some(code)
}

/// The real module knows nothing of such keys, so the PIN is compared with that of the login.
fn context_login(turn: &Turn, session: CK_SESSION_HANDLE, given: &[u8]) -> Option<CK_RV> {
    let context = matches!(turn.script.always_authenticate, Some((EachTime::Context, _)));
    let (begun, right) = world::with(|world| {
        let begun = world.sessions.get(&session).is_some_and(|it| it.sign.is_some());
        (begun, world.pin == given)
    });
    if !context || !begun {
        return Some(CKR_OPERATION_NOT_INITIALIZED);
    }
    let code = judged(&turn.script, || Some(if right { CKR_OK } else { CKR_PIN_INCORRECT }))?;
    world::with(|world| {
        if let Some(operation) = world.sessions.get_mut(&session).and_then(|it| it.sign.as_mut()) {
            operation.allowed = code == CKR_OK;
        }
    });
    Some(code)
}

pub(crate) unsafe fn logout(turn: &Turn, session: CK_SESSION_HANDLE) -> Option<CK_RV> {
    world::with(|world| world.logins_left = 0);
    // SAFETY: the caller's own argument.
    let code = unsafe { real::list()?.C_Logout?(session) };
    if code == CKR_OK {
        handles::logged_out(turn);
    }
    Some(code)
}

pub(crate) unsafe fn set_pin(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    old: *mut u8,
    old_len: CK_ULONG,
    new: *mut u8,
    new_len: CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    let code = judged(&turn.script, || unsafe {
        Some(real::list()?.C_SetPIN?(session, old, old_len, new, new_len))
    })?;
    if code == CKR_OK {
        // SAFETY: the same.
        let pin = unsafe { bytes(new, new_len) }.to_vec();
        world::with(|world| world.pin = pin);
    }
    Some(code)
}

/// The security officer gives a new PIN, and with it all tries.
pub(crate) unsafe fn init_pin(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    pin: *mut u8,
    len: CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    let code = unsafe { real::list()?.C_InitPIN?(session, pin, len) };
    if let (CKR_OK, Some(all)) = (code, turn.script.tries) {
        memory::set(TRIES, &all.to_string());
    }
    Some(code)
}
