//! `tufctl diff`: what would be signed, against what is published.

use std::path::Path;

use serde_json::json;
use tuf::diff::difference;

use super::staging::key_name;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{self, KeyNames, Report};
use crate::workspace::Workspace;

/// Runs `tufctl diff`.
pub(crate) fn run(dir: &Path, context: &Context) -> Result<Report, Failure> {
    let workspace = Workspace::open(dir)?;
    if let Some(note) = workspace.interrupted() {
        context.screen.warn(note);
    }
    let names = key_names(&workspace, context)?;
    let (mut all, mut text) = (Vec::new(), String::new());
    for role in workspace.staged_roles()? {
        let Some(staged) = workspace.staged(&role)? else { continue };
        let said = difference(&role, workspace.published(&role)?.as_ref(), &staged);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&render::difference(&said, &names, context.screen.out(), render::now()));
        let value = serde_json::to_value(&said);
        all.push(
            value.map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write the difference: {e}")))?,
        );
    }
    if all.is_empty() {
        text.push_str("nothing is staged\n");
    }
    Ok(Report::new(json!({"roles": all}), text))
}

/// Names for the keyids of all roles, as far as the agent knows them; without an agent there are none.
pub(super) fn key_names(workspace: &Workspace, context: &Context) -> Result<KeyNames, Failure> {
    let ours = match context.agent().and_then(|agent| agent.keys()) {
        Ok(ours) => ours,
        Err(failure) if failure.reason() == reason::UNREACHABLE => return Ok(KeyNames::new()),
        Err(failure) => return Err(failure),
    };
    let mut names: KeyNames = ours.iter().map(|key| (key.keyid.clone(), key.name.clone())).collect();
    let mut roles = workspace.staged_roles()?;
    roles.extend(workspace.tree()?.iter().map(|node| node.role.clone()));
    roles.push(tuf::role::RoleKind::Root.role());
    for role in roles {
        let metadata = [workspace.published(&role)?, workspace.staged(&role)?];
        for metadata in metadata.iter().flatten() {
            let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref());
            let keys = metadata.as_root().map(|root| &root.keys).or(delegations.map(|d| &d.keys));
            for (keyid, key) in keys.into_iter().flatten() {
                if let Some(name) = key_name(&ours, keyid, Some(key)) {
                    names.insert(keyid.to_string(), name);
                }
            }
        }
    }
    Ok(names)
}
