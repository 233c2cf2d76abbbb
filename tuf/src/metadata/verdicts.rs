//! Who has signed what: the canonical form is made once for all who look at it, and a signature is verified once.

use super::Metadata;
use crate::{
    canonical::canonical,
    json::Document,
    key::{Challenge, KeyError, PublicKey, Scheme},
};
use std::{
    cell::LazyCell,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// The canonical form, where somebody still holds it; see [`CanonicalText`].
pub(super) type Made = Mutex<Weak<Vec<u8>>>;

/// The canonical form of what is signed: the text itself where that is canonical as it stands, else a copy that all who
/// look at it share.
#[derive(Clone)]
pub(crate) enum CanonicalText {
    AsRead { document: Arc<Document>, signed: u32 },
    Made(Arc<Vec<u8>>),
}

impl Deref for CanonicalText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::AsRead { document, signed } => document.value_at(*signed).raw(),
            Self::Made(bytes) => bytes,
        }
    }
}

/// A canonical form that is made when it is first looked at.
pub(crate) type Canonical<'m> = LazyCell<CanonicalText, Box<dyn FnOnce() -> CanonicalText + 'm>>;

impl Metadata {
    /// [`Metadata::canonical_signed`], shared.
    pub(super) fn canonical_text(&self) -> CanonicalText {
        let signed = self.signed();
        if signed.is_canonical() {
            return CanonicalText::AsRead {
                document: Arc::clone(&self.inner.document),
                signed: self.inner.signed,
            };
        }
        let mut made = self.inner.canonical.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = made.upgrade() {
            return CanonicalText::Made(bytes);
        }
        let bytes = Arc::new(canonical(signed));
        *made = Arc::downgrade(&bytes);
        CanonicalText::Made(bytes)
    }

    /// The canonical form of what is signed, made when it is first looked at.
    pub(crate) fn lazy_canonical(&self) -> Canonical<'_> {
        LazyCell::new(Box::new(|| self.canonical_text()))
    }

    /// Whether `signature` is one of `key` by `scheme` over `message`, which is the canonical form of what is signed
    /// here. What is known already is not found out again.
    pub(crate) fn is_signed_by(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        signature: &[u8],
        message: &Canonical<'_>,
    ) -> bool {
        let verdicts = &self.inner.verdicts;
        verdicts
            .known(key, scheme, signature)
            .unwrap_or_else(|| verdicts.verify(key, scheme, message, signature).is_ok())
    }
}

/// What was found out about the signatures of one content. Neither text nor key nor signature ever become another, so it
/// holds for ever, and for every file with this content.
#[derive(Default)]
pub(crate) struct Verdicts {
    all: Mutex<Vec<Verdict>>,
    /// Of a signature that is being made.
    foreseen: Mutex<Option<Challenge>>,
}

struct Verdict {
    key: PublicKey,
    scheme: Scheme,
    signature: Vec<u8>,
    good: bool,
}

impl Verdicts {
    /// Verifies a signature over `message`, the canonical form of this content, and keeps the answer.
    pub(crate) fn verify(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyError> {
        let foreseen = self.foreseen().take_if(|foreseen| foreseen.is_of(key, signature));
        let verified = match foreseen {
            Some(foreseen) => key.verify_foreseen(scheme, &foreseen, signature),
            None => key.verify_by(scheme, message, signature),
        };
        let mut all = self.lock();
        if all.len() < MOST_VERDICTS && find(&all, key, scheme, signature).is_none() {
            let (key, signature, good) = (key.clone(), signature.to_owned(), verified.is_ok());
            all.push(Verdict { key, scheme, signature, good });
        }
        verified
    }

    /// Hashes `message`, the canonical form of this content, for the Ed25519 signature by `key` that begins with `r`: it is
    /// verified by that.
    pub(crate) fn foresee(&self, key: &PublicKey, r: [u8; 32], message: &[u8]) {
        let challenge = Challenge::foreseen(key, r, message);
        *self.foreseen() = challenge;
    }

    fn foreseen(&self) -> MutexGuard<'_, Option<Challenge>> {
        self.foreseen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, key: &PublicKey, scheme: Scheme, signature: &[u8]) -> Option<bool> {
        find(&self.lock(), key, scheme, signature)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Verdict>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(all: &[Verdict], key: &PublicKey, scheme: Scheme, signature: &[u8]) -> Option<bool> {
    let same = |v: &&Verdict| v.key == *key && v.scheme == scheme && v.signature == signature;
    all.iter().find(same).map(|v| v.good)
}

/// So many answers are kept; a role has a handful of keys.
const MOST_VERDICTS: usize = 64;
