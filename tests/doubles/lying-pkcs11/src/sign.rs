//! Signatures: right ones, wrong ones, and those for which the login must come anew.

use cryptoki_sys::*;

use crate::handles;
use crate::objects::is_meant;
use crate::real::{self, bytes, give};
use crate::rule::Bend;
use crate::script::EachTime;
use crate::turn::Turn;
use crate::world;

/// A signature that was begun in a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operation {
    mechanism: CK_MECHANISM_TYPE,
    parameter: Vec<u8>,
    key: CK_OBJECT_HANDLE,
    /// What C_SignUpdate was given, where the real module has no such call.
    parts: Vec<u8>,
    /// The key wants a login for each signature, in this way.
    each_time: Option<EachTime>,
    /// That login came.
    pub(crate) allowed: bool,
}

pub(crate) unsafe fn init(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    let key = handles::meant(turn, key);
    // SAFETY: a mechanism and its parameter, as the caller of C_SignInit must give them.
    let operation = unsafe {
        match mechanism.as_ref() {
            None => None,
            Some(given) if turn.script.refuses_mechanism(given.mechanism) => {
                return Some(CKR_MECHANISM_INVALID);
            }
            Some(given) => Some(Operation {
                mechanism: given.mechanism,
                parameter: bytes(given.pParameter.cast(), given.ulParameterLen).to_vec(),
                key,
                each_time: each_time(turn, session, key),
                ..Operation::default()
            }),
        }
    };
    // SAFETY: the caller's own arguments.
    let code = unsafe { real::list()?.C_SignInit?(session, mechanism, key) };
    if code == CKR_OK {
        world::with(|world| {
            if let Some(session) = world.sessions.get_mut(&session) {
                session.sign = operation;
            }
        });
    }
    Some(code)
}

fn each_time(turn: &Turn, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Option<EachTime> {
    let (how, of) = turn.script.always_authenticate.as_ref()?;
    is_meant(of, session, key).then_some(*how)
}

/// Whether the login that the key wants has come; a signature that may not be given is given up.
fn may_not_sign(session: CK_SESSION_HANDLE, gives: bool) -> Option<CK_RV> {
    let operation = operation(session)?;
    let may = match operation.each_time? {
        EachTime::Context => operation.allowed,
        EachTime::Relogin => world::with(|world| {
            let may = world.logins_left > 0;
            if gives {
                world.logins_left = 0;
            }
            may
        }),
    };
    if may {
        return None;
    }
    let _ = real::finish(session, &operation.parts);
    forget(session);
    Some(CKR_USER_NOT_LOGGED_IN)
}

pub(crate) unsafe fn sign(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    data: *mut u8,
    data_len: CK_ULONG,
    signature: *mut u8,
    len: *mut CK_ULONG,
) -> Option<CK_RV> {
    if let Some(code) = may_not_sign(session, !signature.is_null()) {
        return Some(code);
    }
    // SAFETY: the caller's own arguments.
    let ask =
        |signature, len| unsafe { Some(real::list()?.C_Sign?(session, data, data_len, signature, len)) };
    // SAFETY: the caller's buffers, with the lengths that it gives.
    unsafe {
        match turn.bend() {
            Some(Bend::OtherKey) if !signature.is_null() => {
                other_key(session, bytes(data, data_len), signature, len)
            }
            bend => answer(bend, "C_Sign", session, (in_der(turn, session), signature), len, ask),
        }
    }
}

pub(crate) unsafe fn update(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    part: *mut u8,
    len: CK_ULONG,
) -> Option<CK_RV> {
    match turn.script.multipart {
        // SAFETY: the caller's own arguments.
        None => unsafe { Some(real::list()?.C_SignUpdate?(session, part, len)) },
        Some(false) => {
            let _ = real::finish(session, &[]);
            forget(session);
            Some(CKR_OPERATION_NOT_INITIALIZED)
        }
        Some(true) => world::with(|world| {
            let Some(operation) = world.sessions.get_mut(&session).and_then(|it| it.sign.as_mut()) else {
                return Some(CKR_OPERATION_NOT_INITIALIZED);
            };
            // SAFETY: the caller's own arguments.
            operation.parts.extend_from_slice(unsafe { bytes(part, len) });
            Some(CKR_OK)
        }),
    }
}

pub(crate) unsafe fn finish(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    signature: *mut u8,
    len: *mut CK_ULONG,
) -> Option<CK_RV> {
    if let Some(code) = may_not_sign(session, !signature.is_null()) {
        return Some(code);
    }
    let parts = operation(session).map(|operation| operation.parts).unwrap_or_default();
    let ours = turn.script.multipart == Some(true);
    let ask = |signature, len| {
        let list = real::list()?;
        // SAFETY: the caller's own arguments; the parts are our own.
        unsafe {
            Some(if ours {
                list.C_Sign?(session, parts.as_ptr().cast_mut(), real::ulong(parts.len()), signature, len)
            } else {
                list.C_SignFinal?(session, signature, len)
            })
        }
    };
    // SAFETY: the caller's own arguments.
    unsafe { answer(turn.bend(), "C_SignFinal", session, (in_der(turn, session), signature), len, ask) }
}

/// Asks for a signature, or for its length, and bends what comes.
///
/// # Safety
/// `len` can be read and written, `signature` is null or has room for so many bytes.
unsafe fn answer(
    bend: Option<Bend>,
    call: &str,
    session: CK_SESSION_HANDLE,
    (in_der, signature): (bool, *mut u8),
    len: *mut CK_ULONG,
    ask: impl FnOnce(*mut u8, *mut CK_ULONG) -> Option<CK_RV>,
) -> Option<CK_RV> {
    if len.is_null() {
        return ask(signature, len);
    }
    // SAFETY: what the caller promises.
    unsafe {
        if signature.is_null() {
            let code = ask(signature, len)?;
            if in_der {
                *len += DER_MORE;
            }
            match bend {
                Some(Bend::Huge) => *len = real::ONE_TIB,
                _ if Turn::next_bend(call) == Some(Bend::Long) => *len += 1,
                _ => {}
            }
            return Some(code);
        }
        let room = *len;
        let code = ask(signature, len)?;
        if code != CKR_OK {
            return Some(code);
        }
        forget(session);
        if in_der {
            let der = to_der(bytes(signature, *len));
            *len = room;
            let code = give(&der, signature, len);
            if code != CKR_OK {
                return Some(code);
            }
        }
        let stale = world::with(|world| {
            std::mem::replace(&mut world.last_signature, bytes(signature, *len).to_vec())
        });
        match bend {
            Some(Bend::Wrong) if *len > 0 => *signature ^= 1,
            Some(Bend::Short) if *len > 0 => *len -= 1,
            // There is room: the length that was told was longer, too.
            Some(Bend::Long) => *len += 1,
            Some(Bend::Zero) => signature.write_bytes(0, usize::try_from(*len).unwrap_or(0)),
            Some(Bend::Empty) => *len = 0,
            Some(Bend::Stale) if stale.len() == usize::try_from(*len).unwrap_or(0) => {
                signature.copy_from_nonoverlapping(stale.as_ptr(), stale.len());
            }
            Some(Bend::Huge) => *len = real::ONE_TIB,
            _ => {}
        }
    }
    Some(CKR_OK)
}

/// Whether what this session is about to give is to come in DER.
fn in_der(turn: &Turn, session: CK_SESSION_HANDLE) -> bool {
    let is_ecdsa = |mechanism| (CKM_ECDSA..=CKM_ECDSA_SHA512).contains(&mechanism);
    turn.script.ecdsa_der && operation(session).is_some_and(|operation| is_ecdsa(operation.mechanism))
}

/// r || s as a SEQUENCE of two INTEGERs.
fn to_der(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let integer = |number: &[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let pad = if digits.first().is_some_and(|first| first & 0x80 == 0) { vec![] } else { vec![0] };
        [vec![2, u8::try_from(pad.len() + digits.len()).unwrap_or(0)], pad, digits].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap_or(0)], body.as_slice()].concat()
}

/// By so much DER may be longer than r || s.
const DER_MORE: CK_ULONG = 8;

/// A right signature of the same message, by another private key of the same type.
///
/// # Safety
/// As [`answer`].
unsafe fn other_key(
    session: CK_SESSION_HANDLE,
    message: &[u8],
    signature: *mut u8,
    len: *mut CK_ULONG,
) -> Option<CK_RV> {
    let Some(operation) = operation(session) else { return Some(CKR_OPERATION_NOT_INITIALIZED) };
    // No module searches while it signs: the operation that the caller began is used up first.
    let _ = real::finish(session, message);
    forget(session);
    for other in real::private_keys_like(session, operation.key) {
        let made = real::sign(session, operation.mechanism, &operation.parameter, other, message)?;
        if let Ok(made) = made {
            // SAFETY: what the caller promises.
            return Some(unsafe {
                let room = usize::try_from(*len).unwrap_or(0);
                give(made.get(..room).unwrap_or(&made), signature, len)
            });
        }
    }
    Some(CKR_FUNCTION_FAILED)
}

#[allow(clippy::too_many_arguments, reason = "as PKCS#11 has them")]
pub(crate) unsafe fn generate(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    unsafe {
        if mechanism.as_ref().is_some_and(|it| turn.script.refuses_mechanism(it.mechanism)) {
            return Some(CKR_MECHANISM_INVALID);
        }
        let make = real::list()?.C_GenerateKeyPair?;
        let mut yes = CK_TRUE;
        let mut wanted = match private.is_null() {
            true => Vec::new(),
            false => std::slice::from_raw_parts(private, usize::try_from(private_count).ok()?).to_vec(),
        };
        if turn.script.made_always {
            wanted.push(CK_ATTRIBUTE {
                type_: CKA_ALWAYS_AUTHENTICATE,
                pValue: (&raw mut yes).cast(),
                ulValueLen: 1,
            });
        }
        let count = CK_ULONG::try_from(wanted.len()).ok()?;
        let wanted = wanted.as_mut_ptr();
        let code = make(session, mechanism, public, public_count, wanted, count, public_key, private_key);
        handles::tell_made(turn, session, code, public_key);
        handles::tell_made(turn, session, code, private_key);
        Some(code)
    }
}

fn operation(session: CK_SESSION_HANDLE) -> Option<Operation> {
    world::with(|world| world.sessions.get(&session)?.sign.clone())
}

fn forget(session: CK_SESSION_HANDLE) {
    world::with(|world| {
        if let Some(session) = world.sessions.get_mut(&session) {
            session.sign = None;
        }
    });
}
