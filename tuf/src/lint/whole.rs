//! Rules over the repository as a whole: the chain of roots, what lists what, who has signed, how far a search goes.

use super::{Client, File, Finding, Many, Repository, Severity, paths::not_js};
use crate::{
    key::{Key, KeyId},
    metadata::MetaFile,
    role::{RoleKeys, RoleKind, RoleName},
    verify::check_signatures,
};
use std::collections::{BTreeMap, BTreeSet};

/// Gaps in the chain of roots, wrong versions, and how many there are.
pub(super) fn roots(repository: &Repository, found: &mut Vec<Finding>) {
    let Some(newest) = repository.root() else { return };
    let mut expected = 1_u64;
    for root in &repository.roots {
        let named =
            root.name.split('.').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(expected);
        if named != expected {
            let message = format!(
                "roots {expected} to {} are missing: a client that trusts an earlier one stops there",
                named.saturating_sub(1)
            );
            let severity = if expected == 1 { Severity::Warning } else { Severity::Error };
            found.push(
                Finding::new("root-chain", severity, root, message).remedy("publish every root for ever"),
            );
        }
        if root.content.version().get() != named {
            let message = format!("the file of root {named} holds version {}", root.content.version());
            found.push(
                Finding::new("root-chain", Severity::Error, root, message).remedy("restore the right file"),
            );
        }
        expected = named.saturating_add(1);
    }
    for (client, clients) in
        [(Client::PythonTuf, &[Client::PythonTuf, Client::TufJs][..]), (Client::Tough, &[Client::Tough])]
    {
        let (count, limit) = (repository.roots.len().saturating_sub(1), client.roots());
        if count <= limit.saturating_mul(4) / 5 {
            continue;
        }
        let severity = if count > limit { Severity::Error } else { Severity::Warning };
        let message = format!("{count} roots after the first, where a client takes {limit} in one run");
        found.push(
            Finding::new("root-count", severity, newest, message)
                .by(clients)
                .remedy("ship clients with a newer root; renew root less often"),
        );
    }
}

/// Roles that the snapshot does not list, entries that nothing delegates to, entries without length and digest.
pub(super) fn listing(repository: &Repository, found: &mut Vec<Finding>) {
    let Some((file, snapshot)) =
        repository.snapshot.as_ref().and_then(|f| Some((f, f.content.as_snapshot()?)))
    else {
        return;
    };
    let mut delegated = BTreeSet::from([RoleKind::Targets.role()]);
    for parent in repository.targets.values() {
        let Some(delegations) = parent.content.as_targets().and_then(|t| t.delegations.as_ref()) else {
            continue;
        };
        delegated.extend(delegations.roles.iter().map(|role| role.name.clone()));
        // So many bins that nobody can list them are told by the first that is missing.
        delegated.extend(delegations.succinct.iter().flat_map(|bins| bins.names().take(MOST_BINS)));
    }
    let (mut absent, mut nobody) = (Many::default(), Many::default());
    delegated
        .iter()
        .filter(|role| !snapshot.meta.contains_key(role))
        .for_each(|role| absent.note(role.as_str()));
    snapshot.meta.keys().filter(|role| !delegated.contains(role)).for_each(|role| nobody.note(role.as_str()));
    if let Some(told) = absent.told("role") {
        let message = format!(
            "{told} delegated to and not listed in the snapshot: tough refuses the repository, others fail when they ask"
        );
        found.push(
            Finding::new("snapshot-listing", Severity::Error, file, message)
                .remedy("publish the role, or remove the delegation"),
        );
    }
    if let Some(told) = nobody.told("role") {
        let message = format!("{told} listed in the snapshot, and nobody delegates to it");
        found.push(
            Finding::new("snapshot-listing", Severity::Note, file, message)
                .remedy("leave it: clients that saw it want it listed for ever"),
        );
    }
    bare_entries(file, snapshot.meta.values(), found);
    if let Some(timestamp) = &repository.timestamp
        && let Some(listed) = timestamp.content.as_timestamp()
    {
        bare_entries(timestamp, [&listed.snapshot].into_iter(), found);
    }
}

fn bare_entries<'e>(file: &File, entries: impl Iterator<Item = &'e MetaFile>, found: &mut Vec<Finding>) {
    let (mut bare, mut not_256, mut python, mut total) = (0_usize, 0_usize, 0_usize, 0_usize);
    for entry in entries {
        total = total.saturating_add(1);
        if entry.length.is_none() || entry.hashes.is_none() {
            bare = bare.saturating_add(1);
        }
        if entry.hashes.as_ref().is_some_and(|hashes| hashes.sha256.is_none()) {
            not_256 = not_256.saturating_add(1);
        }
        if entry.hashes.iter().flat_map(|hashes| &hashes.other).any(|(name, _)| not_js(name)) {
            python = python.saturating_add(1);
        }
    }
    if bare > 0 {
        let message = format!(
            "{bare} of {total} entries without length or digest: they are optional, and clients fall back to their limits"
        );
        found.push(Finding::new("meta-entries", Severity::Note, file, message));
    }
    if not_256 > 0 {
        let message =
            format!("{not_256} of {total} entries with digests and no sha256: tough knows no other");
        found.push(
            Finding::new("hashes", Severity::Error, file, message)
                .by(&[Client::Tough])
                .remedy("list a sha256"),
        );
    }
    if python > 0 {
        let message =
            format!("{python} of {total} entries with a digest of a kind that tuf-js does not know");
        found.push(
            Finding::new("hashes", Severity::Error, file, message)
                .by(&[Client::TufJs])
                .remedy("list a sha256, and nothing else"),
        );
    }
}

/// Thresholds that are not met, bad signatures, placeholders, signatures of strangers.
pub(super) fn signatures(repository: &Repository, parents: &[&File], found: &mut Vec<Finding>) {
    for file in repository.newest() {
        let authorities = authorities(file, repository, parents);
        let (mut empty, mut bad, mut strangers) = (Many::default(), BTreeSet::new(), Many::default());
        for (by, keys, role) in &authorities {
            let report = check_signatures(&file.content, keys, role);
            if !report.met() {
                let message =
                    format!("{} of {} signatures needed by keys of {by}", report.have(), report.need);
                found.push(
                    Finding::new("signatures", Severity::Error, file, message)
                        .remedy("tufctl verify tells more; sign the role anew"),
                );
            }
            bad.extend(report.invalid);
        }
        for entry in file.content.signatures() {
            let known = authorities.iter().any(|(_, _, role)| role.contains(&entry.keyid));
            if entry.sig.is_empty() {
                empty.note(entry.keyid.as_str());
            } else if !known && !authorities.is_empty() {
                strangers.note(entry.keyid.as_str());
            }
        }
        let mut tell = |told: Option<String>, severity, why: &str| {
            if let Some(told) = told {
                found.push(
                    Finding::new("signatures", severity, file, format!("{told} {why}"))
                        .remedy("it goes with the next version"),
                );
            }
        };
        tell(empty.told("empty placeholder for keyid"), Severity::Note, "among the signatures: not signed");
        tell(strangers.told("signature of keyid"), Severity::Note, "of no key of the role");
        let first = bad.iter().next().map(ToString::to_string);
        tell(
            Many { count: bad.len(), first }.told("signature of keyid"),
            Severity::Warning,
            "that does not verify",
        );
    }
}

type Authority<'r> = (String, &'r BTreeMap<KeyId, Key>, &'r RoleKeys);

/// Who must have signed a file: the newest root, or every role that delegates to it.
fn authorities<'r>(file: &File, repository: &'r Repository, parents: &[&'r File]) -> Vec<Authority<'r>> {
    if file.role.is_top_level() {
        let root = repository.root().and_then(|root| root.content.as_root());
        let one =
            |root: &'r crate::metadata::Root| ("root".to_owned(), &root.keys, root.role(file.role.kind()));
        return root.map(one).into_iter().collect();
    }
    let parents = parents.iter().filter_map(|parent| {
        let delegations = parent.content.as_targets()?.delegations.as_ref()?;
        Some((parent.role.to_string(), &delegations.keys, delegations.role_keys(&file.role)?))
    });
    parents.collect()
}

/// How many roles a client visits before it comes to the one that lists a target; and targets that it never comes to.
pub(super) fn searches(repository: &Repository, found: &mut Vec<Finding>) {
    for file in repository.targets.values() {
        let Some(targets) = file.content.as_targets() else { continue };
        let step = targets.len().div_ceil(MOST_SEARCHES).max(1);
        let (mut far, mut most, mut never) = (Many::default(), 0, Many::default());
        for (path, _) in targets.targets().step_by(step) {
            match visits(repository, &file.role, &path) {
                Some(visited)
                    if Client::ALL
                        .iter()
                        .filter_map(|client| client.visits())
                        .any(|limit| visited > limit.saturating_mul(4) / 5) =>
                {
                    far.note(&path);
                    most = most.max(visited);
                }
                Some(_) => {}
                None => never.note(&path),
            }
        }
        if let Some(told) = far.told("target") {
            let limit = Client::PythonTuf.visits().unwrap_or_default();
            let severity = if most > limit { Severity::Error } else { Severity::Warning };
            let message = format!("{told} found after up to {most} roles, where a client visits {limit}");
            found.push(
                Finding::new("delegations-visited", severity, file, message)
                    .by(&[Client::PythonTuf, Client::TufJs])
                    .remedy("give roles patterns that overlap less, or make them terminating"),
            );
        }
        if let Some(told) = never.told("target") {
            let message = format!(
                "{told} in {}, where no search comes: a role on the way does not match, or one before it terminates",
                file.role
            );
            found
                .push(Finding::new("unreachable", Severity::Error, file, message).remedy(
                    "look at the paths and the order of the delegations: tufctl delegation list DIR",
                ));
        }
    }
}

/// How many roles are visited until `goal`, itself included; `None` when the search for `path` does not come there.
fn visits(repository: &Repository, goal: &RoleName, path: &str) -> Option<usize> {
    let mut visited = BTreeSet::new();
    let mut stack = vec![RoleKind::Targets.role()];
    while let Some(role) = stack.pop() {
        if visited.len() > MOST_VISITS || !visited.insert(role.clone()) {
            continue;
        }
        if role == *goal {
            return Some(visited.len());
        }
        let Some(targets) = repository.targets.get(&role).and_then(|file| file.content.as_targets()) else {
            continue;
        };
        let matching = targets.delegations.as_ref().map(|to| to.roles_for(path)).unwrap_or_default();
        let last = matching.iter().position(|(_, terminating)| *terminating);
        if last.is_some() {
            stack.clear();
        }
        let count = last.map_or(matching.len(), |at| at.saturating_add(1));
        stack.extend(matching.into_iter().take(count).map(|(child, _)| child).rev());
    }
    None
}

const MOST_BINS: usize = 1 << 16;
const MOST_SEARCHES: usize = 500;
const MOST_VISITS: usize = 4096;
