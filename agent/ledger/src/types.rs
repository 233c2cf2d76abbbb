//! What goes into the ledger and comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};
use tuf::time::UtcTime;

/// The identity of a repository's root chain in this ledger; written as 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryId([u8; 16]);

impl RepositoryId {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RepositoryId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidName)?;
        let id = Self(bytes);
        if id.to_string() == text { Ok(id) } else { Err(InvalidName) }
    }
}

/// What people call a repository: 1 to 128 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

/// The text is not a name of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name: 1 to 128 printable ASCII characters without spaces")]
pub struct InvalidName;

/// What the ledger knows of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its identity.
    pub id: RepositoryId,
    /// Its name.
    pub name: RepositoryName,
    /// For how many days a role's metadata is valid; roles that are not listed have the default of their kind. Shared:
    /// bins come by the thousand, and a record is asked for with each signature.
    pub expiry_days: Arc<BTreeMap<RoleName, u32>>,
    /// Nested targets are published under tough's name as well.
    pub tough_names: bool,
    /// When it was registered.
    /// No other record has this second: a root that is begun by it is no other's.
    pub created: UtcTime,
    /// The newest trusted root: version and digest of its canonical `signed`. None until one met its threshold.
    pub root: Option<(Version, Sha256Digest)>,
}

/// A repository that is registered or adopted.
#[derive(Debug, Clone)]
pub struct NewRepository {
    /// The name that it shall have.
    pub name: RepositoryName,
    /// Lengths, in days.
    pub expiry_days: BTreeMap<RoleName, u32>,
    /// Whether nested targets are published under tough's name as well.
    pub tough_names: bool,
    /// The trusted root of an existing repository; none for a new one.
    pub root: Option<AdoptedRoot>,
    /// A person said that keys may serve this chain as well as another one.
    pub shared_key: bool,
    /// Who asked, for the journal.
    pub caller: Value,
}

/// The trusted root with which a repository is adopted.
#[derive(Debug, Clone)]
pub struct AdoptedRoot {
    /// Its version.
    pub version: Version,
    /// SHA-256 of its canonical `signed`.
    pub digest: Sha256Digest,
    /// Fingerprints of the public keys that it lists, with the roles that they serve.
    pub keys: Vec<(Sha256Digest, RoleName)>,
    /// The other roots of the copy that is adopted: by any of them its chain may be known.
    pub others: Vec<Sha256Digest>,
}

/// As what a repository would be adopted.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The record that is there, or the one that would be made.
    pub record: Record,
    /// It is there, with this chain.
    pub known: bool,
    /// It is there, and nothing but roots came of it: its adoption was cut off.
    pub bare: bool,
}

/// A published copy from which a repository is adopted that was not known.
#[derive(Debug, Clone, Default)]
pub struct AdoptedCopy {
    /// Roots from before the trusted one, newest first.
    pub ancestors: Vec<(Version, Sha256Digest)>,
    /// What is short of its threshold.
    pub short: BTreeMap<RoleName, Version>,
    /// Lengths of roles, each with the default.
    pub lengths: BTreeMap<RoleName, (u32, u32)>,
    /// What was verified.
    pub files: Vec<Verified>,
}

/// A version with its content and the time at which the ledger learnt of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The version.
    pub version: Version,
    /// SHA-256 of its canonical `signed`.
    pub digest: Sha256Digest,
    /// When.
    pub on: UtcTime,
}

/// What a role may not fall below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermark {
    /// The newest version that this agent signed (or meant to: an intent counts).
    pub signed: Option<Mark>,
    /// The newest version that this agent verified as published.
    pub verified: Option<Mark>,
    /// The bytes in which that version was seen last: roles with equal content differ in their signatures.
    pub file: Option<FileBytes>,
}

/// The bytes of a metadata file, signatures included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileBytes {
    /// How many.
    pub length: u64,
    /// Their SHA-256.
    pub sha256: Sha256Digest,
}

impl Watermark {
    /// The higher of both; the verified one when they are level.
    #[must_use]
    pub fn newest(&self) -> Option<Mark> {
        match (self.signed, self.verified) {
            (Some(signed), Some(verified)) if signed.version > verified.version => Some(signed),
            (signed, verified) => verified.or(signed),
        }
    }

    /// A lower version, and the same again, changes nothing.
    pub(crate) fn raise_signed(&mut self, mark: Mark) {
        if self.signed.is_none_or(|known| known.version < mark.version) {
            self.signed = Some(mark);
        }
    }
}

/// A signature that is about to be made.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The repository.
    pub repository: RepositoryId,
    /// The role.
    pub role: RoleName,
    /// Other targets roles that the keys could satisfy. Targets metadata does not name its role, so a version that
    /// skips ahead in `role` must clear their watermarks as well, or it could be passed off as theirs.
    pub also_roles: Vec<RoleName>,
    /// The version.
    pub version: Version,
    /// SHA-256 of the canonical `signed`.
    pub digest: Sha256Digest,
    /// The keys that will sign.
    pub keys: Vec<IntentKey>,
    /// What a snapshot or timestamp lists; empty for other roles.
    pub lists: BTreeMap<RoleName, Version>,
    /// A person said that the keys may serve this chain as well as another one.
    pub shared_key: bool,
    /// A person said that this root takes the place of one with this digest, which was signed under the same version and
    /// never published.
    pub supersedes: Option<Sha256Digest>,
    /// Who asked, for the journal.
    pub caller: Value,
}

/// A key of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentKey {
    /// What people call it.
    pub name: String,
    /// `PublicKey::fingerprint`.
    pub fingerprint: Sha256Digest,
    /// What gives it to the role.
    pub given: Given,
}

/// What gives a key to a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Metadata that was verified, or that keys of its own role have signed here.
    Founded {
        /// Of the roles that [`Ledger::unfounded`](crate::Ledger::unfounded) names for the key those that it is given in this
        /// way by now.
        also: BTreeSet<RoleName>,
    },
    /// A caller's word alone.
    Unfounded,
}

impl Given {
    /// By verified metadata, and nothing more is to be said.
    #[must_use]
    pub const fn founded() -> Self {
        Self::Founded { also: BTreeSet::new() }
    }
}

/// The number of the journal entry that recorded an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub(crate) u64);

impl IntentId {
    /// The entry's number.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.0
    }
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Signatures were made and verified.
    Signed {
        /// The keyids as the metadata writes them.
        keyids: Vec<String>,
        /// Fingerprints of the public keys.
        keys: Vec<Sha256Digest>,
    },
    /// No signature left the agent.
    Failed {
        /// The reason of the table.
        reason: String,
        /// What happened.
        message: String,
    },
    /// The caller went away; no signature left the agent.
    Abandoned,
    /// The agent ended in between; nobody knows whether a token signed.
    Unknown,
}

/// An intent whose outcome was never recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntent {
    /// The intent.
    pub id: IntentId,
    /// Its repository.
    pub repository: RepositoryId,
    /// Its role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its canonical `signed`.
    pub digest: Sha256Digest,
}

/// Metadata that met its thresholds in front of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its canonical `signed`.
    pub digest: Sha256Digest,
    /// What a snapshot or timestamp lists; empty for other roles.
    pub lists: BTreeMap<RoleName, Version>,
    /// The bytes of its file, where they were seen.
    pub file: Option<FileBytes>,
    /// Fingerprints of the public keys that have signed it: they belong to this chain from now on.
    pub signed_by: Vec<Sha256Digest>,
    /// Fingerprints of the public keys to which it gives a role: so do they.
    pub names: Vec<Sha256Digest>,
}

impl Verified {
    /// Metadata that lists nothing.
    #[must_use]
    pub const fn new(role: RoleName, version: Version, digest: Sha256Digest) -> Self {
        Self {
            role,
            version,
            digest,
            lists: BTreeMap::new(),
            file: None,
            signed_by: Vec::new(),
            names: Vec::new(),
        }
    }
}

/// What verified metadata meant to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// It is now the newest that was verified.
    Raised,
    /// It was known already.
    Known,
    /// A newer one is known.
    Older,
    /// Other content is signed or verified under this version. An alarm was raised and journalled.
    Conflict {
        /// What was known.
        known: Mark,
        /// What the alarm says.
        message: String,
    },
}

/// A watermark that started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// The newest of what was thrown away; none when that was done before and nothing has come since.
    pub from: Option<Mark>,
    /// What stands now: the newest that this agent had signed before the attack; none when it had signed nothing.
    pub to: Option<Mark>,
}

/// What belongs to a copy of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The journal's head at that moment, as a line of text.
    pub head: String,
    /// How many entries the journal has.
    pub entries: u64,
    /// The hash of the newest.
    pub hash: Sha256Digest,
    /// Digests of the texts that it refers to.
    pub texts: Vec<Sha256Digest>,
}

/// What a restore meant to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its name here.
    pub name: RepositoryName,
    /// It was not known here.
    pub is_new: bool,
    /// Something of it was newer than what was known here.
    pub raised: bool,
}

/// Something that a person must look at before the role signs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The repository's identity.
    pub repository: RepositoryId,
    /// The repository's name.
    pub name: RepositoryName,
    /// The role.
    pub role: RoleName,
    /// When it was raised.
    pub since: UtcTime,
    /// What was found, one sentence.
    pub message: String,
    /// The version that it is about.
    pub version: Version,
    /// SHA-256 of the canonical `signed` that was found.
    pub digest: Sha256Digest,
}

/// One entry of the journal, exactly as it was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number; the first is 1.
    pub seq: u64,
    /// Wall time, RFC 3339, UTC.
    pub time: String,
    /// Milliseconds on the boot clock.
    pub boot_ms: u64,
    /// What kind of entry, such as `sign.intent`.
    pub kind: String,
    /// A JSON object in ASCII.
    pub body: String,
    /// The hash of the entry before; zeros for the first.
    pub previous: Sha256Digest,
    /// Its hash.
    pub hash: Sha256Digest,
}

/// What a full check of the journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the newest.
    pub head: Sha256Digest,
    /// The first thing that is wrong; none when all is well.
    pub problem: Option<String>,
}
