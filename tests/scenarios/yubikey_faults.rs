//! What goes wrong at a YubiKey, one thing after another: it is pulled in the middle of each command, answers nonsense, waits
//! for a touch while others want something else (FAULTS A3, C1, C7, C8, D1).

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tufagent_tests::binary;
use tufagent_tests::cards::{FIRMWARE_5_4, FIRMWARE_5_7, Fault, Root};

use crate::yubikeys::{Bed, private};

/// Signs while something goes wrong at the `nth` command from now; until nothing is left to go wrong.
#[track_caller]
fn at_each_command(bed: &Bed, fault: &Fault, after: impl Fn(&Bed)) {
    for nth in 1..200 {
        bed.home.run("bump repo root").done();
        bed.card.fail(nth, fault.clone());
        let signed = bed.home.run("sign repo --yes --json");
        if bed.card.faults_left() > 0 {
            bed.card.order("forgive", Root::shared()).unwrap();
            assert_eq!(signed.done().json()["published"], true);
            assert!(nth > 3, "hardly a command was sent");
            return;
        }
        // Whatever it was, it was no wrong PIN.
        assert_eq!(bed.card.tries_left(), (3, 3), "at command {nth}: {signed}");
        assert!([0, 4, 5].contains(&signed.code), "at command {nth}: {signed}");
        after(bed);
        if signed.code != 0 {
            let again = bed.home.run("sign repo --yes --json").done().json();
            assert_eq!(again["published"], true, "after command {nth}");
        }
    }
    panic!("there is no end of commands");
}

#[test]
fn a_card_that_is_pulled_at_any_command_serves_again_once_it_is_back() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    at_each_command(&bed, &Fault::Remove, |bed| {
        bed.agent.wait_until(|| bed.state() == "absent");
        bed.card.insert();
        bed.agent.wait_until(|| bed.state() == "locked");
        bed.home.run("token unlock alice --pin-file pin").done();
    });
}

#[test]
fn a_card_that_answers_any_command_with_an_error_or_with_nothing_is_asked_again() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    for fault in [Fault::Sw(0x6f00), Fault::Answer(vec![0x90, 0])] {
        at_each_command(&bed, &fault, |bed| {
            if bed.state() != "unlocked" {
                bed.agent.wait_until(|| bed.state() == "locked" || bed.state() == "unlocked");
                bed.home.run("token unlock alice --pin-file pin").done();
            }
        });
    }
}

#[test]
fn each_type_of_key_that_a_card_has_signs_what_others_verify() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let types = ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-3072"];
    for (index, kind) in types.iter().enumerate() {
        let more = format!("--type {kind} --slot 8{}", index + 2);
        assert_eq!(bed.generate(kind, &more)["type"], *kind);
    }
    private(&bed.home, "key.pem", ED25519);
    let command =
        "key import brought key.pem --token alice --slot 9a --management-key-file management --json";
    let brought = bed.home.run(command).done().json();
    assert_eq!((&brought["origin"], &brought["slot"]), (&json!("imported"), &json!("9a")));
    assert!(brought["warnings"].to_string().contains("copy"), "{brought}");
    bed.home.unlock_file_store();
    bed.home.keys(&["online"]);
    let keys = format!("{},brought", types.join(","));
    bed.home
        .run(&format!(
            "repo init repo --name app --root {keys} --root-threshold 5 --targets online --targets-threshold 1 --snapshot \
             online --timestamp online"
        ))
        .done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    bed.home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn an_rsa_key_that_was_made_elsewhere_signs_on_a_card_which_takes_it_once() {
    let Some(bed) = Bed::new(FIRMWARE_5_4) else { return };
    private(&bed.home, "rsa.pem", include_str!("../../agent/backend/tests/vectors/import/rsa-2048.pem"));
    private(&bed.home, "long.pem", include_str!("../../agent/backend/tests/vectors/import/rsa-3072.pem"));
    let import = |name: &str, file: &str, slot: &str| {
        format!("key import {name} {file} --token alice --slot {slot} --management-key-file management")
    };
    let rsa = bed.home.run(&(import("rsa", "rsa.pem", "9d") + " --json")).done().json();
    assert_eq!((&rsa["origin"], &rsa["type"]), (&json!("imported"), &json!("rsa-2048")));
    let refused = bed.home.refused(&import("again", "rsa.pem", "9e"), 3, "DUPLICATE_KEY");
    assert!(refused["message"].as_str().unwrap().contains("named rsa"), "{refused}");
    let refused = bed.home.refused(&import("long", "long.pem", "9e"), 5, "UNSUPPORTED");
    assert!(refused["message"].as_str().unwrap().contains("5.7"), "{refused}");
    bed.repository("rsa");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    bed.home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_key_that_wants_a_touch_is_imported_without_one() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = Bed::new(firmware) else { return };
        private(&bed.home, "key.pem", include_str!("../../agent/backend/tests/vectors/import/rsa-2048.pem"));
        let asked = bed.card.touches_asked();
        let command = "key import brought key.pem --token alice --slot 84 --touch always --pin-policy always \
                       --management-key-file management --json";
        let brought = bed.home.run(command).done().json();
        assert_eq!((&brought["origin"], &brought["touch"]), (&json!("imported"), &json!("always")));
        assert_eq!(bed.card.touches_asked(), asked, "nobody was asked for a touch");
        assert_eq!(bed.key("brought")["available"], true);
    }
}

#[test]
fn what_is_too_large_for_ed25519_on_a_card_is_refused_with_the_reason_before_the_card_is_asked() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("small", "--type ed25519");
    home.unlock_file_store();
    home.keys(&["online"]);
    home.run(
        "repo init repo --name app --root online --root-threshold 1 --targets small --targets-threshold 1 --snapshot online \
         --timestamp online",
    )
    .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    std::fs::create_dir(home.path("many")).unwrap();
    for nth in 0..60 {
        home.write(&format!("many/{nth}.txt"), format!("{nth}\n"));
    }
    home.run("target add repo many").done();
    let before = bed.card.counters();
    let refused = home.refused("sign repo --yes --key small", 5, "UNSUPPORTED");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("3000 bytes") && message.contains("ecdsa-p256"), "{refused}");
    assert_eq!((bed.card.counters(), bed.state()), (before, json!("unlocked")));
}

#[test]
fn an_old_firmware_says_what_it_lacks() {
    let Some(bed) = Bed::new(FIRMWARE_5_4) else { return };
    let wanted = "key generate a --token alice --management-key-file management --type ed25519";
    let refused = bed.home.refused(wanted, 5, "UNSUPPORTED");
    assert!(refused["message"].as_str().unwrap().contains("5.7"), "{refused}");
    bed.generate("a", "--type ecdsa-p256");
    bed.home.refused("key remove a --yes --management-key-file management", 5, "UNSUPPORTED");
    assert_eq!(bed.key("a")["available"], true);
}

#[test]
fn a_pin_from_a_file_unlocks_a_card_that_came_back_and_serves_keys_that_want_it_each_time() {
    let Some(bed) = Bed::with_pin_file(FIRMWARE_5_7) else { return };
    bed.agent.wait_until(|| bed.state() == "unlocked");
    assert_eq!(bed.verifies(), 1);
    bed.generate("root-a", "--type ecdsa-p256 --pin-policy always");
    bed.repository("root-a");
    let before = bed.verifies();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!(bed.verifies(), before + 1);
    bed.card.remove();
    bed.agent.wait_until(|| bed.state() == "absent");
    bed.card.insert();
    bed.agent.wait_until(|| bed.state() == "unlocked");
    assert_eq!(bed.verifies(), before + 2);
}

#[test]
fn a_key_that_wants_the_pin_each_time_signs_nothing_where_nobody_types_it() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --pin-policy always");
    bed.generate("free", "--type ecdsa-p256 --pin-policy never --slot 9e");
    bed.repository("root-a");
    let before = bed.verifies();
    bed.home.refused("sign repo --yes --key root-a", 5, "PIN_REQUIRED");
    assert_eq!(bed.verifies(), before);
}

#[test]
fn while_a_card_waits_for_a_touch_others_are_served_and_who_goes_away_gets_nothing() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    bed.card.touch_within(Duration::from_secs(40));
    let mut command = Command::new(binary("tufctl"));
    bed.home.environment(&mut command);
    command.args(["sign", "repo", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    bed.card.until_it_waits_for_a_touch();
    // The card's own limit ends the wait: what is asked meanwhile is answered before that.
    assert_eq!(bed.state(), "unlocked");
    assert_eq!(bed.key("root-a")["name"], "root-a");
    bed.home.keys(&["other"]);
    assert!(bed.card.waits_for_a_touch());
    client.kill().unwrap();
    client.wait().unwrap();
    let outcomes = || bed.home.journalled("sign.outcome");
    bed.agent.wait_until(|| outcomes().iter().any(|outcome| outcome.to_string().contains("abandoned")));
    // The card still waits for the touch that nobody wants any more; who comes next is told what keeps it.
    let mut command = Command::new(binary("tufctl"));
    bed.home.environment(&mut command);
    command.args(["sign", "repo", "--yes"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut next = command.spawn().unwrap();
    let lines = BufReader::new(next.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.into_iter().any(|line| line.contains("maybe with another request that wants its touch")));
    next.kill().unwrap();
    next.wait().unwrap();
    bed.card.touch();
    let signed = |outcome: &Value| outcome.to_string().contains("\"signed\"");
    assert!(!outcomes().iter().any(signed), "{:?}", outcomes());
    bed.card.touch_always(true);
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn an_agent_that_is_stopped_keeps_nobody_waiting_for_a_touch_and_says_what_it_knows() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    // Longer than anybody waits here.
    bed.card.touch_within(Duration::from_secs(60));
    let spawn = |arguments: &[&str]| {
        let mut command = Command::new(binary("tufctl"));
        bed.home.environment(&mut command);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let client = spawn(&["sign", "repo", "--yes", "--json"]);
    bed.card.until_it_waits_for_a_touch();
    let behind = spawn(&["key", "attest", "root-a", "--json"]);
    let began = Instant::now();
    bed.agent.signal("TERM");
    let told = client.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let told = &told["error"];
    assert_eq!(told["reason"], "UNREACHABLE", "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("the agent is being stopped") && message.contains("no signature"), "{told}");
    assert!(!message.contains("helper") && !message.contains("SIGKILL"), "{told}");
    behind.wait_with_output().unwrap();
    bed.home.refused("status", 7, "UNREACHABLE");
    assert!(bed.agent.wait().success());
    // The card still waits. No drain was sat out, whatever else the machine does.
    assert!(
        bed.card.waits_for_a_touch() && began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    let log = bed.agent.log();
    assert!(!log.contains("died (signal"), "{log}");
    bed.card.touch();
    let agent = bed.home.start();
    agent.wait_until(|| bed.state() == "locked");
    let outcomes = bed.home.journalled("sign.outcome");
    assert!(outcomes.last().unwrap().to_string().contains("the agent is being stopped"), "{outcomes:?}");
    // Nobody is left verified at the card.
    let before = bed.verifies();
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    bed.home.run("token unlock alice --pin-file pin").done();
    bed.home.unlock_file_store();
    bed.card.touch_always(true);
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!(bed.verifies(), before + 1);
}

/// A private key whose seed is 32 times seven.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
";
