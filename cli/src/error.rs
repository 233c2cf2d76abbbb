//! What went wrong, for people and for scripts: one type for every command.
//!
//! The reasons and their exit codes are one table, `proto/reasons.tsv`; the agent sends the same
//! reasons in its `ErrorInfo`. A `Failure` says what happened and why, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use prost::Message;
use serde_json::{Map, Value, json};
use tufagent_proto::v1::ErrorInfo;

use crate::client::TURNED_AWAY;
use crate::render::typed_path;

/// A refusal or a fault: `{"error": {"reason", "message", "remedy", "details"}}` under `--json`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure(Box<Parts>);

#[derive(Debug, Clone, PartialEq)]
struct Parts {
    reason: Cow<'static, str>,
    message: String,
    /// Never empty: it begins as the general one of the reason.
    remedy: Cow<'static, str>,
    details: Map<String, Value>,
}

impl Failure {
    /// A failure for a reason of the table (see [`reason`]); `message` says what happened and why.
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self::of(Cow::Borrowed(reason), message.into())
    }

    /// Says what to do about it: a sentence or a command. An empty one leaves the general one of the reason.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        let remedy = remedy.into();
        if !remedy.is_empty() {
            self.0.remedy = Cow::Owned(remedy);
        }
        self
    }

    /// Adds one member to `details`.
    #[must_use]
    pub(crate) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(name.into(), value.into());
        self
    }

    /// The same failure in other words.
    #[must_use]
    pub(crate) fn saying(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// A file or folder that could not be read or written; `doing` such as "read".
    pub(crate) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::new(reason::IO, format!("cannot {doing} {}: {}", path.display(), plain(error)))
            .remedy(remedy_of_io(error.kind()))
            .detail("file", path.display().to_string());
        if error.kind() == ErrorKind::InvalidFilename { failure.detail(LONG_NAME, true) } else { failure }
    }

    /// Whether a name was longer than the file system holds.
    pub(crate) fn is_of_long_name(&self) -> bool {
        self.has_detail(LONG_NAME)
    }

    /// Ctrl-C, or a no to a question.
    pub(crate) fn cancelled(message: impl Into<String>) -> Self {
        Self::new(reason::CANCELLED, message)
    }

    /// The same, as the fault of who named what it is about.
    pub(crate) fn into_usage(mut self) -> Self {
        self.0.reason = Cow::Borrowed(reason::USAGE);
        self
    }

    /// The upper-case reason.
    pub(crate) fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Whether `details` has this member.
    pub(crate) fn has_detail(&self, name: &str) -> bool {
        self.0.details.contains_key(name)
    }

    /// What happened and why.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do; never empty.
    pub(crate) fn remedy_text(&self) -> &str {
        &self.0.remedy
    }

    /// A member of `details` that is text.
    pub(crate) fn text_detail(&self, name: &str) -> Option<&str> {
        self.0.details.get(name)?.as_str()
    }

    /// Says what else it means, before what happened.
    #[must_use]
    pub(crate) fn context(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Names the folder where a remedy speaks of one as `DIR`.
    #[must_use]
    pub(crate) fn in_folder(mut self, dir: &Path) -> Self {
        let name = typed_path(dir);
        let words = self.0.remedy.split(' ').map(|word| match word.strip_prefix("DIR") {
            Some(rest) if rest.chars().all(|c| c.is_ascii_punctuation()) => format!("{name}{rest}"),
            _ => word.to_owned(),
        });
        self.0.remedy = words.collect::<Vec<_>>().join(" ").into();
        self
    }

    /// The exit code that the table gives the reason; 1 for a reason that this build does not know.
    pub(crate) fn exit_code(&self) -> u8 {
        exit_code_of(self.reason()).unwrap_or(1)
    }

    /// The document that stands on stdout under `--json`.
    pub(crate) fn json(&self) -> Value {
        json!({"error": {
            "reason": self.0.reason,
            "message": self.0.message,
            "remedy": self.0.remedy,
            "details": self.0.details,
        }})
    }

    fn of(reason: Cow<'static, str>, message: String) -> Self {
        let remedy = Cow::Borrowed(general_remedy(&reason));
        Self(Box::new(Parts { reason, message, remedy, details: Map::new() }))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        match ErrorInfo::decode(status.details()) {
            Ok(info) if !info.reason.is_empty() => from_info(info),
            _ => from_bare_status(&status),
        }
    }
}

fn from_info(info: ErrorInfo) -> Failure {
    let details = serde_json::from_str(&info.details_json).unwrap_or_default();
    let mut failure = Failure::of(Cow::Owned(info.reason), info.message).remedy(info.remedy);
    failure.0.details = details;
    failure
}

/// A status that the transport made, not the agent: there is no `ErrorInfo` in it.
fn from_bare_status(status: &tonic::Status) -> Failure {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled => {
            Failure::new(reason::UNREACHABLE, "the agent hung up or hangs: there is no answer")
                .remedy(TURNED_AWAY)
        }
        tonic::Code::Unimplemented => {
            Failure::new(reason::UNSUPPORTED, "the agent does not know this request")
                .remedy("run a tuf-agent of the same version as tufctl")
        }
        tonic::Code::ResourceExhausted | tonic::Code::OutOfRange => {
            Failure::new(reason::LIMIT, format!("a message was too large: {}", status.message()))
        }
        code => Failure::new(reason::INTERNAL, format!("the agent answered {code:?}: {}", status.message())),
    }
}

/// The system's word for an error, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// The detail of a failure because of a name that the file system does not hold.
const LONG_NAME: &str = "name_too_long";

/// What to do about a file or folder that could not be read or written.
fn remedy_of_io(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "see whether the path is right",
        ErrorKind::PermissionDenied => "see whose it is and who may use it: ls -ld",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room on that file system, then run it again"
        }
        ErrorKind::ReadOnlyFilesystem => "mount that file system for writing, or work on a copy elsewhere",
        ErrorKind::InvalidInput | ErrorKind::IsADirectory => "name a regular file",
        ErrorKind::NotADirectory => {
            "a part of the path before the last is no folder: see whether it is right"
        }
        ErrorKind::InvalidFilename => "use a shorter name",
        _ => "see to that disk or folder, then run it again: what was there before is kept",
    }
}

/// What to do where nothing better is known: every failure says something.
fn general_remedy(reason: &str) -> &'static str {
    match reason {
        reason::USAGE | reason::NAME_INVALID => "see the command's --help",
        reason::METADATA_INVALID | reason::STATE_CORRUPT => "restore the file from a copy",
        reason::REPOSITORY_UNKNOWN => "bring it in first: tufctl repo adopt",
        reason::NAME_TAKEN | reason::REPOSITORY_KNOWN => "use another name, or the one that it has already",
        reason::REPOSITORY_INVALID => "name a folder that holds a repository: tufctl repo show",
        reason::WATERMARK | reason::VERSION_JUMP | reason::SNAPSHOT_INVALID => {
            "bring this folder up to what is published, then stage again: tufctl bump"
        }
        reason::EXPIRY => "choose another length: tufctl bump --expires",
        reason::POLICY | reason::SHARED_KEY => "ask whoever keeps the agent's configuration",
        reason::CONFIRMATION_MISSING | reason::PIN_REQUIRED => "run it again on a terminal",
        reason::TARGET_CHANGED => "add it again: tufctl target add",
        reason::TARGET_NAME | reason::PATTERN => "choose a name of plain letters, digits, - _ . and /",
        reason::ROLE_UNKNOWN => "see which roles there are: tufctl repo show",
        reason::KEY_NOT_FOUND | reason::KEY_NOT_OF_ROLE => "see which keys there are: tufctl key list",
        reason::KEY_IN_USE | reason::DUPLICATE_KEY => "see what it serves: tufctl key list",
        reason::THRESHOLD_MISSING => "see who has not signed: tufctl repo show",
        reason::TOKEN_LOCKED => "unlock it: tufctl token unlock",
        reason::TOKEN_UNKNOWN
        | reason::TOKEN_ABSENT
        | reason::TOKEN_FAILED
        | reason::TOKEN_BUSY
        | reason::TOKEN_UNTRUSTED
        | reason::PIN_INCORRECT
        | reason::PIN_BLOCKED => "see how the tokens are: tufctl token list",
        reason::UNSUPPORTED => "use a key of another type or another token: tufctl token list",
        reason::SECRET_FILE => "use a file of your own with mode 0600",
        reason::KEY_FILE => "write one with: tufctl key export",
        reason::BAD_SIGNATURE => {
            "do not use this token until its device or module was checked: tufctl token list"
        }
        reason::VERIFICATION => "do not use this copy; compare it with another one, or publish it again",
        reason::UNREACHABLE => "see whether it runs: systemctl --user status tuf-agent",
        reason::LIMIT => "split it into smaller parts",
        reason::BASE_UNKNOWN | reason::CANCELLED => "run it again when you are ready",
        reason::IO => "see to that disk or folder, then run it again",
        _ => "see the agent's log (journalctl --user -u tuf-agent) and report it with what was run",
    }
}

/// The exit code of a reason, if the table has it.
fn exit_code_of(reason: &str) -> Option<u8> {
    tufagent_proto::REASONS.lines().find_map(|line| {
        let mut columns = line.split('\t');
        (columns.next() == Some(reason)).then(|| columns.nth(1)?.parse().ok())?
    })
}

/// Declares the reasons that `tufctl` itself gives, so that a test can hold them against the table.
macro_rules! reasons {
    ($($name:ident),* $(,)?) => {
        /// The reasons that `tufctl` itself gives; all are in `proto/reasons.tsv`.
        pub(crate) mod reason {
            $(
                #[doc = concat!("`", stringify!($name), "` of the table.")]
                #[allow(dead_code)]
                pub(crate) const $name: &str = stringify!($name);
            )*
            #[cfg(test)]
            pub(crate) const ALL: &[&str] = &[$($name),*];
        }
    };
}

reasons!(
    USAGE,
    METADATA_INVALID,
    NAME_INVALID,
    NAME_TAKEN,
    REPOSITORY_UNKNOWN,
    REPOSITORY_KNOWN,
    REPOSITORY_INVALID,
    WATERMARK,
    VERSION_JUMP,
    EXPIRY,
    POLICY,
    ORIGIN,
    SHARED_KEY,
    CONFIRMATION_MISSING,
    TARGET_CHANGED,
    TARGET_NAME,
    PATTERN,
    ROLE_UNKNOWN,
    SNAPSHOT_INVALID,
    KEY_NOT_FOUND,
    KEY_NOT_OF_ROLE,
    KEY_IN_USE,
    DUPLICATE_KEY,
    THRESHOLD_MISSING,
    TOKEN_UNKNOWN,
    TOKEN_LOCKED,
    TOKEN_ABSENT,
    TOKEN_FAILED,
    TOKEN_BUSY,
    TOKEN_SWAPPED,
    TOKEN_UNTRUSTED,
    UNSUPPORTED,
    PIN_INCORRECT,
    PIN_BLOCKED,
    PIN_REQUIRED,
    TOUCH_TIMEOUT,
    MANAGEMENT_KEY,
    SECRET_FILE,
    BAD_SIGNATURE,
    KEY_FILE,
    SHARES_MISSING,
    SHARE_INVALID,
    SHARE_UNPROVEN,
    WEAK_SET,
    VERIFICATION,
    UNREACHABLE,
    LIMIT,
    BASE_UNKNOWN,
    CANCELLED,
    STATE_CORRUPT,
    IO,
    INTERNAL,
);

#[cfg(test)]
mod tests {
    use super::{Failure, exit_code_of, general_remedy, reason};
    use prost::Message;
    use tufagent_proto::v1::ErrorInfo;

    #[test]
    fn every_reason_that_tufctl_gives_is_in_the_table() {
        for reason in reason::ALL {
            assert!(exit_code_of(reason).is_some(), "{reason}");
        }
    }

    #[test]
    fn no_failure_of_any_make_is_without_a_remedy() {
        for reason in reason::ALL {
            assert!(!Failure::new(reason, "x").remedy("").remedy_text().is_empty(), "{reason}");
            assert_eq!(Failure::new(reason, "x").remedy("do this").remedy_text(), "do this");
        }
        for line in tufagent_proto::REASONS.lines() {
            let reason = line.split('\t').next().unwrap().to_owned();
            let status = tonic::Status::with_details(
                tonic::Code::Internal,
                "",
                ErrorInfo { reason, ..Default::default() }.encode_to_vec().into(),
            );
            assert!(!Failure::from(status).remedy_text().is_empty(), "{line}");
        }
        for code in 0..=16 {
            let failure = Failure::from(tonic::Status::new(tonic::Code::from_i32(code), "x"));
            assert!(!failure.remedy_text().is_empty(), "{failure}");
        }
        for error in [2, 5, 13, 20, 21, 22, 28, 30, 36].map(std::io::Error::from_raw_os_error) {
            let failure = Failure::io("read", std::path::Path::new("f"), &error);
            assert!(
                !failure.remedy_text().is_empty() && !failure.message().contains("os error"),
                "{failure}"
            );
        }
    }

    #[test]
    fn remedies_name_only_commands_that_exist() {
        let root = <crate::args::Cli as clap::CommandFactory>::command();
        for line in tufagent_proto::REASONS.lines() {
            let remedy = general_remedy(line.split('\t').next().unwrap());
            let Some((_, named)) = remedy.split_once("tufctl ") else { continue };
            let mut at = &root;
            for word in named.split(' ') {
                if !at.has_subcommands() {
                    break;
                }
                at = at.find_subcommand(word).unwrap_or_else(|| panic!("{remedy}: there is no {word}"));
            }
        }
    }

    #[test]
    fn the_table_has_whole_lines_and_exit_codes_of_the_contract() {
        for line in tufagent_proto::REASONS.lines() {
            let columns: Vec<_> = line.split('\t').collect();
            assert_eq!(columns.len(), 4, "{line}");
            assert!((1..=7).contains(&columns[2].parse::<u8>().unwrap()), "{line}");
        }
        for (reason, code) in [("USAGE", 2), ("WATERMARK", 3), ("THRESHOLD_MISSING", 4), ("TOKEN_LOCKED", 5)]
        {
            assert_eq!(exit_code_of(reason), Some(code));
        }
        assert_eq!(exit_code_of("VERIFICATION"), Some(6));
        assert_eq!(exit_code_of("UNREACHABLE"), Some(7));
        assert_eq!(exit_code_of("WATER"), None);
    }

    #[test]
    fn a_status_with_an_error_info_keeps_all_four_parts() {
        let info = ErrorInfo {
            reason: "WATERMARK".into(),
            message: "targets version 7 was signed".into(),
            remedy: "stage version 8".into(),
            details_json: r#"{"version":7}"#.into(),
        };
        let status = tonic::Status::with_details(
            tonic::Code::FailedPrecondition,
            "targets version 7 was signed",
            info.encode_to_vec().into(),
        );
        let failure = Failure::from(status);
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(
            failure.json().to_string(),
            r#"{"error":{"details":{"version":7},"message":"targets version 7 was signed","reason":"WATERMARK","remedy":"stage version 8"}}"#
        );
    }

    #[test]
    fn a_status_of_the_transport_is_an_agent_that_went_away() {
        let failure = Failure::from(tonic::Status::unavailable("transport error"));
        assert_eq!((failure.reason(), failure.exit_code()), ("UNREACHABLE", 7));
    }

    #[test]
    fn an_unknown_reason_of_a_newer_agent_is_exit_one() {
        let info = ErrorInfo { reason: "MOON_PHASE".into(), ..Default::default() };
        let status = tonic::Status::with_details(tonic::Code::Internal, "", info.encode_to_vec().into());
        assert_eq!(Failure::from(status).exit_code(), 1);
    }
}
