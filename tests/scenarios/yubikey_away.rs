//! YubiKeys that are away: in a drawer while others sign, lost under a signature, too old, or reset with the helper that
//! talked to them.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tufagent_tests::cards::{CARD_PIN, Card, CardRoom, FACTORY_PIN, FIRMWARE_5_4, FIRMWARE_5_7, Fault};
use tufagent_tests::{Home, binary, need, run_to_end};

use crate::terminal::talk_in_steps;
use crate::yubikey_matrix::Desk;
use crate::yubikeys::{Bed, private};

/// What a terminal's step runs so that `work` is done here before it goes on.
pub(crate) fn meanwhile<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    dir: &Path,
    name: &str,
    work: impl FnOnce() + Send + 's,
) -> String {
    let (begin, end) = (dir.join(format!("{name}-begins")), dir.join(format!("{name}-ended")));
    let command = format!("touch {begin:?}; while [ ! -e {end:?} ]; do sleep 0.05; done");
    scope.spawn(move || {
        for _ in 0..1_200 {
            if begin.exists() {
                work();
                return std::fs::write(end, "").unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    command
}

#[test]
fn one_port_serves_for_two_yubikeys_of_a_root_each_asked_for_by_name_and_number() {
    let Some(desk) = Desk::with(&[FIRMWARE_5_7, FIRMWARE_5_4]) else { return };
    let home = &desk.home;
    for name in ["alice", "bob"] {
        desk.unlock(name);
        desk.key(&format!("root-{name}"), name, "");
    }
    home.unlock_file_store();
    home.keys(&["online"]);
    desk.init("root-alice,root-bob", "online");
    assert_eq!(desk.sign().done().json()["published"], true);
    let [alice, bob] = [&desk.cards[0], &desk.cards[1]];
    bob.remove();
    desk.until("bob", "absent");
    home.run("bump repo root").done();
    let before = (alice.counters().verifies, bob.counters().verifies);
    let talked = std::thread::scope(|scope| {
        let swap = || {
            alice.remove();
            bob.insert();
            bob.until_seen();
        };
        let pin = format!("{CARD_PIN}\n");
        let steps = json!([
            ["[y/N] ", "y\n"],
            ["go on without:", "\n", meanwhile(scope, home.dir(), "swap", swap)],
            ["PIN of bob", pin],
        ]);
        talk_in_steps(home, "sign repo", &steps.to_string())
    });
    let Some((code, screen)) = talked else { return };
    assert_eq!(code, 0, "{screen}");
    // A PIN is asked for with what it is for.
    let digest = home.journalled("sign.intent").iter().rev().find_map(|entry| {
        let body = &entry["body"];
        (body["role"] == "root").then(|| body["sha256"].as_str().unwrap().to_owned())
    });
    let purpose = format!("root-bob, to sign root version 2 (sha256 {})", digest.unwrap());
    for said in
        ["root lacks a signature", "insert bob (YubiKey 15350042", "is needed for app", &purpose, "published"]
    {
        assert!(screen.contains(said), "{said} is not in\n{screen}");
    }
    assert!(!screen.contains(CARD_PIN), "{screen}");
    // Of alice nothing was asked again; of bob one PIN.
    assert_eq!((alice.counters().verifies, bob.counters().verifies), (before.0, before.1 + 1));
    // Whoever goes on without gets what is there.
    desk.until("alice", "absent");
    home.run("bump repo root").done();
    let again = "nor no\r\nroot lacks a signature: insert alice (YubiKey 15350041) and press Enter, or type no to go on without:";
    let steps = json!([["[y/N] ", "y\n"], ["go on without:", "nobody\n"], [again, "no\n"]]);
    let Some((code, screen)) = talk_in_steps(home, "sign repo", &steps.to_string()) else { return };
    assert_eq!(code, 4, "{screen}");
    // A script, or whoever says --yes, is asked for nothing.
    desk.sign().exits(5);
}

#[test]
fn a_yubikey_that_is_away_since_the_agent_was_started_is_named_where_a_key_is_missing() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.home.run("sign repo --yes").done();
    bed.card.remove();
    bed.agent.stop();
    bed.agent = bed.home.start();
    bed.home.unlock_file_store();
    let listed = bed.home.run("key list --json").done();
    assert!(listed.stderr.contains("the keys of alice are not known: it is absent"), "{listed}");
    bed.home.run("bump repo root --yes").done();
    // Nobody is told to replace a key that lies in a drawer.
    let refused = bed.home.refused("sign repo --yes", 5, "TOKEN_ABSENT");
    assert_eq!(refused["details"]["token"], "alice", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("may lie on alice (YubiKey"), "{refused}");
    assert!(refused["remedy"].as_str().unwrap().starts_with("insert it and sign again"), "{refused}");
    bed.card.insert();
    bed.card.until_seen();
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_yubikey_that_is_pulled_while_its_pin_is_typed_is_asked_for_again() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    let (home, card) = (&bed.home, &bed.card);
    let rounds = [("", true, "root"), ("--key root-a", true, "root targets"), ("", false, "root")];
    for (more, insists, next) in rounds {
        home.run("lock").done();
        home.unlock_file_store();
        let before = bed.verifies();
        let talked = std::thread::scope(|scope| {
            let name = |what: &str| format!("{what}{more}{insists}").replace(' ', "-");
            let pulls = meanwhile(scope, home.dir(), &name("pull"), || card.remove());
            let back = meanwhile(scope, home.dir(), &name("back"), || {
                card.insert();
                card.until_seen();
            });
            let pin = format!("{FACTORY_PIN}\n");
            let again = format!("insert alice (YubiKey {}", bed.card.state().serial());
            let mut steps = vec![json!(["PIN of alice", pin, pulls])];
            match insists {
                true => steps.extend([
                    json!([again, "\n", back]),
                    json!(["PIN of alice", pin]),
                    json!(["[y/N] ", "y\n"]),
                ]),
                false => steps.extend([json!([again, "no\n", back]), json!(["[y/N] ", "y\n"])]),
            }
            talk_in_steps(home, format!("sign repo {more}").trim(), &json!(steps).to_string())
        });
        let Some((code, screen)) = talked else { return };
        // Whoever goes on without it keeps what the others signed.
        let signs_all = if insists { (0, before + 1) } else { (4, before) };
        assert_eq!((code, bed.verifies()), signs_all, "{screen}");
        home.run(&format!("bump repo {next}")).done();
    }
}

#[test]
fn nobody_types_the_pin_of_a_yubikey_that_was_pulled_a_moment_ago() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.home.run("lock").done();
    bed.home.unlock_file_store();
    let before = bed.verifies();
    // The agent may not have noticed yet.
    bed.card.remove();
    let serial = bed.card.state().serial();
    let steps = json!([[format!("insert alice (YubiKey {serial}"), "no\n"], ["[y/N] ", "y\n"]]);
    let Some((code, screen)) = talk_in_steps(&bed.home, "sign repo", &steps.to_string()) else { return };
    assert_eq!((code, bed.verifies()), (4, before), "{screen}");
    assert!(!screen.contains("PIN of alice"), "{screen}");
    // What is wrong is said once.
    assert!(screen.matches("no YubiKey with serial number").count() <= 1, "{screen}");
}

#[test]
fn a_yubikey_that_is_lost_under_its_signature_leaves_the_others_signing() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.card.fail_at(0x87, 1, Fault::Remove);
    let signed = bed.home.run("sign repo --yes --json").exits(4).json();
    // At once, and not at the next look.
    assert_eq!(bed.state(), "absent");
    assert_eq!((&signed["signed"][0]["role"], &signed["published"]), (&json!("targets"), &json!(false)));
    let missing = &signed["missing"][0];
    assert_eq!(
        (&missing["role"], &missing["keys"][0]["token"]),
        (&json!("root"), &json!("alice")),
        "{signed}"
    );
    assert_eq!(missing["keys"][0]["state"], "absent", "{signed}");
    assert_eq!(signed["unsigned"][0]["reason"], "TOKEN_ABSENT", "{signed}");
    bed.card.insert();
    bed.agent.wait_until(|| bed.state() == "locked");
    bed.home.run("token unlock alice --pin-file pin").done();
    // Where its key was named, or nothing could be signed, that is the answer.
    for more in ["--key root-a", ""] {
        bed.card.fail_at(0x87, 1, Fault::Remove);
        let refused = bed.home.refused(&format!("sign repo --yes {more}"), 5, "TOKEN_ABSENT");
        assert!(refused["message"].as_str().unwrap().contains("pulled out"), "{refused}");
        bed.card.insert();
        bed.agent.wait_until(|| bed.state() == "locked");
        bed.home.run("token unlock alice --pin-file pin").done();
    }
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_yubikey_that_fails_or_has_lost_its_login_leaves_the_others_signing() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    let publishes = || assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    let lacks_root = |reason: &str| {
        let signed = bed.home.run("sign repo --yes --json").exits(4).json();
        assert_eq!(signed["signed"][0]["role"], "targets", "{signed}");
        let unsigned = &signed["unsigned"][0];
        assert_eq!((&unsigned["key"], &unsigned["reason"]), (&json!("root-a"), &json!(reason)), "{signed}");
    };
    publishes();
    bed.home.run("bump repo root targets").done();
    bed.card.fail_at(0x87, 1, Fault::Sw(0x6f00));
    lacks_root("TOKEN_FAILED");
    publishes();
    bed.home.run("bump repo root targets").done();
    bed.other_program("A4040000");
    bed.other_program("0020008008363534333231FFFF");
    lacks_root("TOKEN_LOCKED");
    bed.home.run("token unlock alice --pin-file pin").done();
    publishes();
}

#[test]
fn a_yubikey_that_is_pulled_while_it_waits_for_a_touch_is_told_as_gone() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    let card = bed.card.clone();
    let pulled = std::thread::spawn(move || {
        card.until_it_waits_for_a_touch();
        card.remove();
    });
    let refused = bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_ABSENT");
    pulled.join().unwrap();
    assert!(refused["message"].as_str().unwrap().contains("pulled out"), "{refused}");
    assert_eq!(bed.state(), "absent");
}

#[test]
fn a_helper_that_is_killed_takes_the_unlock_with_it_and_spends_no_try() {
    for by_file in [false, true] {
        let bed = if by_file { Bed::with_pin_file(FIRMWARE_5_7) } else { Bed::new(FIRMWARE_5_7) };
        let Some(bed) = bed else { return };
        bed.agent.wait_until(|| bed.state() == "unlocked");
        bed.generate("root-a", "--type ecdsa-p256");
        bed.repository("root-a");
        let helper = bed.home.token("alice")["helper_pid"].clone();
        let before = bed.verifies();
        assert!(Command::new("kill").args(["-9", &helper.to_string()]).status().unwrap().success());
        let state = if by_file { "unlocked" } else { "locked" };
        bed.agent.wait_until(|| {
            let token = bed.home.token("alice");
            token["state"] == state && !token["helper_pid"].is_null() && token["helper_pid"] != helper
        });
        if !by_file {
            bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
            assert_eq!(bed.verifies(), before);
            bed.home.run("token unlock alice --pin-file pin").done();
        }
        // The PIN that a file holds was presented once more, or the person's once.
        assert_eq!((bed.verifies(), bed.card.tries_left()), (before + 1, (3, 3)));
        assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    }
}

#[test]
fn a_firmware_with_a_published_flaw_is_told_of_where_tokens_are_listed() {
    for (firmware, flawed) in [(FIRMWARE_5_4, true), (FIRMWARE_5_7, false)] {
        let Some(bed) = Bed::new(firmware) else { return };
        let token = bed.home.token("alice");
        let warned =
            token["warnings"].as_array().is_some_and(|all| all[0].to_string().contains("YSA-2024-03"));
        assert_eq!(warned, flawed, "{token}");
        for command in ["token list", "status"] {
            let told = bed.home.run(command).done().stdout;
            assert_eq!(told.contains("warning: alice: firmware 5.4.3"), flawed, "{told}");
        }
    }
}

#[test]
fn a_yubikey_that_is_too_old_says_so_and_gets_no_pin() {
    for (firmware, text) in [([5, 2, 7], "5.2.7"), ([4, 3, 5], "4.3.5")] {
        let card = Card::new(7_000_001, firmware);
        let Some(room) = need(CardRoom::with(&[&card])) else { return };
        let home = Home::new();
        home.config(&room.table("old", 7_000_001));
        let agent = home.start();
        private(&home, "pin", FACTORY_PIN);
        agent.wait_until(|| home.token("old")["state"] == "failed");
        let problem = home.token("old")["problem"].to_string();
        assert!(problem.contains(&format!("firmware {text}")) && problem.contains("5.3"), "{problem}");
        let refused = home.refused("token unlock old --pin-file pin", 5, "TOKEN_FAILED");
        assert!(refused["message"].as_str().unwrap().contains(text), "{refused}");
        assert!(refused["remedy"].as_str().unwrap().contains("newer YubiKey"), "{refused}");
        assert_eq!(card.counters().verifies, 0);
    }
}

#[test]
fn pcscd_that_ends_or_is_started_anew_while_a_touch_is_waited_for_is_told_as_what_it_is() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    let card = bed.card.clone();
    let verifies = bed.verifies();
    for restarts in [false, true] {
        let mut command = Command::new(binary("tufctl"));
        bed.home.environment(&mut command);
        command.args(["sign", "repo", "--yes", "--key", "root-a", "--json"]);
        let signing = std::thread::spawn(move || run_to_end(&mut command));
        card.until_it_waits_for_a_touch();
        match restarts {
            true => bed.room.restart(&[&card]),
            false => bed.room.stop(),
        }
        let refused = signing.join().unwrap();
        assert_eq!(refused.code, 5, "{refused}");
        let error = refused.json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(!message.contains("0x"), "{error}");
        if !restarts {
            assert!(message.contains("pcscd, the smart card service"), "{error}");
            bed.room.restart(&[&card]);
        }
        bed.agent.wait_until(|| bed.state() == "locked");
        assert_eq!(card.tries_left(), (3, 3));
        bed.home.run("token unlock alice --pin-file pin").done();
    }
    card.touch_always(true);
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert!(bed.verifies() <= verifies + 3, "each entry is one VERIFY");
}
