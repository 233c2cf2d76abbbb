//! C_Initialize, with the reserved argument that NSS needs. The one place of this crate with `unsafe`.

use std::ffi::CString;
use std::ptr::NonNull;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

/// Whether several threads may be in the module at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    Many,
    /// It cannot lock.
    One,
}

/// Initialises the module, with `reserved` as `pReserved` when it is given. One that cannot lock is told that it need not.
pub(crate) fn initialise(pkcs11: &Pkcs11, reserved: Option<&str>) -> Result<Threads, Error> {
    match initialise_with(pkcs11, reserved, CInitializeFlags::OS_LOCKING_OK) {
        Err(Error::Pkcs11(RvError::CantLock, _)) => {
            initialise_with(pkcs11, reserved, CInitializeFlags::empty()).map(|()| Threads::One)
        }
        done => done.map(|()| Threads::Many),
    }
}

#[allow(unsafe_code)]
fn initialise_with(pkcs11: &Pkcs11, reserved: Option<&str>, flags: CInitializeFlags) -> Result<(), Error> {
    let Some(reserved) = reserved else { return pkcs11.initialize(CInitializeArgs::new(flags)) };
    let text = CString::new(reserved).map_err(Error::NulError)?;
    // Leaked on purpose: nothing says how long a module looks at it. A helper initialises seldom.
    let pointer = NonNull::new(text.into_raw().cast()).ok_or(Error::InvalidValue)?;
    // SAFETY: the pointer comes from a CString that is never freed, so it is valid, aligned and ends
    // with NUL for as long as the process lives. That pReserved is a C string is what the modules say
    // for which an administrator configures `reserved`; other modules must not get one, and do not.
    let args = unsafe { CInitializeArgs::new_with_reserved(flags, pointer) };
    pkcs11.initialize(args)
}
