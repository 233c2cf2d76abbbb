//! Touches that come once for several signatures, not at all, or to a card that never answers again; and several people who
//! wait for one card (FAULTS A3, C8).

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tufagent_tests::cards::{FIRMWARE_5_7, Fault};
use tufagent_tests::{binary, run_to_end};

use crate::yubikeys::Bed;

const SIGN: u8 = 0x87;
const SELECT: u8 = 0xa4;

#[test]
fn one_touch_serves_for_all_that_a_key_signs_soon_after_it_where_it_is_cached() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("all", "--type ecdsa-p256 --touch cached");
    bed.home.unlock_file_store();
    bed.home.keys(&["online"]);
    bed.home
        .run(
            "repo init repo --name app --root all --root-threshold 1 --targets all --targets-threshold 1 --snapshot online \
             --timestamp online",
        )
        .done();
    let toucher = bed.card.clone();
    let touched = std::thread::spawn(move || {
        toucher.until_it_waits_for_a_touch();
        toucher.touch();
    });
    let signed = bed.home.run("sign repo --yes --json").done();
    touched.join().unwrap();
    assert_eq!(signed.json()["published"], true, "{signed}");
    assert_eq!((bed.card.touches_asked(), bed.card.counters().signatures), (1, 2), "{signed}");
}

#[test]
fn a_touch_that_takes_its_time_signs_all_the_same() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    bed.card.touch_within(Duration::from_secs(600));
    let toucher = bed.card.clone();
    let touched = std::thread::spawn(move || {
        toucher.until_it_waits_for_a_touch();
        // Longer than any card waits.
        std::thread::sleep(Duration::from_secs(20));
        toucher.touch();
    });
    let signed = bed.home.run("sign repo --yes --json").done();
    touched.join().unwrap();
    assert_eq!(signed.json()["published"], true, "{signed}");
    assert_eq!(bed.state(), "unlocked");
}

#[test]
fn a_touch_that_is_missed_after_the_pin_costs_no_try_of_that() {
    let Some(bed) = Bed::with_pin_file(FIRMWARE_5_7) else { return };
    bed.agent.wait_until(|| bed.state() == "unlocked");
    bed.generate("root-a", "--type ecdsa-p256 --touch always --pin-policy always");
    bed.repository("root-a");
    bed.card.touch_within(Duration::from_millis(300));
    for _ in 0..4 {
        // More often than there are tries: each entry is right, and counted as that.
        let before = bed.verifies();
        bed.home.refused("sign repo --yes --key root-a", 5, "TOUCH_TIMEOUT");
        assert_eq!((bed.verifies(), bed.card.tries_left()), (before + 1, (3, 3)));
        assert_eq!(bed.state(), "unlocked");
    }
    bed.card.touch_always(true);
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_card_that_never_answers_costs_its_own_token_alone() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    let helper = bed.home.token("alice")["helper_pid"].clone();
    bed.card.fail_at(SIGN, 1, Fault::Slow(Duration::from_secs(600)));
    let mut command = Command::new(binary("tufctl"));
    bed.home.environment(&mut command);
    command.args(["sign", "repo", "--yes", "--key", "root-a", "--json"]);
    let signing = std::thread::spawn(move || run_to_end(&mut command));
    bed.agent.wait_until(|| bed.card.faults_left() == 0);
    // Meanwhile the other token serves.
    bed.home.keys(&["other"]);
    assert_eq!(bed.state(), "unlocked");
    let ended = signing.join().unwrap();
    let error = ended.refused(5, "TOKEN_FAILED");
    assert!(error["message"].as_str().unwrap().contains("alice"), "{ended}");
    bed.agent.wait_until(|| bed.home.token("alice")["helper_pid"] != helper);
    assert_ne!(bed.state(), "unlocked", "the login ended with its helper");
    assert_eq!(bed.card.tries_left(), (3, 3));
}

#[test]
fn several_who_wait_for_one_card_are_served_in_the_order_in_which_they_came() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.home.unlock_file_store();
    bed.home.keys(&["online"]);
    let names = ["one", "two", "three"];
    for name in names {
        bed.home
            .run(&format!(
                "repo init {name} --name {name} --root root-a --root-threshold 1 --targets online --targets-threshold 1 \
                 --snapshot online --timestamp online"
            ))
            .done();
    }
    bed.card.touch_within(Duration::from_secs(600));
    let mut waiting = Vec::new();
    for name in names {
        let mut command = Command::new(binary("tufctl"));
        bed.home.environment(&mut command);
        command.args(["sign", name, "--yes", "--shared-key", "--role", "root"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        waiting.push(command.spawn().unwrap());
        // The next one comes when this one waits: its intent is noted before the card is asked.
        let intents = || bed.home.journalled("sign.intent");
        bed.agent.wait_until(|| intents().iter().any(|entry| entry["body"]["repository"] == name));
        if name == "one" {
            bed.card.until_it_waits_for_a_touch();
        }
    }
    for nth in 1..=3 {
        bed.agent.wait_until(|| bed.card.touches_asked() == nth && bed.card.waits_for_a_touch());
        bed.card.touch();
    }
    for mut client in waiting {
        client.wait().unwrap();
    }
    let numbers = |kind: &str, of: &dyn Fn(&Value) -> Value| -> Vec<Value> {
        bed.home.journalled(kind).iter().map(of).collect()
    };
    let asked = numbers("sign.intent", &|entry| entry["seq"].clone());
    assert_eq!(asked.len(), names.len());
    assert_eq!(numbers("sign.outcome", &|entry| entry["body"]["intent"].clone()), asked);
}

#[test]
fn a_lock_ends_the_wait_for_a_touch_at_once_and_what_the_card_signs_then_goes_nowhere() {
    for pin_policy in ["once", "never"] {
        let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
        bed.generate("root-a", &format!("--type ecdsa-p256 --touch always --pin-policy {pin_policy}"));
        bed.repository("root-a");
        bed.card.touch_within(Duration::from_secs(600));
        let mut command = Command::new(binary("tufctl"));
        bed.home.environment(&mut command);
        command.args(["sign", "repo", "--yes", "--key", "root-a", "--json"]);
        let signing = std::thread::spawn(move || run_to_end(&mut command));
        bed.card.until_it_waits_for_a_touch();
        let before = bed.card.counters();
        let locked = bed.home.run("lock --json").done().json();
        let ended = signing.join().unwrap();
        // Nobody has touched it: that is not what ended the wait.
        assert!(bed.card.waits_for_a_touch());
        let refused = ended.refused(5, "TOKEN_LOCKED");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("what it signs is thrown away"), "{ended}");
        // What the card still does is told, too.
        let token = locked["tokens"].as_array().unwrap().iter().find(|it| it["name"] == "alice").unwrap();
        assert_eq!(token["state"], "locked", "{locked}");
        bed.agent.wait_until(|| {
            let problem = bed.home.token("alice")["problem"].to_string();
            problem.contains("still waits for the touch") && problem.contains("thrown away")
        });
        let outcomes = || bed.home.journalled("sign.outcome");
        let told = outcomes().last().unwrap()["body"].clone();
        assert_eq!((&told["outcome"], &told["about"]["reason"]), (&json!("failed"), &json!("TOKEN_LOCKED")));
        bed.card.touch();
        bed.agent.wait_until(|| bed.home.token("alice")["problem"].is_null());
        assert_eq!(bed.card.counters().signatures, before.signatures + 1, "the card could not be told");
        assert!(!outcomes().iter().any(|outcome| outcome.to_string().contains("\"signed\"")));
        let shown = bed.home.run("repo show repo --json").done().json();
        assert!(!shown.to_string().contains("\"have\":1"), "{shown}");
        bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
        // The card has forgotten the PIN, too.
        let log = bed.card.log();
        assert!(log.iter().rev().take_while(|entry| entry.ins != SIGN).any(|entry| entry.ins == SELECT));
        bed.home.run("token unlock alice --pin-file pin").done();
        bed.home.unlock_file_store();
        bed.card.touch_always(true);
        assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
        assert_eq!(bed.verifies(), before.verifies + 1);
    }
}
