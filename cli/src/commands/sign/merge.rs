//! `sign --from`: a colleague's signatures over the very same metadata.

use std::path::Path;

use serde_json::json;

use super::Session;
use crate::commands::names::called;
use crate::error::{Failure, reason};
use crate::render::{short_keyid, visible};
use crate::workspace::{Merged, Workspace};

/// Merges what verifies, in memory: it is written once a person has said yes. Other content under a staged role's name,
/// and signatures that do not verify, are refused.
pub(super) fn merge(workspace: &mut Workspace, other: &Path) -> Result<Merged, Failure> {
    let root_taken = workspace.take_root(other)?;
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
    let merged = Merged { root_taken, ..workspace.merge_from(other)? };
    match merged.elsewhere.first().filter(|_| merged.signatures.is_empty() && !root_taken) {
        Some((role, version)) => Err(Failure::new(
            reason::REPOSITORY_INVALID,
            format!("{} holds a signed {role} v{version}, which is not staged here", other.display()),
        )
        .remedy(
            "to take it on, copy its file into DIR/staged/, look at it with tufctl diff DIR, and sign again",
        )
        .detail("role", role.as_str())
        .detail("version", version.get())),
        None => Ok(merged),
    }
}

impl Session<'_> {
    /// Says whose signatures came with the copy.
    pub(super) fn tell_merged(&self) {
        let Some(other) = &self.args.from else { return };
        let screen = self.context.screen;
        if self.merged.root_taken {
            screen.note(format!(
                "taking on the next root from {}, with the signatures that it has",
                other.display()
            ));
            for (role, version) in &self.merged.elsewhere {
                let role = visible(role.as_str());
                screen.warn(format!(
                    "{} holds a signed {role} v{version} as well, which is not taken on: copy its file into staged/ for that",
                    other.display()
                ));
            }
        } else if self.merged.signatures.is_empty() {
            screen.note(format!("{} holds no signature that is not here already", other.display()));
        }
        for (role, keyid) in &self.merged.signatures {
            let whose = called(&self.names, keyid.as_str());
            screen.note(format!("merging the signature of {whose} on {}", visible(role.as_str())));
        }
    }
}
