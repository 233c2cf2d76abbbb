//! A PIN that a YubiKey accepted, presented to it again: counted before that, journalled and told, as every attempt is
//! (DESIGN section 4, rule 5; FAULTS C1, C2).

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tufagent_tests::binary;
use tufagent_tests::cards::{FIRMWARE_5_7, Fault, Root};

use crate::pins::a_while;
use crate::yubikeys::{Bed, private};

/// VERIFY. Of a card that has forgotten the PIN the first one asks for nothing but that, and the second one presents it.
const VERIFY: u8 = 0x20;

/// A card whose PIN another program has changed to `654321`; it has forgotten that the old one was accepted.
fn changed(bed: Bed) -> Bed {
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.other_program("0024008010313233343536FFFF363534333231FFFF");
    bed.other_program("A4040000");
    private(&bed.home, "new", "654321");
    bed
}

/// Attempts that the agent made in the middle of a request.
fn again(bed: &Bed) -> Vec<Value> {
    let attempts = bed.home.journalled("token.attempt").into_iter();
    attempts.map(|entry| entry["body"].clone()).filter(|body| body["about"]["again"] == true).collect()
}

/// How many were wrong before the last attempt, by our own count.
fn wrong_before(bed: &Bed) -> Value {
    bed.home.journalled("token.attempt").last().unwrap()["body"]["wrong_before"].clone()
}

#[test]
fn a_pin_that_was_changed_elsewhere_is_counted_and_told_when_the_card_refuses_it() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7).map(changed) else { return };
    let (before, accepted) = (bed.verifies(), bed.home.journalled("token.accepted").len());
    let refused = bed.home.refused("sign repo --yes --key root-a", 5, "PIN_INCORRECT");
    let message = refused["message"].as_str().unwrap();
    for said in ["alice", "changed elsewhere", "a try is gone; 2 tries left", "nothing was signed"] {
        assert!(message.contains(said), "{said} is not in {message}");
    }
    assert_eq!(refused["details"]["tries_left"], 2, "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock alice"), "{refused}");
    assert_eq!((bed.verifies(), bed.card.tries_left()), (before + 1, (2, 3)));
    let token = bed.home.token("alice");
    assert_eq!((&token["state"], &token["pin_tries_left"]), (&json!("locked"), &json!(2)), "{token}");
    assert_eq!((again(&bed).len(), bed.home.journalled("token.accepted").len()), (1, accepted));
    // It is wiped: nothing presents it once more.
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    assert_eq!(bed.verifies(), before + 1);
    bed.agent.stop();
    bed.agent = bed.home.start();
    bed.home.run("token unlock alice --pin-file new").done();
    assert_eq!(wrong_before(&bed), 1);
    bed.home.unlock_file_store();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_pin_that_is_accepted_again_is_counted_and_taken_back() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.other_program("A4040000");
    let accepted = bed.home.journalled("token.accepted").len();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    let attempts = again(&bed);
    let last = attempts.last().unwrap();
    assert_eq!((&last["token"], &last["by_person"]), (&json!("alice"), &json!(false)), "{last}");
    let settled = bed.home.journalled("token.accepted");
    assert!(settled.len() > accepted, "{settled:?}");
    assert_eq!(settled.last().unwrap()["body"]["wrong"], 0);
}

#[test]
fn whatever_ends_the_agent_after_it_has_counted_the_count_is_not_lower_than_what_the_card_lost() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7).map(changed) else { return };
    bed.card.fail_at(VERIFY, 2, Fault::Slow(Duration::from_secs(4)));
    let mut command = Command::new(binary("tufctl"));
    bed.home.environment(&mut command);
    command.args(["sign", "repo", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    bed.agent.wait_until(|| !again(&bed).is_empty());
    assert_eq!(bed.card.tries_left().0, 3, "the card was asked before it was counted");
    bed.agent.kill();
    client.wait().unwrap();
    bed.agent = bed.home.start();
    bed.agent.wait_until(|| bed.card.tries_left().0 == 2);
    bed.agent.wait_until(|| bed.state() == "locked");
    bed.home.run("token unlock alice --pin-file new").done();
    assert_eq!(wrong_before(&bed), 1);
}

#[test]
fn a_pin_of_which_no_answer_comes_stays_counted_until_the_card_tells_its_tries() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.other_program("A4040000");
    bed.card.fail_at(VERIFY, 2, Fault::RemoveAfter);
    let signed = bed.home.run("sign repo --yes --key root-a --json");
    assert_eq!(signed.code, 5, "{signed}");
    bed.agent.wait_until(|| bed.state() == "absent");
    bed.card.insert();
    bed.agent.wait_until(|| bed.state() == "locked");
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!((wrong_before(&bed), bed.card.tries_left()), (json!(0), (3, 3)));
    let corrected = bed.home.journalled("token.count-corrected").last().unwrap()["body"].clone();
    assert_eq!((&corrected["wrong_before"], &corrected["wrong"]), (&json!(1), &json!(0)), "{corrected}");
}

#[test]
fn a_file_whose_pin_was_accepted_unseen_unlocks_the_card_after_a_restart() {
    let Some(mut bed) = Bed::with_pin_file(FIRMWARE_5_7) else { return };
    bed.agent.wait_until(|| bed.state() == "unlocked");
    bed.card.remove();
    bed.agent.wait_until(|| bed.state() == "absent");
    bed.card.fail_at(VERIFY, 1, Fault::RemoveAfter);
    bed.card.insert();
    bed.agent.wait_until(|| bed.card.faults_left() == 0);
    let before = bed.verifies();
    bed.agent.stop();
    bed.card.insert();
    bed.agent = bed.home.start();
    bed.agent.wait_until(|| bed.state() == "unlocked");
    assert_eq!((bed.verifies(), bed.card.tries_left()), (before + 1, (3, 3)));
}

#[test]
fn a_pin_from_a_file_that_the_card_refuses_is_not_tried_again_by_itself() {
    let Some(mut bed) = Bed::with_pin_file(FIRMWARE_5_7) else { return };
    bed.agent.wait_until(|| bed.state() == "unlocked");
    bed = changed(bed);
    let before = bed.verifies();
    bed.home.refused("sign repo --yes --key root-a", 5, "PIN_INCORRECT");
    a_while();
    assert_eq!((bed.verifies(), bed.state()), (before + 1, json!("locked")));
    bed.agent.stop();
    bed.agent = bed.home.start();
    bed.agent.wait_until(|| bed.home.token("alice")["problem"].to_string().contains("not accepted it"));
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    assert_eq!((bed.verifies(), bed.card.tries_left().0), (before + 1, 2));
}

/// A card that is asked with a PIN which nobody has proven, from a file, and answers so each time: it is asked once.
#[track_caller]
fn asked_with_an_unproven_pin_once(fault: &Fault, lost: u8) {
    let Some(bed) =
        Bed::configured(FIRMWARE_5_7, |home| format!("pin = {{ file = {:?} }}\n", home.path("unproven")))
    else {
        return;
    };
    bed.agent.wait_until(|| bed.state() == "locked");
    for nth in 1..=8 {
        bed.card.fail_at(VERIFY, nth, fault.clone());
    }
    private(&bed.home, "unproven", "654321");
    let generate = "key generate k --token alice --type ecdsa-p256 --management-key-file management";
    let told = bed.home.run(generate).exits(5);
    for _ in 0..3 {
        bed.home.refused(generate, 5, "TOKEN_LOCKED");
    }
    a_while();
    assert_eq!((bed.card.faults_left(), bed.card.tries_left().0), (7, 3 - lost), "{told}");
    assert_eq!(
        (bed.home.journalled("token.attempt").len(), bed.home.journalled("token.not-asked").len()),
        (1, 0)
    );
    // A person has it tried once more.
    bed.card.order("forgive", Root::shared()).unwrap();
    private(&bed.home, "unproven", "123456");
    bed.home.run("token unlock alice").done();
}

#[test]
fn whatever_a_card_answers_to_an_unproven_pin_it_is_asked_with_it_once() {
    asked_with_an_unproven_pin_once(&Fault::SwAfter(0x6f00), 1);
    asked_with_an_unproven_pin_once(&Fault::Sw(0x6581), 0);
    asked_with_an_unproven_pin_once(&Fault::Sw(0x63c3), 0);
}

/// Asks for the tries, where they are told without the PIN.
const METADATA: u8 = 0xf7;

#[test]
fn an_answer_that_is_lost_after_a_pin_was_accepted_makes_no_failure_of_it() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    private(&bed.home, "new", "654321");
    let mut accepted = (0, 0);
    for fault in [Fault::Sw(0x6f00), Fault::Close] {
        for nth in 1..=6 {
            let spoil = || {
                bed.home.run("token lock alice").done();
                bed.card.fail_at(METADATA, nth, fault.clone());
                bed.card.fail_at(VERIFY, 2, fault.clone());
            };
            spoil();
            let before = bed.verifies();
            let unlocked = bed.home.run("token unlock alice --pin-file pin");
            let asked = bed.verifies() > before;
            bed.card.order("forgive", Root::shared()).unwrap();
            assert_eq!(unlocked.code == 0, asked, "{nth} {fault:?}: {unlocked}");
            // One whose reader broke down comes anew, and is locked then.
            bed.agent.wait_until(|| bed.state() != "absent");
            let token = bed.home.token("alice");
            let open = token["state"] == "unlocked";
            assert_eq!(open, token["locks_in_seconds"].is_u64(), "{nth} {fault:?}: {token}");
            assert!(fault == Fault::Close || open == asked, "{nth} {fault:?}: {token}");
            accepted.0 += u32::from(asked);
            spoil();
            let changed = bed.home.run("token change-pin alice --pin-file pin --new-pin-file new");
            bed.card.order("forgive", Root::shared()).unwrap();
            bed.agent.wait_until(|| bed.state() != "absent");
            let (now, then) = if changed.code == 0 { ("new", "pin") } else { ("pin", "new") };
            bed.home.run(&format!("token unlock alice --pin-file {now}")).done();
            if changed.code == 0 {
                bed.home
                    .run(&format!("token change-pin alice --pin-file {now} --new-pin-file {then}"))
                    .done();
                accepted.1 += 1;
            }
        }
    }
    assert!(accepted.0 >= 3 && accepted.1 >= 3, "{accepted:?}");
    assert!(bed.home.journalled("token.unlock").len() > 3);
}

/// GENERAL AUTHENTICATE, by which a card signs.
const AUTHENTICATE: u8 = 0x87;

#[test]
fn a_signature_that_fails_after_the_card_has_accepted_its_pin_is_journalled_as_one_that_was_asked_for() {
    let Some(bed) = Bed::with_pin_file(FIRMWARE_5_7) else { return };
    bed.agent.wait_until(|| bed.state() == "unlocked");
    bed.generate("root-a", "--type ecdsa-p256 --pin-policy always");
    bed.repository("root-a");
    let counts = || {
        let of = |kind: &str| bed.home.journalled(kind).len();
        [
            of("token.attempt"),
            of("token.accepted"),
            of("token.not-asked"),
            usize::try_from(bed.verifies()).unwrap(),
        ]
    };
    let before = counts();
    // Not the PIN: the card has taken that, and then fails.
    bed.card.fail_at(AUTHENTICATE, 1, Fault::Sw(0x6f00));
    let failed = bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_FAILED");
    assert_eq!(bed.card.faults_left(), 0, "{failed}");
    let after = counts();
    let more: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(more, [1, 1, 0, 1], "attempts, accepted, not asked, as the card counts them: {failed}");
    assert_eq!(bed.card.tries_left().0, 3);
    let last = bed.home.journalled("token.accepted").pop().unwrap();
    assert_eq!((&last["body"]["token"], &last["body"]["wrong"]), (&json!("alice"), &json!(0)), "{last}");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}
