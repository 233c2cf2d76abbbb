//! Every file of state with every kind of damage: refused by name and with a remedy, left as it is, nothing lost once the
//! file is put back (FAULTS H1).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tufagent_tests::{Agent, Home, Outcome, binary};

/// What can happen to a file.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flip = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 4;
        bytes
    };
    vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; whole.len()]),
        ("cut in half", whole[..whole.len() / 2].to_vec()),
        ("one byte short", whole[..whole.len() - 1].to_vec()),
        ("first byte flipped", flip(0)),
        ("middle byte flipped", flip(whole.len() / 2)),
    ]
}

/// All files below a folder with their bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if path.is_file() {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// Puts a folder back as it was.
fn restore(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in contents(folder).keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(path).unwrap();
    }
    files.iter().for_each(|(path, bytes)| put(path, bytes));
}

fn put(file: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A home whose agent was killed, so that the newest commits lie in the log; with something to sign.
fn home_after_a_kill() -> (Home, BTreeMap<PathBuf, Vec<u8>>) {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo targets").done();
    agent.kill();
    let state = contents(&home.state());
    (home, state)
}

/// Starts the agent on damaged state; what it wrote if it did not start.
fn refusal(home: &Home) -> Result<String, Agent> {
    let before = fs::read_to_string(home.log()).unwrap_or_default().len();
    let mut agent = Agent::spawn(home, Command::new(binary("tuf-agent")));
    loop {
        if agent.has_ended() {
            assert!(!agent.wait().success());
            return Ok(agent.log().split_off(before));
        }
        if home.run("status").code == 0 {
            return Err(agent);
        }
    }
}

/// Some of a database is free: damage there is none.
fn is_whole(home: &Home, entries: usize) {
    home.unlock_file_store();
    let list = home.run("audit list --limit 1000 --json").done().json();
    assert!(list["entries"].as_array().unwrap().len() >= entries);
    home.run("audit verify").done();
    home.run("sign repo --yes").done();
}

#[test]
fn a_damaged_ledger_is_refused_by_name_and_nothing_is_changed() {
    let (home, state) = home_after_a_kill();
    let agent = home.start();
    let list = home.run("audit list --limit 1000 --json").done().json();
    let entries = list["entries"].as_array().unwrap().len();
    agent.kill();
    let repo = contents(&home.path("repo"));
    for name in ["ledger.db", "ledger.db-wal", "journal.head"] {
        let file = home.state().join(name);
        let mut all = damages(&state[&file]);
        if name == "journal.head" {
            let text = String::from_utf8(state[&file].clone()).unwrap();
            all.push(("newer", text.replacen("-v1", "-v9", 1).into_bytes()));
        }
        for (damage, bytes) in all {
            restore(&home.state(), &state);
            put(&file, &bytes);
            let before = contents(&home.state());
            match refusal(&home) {
                Ok(log) => {
                    // A cut log shows as a database that lacks its end.
                    let named = if name == "ledger.db-wal" { "ledger.db" } else { name };
                    assert!(log.contains(named), "{name}, {damage}: {log}");
                    assert!(log.contains("backup") || log.contains("newer"), "{name}, {damage}: {log}");
                    assert!(!log.contains("panicked"), "{name}, {damage}: {log}");
                    let after = contents(&home.state());
                    let changed: Vec<_> =
                        before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes)).collect();
                    assert!(changed.is_empty(), "{name}, {damage}: {:?} was changed", changed[0].0);
                }
                Err(agent) => {
                    assert!(name != "journal.head", "{name}, {damage}: it starts");
                    is_whole(&home, entries - 1);
                    agent.kill();
                    restore(&home.path("repo"), &repo);
                }
            }
        }
    }
    restore(&home.state(), &state);
    let _agent = home.start();
    is_whole(&home, entries - 1);
}

#[test]
fn a_repository_whose_texts_are_damaged_is_shown_again_or_signs_nothing_until_it_is_adopted_again() {
    let (home, state) = home_after_a_kill();
    let repo = contents(&home.path("repo"));
    let texts: Vec<_> = state.keys().filter(|path| path.parent().unwrap().ends_with("metadata")).collect();
    assert!(!texts.is_empty());
    let mut noticed = 0;
    for number in 0..damages(&state[texts[0]]).len() {
        restore(&home.state(), &state);
        for text in &texts {
            put(text, &damages(&state[*text])[number].1);
        }
        let agent = home.start();
        home.unlock_file_store();
        let refused = home.run("sign repo --yes --json");
        // Damage outside of what was signed is none.
        if refused.code != 0 {
            let remedy = refused.json()["error"]["remedy"].as_str().unwrap().to_owned();
            assert!(remedy.contains("tufctl repo adopt"), "{refused}");
            home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
        }
        noticed += u32::from(refused.code != 0 || agent.log().contains("a kept metadata file is damaged"));
        is_whole(&home, 0);
        agent.kill();
        restore(&home.path("repo"), &repo);
    }
    assert!(noticed >= 4, "only {noticed} damages were found");
}

#[test]
fn a_damaged_file_of_the_store_is_refused_by_name_and_nothing_is_changed() {
    let (home, state) = home_after_a_kill();
    for name in ["store", "online.key"] {
        let file = home.state().join("keys").join(name);
        let text = String::from_utf8(state[&file].clone()).unwrap();
        let mut all = damages(&state[&file]);
        all.push(("newer", text.replacen("\"version\":1", "\"version\":9", 1).into_bytes()));
        for (damage, bytes) in all {
            restore(&home.state(), &state);
            put(&file, &bytes);
            let agent = home.start();
            home.secret("passphrase", tufagent_tests::PASSPHRASE);
            let refused = home.run("token unlock file --pin-file passphrase --json");
            let what = format!("{name}, {damage}");
            names(&refused, &what, name);
            assert_ne!(home.run("sign repo --yes").code, 0, "{what}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "{what}: it was changed");
            agent.kill();
        }
    }
    restore(&home.state(), &state);
    let _agent = home.start();
    is_whole(&home, 0);
}

/// A refusal that names the file and says what to do.
#[track_caller]
fn names(outcome: &Outcome, what: &str, file: &str) {
    assert!(outcome.code != 0 && outcome.code != 101 && outcome.code > 0, "{what}: {outcome}");
    let error = outcome.json()["error"].clone();
    let said = format!("{} {}", error["message"], error["details"]);
    assert!(said.contains(file), "{what}: {outcome}");
    assert!(error["remedy"].as_str().is_some_and(|it| !it.is_empty()), "{what}: {outcome}");
}

const CLIENT: &str = "verify repo --root repo/metadata/1.root.json --state memory";

/// Each damage of one file of the working folder: `command` refuses it and leaves it, and goes well with the file back.
#[track_caller]
fn refused_by(home: &Home, name: &str, command: &str, newer: Option<(&str, &str)>) {
    let file = home.path(name);
    let whole = fs::read(&file).unwrap();
    let mut all = damages(&whole);
    if let Some((from, to)) = newer {
        let text = String::from_utf8(whole.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        all.push(("newer", text.replacen(from, to, 1).into_bytes()));
    }
    let folder = if name.starts_with("memory") { "memory" } else { name };
    for (damage, bytes) in all {
        // What is still well-formed and says something else is for signatures and digests to find.
        let harmless = damage == "one byte short" || damage == "middle byte flipped" && folder != "memory";
        put(&file, &bytes);
        let outcome = home.run(&format!("{command} --json"));
        if harmless && outcome.code == 0 {
            continue;
        }
        names(&outcome, &format!("{name}, {damage}"), folder);
        assert_eq!(fs::read(&file).unwrap(), bytes, "{name}, {damage}: it was changed");
    }
    put(&file, &whole);
    home.run(command).done();
}

#[test]
fn damaged_files_beside_the_metadata_are_refused_by_name_and_left_as_they_are() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run(CLIENT).done();
    let key = home.run("key export online --format tuf").done().stdout;
    home.write("bob.json", key.replace("online", "bob"));
    home.write("two.txt", "two");
    home.run("target add repo two.txt").done();
    refused_by(&home, "repo/staged/repository.json", "diff repo", Some(("\"format\": 1", "\"format\": 9")));
    refused_by(&home, "repo/staged/targets.json", "diff repo", None);
    refused_by(&home, "repo/.key-names.json", "repo show repo", None);
    for name in ["root.json", "snapshot.json", "timestamp.json", "targets.known"] {
        refused_by(&home, &format!("memory/{name}"), CLIENT, None);
        let (file, whole) =
            (home.path("memory").join(name), fs::read(home.path("memory").join(name)).unwrap());
        fs::remove_file(&file).unwrap();
        names(&home.run(&format!("{CLIENT} --json")), "deleted", name);
        put(&file, &whole);
    }
    refused_by(&home, "memory/.tufctl-verify-state", CLIENT, Some(("format 2", "format 9")));
    home.run("sign repo --yes").done();
    home.run(CLIENT).done();
}

#[test]
fn a_damaged_mark_of_a_publication_is_refused_by_name() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo timestamp").done();
    let mark = home.path("repo/staged/.publishing");
    for (damage, bytes) in damages(b"{\"tough_names\":true}") {
        put(&mark, &bytes);
        names(&home.run("sign repo --yes --json"), damage, ".publishing");
        assert_eq!(fs::read(&mark).unwrap(), bytes, "{damage}");
    }
    fs::remove_file(&mark).unwrap();
    home.run("sign repo --yes").done();
    home.run(CLIENT).done();
}

#[test]
fn a_staged_file_that_cannot_be_read_is_taken_away_and_the_change_is_made_again() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["team"]);
    home.run("delegation add repo one --key team --threshold 1 --paths one/*").done();
    home.run("sign repo --yes").done();
    let refused = |file: &str| {
        home.write(file, "garbage\n");
        let mut remedies = ["sign repo --yes", "diff repo"].map(|command| {
            let refused = home.refused(command, 3, "METADATA_INVALID");
            refused["remedy"].as_str().unwrap().to_owned()
        });
        let remedy = std::mem::take(&mut remedies[0]);
        assert_eq!(remedies[1], remedy);
        assert!(remedy.contains(&format!("remove {file}")) && !remedy.contains("verify"), "{remedy}");
        fs::remove_file(home.path(file)).unwrap();
        remedy
    };
    home.run("bump repo one").done();
    assert!(refused("repo/staged/one.json").contains("make the change again"));
    home.run("bump repo one").done();
    home.run("sign repo --yes").done();
    // A root that was signed keeps its version: the agent has it still.
    home.run("bump repo root").done();
    home.run("sign repo --no-publish --yes").done();
    assert!(refused("repo/staged/root.json").contains("tufctl root restage repo"));
    home.run("root restage repo").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("root"), 2);
}
