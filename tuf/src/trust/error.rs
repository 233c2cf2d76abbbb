//! Why something is not trusted.

use crate::{
    key::KeyId,
    metadata::MetadataError,
    role::{RoleKind, RoleName, Version},
    time::UtcTime,
    verify::ThresholdReport,
};

/// Why a file is not trusted: which role, which section of the specification (1.0.34), and what is the matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{role}: {kind} (specification {spec})")]
#[non_exhaustive]
pub struct TrustError {
    /// The role whose file it is.
    pub role: RoleName,
    /// The section, such as "5.4.4".
    pub spec: &'static str,
    /// What is the matter.
    pub kind: Box<TrustFault>,
}

impl TrustError {
    pub(super) fn new(role: &RoleName, spec: &'static str, kind: TrustFault) -> Self {
        Self { role: role.clone(), spec, kind: Box::new(kind) }
    }
}

/// What is the matter with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustFault {
    /// The file cannot be read as metadata.
    #[error("{0}")]
    Unreadable(#[from] MetadataError),
    /// `_type` is that of another role.
    #[error("the file is {found} metadata where {wanted} metadata belongs")]
    WrongType {
        /// What it should be.
        wanted: RoleKind,
        /// What it is.
        found: RoleKind,
    },
    /// Not enough good signatures.
    #[error("{} by keys of {by}", threshold(.report))]
    Threshold {
        /// Whose keys: "version 3 of root", or the delegating role.
        by: String,
        /// Who has signed.
        report: ThresholdReport,
    },
    /// A root chain goes up by exactly one version a step.
    #[error("version {found} cannot follow version {trusted}; a root goes up by exactly one")]
    NotNext {
        /// The trusted version.
        trusted: Version,
        /// The version found.
        found: Version,
    },
    /// The version is lower than one that was trusted before.
    #[error("version {found} is lower than version {trusted}, which was trusted before: a rollback")]
    Rollback {
        /// The version trusted before.
        trusted: Version,
        /// The version found.
        found: Version,
    },
    /// The file lists a lower version of another role than was trusted before.
    #[error(
        "lists version {found} of {of}, lower than version {trusted}, which was trusted before: a rollback"
    )]
    ListedRollback {
        /// The role listed.
        of: RoleName,
        /// The version trusted before.
        trusted: Version,
        /// The version listed.
        found: Version,
    },
    /// The snapshot no longer lists a role that was listed before.
    #[error("no longer lists {of}, which was listed before")]
    Vanished {
        /// The role.
        of: RoleName,
    },
    /// The version is not the one that another role lists.
    #[error("version {found} is not version {listed}, which {by} lists")]
    OtherVersion {
        /// The version listed.
        listed: Version,
        /// The version found.
        found: Version,
        /// Who lists it.
        by: RoleName,
    },
    /// The length is not the one that another role lists.
    #[error("the file has {found} bytes, not the {listed} that {by} lists")]
    OtherLength {
        /// The length listed, in bytes.
        listed: u64,
        /// The length found, in bytes.
        found: u64,
        /// Who lists it.
        by: RoleName,
    },
    /// The digest is not the one that another role lists.
    #[error("the file's digest is not the one that {by} lists")]
    OtherDigest {
        /// Who lists it.
        by: RoleName,
    },
    /// None of the digests listed is of an algorithm that this crate knows, and of 256 bits or more.
    #[error("{by} lists no digest of a known algorithm with 256 bits or more")]
    UnknownDigests {
        /// Who lists them.
        by: RoleName,
    },
    /// The file has expired.
    #[error("expired at {expires}; the time of this check is {now}")]
    Expired {
        /// When.
        expires: UtcTime,
        /// The reference time.
        now: UtcTime,
    },
    /// Keyids that are not the hash of their key.
    #[error("the keyid {keyid} is not the hash of its key (that is {right})")]
    WrongKeyid {
        /// The keyid.
        keyid: KeyId,
        /// What it should be.
        right: KeyId,
    },
    /// The snapshot does not list the role.
    #[error("the snapshot does not list it")]
    NotListed,
    /// The delegating role does not delegate to it.
    #[error("{parent} does not delegate to it")]
    NotDelegated {
        /// The role that was said to delegate.
        parent: RoleName,
    },
    /// A step of the workflow that others must come before, or that came too late.
    #[error("{why}")]
    Order {
        /// What is out of order.
        why: &'static str,
    },
}

fn threshold(report: &ThresholdReport) -> String {
    let (have, need) = (report.have(), report.need);
    let mut text = format!("has {have} of {need} signatures needed");
    let wrong = report.invalid.len().saturating_sub(report.unusable.len());
    if wrong > 0 {
        text.push_str(&format!(", {wrong} that {} not verify,", plural(wrong)));
    }
    if !report.same_key.is_empty() {
        text.push_str(&format!(", {} of a key that counts already,", report.same_key.len()));
    }
    for (keyid, why) in &report.unusable {
        text.push_str(&format!("; key {keyid} counts for nothing: {why}"));
    }
    text
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "does" } else { "do" }
}
