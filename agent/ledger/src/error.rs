//! What the ledger refuses, and what can go wrong with its files.

use std::path::{Path, PathBuf};

use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tuf::word;

use crate::RepositoryName;

/// Why the ledger said no, or could not say anything.
///
/// Refusals (`Watermark` to `Moved`) are answers: they are journalled and final. The others are faults of files
/// or of the program; nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A version below the watermark, or other content under the watermark's version (DESIGN rule 3).
    #[error("{}", watermark_text(role, *version, marked_role, (*marked_version, marked_digest), *marked_on, (*published, *unmade)))]
    Watermark {
        /// The role that was to be signed.
        role: RoleName,
        /// The version that was asked for.
        version: Version,
        /// The role whose watermark stands in the way: `role`, or another one that the keys could satisfy.
        marked_role: RoleName,
        /// The version that was signed (or verified) before.
        marked_version: Version,
        /// SHA-256 of the canonical `signed` of that version.
        marked_digest: Sha256Digest,
        /// When.
        marked_on: UtcTime,
        /// The mark is of published metadata that the agent verified, not of what it signed.
        published: bool,
        /// Nothing came of it: each time that it was to be signed, none was (nobody touched the key, the token failed).
        unmade: bool,
    },
    /// A snapshot or timestamp that loses an entry, or lists it at a lower version than before.
    #[error("{listing} no longer lists {role} at version {last} or above, as it did before")]
    Vanished {
        /// `snapshot` or `timestamp`.
        listing: RoleName,
        /// The entry.
        role: RoleName,
        /// The highest version at which it was listed.
        last: Version,
    },
    /// Verified metadata lists a version that was neither seen nor signed here: it is published, whatever it holds.
    #[error(
        "a verified {listing} lists {role} version {version}, which this agent has never seen with its threshold met"
    )]
    Unseen {
        /// `snapshot` or `timestamp`.
        listing: &'static str,
        /// The role that is listed.
        role: RoleName,
        /// At which version.
        version: Version,
    },
    /// A caller's word alone gives the key to the role, and what it signs would count as another role that it has signed.
    #[error(
        "nothing that this agent has signed or verified gives {key} to {role}, and it has signed as {marked_role}, whose version {marked} stands: {role} version {version} would count as {marked_role} too"
    )]
    Unfounded {
        /// The key's name.
        key: String,
        /// The role that was to be signed.
        role: RoleName,
        /// The version that was asked for.
        version: Version,
        /// The other role.
        marked_role: RoleName,
        /// The version that was signed of that one.
        marked: Version,
    },
    /// What the key has signed as another role, which a word alone gave it, would count as this role's.
    #[error(
        "{key} has signed version {marked} as {marked_role}, which a word alone gave it and which counts as {role} now: version {version} of {role} does not lie above it"
    )]
    LaidBy {
        /// The key's name.
        key: String,
        /// The role that was to be signed.
        role: RoleName,
        /// The version that was asked for.
        version: Version,
        /// The other role.
        marked_role: RoleName,
        /// The version that was signed of that one.
        marked: Version,
    },
    /// A key that has signed for another root chain, or that its verified metadata names.
    #[error("the key {key} serves the repository {other}, which has another root chain")]
    SharedKey {
        /// The key's name, or its fingerprint where no name is known.
        key: String,
        /// The repository that it belongs to.
        other: RepositoryName,
    },
    /// An alarm of this role waits for a person.
    #[error("{role} signs nothing until a person has looked at this: {message}")]
    Alarm {
        /// The role.
        role: RoleName,
        /// What was found.
        message: String,
    },
    /// No repository has this name or identity.
    #[error("this agent knows no repository {name}")]
    RepositoryUnknown {
        /// The name, or the identity.
        name: String,
    },
    /// Another repository has this name.
    #[error("another repository is known by the name {name}")]
    NameTaken {
        /// The name.
        name: RepositoryName,
    },
    /// The root chain is known under another name.
    #[error("this root chain is known by the name {name}")]
    ChainKnown {
        /// That name.
        name: RepositoryName,
    },
    /// A root that is not the next one of its chain.
    #[error("root version {given} does not follow version {trusted}, the newest that is trusted")]
    RootStep {
        /// The newest trusted version.
        trusted: Version,
        /// The version that was given.
        given: Version,
    },
    /// A repository that came from a backup and was not adopted since.
    #[error("{name} came from a backup, which may be older than what was signed since")]
    Restored {
        /// The repository.
        name: RepositoryName,
    },
    /// What a person confirmed is not what stands any more.
    #[error("the watermark of {role} is not the one that was confirmed")]
    Moved {
        /// The role.
        role: RoleName,
    },
    /// State that cannot be trusted. Nothing was changed.
    #[error("{} cannot be trusted: {why}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// A copy that the agent has saved and that fits, where there is one.
        saved: Option<PathBuf>,
    },
    /// State that a newer version has written. Nothing was changed.
    #[error("{} has schema {found}, and this version knows no schema above {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// A file that was moved, deleted or replaced while it was open. Nothing is recorded until it is back.
    #[error("{} was moved, deleted or replaced while the agent runs", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// Something else lies where a folder of the state belongs.
    #[error("{} is no folder, and the agent keeps its state in it", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Another process has the database open.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read or written; what was asked for did not happen.
    #[error("{what}: {why}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        why: String,
    },
    /// The ledger has been closed, or its thread has ended.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// What to do about it, one sentence; may be empty.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Watermark { role, version, marked_version, marked_digest, published: false, unmade: true, .. }
                if role.kind() == RoleKind::Root && version == marked_version =>
            {
                format!(
                    "sign what was to be signed then; or, at a terminal, put this in its place: tufctl sign DIR --supersede {marked_digest}"
                )
            }
            Self::Watermark { role, version, marked_version, marked_digest, published: false, .. }
                if role.kind() == RoleKind::Root && version == marked_version =>
            {
                format!(
                    "publish what was signed; or, at a terminal, put this in its place: tufctl sign DIR --supersede {marked_digest}"
                )
            }
            Self::Watermark { role, version, marked_version, published: true, .. }
                if role.kind() == RoleKind::Root && version == marked_version =>
            {
                let next = version.get().saturating_add(1);
                format!(
                    "it has all its signatures: publish it (tufctl root restage DIR brings it back where it was lost), then stage version {next}; a folder that was begun anew under the name of another \
                     repository is begun again under a name of its own (tufctl repo init)"
                )
            }
            Self::Watermark { role, marked_role, marked_version, .. } if role != marked_role => {
                next_version_above(role, *marked_version)
            }
            Self::Watermark { role, version, marked_version, .. } => {
                next_version(role, *version, *marked_version)
            }
            Self::Vanished { role, last, .. } => format!(
                "list {role} at version {last} or above; where that is lost, stage it anew (tufctl bump DIR {}) and sign \
                 again: tufctl sign DIR",
                word::last(role.as_str())
            ),
            Self::Unseen { .. } => {
                "bring the whole newest published copy and adopt it: tufctl repo adopt DIR --name NAME --root ROOT.json".to_owned()
            }
            Self::Unfounded { role, .. } => unfounded(role),
            Self::LaidBy { role, marked, .. } => next_version_above(role, *marked),
            Self::SharedKey { .. } => "use a key of its own, or say --shared-key".to_owned(),
            Self::Alarm { .. } => {
                "find out who signed what is published; to go on from it, adopt the repository again: tufctl repo adopt DIR --name NAME --root ROOT.json".to_owned()
            }
            Self::RepositoryUnknown { .. } => {
                "adopt it from its newest published copy: tufctl repo adopt DIR --name NAME --root ROOT.json".to_owned()
            }
            Self::NameTaken { .. } => "choose another name".to_owned(),
            Self::ChainKnown { name } => format!("use it by the name {name}"),
            Self::RootStep { .. } => "give every root version in turn".to_owned(),
            Self::Restored { name } => format!(
                "adopt it first from its newest published copy: tufctl repo adopt DIR {} --root ROOT.json",
                word::option("--name", name.as_str())
            ),
            Self::Moved { .. } => "look again, and confirm what stands now".to_owned(),
            Self::Corrupt { path, saved: Some(saved), .. } => put_back(path, Some(saved)),
            Self::Corrupt { saved: None, .. } => REPAIR.to_owned(),
            Self::Newer { .. } => "run the version of tuf-agent that wrote it, or a newer one".to_owned(),
            Self::Missing { remedy, .. } => remedy.clone(),
            Self::NoFolder { path } => format!(
                "move what lies there away (mv {0} {0}.away) and start tuf-agent again, which makes the folder anew",
                word::path(path)
            ),
            Self::Busy { .. } => "stop the other agent, or give this one its own state folder".to_owned(),
            Self::Io { .. } => {
                "look at the disk's free space and free inodes (df -h, df -i) and the folder's permissions; it recovers alone".to_owned()
            }
            Self::Closed => "restart tuf-agent".to_owned(),
        }
    }

    /// Whether this is an answer (journalled, final) and not a fault.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Corrupt { .. }
                | Self::Newer { .. }
                | Self::Missing { .. }
                | Self::NoFolder { .. }
                | Self::Busy { .. }
                | Self::Io { .. }
                | Self::Closed
        )
    }

    /// A fault of a file that belongs to the state.
    #[must_use]
    pub fn from_io(what: &str, why: &std::io::Error) -> Self {
        Self::io(what, why)
    }

    pub(crate) fn io(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Io { what: what.into(), why: why.to_string() }
    }

    pub(crate) fn corrupt(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), why: why.into(), saved: None }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::io("the ledger could not be read or written", error)
    }
}

/// How to go on from state that cannot be trusted.
const REPAIR: &str = "stop the agent and put ledger.db, ledger.db-wal (where there was one) and journal.head back together as \
     they were; without those, move ledger.db*, journal.head and the folder metadata away, start the agent, give it what \
     tufctl backup made (tufctl restore FILE) and adopt every repository again from its newest published copy";

/// How to go on without the database that belongs there, `saved` being a copy that is there.
pub(crate) fn put_back(db: &Path, saved: Option<&Path>) -> String {
    let plain = "put the newest ledger.db back (an older copy is refused)";
    saved.map_or_else(
        || format!("{plain}, or what the agent saves of it: tufctl status names it"),
        |saved| {
            format!(
                "{plain}; what the agent has saved of it will do: mv {} {}",
                word::path(saved),
                word::path(db)
            )
        },
    )
}

/// How a key comes to a role by more than a word.
fn unfounded(role: &RoleName) -> String {
    let by = if role.is_top_level() { "root" } else { "what delegates to it" };
    format!(
        "sign {by}, which gives it the key, first; where others sign {by}, take it from them complete (tufctl sign DIR --from COPY), \
         or give {role} a key of its own"
    )
}

fn next_version(role: &RoleName, asked: Version, marked: Version) -> String {
    let highest = asked.max(marked);
    highest.next().map_or_else(String::new, |next| {
        let free = if asked < marked { marked.next().unwrap_or(next) } else { next };
        format!("stage version {free}: tufctl bump DIR {}", word::last(role.as_str()))
    })
}

/// The folder knows nothing of the mark of another role.
fn next_version_above(role: &RoleName, marked: Version) -> String {
    marked.next().map_or_else(String::new, |next| {
        format!(
            "stage version {next}: tufctl bump DIR {}",
            word::before(role.as_str(), &format!("--above {marked}"))
        )
    })
}

fn watermark_text(
    role: &RoleName,
    version: Version,
    marked_role: &RoleName,
    (marked, digest): (Version, &Sha256Digest),
    on: UtcTime,
    (published, unmade): (bool, bool),
) -> String {
    let done = match published {
        false if unmade => "to be signed",
        // A root may have been seen complete and never have come out.
        true if role.kind() == RoleKind::Root => "verified with all its signatures",
        true => "verified as published",
        false => "signed",
    };
    let end = if unmade { "; no signature came of it, but it counts" } else { "" };
    if marked_role != role {
        return format!(
            "{role} version {version} could be taken for {marked_role}, whose version {marked} was {done} on {on} (sha256 {digest}){end}"
        );
    }
    if version == marked {
        return format!(
            "{role} version {version} was {done} on {on} with other content (sha256 {digest}){end}"
        );
    }
    format!(
        "{role} version {version} lies below version {marked}, which was {done} on {on} (sha256 {digest}){end}"
    )
}
