//! The same metadata with other signatures: what was found out about a large file once is not found out again.

use super::{Inner, Metadata, MetadataError, Role, SignatureEntry, Targets, signatures};
use crate::json::{self, Text, Value};
use std::sync::{Arc, OnceLock};

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
        let (before, text, after) = self.around_signatures(entries).unwrap_or_default();
        let bytes = [before, &text, after].concat();
        self.with_signature_text(targets, old, &text, bytes.into())
    }

    /// As [`Metadata::resigned`], of a file that nobody else holds, with signatures as long as those that it has (places for
    /// them, made by [`Metadata::resigned`] as well): then only they are written, whatever size the file has.
    ///
    /// # Errors
    /// As [`Metadata::resigned`].
    pub fn resigned_in_place(self, entries: &[SignatureEntry]) -> Result<Self, MetadataError> {
        let old = self.document().root().get("signatures").filter(|_| !self.is_signed_part());
        let Some((at, text)) = old.map(|old| (old.index(), signatures::text(&self, entries, old))) else {
            return self.resigned(entries);
        };
        let mut inner = match Arc::try_unwrap(self.inner) {
            Ok(inner) => inner,
            Err(inner) => return Self { inner }.resigned(entries),
        };
        let on = match inner.role {
            Role::Targets(targets) => targets.without_document(),
            role => return Self { inner: Arc::new(Inner { role, ..inner }) }.resigned(entries),
        };
        let replaced = Arc::get_mut(&mut inner.document).is_some_and(|it| it.replace_alike(at, &text));
        inner.role = Role::Targets(on(&inner.document));
        if !replaced {
            return Self { inner: Arc::new(inner) }.resigned(entries);
        }
        let written = inner.document.root().get("signatures").map(signatures::read).transpose();
        inner.signatures = written.map_err(|error| error.within("signatures"))?.unwrap_or_default();
        inner.file_digest = OnceLock::new();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads a file that is this one but for its signatures; `None` when it is another, or wrong, or one that is read as
    /// fast by [`Metadata::parse`]. Nothing is taken for granted: all else is compared, byte by byte.
    pub fn resigned_as(&self, bytes: &Text) -> Option<Self> {
        let (Role::Targets(targets), false) = (&self.inner.role, self.is_signed_part()) else { return None };
        let old = self.document().root().get("signatures")?;
        let (before, after) = (self.bytes().get(..old.span().start)?, self.bytes().get(old.span().end..)?);
        let text = bytes.strip_prefix(before)?.strip_suffix(after)?.to_vec();
        self.with_signature_text(targets, old, &text, bytes.clone()).ok()
    }

    fn with_signature_text(
        &self,
        targets: &Targets,
        old: Value<'_>,
        text: &[u8],
        bytes: Text,
    ) -> Result<Self, MetadataError> {
        let (document, by) = self.document().with_value(old, text, bytes)?;
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
            canonical: Arc::clone(&self.inner.canonical),
            verdicts: Arc::clone(&self.inner.verdicts),
            document,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}
