//! A name means one key, whichever tokens and cards are there; and what helps where its token is not used.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde_json::{Value, json};
use softhsm::{SoftHsm, TokenFolder};
use tufagent_tests::{Home, PIN, binary, need};

use crate::terminal::talk_in_steps;

/// An entry that selects by its label, and the token that it means.
fn by_label(more: &str) -> Option<(Home, TokenFolder)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.secret("pin", PIN);
    home.config(&(Home::softhsm_table("hsm", "build", &folder) + more));
    Some((home, folder))
}

/// Pulls the token out, to where it can be put back from.
fn pull(folder: &TokenFolder, to: &Path) {
    fs::rename(folder.tokens_dir(), to).unwrap();
}

fn keyid(home: &Home, name: &str) -> Value {
    home.run(&format!("key show {name} --json")).done().json()["keyid"].clone()
}

/// A key `deploy` on a card that some other agent has made, which is laid aside, and one on ours. Both are labelled `build`.
fn ours_and_a_strangers() -> Option<(Home, TokenFolder, [Value; 2])> {
    let (home, folder) = by_label("")?;
    let mut keyids = [Value::Null, Value::Null];
    for (at, card) in ["stranger", "ours"].into_iter().enumerate() {
        let agent = home.start();
        home.run("token unlock hsm --pin-file pin").done();
        home.run("key generate deploy --token hsm --type ecdsa-p256").done();
        keyids[at] = keyid(&home, "deploy");
        agent.stop();
        if card == "stranger" {
            pull(&folder, &home.dir().join(card));
            fs::remove_dir_all(home.state()).unwrap();
            fs::DirBuilder::new().mode(0o700).create(folder.tokens_dir()).unwrap();
            folder.init_token("build", "so-pin-4711", PIN).unwrap();
        }
    }
    Some((home, folder, keyids))
}

#[test]
fn a_strangers_card_of_the_same_label_gives_its_key_no_name_before_a_person_has_unlocked_it() {
    let Some((home, folder, [theirs, ours])) = ours_and_a_strangers() else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    let serial = home.token("hsm")["serial"].clone();
    assert_eq!(keyid(&home, "deploy"), ours);
    pull(&folder, &home.dir().join("ours"));
    agent.wait_until(|| home.token("hsm")["state"] == "absent");
    fs::rename(home.dir().join("stranger"), folder.tokens_dir()).unwrap();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    let there = home.token("hsm");
    assert_ne!(there["serial"], serial, "{there}");
    let problem = there["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("tufctl token unlock hsm --serial"), "{there}");
    let keys = home.run("key list --json").done().json();
    assert!(keys.to_string().contains(ours.as_str().unwrap()), "the name stays with our key: {keys}");
    assert!(!keys.to_string().contains(theirs.as_str().unwrap()), "{keys}");
    assert_eq!(home.run("key show deploy --json").done().json()["available"], false);
    assert!(home.run("key export deploy --format tuf").done().stdout.contains(ours.as_str().unwrap()));
    agent.stop();
    // Nothing is known of our key's public half, and the name means nothing.
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    for words in ["key show deploy", "key export deploy --format tuf", "key remove deploy --yes"] {
        let refused = home.refused(words, 3, "KEY_NOT_FOUND");
        assert!(refused["remedy"].as_str().unwrap().contains("token unlock hsm --serial"), "{refused}");
    }
    home.refused(
        "repo init repo --name app --root deploy --targets deploy --snapshot deploy --timestamp deploy",
        3,
        "KEY_NOT_FOUND",
    );
    home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_SWAPPED");
    let serial = there["serial"].as_str().unwrap();
    home.run(&format!("token unlock hsm --pin-file pin --serial {serial}")).done();
    assert_eq!(keyid(&home, "deploy"), theirs, "a person means this card now");
}

/// Two tokens with a key `k` each, of which the first has the name.
fn two_with_one_name() -> Option<(Home, TokenFolder)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let file = home.secret("pin", PIN).display().to_string();
    let folder = |name: &str| softhsm.folder(&home.dir().join(name)).unwrap();
    let folders = [folder("one"), folder("two")];
    let table = |at: usize| {
        let name = ["one", "two"][at];
        format!("{}pin = {{ file = {file:?} }}\n", Home::softhsm_table(name, name, &folders[at]))
    };
    for (at, name) in ["one", "two"].into_iter().enumerate() {
        folders[at].init_token(name, "so-pin-4711", PIN).unwrap();
        home.config(&table(at));
        let agent = home.start();
        agent.wait_until(|| home.token(name)["state"] == "unlocked");
        home.run(&format!("key generate k --token {name} --type ecdsa-p256")).done();
        agent.stop();
        fs::remove_dir_all(home.state()).unwrap();
    }
    home.config(&(table(0) + &table(1)));
    let [first, _] = folders;
    Some((home, first))
}

#[test]
fn a_name_stays_with_its_key_while_its_token_is_away_and_no_other_key_is_removed_by_it() {
    let Some((home, first)) = two_with_one_name() else { return };
    let agent = home.start();
    let unlocked = |name: &str| home.token(name)["state"] == "unlocked";
    agent.wait_until(|| unlocked("one") && unlocked("two"));
    let names = || {
        let keys = home.run("key list --json").done().json();
        let of = |key: &Value| {
            (key["name"].as_str().unwrap().to_owned(), key["token"].as_str().unwrap().to_owned())
        };
        keys["keys"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let both = names();
    assert_eq!(both[0], ("k".to_owned(), "one".to_owned()), "{both:?}");
    assert!(both[1].0.starts_with("k-") && both[1].1 == "two", "{both:?}");
    agent.stop();
    let away = home.dir().join("away");
    pull(&first, &away);
    let agent = home.start();
    agent.wait_until(|| unlocked("two"));
    assert_eq!(names(), both[1..], "the other key has the name that it had");
    let refused = home.refused("key remove k --yes", 3, "KEY_NOT_FOUND");
    assert!(refused["remedy"].as_str().unwrap().contains("one"), "{refused}");
    home.refused("key generate k --token two --type ecdsa-p256", 3, "NAME_TAKEN");
    assert_eq!(names(), both[1..]);
    fs::rename(&away, first.tokens_dir()).unwrap();
    agent.wait_until(|| unlocked("one"));
    agent.wait_until(|| names() == both);
    // It is free once its key is gone, and the other key keeps its own.
    home.run("key remove k --yes").done();
    assert_eq!(names(), both[1..]);
    home.run("key generate k --token one --type ecdsa-p256").done();
    assert_eq!(names(), both);
}

#[test]
fn a_key_that_has_got_the_name_since_it_was_shown_is_not_removed() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k"]);
    let before = keyid(&home, "k");
    let tufctl = binary("tufctl").display().to_string();
    let other = format!("{tufctl} key remove k --yes && {tufctl} key generate k --token file --type ed25519");
    let steps = json!([["no way back", "y\n", other]]).to_string();
    let Some((code, screen)) = talk_in_steps(&home, "key remove k", &steps) else { return };
    assert_eq!(code, 3, "{screen}");
    assert!(screen.contains("another one now"), "{screen}");
    assert_ne!(keyid(&home, "k"), before, "the new one is there");
}

#[test]
fn after_an_upgrade_of_the_module_and_a_restart_it_is_said_that_the_module_is_to_be_trusted() {
    let Some((home, folder)) = by_label("") else { return };
    let module = home.dir().join("module.so");
    fs::copy(folder.module(), &module).unwrap();
    let table = Home::softhsm_table("hsm", "build", &folder);
    let (from, to) = (folder.module().display().to_string(), module.display().to_string());
    assert!(table.contains(&from), "{table}");
    let file = home.secret("hsm-pin", PIN).display().to_string();
    home.config(&format!("{}pin = {{ file = {file:?} }}\n", table.replace(&from, &to)));
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
    home.run("sign repo --yes").done();
    agent.stop();
    let mut bytes = fs::read(&module).unwrap();
    bytes.push(0);
    fs::remove_file(&module).unwrap();
    fs::write(&module, bytes).unwrap();
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "failed");
    home.run("bump repo timestamp").done();
    let refused = home.refused("sign repo --yes", 5, "TOKEN_UNTRUSTED");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token trust hsm"), "{refused}");
    home.run("token trust hsm --yes").done();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("sign repo --yes").done();
}
