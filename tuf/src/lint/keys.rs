//! Rules over keys: who reads them, how they are named, how many may be lost.

use super::{Client, File, Finding, Repository, Severity, clients::Reads};
use crate::{
    key::{Key, KeyId, PublicKey, Scheme},
    metadata::Delegations,
    role::{RoleKeys, RoleKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// The keys that a file brings, and the roles that it gives them to.
struct Table<'f> {
    keys: &'f BTreeMap<KeyId, Key>,
    roles: Vec<(String, &'f RoleKeys)>,
}

/// Every rule over the keys of one file.
pub(super) fn of_file(file: &File, found: &mut Vec<Finding>) {
    let Some(table) = table(file) else { return };
    keyids(file, &table, found);
    types(file, &table, found);
    let mut used = BTreeSet::new();
    for (of, role) in &table.roles {
        used.extend(&role.keyids);
        thresholds(file, of, role, &table, found);
        twins(file, of, role, &table, found);
    }
    if let Some(keyid) = table.keys.keys().find(|keyid| !used.contains(keyid)) {
        let message = format!("key {keyid} is listed and no role uses it");
        found.push(
            Finding::new("unused-key", Severity::Note, file, message)
                .remedy("it goes with the next change of keys"),
        );
    }
}

fn table(file: &File) -> Option<Table<'_>> {
    if let Some(root) = file.content.as_root() {
        let roles = RoleKind::ALL.map(|kind| (kind.to_string(), root.role(kind)));
        return Some(Table { keys: &root.keys, roles: roles.into() });
    }
    let delegations: &Delegations = file.content.as_targets()?.delegations.as_ref()?;
    let roles = delegations.roles.iter().map(|role| (role.name.to_string(), &role.keys));
    let bins = delegations.succinct.as_ref().map(|bins| (format!("{}-*", bins.name_prefix), &bins.keys));
    Some(Table { keys: &delegations.keys, roles: roles.chain(bins).collect() })
}

fn keyids(file: &File, table: &Table<'_>, found: &mut Vec<Finding>) {
    for (keyid, key) in table.keys {
        let text = keyid.as_str();
        let hex = text.len() % 2 == 0 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let message = if !hex {
            format!("keyid \"{text}\" is no hexadecimal: tough cannot read the file")
        } else if *keyid != key.computed_keyid() {
            format!("keyid {text} is not the SHA-256 of its key, {}", key.computed_keyid())
        } else {
            continue;
        };
        found.push(Finding::new("keyid", Severity::Error, file, message).by(&[Client::Tough]).remedy(
            "give the key its right keyid in the next version, signed under the old one and the new",
        ));
    }
}

fn types(file: &File, table: &Table<'_>, found: &mut Vec<Finding>) {
    for (keyid, key) in table.keys {
        if key.public_key().is_err() && Scheme::of_names(key.keytype(), key.scheme()).is_some() {
            // Told by the rule `key-material`.
            continue;
        }
        for client in Client::ALL {
            let (severity, what) = match client.reads(key) {
                Reads::Yes => continue,
                Reads::NotTheFile => (Severity::Error, "cannot read the file that it stands in"),
                Reads::NotTheKey if needed(keyid, table, client) => {
                    (Severity::Error, "cannot verify with it, and a role needs it for its threshold")
                }
                Reads::NotTheKey => (Severity::Warning, "cannot verify with it, so it does not count there"),
            };
            let message = format!("key {keyid} is {} / {}: {client} {what}", key.keytype(), key.scheme());
            found.push(
                Finding::new("key-type", severity, file, message)
                    .by(&[client])
                    .remedy("all clients read ed25519, ecdsa-sha2-nistp256 and rsassa-pss-sha256"),
            );
        }
        if key.keytype().starts_with("ecdsa-") {
            let message =
                format!("key {keyid} has the old keytype {}, which python-tuf warns of", key.keytype());
            found.push(Finding::new("key-type", Severity::Note, file, message).by(&[Client::PythonTuf]));
        }
    }
}

/// Whether a role with this key has too few others that the client reads.
fn needed(keyid: &KeyId, table: &Table<'_>, client: Client) -> bool {
    table.roles.iter().filter(|(_, role)| role.contains(keyid)).any(|(_, role)| {
        let read = |id: &&KeyId| table.keys.get(id).is_some_and(|key| client.reads(key) == Reads::Yes);
        u32::try_from(role.keyids.iter().filter(read).count()).is_ok_and(|read| read < role.threshold.get())
    })
}

fn thresholds(file: &File, of: &str, role: &RoleKeys, table: &Table<'_>, found: &mut Vec<Finding>) {
    for keyid in role.keyids.iter().filter(|keyid| !table.keys.contains_key(keyid)) {
        let message = format!("{of} lists keyid {keyid}, and there is no such key");
        found.push(
            Finding::new("missing-key", Severity::Warning, file, message).remedy("take it out of the role"),
        );
    }
    let there = role.keyids.iter().filter(|keyid| table.keys.contains_key(keyid)).count();
    let (keys, need) = (u32::try_from(there).unwrap_or(u32::MAX), role.threshold.get());
    let (severity, message) = if need > keys {
        (
            Severity::Error,
            format!(
                "{of} needs more signatures ({need}) than it has keys ({keys}): nothing of it is ever valid"
            ),
        )
    } else if keys == 1 && of == RoleKind::Root.name() {
        (Severity::Warning, format!("{of} has a single key: when it is lost, the repository ends"))
    } else if need == keys && of == RoleKind::Root.name() {
        (Severity::Warning, format!("{of} needs all of its {keys} keys: one lost key ends the repository"))
    } else if need == keys && keys > 1 {
        (Severity::Note, format!("{of} needs all of its {keys} keys: one lost key stops it until root helps"))
    } else {
        return;
    };
    found.push(
        Finding::new("threshold", severity, file, message)
            .remedy("add a key: tufctl root add-key, or tufctl delegation edit --add-key"),
    );
}

/// One public key under two keyids of a role can meet a threshold of 2 alone.
fn twins(file: &File, of: &str, role: &RoleKeys, table: &Table<'_>, found: &mut Vec<Finding>) {
    let mut seen: BTreeMap<&PublicKey, &KeyId> = BTreeMap::new();
    for keyid in &role.keyids {
        let Some(public) = table.keys.get(keyid).and_then(|key| key.public_key().ok()) else { continue };
        if let Some(other) = seen.insert(public, keyid) {
            let message =
                format!("{of}: keyids {other} and {keyid} are one key, which all clients count as two");
            found.push(
                Finding::new("one-key-two-keyids", Severity::Error, file, message)
                    .remedy("take one of the keyids out of the role"),
            );
        }
    }
}

/// One key in roles that should fall apart: root and anything else, or several targets roles.
pub(super) fn shared(repository: &Repository, found: &mut Vec<Finding>) {
    let Some(root_file) = repository.root() else { return };
    let mut roles: BTreeMap<PublicKey, BTreeSet<String>> = BTreeMap::new();
    let tables = std::iter::once(root_file).chain(repository.targets.values()).filter_map(table);
    for table in tables {
        for (of, role) in &table.roles {
            let publics = role.keyids.iter().filter_map(|keyid| table.keys.get(keyid)?.public_key().ok());
            for public in publics {
                roles.entry(public.clone()).or_default().insert(of.clone());
            }
        }
    }
    for (public, of) in roles {
        let online = |name: &String| matches!(name.as_str(), "timestamp" | "snapshot");
        let targets = of.iter().filter(|name| !online(name) && *name != "root").count();
        let list = || {
            let shown: Vec<_> = of.iter().take(6).map(String::as_str).collect();
            let more = if of.len() > shown.len() { " and others" } else { "" };
            format!("{}{more}", shown.join(", "))
        };
        let key = public.key_type();
        let print: String = public.fingerprint().to_string().chars().take(8).collect();
        let finding = if of.contains("root") && of.len() > 1 {
            let message =
                format!("one {key} key ({print}…) serves {}: whoever has it has all of them", list());
            Finding::new("shared-key", Severity::Warning, root_file, message)
                .remedy("give root keys of its own, kept off line: tufctl root replace-key")
        } else if targets > 0 && of.iter().any(online) {
            let message =
                format!("one {key} key ({print}…) serves {}: a stolen online key signs targets", list());
            Finding::new("shared-key", Severity::Note, root_file, message)
        } else if targets > 1 {
            let message = format!(
                "one {key} key ({print}…) serves {}: metadata does not name its role, so a file of one can stand for another",
                list()
            );
            Finding::new("shared-key", Severity::Note, root_file, message)
        } else {
            continue;
        };
        found.push(finding);
    }
}
