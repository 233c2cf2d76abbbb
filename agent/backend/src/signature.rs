//! The step that every signature passes before it leaves: verified in software (FAULTS D7).

use tuf::key::{PublicKey, Scheme, SignatureBytes};
use tuf::preimage::Signable;

use crate::BackendError;

/// What a token gave as a signature. There is no way to its bytes but [`UnverifiedSignature::verify`].
///
/// ```compile_fail,E0616
/// let bytes = tufagent_backend::UnverifiedSignature::new(vec![0; 64]).0;
/// ```
pub struct UnverifiedSignature(Vec<u8>, PinUse);

/// Whether a token has looked at the PIN that came with what it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinUse {
    /// It has, and accepted it; or none came.
    Looked,
    /// The key takes none: nobody knows whether it is right.
    Left,
}

impl UnverifiedSignature {
    /// Takes the bytes that a token gave, in the form that metadata wants.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes, PinUse::Looked)
    }

    /// The same of a signature for which a PIN was given.
    pub(crate) const fn with_pin(bytes: Vec<u8>, pin: PinUse) -> Self {
        Self(bytes, pin)
    }

    /// Whether it was made without a look at the PIN that was given for it: that proves nothing of the PIN, and cost no try.
    #[must_use]
    pub fn left_the_pin(&self) -> bool {
        self.1 == PinUse::Left
    }

    /// Verifies against the public key and scheme that were asked for, not ones that the token names.
    ///
    /// # Errors
    /// [`BackendError::BadSignature`] when it does not verify.
    pub fn verify(
        self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<SignatureBytes, BackendError> {
        what.verify(key, scheme, &self.0).map_err(|_| BackendError::BadSignature)?;
        Ok(SignatureBytes::new(self.0))
    }
}

#[cfg(test)]
mod tests {
    use tuf::key::KeyType;
    use tuf::preimage::{Statement, StatementKind};

    use super::*;
    use crate::software::SoftwareKey;

    #[test]
    fn wrong_truncated_and_other_keys_signatures_never_leave() {
        let statement = Statement::new(StatementKind::Possession, "x");
        let what = Signable::Statement(&statement);
        for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let (key, other) = (SoftwareKey::generate(kind).unwrap(), SoftwareKey::generate(kind).unwrap());
            let scheme = kind.default_scheme();
            let good = key.sign(scheme, what.bytes()).unwrap();
            let mut flipped = good.clone();
            flipped[good.len() - 1] ^= 1;
            let bad = [
                flipped,
                good[..good.len() - 1].to_vec(),
                [&good[..], &[0]].concat(),
                Vec::new(),
                vec![0; good.len()],
                other.sign(scheme, what.bytes()).unwrap(),
                key.sign(scheme, b"something else").unwrap(),
            ];
            for (n, bytes) in bad.into_iter().enumerate() {
                let released = UnverifiedSignature::new(bytes).verify(key.public(), scheme, what);
                assert!(matches!(released, Err(BackendError::BadSignature)), "{kind} {n}: {released:?}");
            }
            assert!(UnverifiedSignature::new(good).verify(key.public(), scheme, what).is_ok());
        }
    }
}
