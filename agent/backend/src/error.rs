//! What goes wrong at a token: what happened, why, and what to do.

use std::path::{Path, PathBuf};

use tuf::key::KeyType;
use tuf::word;

use crate::KeyName;

/// Why a token did not do what it was asked. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The PIN or passphrase was not given yet.
    #[error("the token is locked")]
    Locked,
    /// Somebody said `lock` after this was begun, and nobody wants it any more.
    #[error("it was locked meanwhile, and stays so")]
    LockedMeanwhile,
    /// The token was unlocked, and when it was asked its login was gone. Surely nothing was done.
    #[error("the token had lost its login; nothing was signed or changed")]
    LoginLost,
    /// The device or the module's token is not there.
    #[error("the token is not there: {why}")]
    Absent {
        /// What was looked for.
        why: String,
    },
    /// The token is there and does not work.
    #[error("the token does not work: {why}")]
    Failed {
        /// What it did.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// The token's helper ended under the call. It may have been carried out, and is not done again.
    #[error("the token does not work: {why}")]
    HelperEnded {
        /// What it did, and whether it was started again.
        why: String,
        /// Seconds until it is started again, when it was not yet.
        again_in: Option<u64>,
        /// The token was unlocked, and its login has ended with the helper.
        login: bool,
    },
    /// Another call has the token and did not end in time.
    #[error("the token is busy with another call")]
    Busy,
    /// Another program has the device and did not let go of it in time. It was not asked.
    #[error("{why}")]
    InUse {
        /// Who may have it.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// A wrong PIN or passphrase; exactly one attempt was made.
    #[error("the {word} is wrong{}", tries(*tries_left))]
    SecretIncorrect {
        /// "PIN" or "passphrase".
        word: &'static str,
        /// Attempts that are left, where the token tells.
        tries_left: Option<u32>,
    },
    /// The PIN that a card had accepted was presented to it again, because it had forgotten that, and was wrong.
    #[error(
        "the card had forgotten the PIN that it accepted, and refused the same PIN when it was presented again: it was probably \
         changed elsewhere, and a try is gone{}; nothing was signed or changed",
        tries(*tries_left)
    )]
    SecretChanged {
        /// Attempts that are left, where the token tells.
        tries_left: Option<u32>,
    },
    /// The secret was sent, and nobody knows whether the token looked at it: it may have cost a try.
    #[error("whether the token counted an attempt is not known: {why}")]
    AttemptUnknown {
        /// What the token or its helper did.
        why: String,
        /// What to do about that, where there is more to say than of any.
        remedy: Option<String>,
    },
    /// The PIN of a signature was accepted, and the signature failed after that.
    #[error("{error}")]
    AfterPin {
        /// By what.
        error: Box<Self>,
    },
    /// No attempt was made, because it could be the last one.
    #[error("one more wrong PIN may block the token, so it was not tried{}", tries(*tries_left))]
    LastTry {
        /// Attempts that are left, where the token tells.
        tries_left: Option<u32>,
    },
    /// The same of a PUK, which a wrong one blocks for ever.
    #[error("one more wrong PUK may block it for ever, so it was not tried")]
    LastPukTry,
    /// The key takes the PIN anew for each signature, and none was given; no attempt was made.
    #[error("the key takes the PIN for each signature")]
    PinEachUse,
    /// No attempt was made, because another token is in the place of the one that the PIN is for.
    #[error("another token is in the place of the one that is meant: {why}")]
    Swapped {
        /// Which is there.
        why: String,
    },
    /// A PIN or passphrase that the token does not take as its new one.
    #[error("this cannot be the {word}: {why}")]
    SecretRefused {
        /// "PIN" or "passphrase".
        word: &'static str,
        /// Why not.
        why: String,
    },
    /// Too many wrong PINs.
    #[error("the token is blocked after too many wrong PINs")]
    Blocked,
    /// Too many wrong PINs, and too many wrong PUKs.
    #[error("the token is blocked after too many wrong PINs, and its PUK is blocked, too")]
    BothBlocked,
    /// Too many wrong PINs before, by the token's own word: none was presented.
    #[error("the token is blocked after too many wrong PINs, so this one was not presented")]
    FoundBlocked {
        /// Too many wrong PUKs, too.
        both: bool,
    },
    /// Too many wrong PUKs. Its PIN has tries left.
    #[error("its PUK is blocked after too many wrong ones")]
    PukBlocked,
    /// The token's module is not the file that was pinned, or others can replace it.
    #[error("the token's module is not trusted: {why}")]
    Untrusted {
        /// What differs.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// What somebody agreed to is not what is there any more.
    #[error("its module is not as it was shown: {why}")]
    NotAsShown {
        /// What differs.
        why: String,
    },
    /// The agent ends, and waits for no touch any more.
    #[error("the agent is being stopped, and {}", if *.touch {
        "no signature has come: if it is touched now, what it signs is thrown away"
    } else {
        "the token has not answered"
    })]
    Stopping {
        /// It may wait for a touch.
        touch: bool,
    },
    /// The card waited for a touch, and nobody touched it. Nothing was signed, and no try of the PIN was spent.
    #[error("nobody touched it in time, so nothing was signed")]
    TouchTimeout,
    /// The slot of a YubiKey holds a key.
    #[error("slot {slot} holds a key already")]
    SlotOccupied {
        /// Which.
        slot: String,
    },
    /// The management key of a YubiKey is missing, or the card did not take it. It is no PIN and costs no try.
    #[error("{why}")]
    ManagementKey {
        /// What is wrong.
        why: String,
    },
    /// The card takes its management key only with a touch, and nobody touched it.
    #[error("nobody touched it in time, so its management key was not taken, and nothing was changed")]
    ManagementTouch,
    /// No private key on the token belongs to the public key.
    #[error("the token has no such key")]
    KeyNotFound,
    /// The token does not say that the key was made there and never left.
    #[error("the key may also be elsewhere: {why}")]
    Foreign {
        /// What it does not say.
        why: String,
    },
    /// The key is whole nowhere: people who hold shares of it must come together.
    #[error("the key is split, and signs only when enough of its shares are brought together")]
    SharesNeeded,
    /// The name belongs to another key of the token.
    #[error("the token has a key named {name} already")]
    NameTaken {
        /// The name.
        name: KeyName,
    },
    /// The same public key is on the token more than once, or would be.
    #[error("the token has this public key already, named {name}")]
    DuplicateKey {
        /// The name under which it is there.
        name: KeyName,
    },
    /// The token or module cannot do that.
    #[error("the token cannot {what}")]
    Unsupported {
        /// What was asked, such as "make rsa-4096 keys".
        what: String,
    },
    /// The module could not do that when it was measured.
    #[error("the token cannot {what}")]
    MeasuredUnable {
        /// What was asked, and what was measured.
        what: String,
    },
    /// State on disk that cannot be trusted; nothing was changed.
    #[error("{} cannot be used: {why}", path.display())]
    Corrupt {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// How to repair it.
        remedy: String,
    },
    /// State written by a newer version of this program; nothing was changed.
    #[error("{} has format version {found}; this program reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        found: u64,
        /// The newest that this program reads.
        supported: u64,
    },
    /// A file or folder that others can read or replace.
    #[error("{} is not safe to use: {why}", path.display())]
    Insecure {
        /// The file or folder.
        path: PathBuf,
        /// Who could do what.
        why: String,
        /// How to repair it.
        remedy: String,
    },
    /// The token's signature does not verify against the public key that was asked for.
    #[error("the token gave a signature that does not verify; it was thrown away")]
    BadSignature,
    /// A file could not be read or written.
    #[error("{} could not be {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// "read", "written" and so on.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BackendError {
    /// What to do about it: one sentence for people.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::AfterPin { error } => error.remedy(),
            Self::Locked | Self::LockedMeanwhile | Self::LoginLost => {
                "unlock it: tufctl token unlock NAME".to_owned()
            }
            Self::Absent { .. } => {
                "connect the device, or check the token's entry in the configuration".to_owned()
            }
            Self::Failed { remedy, .. }
            | Self::Untrusted { remedy, .. }
            | Self::Corrupt { remedy, .. }
            | Self::Insecure { remedy, .. }
            | Self::InUse { remedy, .. } => remedy.clone(),
            Self::HelperEnded { again_in, login, .. } => {
                let unlock = if *login { "unlock it again (tufctl token unlock NAME), then " } else { "" };
                format!("{}{unlock}repeat the command", wait(*again_in))
            }
            Self::Busy => "try again when the other call has ended".to_owned(),
            Self::SecretIncorrect { word: "PIN", tries_left: Some(1) } => {
                "make sure of the PIN: the next one is tried only with tufctl token unlock NAME --last-try".to_owned()
            }
            Self::SecretIncorrect { word: "PUK", tries_left: Some(1) } => {
                "make sure of the PUK: the next one is tried only with tufctl token unblock NAME --last-try".to_owned()
            }
            Self::SecretIncorrect { word, .. } => format!("check the {word} and try again"),
            Self::LastTry { .. } | Self::SecretChanged { tries_left: Some(1) } => {
                "make sure of the PIN, then at a terminal: tufctl token unlock NAME --last-try".to_owned()
            }
            Self::LastPukTry => {
                "make sure of the PUK, then at a terminal: tufctl token unblock NAME --last-try".to_owned()
            }
            Self::SecretChanged { .. } => "unlock it with the PIN that it has now: tufctl token unlock NAME".to_owned(),
            Self::AttemptUnknown { remedy: Some(remedy), .. } => remedy.clone(),
            Self::AttemptUnknown { .. } => "make sure of the PIN and of the tries that are left, then unlock it again: tufctl token unlock NAME".to_owned(),
            Self::PinEachUse => {
                "sign at a terminal, where it is asked for, or give the token a `pin` in the configuration from which the \
                 agent can take it each time"
                    .to_owned()
            }
            Self::Swapped { .. } => "make sure which token is there: tufctl token list; then unlock it anew: \
                 tufctl token unlock NAME"
                .to_owned(),
            Self::SecretRefused { word, .. } => {
                format!("it was not tried; check the {word}, or choose another one where it is to be the new one")
            }
            Self::Blocked => "unblock it: with the PUK of a YubiKey by tufctl token unblock NAME, otherwise with the tool of its vendor or its security officer".to_owned(),
            Self::FoundBlocked { both: false } => Self::Blocked.remedy(),
            Self::BothBlocked | Self::FoundBlocked { both: true } => format!("{RESET_LEFT}; {RESET_COSTS}"),
            Self::PukBlocked => format!(
                "its keys sign on with the PIN, so keep that: once it is blocked, too, {RESET_LEFT}; {RESET_COSTS}"
            ),
            Self::NotAsShown { .. } => "make sure of it, then run it again: tufctl token trust NAME".to_owned(),
            Self::Foreign { .. } => "use a key that is made on a token: tufctl key generate NEW --token TOKEN".to_owned(),
            Self::Stopping { .. } => "start the agent again, then repeat the command".to_owned(),
            Self::TouchTimeout => "ask again, and touch it when it blinks; until then this content counts as signed under its version, so \
                                   other content needs the next one (a root: tufctl sign --supersede)"
                .to_owned(),
            Self::SlotOccupied { .. } => {
                "choose another slot (--slot), or say --overwrite, which destroys the key that is there".to_owned()
            }
            Self::ManagementKey { .. } => "give it with --management-key-file F (hex, or the word default for the one of the factory)".to_owned(),
            Self::ManagementTouch => "repeat the command, and touch it when it blinks".to_owned(),
            Self::SharesNeeded => "collect the shares: tufctl share collect DIR --role ROLE --manifest SET.json".to_owned(),
            Self::KeyNotFound => "list the keys that are there: tufctl key list".to_owned(),
            Self::NameTaken { name } => {
                format!("choose another name, or remove the old key: tufctl key remove {}", word::last(name.as_str()))
            }
            Self::DuplicateKey { name } => format!("use the key that is there: {name}"),
            Self::Unsupported { .. } => "choose another key type or another token".to_owned(),
            Self::MeasuredUnable { .. } => {
                "choose another key type or another token; if the module or the device was set right since it was measured, \
                 measure it again: tufctl token doctor NAME --pin-file FILE"
                    .to_owned()
            }
            Self::NewerFormat { .. } => {
                "use the version of tuf-agent that wrote it, or a newer one".to_owned()
            }
            Self::BadSignature => {
                "do not use this token until its device or module was checked; see which it is: tufctl token list. A module \
                 that was not measured may write signatures in a way of its own: tufctl token doctor NAME"
                    .to_owned()
            }
            Self::Io { .. } => "check the folder, its permissions and the space left on the disk".to_owned(),
        }
    }

    /// The same of a token that the agent unlocks by itself.
    #[must_use]
    pub fn remedy_unattended(&self) -> String {
        match self {
            Self::LoginLost => "it is unlocked again by itself: run the command again".to_owned(),
            Self::HelperEnded { again_in, login: true, .. } => {
                let wait = wait(*again_in);
                format!("{wait}repeat the command: the token is unlocked again by itself")
            }
            _ => self.remedy(),
        }
    }

    /// What failed, for whoever does not count attempts.
    #[must_use]
    pub fn without_pin(self) -> Self {
        match self {
            Self::AfterPin { error } => *error,
            error => error,
        }
    }

    /// The reason in the table of reasons (`proto/reasons.tsv`).
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Locked | Self::LockedMeanwhile | Self::LoginLost => "TOKEN_LOCKED",
            Self::Absent { .. } => "TOKEN_ABSENT",
            Self::Failed { .. } | Self::HelperEnded { .. } | Self::AttemptUnknown { .. } => "TOKEN_FAILED",
            Self::Busy | Self::InUse { .. } => "TOKEN_BUSY",
            Self::SecretIncorrect { .. } | Self::SecretChanged { .. } => "PIN_INCORRECT",
            Self::LastTry { .. }
            | Self::LastPukTry
            | Self::Blocked
            | Self::BothBlocked
            | Self::FoundBlocked { .. }
            | Self::PukBlocked => "PIN_BLOCKED",
            Self::AfterPin { error } => error.reason(),
            Self::PinEachUse => "PIN_REQUIRED",
            Self::Swapped { .. } => "TOKEN_SWAPPED",
            Self::SecretRefused { .. } => "USAGE",
            Self::Untrusted { .. } => "TOKEN_UNTRUSTED",
            Self::NotAsShown { .. } => "CONFIRMATION_MISSING",
            Self::Foreign { .. } => "ORIGIN",
            Self::Stopping { .. } => "UNREACHABLE",
            Self::TouchTimeout | Self::ManagementTouch => "TOUCH_TIMEOUT",
            Self::SlotOccupied { .. } => "SLOT_OCCUPIED",
            Self::ManagementKey { .. } => "MANAGEMENT_KEY",
            Self::SharesNeeded => "SHARES_MISSING",
            Self::KeyNotFound => "KEY_NOT_FOUND",
            Self::NameTaken { .. } => "NAME_TAKEN",
            Self::DuplicateKey { .. } => "DUPLICATE_KEY",
            Self::Unsupported { .. } | Self::MeasuredUnable { .. } => "UNSUPPORTED",
            Self::Corrupt { .. } | Self::NewerFormat { .. } => "STATE_CORRUPT",
            Self::Insecure { .. } => "SECRET_FILE",
            Self::BadSignature => "BAD_SIGNATURE",
            Self::Io { .. } => "STATE_IO",
        }
    }

    /// The token cannot make or hold keys of `kind`.
    #[must_use]
    pub fn unsupported_type(kind: KeyType) -> Self {
        Self::Unsupported { what: format!("hold {kind} keys") }
    }

    pub(crate) fn io(path: &Path, doing: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::Io { path: path.to_owned(), doing, source: source.into() }
    }
}

/// The way out of a PUK that is blocked.
const RESET_LEFT: &str = "only a reset of its PIV application goes on from there (ykman piv reset; after it, take the YubiKey out and \
                          insert it again, or its old state is still shown)";
const RESET_COSTS: &str = "that destroys every key and certificate in it, and its PIN, PUK and management key are those of the factory \
                           again: give its roles other keys (tufctl root replace-key, tufctl delegation edit)";

fn wait(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("wait {seconds} s, then "))
}

fn tries(left: Option<u32>) -> String {
    match left {
        None => String::new(),
        Some(1) => "; 1 try left".to_owned(),
        Some(n) => format!("; {n} tries left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_of_the_end_of_the_agent_reads_of_a_touch_where_there_may_be_one() {
        let told = |touch| BackendError::Stopping { touch }.to_string();
        assert!(told(true).contains("touched") && !told(false).contains("touch"), "{}", told(false));
        assert!(told(false).contains("the agent is being stopped"));
    }
}
