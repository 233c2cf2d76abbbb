//! Every type of key, in the file store and on a SoftHSM token.

use serde_json::Value;
use softhsm::{SoftHsm, TokenFolder};
use tufagent_tests::{Agent, Home, PIN, need};

use crate::judges::{Judges, Reads};

/// An agent with an unlocked SoftHSM token `hsm` beside its file store.
pub(crate) fn home_with_softhsm() -> Option<(Home, Agent, TokenFolder)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&Home::softhsm_table("hsm", "build", &folder));
    let agent = home.start();
    home.secret("pin", PIN);
    home.run("token unlock hsm --pin-file pin").done();
    Some((home, agent, folder))
}

fn generate(home: &Home, name: &str, token: &str, kind: &str) -> Value {
    let made = home.run(&format!("key generate {name} --token {token} --type {kind} --json")).done().json();
    assert_eq!((&made["name"], &made["token"], &made["type"]), (&name.into(), &token.into(), &kind.into()));
    made
}

/// Root and all other roles by two keys of one kind; published, verified and judged.
#[track_caller]
fn a_repository_of(home: &Home, token: &str, kind: &str, reads: Reads) {
    generate(home, "root", token, kind);
    generate(home, "online", token, kind);
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(home, "fresh", reads).accept(&home.published("repo"), &["app.txt"]);
}

fn in_the_file_store(kind: &str, reads: Reads) {
    let (home, _agent) = Home::unlocked();
    a_repository_of(&home, "file", kind, reads);
}

fn on_softhsm(kind: &str, reads: Reads) {
    let Some((home, _agent, _folder)) = home_with_softhsm() else { return };
    a_repository_of(&home, "hsm", kind, reads);
}

#[test]
fn ed25519_keys_of_the_file_store_sign_what_all_clients_accept() {
    in_the_file_store("ed25519", Reads::All);
}

#[test]
fn p256_keys_of_the_file_store_sign_what_all_clients_accept() {
    in_the_file_store("ecdsa-p256", Reads::All);
}

#[test]
fn p384_keys_of_the_file_store_sign_what_python_accepts() {
    in_the_file_store("ecdsa-p384", Reads::PythonAlone);
}

#[test]
fn rsa_keys_of_the_file_store_sign_what_all_clients_accept() {
    in_the_file_store("rsa-3072", Reads::All);
}

#[test]
fn ed25519_keys_of_softhsm_sign_what_all_clients_accept() {
    on_softhsm("ed25519", Reads::All);
}

#[test]
fn p256_keys_of_softhsm_sign_what_all_clients_accept() {
    on_softhsm("ecdsa-p256", Reads::All);
}

#[test]
fn p384_keys_of_softhsm_sign_what_python_accepts() {
    on_softhsm("ecdsa-p384", Reads::PythonAlone);
}

#[test]
fn rsa_keys_of_softhsm_sign_what_all_clients_accept() {
    on_softhsm("rsa-3072", Reads::All);
}

#[test]
fn a_root_whose_keys_lie_in_both_stores_reaches_its_threshold() {
    let Some((home, _agent, _folder)) = home_with_softhsm() else { return };
    home.unlock_file_store();
    generate(&home, "root-a", "file", "ed25519");
    generate(&home, "root-b", "hsm", "ecdsa-p256");
    generate(&home, "root-c", "hsm", "ed25519");
    generate(&home, "online", "hsm", "ecdsa-p256");
    home.run(
        "repo init repo --name app --root root-a,root-b,root-c --root-threshold 2 --targets online \
         --snapshot online --timestamp online",
    )
    .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    let signed = home.run("sign repo --yes --json").done().json();
    let tokens: Vec<_> = signed["signed"].as_array().unwrap().iter().map(|it| it["token"].clone()).collect();
    assert!(tokens.contains(&"file".into()) && tokens.contains(&"hsm".into()), "{signed}");
    Judges::new(&home, "fresh", Reads::All).accept(&home.published("repo"), &["app.txt"]);
}

#[test]
fn an_exported_key_is_exactly_the_key_object_with_its_keyid() {
    let (home, _agent) = Home::unlocked();
    let made = home.key("a", "ecdsa-p256");
    let exported = home.run("key export a").done().json();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&exported), ["key", "keyid"]);
    assert_eq!(names(&exported["key"]), ["keytype", "keyval", "scheme"]);
    assert_eq!(names(&exported["key"]["keyval"]), ["public"]);
    assert_eq!(exported["keyid"], made["keyid"]);
    assert_eq!(exported["key"]["keyval"]["public"], made["public"]);
    let pem = home.run("key export a --format pem").done().stdout;
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    let listed = home.run("key list --json").done().json();
    assert_eq!(listed["keys"][0], home.run("key show a --json").done().json());
}

#[test]
fn keys_and_their_use_survive_a_restart_of_the_agent() {
    let (home, agent) = Home::unlocked();
    let repo = home.published_repository();
    assert!(agent.stop().success());
    let _agent = home.start();
    let locked = home.run("token list --json").done().json();
    assert_eq!(locked["tokens"][0]["state"], "locked", "{locked}");
    home.unlock_file_store();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("timestamp"), 2);
}
