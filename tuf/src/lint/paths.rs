//! Rules over names: of roles, of targets, and the patterns between them.

use super::{Client, File, Finding, Many, Repository, Severity};
use crate::{
    digest::OtherHasher,
    forms::{is_hash_prefix, pattern_fault},
    metadata::{DelegatedRole, Paths, Targets},
    role::RoleName,
    target::{PathFault, TargetPath, check_pattern_for_writing, stays_inside},
};
use std::collections::BTreeMap;

/// Names of delegated roles that become another file name.
pub(super) fn role_names(file: &File, repository: &Repository, found: &mut Vec<Finding>) {
    let delegations = file.content.as_targets().and_then(|targets| targets.delegations.as_ref());
    let bins = delegations.and_then(|it| it.succinct.as_ref()).and_then(|bins| bins.names().next());
    for role in delegated(file).map(|role| &role.name).chain(bins.iter()) {
        let (name, stem) = (role.as_str(), role.file_stem());
        if stem != name {
            let decoded = repository.decoded.contains(role);
            let encoded =
                repository.targets.get(role).is_none_or(|file| file.name.ends_with(&format!("{stem}.json")));
            let must = match (encoded, decoded) {
                // Either kind of server finds it.
                (true, true) => continue,
                (_, false) => "must not decode it on the way to the file",
                (false, true) => {
                    "must decode it on the way to the file, which lies there as the role is called"
                }
            };
            let message = format!("role \"{name}\" is fetched as {stem}.json: the server {must}");
            found.push(Finding::new("role-name", Severity::Warning, file, message).remedy(PLAIN_NAME));
        } else if RoleName::new_for_writing(name).is_err() {
            let message = format!("role \"{name}\" is hard to tell from a hidden file, a version or a path");
            found.push(Finding::new("role-name", Severity::Note, file, message).remedy(PLAIN_NAME));
        }
    }
}

/// Patterns that clients match differently.
pub(super) fn patterns(file: &File, found: &mut Vec<Finding>) {
    for role in delegated(file) {
        nothing_matches(file, role, found);
        let Paths::Patterns(patterns) = &role.paths else { continue };
        for pattern in patterns {
            let Err(error) = check_pattern_for_writing(pattern) else { continue };
            if pattern_fault(pattern).is_some() {
                // An error, told with the forms.
                continue;
            }
            let (clients, why): (&[Client], String) = match &error.fault {
                PathFault::Wildcard(what) => match what.as_str() {
                    "**" => {
                        (&Client::ALL, "tough lets ** cross folders, the others match one name".to_owned())
                    }
                    "{" | "}" => (
                        &[Client::PythonTuf],
                        "python-tuf takes braces as they stand, others as a choice".to_owned(),
                    ),
                    "!" | "(" | ")" if !pattern.contains('[') => {
                        (&[Client::TufJs], "tuf-js alone reads !( ) and its like as a choice".to_owned())
                    }
                    _ => (&Client::ALL, "sets in brackets are read by glob(7), not by all alike".to_owned()),
                },
                PathFault::Absolute => (&Client::ALL, "it begins with / and no target does".to_owned()),
                fault => (&Client::ALL, format!("it {fault}")),
            };
            let message = format!("{}: pattern \"{pattern}\": {why}", role.name);
            found.push(
                Finding::new("pattern", Severity::Warning, file, message)
                    .by(clients)
                    .remedy("use literal text, * and ?, one pattern for each depth"),
            );
        }
    }
}

/// Delegations that lead nowhere, whatever the role lists.
fn nothing_matches(file: &File, role: &DelegatedRole, found: &mut Vec<Finding>) {
    let name = &role.name;
    let (rule, message) = match &role.paths {
        Paths::Patterns(patterns) if patterns.is_empty() => {
            ("pattern", format!("{name} has no pattern: no target is its own"))
        }
        Paths::HashPrefixes(prefixes) if prefixes.is_empty() => {
            ("hash-prefix", format!("{name} has no prefix: no target is its own"))
        }
        Paths::HashPrefixes(prefixes) => {
            let capitals =
                |prefix: &&String| is_hash_prefix(prefix) && prefix.bytes().any(|b| b.is_ascii_uppercase());
            let Some(prefix) = prefixes.iter().find(capitals) else { return };
            (
                "hash-prefix",
                format!(
                    "{name}: prefix \"{prefix}\" has capitals and matches no target: clients compare with small letters"
                ),
            )
        }
        Paths::Patterns(_) => return,
    };
    found.push(
        Finding::new(rule, Severity::Warning, file, message).remedy("put it right, or remove the delegation"),
    );
}

/// Names and digests of the targets that a role lists.
pub(super) fn targets(file: &File, parents: &[&File], found: &mut Vec<Finding>) {
    let Some(targets) = file.content.as_targets() else { return };
    names(file, targets, found);
    digests(file, targets, found);
    outside(file, targets, parents, found);
}

fn names(file: &File, targets: &Targets, found: &mut Vec<Finding>) {
    let mut many: BTreeMap<(&str, Severity), Many> = BTreeMap::new();
    for (path, _) in targets.targets() {
        let kind = match TargetPath::new_for_writing(&path) {
            // As `verify` judges, whatever else is odd about the name.
            _ if !stays_inside(&path) => {
                ("leads out of the folder of targets, or nowhere (specification 4.5)", Severity::Error)
            }
            Ok(_) if path.bytes().all(plain) => continue,
            Ok(_) => {
                ("needs percent-encoding in a URL: not every server and client does it alike", Severity::Note)
            }
            // Told by the rule `nfc`.
            Err(error) => match error.fault {
                PathFault::NotNfc => continue,
                PathFault::UrlCharacter(_) => {
                    ("cannot be fetched: clients join it to a URL as it stands", Severity::Error)
                }
                PathFault::TooLong => {
                    ("is longer than file systems hold with a digest before it", Severity::Error)
                }
                PathFault::Backslash => {
                    ("holds a backslash, which some systems take for a folder", Severity::Warning)
                }
                _ => ("holds characters that people cannot see", Severity::Warning),
            },
        };
        many.entry(kind).or_default().note(&path);
    }
    for ((why, severity), many) in many {
        let Some(told) = many.told("target") else { continue };
        let finding = Finding::new("target-name", severity, file, format!("{told} {why}"));
        found.push(finding.remedy("rename it: tufctl target remove, then add it under another --path"));
    }
}

const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~' | b'/' | b'+' | b'@' | b'=')
}

fn digests(file: &File, targets: &Targets, found: &mut Vec<Finding>) {
    let (mut none, mut not_256, mut several) = (Many::default(), Many::default(), Many::default());
    let mut python = Many::default();
    for (path, listed) in targets.targets() {
        if listed.hashes.other.iter().any(|(name, _)| not_js(name)) {
            python.note(&path);
        }
        match (listed.hashes.is_understood(), listed.hashes.sha256) {
            (false, _) => none.note(&path),
            (true, None) => not_256.note(&path),
            (true, Some(_)) if listed.hashes.iter().count() > 1 => several.note(&path),
            _ => {}
        }
    }
    let mut tell = |many: &Many, severity, clients: &[Client], why: &str| {
        if let Some(told) = many.told("target") {
            let finding = Finding::new("hashes", severity, file, format!("{told} {why}")).by(clients);
            found.push(finding.remedy("list a sha256, and nothing else, for each target"));
        }
    };
    tell(&none, Severity::Error, &[], "without a digest of a known algorithm with 256 bits or more");
    tell(&not_256, Severity::Error, &[Client::Tough], "without a sha256: tough knows no other");
    tell(&python, Severity::Error, &[Client::TufJs], "with a digest of a kind that tuf-js does not know");
    tell(&several, Severity::Note, &[], "with several digests: each needs a file of its own, HASH.name");
}

/// Whether python-tuf alone checks digests of this algorithm; one that it does not know either is told as a fault of form.
pub(super) fn not_js(algorithm: &str) -> bool {
    OtherHasher::new(algorithm).is_some() && !OtherHasher::is_known_to_openssl(algorithm)
}

/// Targets that a delegated role lists and no delegation to it allows.
fn outside(file: &File, targets: &Targets, parents: &[&File], found: &mut Vec<Finding>) {
    if file.role.is_top_level() {
        return;
    }
    let parents = parents.iter().filter_map(|parent| parent.content.as_targets()?.delegations.as_ref());
    let mut allows: Vec<&Paths> = Vec::new();
    let mut bins = Vec::new();
    for delegations in parents {
        allows.extend(delegations.roles.iter().filter(|role| role.name == file.role).map(|role| &role.paths));
        bins.extend(delegations.succinct.iter().filter(|bins| bins.contains(&file.role)));
    }
    if allows.is_empty() && bins.is_empty() {
        return;
    }
    let mut many = Many::default();
    for (path, _) in targets.targets() {
        let allowed = allows.iter().any(|paths| paths.matches(&path))
            || bins.iter().any(|bins| bins.role_for(&path) == file.role);
        if !allowed {
            many.note(&path);
        }
    }
    if let Some(told) = many.told("target") {
        let message = format!(
            "{told} outside the paths that are delegated to {}: no client finds it there, and tough refuses the repository",
            file.role
        );
        found.push(
            Finding::new("outside-paths", Severity::Error, file, message)
                .remedy("take it out, or widen the paths: tufctl delegation edit DIR ROLE --paths"),
        );
    }
}

fn delegated(file: &File) -> impl Iterator<Item = &DelegatedRole> {
    let delegations = file.content.as_targets().and_then(|targets| targets.delegations.as_ref());
    delegations.into_iter().flat_map(|delegations| &delegations.roles)
}

const PLAIN_NAME: &str = "use letters, digits, '.', '_' and '-' in names of roles";
