//! Keys that serve another root chain as well. Metadata does not name its repository: what such a key signs here may count
//! there, and a person should know (DESIGN section 4, rule 3).

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};

use super::signers::Signer;
use crate::refusal::Refusal;
use crate::repositories::Record;
use crate::state::AppState;

/// What is said of keys that serve other chains, one sentence each.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// What `--yes` answers.
    pub(super) concerns: Vec<String>,
    /// What only a person says yes to.
    pub(super) person: Vec<String>,
}

/// Looks where it matters: at a key that is shared by this very request, and at the keys of root.
pub(super) async fn look(
    agent: &AppState,
    record: &Record,
    (role, subject): (&RoleName, &Metadata),
    signers: &[Signer],
    shared: bool,
) -> Result<Elsewhere, Refusal> {
    let mut found = Elsewhere::default();
    let is_root = role.kind() == RoleKind::Root;
    if !shared && !is_root {
        return Ok(found);
    }
    let repositories = agent.repositories();
    for Signer { key, .. } in signers {
        let public = &key.stored.public;
        let others = repositories.users_beside(record, public).await?;
        let names: Vec<_> = others.iter().map(ToString::to_string).collect();
        if !names.is_empty() {
            found.concerns.push(format!(
                "the key {} also serves {}: what it signs as {role} of {} may count there",
                key.name,
                names.join(", "),
                record.name
            ));
        }
        // The first root of a chain follows none.
        if !is_root || subject.version() == Version::FIRST {
            continue;
        }
        if let Some(other) = repositories.rooted_in(&others, public).await? {
            found.person.push(format!(
                "the key {} signs root of {other} too: clients of {other} may follow this root version {}",
                key.name,
                subject.version()
            ));
        }
    }
    Ok(found)
}
