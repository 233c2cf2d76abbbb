//! One key on two YubiKeys, and one serial number on two: a person's backup, and what nobody can tell apart.

use serde_json::json;
use tufagent_tests::cards::{Card, CardRoom, FIRMWARE_5_4, FIRMWARE_5_7};
use tufagent_tests::{Home, need};

use crate::terminal::talk;
use crate::yubikey_matrix::Desk;
use crate::yubikeys::private;

#[test]
fn a_key_is_brought_onto_a_second_yubikey_for_backup_when_that_is_said_and_signs_by_the_one_that_is_named() {
    let Some(desk) = Desk::with(&[FIRMWARE_5_7, FIRMWARE_5_4]) else { return };
    let home = &desk.home;
    private(home, "key.pem", include_str!("../../agent/backend/tests/vectors/import/ecdsa-p256.pem"));
    desk.unlock("alice");
    desk.unlock("bob");
    let import = |name: &str, token: &str, more: &str| {
        format!("key import {name} key.pem --token {token} --management-key-file management {more}")
    };
    home.run(&import("root-a", "alice", "")).done();
    let refused = home.refused(&import("root-b", "bob", ""), 3, "DUPLICATE_KEY");
    assert!(refused["remedy"].as_str().unwrap().contains("--duplicate"), "{refused}");
    // Twice on one card is no backup.
    let twice = import("root-b", "alice", "--duplicate --slot 9a");
    let refused = home.refused(&twice, 3, "DUPLICATE_KEY");
    assert!(!refused["remedy"].as_str().unwrap().contains("--duplicate"), "{refused}");
    let made = home.run(&(import("root-b", "bob", "--duplicate") + " --json")).done();
    let warnings = made.json()["warnings"].to_string();
    for said in ["root-a on token alice", "root-b on token bob", "whoever has one of them"] {
        assert!(warnings.contains(said), "{warnings}");
    }
    assert!(made.stderr.contains("root-a on token alice"), "{made}");
    let entry = home.journalled("key.import").last().unwrap()["body"].clone();
    assert_eq!(entry["copies"], json!([{"name": "root-a", "token": "alice"}]), "{entry}");
    home.unlock_file_store();
    home.keys(&["online"]);
    desk.init("root-a", "online");
    // Which of them is said; neither takes the other's place by itself.
    let refused = home.refused("sign repo --yes", 3, "DUPLICATE_KEY");
    let told = "tufctl sign repo --key root-a,online or tufctl sign repo --key root-b,online";
    assert!(refused["remedy"].as_str().unwrap().ends_with(told), "{refused}");
    let alone = home.refused("sign repo --yes --role root", 3, "DUPLICATE_KEY");
    let remedy = alone["remedy"].as_str().unwrap();
    assert!(remedy.ends_with("tufctl sign repo --role root --key root-b"), "{alone}");
    let signed = home.run("sign repo --role root --key root-b --yes --json").exits(4).json();
    assert_eq!(
        (&signed["signed"][0]["key"], &signed["signed"][0]["token"]),
        (&json!("root-b"), &json!("bob"))
    );
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    // What is told is all that it takes.
    home.run("bump repo root targets").done();
    home.refused("sign repo --yes", 3, "DUPLICATE_KEY");
    let signed = home.run("sign repo --key root-a,online --yes --json").done();
    assert_eq!(signed.json()["published"], true, "{signed}");
    let before = (desk.cards[0].counters().signatures, desk.cards[1].counters().signatures);
    home.run("bump repo root").done();
    home.run("sign repo --key root-a --yes --json").done();
    let now = (desk.cards[0].counters().signatures, desk.cards[1].counters().signatures);
    assert_eq!(now, (before.0 + 1, before.1));
    of_a_key_and_its_backup_whichever_is_in_the_reader_signs(&desk);
}

fn of_a_key_and_its_backup_whichever_is_in_the_reader_signs(desk: &Desk) {
    let home = &desk.home;
    for (out, away, there, name) in [(0, "alice", "bob", "root-b"), (1, "bob", "alice", "root-a")] {
        desk.cards[out].remove();
        desk.until(away, "absent");
        home.run("bump repo root").done();
        let signed = home.run("sign repo --yes --json").done();
        assert!(signed.stderr.contains(&format!("is on {away}, which is not there")), "{signed}");
        let signed = signed.json();
        let root = &signed["signed"][0];
        assert_eq!((&root["key"], &root["token"]), (&json!(name), &json!(there)), "{signed}");
        desk.cards[out].insert();
        desk.until(away, "locked");
        desk.unlock(away);
    }
    // Where both are there a person says which.
    home.run("bump repo root").done();
    let steps = [("root-a on alice", "n\n"), ("root-b on bob", "y\n"), ("when all is signed? [y/N] ", "y\n")];
    let Some((code, screen)) = talk(home, "sign repo", &steps) else { return };
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("to be signed with root-b"), "{screen}");
    // With both away either is asked for, and named it is the one that was named.
    desk.cards.iter().for_each(|card| card.remove());
    ["alice", "bob"].iter().for_each(|name| desk.until(name, "absent"));
    home.run("bump repo root").done();
    let steps = [("or bob (YubiKey 15350042) and press Enter", "no\n")];
    let (code, screen) = talk(home, "sign repo", &steps).unwrap();
    assert_eq!(code, 5, "{screen}");
    home.refused("sign repo --yes --key root-b", 5, "TOKEN_ABSENT");
}

#[test]
fn two_cards_with_one_serial_number_are_told_and_none_is_used() {
    let (one, two) = (Card::new(7, FIRMWARE_5_7), Card::new(7, FIRMWARE_5_4));
    two.remove();
    let Some(room) = need(CardRoom::with(&[&one, &two])) else { return };
    let home = Home::new();
    home.config(&room.table("alice", 7));
    private(&home, "pin", "123456");
    two.insert();
    two.until_seen();
    let agent = home.start();
    agent.wait_until(|| home.token("alice")["state"] == "failed");
    let problem = home.token("alice")["problem"].to_string();
    assert!(problem.contains("2 cards say that they have serial number 7"), "{problem}");
    home.refused("token unlock alice --pin-file pin", 5, "TOKEN_FAILED");
    assert_eq!((one.counters().verifies, two.counters().verifies), (0, 0));
    // Of a list without keys it is said whose are not in it.
    let listed = home.run("key list").done();
    assert!(listed.stderr.contains("the keys of alice are not known"), "{listed}");
    two.remove();
    agent.wait_until(|| home.token("alice")["state"] == "locked");
    home.run("token unlock alice --pin-file pin").done();
    assert_eq!((one.counters().verifies, two.counters().verifies), (1, 0));
}
