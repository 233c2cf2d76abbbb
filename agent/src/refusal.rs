//! What every refusal looks like, and its one way onto the wire.
//!
//! A `Refusal` says what happened, why and what to do; its reason comes from the one table
//! (`proto/reasons.tsv`), which also gives the gRPC code.

use ledger::LedgerError;
use policy::Reason;
use prost::Message as _;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tufagent_proto::v1::ErrorInfo;

/// Something that the agent will not or cannot do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
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
        json!({"reason": self.reason.to_string(), "message": self.message, "details": self.details})
    }

    /// The message that travels in the status details.
    #[must_use]
    pub fn error_info(&self) -> ErrorInfo {
        let details_json = if self.details.is_empty() {
            String::new()
        } else {
            Value::Object(self.details.clone()).to_string()
        };
        ErrorInfo {
            reason: self.reason.to_string(),
            message: self.message.clone(),
            remedy: self.remedy.clone(),
            details_json,
        }
    }
}

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
            LedgerError::SharedKey { key, other } => {
                refusal.detail("key", key.as_str()).detail("repository", other.to_string())
            }
            LedgerError::Alarm { role, .. } => refusal.detail("role", role.to_string()),
            LedgerError::ChainKnown { name } => refusal.detail("repository", name.to_string()),
            LedgerError::Missing { path, .. } => refusal.detail("file", path.display().to_string()),
            _ => refusal,
        }
    }
}

fn ledger_reason(error: &LedgerError) -> Reason {
    match error {
        LedgerError::Watermark { .. } | LedgerError::Alarm { .. } => Reason::Watermark,
        LedgerError::Vanished { .. } => Reason::SnapshotInvalid,
        LedgerError::SharedKey { .. } => Reason::SharedKey,
        LedgerError::RepositoryUnknown { .. } => Reason::RepositoryUnknown,
        LedgerError::NameTaken { .. } => Reason::NameTaken,
        LedgerError::ChainKnown { .. } => Reason::RepositoryKnown,
        LedgerError::RootStep { .. } => Reason::VersionJump,
        LedgerError::Corrupt { .. } | LedgerError::Newer { .. } => Reason::StateCorrupt,
        LedgerError::Missing { .. }
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
}
