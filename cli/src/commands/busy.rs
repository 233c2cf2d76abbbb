//! A folder in which another tufctl works: where that one waits for people, it is said for whom and until when.

use std::path::Path;

use tufagent_proto::v1;

use crate::context::Context;
use crate::error::Failure;
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

/// The collection that is open for what this folder stages.
fn collection_of(dir: &Path, context: &Context) -> Option<v1::Collection> {
    let collections = context.agent().and_then(|agent| agent.collections()).ok()?;
    let workspace = Workspace::open(dir).ok()?;
    let facts = Facts::find_if_reachable(context, &workspace).ok()?;
    let name = facts.name().or_else(|| workspace.staged_name())?;
    collections.into_iter().find(|one| one.purpose == "sign" && one.repository == name)
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
