//! `sign --from`: a colleague's signatures over the very same metadata.

use std::path::Path;

use serde_json::json;

use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{short_keyid, visible};
use crate::workspace::Workspace;

/// Merges what verifies. Other content under a staged role's name, and signatures that do not verify, are refused
/// before anything is written.
pub(super) fn merge(workspace: &mut Workspace, other: &Path, context: &Context) -> Result<(), Failure> {
    for (role, theirs) in workspace.read_copy(other)? {
        let Some(ours) = workspace.staged(&role)? else { continue };
        if ours.digest() != theirs.digest() {
            let name = role.as_str();
            return Err(Failure::new(
                reason::REPOSITORY_INVALID,
                format!(
                    "{name} in {} is not the {name} that is staged here: theirs is v{} sha256 {}, ours is v{} sha256 {}",
                    other.display(),
                    theirs.version().get(),
                    theirs.digest(),
                    ours.version().get(),
                    ours.digest(),
                ),
            )
            .remedy("agree on one staged/ folder first, then sign that; signatures hold for one content alone")
            .detail("role", role.as_str())
            .detail("theirs_sha256", theirs.digest().to_string())
            .detail("ours_sha256", ours.digest().to_string()));
        }
        for authority in workspace.authorities(&role)? {
            let checked = tuf::verify::check_signatures(&theirs, &authority.keys, &authority.role);
            if let Some(keyid) = checked.invalid.first() {
                return Err(Failure::new(
                    reason::METADATA_INVALID,
                    format!(
                        "the signature of {} on {} in {} does not verify",
                        short_keyid(keyid.as_str()),
                        role.as_str(),
                        other.display()
                    ),
                )
                .remedy("ask for their copy again; nothing was merged")
                .detail("role", role.as_str())
                .detail("keyid", json!(keyid.as_str())));
            }
        }
    }
    let merged = workspace.merge_from(other)?;
    if merged.signatures.is_empty() {
        context.screen.note(format!("{} holds no signature that is not here already", other.display()));
    }
    for (role, keyid) in &merged.signatures {
        context.screen.note(format!(
            "merged the signature of {} on {}",
            short_keyid(keyid.as_str()),
            visible(role.as_str())
        ));
    }
    Ok(())
}
