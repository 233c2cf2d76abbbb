//! Edits of the `delegations` of a targets role.

use std::collections::{BTreeMap, BTreeSet};

use super::EditError;
use super::keys::{self, KeyTable, role_patch};
use super::patch::{ArrayPatch, Change, ObjectPatch};
use super::text::Json;
use crate::key::{Key, KeyId};
use crate::metadata::{DelegatedRole, Delegations, Paths, SuccinctRoles};
use crate::role::{RoleKeys, RoleName};
use crate::target::check_pattern_for_writing;

/// A delegation that is to be added.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// The delegated role.
    pub name: RoleName,
    /// Its keys, at least `threshold` of them.
    pub keys: Vec<Key>,
    /// How many of them must sign.
    pub threshold: u32,
    /// The paths that it may list.
    pub paths: Paths,
    /// Whether clients search no further once a path matches.
    pub terminating: bool,
}

/// What becomes of a delegation; what is not named stays.
#[derive(Debug, Clone, Default)]
pub struct DelegationChange {
    /// Keys to remove.
    pub remove_keys: Vec<KeyId>,
    /// Keys to add.
    pub add_keys: Vec<Key>,
    /// How many keys must sign from now on.
    pub threshold: Option<u32>,
    /// The paths from now on, all of them; not for succinct bins.
    pub paths: Option<Paths>,
    /// Whether clients search no further once a path matches; not for succinct bins.
    pub terminating: Option<bool>,
}

/// Delegations as they will be.
#[derive(Debug, Clone)]
pub(super) struct DelegationsDraft {
    before: Option<Delegations>,
    keys: KeyTable,
    /// With the index that the role has in the document, if it is there.
    roles: Vec<(Option<usize>, DelegatedRole)>,
    succinct: Option<SuccinctRoles>,
}

impl DelegationsDraft {
    pub(super) fn of(before: Option<&Delegations>) -> Self {
        let roles = before.map(|d| d.roles.as_slice()).unwrap_or_default();
        Self {
            before: before.cloned(),
            keys: before.map_or_else(KeyTable::default, |d| KeyTable::of(&d.keys)),
            roles: roles.iter().cloned().enumerate().map(|(i, role)| (Some(i), role)).collect(),
            succinct: before.and_then(|d| d.succinct.clone()),
        }
    }

    pub(super) fn add(&mut self, new: &NewDelegation) -> Result<(), EditError> {
        if self.succinct.is_some() {
            return Err(EditError::MixedDelegations);
        }
        check_name(&new.name)?;
        if self.roles.iter().any(|(_, role)| role.name == new.name) {
            return Err(EditError::DelegationExists(new.name.clone()));
        }
        check_paths(&new.name, &new.paths)?;
        let keys = self.keys.role(&new.name, &new.keys, new.threshold)?;
        let role = DelegatedRole {
            name: new.name.clone(),
            keys,
            terminating: new.terminating,
            paths: new.paths.clone(),
        };
        self.roles.push((None, role));
        Ok(())
    }

    pub(super) fn edit(&mut self, name: &RoleName, change: &DelegationChange) -> Result<(), EditError> {
        let missing = || EditError::NoDelegation(name.clone());
        if let Some(succinct) = self.succinct.as_mut().filter(|s| s.name_prefix == name.as_str()) {
            if change.paths.is_some() || change.terminating.is_some() {
                return Err(EditError::PathsOfBins(name.clone()));
            }
            return edit_keys(&mut self.keys, name, &mut succinct.keys, change);
        }
        let (_, role) = self.roles.iter_mut().find(|(_, role)| role.name == *name).ok_or_else(missing)?;
        if let Some(paths) = &change.paths {
            check_paths(name, paths)?;
            role.paths = paths.clone();
        }
        role.terminating = change.terminating.unwrap_or(role.terminating);
        edit_keys(&mut self.keys, name, &mut role.keys, change)
    }

    pub(super) fn remove(&mut self, name: &RoleName) -> Result<(), EditError> {
        if self.succinct.take_if(|s| s.name_prefix == name.as_str()).is_some() {
            return Ok(());
        }
        let before = self.roles.len();
        self.roles.retain(|(_, role)| role.name != *name);
        if self.roles.len() == before { Err(EditError::NoDelegation(name.clone())) } else { Ok(()) }
    }

    pub(super) fn set_succinct(
        &mut self,
        prefix: &RoleName,
        bins: u64,
        keys: &[Key],
        threshold: u32,
    ) -> Result<(), EditError> {
        check_name(prefix)?;
        if !self.roles.is_empty() {
            return Err(EditError::MixedDelegations);
        }
        if self.succinct.is_some() {
            return Err(EditError::DelegationExists(prefix.clone()));
        }
        let bit_length = u8::try_from(bins.trailing_zeros()).ok().filter(|_| bins.is_power_of_two());
        let keys = self.keys.role(prefix, keys, threshold)?;
        let succinct = bit_length.and_then(|bits| SuccinctRoles::new(keys, bits, prefix.as_str()));
        self.succinct = Some(succinct.ok_or(EditError::Bins(bins))?);
        Ok(())
    }

    /// What changes the `signed` part of the targets role, once everything holds together.
    pub(super) fn patch(mut self, out: &mut ObjectPatch) -> Result<(), EditError> {
        if !self.changed() {
            return Ok(());
        }
        self.check()?;
        let roles =
            self.roles.iter().map(|(_, role)| &role.keys).chain(self.succinct.iter().map(|s| &s.keys));
        let used: BTreeSet<KeyId> = roles.flat_map(|r| r.keyids.iter().cloned()).collect();
        self.keys.retain(&used);
        match self.before.take() {
            None => out.set("delegations", self.json()),
            Some(before) => out.within("delegations", self.patch_of(&before)),
        }
        Ok(())
    }

    fn changed(&self) -> bool {
        let before = self.before.as_ref();
        let roles = before.map(|d| d.roles.as_slice()).unwrap_or_default();
        let same = roles.len() == self.roles.len() && roles.iter().zip(&self.roles).all(|(a, (_, b))| a == b);
        !same || before.and_then(|d| d.succinct.as_ref()) != self.succinct.as_ref()
    }

    /// Judges what was changed; what others wrote and we leave alone is not ours to refuse here.
    fn check(&self) -> Result<(), EditError> {
        let known = |index: &Option<usize>| self.before.as_ref().and_then(|d| d.roles.get((*index)?));
        for (index, role) in &self.roles {
            if known(index).is_none_or(|before| before.keys != role.keys) {
                self.keys.check(&role.name, &role.keys)?;
            }
        }
        if let Some(succinct) = &self.succinct {
            self.keys.check(&RoleName::parse(&succinct.name_prefix)?, &succinct.keys)?;
        }
        Ok(())
    }

    fn json(&self) -> Json {
        let mut members = vec![("keys".to_owned(), self.keys.json())];
        match &self.succinct {
            Some(succinct) => members.push(("succinct_roles".into(), succinct_json(succinct))),
            None => {
                let roles = self.roles.iter().map(|(_, role)| delegated_json(role)).collect();
                members.push(("roles".into(), Json::List(roles)));
            }
        }
        Json::Lines(members)
    }

    fn patch_of(&self, before: &Delegations) -> ObjectPatch {
        let mut patch = ObjectPatch::default();
        patch.within("keys", self.keys.patch(&before.keys));
        match (&before.succinct, &self.succinct) {
            (Some(old), Some(new)) => {
                let mut inner = ObjectPatch::default();
                role_patch(&mut inner, &old.keys, &new.keys);
                if old.bit_length != new.bit_length {
                    inner.set("bit_length", Json::Number(new.bit_length.into()));
                }
                if old.name_prefix != new.name_prefix {
                    inner.set("name_prefix", Json::text(&new.name_prefix));
                }
                patch.within("succinct_roles", inner);
            }
            (None, Some(new)) => {
                patch.remove("roles");
                patch.set("succinct_roles", succinct_json(new));
            }
            (Some(_), None) => {
                patch.remove("succinct_roles");
                patch.set(
                    "roles",
                    Json::List(self.roles.iter().map(|(_, role)| delegated_json(role)).collect()),
                );
            }
            (None, None) => patch.within_array("roles", self.roles_patch(&before.roles)),
        }
        patch
    }

    fn roles_patch(&self, before: &[DelegatedRole]) -> ArrayPatch {
        let now: BTreeMap<usize, &DelegatedRole> =
            self.roles.iter().filter_map(|(index, role)| Some(((*index)?, role))).collect();
        let mut patch = ArrayPatch::default();
        for (index, old) in before.iter().enumerate() {
            match now.get(&index) {
                None => drop(patch.changes.insert(index, Change::Remove)),
                Some(new) if *new != old => {
                    drop(patch.changes.insert(index, Change::Object(delegated_patch(old, new))));
                }
                Some(_) => {}
            }
        }
        let added = self.roles.iter().filter(|(index, _)| index.is_none());
        patch.appended = added.map(|(_, role)| delegated_json(role)).collect();
        patch
    }
}

fn edit_keys(
    table: &mut KeyTable,
    name: &RoleName,
    role: &mut RoleKeys,
    change: &DelegationChange,
) -> Result<(), EditError> {
    for keyid in &change.remove_keys {
        keys::remove(name, role, keyid)?;
    }
    for key in &change.add_keys {
        table.add(name, role, key)?;
    }
    change.threshold.map_or(Ok(()), |threshold| keys::set_threshold(name, role, threshold))
}

fn check_name(name: &RoleName) -> Result<(), EditError> {
    RoleName::new_for_writing(name.as_str())?;
    Ok(())
}

fn check_paths(name: &RoleName, paths: &Paths) -> Result<(), EditError> {
    match paths {
        Paths::Patterns(patterns) if patterns.is_empty() => Err(EditError::NoPaths(name.clone())),
        Paths::Patterns(patterns) => Ok(patterns.iter().try_for_each(|p| check_pattern_for_writing(p))?),
        Paths::HashPrefixes(prefixes) if prefixes.is_empty() => Err(EditError::NoPaths(name.clone())),
        Paths::HashPrefixes(prefixes) => prefixes.iter().try_for_each(|prefix| {
            let hex = prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if hex && (1..=64).contains(&prefix.len()) {
                Ok(())
            } else {
                Err(EditError::HashPrefix(prefix.clone()))
            }
        }),
    }
}

fn delegated_json(role: &DelegatedRole) -> Json {
    let (member, paths) = paths_json(&role.paths);
    Json::inline([
        ("keyids", Json::texts(&role.keys.keyids)),
        ("name", Json::text(role.name.as_str())),
        (member, paths),
        ("terminating", Json::Bool(role.terminating)),
        ("threshold", Json::Number(role.keys.threshold.get().into())),
    ])
}

fn delegated_patch(before: &DelegatedRole, after: &DelegatedRole) -> ObjectPatch {
    let mut patch = ObjectPatch::default();
    role_patch(&mut patch, &before.keys, &after.keys);
    if before.terminating != after.terminating {
        patch.set("terminating", Json::Bool(after.terminating));
    }
    if before.paths != after.paths {
        let ((old, _), (new, paths)) = (paths_json(&before.paths), paths_json(&after.paths));
        if old != new {
            patch.remove(old);
        }
        patch.set(new, paths);
    }
    patch
}

fn paths_json(paths: &Paths) -> (&'static str, Json) {
    match paths {
        Paths::Patterns(patterns) => ("paths", Json::texts(patterns)),
        Paths::HashPrefixes(prefixes) => ("path_hash_prefixes", Json::texts(prefixes)),
    }
}

fn succinct_json(succinct: &SuccinctRoles) -> Json {
    Json::inline([
        ("bit_length", Json::Number(succinct.bit_length.into())),
        ("keyids", Json::texts(&succinct.keys.keyids)),
        ("name_prefix", Json::text(&succinct.name_prefix)),
        ("threshold", Json::Number(succinct.keys.threshold.get().into())),
    ])
}
