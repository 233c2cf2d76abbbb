//! Delegated roles that the published snapshot lists and whose files are not there. A repository can be adopted without
//! them (`repo adopt --without`); until they are back or taken out, they are told of wherever the repository is shown.

use serde_json::{Value, json};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::word;

use super::whole::delegates;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{typed_path, visible};
use crate::workspace::{Workspace, published_name};

/// A role that is lost.
pub(super) struct Lost {
    role: RoleName,
    version: Version,
    /// What its file is called.
    file: String,
}

impl Lost {
    /// All that a client would ask for and not find; nothing is staged in their place.
    pub(super) fn all(workspace: &Workspace) -> Result<Vec<Self>, Failure> {
        let Some(snapshot) = workspace.published(&RoleKind::Snapshot.role())? else { return Ok(Vec::new()) };
        let entries = snapshot.as_snapshot().map(|snapshot| &snapshot.meta);
        let consistent = workspace.consistent_snapshot()?;
        let (mut lost, mut parents): (Vec<Self>, Option<Vec<Metadata>>) = (Vec::new(), None);
        for (role, entry) in entries.into_iter().flatten().filter(|(role, _)| !role.is_top_level()) {
            if workspace.current(role)?.is_some() {
                continue;
            }
            let parents = match &parents {
                Some(known) => known,
                None => parents.insert(workspace.published_parents_of_all()?),
            };
            if parents.iter().any(|parent| delegates(parent, role)) {
                let file = published_name(role, entry.version, consistent);
                lost.push(Self { role: role.clone(), version: entry.version, file });
            }
        }
        Ok(lost)
    }

    /// As `lost` of `repo show --json` has it.
    pub(super) fn json(&self) -> Value {
        json!({"role": self.role.as_str(), "version": self.version.get()})
    }

    fn sentence(&self, dir: &str) -> String {
        let Self { role, version, file } = self;
        let (shown, file) = (visible(role.as_str()), visible(file));
        format!(
            "{shown} version {version} is listed and lost: clients use the rest; bring metadata/{file} back, or take the role out: tufctl delegation remove {dir} {}",
            word::last(role.as_str())
        )
    }
}

/// Says it on the screen.
pub(super) fn warn(lost: &[Lost], workspace: &Workspace, context: &Context) {
    let dir = typed_path(workspace.dir());
    for one in lost.iter().take(MOST_TOLD) {
        context.screen.warn(one.sentence(&dir));
    }
    if let Some(more @ 1..) = lost.len().checked_sub(MOST_TOLD) {
        context.screen.warn(format!("{more} more roles are listed and lost"));
    }
}

/// More are told by their number.
const MOST_TOLD: usize = 8;
