//! The real module behind.

use std::sync::OnceLock;

use cryptoki_sys::*;

/// A copy of the real module's table; `None` when it cannot be loaded.
pub(crate) fn function_list() -> Option<CK_FUNCTION_LIST> {
    static REAL: OnceLock<Option<Loaded>> = OnceLock::new();
    REAL.get_or_init(load).as_ref().map(|loaded| loaded.list)
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

/// One signature by `key`; `None` when the module does not give it.
pub(crate) fn sign(
    session: CK_SESSION_HANDLE,
    mechanism: &mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    message: &[u8],
) -> Option<Vec<u8>> {
    let init = function_list()?.C_SignInit?;
    // SAFETY: the mechanism and its parameter are our own memory.
    let ready = unsafe { init(session, mechanism, key) };
    if ready == CKR_OK { finish(session, message) } else { None }
}

/// Ends the signing operation that was begun in the session.
pub(crate) fn finish(session: CK_SESSION_HANDLE, message: &[u8]) -> Option<Vec<u8>> {
    let sign = function_list()?.C_Sign?;
    let mut signature = vec![0; 1024];
    let mut len = ulong(signature.len());
    // SAFETY: all pointers are to our own memory, with their lengths.
    let rv = unsafe {
        sign(session, message.as_ptr().cast_mut(), ulong(message.len()), signature.as_mut_ptr(), &mut len)
    };
    signature.truncate(usize::try_from(len).ok()?);
    (rv == CKR_OK).then_some(signature)
}

/// The other private keys of the token with the type of `key`.
pub(crate) fn private_keys_like(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Vec<CK_OBJECT_HANDLE> {
    let mut kind: CK_KEY_TYPE = 0;
    let mut class = CKO_PRIVATE_KEY;
    let mut template = [attribute(CKA_CLASS, &mut class), attribute(CKA_KEY_TYPE, &mut kind)];
    let mut find = || -> Option<Vec<CK_OBJECT_HANDLE>> {
        let list = function_list()?;
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

fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &mut CK_ULONG) -> CK_ATTRIBUTE {
    let len = ulong(std::mem::size_of::<CK_ULONG>());
    CK_ATTRIBUTE { type_: kind, pValue: std::ptr::from_mut(value).cast(), ulValueLen: len }
}

/// A length as PKCS#11 counts it. Ours are small.
pub(crate) fn ulong(len: usize) -> CK_ULONG {
    CK_ULONG::try_from(len).unwrap_or(0)
}
