//! C_Sign alone, between a C_SignInit and a login that came before it: cryptoki has no call that leaves room for the
//! context-specific login of keys that take a PIN for each signature. Beside [`super::reserved`] the one place of this
//! crate with `unsafe`.

use std::path::Path;
use std::sync::Arc;

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, Rv};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki_sys::{CK_C_Sign, CK_ULONG, CKR_OK};

/// A module's C_Sign, and what keeps it loaded.
#[derive(Clone)]
pub(crate) struct SingleSign {
    sign: CK_C_Sign,
    _module: Arc<cryptoki_sys::Pkcs11>,
}

impl SingleSign {
    /// Takes it from a module that `pkcs11` has loaded already, by the same path: it is not loaded twice.
    #[allow(unsafe_code)]
    pub(crate) fn of(pkcs11: &Pkcs11, path: &Path) -> Result<Self, Error> {
        // SAFETY: the module is trusted to be one, as it was when cryptoki loaded it from this very path just now; it is
        // that copy that the loader gives, and no initialiser runs again.
        let module = unsafe { cryptoki_sys::Pkcs11::new(path) }.map_err(Error::LibraryLoading)?;
        let (mut list, mut again) = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry = module.C_GetFunctionList.as_ref().map_err(|_| Error::NullFunctionPointer)?;
        // SAFETY: as PKCS#11 says: a pointer to write to; the table that is given lives as long as the module, which
        // lives as long as this value.
        let sign = unsafe {
            if entry(&raw mut list) != CKR_OK || list.is_null() {
                return Err(Error::NullFunctionPointer);
            }
            let same = entry(&raw mut again) == CKR_OK && list == again;
            // p11-kit's client gives another table to each who asks, and the calls of one know nothing of the sessions
            // of another.
            if same { (*list).C_Sign } else { in_table_of(pkcs11) }
        };
        Ok(Self { sign, _module: Arc::new(module) })
    }

    /// C_SignInit and C_Sign.
    pub(crate) fn sign_whole(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if self.sign.is_none() {
            return session.sign(mechanism, key, data);
        }
        session.sign_init(mechanism, key)?;
        self.sign(session, data)
    }

    /// The signature of the operation that was begun in this session.
    #[allow(unsafe_code)]
    pub(crate) fn sign(&self, session: &Session, data: &[u8]) -> Result<Vec<u8>, Error> {
        let Some(sign) = self.sign else { return Err(Error::NullFunctionPointer) };
        let mut signature = vec![0; LONGEST];
        let mut len = length(signature.len())?;
        let data_len = length(data.len())?;
        // SAFETY: both buffers are ours and as long as is said; the module only reads the first, as C_Sign must. The session
        // is open, and used by this thread alone, since it is borrowed and not Sync.
        let rv = unsafe {
            sign(session.handle(), data.as_ptr().cast_mut(), data_len, signature.as_mut_ptr(), &raw mut len)
        };
        Rv::from(rv).into_result(Function::Sign)?;
        // One that is said to be longer than there was room for is too long, whatever it is: it will not verify.
        signature.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(signature)
    }
}

/// C_Sign of the very table that cryptoki calls. It keeps its copy to itself, and shows it in its text for debugging alone.
#[allow(unsafe_code)]
fn in_table_of(pkcs11: &Pkcs11) -> CK_C_Sign {
    let address = address_in(&format!("{pkcs11:?}"))?;
    let function = std::ptr::with_exposed_provenance::<()>(address);
    // SAFETY: cryptoki wrote there the address of its member of this name and type, which is not null; it is that of a
    // function of the module, which stays loaded as long as the value that holds what is made here.
    let sign: CK_C_Sign = unsafe { std::mem::transmute(function) };
    sign
}

/// The address of C_Sign in a table that was written for debugging.
fn address_in(table: &str) -> Option<usize> {
    let (_, from) = table.split_once(" C_Sign: Some(0x")?;
    let (digits, _) = from.split_once(')')?;
    usize::from_str_radix(digits, 16).ok().filter(|address| *address != 0)
}

fn length(len: usize) -> Result<CK_ULONG, Error> {
    CK_ULONG::try_from(len).map_err(|_| Error::InvalidValue)
}

/// No signature of a key that is used here is longer (RSA of 8192 bits: 1024 bytes).
const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_table_that_is_written_for_debugging_it_is_c_sign_that_is_read() {
        let table =
            |sign| format!("List {{ C_SignInit: Some(0x10), C_Sign: {sign}, C_SignUpdate: Some(0x20) }}");
        assert_eq!(address_in(&table("Some(0x00007f12)")), Some(0x7f12));
        for none in ["None", "Some(0x0)", "Some(it)"] {
            assert_eq!(address_in(&table(none)), None, "{none}");
        }
    }
}
