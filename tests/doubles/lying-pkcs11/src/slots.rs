//! Slots, tokens, mechanisms and sessions as they are told.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::handles;
use crate::keys;
use crate::real::{self, give, ulong};
use crate::rule::Bend;
use crate::script::Script;
use crate::turn::Turn;
use crate::world;

/// The first id of slots that cannot be read, and of those whose token was never initialised.
const BAD: CK_SLOT_ID = 0xbad0_0000;
const BLANK: CK_SLOT_ID = 0xb1a0_0000;
const HUNG: CK_SLOT_ID = 0x4a70_0000;
/// What is added to the id of a slot for its twin.
const TWIN: CK_SLOT_ID = 0x7000_0000_0000;

/// A slot of ours, or the real one.
enum Slot {
    Bad(CK_RV),
    Blank,
    Hung,
    Real(CK_SLOT_ID),
}

fn slot_of(script: &Script, id: CK_SLOT_ID) -> Slot {
    match (script.bad_slots, id) {
        (Some((count, code)), id) if (BAD..BAD + count).contains(&id) => Slot::Bad(code),
        (_, id) if (BLANK..BLANK + script.blank_slots).contains(&id) => Slot::Blank,
        (_, id) if (HUNG..HUNG + script.hung_slots).contains(&id) => Slot::Hung,
        (_, id) if id >= TWIN => Slot::Real(id - TWIN),
        (_, id) => Slot::Real(id),
    }
}

pub(crate) unsafe fn list(
    turn: &Turn,
    present: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> Option<CK_RV> {
    let script = &turn.script;
    let ask = real::list()?.C_GetSlotList?;
    let mut found = vec![0; 1024];
    let mut len = ulong(found.len());
    // SAFETY: our own memory.
    let code = unsafe { ask(present, found.as_mut_ptr(), &mut len) };
    if code != CKR_OK {
        return Some(code);
    }
    found.truncate(usize::try_from(len).ok()?);
    if script.gone.is_some() && present == CK_TRUE {
        found.clear();
    }
    let mut told: Vec<CK_SLOT_ID> = Vec::new();
    told.extend((0..script.bad_slots.map_or(0, |(count, _)| count)).map(|n| BAD + n));
    told.extend((0..script.blank_slots).map(|n| BLANK + n));
    told.extend((0..script.hung_slots).map(|n| HUNG + n));
    told.extend(&found);
    if script.twin_slots {
        told.extend(found.iter().map(|id| id + TWIN));
    }
    // SAFETY: the caller's own arguments.
    let code = unsafe { give(&told, slots, count) };
    if turn.bend() == Some(Bend::Huge) && !count.is_null() {
        // SAFETY: the caller's own.
        unsafe { *count = real::ONE_TIB };
    }
    Some(code)
}

pub(crate) unsafe fn slot_info(turn: &Turn, slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> Option<CK_RV> {
    let slot = match slot_of(&turn.script, slot) {
        Slot::Bad(code) => return Some(code),
        Slot::Blank | Slot::Hung => first_real_slot()?,
        Slot::Real(slot) => slot,
    };
    // SAFETY: the caller's own arguments.
    unsafe {
        let code = real::list()?.C_GetSlotInfo?(slot, info);
        if code == CKR_OK && turn.script.gone.is_some() {
            (*info).flags &= !CKF_TOKEN_PRESENT;
        }
        Some(code)
    }
}

pub(crate) unsafe fn token_info(turn: &Turn, slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> Option<CK_RV> {
    let (slot, blank) = match slot_of(&turn.script, slot) {
        Slot::Bad(code) => return Some(code),
        Slot::Blank => (first_real_slot()?, true),
        Slot::Hung => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        Slot::Real(slot) => (slot, false),
    };
    // SAFETY: the caller's own arguments.
    unsafe {
        let code = real::list()?.C_GetTokenInfo?(slot, info);
        if code == CKR_OK && !info.is_null() {
            if blank {
                (*info).flags = CKF_RNG;
                (*info).label = [b' '; 32];
                (*info).serialNumber = [b' '; 16];
            } else {
                bend_info(&turn.script, &mut *info);
            }
        }
        Some(code)
    }
}

fn bend_info(script: &Script, info: &mut CK_TOKEN_INFO) {
    pad(&mut info.serialNumber, script.serial.as_deref());
    pad(&mut info.label, script.label.as_deref());
    pad(&mut info.manufacturerID, script.manufacturer.as_deref());
    pad(&mut info.model, script.model.as_deref());
    if let Some(all) = script.tries {
        info.flags &= !(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
        info.flags |= match keys::tries_left(all) {
            0 => CKF_USER_PIN_LOCKED,
            left => {
                let last = if left == 1 { CKF_USER_PIN_FINAL_TRY } else { 0 };
                last | if left < all { CKF_USER_PIN_COUNT_LOW } else { 0 }
            }
        };
    }
    info.flags &= !script.flags_cleared;
    info.flags |= script.flags_set;
    let told = script.sessions_told.or(script.session_limit.map(ulong));
    if let Some(most) = told {
        info.ulMaxSessionCount = most;
        info.ulMaxRwSessionCount = most;
        info.ulSessionCount = ulong(world::with(|world| world.sessions.len()));
    }
}

/// As PKCS#11 keeps text: filled up with blanks.
fn pad<const N: usize>(field: &mut [u8; N], text: Option<&str>) {
    let Some(text) = text else { return };
    *field = [b' '; N];
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
}

pub(crate) unsafe fn mechanisms(
    turn: &Turn,
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> Option<CK_RV> {
    let slot = match slot_of(&turn.script, slot) {
        Slot::Bad(code) => return Some(code),
        Slot::Blank | Slot::Hung => return Some(CKR_TOKEN_NOT_RECOGNIZED),
        Slot::Real(slot) => slot,
    };
    let mut found = vec![0; 1024];
    let mut len = ulong(found.len());
    // SAFETY: our own memory.
    let code = unsafe { real::list()?.C_GetMechanismList?(slot, found.as_mut_ptr(), &mut len) };
    if code != CKR_OK {
        return Some(code);
    }
    found.truncate(usize::try_from(len).ok()?);
    found.retain(|kind| !turn.script.mechanisms.iter().any(|it| it.unlisted && it.mechanism == *kind));
    // SAFETY: the caller's own arguments.
    unsafe {
        let code = give(&found, list, count);
        if turn.bend() == Some(Bend::Huge) && !count.is_null() {
            *count = real::ONE_TIB;
        }
        Some(code)
    }
}

pub(crate) unsafe fn mechanism_info(
    turn: &Turn,
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> Option<CK_RV> {
    let unlisted = turn.script.mechanisms.iter().any(|it| it.unlisted && it.mechanism == kind);
    match slot_of(&turn.script, slot) {
        Slot::Bad(code) => Some(code),
        Slot::Blank | Slot::Hung => Some(CKR_TOKEN_NOT_RECOGNIZED),
        Slot::Real(_) if unlisted => Some(CKR_MECHANISM_INVALID),
        // SAFETY: the caller's own arguments.
        Slot::Real(slot) => unsafe { Some(real::list()?.C_GetMechanismInfo?(slot, kind, info)) },
    }
}

pub(crate) unsafe fn open(
    turn: &Turn,
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    context: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> Option<CK_RV> {
    let real_slot = match slot_of(&turn.script, slot) {
        Slot::Bad(code) => return Some(code),
        Slot::Blank | Slot::Hung => return Some(CKR_TOKEN_NOT_RECOGNIZED),
        Slot::Real(slot) => slot,
    };
    let open = world::with(|world| world.sessions.len());
    if turn.script.session_limit.is_some_and(|limit| open >= limit) {
        return Some(CKR_SESSION_COUNT);
    }
    // SAFETY: the caller's own arguments.
    unsafe {
        let code = real::list()?.C_OpenSession?(real_slot, flags, context, notify, session);
        if code == CKR_OK && !session.is_null() {
            world::opened(*session, slot);
        }
        Some(code)
    }
}

pub(crate) unsafe fn close(turn: &Turn, session: CK_SESSION_HANDLE) -> Option<CK_RV> {
    if world::closed(session) {
        // With its last session a token logs out.
        handles::logged_out(turn);
    }
    // SAFETY: the caller's own argument.
    unsafe { Some(real::list()?.C_CloseSession?(session)) }
}

pub(crate) unsafe fn close_all(turn: &Turn, slot: CK_SLOT_ID) -> Option<CK_RV> {
    world::closed_all(slot);
    handles::logged_out(turn);
    match slot_of(&turn.script, slot) {
        Slot::Bad(code) => Some(code),
        Slot::Blank | Slot::Hung => Some(CKR_OK),
        // SAFETY: the caller's own argument.
        Slot::Real(slot) => unsafe { Some(real::list()?.C_CloseAllSessions?(slot)) },
    }
}

pub(crate) unsafe fn finalize(_: &Turn, reserved: *mut c_void) -> Option<CK_RV> {
    world::with(|world| *world = world::World::default());
    // SAFETY: the caller's own argument.
    unsafe { Some(real::list()?.C_Finalize?(reserved)) }
}

fn first_real_slot() -> Option<CK_SLOT_ID> {
    let mut found = vec![0; 1024];
    let mut len = ulong(found.len());
    // SAFETY: our own memory.
    let code = unsafe { real::list()?.C_GetSlotList?(CK_TRUE, found.as_mut_ptr(), &mut len) };
    (code == CKR_OK && len > 0).then(|| found.first().copied())?
}
