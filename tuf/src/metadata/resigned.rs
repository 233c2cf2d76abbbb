//! The same metadata with other signatures, and who has signed: what was found out about a large file once is not
//! found out again.

use super::{Inner, Metadata, MetadataError, Role, SignatureEntry, Targets, signatures};
use crate::{
    json::{self, Value},
    key::{PublicKey, Scheme},
};
use std::{
    borrow::Cow,
    cell::LazyCell,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

impl Metadata {
    /// The file that [`Metadata::with_signatures`] writes, read. Of targets metadata only the signatures are parsed:
    /// everything else is shared, or moved to its new place.
    ///
    /// # Errors
    /// As [`Metadata::parse`], for signatures that no file may have.
    pub fn resigned(&self, entries: &[SignatureEntry]) -> Result<Self, MetadataError> {
        let old = self.document().root().get("signatures").filter(|_| !self.is_signed_part());
        let (Role::Targets(targets), Some(old)) = (&self.inner.role, old) else {
            return Self::parse(self.with_signatures(entries), &super::Limits::agent());
        };
        self.with_signature_text(targets, old, &signatures::text(self, entries, old))
    }

    /// Reads a file that is this one but for its signatures; `None` when it is another, or wrong, or one that is read as
    /// fast by [`Metadata::parse`]. Nothing is taken for granted: all else is compared, byte by byte.
    pub fn resigned_as(&self, bytes: &[u8]) -> Option<Self> {
        let (Role::Targets(targets), false) = (&self.inner.role, self.is_signed_part()) else { return None };
        let old = self.document().root().get("signatures")?;
        let (before, after) = (self.bytes().get(..old.span().start)?, self.bytes().get(old.span().end..)?);
        let text = bytes.strip_prefix(before)?.strip_suffix(after)?;
        self.with_signature_text(targets, old, text).ok()
    }

    fn with_signature_text(
        &self,
        targets: &Targets,
        old: Value<'_>,
        text: &[u8],
    ) -> Result<Self, MetadataError> {
        let (document, by) = self.document().with_value(old, text)?;
        let document = Arc::new(document);
        let place = |index: u32| if index > old.index() { json::moved(index, by) } else { index };
        let written = document.root().get("signatures").map(signatures::read).transpose();
        let inner = Inner {
            signed: place(self.inner.signed),
            alone: false,
            version: self.inner.version,
            expires: self.inner.expires,
            spec_version: self.inner.spec_version.clone(),
            signatures: written.map_err(|error| error.within("signatures"))?.unwrap_or_default(),
            role: Role::Targets(targets.moved(&document, place(targets.value().index()))),
            // What is signed is the same to the byte.
            digest: self.inner.digest.clone(),
            file_digest: OnceLock::new(),
            verdicts: Mutex::new(self.verdicts().clone()),
            document,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether `signature` is one of `key` by `scheme` over `message`, which is the canonical form of what is signed here. The answer
    /// is kept: neither text nor key nor signature ever become another.
    pub(crate) fn is_signed_by(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        signature: &[u8],
        message: &Canonical<'_>,
    ) -> bool {
        let same = |v: &&Verdict| v.key == *key && v.scheme == scheme && v.signature == signature;
        let known = |all: &[Verdict]| all.iter().find(same).map(|v| v.good);
        if let Some(good) = known(&self.verdicts()) {
            return good;
        }
        let good = key.verify_by(scheme, message, signature).is_ok();
        let mut verdicts = self.verdicts();
        if verdicts.len() < MOST_VERDICTS && known(&verdicts).is_none() {
            verdicts.push(Verdict { key: key.clone(), scheme, signature: signature.to_owned(), good });
        }
        good
    }

    /// The canonical form of what is signed, made when it is first looked at.
    pub(crate) fn lazy_canonical(&self) -> Canonical<'_> {
        LazyCell::new(Box::new(|| self.canonical_text()))
    }

    fn verdicts(&self) -> MutexGuard<'_, Vec<Verdict>> {
        self.inner.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Metadata::lazy_canonical`].
pub(crate) type Canonical<'m> = LazyCell<Cow<'m, [u8]>, Box<dyn FnOnce() -> Cow<'m, [u8]> + 'm>>;

/// What was found out about one signature.
#[derive(Clone)]
pub(super) struct Verdict {
    key: PublicKey,
    scheme: Scheme,
    signature: Vec<u8>,
    good: bool,
}

/// So many answers are kept; a role has a handful of keys.
const MOST_VERDICTS: usize = 64;
