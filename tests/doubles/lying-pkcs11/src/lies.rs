//! The lies, one variant each.

use std::time::Duration;

use cryptoki_sys::{CK_RV, CK_ULONG, CKR_BUFFER_TOO_SMALL, CKR_OK};

/// What a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The real one.
    Pass,
    /// One bit is flipped.
    Wrong,
    /// The last byte is missing.
    Truncated,
    /// A right signature, by another key of the token.
    OtherKey,
    /// The process dies.
    Crash,
    /// It never comes.
    Hang,
    /// The process dies at the next login, when the PIN was presented.
    CrashLogin,
}

impl Lie {
    /// What the control file says now; without one, or with a word that is none of ours, the truth.
    pub fn now() -> Self {
        let Some(path) = std::env::var_os("LYING_CONTROL") else { return Self::Pass };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        match text.split_whitespace().next() {
            Some("wrong") => Self::Wrong,
            Some("truncated") => Self::Truncated,
            Some("other-key") => Self::OtherKey,
            Some("crash") => Self::Crash,
            Some("hang") => Self::Hang,
            Some("crash-login") => Self::CrashLogin,
            _ => Self::Pass,
        }
    }

    /// What is done before the real module is asked.
    pub(crate) fn before(self) {
        match self {
            Self::Crash => std::process::abort(),
            Self::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            _ => {}
        }
    }

    /// What becomes of the real module's signature.
    ///
    /// # Safety
    /// The buffer that the real module has just filled, and its length.
    pub(crate) unsafe fn bend(self, rv: CK_RV, signature: *mut u8, len: *mut CK_ULONG) -> CK_RV {
        if rv != CKR_OK || signature.is_null() || len.is_null() {
            return rv;
        }
        // SAFETY: what the caller promises.
        unsafe {
            match self {
                Self::Wrong if *len > 0 => *signature ^= 1,
                Self::Truncated if *len > 0 => *len -= 1,
                _ => {}
            }
        }
        rv
    }
}

/// Puts a whole signature into the caller's buffer.
///
/// # Safety
/// `out` has room for `*len` bytes.
pub(crate) unsafe fn write(out: *mut u8, len: *mut CK_ULONG, signature: &[u8]) -> CK_RV {
    // SAFETY: what the caller promises; both do not overlap, `signature` is our own.
    unsafe {
        if usize::try_from(*len).unwrap_or(0) < signature.len() {
            return CKR_BUFFER_TOO_SMALL;
        }
        std::ptr::copy_nonoverlapping(signature.as_ptr(), out, signature.len());
        *len = crate::real::ulong(signature.len());
    }
    CKR_OK
}
