//! The step that every signature passes before it leaves: verified in software (FAULTS D7).

use tuf::key::{PublicKey, SignatureBytes};
use tuf::preimage::Signable;

use crate::BackendError;

/// What a token gave as a signature. There is no way to its bytes but [`UnverifiedSignature::verify`].
pub struct UnverifiedSignature(Vec<u8>);

impl UnverifiedSignature {
    /// Takes the bytes that a token gave, in the form that metadata wants.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Verifies against the public key that was asked for, not one that the token names.
    ///
    /// # Errors
    /// [`BackendError::BadSignature`] when it does not verify.
    pub fn verify(self, key: &PublicKey, what: Signable<'_>) -> Result<SignatureBytes, BackendError> {
        key.verify(what.bytes(), &self.0).map_err(|_| BackendError::BadSignature)?;
        Ok(SignatureBytes::new(self.0))
    }
}
