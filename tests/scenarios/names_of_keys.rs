//! A name means one key, whichever tokens and cards are there; and what helps where its token is not used.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use softhsm::{Nss, SoftHsm, TokenFolder, third_party_dir};
use tufagent_tests::{Agent, Home, PIN, binary, need};

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

/// What is told of the keys of a token, by name.
fn listed(home: &Home) -> Vec<(String, Value, bool)> {
    let keys = home.run("key list --json").done().json();
    let of = |key: &Value| {
        let available = key["available"].as_bool().unwrap();
        (key["name"].as_str().unwrap().to_owned(), key["keyid"].clone(), available)
    };
    keys["keys"].as_array().unwrap().iter().map(of).collect()
}

/// The key `deploy` that a card has shown is not the one that had the name before: it has none of its own, and that is told.
#[track_caller]
fn the_name_stays(home: &Home, agent: &Agent, token: &str, [theirs, ours]: [&Value; 2]) {
    let keys = listed(home);
    let of = |keyid: &Value| keys.iter().find(|(_, is, _)| is == keyid).cloned();
    let (name, _, available) = of(theirs).unwrap();
    assert!(name.starts_with("deploy-") && available, "{keys:?}");
    assert_eq!(of(ours), Some(("deploy".to_owned(), ours.clone(), false)), "{keys:?}");
    let warnings = home.token(token)["warnings"].to_string();
    assert!(warnings.contains("the key deploy is missing") && warnings.contains(&name), "{warnings}");
    assert!(agent.log().contains("the key deploy is missing"), "{}", agent.log());
    assert!(home.run("key export deploy --format tuf").done().stdout.contains(ours.as_str().unwrap()));
}

#[test]
fn a_card_that_says_that_it_is_ours_and_takes_our_pin_takes_over_no_name() {
    let Some((home, folder, [theirs, ours])) = ours_and_a_strangers() else { return };
    let file = home.secret("hsm-pin", PIN).display().to_string();
    home.config(&format!("{}pin = {{ file = {file:?} }}\n", home.lying_table("hsm", "build", &folder)));
    fs::remove_file(home.state().join("modules/hsm.sha256")).unwrap();
    let unlocked = || home.token("hsm")["state"] == "unlocked";
    let agent = home.start();
    agent.wait_until(unlocked);
    assert_eq!(listed(&home), [("deploy".to_owned(), ours.clone(), true)]);
    let serial = home.token("hsm")["serial"].as_str().unwrap().to_owned();
    agent.stop();
    // Its maker, label and PIN are the same as it is; its serial number is what it says.
    let (aside, stranger) = (home.dir().join("ours"), home.dir().join("stranger"));
    pull(&folder, &aside);
    fs::rename(&stranger, folder.tokens_dir()).unwrap();
    home.lying_desk("hsm").say(&format!("token serial {serial}"));
    for _ in 0..2 {
        let agent = home.start();
        agent.wait_until(unlocked);
        the_name_stays(&home, &agent, "hsm", [&theirs, &ours]);
        agent.stop();
    }
    // Our own comes back, and has its name; a person who knows gives the name of the other up.
    pull(&folder, &stranger);
    fs::rename(&aside, folder.tokens_dir()).unwrap();
    home.lying_desk("hsm").say("");
    let agent = home.start();
    agent.wait_until(unlocked);
    assert_eq!(listed(&home), [("deploy".to_owned(), ours.clone(), true)]);
    assert!(home.token("hsm")["warnings"].is_null(), "{}", home.token("hsm"));
    agent.stop();
    pull(&folder, &aside);
    fs::rename(&stranger, folder.tokens_dir()).unwrap();
    home.lying_desk("hsm").say(&format!("token serial {serial}"));
    let agent = home.start();
    agent.wait_until(unlocked);
    home.run("key list").done();
    home.run("key remove deploy --yes").done();
    let keys = listed(&home);
    assert_eq!(keys.iter().map(|(_, keyid, _)| keyid).collect::<Vec<_>>(), [&theirs], "{keys:?}");
    assert!(home.token("hsm")["warnings"].is_null(), "{}", home.token("hsm"));
    // What is made here has the name that it was given.
    home.run("key generate other --token hsm --type ecdsa-p256").done();
    assert!(listed(&home).iter().any(|(name, _, available)| name == "other" && *available));
}

#[test]
fn a_token_that_wants_no_pin_and_is_another_one_takes_over_no_name() {
    let home = Home::new();
    let Some(nss) = need(third_party_dir().and_then(|dir| Nss::find_or_fetch_in(&dir))) else { return };
    let place = home.dir().join("nss");
    let unlocked = || home.token("open")["state"] == "unlocked";
    let mut keyids = [Value::Null, Value::Null];
    for (at, made) in keyids.iter_mut().enumerate() {
        let Some(ready) = need(nss.token(&place, "open", "")) else { return };
        home.config(&format!("{}pin = \"none\"\n", ready.table("open")));
        let agent = home.start();
        agent.wait_until(unlocked);
        home.run("key generate deploy --token open --type ecdsa-p256").done();
        *made = keyid(&home, "deploy");
        agent.stop();
        if at == 0 {
            fs::rename(&place, home.dir().join("theirs")).unwrap();
            fs::remove_dir_all(home.state()).unwrap();
        }
    }
    let [theirs, ours] = keyids;
    fs::rename(&place, home.dir().join("ours")).unwrap();
    fs::rename(home.dir().join("theirs"), &place).unwrap();
    let agent = home.start();
    agent.wait_until(unlocked);
    the_name_stays(&home, &agent, "open", [&theirs, &ours]);
}

#[test]
fn no_name_begins_as_an_option_does() {
    let Some((home, folder)) = by_label("") else { return };
    home.config(&home.lying_table("hsm", "build", &folder));
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate rf --token hsm --type ecdsa-p256").done();
    let refused = home.run("key generate --json --token hsm --type ecdsa-p256 -- -rf").exits(2).json();
    let refused = &refused["error"];
    assert_eq!(refused["reason"], "NAME_INVALID", "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("hyphen"), "{refused}");
    // A card may call its key so all the same.
    agent.stop();
    fs::remove_dir_all(home.state().join("names")).unwrap();
    home.lying_desk("hsm").say("attribute CKA_LABEL text:-rf");
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(listed(&home)[0].0, "_rf");
    home.run("key show _rf").done();
    agent.stop();
    home.config(&home.lying_table("-hsm", "build", &folder));
    let mut program = Command::new(binary("tuf-agent"));
    home.environment(&mut program);
    if tufagent_tests::is_root() {
        program.arg("--allow-root");
    }
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("\"-hsm\"") && said.contains("options"), "{said}");
}
