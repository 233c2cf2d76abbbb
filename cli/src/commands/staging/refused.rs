//! Edits that are refused, with the reasons of the table and what helps.

use std::path::Path;

use tuf::edit::EditError;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::word;

use crate::error::{Failure, reason};
use crate::render::typed_path;
use crate::workspace::{Authority, give_keys};

pub(in crate::commands) fn unknown_role(role: &RoleName) -> Failure {
    Failure::new(reason::ROLE_UNKNOWN, format!("the repository has no role {role}"))
        .remedy("tufctl repo show DIR lists its roles")
        .detail("role", role.as_str())
}

pub(super) fn after(role: &RoleName, last: u64) -> Result<Version, Failure> {
    last.checked_add(1).and_then(Version::new).ok_or_else(|| last_version(role, last))
}

/// Nobody comes so far by counting.
fn last_version(role: &RoleName, last: u64) -> Failure {
    let remedy = if role.kind() == RoleKind::Root {
        "no root can follow it: begin a new repository, and give its root to the clients".to_owned()
    } else {
        format!(
            "somebody has moved it forward: once root has given it, timestamp and snapshot new keys and is signed, tufctl repo reset-watermark DIR {}; see tufctl-recovery(7)",
            word::last(role.as_str())
        )
    };
    Failure::new(reason::WATERMARK, format!("{role} version {last} is the last that clients can read"))
        .remedy(remedy)
        .detail("role", role.as_str())
        .detail("version", last)
}

/// An edit that was refused, with the reason of the table.
pub(in crate::commands) fn edit_failure(error: &EditError) -> Failure {
    let (reason, remedy) = match error {
        EditError::LastVersion(_) => (reason::WATERMARK, "see tufctl-recovery(7), FAST-FORWARD ATTACK"),
        EditError::HasKey { .. } | EditError::SamePublicKey { .. } => {
            (reason::DUPLICATE_KEY, "a key counts once in a role; name another one")
        }
        EditError::NoKey { .. } => (reason::KEY_NOT_OF_ROLE, "see who has which keys: tufctl repo show DIR"),
        EditError::Key { .. } => (reason::KEY_FILE, "export it again: tufctl key export NAME"),
        EditError::RoleName(_) => (reason::NAME_INVALID, "take another name"),
        EditError::DelegationExists(role) => {
            let role = word::last(role.as_str());
            let edit =
                format!("change it with: tufctl delegation edit DIR {role} (--add-key, --paths and others)");
            return Failure::new(reason::NAME_TAKEN, error.to_string()).remedy(edit);
        }
        EditError::PathsOfBins(_) => {
            (reason::USAGE, "leave --paths out; every path belongs to the bin that its hash names")
        }
        EditError::NoDelegation(_) => (reason::ROLE_UNKNOWN, "tufctl delegation list DIR shows them"),
        EditError::Pattern(_) => (reason::PATTERN, "see the specification, 4.5, and what stock clients do"),
        EditError::TargetPath(_) => (reason::TARGET_NAME, "give it another name with --path"),
        EditError::PathNotAllowed { role, .. } => {
            let edit = word::before(role.as_str(), "--paths PATTERN");
            let way = format!(
                "name another role with --role, or give this one other paths, all that it shall have: tufctl delegation edit DIR {edit}"
            );
            return Failure::new(reason::TARGET_NAME, error.to_string()).remedy(way);
        }
        EditError::NoTarget(_) => (reason::TARGET_NAME, "tufctl target list DIR shows them"),
        EditError::Threshold { .. } => {
            (reason::USAGE, "change the threshold or the keys first, so that enough of them are left")
        }
        _ => (reason::USAGE, ""),
    };
    Failure::new(reason, error.to_string()).remedy(remedy)
}

/// The same of an edit of `base`. Where a role had one key under two keyids before, one of them has to go with the change.
pub(super) fn in_its_place(error: &EditError, base: &Metadata, dir: &Path) -> Failure {
    let failure = edit_failure(error).in_folder(dir);
    let EditError::SamePublicKey { role, one, two } = error else { return failure };
    let Some(before) = Authority::of(base, role).filter(|before| before.has(one) && before.has(two)) else {
        return failure;
    };
    let again = before.counted_twice();
    let way = give_keys(role, again, &typed_path(dir));
    match again.filter(|_| !role.is_top_level()) {
        Some(again) => failure.remedy(format!("say --remove-key {again} in the same command: {way}")),
        None => failure.remedy(way),
    }
}

pub(super) fn key_failure(argument: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(reason::KEY_FILE, format!("{argument}: {error}")).detail("key", argument)
}
