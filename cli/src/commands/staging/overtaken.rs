//! What is staged was overtaken: others have published that version, or a later one, with other content. Whoever went on from
//! what is staged would take back what they have published. And roles that they no longer list.

use std::collections::HashMap;

use tuf::diff::{Difference, difference};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::Staging;
use crate::error::Failure;
use crate::prompt::confirm;
use crate::render::{first_of, visible};

impl Staging<'_> {
    /// Goes on from what is published where that has overtaken what is staged of a role, once a person has agreed to give that
    /// up. Snapshot and timestamp say nothing of their own.
    pub(super) fn give_up_overtaken(&mut self, role: &RoleName) -> Result<(), Failure> {
        let Some((staged, published)) = self.workspace.overtaken(role)? else { return Ok(()) };
        if role.kind() == RoleKind::Root || role.kind() == RoleKind::Targets {
            let what = named(&difference(role, Some(&published), &staged));
            let (name, old, new) = (visible(role.as_str()), staged.version(), published.version());
            let question = format!(
                "Give up {name} v{old} as it is staged ({what}), and go on from v{new}, which others have published?"
            );
            confirm(&question, self.yes)?;
            self.context.screen.warn(format!(
                "{name} v{old} as it was staged is given up for v{new}, which others have published; make again what you had \
                 changed: {what}"
            ));
        }
        self.workspace.overlook(role);
        Ok(())
    }

    /// The newest version that the agent has seen of a role that the published snapshot does not list; 0 for any other. A
    /// snapshot before it has: what comes back goes on from there.
    pub(super) fn dropped(&self, role: &RoleName) -> Result<u64, Failure> {
        let snapshot = self.workspace.published(&RoleKind::Snapshot.role())?;
        let is_listed = |file: &Metadata| file.as_snapshot().is_none_or(|it| it.meta.contains_key(role));
        if snapshot.as_ref().is_none_or(is_listed) {
            return Ok(0);
        }
        let known = self.facts.record.as_ref().map(|record| {
            let of = |versions: &HashMap<String, u64>| versions.get(role.as_str()).copied().unwrap_or(0);
            of(&record.verified).max(of(&record.unlisted))
        });
        Ok(known.unwrap_or(0))
    }
}

/// What the staged file has that the published one has not, by name.
fn named(change: &Difference) -> String {
    let targets = change.targets_added.iter().chain(&change.targets_changed).map(|target| &target.path);
    let delegations = change.delegations_added.iter().map(|delegation| &delegation.name);
    let mut names: Vec<String> = targets.map(|path| format!("target {}", visible(path))).collect();
    names.extend(delegations.map(|name| format!("delegation {}", visible(name))));
    names.extend(change.keys_added.iter().map(|key| format!("key {} of {}", key.keyid, visible(&key.role))));
    if names.is_empty() { "it adds nothing".to_owned() } else { first_of(names, MOST_NAMED) }
}

/// More changes than this are told by their number.
const MOST_NAMED: usize = 4;
