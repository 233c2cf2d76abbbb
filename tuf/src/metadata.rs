//! Metadata files as they were read (specification 4).
//!
//! A [`Metadata`] keeps the bytes, and typed views beside them. Unknown members survive because nothing is ever written
//! from the views: what is signed is the canonical form of the `signed` text itself.

mod delegations;
mod error;
mod files;
mod oddities;
mod resigned;
mod root;
mod signatures;
mod targets;
mod verdicts;

use crate::{
    canonical::canonical,
    digest::Sha256Digest,
    json::{self, Document, ErrorKind, Text, Value},
    preimage::Preimage,
    role::{RoleKind, Version},
    time::UtcTime,
};
pub use delegations::{DelegatedRole, Delegations, Paths, SuccinctRoles};
pub use error::MetadataError;
use error::{Read, member, object, parsed, wrong};
pub use files::{Algorithms, Hasher, Hashes, MetaFile, Sha512Digest, Snapshot, TimestampRole};
pub use oddities::{Odd, Oddities, Oddity};
pub use root::Root;
pub use signatures::SignatureEntry;
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};
pub use targets::{TargetFile, Targets};
use verdicts::Made;
pub(crate) use verdicts::{Canonical, CanonicalText, Verdicts};

/// How many bytes of each kind of metadata are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Root.
    pub root: usize,
    /// Timestamp.
    pub timestamp: usize,
    /// Snapshot.
    pub snapshot: usize,
    /// Targets and delegated roles.
    pub targets: usize,
}

impl Limits {
    /// What the agent and its client read: 64 MiB of anything.
    pub const fn agent() -> Self {
        let all = 64 << 20;
        Self { root: all, timestamp: all, snapshot: all, targets: all }
    }

    /// What python-tuf and tuf-js read unless they are told otherwise.
    pub const fn stock() -> Self {
        Self { root: 512_000, timestamp: 16_384, snapshot: 2_000_000, targets: 5_000_000 }
    }

    /// The limit of one kind.
    pub const fn of(&self, kind: RoleKind) -> usize {
        match kind {
            RoleKind::Root => self.root,
            RoleKind::Timestamp => self.timestamp,
            RoleKind::Snapshot => self.snapshot,
            RoleKind::Targets => self.targets,
        }
    }

    fn largest(&self) -> usize {
        RoleKind::ALL.into_iter().map(|kind| self.of(kind)).max().unwrap_or(0)
    }
}

/// One metadata file, or one `signed` part alone, as it was read. A clone shares everything.
#[derive(Clone)]
pub struct Metadata {
    inner: Arc<Inner>,
}

struct Inner {
    document: Arc<Document>,
    signed: u32,
    /// Whether the text is the `signed` part alone.
    alone: bool,
    version: Version,
    expires: UtcTime,
    spec_version: String,
    signatures: Vec<SignatureEntry>,
    role: Role,
    digest: OnceLock<Sha256Digest>,
    file_digest: OnceLock<Sha256Digest>,
    canonical: Arc<Made>,
    verdicts: Arc<Verdicts>,
}

/// The typed view of what is signed.
enum Role {
    Root(Root),
    Timestamp(TimestampRole),
    Snapshot(Snapshot),
    Targets(Targets),
}

impl Metadata {
    /// Reads a metadata file: `signatures` and `signed`.
    ///
    /// # Errors
    /// Says what is wrong and where: no JSON as TUF allows it, longer than its kind may be, a member missing or wrong,
    /// a `_type` that is unknown, a keyid that has signed twice.
    pub fn parse(bytes: impl Into<Text>, limits: &Limits) -> Result<Self, MetadataError> {
        Self::of_file(Document::parse(bytes, limits.largest())?, &[], limits)
    }

    /// As [`Metadata::parse`], with the help of another version of the file: the members of large objects that both have in
    /// common are not read again, only compared.
    ///
    /// # Errors
    /// As [`Metadata::parse`].
    pub fn parse_near(&self, bytes: impl Into<Text>, limits: &Limits) -> Result<Self, MetadataError> {
        let bytes = bytes.into();
        let Some(targets) = self.as_targets().filter(|_| !self.is_signed_part()) else {
            return Self::parse(bytes, limits);
        };
        let (document, taken) = Document::parse_near(self.document(), bytes, limits.largest())?;
        let from = targets.value().index();
        let checked: Vec<_> =
            taken.into_iter().filter(|taken| taken.from == from).map(|taken| taken.nodes).collect();
        Self::of_file(document, &checked, limits)
    }

    /// `checked`: members of `targets` that were looked at before.
    fn of_file(document: Document, checked: &[Range<u32>], limits: &Limits) -> Result<Self, MetadataError> {
        let document = Arc::new(document);
        let file = object(document.root())?;
        let signatures = member(file, "signatures", signatures::read)?;
        let signed = member(file, "signed", object)?;
        let built = Self::build(&document, signed, signatures, false, checked, limits);
        built.map_err(|error| error.within("signed"))
    }

    /// Reads the `signed` part alone, as a signer has it in hand: JSON, or canonical JSON, whose strings may hold raw
    /// control characters. The result has no signatures.
    ///
    /// # Errors
    /// As [`Metadata::parse`].
    pub fn parse_signed_part(bytes: impl Into<Text>, limits: &Limits) -> Result<Self, MetadataError> {
        let document = Arc::new(signed_part(bytes.into(), limits.largest())?);
        let signed = object(document.root())?;
        Self::build(&document, signed, Vec::new(), true, &[], limits)
    }

    fn build(
        document: &Arc<Document>,
        signed: Value<'_>,
        signatures: Vec<SignatureEntry>,
        alone: bool,
        checked: &[Range<u32>],
        limits: &Limits,
    ) -> Read<Self> {
        let kind = member(signed, "_type", |value| {
            let kind = RoleKind::from_type(&error::text(value)?);
            kind.map_or_else(|| wrong(value, "must be root, timestamp, snapshot or targets"), Ok)
        })?;
        let (length, limit) = (document.bytes().len(), limits.of(kind));
        if length > limit {
            return Err(MetadataError::TooLong { kind, length, limit });
        }
        let inner = Inner {
            document: Arc::clone(document),
            signed: signed.index(),
            alone,
            spec_version: member(signed, "spec_version", spec_version)?,
            version: member(signed, "version", error::version)?,
            expires: member(signed, "expires", |value| parsed(value, str::parse))?,
            signatures,
            role: match kind {
                RoleKind::Root => Role::Root(Root::read(signed)?),
                RoleKind::Timestamp => Role::Timestamp(TimestampRole::read(signed)?),
                RoleKind::Snapshot => Role::Snapshot(Snapshot::read(signed)?),
                RoleKind::Targets => Role::Targets(Targets::read(document, signed, checked)?),
            },
            digest: OnceLock::new(),
            file_digest: OnceLock::new(),
            canonical: Arc::default(),
            verdicts: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether both are one and the same reading.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The bytes as they were read.
    pub fn bytes(&self) -> &Text {
        self.inner.document.bytes()
    }

    /// The text of `signed`, as it stands.
    pub fn signed_bytes(&self) -> &[u8] {
        self.signed().raw()
    }

    /// The value `signed`.
    pub fn signed(&self) -> Value<'_> {
        self.inner.document.value_at(self.inner.signed)
    }

    /// The document that was read.
    pub fn document(&self) -> &Document {
        &self.inner.document
    }

    /// Whether this is a `signed` part alone, without a file around it.
    pub fn is_signed_part(&self) -> bool {
        self.inner.alone
    }

    /// The kind, by `_type`.
    pub fn kind(&self) -> RoleKind {
        match self.inner.role {
            Role::Root(_) => RoleKind::Root,
            Role::Timestamp(_) => RoleKind::Timestamp,
            Role::Snapshot(_) => RoleKind::Snapshot,
            Role::Targets(_) => RoleKind::Targets,
        }
    }

    /// `version`.
    pub fn version(&self) -> Version {
        self.inner.version
    }

    /// `expires`. Metadata is valid before this moment and not at it.
    pub fn expires(&self) -> UtcTime {
        self.inner.expires
    }

    /// `spec_version`, of the form N.N or N.N.N, with a major number of 1.
    pub fn spec_version(&self) -> &str {
        &self.inner.spec_version
    }

    /// The entries of `signatures`, no keyid twice.
    pub fn signatures(&self) -> &[SignatureEntry] {
        &self.inner.signatures
    }

    /// The canonical form of `signed`: what signatures cover.
    pub fn canonical_signed(&self) -> Vec<u8> {
        canonical(self.signed())
    }

    /// The SHA-256 of [`Metadata::canonical_signed`], computed once.
    pub fn digest(&self) -> Sha256Digest {
        *self.inner.digest.get_or_init(|| Sha256Digest::of(&self.canonical_text()))
    }

    /// The SHA-256 of the file's very bytes, computed once.
    pub fn file_digest(&self) -> Sha256Digest {
        *self.inner.file_digest.get_or_init(|| Sha256Digest::of(self.bytes()))
    }

    /// [`Metadata::file_digest`], if it was computed already.
    pub fn known_file_digest(&self) -> Option<Sha256Digest> {
        self.inner.file_digest.get().copied()
    }

    /// What a backend may sign. As long as it lives, nobody makes the canonical form anew.
    pub fn preimage(&self) -> Preimage {
        let canonical = self.canonical_text();
        let digest = *self.inner.digest.get_or_init(|| Sha256Digest::of(&canonical));
        Preimage::new(canonical, digest, Arc::clone(&self.inner.verdicts))
    }

    /// The view of root metadata.
    pub fn as_root(&self) -> Option<&Root> {
        if let Role::Root(root) = &self.inner.role { Some(root) } else { None }
    }

    /// The view of timestamp metadata.
    pub fn as_timestamp(&self) -> Option<&TimestampRole> {
        if let Role::Timestamp(timestamp) = &self.inner.role { Some(timestamp) } else { None }
    }

    /// The view of snapshot metadata.
    pub fn as_snapshot(&self) -> Option<&Snapshot> {
        if let Role::Snapshot(snapshot) = &self.inner.role { Some(snapshot) } else { None }
    }

    /// The view of targets metadata.
    pub fn as_targets(&self) -> Option<&Targets> {
        if let Role::Targets(targets) = &self.inner.role { Some(targets) } else { None }
    }

    /// [`Metadata::with_signatures`] without a copy of what stays: what comes before the list of signatures, the list, and
    /// what comes after it. `None` for a `signed` part alone.
    pub fn around_signatures(&self, signatures: &[SignatureEntry]) -> Option<(&[u8], Vec<u8>, &[u8])> {
        let old = self.document().root().get("signatures").filter(|_| !self.is_signed_part())?;
        let (span, bytes) = (old.span(), self.bytes());
        Some((bytes.get(..span.start)?, signatures::text(self, signatures, old), bytes.get(span.end..)?))
    }

    /// The file with these signatures in place of its own, in this order. The text of `signed` stays as it is to the
    /// byte, entries that do not change keep their text, and spacing follows the rest of the file. For a `signed` part
    /// alone a compact file is made around it.
    pub fn with_signatures(&self, signatures: &[SignatureEntry]) -> Vec<u8> {
        signatures::replace(self, signatures)
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metadata({} version {}, sha256 {})", self.kind(), self.version(), self.digest())
    }
}

/// Strict JSON, or else text that is its own canonical form.
fn signed_part(bytes: Text, limit: usize) -> Result<Document, json::Error> {
    match Document::parse(bytes.clone(), limit) {
        Err(error) if matches!(error.kind, ErrorKind::ControlCharacter { .. }) => {
            let document = Document::parse_with_raw_controls(bytes, limit)?;
            let canonical = document.root().is_canonical() && document.root().raw() == &**document.bytes();
            if canonical { Ok(document) } else { Err(error) }
        }
        read => read,
    }
}

/// 4.3: clients must check the version of the specification; only major 1 is known.
fn spec_version(value: Value<'_>) -> Read<String> {
    let text = error::text(value)?;
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| (1..=9).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(number) {
        return wrong(value, "must be of the form 1.0.34");
    }
    if parts.first() != Some(&"1") {
        return wrong(
            value,
            format_args!("version {text:?} of the specification is not supported, only 1.x"),
        );
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests;
