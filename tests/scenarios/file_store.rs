//! The file store through the real binaries: whose files are read, what imports, what a lock means.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tufagent_tests::{Agent, Home, PASSPHRASE, binary, is_root};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The key files that OpenSSL, cryptography and securesystemslib wrote for the backend's tests:
/// name, type, passphrase, fingerprint; those alone that hold a key.
fn vectors() -> Vec<(String, String, Option<String>)> {
    let manifest = fs::read_to_string(vector("manifest.tsv")).unwrap();
    let lines = manifest.lines().filter(|line| !line.starts_with('#'));
    let fields = lines.map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    fields
        .filter(|f| f[3] != "-")
        .map(|f| (f[0].clone(), f[1].clone(), (f[2] != "-").then(|| f[2].clone())))
        .collect()
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/backend/tests/vectors/import").join(name)
}

/// A private copy of a vector in the working folder. A piece of its private part becomes a canary.
pub(crate) fn own(home: &Home, name: &str) -> PathBuf {
    let content = fs::read_to_string(vector(name)).unwrap();
    home.secret("canary", private_piece(&content));
    let file = home.write(name, content);
    chmod(&file, 0o600);
    file
}

/// Text that only somebody who copies the private part would print.
fn private_piece(file: &str) -> &str {
    if let Some(at) = file.find("\"private\": \"") {
        return &file[at + 50..at + 75];
    }
    let body = file.split_once("PRIVATE KEY-----").map_or(file, |(_, rest)| rest);
    let long = body.lines().find(|line| line.len() > 40 && !line.contains([' ', ':']));
    long.map_or(body, |line| &line[..line.len().min(64)])
}

#[test]
fn secret_files_that_are_not_this_users_alone_are_refused() {
    let (home, _agent) = Home::unlocked();
    home.run("lock").done();
    let file = home.secret("pin", PASSPHRASE);
    for mode in [0o640, 0o604, 0o660, 0o622, 0o777] {
        chmod(&file, mode);
        home.refused("token unlock file --pin-file pin", 5, "SECRET_FILE");
    }
    if is_root() {
        chmod(&file, 0o600);
        std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
        home.refused("token unlock file --pin-file pin", 5, "SECRET_FILE");
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }
    for mode in [0o600, 0o400] {
        chmod(&file, mode);
        home.run("token unlock file --pin-file pin").done();
        home.run("lock").done();
    }
}

#[test]
fn a_key_file_that_others_can_read_is_not_imported() {
    let (home, _agent) = Home::unlocked();
    let file = own(&home, "ed25519.pem");
    chmod(&file, 0o644);
    home.refused("key import k ed25519.pem --token file", 5, "SECRET_FILE");
    chmod(&file, 0o600);
    home.run("key import k ed25519.pem --token file").done();
}

#[test]
fn store_files_that_others_can_read_or_that_are_links_are_refused_until_repaired() {
    let (home, agent) = Home::unlocked();
    home.key("k", "ed25519");
    drop(agent);
    let (keys, key) = (home.state().join("keys"), home.state().join("keys/k.key"));
    for (path, bad, good) in [(&keys, 0o755, 0o700), (&key, 0o644, 0o600)] {
        chmod(path, bad);
        let _agent = home.start();
        let token = home.run("token list --json").done().json()["tokens"][0].clone();
        assert_eq!(token["state"], "failed", "{token}");
        let error = home.refused("token unlock file --pin-file passphrase", 5, "SECRET_FILE");
        assert!(error["remedy"].as_str().unwrap().contains("chmod"), "{error}");
        chmod(path, good);
        home.unlock_file_store();
    }
    let elsewhere = home.path("elsewhere");
    fs::rename(&key, &elsewhere).unwrap();
    symlink(&elsewhere, &key).unwrap();
    let _agent = home.start();
    home.refused("token unlock file --pin-file passphrase", 5, "SECRET_FILE");
}

#[test]
fn a_damaged_store_names_the_file_and_works_again_after_the_repair_without_a_restart() {
    let (home, agent) = Home::unlocked();
    home.key("k", "ed25519");
    drop(agent);
    let key = home.state().join("keys/k.key");
    let good = fs::read(&key).unwrap();
    let newer = String::from_utf8(good.clone()).unwrap().replacen("\"version\":1", "\"version\":7", 1);
    for bad in [b"".to_vec(), good[..100].to_vec(), newer.into_bytes()] {
        fs::write(&key, &bad).unwrap();
        let _agent = home.start();
        let error = home.refused("token unlock file --pin-file passphrase", 1, "STATE_CORRUPT");
        assert!(error["message"].as_str().unwrap().contains("k.key"), "{error}");
        assert_eq!(fs::read(&key).unwrap(), bad, "the damaged file was changed");
        fs::write(&key, &good).unwrap();
        home.unlock_file_store();
        home.run("key show k").done();
    }
}

#[test]
fn a_new_passphrase_holds_after_a_restart() {
    let (home, agent) = Home::unlocked();
    home.key("k", "ed25519");
    let before = fs::read(home.state().join("keys/k.key")).unwrap();
    home.secret("next", "canary of the next one 77aa");
    home.run("token change-pin file --pin-file passphrase --new-pin-file next").done();
    assert_eq!(
        fs::read(home.state().join("keys/k.key")).unwrap(),
        before,
        "only the store key is wrapped anew"
    );
    drop(agent);
    let _agent = home.start();
    home.refused("token unlock file --pin-file passphrase", 5, "PIN_INCORRECT");
    home.run("token unlock file --pin-file next").done();
}

#[test]
fn wrong_passphrases_are_slowed_down_while_status_answers() {
    let (home, _agent) = Home::unlocked();
    home.run("lock").done();
    home.secret("wrong", "wrong canary 31c9");
    for _ in 0..4 {
        home.refused("token unlock file --pin-file wrong", 5, "PIN_INCORRECT");
        home.run("status").done();
    }
    home.unlock_file_store();
}

#[test]
fn every_form_of_key_file_is_imported_with_nothing_told() {
    let home = Home::new();
    let command = std::process::Command::new(binary("tuf-agent"));
    let agent = Agent::start_in_environment(&home, command, &[("TUF_AGENT_LOG", "trace")]);
    home.unlock_file_store();
    let vectors = vectors();
    assert!(vectors.len() > 60);
    for (n, (file, kind, passphrase)) in vectors.into_iter().enumerate() {
        own(&home, &file);
        let request = format!("key import k{n} {file} --token file --json");
        let made = match passphrase {
            Some(passphrase) => {
                home.refused(&format!("key import k{n} {file} --token file"), 5, "PIN_REQUIRED");
                home.secret("key-pass", &format!("{passphrase}\n"));
                home.run(&format!("{request} --passphrase-file key-pass"))
            }
            None => home.run(&request),
        };
        let made = made.done().json();
        // People are told its own size.
        let kind = if file == "rsa-2560.pem" { "rsa-2560".to_owned() } else { kind };
        assert_eq!((&made["type"], &made["name"]), (&kind.into(), &format!("k{n}").into()), "{file}");
        // Other files hold the same key, and a key is there once.
        home.run(&format!("key remove k{n} --yes")).done();
    }
    drop(agent);
}

#[test]
fn an_imported_key_signs_a_repository_and_is_there_once() {
    let (home, _agent) = Home::unlocked();
    for (name, file) in [("root", "ecdsa-p256.pem"), ("online", "securesystemslib-0.28-ed25519.json")] {
        own(&home, file);
        home.run(&format!("key import {name} {file} --token file")).done();
        home.refused(&format!("key import other {file} --token file"), 3, "DUPLICATE_KEY");
    }
    own(&home, "rsa-2048.pem");
    home.refused("key import root rsa-2048.pem --token file", 3, "NAME_TAKEN");
    home.write("a.txt", "a");
    home.run(
        "repo init repo --name app --root root --root-threshold 1 --targets online --targets-threshold 1 \
         --snapshot online --timestamp online",
    )
    .done();
    home.run("target add repo a.txt").done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn files_that_hold_no_usable_key_are_refused_one_by_one() {
    let (home, _agent) = Home::unlocked();
    for file in fs::read_dir(vector("")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let file = file.into_string().unwrap();
        if file.starts_with("bad-") {
            let bytes = fs::read(vector(&file)).unwrap();
            chmod(&home.write(&file, bytes), 0o600);
            home.refused(&format!("key import k {file} --token file"), 1, "KEY_FILE");
        }
    }
    own(&home, "ecdsa-p256.scrypt-aes256.pem");
    home.secret("wrong", "wrong canary 8d1f");
    let request = "key import k ecdsa-p256.scrypt-aes256.pem --token file --passphrase-file wrong";
    home.refused(request, 5, "PIN_INCORRECT");
    assert_eq!(home.run("key list --json").done().json()["keys"], serde_json::json!([]));
}
