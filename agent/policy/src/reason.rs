//! The table of reasons, as a type.
//!
//! `proto/reasons.tsv` is the same table with gRPC codes and exit codes; a test keeps the two equal.

use std::fmt;
use std::str::FromStr;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why something was refused or failed: the machine's word for it, on the wire, in `--json` and in the journal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason as it is written: upper case with underscores.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The request makes no sense as it stands.
    Usage = "USAGE",
    /// Metadata that the agent cannot read, or that breaks the specification.
    MetadataInvalid = "METADATA_INVALID",
    /// A name that breaks the rules for names.
    NameInvalid = "NAME_INVALID",
    /// The name is in use.
    NameTaken = "NAME_TAKEN",
    /// The agent knows no such repository.
    RepositoryUnknown = "REPOSITORY_UNKNOWN",
    /// The root chain is known under another name.
    RepositoryKnown = "REPOSITORY_KNOWN",
    /// The repository folder is not what the command needs.
    RepositoryInvalid = "REPOSITORY_INVALID",
    /// A version not above the watermark, or other content under a signed version.
    Watermark = "WATERMARK",
    /// A version too far above the published one.
    VersionJump = "VERSION_JUMP",
    /// An expiry in the past or beyond the role's recorded length.
    Expiry = "EXPIRY",
    /// A rule forbids it.
    Policy = "POLICY",
    /// The key serves another repository.
    SharedKey = "SHARED_KEY",
    /// This caller may not ask.
    Caller = "CALLER",
    /// Nobody confirmed what was shown.
    ConfirmationMissing = "CONFIRMATION_MISSING",
    /// A target file is not what was added.
    TargetChanged = "TARGET_CHANGED",
    /// A target name that clients cannot fetch or that is unsafe.
    TargetName = "TARGET_NAME",
    /// A path pattern that stock clients read differently.
    Pattern = "PATTERN",
    /// The repository has no such role.
    RoleUnknown = "ROLE_UNKNOWN",
    /// A snapshot or timestamp that loses or invents an entry.
    SnapshotInvalid = "SNAPSHOT_INVALID",
    /// No such key.
    KeyNotFound = "KEY_NOT_FOUND",
    /// The key is not a key of that role.
    KeyNotOfRole = "KEY_NOT_OF_ROLE",
    /// The role demands keys that the token says were made there and never left; this one is not.
    Origin = "ORIGIN",
    /// The key still serves a role.
    KeyInUse = "KEY_IN_USE",
    /// The public key is there already.
    DuplicateKey = "DUPLICATE_KEY",
    /// More signatures are needed.
    ThresholdMissing = "THRESHOLD_MISSING",
    /// No such token.
    TokenUnknown = "TOKEN_UNKNOWN",
    /// The token is locked.
    TokenLocked = "TOKEN_LOCKED",
    /// The token is not there.
    TokenAbsent = "TOKEN_ABSENT",
    /// The token does not work.
    TokenFailed = "TOKEN_FAILED",
    /// The token's module is not the one that was pinned.
    TokenUntrusted = "TOKEN_UNTRUSTED",
    /// Another token is in the place of the one that is meant.
    TokenSwapped = "TOKEN_SWAPPED",
    /// The token is busy.
    TokenBusy = "TOKEN_BUSY",
    /// The token cannot do that.
    Unsupported = "UNSUPPORTED",
    /// A wrong PIN or passphrase.
    PinIncorrect = "PIN_INCORRECT",
    /// Too many wrong PINs.
    PinBlocked = "PIN_BLOCKED",
    /// Too many wrong ones: the next attempt has to wait.
    PinDelayed = "PIN_DELAYED",
    /// A PIN or passphrase is needed and nobody is there to give it.
    PinRequired = "PIN_REQUIRED",
    /// A PIN, passphrase or key file that others can read.
    SecretFile = "SECRET_FILE",
    /// Nobody touched the device.
    TouchTimeout = "TOUCH_TIMEOUT",
    /// The slot holds a key.
    SlotOccupied = "SLOT_OCCUPIED",
    /// The card did not get its management key.
    ManagementKey = "MANAGEMENT_KEY",
    /// The token's signature does not verify.
    BadSignature = "BAD_SIGNATURE",
    /// A key file that cannot be read.
    KeyFile = "KEY_FILE",
    /// More shares of a split key are needed.
    SharesMissing = "SHARES_MISSING",
    /// Not every custodian has proven their share of the key.
    ShareUnproven = "SHARE_UNPROVEN",
    /// A set of shares that is refused unless it is asked for.
    WeakSet = "WEAK_SET",
    /// A share that does not belong or is damaged.
    ShareInvalid = "SHARE_INVALID",
    /// Verification failed.
    Verification = "VERIFICATION",
    /// The agent does not answer.
    Unreachable = "UNREACHABLE",
    /// A limit on size or count.
    Limit = "LIMIT",
    /// The agent has the file not at hand of which only changes were sent.
    BaseUnknown = "BASE_UNKNOWN",
    /// The caller went away or said no.
    Cancelled = "CANCELLED",
    /// State that cannot be trusted; nothing was changed.
    StateCorrupt = "STATE_CORRUPT",
    /// State that cannot be written now.
    StateIo = "STATE_IO",
    /// A file could not be read or written.
    Io = "IO",
    /// A fault of the program.
    Internal = "INTERNAL",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

/// A word that is not in the table of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reason of the table")]
pub struct UnknownReason;

#[cfg(test)]
mod tests {
    use super::*;

    /// The data file that the wire and the command line read.
    const TABLE: &str = include_str!("../../../proto/reasons.tsv");

    #[test]
    fn the_type_and_the_data_file_list_the_same_reasons_in_the_same_order() {
        let listed: Vec<&str> = TABLE.lines().filter_map(|line| line.split('\t').next()).collect();
        let typed: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(typed, listed);
    }

    #[test]
    fn every_reason_reads_back_as_itself() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(*reason));
        }
        assert_eq!("NO_SUCH".parse::<Reason>(), Err(UnknownReason));
    }
}
