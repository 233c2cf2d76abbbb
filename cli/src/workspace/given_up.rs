//! What goes with an attack: all that the role has published since the jump counts as never published, also what was done in
//! good faith on top of it. A person has to know of a release that goes, and of a key or delegation that comes back.

use tuf::diff::{Delegation, RoleKey, difference};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::authority::{Authority, plain_state};
use super::read::numbered;
use super::{Workspace, layout};
use crate::error::Failure;
use crate::render::{first_of, visible};

impl Workspace {
    /// Says what of the newest published content of a targets role, thrown away by a reset, is not in what comes in its place.
    /// None: nothing, or that content is not what clients see any more. `called` names the key of a keyid.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn given_up(
        &self,
        role: &RoleName,
        called: &dyn Fn(&str) -> String,
    ) -> Result<Option<String>, Failure> {
        if role.kind() != RoleKind::Targets || !self.is_cut()? {
            return Ok(None);
        }
        let Some((void, next)) = self.newest_void(role)?.zip(self.current(role)?) else { return Ok(None) };
        let change = difference(role, Some(&void), &next);
        let went = listed(change.targets_removed.iter().chain(&change.targets_changed).map(|it| &it.path));
        let came = listed(change.targets_added.iter().map(|it| &it.path));
        let parts = [
            part("goes", went, &change.delegations_removed, &change.keys_removed, called),
            part("comes back", came, &change.delegations_added, &change.keys_added, called),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "{} v{}, as clients see it, counts as never published, and v{} does not go on from it: {}; whatever of it was not the \
             thief's is to be done again before it is signed",
            visible(role.as_str()),
            void.version(),
            next.version(),
            parts.join("; ")
        )))
    }

    /// The newest published file of a role that a reset has thrown away.
    fn newest_void(&self, role: &RoleName) -> Result<Option<Metadata>, Failure> {
        let consistent = self.published_consistently()?;
        let mut names = vec![layout::plain_name(role)];
        if consistent {
            let versions = numbered(&self.metadata_folder(), &|name| layout::version_of(role, name))?;
            names = versions.into_iter().map(|version| layout::file_name(role, version, true)).collect();
        }
        while let Some(name) = names.pop() {
            if let Some(file) = self.read_metadata(role, &name)?
                && self.is_void(role, &file)?
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Delegated roles whose published files the agent has verified, and that the staged file of one that starts anew gives
    /// other keys: an edit that was made on top of the attack went with it.
    pub(super) fn orphaned_by_reset(&self, parent: &RoleName) -> Result<Vec<RoleName>, Failure> {
        let Some(next) = self.staged(parent)?.filter(|_| parent.kind() == RoleKind::Targets) else {
            return Ok(Vec::new());
        };
        if !self.was_reset(parent) || !self.is_cut()? {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for child in self.children(&next)? {
            let Some(file) = self.published(&child)?.filter(|file| self.was_verified(&child, file)) else {
                continue;
            };
            let authority = Authority::of_parent(parent, &next, &child);
            if authority.is_some_and(|authority| !plain_state(&child, &file, &[authority]).met) {
                found.push(child);
            }
        }
        Ok(found)
    }
}

/// One half of the sentence: targets, delegations and keys, by name.
fn part(
    what: &str,
    mut names: Vec<String>,
    delegations: &[Delegation],
    keys: &[RoleKey],
    called: &dyn Fn(&str) -> String,
) -> Option<String> {
    names.extend(delegations.iter().map(|it| format!("delegation {}", visible(&it.name))));
    names.extend(keys.iter().map(|it| format!("key {} of {}", called(&it.keyid), visible(&it.role))));
    (!names.is_empty()).then(|| format!("what {what}: {}", first_of(names, MOST_NAMED)))
}

fn listed<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<String> {
    paths.map(|path| format!("target {}", visible(path))).collect()
}

/// More changes than this are told by their number.
const MOST_NAMED: usize = 8;
