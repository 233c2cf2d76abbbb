//! A PIN that a YubiKey accepted, presented to it again: counted before that, journalled and told, as every attempt is
//! (DESIGN section 4, rule 5; FAULTS C1, C2).

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tufagent_tests::binary;
use tufagent_tests::cards::{FIRMWARE_5_7, Fault};

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
