//! `tufctl diff`: what would be signed, against what is published.

use std::path::Path;

use serde_json::json;
use tuf::diff::full_difference;
use tuf::role::{RoleKind, RoleName};

use super::names::{given_up, key_names};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{self, Report};
use crate::workspace::{Facts, Workspace};

/// Runs `tufctl diff`.
pub(crate) fn run(dir: &Path, context: &Context) -> Result<Report, Failure> {
    let workspace = Workspace::open(dir)?;
    if let Some(note) = workspace.interrupted() {
        context.screen.warn(note);
    }
    let facts = Facts::find_if_reachable(context, &workspace)?;
    if let Some(behind) = facts.behind(&workspace)? {
        context.screen.warn(behind);
    }
    if let Some(lost) = facts.lost_root(&workspace)? {
        context.screen.warn(lost.sentence(workspace.dir()));
    }
    let names = key_names(&workspace, context)?;
    let (mut all, mut text) = (Vec::new(), String::new());
    let (mut last, mut alike) = (None, 0_u64);
    for role in workspace.staged_roles()? {
        let Some(staged) = workspace.staged(&role)? else { continue };
        // A difference from what a stranger wrote would hide what the stranger changed.
        let fault = facts.check_base(context, &workspace, &role)?;
        if let Some(fault) = &fault {
            context.screen.warn(fault.sentence());
        }
        if let Some(sentence) = given_up(&workspace, &role, context)? {
            context.screen.warn(sentence);
        }
        if is_made_anew(&workspace, &role)? {
            // Its digest depends on signatures that are not there yet, so what is staged is not what will be signed.
            text.push_str(&more_alike(&mut alike));
            let blank = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{blank}{role} is made anew once the others are complete\n"));
            all.push(json!({"role": role.as_str(), "made_anew": true}));
            last = None;
            continue;
        }
        let published = workspace.published(&role)?.filter(|_| fault.is_none());
        let said = full_difference(&role, published.as_ref(), &staged);
        // Bins by the hundred with one content (and so one digest) are said once.
        let unnamed = said.unnamed();
        if last.as_ref() == Some(&unnamed) {
            alike = alike.saturating_add(1);
        } else {
            text.push_str(&more_alike(&mut alike));
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&render::difference(&said, &names, context.screen.out(), render::now()));
            last = Some(unnamed);
        }
        let value = serde_json::to_value(&said);
        all.push(
            value.map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write the difference: {e}")))?,
        );
    }
    text.push_str(&more_alike(&mut alike));
    if all.is_empty() {
        text.push_str("nothing is staged\n");
    }
    Ok(Report::new(json!({"roles": all}), text))
}

/// Whether `sign` will make a staged snapshot or timestamp again: what it lists is not final.
fn is_made_anew(workspace: &Workspace, role: &RoleName) -> Result<bool, Failure> {
    let snapshot = RoleKind::Snapshot.role();
    Ok(match role.kind() {
        RoleKind::Snapshot => !workspace.snapshot_fits()?,
        RoleKind::Timestamp => {
            let is_final = workspace.staged(&snapshot)?.is_none()
                || (workspace.snapshot_fits()? && workspace.signatures(&snapshot)?.met);
            !is_final || !workspace.timestamp_fits()?
        }
        RoleKind::Root | RoleKind::Targets => false,
    })
}

/// Ends what was said of a role: how many others are just like it.
fn more_alike(alike: &mut u64) -> String {
    match std::mem::take(alike) {
        0 => String::new(),
        more => format!("  and just so {}\n", render::count(more, "more role")),
    }
}
