//! The real module behind.

use std::sync::OnceLock;

use cryptoki_sys::*;

/// The real module's table; `None` when it cannot be loaded.
pub(crate) fn list() -> Option<&'static CK_FUNCTION_LIST> {
    static REAL: OnceLock<Option<Loaded>> = OnceLock::new();
    REAL.get_or_init(load).as_ref().map(|loaded| &loaded.list)
}

struct Loaded {
    list: CK_FUNCTION_LIST,
    // Unloading would take the functions away.
    _module: Pkcs11,
}

// SAFETY: function pointers that are never written again, and the handle that keeps them alive.
unsafe impl Sync for Loaded {}
// SAFETY: the same.
unsafe impl Send for Loaded {}

fn load() -> Option<Loaded> {
    let path = std::env::var_os("LYING_MODULE")?;
    // SAFETY: the test names a real PKCS#11 module.
    let module = unsafe { Pkcs11::new(path) }.ok()?;
    let mut list = std::ptr::null_mut();
    let entry = module.C_GetFunctionList.as_ref().ok()?;
    // SAFETY: as PKCS#11 says; the table that it gives is never freed.
    let list = unsafe {
        if entry(&mut list) != CKR_OK || list.is_null() {
            return None;
        }
        *list
    };
    Some(Loaded { list, _module: module })
}

/// One signature by `key`.
pub(crate) fn sign(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_TYPE,
    parameter: &[u8],
    key: CK_OBJECT_HANDLE,
    message: &[u8],
) -> Option<Result<Vec<u8>, CK_RV>> {
    let mut mechanism = CK_MECHANISM {
        mechanism,
        pParameter: match parameter {
            [] => std::ptr::null_mut(),
            parameter => parameter.as_ptr().cast_mut().cast(),
        },
        ulParameterLen: ulong(parameter.len()),
    };
    // SAFETY: the mechanism and its parameter are our own memory.
    match unsafe { list()?.C_SignInit?(session, &mut mechanism, key) } {
        CKR_OK => finish(session, message),
        code => Some(Err(code)),
    }
}

/// Ends the signing operation that was begun in the session.
pub(crate) fn finish(session: CK_SESSION_HANDLE, message: &[u8]) -> Option<Result<Vec<u8>, CK_RV>> {
    let mut signature = vec![0; 1024];
    let mut len = ulong(signature.len());
    // SAFETY: all pointers are to our own memory, with their lengths.
    let code = unsafe {
        list()?.C_Sign?(
            session,
            message.as_ptr().cast_mut(),
            ulong(message.len()),
            signature.as_mut_ptr(),
            &mut len,
        )
    };
    signature.truncate(usize::try_from(len).ok()?);
    Some(if code == CKR_OK { Ok(signature) } else { Err(code) })
}

/// The other private keys of the token with the type of `key`.
pub(crate) fn private_keys_like(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Vec<CK_OBJECT_HANDLE> {
    let mut kind: CK_KEY_TYPE = 0;
    let mut class = CKO_PRIVATE_KEY;
    let mut template = [number(CKA_CLASS, &mut class), number(CKA_KEY_TYPE, &mut kind)];
    let mut find = || -> Option<Vec<CK_OBJECT_HANDLE>> {
        let list = list()?;
        let [_, kind_attribute] = &mut template;
        let mut found = vec![0; 64];
        let mut count = 0;
        // SAFETY: all pointers are to our own memory, with their lengths.
        unsafe {
            list.C_GetAttributeValue?(session, key, kind_attribute, 1);
            list.C_FindObjectsInit?(session, template.as_mut_ptr(), 2);
            list.C_FindObjects?(session, found.as_mut_ptr(), ulong(found.len()), &mut count);
            list.C_FindObjectsFinal?(session);
        }
        found.truncate(usize::try_from(count).ok()?);
        found.retain(|handle| *handle != key);
        Some(found)
    };
    find().unwrap_or_default()
}

/// The private objects that the session shows.
pub(crate) fn private_objects(session: CK_SESSION_HANDLE) -> Vec<CK_OBJECT_HANDLE> {
    let mut yes = CK_TRUE;
    let mut wanted = CK_ATTRIBUTE {
        type_: CKA_PRIVATE,
        pValue: (&raw mut yes).cast(),
        ulValueLen: ulong(size_of_val(&yes)),
    };
    let mut find = || -> Option<Vec<CK_OBJECT_HANDLE>> {
        let list = list()?;
        let mut found = vec![0; 1024];
        let mut count = 0;
        // SAFETY: all pointers are to our own memory, with their lengths.
        unsafe {
            list.C_FindObjectsInit?(session, &mut wanted, 1);
            list.C_FindObjects?(session, found.as_mut_ptr(), ulong(found.len()), &mut count);
            list.C_FindObjectsFinal?(session);
        }
        found.truncate(usize::try_from(count).ok()?);
        Some(found)
    };
    find().unwrap_or_default()
}

/// An attribute's value; `None` when the module does not give it.
pub(crate) fn attribute(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
) -> Option<Vec<u8>> {
    let mut value = vec![0_u8; 4096];
    let mut wanted =
        CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: ulong(value.len()) };
    // SAFETY: the buffer is our own, with its length.
    let code = unsafe { list()?.C_GetAttributeValue?(session, object, &mut wanted, 1) };
    value.truncate(usize::try_from(wanted.ulValueLen).ok()?);
    (code == CKR_OK).then_some(value)
}

fn number(kind: CK_ATTRIBUTE_TYPE, value: &mut CK_ULONG) -> CK_ATTRIBUTE {
    let len = ulong(std::mem::size_of::<CK_ULONG>());
    CK_ATTRIBUTE { type_: kind, pValue: std::ptr::from_mut(value).cast(), ulValueLen: len }
}

/// A length as PKCS#11 counts it. Ours are small.
pub(crate) fn ulong(len: usize) -> CK_ULONG {
    CK_ULONG::try_from(len).unwrap_or(0)
}

/// `len` bytes from `start` on; none where it is null.
///
/// # Safety
/// They can be read.
pub(crate) unsafe fn bytes<'a>(start: *const u8, len: CK_ULONG) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: what the caller promises.
    unsafe { std::slice::from_raw_parts(start, usize::try_from(len).unwrap_or(0)) }
}

/// Answers as PKCS#11 says of an output of variable length: the length where `out` is null, the content
/// where there is room.
///
/// # Safety
/// `len` can be read and written; `out` is null or has room for `*len` items.
pub(crate) unsafe fn give<T: Copy>(items: &[T], out: *mut T, len: *mut CK_ULONG) -> CK_RV {
    if len.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: what the caller promises; the two do not overlap, `items` is our own.
    unsafe {
        let room = usize::try_from(*len).unwrap_or(0);
        *len = ulong(items.len());
        if out.is_null() {
            return CKR_OK;
        }
        if room < items.len() {
            return CKR_BUFFER_TOO_SMALL;
        }
        std::ptr::copy_nonoverlapping(items.as_ptr(), out, items.len());
    }
    CKR_OK
}

/// What is too long for any memory.
pub(crate) const ONE_TIB: CK_ULONG = 1 << 40;
