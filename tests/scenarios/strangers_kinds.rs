//! Repositories of many kinds that python-tuf wrote: adopted, changed, signed, and accepted by stock clients that saw
//! them before, with nothing changed that nobody asked to change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{Home, Outcome, Published, need, oracle};

use crate::judges::tough_update;

/// What `strangers.py` says of a repository that it made.
#[derive(Deserialize)]
pub(crate) struct Kind {
    pub(crate) kind: String,
    /// Which clients can read it: `all`, `not-tough`, `python`, `tough`.
    pub(crate) reads: String,
    /// Whether they accept it before we touch it.
    pub(crate) refresh: bool,
    /// What clients can download.
    pub(crate) targets: Vec<String>,
    /// Names of private key files.
    pub(crate) keys: Vec<String>,
    /// What has expired beside what an edit renews.
    #[serde(default)]
    bump: Vec<String>,
    /// The prefix of its succinct bins.
    bins: Option<String>,
    #[serde(default = "one")]
    first_root: u64,
    /// Whether `verify` accepts it once it was changed; see also [`STRICTER`].
    #[serde(default = "yes")]
    verifies: bool,
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

/// The kinds of a group, made in the working folder.
pub(crate) fn made(home: &Home, group: &str) -> Option<Vec<Kind>> {
    let outcome = need(oracle::run_python("strangers.py", &[".", group], &home.path("")))?;
    Some(serde_json::from_value(outcome.done().json()).unwrap())
}

/// All files below `metadata/` and `targets/`.
fn published_files(repo: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![repo.join("metadata"), repo.join("targets")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(repo).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Stock clients that have seen all of these repositories are asked about them again.
pub(crate) struct Clients {
    home: Home,
    stock: Vec<Client>,
}

impl Clients {
    pub(crate) fn new(home: &Home) -> Self {
        let stock = [need(Client::python()), need(Client::js())].into_iter().flatten().collect();
        Self { home: home.clone(), stock }
    }

    #[track_caller]
    pub(crate) fn accept(&self, kinds: &[&Kind]) {
        let mut refused = Vec::new();
        for client in &self.stock {
            let reads = |kind: &&&Kind| match kind.reads.as_str() {
                "python" => client.name() == "python-tuf",
                reads => reads != "tough",
            };
            let read: Vec<&Kind> = kinds.iter().filter(reads).copied().collect();
            let repos: Vec<_> = read.iter().map(|kind| self.home.published(&kind.kind)).collect();
            let cases = read.iter().zip(&repos).map(|(kind, repo)| {
                let memory = format!("memory-{}-{}", kind.kind, client.name());
                (repo, Memory::new(self.home.dir().join(memory)), kind.targets.clone())
            });
            let said = client.update_all(&cases.collect::<Vec<_>>());
            let complaints = read.iter().zip(said).filter_map(|(kind, said)| Some((&kind.kind, said?)));
            refused.extend(complaints.map(|(kind, said)| format!("{}: {kind}: {said}", client.name())));
        }
        for kind in kinds.iter().filter(|kind| matches!(kind.reads.as_str(), "all" | "tough")) {
            let memory = self.home.dir().join(format!("memory-{}-tough", kind.kind));
            let targets: Vec<&str> = kind.targets.iter().map(String::as_str).collect();
            if let Err(said) = tough_update(&self.home.published(&kind.kind), &memory, &targets) {
                refused.push(format!("tough: {}: {said}", kind.kind));
            }
        }
        assert!(refused.is_empty(), "{}", refused.join("\n"));
    }
}

/// Adopts a repository, changes targets, delegations and root, and publishes that; gives what the adoption said.
pub(crate) fn change(home: &Home, kind: &mut Kind) -> Outcome {
    let name = kind.kind.clone();
    let run = |arguments: &str| home.run(arguments).done();
    for key in &kind.keys {
        run(&format!("key import {name}-{key} {name}.keys/{key}.pem --token file"));
    }
    let root = format!("{name}/metadata/{}.root.json", kind.first_root);
    let adopted = run(&format!("repo adopt {name} --name {name} --root {root} --yes"));
    for role in &kind.bump {
        run(&format!("bump {name} {role}"));
    }
    if !kind.targets.is_empty() {
        let gone = kind.targets.remove(0);
        home.run_list(&["target", "remove", &name, &gone]).done();
    }
    home.write("new.txt", format!("new in {name}"));
    run(&format!("target add {name} new.txt --path folder/"));
    let key = format!("{name}-fresh");
    run(&format!("key generate {key} --type ed25519 --token file"));
    match &kind.bins {
        Some(bins) => home.run_list(&["delegation", "edit", &name, bins, "--add-key", &key]).done(),
        None => {
            run(&format!("delegation add {name} fresh --key {key} --threshold 1 --paths fresh/*"));
            kind.targets.push("fresh/new.txt".to_owned());
            run(&format!("target add {name} new.txt --path fresh/"))
        }
    };
    let shown = run(&format!("repo show {name} --json")).json();
    let roles = shown["roles"].as_array().unwrap();
    let old = roles.iter().find(|role| role["role"] == "timestamp").unwrap()["keyids"][0].as_str().unwrap();
    run(&format!("root add-key {name} root --key {key}"));
    home.run_list(&["root", "replace-key", &name, "timestamp", "--old", old, "--new", &key]).done();
    run(&format!("sign {name} --yes"));
    kind.targets.push("folder/new.txt".to_owned());
    adopted
}

/// The newest file of a top-level role.
fn newest(files: &BTreeMap<PathBuf, Vec<u8>>, role: &str) -> Value {
    let version = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(&format!("{role}.json"))?;
        if name.is_empty() { Some(0) } else { name.strip_suffix('.')?.parse::<u64>().ok() }
    };
    let files = files.iter().filter(|(path, _)| path.parent() == Some(Path::new("metadata")));
    let found = files.filter_map(|(path, bytes)| Some((version(path)?, bytes))).max().expect("a file");
    serde_json::from_slice(found.1).unwrap()
}

/// Every member of `before` that nobody asked to change stands in `after` as it stood.
#[track_caller]
fn keeps(before: &Value, after: &Value, at: &str) {
    let asked = ["version", "expires", "signatures", "keys", "keyids", "length", "hashes"];
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before.iter().filter(|(name, _)| !asked.contains(&name.as_str())) {
                match after.get(name) {
                    Some(now) => keeps(value, now, &format!("{at}.{name}")),
                    None => assert!(at.ends_with("signed.targets"), "{at}.{name} is gone"),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if after.len() >= before.len() => {
            before.iter().zip(after).for_each(|(before, after)| keeps(before, after, at));
        }
        _ => assert_eq!(before, after, "{at} has changed"),
    }
}

/// What python-tuf takes and `verify` does not, by the section: adopted all the same.
const STRICTER: [(&str, &str); 2] =
    [("uneven-hash-prefix-bins", "4.5"), ("consistent-snapshot-absent", "4.3")];

pub(crate) fn adopted_changed_and_accepted(group: &str) {
    let (home, _agent) = Home::unlocked();
    let Some(mut kinds) = made(&home, group) else { return };
    let clients = Clients::new(&home);
    clients.accept(&kinds.iter().filter(|kind| kind.refresh).collect::<Vec<_>>());
    for kind in &mut kinds {
        let repo = home.published(&kind.kind);
        let before = published_files(repo.dir());
        change(&home, kind);
        let after = published_files(repo.dir());
        // A root that changes keys swaps all of metadata/; what has a version in its name is the same file there.
        let versioned = |path: &&PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            path.starts_with("targets") || name.starts_with(|c: char| c.is_ascii_digit())
        };
        for path in before.keys().filter(versioned) {
            assert_eq!(before.get(path), after.get(path), "{}: {} has changed", kind.kind, path.display());
        }
        for role in ["root", "targets", "snapshot", "timestamp"] {
            keeps(&newest(&before, role), &newest(&after, role), &format!("{}: {role}", kind.kind));
        }
        let root = format!("{0}/metadata/{1}.root.json", kind.kind, kind.first_root);
        // A role that is delegated to and not there yet is what stock clients do without, and `verify` does not.
        if !kind.kind.ends_with("-yet") {
            let verify = format!("verify {} --root {root} --accept-keyids", kind.kind);
            match STRICTER.iter().find(|(name, _)| *name == kind.kind) {
                Some((_, spec)) => {
                    assert_eq!(home.refused(&verify, 6, "VERIFICATION")["details"]["spec"], *spec)
                }
                None if !kind.verifies => drop(home.refused(&verify, 6, "VERIFICATION")),
                None => drop(home.run(&verify).done()),
            }
        }
    }
    clients.accept(&kinds.iter().collect::<Vec<_>>());
}

#[test]
fn keys_of_many_types_in_many_roles() {
    adopted_changed_and_accepted("keys");
}

#[test]
fn schemes_that_python_tuf_alone_reads() {
    adopted_changed_and_accepted("schemes");
}

/// The agent keeps no P-521 and ML-DSA keys, and verifies them: such a repository is edited here, and signed where its keys are.
#[test]
fn a_repository_whose_keys_cannot_be_kept_here_is_adopted_and_edited_for_its_owner_to_sign() {
    let (home, _agent) = Home::unlocked();
    let Some(mut kinds) = made(&home, "p521") else { return };
    kinds.extend(made(&home, "rare-elsewhere").into_iter().flatten());
    for Kind { kind: name, .. } in &kinds {
        home.run(&format!("repo adopt {name} --name {name} --root {name}/metadata/1.root.json --yes")).done();
        home.run(&format!("bump {name} targets")).done();
        let signed = home.run(&format!("sign {name} --yes --json")).exits(4).json();
        assert_eq!(signed["missing"][0]["role"], "targets", "{signed}");
    }
}

#[test]
fn odd_signatures_and_snapshots_of_every_form() {
    adopted_changed_and_accepted("signatures");
}

#[test]
fn unknown_members_odd_names_and_every_way_to_write_json() {
    adopted_changed_and_accepted("members");
}

#[test]
fn delegations_of_every_form() {
    adopted_changed_and_accepted("delegations");
}

#[test]
fn delegations_of_rarer_forms() {
    adopted_changed_and_accepted("more-delegations");
}

#[test]
fn files_and_lists_of_rarer_forms() {
    adopted_changed_and_accepted("more-files");
}

#[test]
fn chains_of_roots_of_rarer_forms() {
    adopted_changed_and_accepted("more-roots");
}

#[test]
fn chains_of_roots_and_the_ways_of_other_tools() {
    adopted_changed_and_accepted("roots");
}

#[test]
fn a_role_that_is_not_there_yet_gets_its_first_metadata() {
    let (home, _agent) = Home::unlocked();
    let Some(kinds) = made(&home, "a-role-that-is-not-there-yet") else { return };
    let name = &kinds[0].kind;
    for key in &kinds[0].keys {
        home.run(&format!("key import {key} {name}.keys/{key}.pem --token file")).done();
    }
    home.run(&format!("repo adopt {name} --name app --root {name}/metadata/1.root.json --yes")).done();
    home.write("new.txt", "new");
    home.run(&format!("target add {name} new.txt --path later/")).done();
    home.run(&format!("sign {name} --yes")).done();
    home.run(&format!("verify {name} --root {name}/metadata/1.root.json")).done();
    let repo = Published::at(home.path(name));
    assert_eq!(repo.version("later"), 1);
}

#[test]
fn a_role_below_a_removed_delegation_is_not_staged_as_nobody_could_sign_it() {
    let (home, _agent) = Home::unlocked();
    let Some(kinds) = made(&home, "nested-three-deep") else { return };
    let name = &kinds[0].kind;
    for key in &kinds[0].keys {
        home.run(&format!("key import {key} {name}.keys/{key}.pem --token file")).done();
    }
    home.run(&format!("repo adopt {name} --name app --root {name}/metadata/1.root.json --yes")).done();
    home.run(&format!("delegation remove {name} two")).done();
    home.refused(&format!("bump {name} three"), 3, "ROLE_UNKNOWN");
    home.run(&format!("sign {name} --yes")).done();
    home.run(&format!("verify {name} --root {name}/metadata/1.root.json")).done();
    // It comes back with its version, keys and targets.
    home.run(&format!(
        "delegation add {name} two --parent one --key two,zwei --threshold 2 --paths one/two/*"
    ))
    .done();
    home.run(&format!("sign {name} --yes")).done();
    assert_eq!(Published::at(home.path(name)).version("two"), 3);
}
