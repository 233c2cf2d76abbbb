//! What the agent knows of repositories: who may sign what, what was last seen, and what follows from it.
//!
//! Duty: answer the signing pipeline from the agent's own state, and take note of metadata that met its thresholds
//! in front of it. Trust: what callers send is only believed where signatures or the rules for staged authorities
//! say so; texts on the disk are compared with their digests. Invariants: the base of every difference is the
//! agent's own; marks only rise; content that differs from what is known is refused or an alarm, never taken.

mod authority;
mod behind;
mod family;
mod ground;
mod judge;
mod kept;
mod laid_by;
mod listing;
mod memory;
mod missing;
mod observe;
mod odd_keys;
mod past;
mod proof;
mod reading;
mod recall;
mod register;
mod reset;
#[cfg(test)]
mod tests;
mod twin;

use std::sync::Arc;

pub use authority::{Authority, RoleOfKey};
pub use judge::{Asked, Changes, Newest, Signing, Standing, Superseded};
pub use ledger::Record;
use ledger::{Ledger, Outcome, RepositoryName};
pub use missing::Described;
pub use observe::{Consent, Observed};
pub use past::{unknown_past, unknown_past_of_token};
use policy::Reason;
pub use reading::parse;
pub use register::{Registered, Registration};
use tuf::digest::Sha256Digest;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use self::ground::Signers;
use self::memory::Memory;
use self::past::Pasts;
use crate::refusal::Refusal;

/// A root that was signed or verified here.
#[derive(Debug, Clone)]
pub struct NewestRoot {
    /// The root.
    pub root: Metadata,
    /// It has met its thresholds in front of the agent.
    pub complete: bool,
}

/// The repositories that the agent knows.
pub struct Repositories {
    ledger: Arc<Ledger>,
    memory: Memory,
    pasts: Pasts,
    signers: Signers,
}

impl Repositories {
    /// Takes up where the last run ended: intents without an outcome are journalled as unknown (they count as signed).
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn open(ledger: Arc<Ledger>) -> Result<Self, Refusal> {
        for intent in ledger.open_intents().await? {
            tracing::warn!(role = %intent.role, version = %intent.version, "an intent of the last run has no outcome");
            ledger.record_outcome(intent.id, Outcome::Unknown);
        }
        let pruned = Arc::clone(&ledger);
        tokio::spawn(async move {
            if let Err(error) = pruned.prune_texts().await {
                tracing::warn!(%error, "old metadata was not removed");
            }
        });
        let found = Self {
            memory: Memory::new(Arc::clone(&ledger)),
            ledger,
            pasts: Pasts::default(),
            signers: Signers::default(),
        };
        found.note_named().await?;
        Ok(found)
    }

    /// Writes what waits to be written; blocks. Called once, at the end.
    pub fn write_behind(&self) {
        self.memory.write_behind();
    }

    /// All repositories, by name.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn all(&self) -> Result<Vec<Record>, Refusal> {
        Ok(self.ledger.repositories().await?)
    }

    /// The repository with this name.
    ///
    /// # Errors
    /// `REPOSITORY_UNKNOWN`, `STATE_IO`.
    pub async fn by_name(&self, name: &str) -> Result<Arc<Record>, Refusal> {
        let parsed: Result<RepositoryName, _> = name.parse();
        let found = match parsed {
            Ok(name) => self.ledger.find_by_name(&name).await?,
            Err(_) => None,
        };
        found.map(Arc::new).ok_or_else(|| unknown(&format!("this agent knows no repository {name:?}")))
    }

    /// The newest root that this agent signed or verified.
    ///
    /// # Errors
    /// `ROLE_UNKNOWN` when there is none or its text is not kept any more; `STATE_IO`.
    pub async fn newest_root(&self, record: &Record) -> Result<NewestRoot, Refusal> {
        let found = self.memory.newest_root(record).await?;
        found.map(|(root, complete)| NewestRoot { root, complete }).ok_or_else(|| {
            let message = format!("this agent keeps no root of {}", record.name);
            Refusal::new(Reason::RoleUnknown, message)
                .remedy("take the newest root from a colleague's copy: tufctl sign DIR --from COPY")
                .detail("repository", record.name.to_string())
        })
    }

    /// The repository whose root chain holds one of these roots.
    ///
    /// # Errors
    /// `REPOSITORY_UNKNOWN`, `STATE_IO`.
    pub async fn by_roots(&self, digests: Vec<Sha256Digest>) -> Result<Arc<Record>, Refusal> {
        let found = self.ledger.find_by_roots(digests).await?;
        found.map(Arc::new).ok_or_else(|| unknown("this agent knows no repository with these roots"))
    }
}

/// For how many days a role's metadata is valid where the record says nothing else (CONTRACT section 2).
#[must_use]
pub const fn default_days(kind: RoleKind) -> u32 {
    match kind {
        RoleKind::Root => 365,
        RoleKind::Targets => 90,
        RoleKind::Snapshot => 7,
        RoleKind::Timestamp => 1,
    }
}

/// For how many days a role's metadata of this repository is valid.
#[must_use]
pub fn days_of(record: &Record, role: &RoleName) -> u32 {
    record.expiry_days.get(role).copied().unwrap_or_else(|| default_days(role.kind()))
}

fn unknown(message: &str) -> Refusal {
    Refusal::new(Reason::RepositoryUnknown, message)
        .remedy("adopt it from its newest published copy: tufctl repo adopt DIR --name NAME --root ROOT.json")
}
