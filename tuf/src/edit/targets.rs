//! Edits of the `targets` of a targets role.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};

use super::EditError;
use super::patch::ObjectPatch;
use super::text::Json;
use crate::MAX_INTEGER;
use crate::json::Value;
use crate::metadata::{DelegatedRole, Hashes, Paths, SuccinctRoles, TargetFile};
use crate::role::RoleName;
use crate::target::{TargetPath, visible};

/// Refuses what clients cannot read: numbers too large, digests in another form than lowercase hex.
fn check(target: &TargetFile<'_>) -> Result<(), EditError> {
    if target.length > MAX_INTEGER {
        return Err(EditError::Number(target.length));
    }
    check_hashes(&target.hashes)
}

/// SHA-256 and SHA-512 have their form by type; of others, lowercase hex is asked.
pub(super) fn check_hashes(hashes: &Hashes) -> Result<(), EditError> {
    let hex =
        |value: &str| !value.is_empty() && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match hashes.other.iter().find(|(_, value)| !hex(value)) {
        Some((algorithm, value)) => {
            Err(EditError::Digest { algorithm: visible(algorithm), value: value.chars().take(130).collect() })
        }
        None if hashes.iter().next().is_none() => Err(EditError::NoDigest),
        None => Ok(()),
    }
}

pub(super) fn hashes_json(hashes: &Hashes) -> Json {
    Json::Inline(hashes.iter().map(|(name, value)| (name.to_owned(), Json::Text(value))).collect())
}

/// Whether an entry has these hashes and no others.
pub(super) fn says(entry: Value<'_>, hashes: &Hashes) -> bool {
    let Some(there) = entry.get("hashes") else { return false };
    let same =
        |(name, value): (&str, String)| there.get(name).and_then(Value::as_str).is_some_and(|v| v == value);
    there.len() == hashes.iter().count() && hashes.iter().all(same)
}

/// Which targets a delegation on the way to a role lets through.
#[derive(Debug, Clone)]
pub struct PathScope {
    role: RoleName,
    allowed: Allowed,
}

#[derive(Debug, Clone)]
enum Allowed {
    Paths(Paths),
    Bin(SuccinctRoles),
}

impl PathScope {
    /// What a named delegation lets through.
    #[must_use]
    pub fn of(role: &DelegatedRole) -> Self {
        Self { role: role.name.clone(), allowed: Allowed::Paths(role.paths.clone()) }
    }

    /// What falls into one of succinct bins.
    #[must_use]
    pub fn of_bin(bins: &SuccinctRoles, bin: RoleName) -> Self {
        Self { role: bin, allowed: Allowed::Bin(bins.clone()) }
    }

    /// The role whose paths these are.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// Whether a path is let through.
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        match &self.allowed {
            Allowed::Paths(paths) => paths.matches(path),
            Allowed::Bin(bins) => bins.role_for(path) == self.role,
        }
    }
}

/// The targets of a role as they will be.
#[derive(Debug, Clone, Default)]
pub(super) struct TargetsDraft {
    /// What becomes of a path; `None` is removal.
    changes: BTreeMap<String, Option<TargetFile<'static>>>,
    scopes: Vec<PathScope>,
    listed: OnceCell<HashSet<String>>,
}

impl TargetsDraft {
    pub(super) fn within(&mut self, scopes: Vec<PathScope>) {
        self.scopes = scopes;
    }

    pub(super) fn add(&mut self, path: &TargetPath, target: &TargetFile<'_>) -> Result<(), EditError> {
        check(target)?;
        if let Some(scope) = self.scopes.iter().find(|scope| !scope.allows(path.as_str())) {
            return Err(EditError::PathNotAllowed { role: scope.role.clone(), path: visible(path.as_str()) });
        }
        self.changes.insert(path.as_str().to_owned(), Some(target.clone().into_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str, signed: Value<'_>) -> Result<(), EditError> {
        let names = || members(signed).filter_map(|(name, _)| name.as_str()).map(Into::into).collect();
        let there = match self.changes.get(path) {
            Some(change) => change.is_some(),
            None => self.listed.get_or_init(names).contains(path),
        };
        if !there {
            return Err(EditError::NoTarget(visible(path)));
        }
        self.changes.insert(path.to_owned(), None);
        Ok(())
    }

    /// What changes the `signed` part. An entry that says the same already is left as it stands; of one that says
    /// something else, length and hashes are written anew and everything beside them stays.
    pub(super) fn patch(&self, signed: Value<'_>, out: &mut ObjectPatch) {
        let mut left: BTreeMap<&[u8], &Option<TargetFile<'static>>> =
            self.changes.iter().map(|(path, change)| (path.as_bytes(), change)).collect();
        let mut patch = ObjectPatch::default();
        for (name, entry) in members(signed) {
            if left.is_empty() {
                break;
            }
            let decoded = name.decoded();
            let Some((path, change)) = left.remove_entry(decoded.as_ref()) else { continue };
            let path = String::from_utf8_lossy(path);
            match change {
                None => patch.remove(path),
                Some(target) => patch.within(path, entry_patch(entry, target)),
            }
        }
        for (path, target) in left.into_iter().filter_map(|(path, change)| Some((path, change.as_ref()?))) {
            patch.set(String::from_utf8_lossy(path), target_json(target));
        }
        out.within("targets", patch);
    }
}

fn members(signed: Value<'_>) -> crate::json::Members<'_> {
    signed.get("targets").unwrap_or(signed).members()
}

/// What changes an entry that the role lists already; everything beside stays.
fn entry_patch(entry: Value<'_>, target: &TargetFile<'_>) -> ObjectPatch {
    let mut patch = ObjectPatch::default();
    if entry.get("length").and_then(Value::as_u64) != Some(target.length) {
        patch.set("length", Json::Number(target.length));
    }
    if !says(entry, &target.hashes) {
        patch.set("hashes", hashes_json(&target.hashes));
    }
    if let Some(custom) = target.custom.as_deref()
        && entry.get("custom").map(Value::raw_str) != Some(custom)
    {
        patch.set("custom", Json::Raw(custom.to_owned()));
    }
    patch
}

fn target_json(target: &TargetFile<'_>) -> Json {
    let mut members = Vec::new();
    if let Some(custom) = target.custom.as_deref() {
        members.push(("custom".to_owned(), Json::Raw(custom.to_owned())));
    }
    members.push(("hashes".to_owned(), hashes_json(&target.hashes)));
    members.push(("length".to_owned(), Json::Number(target.length)));
    Json::Inline(members)
}
