//! The search for a target through the delegations (5.6.7): pre-order, depth first.

use super::TrustedSet;
use crate::{
    metadata::TargetFile,
    role::{RoleKind, RoleName},
};
use std::collections::BTreeSet;

/// Where a search for a target has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search<'a> {
    /// The target, and the role that says so.
    Found {
        /// The role.
        role: RoleName,
        /// The target.
        file: TargetFile<'a>,
    },
    /// The search needs this role: give it to [`TrustedSet::update_targets`] and search again. A role that is trusted
    /// already is asked for once more when another parent must vouch for it.
    Needs {
        /// The role.
        role: RoleName,
        /// The role that delegates to it.
        parent: RoleName,
    },
    /// No role on the way has it.
    NotFound {
        /// How many roles were visited.
        visited: usize,
        /// Whether the search stopped because it visits no more roles (5.6.7.1).
        limit_reached: bool,
    },
}

impl TrustedSet {
    /// Looks for the target `path` in all that is trusted, from the role targets on.
    pub fn find_target(&self, path: &str) -> Search<'_> {
        let mut visited = BTreeSet::new();
        // Roles still to visit, the next one last.
        let mut stack = vec![(RoleKind::Targets.role(), RoleKind::Root.role())];
        while let Some((role, parent)) = stack.pop() {
            if visited.contains(&role) {
                continue;
            }
            if visited.len() >= self.options.max_delegations {
                return Search::NotFound { visited: visited.len(), limit_reached: true };
            }
            let loaded = self.targets.get(&role).filter(|loaded| loaded.by.contains(&parent));
            let Some(targets) = loaded.and_then(|loaded| loaded.metadata.as_targets()) else {
                return Search::Needs { role, parent };
            };
            if let Some(file) = targets.find(path) {
                return Search::Found { role, file };
            }
            let matching = targets.delegations.as_ref().map(|to| to.roles_for(path)).unwrap_or_default();
            let last = matching.iter().position(|(_, terminating)| *terminating);
            if last.is_some() {
                // 5.6.7.2.1: what is still to come from parents and siblings is given up.
                stack.clear();
            }
            let count = last.map_or(matching.len(), |at| at + 1);
            let next = matching.into_iter().take(count).map(|(child, _)| (child, role.clone()));
            stack.extend(next.rev());
            visited.insert(role);
        }
        Search::NotFound { visited: visited.len(), limit_reached: false }
    }
}
