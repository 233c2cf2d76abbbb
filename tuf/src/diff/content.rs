//! Everything but targets: keys, thresholds, delegations, entries, and members without a word of their own.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Delegation, DelegationChanged, Difference, MetaChange, RoleKey, ThresholdChange};
use crate::canonical::canonical;
use crate::json::Value;
use crate::key::{Key, KeyId};
use crate::metadata::{DelegatedRole, Delegations, MetaFile, Paths, Root, SuccinctRoles, TimestampRole};
use crate::role::{RoleKeys, RoleKind, RoleName};

type Keys = BTreeMap<KeyId, Key>;

pub(super) fn root(out: &mut Difference, old: Option<&Root>, new: &Root) {
    for kind in RoleKind::ALL {
        let before = old.map(|root| (root.role(kind), &root.keys));
        role(out, kind.name(), before, Some((new.role(kind), &new.keys)));
    }
    if old.is_some_and(|root| root.consistent_snapshot != new.consistent_snapshot) {
        out.consistent_snapshot = Some(new.consistent_snapshot);
    }
}

pub(super) fn delegations(out: &mut Difference, old: Option<&Delegations>, new: Option<&Delegations>) {
    let (before, after) = (entries(old), entries(new));
    let (by_name, names) = (index(&before), index(&after));
    let rank_before = ranks(&before, &names);
    let rank_after = ranks(&after, &by_name);
    for to in &after {
        let name = to.shown.name.as_str();
        let from = by_name.get(name);
        role(out, name, from.map(|f| (f.keys, f.table)), Some((to.keys, to.table)));
        let Some(from) = from else {
            out.delegations_added.push(to.shown.clone());
            continue;
        };
        let moved = rank_before.get(name) != rank_after.get(name);
        if moved || !same_reach(&from.shown, &to.shown) {
            let (from, to) = (from.shown.clone(), to.shown.clone());
            out.delegations_changed.push(DelegationChanged { from, to, moved });
        }
    }
    for from in before.iter().filter(|b| !names.contains_key(b.shown.name.as_str())) {
        role(out, &from.shown.name, Some((from.keys, from.table)), None);
        out.delegations_removed.push(from.shown.clone());
    }
}

pub(super) fn meta(
    out: &mut Difference,
    old: Option<&BTreeMap<RoleName, MetaFile>>,
    new: &BTreeMap<RoleName, MetaFile>,
) {
    let names: BTreeSet<&RoleName> = new.keys().chain(old.into_iter().flat_map(BTreeMap::keys)).collect();
    for name in names {
        entry(out, name, old.and_then(|old| old.get(name)), new.get(name));
    }
}

pub(super) fn timestamp(out: &mut Difference, old: Option<&TimestampRole>, new: &TimestampRole) {
    entry(out, &RoleKind::Snapshot.role(), old.map(|t| &t.snapshot), Some(&new.snapshot));
}

/// Members that the specification does not know, or that only matter to programs.
pub(super) fn other(out: &mut Difference, old: Option<Value<'_>>, new: Value<'_>) {
    let mut found = Vec::new();
    members(&mut found, "", old, Some(new), &KNOWN);
    if old.is_some() && !same(old.and_then(|o| o.get("spec_version")), new.get("spec_version")) {
        found.push("spec_version".to_owned());
    }
    let within = |name: &str| (old.and_then(|o| o.get(name)), new.get(name));
    let (roles_before, roles) = within("roles");
    for (name, before, after) in pairs(roles_before, roles) {
        let known: &[&str] =
            if RoleKind::from_type(&name).is_some() { &["keyids", "threshold"] } else { &[] };
        members(&mut found, &format!("roles.{name}."), before, after, known);
    }
    let (meta_before, meta) = within("meta");
    for (name, before, after) in pairs(meta_before, meta) {
        members(&mut found, &format!("meta.{name}."), before, after, &["version", "length", "hashes"]);
    }
    let (before, after) = within("delegations");
    members(&mut found, "delegations.", before, after, &["keys", "roles", "succinct_roles"]);
    delegated_members(&mut found, before, after);
    key_objects(&mut found, out, within("keys"));
    key_objects(&mut found, out, (before.and_then(|b| b.get("keys")), after.and_then(|a| a.get("keys"))));
    out.other.append(&mut found);
    let silent = out.only_renews() && out.from_version == Some(out.to_version);
    if silent && out.from_expires.as_ref() == Some(&out.to_expires) && !out.is_empty() {
        // Such as keyids in another order: nothing that a client acts upon, and still other bytes to sign.
        out.other.push("signed".to_owned());
    }
}

/// A delegation beside what it is made of.
struct Entry<'m> {
    shown: Delegation,
    keys: &'m RoleKeys,
    table: &'m Keys,
}

fn entries(delegations: Option<&Delegations>) -> Vec<Entry<'_>> {
    let Some(all) = delegations else { return Vec::new() };
    let named = all.roles.iter().map(|r| Entry { shown: of_role(r), keys: &r.keys, table: &all.keys });
    let bins = all.succinct.iter().map(|s| Entry { shown: of_bins(s), keys: &s.keys, table: &all.keys });
    named.chain(bins).collect()
}

fn index<'e, 'm>(entries: &'e [Entry<'m>]) -> HashMap<&'e str, &'e Entry<'m>> {
    entries.iter().map(|entry| (entry.shown.name.as_str(), entry)).collect()
}

/// The order of the entries that the other side has too.
fn ranks<'e>(entries: &'e [Entry<'_>], other: &HashMap<&str, &Entry<'_>>) -> HashMap<&'e str, usize> {
    let shared = entries.iter().map(|e| e.shown.name.as_str()).filter(|name| other.contains_key(name));
    shared.enumerate().map(|(rank, name)| (name, rank)).collect()
}

fn of_role(role: &DelegatedRole) -> Delegation {
    let (paths, path_hash_prefixes) = match &role.paths {
        Paths::Patterns(patterns) => (patterns.clone(), Vec::new()),
        Paths::HashPrefixes(prefixes) => (Vec::new(), prefixes.clone()),
    };
    let terminating = role.terminating;
    Delegation { paths, path_hash_prefixes, terminating, ..shown(role.name.as_str(), &role.keys) }
}

fn of_bins(bins: &SuccinctRoles) -> Delegation {
    let count = 1_u64.checked_shl(bins.bit_length.into());
    Delegation { succinct_bins: count, terminating: true, ..shown(&bins.name_prefix, &bins.keys) }
}

fn shown(name: &str, keys: &RoleKeys) -> Delegation {
    Delegation {
        name: name.to_owned(),
        paths: Vec::new(),
        path_hash_prefixes: Vec::new(),
        succinct_bins: None,
        terminating: false,
        keyids: keys.keyids.iter().map(ToString::to_string).collect(),
        threshold: keys.threshold.get(),
    }
}

/// Whether two delegations let the same targets through; keys and thresholds are told apart from that.
fn same_reach(a: &Delegation, b: &Delegation) -> bool {
    a.paths == b.paths
        && a.path_hash_prefixes == b.path_hash_prefixes
        && a.succinct_bins == b.succinct_bins
        && a.terminating == b.terminating
}

fn role(out: &mut Difference, name: &str, old: Option<(&RoleKeys, &Keys)>, new: Option<(&RoleKeys, &Keys)>) {
    let lost = |from: Option<(&RoleKeys, &Keys)>, to: Option<(&RoleKeys, &Keys)>| -> Vec<RoleKey> {
        let Some((role, table)) = from else { return Vec::new() };
        let stays = |keyid: &&KeyId| !to.is_some_and(|(role, _)| role.keyids.contains(keyid));
        role.keyids.iter().filter(stays).map(|keyid| role_key(name, keyid, table)).collect()
    };
    out.keys_added.extend(lost(new, old));
    out.keys_removed.extend(lost(old, new));
    let from = old.map(|(role, _)| role.threshold.get());
    if let Some(to) = new.map(|(role, _)| role.threshold.get()).filter(|to| Some(*to) != from) {
        out.thresholds.push(ThresholdChange { role: name.to_owned(), from, to });
    }
}

fn role_key(role: &str, keyid: &KeyId, table: &Keys) -> RoleKey {
    let key = table.get(keyid);
    let kind = key.map(|key| match key.public_key() {
        Ok(public) => public.key_type().to_string(),
        Err(_) => key.keytype().to_owned(),
    });
    let own = key.map(Key::computed_keyid).filter(|own| own != keyid);
    RoleKey {
        role: role.to_owned(),
        keyid: keyid.to_string(),
        kind: kind.unwrap_or_default(),
        own_keyid: own.map(|own| own.to_string()),
    }
}

fn entry(out: &mut Difference, name: &RoleName, old: Option<&MetaFile>, new: Option<&MetaFile>) {
    if old != new {
        let version = |file: Option<&MetaFile>| file.map(|f| f.version.get());
        out.meta.push(MetaChange { role: name.to_string(), from: version(old), to: version(new) });
    }
}

/// Names of both sides with what stands under them.
fn pairs<'d>(
    old: Option<Value<'d>>,
    new: Option<Value<'d>>,
) -> impl Iterator<Item = (Cow<'d, str>, Option<Value<'d>>, Option<Value<'d>>)> {
    let mut all: BTreeMap<Cow<'d, str>, (Option<Value<'d>>, Option<Value<'d>>)> = BTreeMap::new();
    for (name, value) in old.map(Value::members).into_iter().flatten() {
        all.entry(name.as_str().unwrap_or_default()).or_default().0 = Some(value);
    }
    for (name, value) in new.map(Value::members).into_iter().flatten() {
        all.entry(name.as_str().unwrap_or_default()).or_default().1 = Some(value);
    }
    all.into_iter().map(|(name, (before, after))| (name, before, after))
}

fn members(
    found: &mut Vec<String>,
    prefix: &str,
    old: Option<Value<'_>>,
    new: Option<Value<'_>>,
    known: &[&str],
) {
    for (name, before, after) in pairs(old, new) {
        if !known.contains(&&*name) && !same(before, after) {
            found.push(format!("{prefix}{name}"));
        }
    }
}

/// Unknown members of delegated roles and of succinct bins.
fn delegated_members(found: &mut Vec<String>, old: Option<Value<'_>>, new: Option<Value<'_>>) {
    let known = ["name", "keyids", "threshold", "terminating", "paths", "path_hash_prefixes"];
    let before = named_roles(old);
    for (name, role) in named_roles(new) {
        members(found, &format!("delegations.{name}."), before.get(&name).copied(), Some(role), &known);
    }
    let (old, new) = (old.and_then(|v| v.get("succinct_roles")), new.and_then(|v| v.get("succinct_roles")));
    let known = ["keyids", "threshold", "bit_length", "name_prefix"];
    members(found, "delegations.succinct_roles.", old, new, &known);
}

fn named_roles(delegations: Option<Value<'_>>) -> BTreeMap<String, Value<'_>> {
    let roles = delegations.and_then(|d| d.get("roles")).map(Value::items).into_iter().flatten();
    roles.filter_map(|role| Some((role.get("name")?.as_str()?.into_owned(), role))).collect()
}

/// Key objects that change under their keyid, or that come and go without any role that uses them.
fn key_objects(
    found: &mut Vec<String>,
    out: &Difference,
    (old, new): (Option<Value<'_>>, Option<Value<'_>>),
) {
    let told: HashSet<&str> =
        out.keys_added.iter().chain(&out.keys_removed).map(|key| key.keyid.as_str()).collect();
    for (keyid, before, after) in pairs(old, new) {
        let came_or_went = before.is_some() != after.is_some();
        let is_told = came_or_went && told.contains(&*keyid);
        if !is_told && !same(before, after) {
            found.push(format!("keys.{keyid}"));
        }
    }
}

fn same(old: Option<Value<'_>>, new: Option<Value<'_>>) -> bool {
    match (old, new) {
        (Some(a), Some(b)) => a.raw() == b.raw() || canonical(a) == canonical(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Members of `signed` that have a word in a [`Difference`], or a walk of their own.
const KNOWN: [&str; 10] = [
    "_type",
    "spec_version",
    "version",
    "expires",
    "consistent_snapshot",
    "keys",
    "roles",
    "meta",
    "targets",
    "delegations",
];
