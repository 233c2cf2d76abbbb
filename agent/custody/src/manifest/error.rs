//! Why a share or a manifest is not taken.

use secmem::StackError;
use tuf::json;
use tuf::key::KeyError;

use super::CustodianRef;
use crate::terms::TermsError;

/// Why a share is not taken, though its own checksum is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareRefused {
    /// A share of another set, perhaps an older one of the same key.
    #[error(
        "the share is of another set (its identifier is {found}, that of this set {wanted}); look for the sheet that belongs to this manifest"
    )]
    OtherSet {
        /// The identifier that the share begins with.
        found: u16,
        /// That of the set.
        wanted: u16,
    },
    /// It claims to be of this set and was never made with it.
    #[error("the share was not made with this set, though its checksum is right: {}", claimed(claims.as_ref()))]
    Forged {
        /// Whose share it says it is.
        claims: Option<CustodianRef>,
    },
    /// It was given before.
    #[error("the share of {custodian} was given already")]
    Duplicate {
        /// Whose it is.
        custodian: CustodianRef,
    },
    /// There was no thread with a locked stack.
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl ShareRefused {
    /// Whose share it is, or says it is.
    pub const fn custodian(&self) -> Option<&CustodianRef> {
        match self {
            Self::Forged { claims } => claims.as_ref(),
            Self::Duplicate { custodian } => Some(custodian),
            Self::OtherSet { .. } | Self::Stack(_) => None,
        }
    }
}

/// Why a manifest, or the record of a drill, is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, or not as strict as it has to be.
    #[error("{0}")]
    Json(#[from] json::Error),
    /// Another sort of file.
    #[error("not {what}")]
    Sort {
        /// What was expected.
        what: &'static str,
    },
    /// A newer one than this program knows.
    #[error("version {found}, and this program reads version 1 only; take a newer one")]
    Version {
        /// What stands there, shortened.
        found: String,
    },
    /// A member that is missing, of the wrong type or out of range.
    #[error("`{path}` is missing, or not what it has to be")]
    Member {
        /// Which.
        path: String,
    },
    /// A member that version 1 does not have.
    #[error("`{path}` has the member {name:?}, which version 1 does not have")]
    Unknown {
        /// Where.
        path: String,
        /// Its name, shortened.
        name: String,
    },
    /// The key object.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The terms.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Somebody changed it, or it was never signed by this key.
    #[error("the signature does not verify with the key in it: it was changed, or made by somebody else")]
    Signature,
    /// It does not replace the set before.
    #[error("the set does not follow the one before: {why}")]
    DoesNotFollow {
        /// Why not.
        why: &'static str,
    },
}

fn claimed(claims: Option<&CustodianRef>) -> String {
    match claims {
        Some(custodian) => format!("it says that it is {custodian}'s, and {custodian}'s is another one"),
        None => "nobody has a share at the place that it names".to_owned(),
    }
}
