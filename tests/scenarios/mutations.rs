//! Everything that can be wrong with a repository, one thing at a time: `verify` refuses each, by role, file and section of
//! the specification, and `lint` has an error for it. Beside each row stand the stock clients that accept it, as tried here.
//!
//! | what clients were seen to take | where it is tried |
//! | --- | --- |
//! | bad, missing and strangers' signatures, edits | `signatures` |
//! | expiry, the chain of roots | `roots` |
//! | wrong lengths, digests, versions; files that are missing | `lists` |
//! | another major version of the specification, `expires` with an offset, a version with a fraction, a member twice | `text` |
//! | a keyid that is not the hash of its key, one key under two keyids, a keyid twice in a role | `signatures` |
//! | private keys inside key objects | `signatures`; anywhere else: `forms` |
//! | a delegated role that is missing, or not in the snapshot | `lists`; bins: `forms` |
//! | rollback of timestamp, snapshot, targets and root, a role that vanished | here, with a memory |
//! | roles, entries, prefixes, patterns, digests that are none | `forms` |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{Home, Published, need};

use crate::forge::{Forge, key, keyid, signed_by};
use crate::judges::tough_update;

mod forms;
mod lists;
mod roots;
mod signatures;
mod text;

/// A repository with one target of `targets`, one of `team`, and whatever a mutation does to it.
pub(crate) struct Scene {
    pub(crate) forge: Forge,
    /// Roots after the first, by the version in their file's name.
    pub(crate) roots: Vec<(u64, Forge)>,
    /// Changes of files below the folder, once all is written: new bytes, or away.
    pub(crate) files: Vec<(String, Option<Vec<u8>>)>,
    /// Files that get other names.
    pub(crate) moves: Vec<(String, String)>,
}

/// One mutation and what must be said of it.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) role: &'static str,
    pub(crate) file: &'static str,
    pub(crate) spec: &'static str,
    /// Stock clients that accept the repository and both of its targets.
    pub(crate) accepted_by: &'static [Stock],
    pub(crate) change: fn(&mut Scene),
}

/// A stock client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stock {
    Python,
    Js,
    Tough,
}
pub(crate) use Stock::{Js, Python, Tough};

pub(crate) const A: &[u8] = b"a\n";
pub(crate) const B: &[u8] = b"b\n";

/// What metadata says of a target file with this content.
pub(crate) fn listed(content: &[u8]) -> Value {
    json!({"length": content.len(), "hashes": {"sha256": Sha256Digest::of(content).to_string()}})
}

/// The path of the file of target `a`.
pub(crate) fn file_of_a() -> String {
    format!("targets/{}.a", Sha256Digest::of(A))
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut forge = Forge::new();
        forge.targets["targets"] = json!({"a": listed(A)});
        forge.team["targets"] = json!({"t/b": listed(B)});
        Self { forge, roots: Vec::new(), files: Vec::new(), moves: Vec::new() }
    }

    /// The `signed` part of a role.
    pub(crate) fn signed(&mut self, role: &str) -> &mut Value {
        match role {
            "root" => &mut self.forge.root,
            "timestamp" => &mut self.forge.timestamp,
            "snapshot" => &mut self.forge.snapshot,
            "targets" => &mut self.forge.targets,
            _ => &mut self.forge.team,
        }
    }

    /// The file of a role, as it is now.
    pub(crate) fn text(&mut self, role: &str) -> Vec<u8> {
        let signers = self.forge.signers[role].clone();
        signed_by(self.signed(role), &signers).into_bytes()
    }

    /// Changes a role's text once it is signed.
    pub(crate) fn after(&mut self, role: &'static str, change: fn(String) -> String) {
        self.forge.after(role, change);
    }

    /// Adds the next root, as `change` makes it.
    pub(crate) fn root(&mut self, named: u64, version: u64, change: impl FnOnce(&mut Forge)) {
        let mut forge = Forge::new();
        forge.root["version"] = version.into();
        change(&mut forge);
        self.roots.push((named, forge));
    }

    /// Writes it all.
    pub(crate) fn write(&self, dir: &Path) {
        let _ = fs::remove_dir_all(dir);
        self.forge.write(dir);
        for (version, forge) in &self.roots {
            let aside = dir.with_extension("aside");
            let _ = fs::remove_dir_all(&aside);
            let root = forge.write(&aside);
            fs::copy(root, dir.join(format!("metadata/{version}.root.json"))).unwrap();
        }
        let (a, b) = (Sha256Digest::of(A), Sha256Digest::of(B));
        for (path, content) in [(format!("{a}.a"), A), (format!("t/{b}.b"), B), (format!("{b}.t/b"), B)] {
            let path = dir.join("targets").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        for (path, content) in &self.files {
            match content {
                Some(content) => fs::write(dir.join(path), content).unwrap(),
                None => fs::remove_file(dir.join(path)).unwrap(),
            }
        }
        for (from, to) in &self.moves {
            fs::rename(dir.join(from), dir.join(to)).unwrap();
        }
    }
}

/// Every case of a table: refused as it says, an error to `lint`, and accepted by the stock clients that it names and no
/// other.
#[track_caller]
pub(crate) fn try_all(cases: &[Case]) {
    let home = Home::new();
    let dir = |number: usize| home.path(format!("case-{number}"));
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut scene = Scene::new();
        (case.change)(&mut scene);
        scene.write(&dir(number));
        let found = verify(&home, number);
        let details = &found["error"]["details"];
        let text = |member: &str| details[member].as_str().unwrap_or_default().to_owned();
        let as_said = found["error"]["reason"] == "VERIFICATION"
            && text("role") == case.role
            && text("file").ends_with(case.file)
            && text("spec") == case.spec;
        if !as_said {
            wrong.push(format!("{}: {}", case.what, found["error"]));
        }
        let linted = home.run(&format!("lint case-{number} --json"));
        let findings = linted.json()["findings"].clone();
        let names = |finding: &Value| finding["message"].as_str().unwrap().contains(case.role);
        let told = |finding: &Value| {
            finding["severity"] == "error" && (finding["role"] == case.role || names(finding))
        };
        if linted.code != 6 || !findings.as_array().unwrap().iter().any(told) {
            wrong.push(format!("{}: lint says nothing of it: {findings}", case.what));
        }
        let tough = tough_accepts(&home, &dir(number));
        if tough != case.accepted_by.contains(&Tough) {
            wrong.push(format!("{}: tough accepts it: {tough}", case.what));
        }
    }
    let dirs: Vec<_> = (0..cases.len()).map(dir).collect();
    for (client, stock) in [(Client::python(), Python), (Client::js(), Js)] {
        let Some(client) = need(client) else { continue };
        let accepted = accepts_each(&home, &client, &dirs);
        for (case, accepted) in cases.iter().zip(accepted) {
            if accepted != case.accepted_by.contains(&stock) {
                wrong.push(format!("{}: {} accepts it: {accepted}", case.what, client.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn verify(home: &Home, number: usize) -> Value {
    home.run(&format!("verify case-{number} --root case-{number}/metadata/1.root.json --json")).json()
}

/// Whether a client that has seen nothing accepts each of these with both targets; one process for all of them.
fn accepts_each(home: &Home, client: &Client, dirs: &[PathBuf]) -> Vec<bool> {
    let repos: Vec<_> = dirs.iter().map(Published::at).collect();
    let cases = repos.iter().enumerate().map(|(number, repo)| {
        let memory = Memory::new(home.path(format!("memory-{}-{number}", client.name())));
        (repo, memory, vec!["a".to_owned(), "t/b".to_owned()])
    });
    client.update_all(&cases.collect::<Vec<_>>()).iter().map(Option::is_none).collect()
}

fn tough_accepts(home: &Home, dir: &Path) -> bool {
    let memory = home.path("tough-memory");
    let _ = fs::remove_dir_all(&memory);
    tough_update(&Published::at(dir), &memory, &["a", "t/b"]).is_ok()
}

#[test]
fn the_repository_that_the_mutations_begin_with_is_good() {
    let home = Home::new();
    Scene::new().write(&home.path("case-0"));
    let found = verify(&home, 0);
    assert_eq!((&found["valid"], &found["targets"]), (&json!(true), &json!(2)), "{found}");
    assert!(tough_accepts(&home, &home.path("case-0")));
    for client in [Client::python(), Client::js()].into_iter().filter_map(need) {
        assert_eq!(accepts_each(&home, &client, &[home.path("case-0")]), [true], "{}", client.name());
    }
}

#[test]
fn a_circle_of_delegations_ends_and_may_stand() {
    let home = Home::new();
    let mut scene = Scene::new();
    let (one, two) = (key(1), key(2));
    let by = |name: &str, keyid: String| json!({"name": name, "keyids": [keyid], "threshold": 1, "terminating": false, "paths": ["t/*"]});
    // 5.6.7.1: a role that was visited is not visited again.
    scene.forge.team["delegations"] =
        json!({"keys": {keyid(&two): two}, "roles": [by("team", keyid(&key(2)))]});
    scene.write(&home.path("case-0"));
    assert_eq!(verify(&home, 0)["valid"], true);
    // Another parent's key than the one that signed.
    scene.forge.team["delegations"] =
        json!({"keys": {keyid(&one): one}, "roles": [by("team", keyid(&key(1)))]});
    scene.write(&home.path("case-1"));
    let found = verify(&home, 1);
    assert_eq!(found["error"]["details"]["spec"], "5.6.3", "{found}");
}

#[test]
fn what_a_run_has_seen_is_never_gone_behind() {
    let home = Home::new();
    type Change = fn(&mut Scene);
    let cases: [(&str, Change, &str, &str, &str); 8] = [
        (
            "targets of another content",
            |s| {
                s.forge.targets["version"] = json!(3);
                s.forge.snapshot["meta"]["targets.json"]["version"] = json!(3);
                s.forge.targets["x"] = json!(1);
            },
            "targets",
            "3.targets.json",
            "5.6.4",
        ),
        (
            "a delegated role of another content",
            |s| s.forge.team["x"] = json!(1),
            "team",
            "1.team.json",
            "5.6.4",
        ),
        ("timestamp", |s| s.forge.timestamp["version"] = json!(2), "timestamp", "timestamp.json", "5.4.3.1"),
        (
            "snapshot",
            |s| {
                s.forge.snapshot["version"] = json!(2);
                s.forge.timestamp["meta"]["snapshot.json"]["version"] = json!(2);
            },
            "timestamp",
            "timestamp.json",
            "5.4.3.2",
        ),
        (
            "targets",
            |s| {
                s.forge.targets["version"] = json!(2);
                s.forge.snapshot["meta"]["targets.json"]["version"] = json!(2);
            },
            "snapshot",
            "4.snapshot.json",
            "5.5.5",
        ),
        (
            "a role that vanished",
            |s| drop(s.forge.snapshot["meta"].as_object_mut().unwrap().remove("gone.json")),
            "snapshot",
            "4.snapshot.json",
            "5.5.5",
        ),
        ("root", |s| s.roots.clear(), "root", "1.root.json", "5.3.5"),
        ("root of another content", |s| s.roots[0].1.root["x"] = json!(1), "root", "2.root.json", "5.2"),
    ];
    let scene = |version: u64| {
        let mut scene = Scene::new();
        scene.forge.republish(version);
        scene.forge.snapshot["meta"]["gone.json"] = json!({"version": 1});
        scene.root(2, 2, |_| {});
        scene
    };
    let run = || home.run("verify case-0 --root case-0/metadata/1.root.json --state memory --json").json();
    for (what, change, role, file, spec) in cases {
        let _ = fs::remove_dir_all(home.path("memory"));
        scene(3).write(&home.path("case-0"));
        assert_eq!(run()["valid"], true, "{what}");
        let mut bad = scene(4);
        change(&mut bad);
        bad.write(&home.path("case-0"));
        let details = &run()["error"]["details"];
        assert_eq!((&details["role"], &details["spec"]), (&json!(role), &json!(spec)), "{what}");
        assert!(details["file"].as_str().unwrap().ends_with(file), "{what}: {details}");
    }
}

#[test]
fn targets_roles_are_held_where_the_old_snapshot_counts_no_more_and_let_go_with_its_keys() {
    let home = Home::new();
    // Role by role what a second root changes, with keys 1 and 3.
    let scene = |version: u64, targets: u64, change: fn(&mut Value)| {
        let mut scene = Scene::new();
        scene.forge.republish(version);
        scene.forge.targets["version"] = targets.into();
        scene.forge.snapshot["meta"]["targets.json"]["version"] = targets.into();
        let both = json!({"keyids": [keyid(&key(1)), keyid(&key(3))], "threshold": 1});
        for role in ["snapshot", "timestamp"] {
            scene.forge.root["roles"][role] = both.clone();
        }
        scene.forge.root["keys"] = keys(&[key(1), key(3)]);
        let first = scene.forge.root.clone();
        scene.root(2, 2, |f| {
            f.root = first;
            f.root["version"] = json!(2);
            change(&mut f.root);
        });
        scene
    };
    let run = || home.run("verify case-0 --root case-0/metadata/1.root.json --state memory --json").json();
    let remember = || {
        let _ = fs::remove_dir_all(home.path("memory"));
        let mut first = scene(3, 3, |_| {});
        first.roots.clear();
        first.write(&home.path("case-0"));
        assert_eq!(run()["valid"], true);
    };
    // The snapshot needs two signatures now: the old one has one, and no client compares with it. No key was replaced.
    remember();
    let mut raised = scene(4, 2, |root| root["roles"]["snapshot"]["threshold"] = json!(2));
    raised.forge.signers.insert("snapshot", signers(&[1, 3]));
    raised.write(&home.path("case-0"));
    let error = run();
    let details = &error["error"]["details"];
    assert_eq!((&details["role"], &details["spec"]), (&json!("targets"), &json!("5.5.5")), "{error}");
    // A key of snapshot and timestamp is gone, and the one that is left has signed what was trusted, too: nobody goes behind it.
    let mut both = scene(3, 3, |_| {});
    both.roots.clear();
    for role in ["snapshot", "timestamp"] {
        both.forge.signers.insert(role, signers(&[1, 3]));
    }
    let _ = fs::remove_dir_all(home.path("memory"));
    both.write(&home.path("case-0"));
    assert_eq!(run()["valid"], true);
    let mut behind = scene(2, 2, |root| {
        for role in ["snapshot", "timestamp"] {
            root["roles"][role]["keyids"] = json!([keyid(&key(3))]);
        }
    });
    for role in ["snapshot", "timestamp"] {
        behind.forge.signers.insert(role, signers(&[3]));
    }
    behind.write(&home.path("case-0"));
    let error = run();
    let details = &error["error"]["details"];
    assert_eq!((&details["role"], &details["spec"]), (&json!("timestamp"), &json!("5.4.3.1")), "{error}");
    // The key that has signed what was trusted is gone: versions may begin anew (5.3.11).
    remember();
    let mut replaced = scene(1, 1, |root| {
        for role in ["snapshot", "timestamp"] {
            root["roles"][role]["keyids"] = json!([keyid(&key(3))]);
        }
    });
    for role in ["snapshot", "timestamp"] {
        replaced.forge.signers.insert(role, signers(&[3]));
    }
    replaced.write(&home.path("case-0"));
    assert_eq!(run()["valid"], true);
}

#[test]
fn a_state_of_an_older_version_is_taken_on() {
    let home = Home::new();
    let run = || home.run("verify case-0 --root case-0/metadata/1.root.json --state memory --json").json();
    Scene::new().write(&home.path("case-0"));
    assert_eq!(run()["valid"], true);
    let (mark, list) = (home.path("memory/.tufctl-verify-state"), home.path("memory/targets.known"));
    let new = fs::read_to_string(&mark).unwrap();
    let lines = new.lines().filter(|line| !line.starts_with("targets.known "));
    let old: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(&mark, old.replace("format 2", "format 1")).unwrap();
    fs::remove_file(&list).unwrap();
    assert_eq!(run()["valid"], true);
    assert_eq!(fs::read_to_string(&mark).unwrap(), new, "the list is there again");
    assert!(list.exists());
    // A newer format is not guessed at.
    fs::write(&mark, new.replace("format 2", "format 3")).unwrap();
    assert_eq!(run()["error"]["reason"], "STATE_CORRUPT");
    fs::write(&mark, &new).unwrap();
    fs::write(&list, "").unwrap();
    assert_eq!(run()["error"]["reason"], "STATE_CORRUPT");
}

/// So that tables can say `by` what a role is signed.
pub(crate) fn signers(of: &[u8]) -> Vec<(String, u8)> {
    of.iter().map(|number| (keyid(&key(*number)), *number)).collect()
}

/// A table of keys by their keyids.
pub(crate) fn keys(of: &[Value]) -> Value {
    let table: BTreeMap<_, _> = of.iter().map(|key| (keyid(key), key.clone())).collect();
    json!(table)
}
