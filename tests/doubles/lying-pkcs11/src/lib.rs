//! A PKCS#11 module that lies: a thin proxy in front of a real one, for tests.
//!
//! `LYING_MODULE` names the real module. `LYING_CONTROL` names a file whose first word says what
//! the next signatures are; it is read again for each (see [`Lie`]). Everything else is passed on. When
//! `LYING_TRACE` names a file, each C_Login and C_Sign that gives a signature is a line in it.
#![allow(unsafe_code, reason = "a module is C functions and pointers")]

mod lies;
mod real;

use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki_sys::*;
pub use lies::Lie;

/// The one entry that a module needs.
///
/// # Safety
/// `list` is a pointer to write to, as PKCS#11 says, or null.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(table) = table() else { return CKR_GENERAL_ERROR };
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: the caller gives a pointer to write to; the table lives as long as the process.
    unsafe { *list = std::ptr::from_ref(&table.0).cast_mut() };
    CKR_OK
}

/// The real table with our functions in place of some of its own. This is the list to extend.
fn table() -> Option<&'static Table> {
    static TABLE: OnceLock<Option<Table>> = OnceLock::new();
    TABLE
        .get_or_init(|| {
            let mut list = real::function_list()?;
            list.C_GetFunctionList = Some(C_GetFunctionList);
            list.C_Login = Some(login);
            list.C_SignInit = Some(sign_init);
            list.C_Sign = Some(sign);
            list.C_SignFinal = Some(sign_final);
            Some(Table(list))
        })
        .as_ref()
}

/// The last mechanism and key, for a signature by another key.
static LAST_INIT: Mutex<Option<(CK_MECHANISM_TYPE, Vec<u8>, CK_OBJECT_HANDLE)>> = Mutex::new(None);

unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut u8,
    len: CK_ULONG,
) -> CK_RV {
    trace("C_Login");
    if Lie::now() == Lie::CrashLogin {
        Lie::Crash.before();
    }
    let Some(real) = real::function_list().and_then(|list| list.C_Login) else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller's own arguments.
    unsafe { real(session, user, pin, len) }
}

unsafe extern "C" fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(real) = real::function_list().and_then(|list| list.C_SignInit) else { return CKR_GENERAL_ERROR };
    if !mechanism.is_null() {
        // SAFETY: a mechanism and its parameter, as the caller of C_SignInit must give them.
        let kept = unsafe {
            let CK_MECHANISM { mechanism, pParameter, ulParameterLen } = *mechanism;
            (mechanism, bytes(pParameter.cast(), ulParameterLen).to_vec(), key)
        };
        *LAST_INIT.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
    // SAFETY: the caller's own arguments.
    unsafe { real(session, mechanism, key) }
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut u8,
    data_len: CK_ULONG,
    signature: *mut u8,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let Some(real) = real::function_list().and_then(|list| list.C_Sign) else { return CKR_GENERAL_ERROR };
    if signature.is_null() || signature_len.is_null() {
        // Only asked for the length; no lie yet.
        // SAFETY: the caller's own arguments.
        return unsafe { real(session, data, data_len, signature, signature_len) };
    }
    trace("C_Sign");
    let lie = Lie::now();
    if lie == Lie::OtherKey {
        // SAFETY: the caller's buffers, with the lengths that it gives.
        let message = unsafe { bytes(data, data_len).to_vec() };
        return sign_with_another_key(session, &message, |other, len| {
            // SAFETY: as above; `len` is at most what the caller has room for.
            unsafe { lies::write(signature, signature_len, other.get(..len).unwrap_or(other)) }
        });
    }
    lie.before();
    // SAFETY: the caller's own arguments, and afterwards the buffer that was filled.
    unsafe {
        let rv = real(session, data, data_len, signature, signature_len);
        lie.bend(rv, signature, signature_len)
    }
}

unsafe extern "C" fn sign_final(
    session: CK_SESSION_HANDLE,
    signature: *mut u8,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let Some(real) = real::function_list().and_then(|list| list.C_SignFinal) else {
        return CKR_GENERAL_ERROR;
    };
    let lie = if signature.is_null() { Lie::Pass } else { Lie::now() };
    lie.before();
    // SAFETY: the caller's own arguments, and afterwards the buffer that was filled.
    unsafe {
        let rv = real(session, signature, signature_len);
        lie.bend(rv, signature, signature_len)
    }
}

/// A right signature of the same message, by another private key of the same type.
fn sign_with_another_key(
    session: CK_SESSION_HANDLE,
    message: &[u8],
    give: impl FnOnce(&[u8], usize) -> CK_RV,
) -> CK_RV {
    let last = LAST_INIT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some((mechanism, mut parameter, key)) = last else { return CKR_OPERATION_NOT_INITIALIZED };
    // No module searches while it signs: the operation that the caller began is used up first.
    let _ = real::finish(session, message);
    for other in real::private_keys_like(session, key) {
        let mut mechanism = CK_MECHANISM {
            mechanism,
            pParameter: if parameter.is_empty() {
                std::ptr::null_mut()
            } else {
                parameter.as_mut_ptr().cast::<c_void>()
            },
            ulParameterLen: real::ulong(parameter.len()),
        };
        if let Some(signature) = real::sign(session, &mut mechanism, other, message) {
            return give(&signature, signature.len());
        }
    }
    CKR_FUNCTION_FAILED
}

/// # Safety
/// `len` bytes can be read at `start`, or it is null.
unsafe fn bytes<'a>(start: *const u8, len: CK_ULONG) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: what the caller promises.
    unsafe { std::slice::from_raw_parts(start, usize::try_from(len).unwrap_or(0)) }
}

fn trace(what: &str) {
    let Some(path) = std::env::var_os("LYING_TRACE") else { return };
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
        let _ = writeln!(file, "{what}");
    }
}

struct Table(CK_FUNCTION_LIST);

// SAFETY: a table of function pointers that is never written again.
unsafe impl Sync for Table {}
// SAFETY: the same.
unsafe impl Send for Table {}
