//! What root, timestamp and snapshot may list, and no more: python-tuf refuses other roles in a root and other files in
//! a timestamp, and a snapshot lists targets roles alone.

use tuf::json::Value;
use tuf::metadata::Metadata;
use tuf::role::RoleKind;
use tuf::trust::TrustedSet;

use super::Check;
use super::refusal::refused;
use crate::error::Failure;
use crate::workspace::published_name;

/// Checks the three lists of what a client ends up with.
///
/// # Errors
/// A role that a root does not have (4.3), a file in a timestamp or a snapshot that is none of theirs (4.4, 4.6).
pub(super) fn check(check: &Check<'_>, set: &TrustedSet) -> Result<(), Failure> {
    let roles = RoleKind::ALL.map(RoleKind::name);
    strange(check, set, Some(set.root()), "roles", "4.3", |name| roles.contains(&name))?;
    strange(check, set, set.timestamp(), "meta", "4.6", |name| name == "snapshot.json")?;
    let above = ["root.json", "timestamp.json", "snapshot.json"];
    strange(check, set, set.snapshot(), "meta", "4.4", |name| !above.contains(&name))
}

fn strange(
    check: &Check<'_>,
    set: &TrustedSet,
    metadata: Option<&Metadata>,
    list: &str,
    spec: &'static str,
    belongs: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let Some(metadata) = metadata else { return Ok(()) };
    let role = metadata.kind().role();
    let members = metadata.signed().get(list).into_iter().flat_map(Value::members);
    let mut names = members.filter_map(|(name, _)| name.as_str());
    let Some(name) = names.find(|name| !belongs(name)) else { return Ok(()) };
    let consistent = check.consistent(set) || role.kind() == RoleKind::Root;
    let file = published_name(&role, metadata.version(), consistent);
    Err(refused(&role, &file, spec, format!("{role}: {list} holds {name:?}, which is none of its own")))
}
