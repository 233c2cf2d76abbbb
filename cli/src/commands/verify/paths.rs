//! Targets must lie within the paths that are delegated to their role.

use tuf::metadata::{Delegations, Paths, SuccinctRoles};
use tuf::role::RoleName;
use tuf::trust::TrustedSet;

use super::Check;
use super::keys::delegations;
use super::refusal::refused;
use crate::error::Failure;
use crate::workspace::published_name;

impl Check<'_> {
    /// Looks at every target of every delegated role.
    ///
    /// # Errors
    /// One that no delegation to its role allows (4.5): no client finds it there, and some refuse the repository.
    pub(super) fn delegated_paths(&self, set: &TrustedSet) -> Result<(), Failure> {
        let consistent = self.consistent(set);
        let parents: Vec<&Delegations> = set.all_targets().filter_map(|(_, m)| delegations(m)).collect();
        for (role, metadata) in set.all_targets().filter(|(role, _)| !role.is_top_level()) {
            let roles = parents.iter().flat_map(|d| &d.roles).filter(|one| one.name == *role);
            let paths: Vec<&Paths> = roles.map(|one| &one.paths).collect();
            let bins: Vec<&SuccinctRoles> = parents.iter().filter_map(|d| d.succinct.as_ref()).collect();
            let allowed = |path: &str| {
                paths.iter().any(|paths| paths.matches(path))
                    || bins.iter().any(|bins| bins.role_for(path) == *role)
            };
            for (path, _) in metadata.as_targets().iter().flat_map(|targets| targets.targets()) {
                if !allowed(&path) {
                    return Err(outside(role, &path, &published_name(role, metadata.version(), consistent)));
                }
            }
        }
        Ok(())
    }
}

fn outside(role: &RoleName, path: &str, file: &str) -> Failure {
    let why = format!("{role}: target {path} lies outside the paths that are delegated to it");
    refused(role, file, "4.5", why)
        .remedy("take it out of the role, or widen its paths: tufctl delegation edit DIR ROLE --paths")
        .detail("path", path)
}
