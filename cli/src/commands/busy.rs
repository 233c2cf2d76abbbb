//! A folder in which another tufctl works, or a role that shares are collected for: it is said for whom and until when.

use std::collections::BTreeSet;
use std::path::Path;

use tuf::role::RoleName;
use tufagent_proto::v1;

use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::visible;
use crate::workspace::{BUSY, Facts, Workspace};

/// The failure, with the collection of shares that keeps the folder, if it is one.
pub(super) fn explained(failure: Failure, dir: &Path, context: &Context) -> Failure {
    if !failure.has_detail(BUSY) {
        return failure;
    }
    match collection_of(dir, context) {
        Some(collection) => told(&failure, &collection),
        None => failure,
    }
}

/// Before a staged role is changed: what shares are being collected for stays as it is until they are there.
///
/// # Errors
/// `IO`, as for a folder in which another tufctl works.
pub(super) fn check_not_collected<'r>(
    roles: impl Iterator<Item = &'r RoleName>,
    repository: &str,
    dir: &Path,
    context: &Context,
) -> Result<(), Failure> {
    let open = context.agent().and_then(|agent| agent.collections()).unwrap_or_default();
    let mut open: Vec<_> = open.into_iter().filter(|one| is_of(one, repository)).collect();
    if open.is_empty() {
        return Ok(());
    }
    let roles: BTreeSet<&str> = roles.map(RoleName::as_str).collect();
    open.retain(|one| roles.contains(one.role.as_str()));
    match open.first() {
        Some(collection) => {
            let message = format!("another tufctl works in {}", dir.display());
            Err(told(&Failure::new(reason::IO, message), collection))
        }
        None => Ok(()),
    }
}

fn is_of(collection: &v1::Collection, repository: &str) -> bool {
    collection.purpose == "sign" && collection.repository == repository
}

/// The collection that is open for what this folder stages.
fn collection_of(dir: &Path, context: &Context) -> Option<v1::Collection> {
    let collections = context.agent().and_then(|agent| agent.collections()).ok()?;
    let workspace = Workspace::open(dir).ok()?;
    let facts = Facts::find_if_reachable(context, &workspace).ok()?;
    let name = facts.name().or_else(|| workspace.staged_name())?;
    collections.into_iter().find(|one| is_of(one, name))
}

fn told(failure: &Failure, collection: &v1::Collection) -> Failure {
    let v1::Collection { key, token, role, version, opened, opened_by, deadline, have, need, .. } =
        collection;
    let message = format!(
        "{}: shares of {key} are being collected for {role} v{version} ({have} of {need} so far), opened by {opened_by} at \
         {opened}, until {deadline} at the latest",
        failure.message()
    );
    let remedy = format!(
        "wait until it is done; or end it: Ctrl-C or q at its terminal, or tufctl token lock {}",
        visible(token)
    );
    failure
        .clone()
        .saying(message)
        .remedy(remedy)
        .detail("collection", collection.id.as_str())
        .detail("role", role.as_str())
        .detail("deadline", deadline.as_str())
}
