//! Why an edit was refused.

use crate::key::{KeyError, KeyId};
use crate::role::{RoleError, RoleName};
use crate::target::{PatternError, TargetPathError};

/// Why an edit was refused; nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The edit is one of another kind of role, such as a target in a snapshot.
    #[error("{what} cannot be changed in {kind} metadata")]
    WrongKind {
        /// What was to be changed.
        what: &'static str,
        /// The kind of the metadata.
        kind: &'static str,
    },
    /// There is no version after this one that clients can read.
    #[error("version {0} is the last that clients can read")]
    LastVersion(u64),
    /// A threshold of nothing, or above the number of keys.
    #[error(
        "{role} would need {threshold} of {keys} keys; the threshold must be from 1 to the number of keys"
    )]
    Threshold {
        /// The role that would have it.
        role: RoleName,
        /// The threshold asked for.
        threshold: u32,
        /// How many keys the role would have.
        keys: usize,
    },
    /// The role has the key already.
    #[error("{role} has the key {keyid} already")]
    HasKey {
        /// The role.
        role: RoleName,
        /// The key, under the keyid that the metadata uses.
        keyid: KeyId,
    },
    /// One public key under two keyids of one role would count twice.
    #[error(
        "{role} would have one public key under the two keyids {one} and {two}, so that it would count twice"
    )]
    SamePublicKey {
        /// The role.
        role: RoleName,
        /// The first keyid.
        one: KeyId,
        /// The second keyid.
        two: KeyId,
    },
    /// The role does not have the key that was to go.
    #[error("{role} has no key {keyid}")]
    NoKey {
        /// The role.
        role: RoleName,
        /// The keyid.
        keyid: KeyId,
    },
    /// A key that could not be read.
    #[error("key {keyid}: {why}")]
    Key {
        /// The keyid.
        keyid: KeyId,
        /// What is wrong with it.
        why: KeyError,
    },
    /// A name that is not given to new roles.
    #[error(transparent)]
    RoleName(#[from] RoleError),
    /// The parent delegates to that name already.
    #[error("{0} is delegated to already")]
    DelegationExists(RoleName),
    /// The parent does not delegate to that name.
    #[error("there is no delegation to {0}")]
    NoDelegation(RoleName),
    /// Succinct bins and named delegations exclude each other (TAP 15).
    #[error(
        "a role delegates either to succinct bins or to named roles, not to both; remove the other ones first"
    )]
    MixedDelegations,
    /// A delegation without paths allows nothing.
    #[error("a delegation to {0} needs at least one path")]
    NoPaths(RoleName),
    /// A path pattern that is not written.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A hash prefix that is not lowercase hex.
    #[error("hash prefix {0:?} is not 1 to 64 lowercase hexadecimal digits")]
    HashPrefix(String),
    /// Succinct bins divide all paths by their hashes (TAP 15).
    #[error("{0} are succinct bins: they have no paths of their own, and all of them end the search")]
    PathsOfBins(RoleName),
    /// Another number of bins than a power of two from 2 to 2^32.
    #[error("{0} bins: the number must be a power of two from 2 to 4294967296")]
    Bins(u64),
    /// A target name that is not written.
    #[error(transparent)]
    TargetPath(#[from] TargetPathError),
    /// The role may not list the target: a role on the chain to it does not allow the path.
    #[error("the paths of {role} do not allow the target \"{path}\"")]
    PathNotAllowed {
        /// The role whose paths they are.
        role: RoleName,
        /// The target's path, with what cannot be seen escaped.
        path: String,
    },
    /// A digest that is not lowercase hex of the right length.
    #[error("{algorithm} digest {value:?} is not lowercase hexadecimal of its length")]
    Digest {
        /// Such as `sha256`.
        algorithm: String,
        /// The text.
        value: String,
    },
    /// No digest at all.
    #[error("a file needs at least one digest")]
    NoDigest,
    /// A number that not all clients read (2^53 - 1 at most).
    #[error("{0} is beyond the largest number that all clients read, 9007199254740991")]
    Number(u64),
    /// The role does not list the target that was to go.
    #[error("there is no target \"{0}\"")]
    NoTarget(String),
}
