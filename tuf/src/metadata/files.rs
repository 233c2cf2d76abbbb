//! Timestamp and snapshot metadata (specification 4.4, 4.6), and the hashes that describe files.

use super::error::{self, Read, inside, member, object, optional, wrong};
use crate::{
    digest::{OtherHasher, Sha256Digest, lower_hex, write_hex},
    json::Value,
    role::{RoleName, Version},
};
use sha2::Digest as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What a timestamp says: which snapshot is the newest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TimestampRole {
    /// The entry `snapshot.json`.
    pub snapshot: MetaFile,
}

impl TimestampRole {
    pub(super) fn read(signed: Value<'_>) -> Read<Self> {
        let snapshot = member(signed, "meta", |meta| member(object(meta)?, "snapshot.json", MetaFile::read))?;
        Ok(Self { snapshot })
    }
}

/// What a snapshot says: which version every targets role has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The entries by role; `NAME.json` in the file.
    pub meta: BTreeMap<RoleName, MetaFile>,
}

impl Snapshot {
    pub(super) fn read(signed: Value<'_>) -> Read<Self> {
        let meta = member(signed, "meta", |meta| {
            let mut entries = BTreeMap::new();
            for (name, entry) in object(meta)?.members() {
                let text = error::text(name)?;
                let Some(stem) = text.strip_suffix(".json") else {
                    return wrong(name, "every name must end in \".json\"");
                };
                let role = RoleName::parse(stem).or_else(|error| wrong(name, error))?;
                let entry = inside(entry, &error::subscript(&text), MetaFile::read)?;
                entries.insert(role, entry);
            }
            Ok(entries)
        })?;
        Ok(Self { meta })
    }
}

/// What timestamp and snapshot say of another metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version.
    pub version: Version,
    /// Its exact length in bytes, if given.
    pub length: Option<u64>,
    /// Digests of its exact bytes, if given.
    pub hashes: Option<Hashes>,
}

impl MetaFile {
    /// An entry with the version alone.
    pub const fn of_version(version: Version) -> Self {
        Self { version, length: None, hashes: None }
    }

    fn read(value: Value<'_>) -> Read<Self> {
        let entry = object(value)?;
        Ok(Self {
            version: member(entry, "version", error::version)?,
            length: optional(entry, "length", error::count)?,
            hashes: optional(entry, "hashes", Hashes::read)?,
        })
    }
}

/// Digests of one file; at least one of them. SHA-256 and SHA-512 have a form by type, others are kept as they stand, and
/// checked where [`OtherHasher`] knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Option<Sha256Digest>,
    /// SHA-512.
    pub sha512: Option<Sha512Digest>,
    /// Names and texts of all others, in the order of the metadata.
    pub other: Vec<(String, String)>,
}

impl Hashes {
    /// SHA-256 alone.
    pub const fn sha256(digest: Sha256Digest) -> Self {
        Self { sha256: Some(digest), sha512: None, other: Vec::new() }
    }

    /// Whether these are SHA-256 or SHA-512 or both, rightly written: looked at without making anything of it.
    pub(super) fn is_plain(value: Value<'_>) -> bool {
        let is_digest = |name: Value<'_>, digest: Value<'_>| {
            let Some(text) = digest.raw_str().strip_prefix('"').and_then(|text| text.strip_suffix('"'))
            else {
                return false;
            };
            match name.raw_str() {
                "\"sha256\"" => lower_hex::<32>(text).is_some(),
                "\"sha512\"" => lower_hex::<64>(text).is_some(),
                _ => false,
            }
        };
        let mut members = value.members().peekable();
        members.peek().is_some() && members.all(|(name, digest)| is_digest(name, digest))
    }

    pub(super) fn read(value: Value<'_>) -> Read<Self> {
        let mut hashes = Self::default();
        for (name, digest) in object(value)?.members() {
            let name = error::text(name)?;
            let known = matches!(&*name, "sha256" | "sha512");
            let shown = if known { name.clone() } else { error::subscript(&name).into() };
            inside(digest, &shown, |digest| {
                let text = error::text(digest)?;
                match &*name {
                    "sha256" => hashes.sha256 = Some(text.parse().or_else(|error| wrong(digest, error))?),
                    "sha512" => hashes.sha512 = Some(Sha512Digest::read(digest, &text)?),
                    _ => hashes.other.push((name.to_string(), text.into_owned())),
                }
                Ok(())
            })?;
        }
        if value.is_empty() {
            return wrong(value, "must hold at least one digest");
        }
        Ok(hashes)
    }

    /// Whether all digests that are known are those of `bytes`, and there is one that counts.
    pub fn match_bytes(&self, bytes: &[u8]) -> bool {
        let sha256 = self.sha256.map(|wanted| wanted == Sha256Digest::of(bytes));
        let sha512 = self.sha512.map(|wanted| wanted == Sha512Digest::of(bytes));
        let other = |(name, wanted): &(String, String)| {
            OtherHasher::new(name).is_none_or(|mut hasher| {
                hasher.update(bytes);
                hasher.hex() == *wanted
            })
        };
        self.is_understood() && sha256 != Some(false) && sha512 != Some(false) && self.other.iter().all(other)
    }

    /// Whether there is a digest that this crate can check, and that is strong enough to tell files apart.
    pub fn is_understood(&self) -> bool {
        let counts = |(name, _): &(String, String)| OtherHasher::counts(name);
        self.sha256.is_some() || self.sha512.is_some() || self.other.iter().any(counts)
    }

    /// Which algorithms these are of: the digests of another file are to be of the same.
    pub fn algorithms(&self) -> Algorithms {
        let other = self.other.iter().map(|(name, _)| name.clone());
        Algorithms {
            sha256: self.sha256.is_some(),
            sha512: self.sha512.is_some(),
            other: other.filter(|name| OtherHasher::new(name).is_some()).collect(),
        }
    }

    /// Names and lower-case hexadecimal texts of all digests, those that are understood first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        let sha256 = self.sha256.iter().map(|digest| ("sha256", digest.to_string()));
        let sha512 = self.sha512.iter().map(|digest| ("sha512", digest.to_string()));
        sha256.chain(sha512).chain(self.other.iter().map(|(name, text)| (name.as_str(), text.clone())))
    }

    /// Names of the digests that the two have in common but with another value. Empty means that they may describe the
    /// same file.
    pub fn conflicts(&self, other: &Self) -> BTreeSet<String> {
        let theirs: BTreeMap<_, _> = other.iter().collect();
        let mine = self.iter().filter(|(name, text)| theirs.get(name).is_some_and(|other| other != text));
        mine.map(|(name, _)| name.to_owned()).collect()
    }
}

/// Which digests of a file are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    /// SHA-256.
    pub sha256: bool,
    /// SHA-512.
    pub sha512: bool,
    /// Names of all others; those that are known are computed.
    pub other: Vec<String>,
}

impl Algorithms {
    /// SHA-256 alone.
    pub const SHA256: Self = Self { sha256: true, sha512: false, other: Vec::new() };

    /// These and SHA-256, which every client knows.
    #[must_use]
    pub fn and_sha256(self) -> Self {
        Self { sha256: true, ..self }
    }

    /// Nothing of a file yet.
    pub fn start(&self) -> Hasher {
        let other = self.other.iter().filter_map(|name| Some((name.clone(), OtherHasher::new(name)?)));
        Hasher {
            sha256: self.sha256.then(sha2::Sha256::new),
            sha512: self.sha512.then(sha2::Sha512::new),
            other: other.collect(),
        }
    }

    /// The digests of these bytes.
    pub fn of(&self, bytes: &[u8]) -> Hashes {
        let mut hasher = self.start();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Several digests of one file in the making.
#[derive(Debug)]
pub struct Hasher {
    sha256: Option<sha2::Sha256>,
    sha512: Option<sha2::Sha512>,
    other: Vec<(String, OtherHasher)>,
}

impl Hasher {
    /// Takes more of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.iter_mut().for_each(|hasher| hasher.update(bytes));
        self.sha512.iter_mut().for_each(|hasher| hasher.update(bytes));
        self.other.iter_mut().for_each(|(_, hasher)| hasher.update(bytes));
    }

    /// The digests of all that it took.
    pub fn finish(self) -> Hashes {
        Hashes {
            sha256: self.sha256.map(|hasher| Sha256Digest::from_bytes(hasher.finalize().into())),
            sha512: self.sha512.map(|hasher| Sha512Digest::from_bytes(hasher.finalize().into())),
            other: self.other.into_iter().map(|(name, hasher)| (name, hasher.hex())).collect(),
        }
    }
}

/// A SHA-512 digest; written as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha512Digest([u8; 64]);

impl Sha512Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha512::digest(bytes).into())
    }

    /// A digest that something else has computed.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    fn read(value: Value<'_>, text: &str) -> Read<Self> {
        let bytes = lower_hex(text).map(Self);
        bytes.map_or_else(|| wrong(value, "must be 128 lower-case hexadecimal digits"), Ok)
    }
}

impl fmt::Display for Sha512Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Sha512Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
