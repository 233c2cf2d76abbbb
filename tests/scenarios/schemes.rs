//! RSA keys that sign by the scheme that the metadata names, whatever the agent itself would write.

use serde_json::{Value, json};
use tufagent_tests::{Home, need, oracle};

use crate::forge::keyid;
use crate::judges::{Judges, Reads};
use crate::key_types::home_with_softhsm;

/// The public key file of a key of ours, as somebody writes it who uses another scheme.
fn with_scheme(home: &Home, name: &str, scheme: &str) -> String {
    let exported = home.run(&format!("key export {name}")).done().json();
    let mut object: Value = exported["key"].clone();
    object["scheme"] = json!(scheme);
    let file = format!("{name}.json");
    home.write(&file, json!({"keyid": keyid(&object), "key": object}).to_string());
    format!("./{file}")
}

/// A repository whose targets and timestamp want other schemes than new keys get.
fn published_by_other_schemes(home: &Home, token: &str, targets: &str, timestamp: &str) {
    home.run(&format!("key generate one --token {token} --type rsa-3072")).done();
    home.run(&format!("key generate two --token {token} --type rsa-3072")).done();
    home.run("key generate root --token file --type ed25519").done();
    let (one, two) = (with_scheme(home, "one", targets), with_scheme(home, "two", timestamp));
    home.run(&format!(
        "repo init repo --name app --root root --targets {one} --snapshot {two} --timestamp {two}"
    ))
    .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    let repo = home.published("repo");
    let keys = &repo.metadata("1.root.json")["signed"]["keys"];
    let schemes: Vec<_> = keys.as_object().unwrap().values().map(|key| key["scheme"].clone()).collect();
    assert!(schemes.contains(&json!(targets)) && schemes.contains(&json!(timestamp)), "{keys}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(home, "fresh", Reads::PythonAlone).accept(&repo, &["app.txt"]);
}

#[test]
fn rsa_keys_of_the_file_store_sign_by_the_scheme_that_the_metadata_names() {
    let (home, _agent) = Home::unlocked();
    published_by_other_schemes(&home, "file", "rsassa-pss-sha512", "rsa-pkcs1v15-sha256");
}

#[test]
fn rsa_keys_of_softhsm_sign_by_the_scheme_that_the_metadata_names() {
    let Some((home, _agent, _folder)) = home_with_softhsm() else { return };
    home.unlock_file_store();
    published_by_other_schemes(&home, "hsm", "rsa-pkcs1v15-sha512", "rsassa-pss-sha384");
}

#[test]
fn a_repository_of_rare_key_types_is_adopted_changed_and_accepted_by_a_client_that_knew_it() {
    let (home, _agent) = Home::unlocked();
    let Some(made) = need(oracle::run_python("python_key_types.py", &["repo"], &home.path(""))) else {
        return;
    };
    assert_eq!(made.code, 0, "{made}");
    let judges = Judges::new(&home, "old", Reads::PythonAlone);
    judges.accept(&home.published("repo"), &[]);
    for role in ["targets", "snapshot", "timestamp"] {
        home.run(&format!("key import {role} {role}.pem --token file")).done();
    }
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&home.published("repo"), &["app.txt"]);
}
