//! What can be signed, and nothing else: metadata that this crate has parsed, or a statement.

use crate::{
    digest::Sha256Digest,
    key::{KeyError, PublicKey, Scheme},
    metadata::{CanonicalText, Verdicts},
};
use sha2::Digest as _;
use std::{fmt, sync::Arc};

/// The canonical bytes of the `signed` part of metadata that this crate parsed. Only this crate can make one, through
/// [`crate::metadata::Metadata::preimage`]; backends sign this, or a [`Statement`], and nothing else.
#[derive(Clone)]
pub struct Preimage {
    bytes: CanonicalText,
    digest: Sha256Digest,
    /// What is known of signatures over it, shared with the metadata.
    verdicts: Arc<Verdicts>,
}

impl Preimage {
    pub(crate) fn new(bytes: CanonicalText, digest: Sha256Digest, verdicts: Arc<Verdicts>) -> Self {
        Self { bytes, digest, verdicts }
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their SHA-256.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preimage({} bytes, sha256 {})", self.bytes.len(), self.digest)
    }
}

/// What a [`Statement`] is about. The names are part of what is signed and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatementKind {
    /// The manifest of a set of key shares.
    ShareManifest,
    /// A drill with a set of key shares.
    Drill,
    /// The head of a journal.
    JournalCheckpoint,
    /// A proof that a token holds the private key.
    Possession,
}

impl StatementKind {
    /// The name on the statement's second line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShareManifest => "share-manifest",
            Self::Drill => "drill",
            Self::JournalCheckpoint => "journal-checkpoint",
            Self::Possession => "possession",
        }
    }
}

/// A text that is signed beside metadata. It begins with a line that no JSON object can begin with, so a signature of
/// it is never one of metadata: `tuf-agent-statement-v1`, the kind, then the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    bytes: Vec<u8>,
}

impl Statement {
    /// The first line.
    pub const PREFIX: &'static str = "tuf-agent-statement-v1\n";

    /// The statement of `kind` that says `body`.
    pub fn new(kind: StatementKind, body: &str) -> Self {
        Self { bytes: format!("{}{}\n{body}", Self::PREFIX, kind.name()).into_bytes() }
    }

    /// The bytes that are signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Either of the two things that a backend signs.
#[derive(Clone, Copy, Debug)]
pub enum Signable<'a> {
    /// Metadata.
    Metadata(&'a Preimage),
    /// A statement.
    Statement(&'a Statement),
}

impl Signable<'_> {
    /// The bytes that the signature covers.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Metadata(preimage) => preimage.bytes(),
            Self::Statement(statement) => statement.bytes(),
        }
    }

    /// Their SHA-256, which ECDSA P-256 and RSA-PSS sign.
    pub fn sha256(&self) -> Sha256Digest {
        match self {
            Self::Metadata(preimage) => preimage.digest(),
            Self::Statement(statement) => Sha256Digest::of(statement.bytes()),
        }
    }

    /// Verifies a signature over them by `scheme`, each time anew. Metadata remembers the answer, so that a file that comes
    /// back with this signature is not verified again.
    ///
    /// # Errors
    /// As [`PublicKey::verify_by`].
    pub fn verify(&self, key: &PublicKey, scheme: Scheme, signature: &[u8]) -> Result<(), KeyError> {
        match self {
            Self::Metadata(preimage) => preimage.verdicts.verify(key, scheme, preimage.bytes(), signature),
            Self::Statement(statement) => key.verify_by(scheme, statement.bytes(), signature),
        }
    }

    /// For whoever makes an Ed25519 signature by `key` that begins with `r`, on another thread meanwhile: takes the hash by which
    /// [`Signable::verify`] will verify it. Of a large text that takes as long as signing.
    pub fn foresee(&self, key: &PublicKey, r: [u8; 32]) {
        if let Self::Metadata(preimage) = self {
            preimage.verdicts.foresee(key, r, preimage.bytes());
        }
    }

    /// Their SHA-384, which ECDSA P-384 signs.
    pub fn sha384(&self) -> [u8; 48] {
        sha2::Sha384::digest(self.bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_can_never_be_taken_for_metadata() {
        let statement = Statement::new(StatementKind::Drill, "{}");
        assert_eq!(statement.bytes(), b"tuf-agent-statement-v1\ndrill\n{}");
        assert!(crate::json::Document::parse(statement.bytes(), 1 << 10).is_err());
    }

    #[test]
    fn what_is_foreseen_changes_no_verdict() {
        use ed25519_dalek::Signer as _;
        let text = crate::edit::new_targets(crate::role::Version::FIRST, crate::time::UtcTime::from_unix(0));
        let read =
            || crate::metadata::Metadata::parse(text.clone(), &crate::metadata::Limits::agent()).unwrap();
        let private = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let key = PublicKey::from_ed25519(private.verifying_key().to_bytes()).unwrap();
        let other = PublicKey::from_ed25519([0x58; 32]);
        let good = private.sign(read().preimage().bytes()).to_bytes();
        let r: [u8; 32] = good[..32].try_into().unwrap();
        for foreseen in [r, [7; 32]] {
            for at in 0..=64 {
                let preimage = read().preimage();
                let mut bytes = good;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 4;
                }
                Signable::Metadata(&preimage).foresee(&key, foreseen);
                let verdict = Signable::Metadata(&preimage).verify(&key, Scheme::Ed25519, &bytes);
                assert_eq!(verdict.is_ok(), at == 64, "{at}");
            }
        }
        let preimage = read().preimage();
        Signable::Metadata(&preimage).foresee(&key, r);
        for (key, scheme) in [(other.as_ref().ok(), Scheme::Ed25519), (Some(&key), Scheme::EcdsaP256)] {
            let verdict = key.map(|key| Signable::Metadata(&preimage).verify(key, scheme, &good));
            assert!(verdict.is_none_or(|verdict| verdict.is_err()));
        }
    }

    #[test]
    fn the_digests_are_those_of_the_bytes() {
        let statement = Statement::new(StatementKind::JournalCheckpoint, "x");
        let signable = Signable::Statement(&statement);
        assert_eq!(signable.sha256(), Sha256Digest::of(signable.bytes()));
        assert_eq!(signable.sha384().len(), 48);
    }
}
