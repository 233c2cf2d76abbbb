//! What a judgement comes to.

use crate::Reason;

/// The outcome of a rule: yes, yes if a person agrees, or no.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Nothing stands against it.
    Allow,
    /// Allowed once a person has seen every concern.
    Confirm {
        /// At least one; in the order in which the rules stand.
        concerns: Vec<Concern>,
    },
    /// Not allowed, whoever agrees.
    Refuse(Refusal),
}

impl Decision {
    /// `Allow` when there is no concern, `Confirm` otherwise.
    pub(crate) fn from_concerns(concerns: Vec<Concern>) -> Self {
        if concerns.is_empty() { Self::Allow } else { Self::Confirm { concerns } }
    }

    /// The concerns that a person must see; none when it is allowed or refused.
    #[must_use]
    pub fn concerns(&self) -> &[Concern] {
        match self {
            Self::Confirm { concerns } => concerns,
            Self::Allow | Self::Refuse(_) => &[],
        }
    }
}

/// Something unusual that is allowed when a person agrees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Concern {
    /// The reason that a refusal would carry if nobody agreed.
    pub reason: Reason,
    /// One sentence for people, without a full stop at its end.
    pub message: String,
}

impl Concern {
    /// Whether only a person may agree, and no program that answers for one (DESIGN section 4, rule 3).
    #[must_use]
    pub fn needs_person(&self) -> bool {
        matches!(self.reason, Reason::VersionJump | Reason::ConfirmationMissing)
    }

    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A no, with what, why and remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The machine's word for it.
    pub reason: Reason,
    /// What happened and why, one sentence without a full stop at its end.
    pub message: String,
    /// What to do about it; may be empty.
    pub remedy: String,
    /// Named details for machines.
    pub details: Vec<(&'static str, Detail)>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: remedy.into(), details: Vec::new() }
    }

    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<Detail>) -> Self {
        self.details.push((name, value.into()));
        self
    }
}

/// The value of one detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A whole number, such as a version.
    Number(u64),
    /// Text, such as the name of a role.
    Text(String),
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
