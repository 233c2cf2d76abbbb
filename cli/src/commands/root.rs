//! `tufctl root …`: the next root.

use serde_json::json;
use tuf::key::{Key, KeyId};
use tuf::metadata::Metadata;
use tuf::role::RoleKind;

use super::staging::{Staging, edit_failure};
use crate::args::{RootCommand, TopRole};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs a `root` command.
pub(crate) fn run(command: &RootCommand, context: &Context) -> Result<Report, Failure> {
    let (dir, yes) = match command {
        RootCommand::AddKey(args) | RootCommand::RemoveKey(args) => (&args.dir, args.yes),
        RootCommand::ReplaceKey { dir, yes, .. }
        | RootCommand::SetThreshold { dir, yes, .. }
        | RootCommand::Restage { dir, yes } => (dir, *yes),
    };
    let mut staging = Staging::open(context, dir, yes.yes)?;
    let role = RoleKind::Root.role();
    match command {
        RootCommand::AddKey(args) => {
            let keys = given(&staging, args.role, &args.key)?;
            staging.edit(&role, |edit| {
                keys.iter().try_for_each(|key| edit.add_key(kind(args.role), key).map(drop))
            })?;
        }
        RootCommand::RemoveKey(args) => {
            let keyid = keyid(&staging, args.role, &args.key)?;
            staging.edit(&role, |edit| edit.remove_key(kind(args.role), &keyid))?;
        }
        RootCommand::ReplaceKey { role: top, old, new, .. } => {
            let (old, new) = (keyid(&staging, *top, old)?, given(&staging, *top, new)?);
            staging.edit(&role, |edit| {
                new.iter().try_for_each(|new| edit.replace_key(kind(*top), &old, new).map(drop))
            })?;
        }
        RootCommand::SetThreshold { role: top, threshold, .. } => {
            staging.edit(&role, |edit| edit.set_threshold(kind(*top), threshold.get()))?;
        }
        RootCommand::Restage { .. } => staging.bring_back_root()?,
    }
    staging.renew_under_next_root()?;
    staging.commit()?;
    staging.renew_unmet(&[RoleKind::Targets.role()])?;
    Ok(staging.report(json!({}), String::new()))
}

/// The one key that is given to a role.
fn given(staging: &Staging<'_>, role: TopRole, argument: &str) -> Result<Vec<Key>, Failure> {
    staging.keys_for(staging.repository(), &kind(role).role(), &[argument.to_owned()])
}

/// The keyid under which the current root knows a key of one of its roles.
fn keyid(staging: &Staging<'_>, role: TopRole, argument: &str) -> Result<KeyId, Failure> {
    let metadata = staging.current(&RoleKind::Root.role())?;
    let Some(root) = Metadata::as_root(&metadata) else {
        return Err(Failure::new(reason::METADATA_INVALID, "the current root is no root"));
    };
    let kind = kind(role);
    let found = staging.keyid_of(argument, kind.name(), &root.role(kind).keyids, &root.keys);
    // A keyid that stands nowhere is no name of a key either; the sentence about the role says more.
    found.map_err(|failure| match KeyId::parse(argument) {
        Ok(keyid) if failure.reason() == reason::KEY_NOT_FOUND && argument.len() == 64 => {
            edit_failure(&tuf::edit::EditError::NoKey { role: kind.role(), keyid })
        }
        _ => failure,
    })
}

fn kind(role: TopRole) -> RoleKind {
    match role {
        TopRole::Root => RoleKind::Root,
        TopRole::Targets => RoleKind::Targets,
        TopRole::Snapshot => RoleKind::Snapshot,
        TopRole::Timestamp => RoleKind::Timestamp,
    }
}
