//! Forms that the specification does not allow, or that some stock client reads nothing of.
//!
//! Reading metadata is lenient with them, as repositories that others made must be shown, adopted and mended. Whoever judges a
//! repository asks here: `verify` refuses what is found, `lint` tells it.

use crate::{
    digest::OtherHasher,
    json::Value,
    key::{Key, KeyError, KeyId, Scheme},
    lint::Client::{self, PythonTuf, Tough, TufJs},
    metadata::{Delegations, Hashes, MetaFile, Metadata, Paths},
    role::RoleKind,
    target::bracket,
};
use std::collections::{BTreeMap, BTreeSet};

/// Something that no file should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormFault {
    /// The name of the rule, as `lint` gives it.
    pub rule: &'static str,
    /// The section of the specification.
    pub spec: &'static str,
    /// The stock clients that stumble; it may be none of them.
    pub clients: &'static [Client],
    /// What is wrong; may quote the metadata as it stands.
    pub message: String,
}

/// The rule of keyids that are no hexadecimal, which are taken where wrong keyids are.
pub const KEYID: &str = "keyid";

/// The rule of a root that a snapshot lists: it spoils nothing, and is told as a warning.
pub const ROOT_LISTED: &str = "root-listed";

/// Everything that is wrong with the forms of one file.
pub fn faults(file: &Metadata) -> Vec<FormFault> {
    let mut found = Vec::new();
    lists(file, &mut found);
    signatures(file, &mut found);
    let keys = file.as_root().map(|root| &root.keys).or(delegations(file).map(|it| &it.keys));
    keys.into_iter().for_each(|keys| material(keys, &mut found));
    digests(file, &mut found);
    delegations(file).into_iter().for_each(|it| paths(it, &mut found));
    found
}

fn delegations(file: &Metadata) -> Option<&Delegations> {
    file.as_targets().and_then(|targets| targets.delegations.as_ref())
}

fn fault(rule: &'static str, spec: &'static str, clients: &'static [Client], message: String) -> FormFault {
    FormFault { rule, spec, clients, message }
}

/// What root, timestamp and snapshot may list, and no more; and what a root must say.
fn lists(file: &Metadata, found: &mut Vec<FormFault>) {
    let names = |list| {
        let members = file.signed().get(list).into_iter().flat_map(Value::members);
        members.filter_map(|(name, _)| name.as_str())
    };
    let strange = |list: &str, name: &str| format!("{list} holds {name:?}, which is none of its own");
    match file.kind() {
        RoleKind::Root => {
            for name in names("roles").filter(|name| RoleKind::from_type(name).is_none()) {
                found.push(fault("lists", "4.3", &[PythonTuf, Tough], strange("roles", &name)));
            }
            if file.signed().get("consistent_snapshot").is_none() {
                let message =
                    "it does not say consistent_snapshot, without which they read no root".to_owned();
                found.push(fault("consistent-snapshot", "4.3", &[TufJs, Tough], message));
            }
        }
        RoleKind::Timestamp => {
            for name in names("meta").filter(|name| name != "snapshot.json") {
                found.push(fault("lists", "4.6", &Client::ALL, strange("meta", &name)));
            }
        }
        RoleKind::Snapshot => {
            let above = ["timestamp.json", "snapshot.json"];
            for name in names("meta").filter(|name| above.contains(&&**name)) {
                found.push(fault("lists", "4.4", &[], strange("meta", &name)));
            }
            if names("meta").any(|name| name == "root.json") {
                let message = "meta holds \"root.json\", as snapshots did before version 1.0 of the specification: nobody looks at it";
                found.push(fault(ROOT_LISTED, "4.4", &[], message.to_owned()));
            }
        }
        RoleKind::Targets => {}
    }
}

/// Keyids and signatures are hexadecimal; an empty signature is a place for one to come. python-tuf and tuf-js pass over
/// entries that are not.
fn signatures(file: &Metadata, found: &mut Vec<FormFault>) {
    let mut seen = BTreeSet::new();
    for entry in file.signatures() {
        let keyid = &entry.keyid;
        if !is_hex(keyid.as_str()) {
            let message = format!("a signature has the keyid {keyid:?}, which is no hexadecimal");
            found.push(fault(KEYID, "4.2.1", &[Tough], message));
        }
        let message = if !is_hex(&entry.sig) {
            format!("the signature of keyid {keyid} is no hexadecimal")
        } else if !seen.insert(keyid.as_str().to_ascii_lowercase()) {
            format!("keyid {keyid} has signed twice, in capitals and in small letters")
        } else {
            continue;
        };
        found.push(fault("signatures", "4.2.1", &[Tough], message));
    }
}

/// Keys of a known type whose material is none: tough reads nothing of the file, others notice when they need the key.
fn material(keys: &BTreeMap<KeyId, Key>, found: &mut Vec<FormFault>) {
    for (keyid, key) in keys {
        let known = Scheme::of_names(key.keytype(), key.scheme()).is_some();
        if let Err(error @ KeyError::Material { .. }) = key.public_key()
            && known
        {
            found.push(fault(
                "key-material",
                "4.2.2",
                &Client::ALL,
                format!("key {keyid} cannot be used: {error}"),
            ));
        }
    }
}

/// python-tuf and tuf-js check every digest that is listed, and refuse the file for one that they do not know.
fn digests(file: &Metadata, found: &mut Vec<FormFault>) {
    let mut look = |spec, of: &str, hashes: &Hashes| {
        if let Some((name, _)) = hashes.other.iter().find(|(name, _)| OtherHasher::new(name).is_none()) {
            let message = format!("{of} is listed with a digest of the unknown kind {name:?}");
            found.push(fault("hashes", spec, &[PythonTuf, TufJs], message));
        }
    };
    let mut entry = |spec, of: &str, entry: &MetaFile| {
        entry.hashes.iter().for_each(|hashes| look(spec, of, hashes));
    };
    if let Some(timestamp) = file.as_timestamp() {
        entry("4.6", "the snapshot", &timestamp.snapshot);
    }
    for (role, listed) in file.as_snapshot().into_iter().flat_map(|snapshot| &snapshot.meta) {
        entry("4.4", role.as_str(), listed);
    }
    for (path, listed) in file.as_targets().into_iter().flat_map(|targets| targets.targets()) {
        // One without any digest that counts is told of as such.
        if listed.hashes.is_understood() {
            look("4.5", &format!("target {path:?}"), &listed.hashes);
        }
    }
}

/// Prefixes of a digest, and patterns that can be read as patterns.
fn paths(delegations: &Delegations, found: &mut Vec<FormFault>) {
    for role in &delegations.roles {
        let to = format!("the delegation to {}", role.name);
        match &role.paths {
            Paths::HashPrefixes(prefixes) => {
                for prefix in prefixes.iter().filter(|prefix| !is_hash_prefix(prefix)) {
                    let what = if prefix.is_empty() { "matches every target" } else { "matches none" };
                    let message =
                        format!("{to}: {prefix:?} is no prefix of a SHA-256 in hexadecimal, and {what}");
                    found.push(fault("hash-prefix", "4.5", &[], message));
                }
            }
            Paths::Patterns(patterns) => {
                for (pattern, why) in patterns.iter().filter_map(|it| Some((it, pattern_fault(it)?))) {
                    let message =
                        format!("{to}: pattern {pattern:?} {why}, so that tough reads nothing of the file");
                    found.push(fault("pattern", "4.5", &[Tough], message));
                }
            }
        }
    }
}

/// Whether the text is a prefix of a SHA-256 in hexadecimal (4.5): 1 to 64 digits. Capitals are digits too, and match
/// nothing, since clients compare with small letters.
#[must_use]
pub fn is_hash_prefix(prefix: &str) -> bool {
    (1..=64).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why tough, which compiles patterns when it reads them, reads no file with this one: brackets and braces that do not
/// close, a range that goes down, a backslash before nothing. Others take such text as it stands.
#[must_use]
pub fn pattern_fault(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern;
    let mut open = 0_u32;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        match c {
            '\\' => {
                let Some(next) = rest.chars().next() else { return Some("ends with a backslash") };
                rest = rest.get(next.len_utf8()..)?;
            }
            '[' => {
                let Some((set, after)) = bracket(rest) else {
                    return Some("has a bracket that does not close");
                };
                let members: Vec<char> = set.trim_start_matches(['!', '^']).chars().collect();
                if members.windows(3).any(|three| matches!(three, [low, '-', high] if low > high)) {
                    return Some("has a range that goes down");
                }
                rest = after;
            }
            '{' => open = open.saturating_add(1),
            '}' => match open.checked_sub(1) {
                Some(fewer) => open = fewer,
                None => return Some("closes a brace that is not open"),
            },
            _ => {}
        }
    }
    (open > 0).then_some("has a brace that does not close")
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_prefix_and_no_pattern_is_told() {
        for good in ["0", "a6b", "AB", &"f".repeat(64)] {
            assert!(is_hash_prefix(good), "{good}");
        }
        for bad in ["", "ZZ", " a", "0x", &"f".repeat(65), "é"] {
            assert!(!is_hash_prefix(bad), "{bad}");
        }
        for good in ["a/*", "**", "[ab]", "[!a-z]", "[]]", "{a,b}", "{a,{b,c}}", r"a\*", "é[é]", ""] {
            assert_eq!(pattern_fault(good), None, "{good}");
        }
        for bad in ["t/[b", "[", "[z-a]", "{a", "a}", r"a\", "{a}}"] {
            assert!(pattern_fault(bad).is_some(), "{bad}");
        }
    }
}
