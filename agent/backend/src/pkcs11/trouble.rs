//! Why a token cannot be used, in a form that can be kept and told again; and what the helper's
//! errors are called outside.

use std::fmt;

use crate::host::protocol::{HostError, HostErrorKind};
use crate::{BackendError, TokenState};

/// A lasting trouble with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there.
    Absent(String),
    /// It does not work.
    Failed { why: String, remedy: String },
    /// Its module is not trusted.
    Untrusted { why: String, remedy: String },
    /// Another program holds the device, or one that may be it.
    InUse { why: String, remedy: String },
    /// The module is loaded, and its devices are such that the token cannot be used.
    Device { why: String, remedy: String },
}

/// A helper ended while somebody waited for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What it did, and what is done about it.
    pub(crate) why: String,
    /// How long until it is started again, when it was not yet.
    pub(crate) again_in: Option<u64>,
    /// The token was unlocked.
    pub(crate) login: bool,
    /// It could not be started again: what to do about that.
    pub(crate) remedy: Option<String>,
}

impl From<Ended> for BackendError {
    fn from(Ended { why, again_in, login, remedy }: Ended) -> Self {
        match remedy {
            None => Self::HelperEnded { why, again_in, login },
            Some(remedy) => Self::Failed { why, remedy },
        }
    }
}

impl Trouble {
    pub(crate) fn of(error: &BackendError) -> Self {
        match error {
            BackendError::Absent { why } => Self::Absent(why.clone()),
            BackendError::Untrusted { why, remedy } => {
                Self::Untrusted { why: why.clone(), remedy: remedy.clone() }
            }
            BackendError::Failed { why, remedy } => Self::Failed { why: why.clone(), remedy: remedy.clone() },
            other => Self::Failed { why: other.to_string(), remedy: other.remedy() },
        }
    }

    pub(crate) const fn state(&self) -> TokenState {
        match self {
            Self::Absent(_) => TokenState::Absent,
            Self::Failed { .. } | Self::Untrusted { .. } | Self::InUse { .. } | Self::Device { .. } => {
                TokenState::Failed
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(why)
            | Self::Failed { why, .. }
            | Self::Untrusted { why, .. }
            | Self::InUse { why, .. }
            | Self::Device { why, .. } => f.write_str(why),
        }
    }
}

impl From<Trouble> for BackendError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Absent(why) => Self::Absent { why },
            Trouble::Failed { why, remedy } | Trouble::Device { why, remedy } => Self::Failed { why, remedy },
            Trouble::Untrusted { why, remedy } => Self::Untrusted { why, remedy },
            Trouble::InUse { why, remedy } => Self::InUse { why, remedy },
        }
    }
}

/// The helper's error as the agent tells it.
pub(crate) fn backend_error(error: HostError) -> BackendError {
    if error.accepted {
        let error = Box::new(backend_error(HostError { accepted: false, ..error }));
        return BackendError::AfterPin { error };
    }
    let HostError { kind, message, remedy, tries_left, unasked, .. } = error;
    let failed = |why: String, usual: &str| BackendError::Failed {
        why,
        remedy: remedy.clone().unwrap_or_else(|| usual.to_owned()),
    };
    match kind {
        HostErrorKind::Module => failed(message, "check `module` in the token's entry of the configuration"),
        HostErrorKind::Insecure => BackendError::Untrusted {
            why: message,
            remedy: "give it to root or this user (chown), take the write permission away from others (chmod go-w), \
                     or install the module elsewhere"
                .to_owned(),
        },
        HostErrorKind::Confinement => failed(
            message,
            "correct `paths` in the token's entry of the configuration; the module is not loaded before",
        ),
        HostErrorKind::Absent => BackendError::Absent { why: message },
        HostErrorKind::Several => failed(
            message,
            "say which one in the token's entry of the configuration: serial = \"…\" in place of label (or serial=… in its \
             uri), then reload it (kill -HUP)",
        ),
        HostErrorKind::NotLoggedIn => BackendError::LoginLost,
        HostErrorKind::PinEachUse => BackendError::PinEachUse,
        HostErrorKind::Traced => traced(message),
        HostErrorKind::PinIncorrect => BackendError::SecretIncorrect { word: "PIN", tries_left },
        HostErrorKind::PinIncorrectFinalTry => {
            BackendError::SecretIncorrect { word: "PIN", tries_left: Some(1) }
        }
        HostErrorKind::PinChanged => BackendError::SecretChanged { tries_left },
        HostErrorKind::PinUnasked => failed(message, "look how the token takes its PIN with its vendor's tool"),
        HostErrorKind::PinUnclear => BackendError::AttemptUnknown { why: message, remedy },
        HostErrorKind::PinWorn => {
            BackendError::AttemptUnknown { why: format!("{message}; the module is started anew"), remedy }
        }
        HostErrorKind::FinalTry => BackendError::LastTry { tries_left: Some(1) },
        HostErrorKind::PinLocked | HostErrorKind::BothLocked if unasked => {
            BackendError::FoundBlocked { both: kind == HostErrorKind::BothLocked }
        }
        HostErrorKind::PinLocked => BackendError::Blocked,
        HostErrorKind::BothLocked => BackendError::BothBlocked,
        HostErrorKind::Swapped => BackendError::Swapped { why: message },
        HostErrorKind::PukIncorrect => BackendError::SecretIncorrect { word: "PUK", tries_left },
        HostErrorKind::PukFinalTry => BackendError::LastPukTry,
        HostErrorKind::PukLocked => BackendError::PukBlocked,
        HostErrorKind::ManagementKey => BackendError::ManagementKey { why: message },
        HostErrorKind::ManagementTouch => BackendError::ManagementTouch,
        HostErrorKind::TouchTimeout => BackendError::TouchTimeout,
        HostErrorKind::SlotOccupied => BackendError::SlotOccupied { slot: message },
        HostErrorKind::Reader => failed(message, "look at the reader and at pcscd, the smart card service"),
        HostErrorKind::Busy | HostErrorKind::Held => {
            let usual = || "repeat the command when the other program is done with it".to_owned();
            BackendError::InUse { why: message, remedy: remedy.unwrap_or_else(usual) }
        }
        HostErrorKind::PinRefused => {
            let word = if message.contains("PUK") { "PUK" } else { "PIN" };
            BackendError::SecretRefused { word, why: message }
        }
        HostErrorKind::KeyNotFound => BackendError::KeyNotFound,
        HostErrorKind::Ambiguous => failed(
            message,
            "give the keys different ids, or remove the one that is not wanted, with the tool of the token",
        ),
        HostErrorKind::NameTaken => taken(&message, |name| BackendError::NameTaken { name }),
        HostErrorKind::Duplicate => taken(&message, |name| BackendError::DuplicateKey { name }),
        HostErrorKind::Unsupported => BackendError::Unsupported { what: format!("do that: {message}") },
        HostErrorKind::Worn => failed(
            format!("{message}; its module is started anew, and the token is locked"),
            "unlock it again (tufctl token unlock NAME), then repeat the command",
        ),
        HostErrorKind::Device => {
            failed(message, "look at the token with its vendor's tool, and into the agent's log")
        }
        HostErrorKind::Protocol => {
            failed(message, "report this: agent and helper do not understand each other")
        }
    }
}

/// No secret is sent to a helper in which somebody could read it.
pub(crate) fn traced(why: String) -> BackendError {
    let remedy = "end what traces it (a debugger, strace), then try again".to_owned();
    BackendError::Failed { why, remedy }
}

/// `label` came from the token and may be no legal name.
fn taken(label: &str, error: impl Fn(crate::KeyName) -> BackendError) -> BackendError {
    label.parse().map_or_else(
        |_| BackendError::Failed {
            why: format!("the token has a key with the label {} already", label.escape_debug()),
            remedy: "choose another name, or use the key that is there".to_owned(),
        },
        error,
    )
}
