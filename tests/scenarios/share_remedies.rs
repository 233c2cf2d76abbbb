//! What the commands about shares say where something is in the way, or waits: it is true, and the remedy is one.

use serde_json::json;

use crate::custodians::spawn;
use crate::split_signing::{among, people, split_key, two};

#[test]
fn a_set_that_waits_for_its_proofs_is_given_up_by_one_command_which_all_others_name() {
    let (home, _agent) = people(&["plain"]);
    let generate =
        |name: &str, out: &str| format!("key generate {name} --token people --type ed25519{}", among(out));
    home.run(&generate("q1", "q1")).done();
    let abort = "tufctl share split q1 --abort";
    let taken = home.refused(&generate("q1", "again"), 3, "NAME_TAKEN");
    assert!(taken["remedy"].as_str().unwrap().contains(abort), "{taken}");
    let taken = home.refused(&generate("plain", "again"), 3, "NAME_TAKEN");
    assert_eq!(taken["remedy"], "choose another name");
    // Its first set takes the place of none: what gives up a second one is not for it.
    let refused = home.refused("share resplit q1 --phase abort --yes", 2, "USAGE");
    assert!(refused["remedy"].as_str().unwrap().contains(abort), "{refused}");
    home.run("share split q1 --abort --yes").done();
    for phase in ["commit", "abort"] {
        home.refused(&format!("share resplit q1 --phase {phase} --yes"), 3, "KEY_NOT_FOUND");
    }
    home.run(&generate("q1", "again")).done();
}

#[test]
fn a_split_key_that_is_removed_is_said_to_be_in_its_shares_still() {
    let (home, _agent) = people(&["plain"]);
    split_key(&home, "q1");
    let asked = home.refused("key remove q1", 3, "CONFIRMATION_MISSING");
    for told in ["enough shares of it still make the key", "destroyed", "tufctl key import q1 set.json"] {
        assert!(asked["message"].as_str().unwrap().contains(told), "{asked}");
    }
    assert!(!asked["message"].as_str().unwrap().contains("no way back"), "{asked}");
    let removed = home.run("key remove q1 --yes").done();
    assert!(removed.stdout.contains("have them destroyed"), "{removed}");
    // As is said, there is a way back.
    home.run("key import q1 q1/set.json --token people").done();
    assert_eq!(home.run("key remove q1 --yes --json").done().json()["shares_make_it"], true);
    let asked = home.refused("key remove plain", 3, "CONFIRMATION_MISSING");
    assert!(asked["message"].as_str().unwrap().contains("no way back"), "{asked}");
    let removed = home.run("key remove plain --yes").done();
    assert_eq!(removed.stdout, "plain is gone\n");
}

#[test]
fn status_tells_of_collections_that_wait_for_people() {
    let (home, agent) = people(&[]);
    split_key(&home, "q1");
    assert_eq!(home.run("status --json").done().json()["collections"], json!([]));
    let ann = " --manifest q1/set.json --share q1/ann.share --passphrase-file ann.pass";
    let mut opener = spawn(&home, &format!("share drill{ann} --yes --wait"));
    let open = || home.run("status --json").done().json()["collections"].clone();
    agent.wait_until(|| open()[0]["have"] == 1);
    let one = open()[0].clone();
    assert_eq!((&one["purpose"], &one["key"], &one["need"]), (&"drill".into(), &"q1".into(), &2.into()));
    assert_eq!((&one["given"], &one["missing"]), (&json!(["ann"]), &json!(["ben", "cy"])), "{one}");
    let shown = home.run("status").done().stdout;
    let (id, until) = (one["collection"].as_str().unwrap(), one["deadline"].as_str().unwrap());
    let give = format!("until {until}: tufctl share give --collection {id}");
    for told in ["a drill of q1", "1 of 2 shares", "missing: ben, cy", &give] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    opener.kill().unwrap();
    opener.wait().unwrap();
    agent.wait_until(|| open() == json!([]));
    home.run(&format!("share drill{}", two("q1"))).done();
}
