//! Keys that serve another repository, as those of snapshot and timestamp: they are made last, and a root that is
//! signed is not taken back.

use serde_json::Value;
use tufagent_tests::Home;

use crate::colleagues::hand_over;
use crate::file_store::own;

const KEY: &str = "ecdsa-p256.pem";

/// A published repository `a` whose key is `on`; the others have signed nothing.
fn home_with_a() -> (Home, tufagent_tests::Agent) {
    let (home, agent) = Home::unlocked();
    home.keys(&["r1", "r2", "on", "on2", "on3"]);
    home.run("repo init a --name a --root r1 --targets on --snapshot on --timestamp on").done();
    home.run("sign a --yes").done();
    (home, agent)
}

/// How many signatures a staged file carries.
fn signatures(home: &Home, file: &str) -> usize {
    let text = std::fs::read(home.path(file)).unwrap();
    let staged: Value = serde_json::from_slice(&text).unwrap();
    staged["signatures"].as_array().unwrap().iter().filter(|entry| entry["sig"] != "").count()
}

/// `sign` is refused for the key `on`, and signs nothing.
fn refused_unsigned(home: &Home, repo: &str) {
    let refused = home.refused(&format!("sign {repo} --yes"), 3, "SHARED_KEY");
    assert_eq!(refused["details"]["key"], "on", "{refused}");
    assert_eq!(refused["details"].get("signed"), None, "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("--shared-key"), "{refused}");
    assert_eq!(signatures(home, &format!("{repo}/staged/root.json")), 0);
}

#[test]
fn no_root_is_signed_that_gives_snapshot_or_timestamp_a_key_of_another_chain() {
    let (home, _agent) = home_with_a();
    for (name, snapshot, timestamp) in [("b", "on", "on"), ("c", "on", "on2"), ("d", "on2", "on")] {
        let online = format!("--snapshot {snapshot} --timestamp {timestamp}");
        home.run(&format!("repo init {name} --name {name} --root r2 --targets on2 {online}")).done();
        refused_unsigned(&home, name);
        assert_eq!(signatures(&home, &format!("{name}/staged/targets.json")), 0);
    }
    // Its root was not signed: the roles get another key, and it is.
    home.run("root replace-key b snapshot --old on --new on2").done();
    refused_unsigned(&home, "b");
    home.run("root replace-key b timestamp --old on --new on2").done();
    home.run("sign b --yes").done();
    assert_eq!(home.published("b").version("root"), 1);
}

#[test]
fn no_next_root_is_signed_that_gives_the_timestamp_a_key_of_another_chain() {
    let (home, _agent) = home_with_a();
    home.run("repo init b --name b --root r2 --targets on2 --snapshot on2 --timestamp on3").done();
    home.run("sign b --yes").done();
    home.run("root replace-key b timestamp --old on3 --new on").done();
    refused_unsigned(&home, "b");
    home.run("root replace-key b timestamp --old on --new on3").done();
    home.run("root replace-key b snapshot --old on2 --new on").done();
    refused_unsigned(&home, "b");
    // Where a person shares it, it signs, and then serves both.
    home.run("sign b --yes --shared-key").done();
    home.run("bump b targets").done();
    home.run("sign b --yes").done();
    assert_eq!(home.published("b").version("root"), 2);
}

#[test]
fn an_adopted_repository_gets_no_root_whose_timestamp_key_serves_another_chain() {
    let (old, _old_agent) = Home::unlocked();
    let (home, _agent) = home_with_a();
    for home in [&old, &home] {
        own(home, KEY);
        home.run(&format!("key import own {KEY} --token file")).done();
    }
    old.run("repo init b --name b --root own --targets own --snapshot own --timestamp own").done();
    old.run("sign b --yes").done();
    old.published("b").copy_to(&home.path("b"));
    home.run("repo adopt b --name b --root b/metadata/1.root.json --yes").done();
    home.run("root replace-key b timestamp --old own --new on").done();
    refused_unsigned(&home, "b");
    home.run("root replace-key b timestamp --old on --new on2").done();
    home.run("sign b --yes").done();
    assert_eq!(home.published("b").version("root"), 2);
}

#[test]
fn people_who_cannot_complete_the_root_alone_are_refused_with_the_last_signature_alone() {
    let (ann, _ann_agent) = home_with_a();
    let (bob, _bob_agent) = Home::unlocked();
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    let keys = "--root r2,bob.json --root-threshold 2 --targets on2 --snapshot on --timestamp on";
    ann.run(&format!("repo init b --name b {keys}")).done();
    ann.published("b").copy_to(&bob.path("b"));
    assert_eq!(bob.run("sign b --yes").exits(4).code, 4);
    bob.published("b").copy_to(&ann.path("from-bob"));
    // Hers would complete it.
    ann.refused("sign b --from from-bob --yes", 3, "SHARED_KEY");
    assert_eq!(signatures(&ann, "b/staged/root.json"), 0);
    ann.run("sign b --from from-bob --yes --shared-key").done();
    assert_eq!(ann.published("b").version("root"), 1);
}

#[test]
fn a_complete_root_that_names_a_key_of_another_chain_is_published_with_a_persons_word() {
    let (home, _agent) = home_with_a();
    home.run("repo init b --name b --root r2 --targets on2 --snapshot on --timestamp on").done();
    home.run("sign b --role root --role targets --yes").exits(4);
    // Neither the edit nor the signing sends to the other without saying how.
    let refused = home.refused("root replace-key b timestamp --old on --new on2", 3, "WATERMARK");
    assert!(refused["remedy"].as_str().unwrap().contains("--shared-key"), "{refused}");
    let refused = home.refused("sign b --yes", 3, "SHARED_KEY");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(remedy.contains("tufctl sign b --shared-key") && remedy.contains("next root"), "{refused}");
    assert!(!remedy.contains("  "), "{remedy}");
    home.run("sign b --yes --shared-key").done();
    home.run("root replace-key b timestamp --old on --new on2").done();
    home.run("root replace-key b snapshot --old on --new on2").done();
    home.run("sign b --yes").done();
    assert_eq!(home.published("b").version("root"), 2);
}

#[test]
fn a_key_that_a_verified_root_names_belongs_to_its_chain_before_it_has_signed() {
    let (home, agent) = home_with_a();
    home.run("root add-key a root --key r2").done();
    home.run("sign a --key r1 --key on --yes").done();
    assert_eq!(home.published("a").version("root"), 2);
    let init = "repo init b --name b --root r2 --targets on2 --snapshot on2 --timestamp on2";
    let told = home.run(init).done();
    assert!(told.stderr.contains("the key r2 serves the repository a"), "{told}");
    let refused_for = |key: &str, dir: &str| {
        let refused = home.refused(&format!("sign {dir} --yes"), 3, "SHARED_KEY");
        assert_eq!(refused["details"]["key"], key, "{refused}");
    };
    refused_for("r2", "b");
    // It does not become another's because somebody names it.
    assert!(agent.stop().success());
    let _agent = home.start();
    home.unlock_file_store();
    refused_for("r2", "b");
    // A key of a role that was delegated to is its chain's as well.
    home.run("delegation add a docs --key on3 --threshold 1 --paths docs/*").done();
    for _signed_and_then_shown in 0..2 {
        home.run("sign a --key on --yes").exits(4);
    }
    home.run("repo init c --name c --root on2 --targets on3 --snapshot on2 --timestamp on2").done();
    refused_for("on3", "c");
    // A person may share it, who is told of it.
    let told = home.run("sign b --yes --shared-key").done();
    assert!(
        told.stderr.contains("the key r2 also serves a: what it signs as root of b may count there"),
        "{told}"
    );
    home.run("bump b root").done();
    let refused = home.refused("sign b --yes", 3, "CONFIRMATION_MISSING");
    assert!(refused.to_string().contains("clients of a may follow this root version 2"), "{refused}");
}

#[test]
fn a_next_root_by_a_key_that_clients_of_another_chain_trust_in_any_root_wants_a_person() {
    let (home, _agent) = home_with_a();
    let wants_person = |repo: &str| {
        home.run(&format!("bump {repo} root")).done();
        let refused = home.refused(&format!("sign {repo} --yes"), 3, "CONFIRMATION_MISSING");
        assert!(refused.to_string().contains("clients of a may follow"), "{refused}");
    };
    // One that was the key of its root once.
    home.run("root replace-key a root --old r1 --new r2 --yes").done();
    home.run("sign a --yes").done();
    home.run("repo init b --name b --root r1 --targets on2 --snapshot on2 --timestamp on2").done();
    home.run("sign b --yes --shared-key").done();
    wants_person("b");
    // And one that belonged to the other chain before that root named it.
    home.run("repo init c --name c --root on3 --targets on3 --snapshot on3 --timestamp on3").done();
    home.run("sign c --yes").done();
    home.run("root add-key a root --key on3").done();
    home.run("sign a --key r2 --key on --yes").done();
    assert_eq!(home.published("a").version("root"), 3);
    wants_person("c");
}
