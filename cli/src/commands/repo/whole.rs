//! Whether a copy that is adopted is whole: everything is there that its timestamp and snapshot lead to. The agent judges it
//! again; here nothing is known yet, and files have their names.

use std::collections::BTreeSet;

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::word;

use crate::error::{Failure, reason};
use crate::render::visible;
use crate::workspace::{Workspace, published_name};

/// `without`: delegated roles that a person knows to be lost.
///
/// # Errors
/// `VERIFICATION` (exit 6) with role, file and section of the specification for the first file that is not there; `USAGE` for
/// a role that is not lost.
pub(super) fn check(workspace: &Workspace, without: &[String]) -> Result<(), Failure> {
    let [timestamp, snapshot, targets] =
        [RoleKind::Timestamp, RoleKind::Snapshot, RoleKind::Targets].map(RoleKind::role);
    let consistent = workspace.consistent_snapshot()?;
    let name = |role: &RoleName, version| published_name(role, version, consistent);
    let Some(first) = workspace.published(&timestamp)? else {
        let Some(left) = workspace.leftover(&snapshot)? else { return Ok(()) };
        let why = format!("{left} is there, which a timestamp must list");
        return Err(lacks(&timestamp, "timestamp.json", "5.4.1", &why));
    };
    let Some(version) = first.as_timestamp().map(|timestamp| timestamp.snapshot.version) else {
        return Ok(());
    };
    let why = format!("timestamp version {} lists snapshot version {version}", first.version());
    let found = workspace.published(&snapshot)?.filter(|file| file.version() == version);
    let Some(listing) = found else { return Err(lacks(&snapshot, &name(&snapshot, version), "5.5.1", &why)) };
    let entries = listing.as_snapshot().map(|listing| &listing.meta);
    let is_there = |role: &RoleName, version: Version| -> Result<bool, Failure> {
        Ok(workspace.published(role)?.is_some_and(|file| file.version() == version))
    };
    let mut lost = BTreeSet::new();
    for (role, entry) in entries.into_iter().flatten().filter(|(role, _)| role.kind() == RoleKind::Targets) {
        if !is_there(role, entry.version)? {
            lost.insert(role);
        }
    }
    if !lost.contains(&targets) {
        // A client never asks for what nobody delegates to.
        let parents = workspace.published_parents_of_all()?;
        lost.retain(|role| parents.iter().any(|parent| delegates(parent, role)));
    }
    if let Some(there) = without.iter().find(|name| lost.iter().all(|role| role.as_str() != **name)) {
        return Err(is_there_all_the_same(there));
    }
    lost.retain(|role| role.is_top_level() || without.iter().all(|name| name != role.as_str()));
    let first = if lost.contains(&targets) { Some(&targets) } else { lost.first().copied() };
    let entry = first.and_then(|role| Some((role, entries?.get(role)?.version)));
    let Some((role, version)) = entry else { return Ok(()) };
    let why = format!("snapshot version {} lists {role} version {version}", listing.version());
    let failure = lacks(role, &name(role, version), "5.6.1", &why);
    if role.is_top_level() {
        return Err(failure);
    }
    let said = word::one_of("--without", role.as_str());
    Err(failure.remedy(format!(
        "bring the whole newest published copy: every file that its timestamp and snapshot lead to; if this one is lost for good, \
         say so: {said}"
    )))
}

fn is_there_all_the_same(name: &str) -> Failure {
    Failure::new(reason::USAGE, format!("{} is not lost, or is no delegated role", visible(name)))
        .remedy("name with --without only delegated roles that are listed and whose files are not there")
        .detail("role", name)
}

pub(super) fn delegates(parent: &Metadata, role: &RoleName) -> bool {
    let all = parent.as_targets().and_then(|targets| targets.delegations.as_ref());
    all.is_some_and(|all| all.role_keys(role).is_some())
}

/// The longest name of a file, bytes.
const LONGEST: usize = 255;

fn lacks(role: &RoleName, file: &str, spec: &str, why: &str) -> Failure {
    let long = if file.len() > LONGEST {
        format!(" (no file system here holds its name of {} bytes, {LONGEST} being the most)", file.len())
    } else {
        String::new()
    };
    Failure::new(
        reason::VERIFICATION,
        format!(
            "this copy is not whole: metadata/{file} is not there{long}, and {why} (specification {spec})"
        ),
    )
    .remedy("bring the whole newest published copy: every file that its timestamp and snapshot lead to")
    .detail("role", role.as_str())
    .detail("file", file)
    .detail("spec", spec)
}
