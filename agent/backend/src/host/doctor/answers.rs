//! What the answers to a probe say: that something can be done, that it cannot, or nothing.
//!
//! Invariant: only a code that is about what was asked for says that it cannot be done. What comes by chance, such as an
//! error of the device, is told as not measured, and nothing follows from it.

use cryptoki::error::{Error, RvError};

use super::Stop;
use super::bench::Bench;
use crate::doctor::{Finding, NotMeasured, says_cannot};
use crate::host::ckr;
use crate::host::faults::told;

impl Bench<'_> {
    /// A part of the probe that gave nothing.
    pub(super) fn miss(&self, what: &str, why: String) {
        let probe = format!("{}: {what}", self.probe.name());
        self.missed.borrow_mut().push(NotMeasured { probe, why });
    }

    /// What an answer says of `what` was tried: that it cannot be done, by a code that says so (`more`: here, too), or
    /// nothing, which is told.
    pub(super) fn refused(&self, what: &str, error: &Error, more: &[RvError]) -> Finding {
        let here = matches!(error, Error::Pkcs11(code, _) if more.contains(code));
        if here || cannot(error) {
            return Finding::No(told(error));
        }
        self.miss(what, told(error));
        Finding::Unknown
    }

    /// What came of an attempt.
    pub(super) fn tried<T>(&self, what: &str, outcome: &Result<T, Error>) -> Finding {
        match outcome {
            Ok(_) => Finding::Yes,
            Err(error) => self.refused(what, error, &[]),
        }
    }

    /// What came of an attempt to sign, judged by `verifies`.
    pub(super) fn judged<E: Into<Stop>>(
        &self,
        what: &str,
        signature: Result<Vec<u8>, E>,
        verifies: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Finding, Stop> {
        self.judged_by(what, signature, verifies, &[])
    }

    /// The same, where these codes say that it cannot be done.
    pub(super) fn judged_by<E: Into<Stop>>(
        &self,
        what: &str,
        signature: Result<Vec<u8>, E>,
        verifies: impl FnOnce(&[u8]) -> bool,
        more: &[RvError],
    ) -> Result<Finding, Stop> {
        Ok(match signature.map_err(Into::into) {
            Ok(signature) if verifies(&signature) => Finding::Yes,
            Ok(_) => Finding::No("a signature that does not verify".to_owned()),
            Err(Stop::Module(error)) => self.refused(what, &error, more),
            Err(Stop::Why(why)) => {
                self.miss(what, why);
                Finding::Unknown
            }
            Err(stop @ (Stop::Pin(_) | Stop::Swapped(_))) => return Err(stop),
        })
    }
}

/// Whether an answer says that what was asked for cannot be done. A device that was busy, or a login that was lost, says
/// nothing of it.
pub(super) fn cannot(error: &Error) -> bool {
    match error {
        Error::Pkcs11(code, _) => says_cannot(&ckr::name(*code)),
        Error::NullFunctionPointer | Error::NotSupported => true,
        _ => false,
    }
}

/// Of two attempts that failed the answer that is told: the first, unless the second says nothing of what was asked.
pub(super) fn telling(first: Error, second: Error) -> Error {
    if cannot(&second) { first } else { second }
}
