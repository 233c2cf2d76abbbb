//! What every refusal looks like, and its one way onto the wire.
//!
//! A `Refusal` says what happened, why and what to do; its reason comes from the one table
//! (`proto/reasons.tsv`), which also gives the gRPC code.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use ledger::LedgerError;
use policy::Reason;
use prost::Message as _;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tufagent_proto::v1::ErrorInfo;

use crate::limits;

/// Something that the agent will not or cannot do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", plain(message))]
pub struct Refusal {
    /// The machine's word for it.
    pub reason: Reason,
    /// What happened and why, one sentence without a full stop at its end.
    pub message: String,
    /// What to do; may be empty.
    pub remedy: String,
    /// Details for machines.
    pub details: Map<String, Value>,
}

impl Refusal {
    /// A refusal with nothing but its reason and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: String::new(), details: Map::new() }
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Adds one detail.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// A fault of ours, never of the caller.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        Self::new(Reason::Internal, format!("a fault of the program: {what}"))
            .remedy("look into the agent's log and report it")
    }

    /// What the journal keeps of it.
    #[must_use]
    pub fn journal_json(&self) -> Value {
        json!({"reason": self.reason.to_string(), "message": plain(&self.message), "details": self.details})
    }

    /// The message that travels in the status details.
    #[must_use]
    pub fn error_info(&self) -> ErrorInfo {
        let details_json = if self.details.is_empty() { String::new() } else { bounded(&self.details) };
        ErrorInfo {
            reason: self.reason.to_string(),
            message: plain(&self.message).into_owned(),
            remedy: plain(&self.remedy).into_owned(),
            details_json,
        }
    }
}

/// The details as JSON; without the largest where all of them are too large to travel in a header.
fn bounded(details: &Map<String, Value>) -> String {
    let mut details = details.clone();
    loop {
        let text = Value::Object(details.clone()).to_string();
        if text.len() <= limits::REFUSAL_DETAILS {
            return text;
        }
        let largest = details.iter().max_by_key(|(_, value)| value.to_string().len());
        let Some(name) = largest.map(|(name, _)| name.clone()) else { return text };
        details.remove(&name);
    }
}

/// Text that may hold what a caller chose: one line, nothing that a terminal obeys or that turns the direction of
/// reading, and no longer than a person reads.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() && !INVISIBLE.iter().any(|range| range.contains(&c));
    if text.chars().all(harmless) && text.chars().nth(limits::REFUSAL_TEXT).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for c in text.chars().take(limits::REFUSAL_TEXT) {
        if harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    if text.chars().nth(limits::REFUSAL_TEXT).is_some() {
        out.push('\u{2026}');
    }
    Cow::Owned(out)
}

/// Marks of direction, characters without width, breaks of lines and tags (Unicode's default ignorables, mostly).
const INVISIBLE: [RangeInclusive<char>; 10] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{e0000}'..='\u{e0fff}',
];

impl From<policy::Refusal> for Refusal {
    fn from(no: policy::Refusal) -> Self {
        let value = |detail| match detail {
            policy::Detail::Number(number) => Value::from(number),
            policy::Detail::Text(text) => Value::from(text),
        };
        let details = no.details.into_iter().map(|(name, detail)| (name.to_owned(), value(detail))).collect();
        Self { reason: no.reason, message: no.message, remedy: no.remedy, details }
    }
}

impl From<ledger::LedgerError> for Refusal {
    fn from(error: ledger::LedgerError) -> Self {
        let refusal = Self::new(ledger_reason(&error), error.to_string()).remedy(error.remedy());
        match &error {
            LedgerError::Watermark {
                role,
                version,
                marked_role,
                marked_version,
                marked_digest,
                marked_on,
                ..
            } => refusal
                .detail("role", role.to_string())
                .detail("version", version.get())
                .detail("signed_role", marked_role.to_string())
                .detail("signed_version", marked_version.get())
                .detail("signed_sha256", marked_digest.to_string())
                .detail("signed_on", marked_on.to_string()),
            LedgerError::Vanished { listing, role, last } => refusal
                .detail("role", listing.to_string())
                .detail("entry", role.to_string())
                .detail("last_version", last.get()),
            LedgerError::Unseen { role, version, .. } => {
                refusal.detail("role", role.to_string()).detail("version", version.get())
            }
            LedgerError::LaidBy { role, version, marked_role, marked, .. } => refusal
                .detail("role", role.to_string())
                .detail("version", version.get())
                .detail("signed_role", marked_role.to_string())
                .detail("signed_version", marked.get()),
            LedgerError::Unfounded { key, role, marked_role, .. } => refusal
                .detail("key", key.as_str())
                .detail("role", role.to_string())
                .detail("also_role", marked_role.to_string()),
            LedgerError::SharedKey { key, other } => {
                refusal.detail("key", key.as_str()).detail("repository", other.to_string())
            }
            LedgerError::Alarm { role, .. } | LedgerError::Moved { role } => {
                refusal.detail("role", role.to_string())
            }
            LedgerError::ChainKnown { name } | LedgerError::Restored { name } => {
                refusal.detail("repository", name.to_string())
            }
            LedgerError::Missing { path, .. } => refusal.detail("file", path.display().to_string()),
            _ => refusal,
        }
    }
}

fn ledger_reason(error: &LedgerError) -> Reason {
    match error {
        LedgerError::Watermark { .. }
        | LedgerError::LaidBy { .. }
        | LedgerError::Unseen { .. }
        | LedgerError::Alarm { .. }
        | LedgerError::Restored { .. } => Reason::Watermark,
        LedgerError::Vanished { .. } => Reason::SnapshotInvalid,
        LedgerError::Unfounded { .. } => Reason::Policy,
        LedgerError::SharedKey { .. } => Reason::SharedKey,
        LedgerError::RepositoryUnknown { .. } => Reason::RepositoryUnknown,
        LedgerError::NameTaken { .. } => Reason::NameTaken,
        LedgerError::ChainKnown { .. } => Reason::RepositoryKnown,
        LedgerError::RootStep { .. } => Reason::VersionJump,
        LedgerError::Moved { .. } => Reason::ConfirmationMissing,
        LedgerError::Corrupt { .. } | LedgerError::Newer { .. } => Reason::StateCorrupt,
        LedgerError::Missing { .. }
        | LedgerError::NoFolder { .. }
        | LedgerError::Busy { .. }
        | LedgerError::Io { .. }
        | LedgerError::Closed => Reason::StateIo,
        _ => Reason::Internal,
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let info = refusal.error_info();
        let details = info.encode_to_vec().into();
        Self::with_details(grpc_code(&info.reason), info.message, details)
    }
}

/// The gRPC code that the table of reasons gives; unknown reasons are internal faults.
fn grpc_code(reason: &str) -> Code {
    let row = tufagent_proto::REASONS
        .lines()
        .map(|line| line.split('\t'))
        .find_map(|mut columns| (columns.next() == Some(reason)).then(|| columns.next().unwrap_or_default()));
    match row.unwrap_or_default() {
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "NOT_FOUND" => Code::NotFound,
        "ALREADY_EXISTS" => Code::AlreadyExists,
        "PERMISSION_DENIED" => Code::PermissionDenied,
        "UNAUTHENTICATED" => Code::Unauthenticated,
        "RESOURCE_EXHAUSTED" => Code::ResourceExhausted,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "UNIMPLEMENTED" => Code::Unimplemented,
        "UNAVAILABLE" => Code::Unavailable,
        "DATA_LOSS" => Code::DataLoss,
        "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        "CANCELLED" => Code::Cancelled,
        "UNKNOWN" => Code::Unknown,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_table_has_a_grpc_code_of_its_own_column() {
        for line in tufagent_proto::REASONS.lines() {
            let mut columns = line.split('\t');
            let (reason, code) = (columns.next().unwrap(), columns.next().unwrap());
            let known = grpc_code(reason) != Code::Internal || code == "INTERNAL";
            assert!(known, "{reason} has the unknown code {code}");
        }
    }

    #[test]
    fn a_status_carries_reason_message_remedy_and_details() {
        let refusal = Refusal::new(Reason::Watermark, "no").remedy("stage 8").detail("version", 7);
        let status = Status::from(refusal);
        let info = ErrorInfo::decode(status.details()).unwrap();
        assert_eq!((info.reason.as_str(), info.remedy.as_str()), ("WATERMARK", "stage 8"));
        assert_eq!(info.details_json, r#"{"version":7}"#);
        assert_eq!(status.code(), Code::FailedPrecondition);
    }

    #[test]
    fn what_a_caller_chose_cannot_break_lines_drive_a_terminal_or_fill_a_header() {
        let hostile = "a\nb\r\u{1b}[2J\u{202e}\u{9b}\u{200b}\u{2028}é";
        let refusal = Refusal::new(Reason::Usage, hostile)
            .remedy("x".repeat(1 << 20))
            .detail("small", 1)
            .detail("large", "\u{1b}".repeat(1 << 20));
        let info = refusal.error_info();
        assert_eq!(info.message, "a\\nb\\r\\u{1b}[2J\\u{202e}\\u{9b}\\u{200b}\\u{2028}é");
        assert_eq!(refusal.to_string(), info.message);
        assert_eq!(refusal.journal_json()["message"], info.message.as_str());
        assert_eq!(info.remedy.chars().count(), limits::REFUSAL_TEXT + 1);
        assert_eq!(info.details_json, r#"{"small":1}"#);
    }
}
