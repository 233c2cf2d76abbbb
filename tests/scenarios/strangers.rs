//! What others made: their private keys, and repositories that python-tuf wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tufagent_tests::{Home, Published, need, oracle};

use crate::judges::{Judges, Reads};

const SECRET: &str = "canary of an encrypted key 18c2";

/// Runs one of the Python scripts of `oracles/` in the working folder.
fn python(home: &Home, script: &str, arguments: &[&str]) -> Option<String> {
    let outcome = need(oracle::run_python(script, arguments, &home.path("")))?;
    Some(outcome.done().stdout)
}

#[test]
fn private_keys_of_others_are_imported_under_the_keyid_that_python_gives_them() {
    let (home, _agent) = Home::unlocked();
    home.secret("secret", SECRET);
    let Some(made) = python(&home, "python_keys.py", &[".", SECRET]) else { return };
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    for (file, key) in made.as_object().unwrap() {
        let name = file.trim_end_matches(".pem");
        let passphrase = if key["encrypted"] == true { " --passphrase-file secret" } else { "" };
        let imported = home.run(&format!("key import {name} {file} --token file{passphrase} --json"));
        let imported = imported.done().json();
        assert_eq!((&imported["keyid"], &imported["type"]), (&key["keyid"], &key["type"]), "{file}");
        // The same key again, in its next format.
        home.run(&format!("key remove {name} --yes")).done();
    }
}

#[test]
fn key_files_that_are_open_to_others_encrypted_otherwise_or_broken_are_refused() {
    let (home, _agent) = Home::unlocked();
    home.secret("secret", SECRET);
    home.secret("wrong", "not that canary");
    if python(&home, "python_keys.py", &[".", SECRET]).is_none() {
        return;
    }
    home.refused(
        "key import a ed25519.pkcs8-encrypted.pem --token file --passphrase-file wrong",
        5,
        "PIN_INCORRECT",
    );
    let error = home.run("key import a ed25519.pkcs8-encrypted.pem --token file --json");
    assert_eq!(error.code, 5, "{error}");
    let plain = home.path("ed25519.pkcs8.pem");
    home.run("key import a ed25519.pkcs8.pem --token file").done();
    home.refused("key import b ed25519.pkcs8.pem --token file", 3, "DUPLICATE_KEY");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    home.refused("key import c ed25519.pkcs8.pem --token file", 5, "SECRET_FILE");
    home.secret("broken.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    home.refused("key import c broken.pem --token file", 1, "KEY_FILE");
}

/// A repository of python-tuf, adopted, with its key imported as `theirs`.
fn adopted(home: &Home, flags: &[&str]) -> Option<Published> {
    python(home, "python_tuf_repository.py", &[&["repo", "key.pem"], flags].concat())?;
    home.run("key import theirs key.pem --token file").done();
    home.run("repo adopt repo --name theirs --root repo/metadata/1.root.json --yes").done();
    Some(home.published("repo"))
}

#[test]
fn a_repository_of_python_tuf_is_adopted_and_goes_on() {
    let (home, _agent) = Home::unlocked();
    let Some(repo) = adopted(&home, &[]) else { return };
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("snapshot"), repo.version("timestamp")), (4, 4, 4));
    let targets = repo.metadata("4.targets.json");
    assert_eq!(targets["signed"]["x-note"], serde_json::json!({"kept": [1, "é", null]}), "it is not kept");
    assert_eq!(targets["signed"]["targets"]["app.txt"]["custom"]["by"], "python");
    remembering.accept(&repo, &["app.txt", "more.txt"]);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_repository_without_consistent_snapshots_stays_so() {
    let (home, _agent) = Home::unlocked();
    let Some(repo) = adopted(&home, &["--inconsistent"]) else { return };
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    assert!(repo.has("targets.json") && !repo.has("4.targets.json"), "{:?}", repo.names("metadata"));
    assert_eq!(repo.metadata("targets.json")["signed"]["version"], 4);
    assert_eq!(repo.names("targets"), ["app.txt", "more.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt", "more.txt"]);
}

#[test]
fn a_key_whose_keyid_is_not_its_hash_signs_under_the_keyid_that_the_metadata_uses() {
    let (home, _agent) = Home::unlocked();
    python(&home, "python_tuf_repository.py", &["repo", "key.pem", "--odd-keyid"]);
    if !home.path("repo").exists() {
        return;
    }
    home.refused("verify repo --root repo/metadata/1.root.json", 6, "VERIFICATION");
    home.run("verify repo --root repo/metadata/1.root.json --accept-keyids").done();
    home.run("key import theirs key.pem --token file").done();
    home.run("repo adopt repo --name theirs --root repo/metadata/1.root.json --yes").done();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    assert_eq!(repo.metadata("4.targets.json")["signatures"][0]["keyid"], "0".repeat(64));
    // tough takes no such keyid.
    Judges::new(&home, "fresh", Reads::NotTough).accept(&repo, &["app.txt"]);
}

#[test]
fn one_chain_is_not_adopted_under_two_names() {
    let (home, _agent) = Home::unlocked();
    let Some(repo) = adopted(&home, &[]) else { return };
    repo.copy_to(&home.path("again"));
    home.refused(
        "repo adopt again --name other --root repo/metadata/1.root.json --yes",
        3,
        "REPOSITORY_KNOWN",
    );
}
