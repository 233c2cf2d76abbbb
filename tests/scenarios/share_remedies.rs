//! What the commands about shares say where something is in the way, or waits: it is true, and the remedy is one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::custodians::spawn;
use crate::split_signing::{among, people, split_key, two};
use crate::terminal::talk;

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

#[test]
fn a_manifest_is_taken_whoever_may_read_it_and_by_tokens_of_shares_alone() {
    let (home, _agent) = people(&[]);
    split_key(&home, "q1");
    home.run("key remove q1 --yes").done();
    let manifest = home.path("q1/set.json");
    fs::set_permissions(&manifest, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.refused("key import q1 q1/set.json --token file", 5, "UNSUPPORTED");
    assert!(refused["remedy"].as_str().unwrap().contains("kind shares"), "{refused}");
    // One that was changed is told as such, and not as a key that others may read.
    let changed = fs::read_to_string(&manifest).unwrap().replace("\"sequence\": 1", "\"sequence\": 2");
    home.write("changed.json", changed);
    home.refused("key import q1 changed.json --token people", 6, "VERIFICATION");
    home.run("key import q1 q1/set.json --token people").done();
    // A token that takes no shares is told of before a folder for them is asked for.
    let generate = "key generate q2 --type ed25519 --token";
    let plain = "--threshold 2 --custodian ann --custodian ben --custodian cy";
    home.refused(&format!("{generate} file {plain}"), 5, "UNSUPPORTED");
    let groups = "--group a=2:ann,ben,cy --group b=2:dan,eve,fay";
    let refused = home.refused(&format!("{generate} people {groups}"), 2, "USAGE");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(remedy.contains("--group board=2:ann,ben,cy") && !remedy.contains("--custodian"), "{refused}");
}

#[test]
fn people_are_named_in_the_order_in_which_their_shares_were_brought() {
    let (home, _agent) = people(&[]);
    split_key(&home, "q1");
    let drilled = home.run(&format!("share drill{} --json", two("q1"))).done().json();
    assert_eq!(drilled["custodians"], json!(["ann", "cy"]));
    let listed = home.run("audit list").done().stdout;
    let line = listed.lines().find(|line| line.contains("share.collected")).unwrap();
    assert!(line.contains("custodians=ann,cy"), "{line}");
}

#[test]
fn a_wrong_passphrase_of_a_share_is_called_wrong_and_asked_for_again() {
    let (home, _agent) = people(&[]);
    split_key(&home, "q1");
    let verify = "share verify q1/ann.share --manifest q1/set.json";
    let wrong = home.refused(&format!("{verify} --passphrase-file ben.pass"), 2, "USAGE");
    assert!(wrong["message"].as_str().unwrap().contains("wrong"), "{wrong}");
    let none = home.refused(verify, 2, "USAGE");
    assert!(none["message"].as_str().unwrap().contains("none was given"), "{none}");
    let steps = [("passphrase of q1/ann.share: ", "another\n"), ("wrong; ", "c4n4ry of ann\n")];
    let Some((code, screen)) = talk(&home, verify, &steps) else { return };
    assert_eq!(code, 0, "{screen}");
    let (code, screen) = talk(&home, verify, &[("passphrase of q1/ann.share: ", "\u{3}")]).unwrap();
    assert!(code == 2 && screen.contains("none was given"), "{code}: {screen}");
}
