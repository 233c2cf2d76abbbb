//! First versions: documents that we begin, one member, key, role or target a line, in a stable order.

use std::collections::BTreeMap;

use super::EditError;
use super::keys::{KeyTable, role_json};
use super::meta::{self, file_name, meta_json};
use super::text::{Json, Style};
use crate::key::Key;
use crate::metadata::MetaFile;
use crate::role::{RoleKind, RoleName, Version};
use crate::time::UtcTime;

/// Keys and threshold of a role of a new root.
#[derive(Debug, Clone)]
pub struct NewRole {
    /// The keys, at least `threshold` of them.
    pub keys: Vec<Key>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// The four roles of a new root.
#[derive(Debug, Clone)]
pub struct NewRoles {
    /// Who signs root.
    pub root: NewRole,
    /// Who signs the top targets role.
    pub targets: NewRole,
    /// Who signs snapshot.
    pub snapshot: NewRole,
    /// Who signs timestamp.
    pub timestamp: NewRole,
}

/// A root without signatures, as the bytes of a metadata file.
///
/// # Errors
/// A threshold that a role cannot meet; a key twice; a key that cannot be read.
pub fn new_root(
    version: Version,
    expires: UtcTime,
    consistent_snapshot: bool,
    roles: &NewRoles,
) -> Result<Vec<u8>, EditError> {
    let mut table = KeyTable::default();
    let mut members = Vec::new();
    for (kind, role) in [
        (RoleKind::Root, &roles.root),
        (RoleKind::Snapshot, &roles.snapshot),
        (RoleKind::Targets, &roles.targets),
        (RoleKind::Timestamp, &roles.timestamp),
    ] {
        let name = kind.role();
        let keys = table.role(&name, &role.keys, role.threshold)?;
        table.check(&name, &keys)?;
        members.push((name.as_str().to_owned(), role_json(&keys)));
    }
    let extra = vec![
        ("consistent_snapshot".to_owned(), Json::Bool(consistent_snapshot)),
        ("keys".to_owned(), table.json()),
        ("roles".to_owned(), Json::Lines(members)),
    ];
    Ok(document(RoleKind::Root, version, expires, extra))
}

/// A targets role without targets, delegations and signatures, as the bytes of a metadata file.
#[must_use]
pub fn new_targets(version: Version, expires: UtcTime) -> Vec<u8> {
    document(RoleKind::Targets, version, expires, vec![("targets".to_owned(), Json::Lines(Vec::new()))])
}

/// A snapshot without signatures, as the bytes of a metadata file.
///
/// # Errors
/// Lengths and digests that clients cannot read.
pub fn new_snapshot(
    version: Version,
    expires: UtcTime,
    entries: &BTreeMap<RoleName, MetaFile>,
) -> Result<Vec<u8>, EditError> {
    entries.values().try_for_each(meta::check)?;
    let lines = entries.iter().map(|(role, file)| (file_name(role), meta_json(file))).collect();
    Ok(document(RoleKind::Snapshot, version, expires, vec![("meta".to_owned(), Json::Lines(lines))]))
}

/// A timestamp without signatures, as the bytes of a metadata file.
///
/// # Errors
/// Lengths and digests that clients cannot read.
pub fn new_timestamp(version: Version, expires: UtcTime, snapshot: &MetaFile) -> Result<Vec<u8>, EditError> {
    meta::check(snapshot)?;
    let lines = vec![(file_name(&RoleKind::Snapshot.role()), meta_json(snapshot))];
    Ok(document(RoleKind::Timestamp, version, expires, vec![("meta".to_owned(), Json::Lines(lines))]))
}

/// The whole file; the members of `signed` in their canonical order.
fn document(kind: RoleKind, version: Version, expires: UtcTime, extra: Vec<(String, Json)>) -> Vec<u8> {
    let mut signed: BTreeMap<String, Json> = extra.into_iter().collect();
    signed.insert("_type".into(), Json::text(kind.name()));
    signed.insert("expires".into(), Json::text(expires.to_string()));
    signed.insert("spec_version".into(), Json::text(SPEC_VERSION));
    signed.insert("version".into(), Json::Number(version.get()));
    let whole = Json::lines([
        ("signatures", Json::List(Vec::new())),
        ("signed", Json::Lines(signed.into_iter().collect())),
    ]);
    let mut out = Vec::new();
    whole.write(&mut out, &Style::fresh(), "");
    out.push(b'\n');
    out
}

/// The specification that we follow; clients compare its major number.
const SPEC_VERSION: &str = "1.0.34";
