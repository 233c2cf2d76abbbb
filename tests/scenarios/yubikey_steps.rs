//! What a YubiKey may answer where it is asked for a signature, a PIN, a new key or its word on one, as people see it: no
//! answer is taken for what it is not, and nothing that does not verify leaves (FAULTS C1, C7, C8, D7).

use serde_json::{Value, json};
use tufagent_tests::cards::{CARD_PIN, FIRMWARE_5_4, FIRMWARE_5_7, Fault};

use crate::yubikey_matrix::Desk;
use crate::yubikeys::Bed;

/// No right, blocked, wrong with two tries and with none left, and others.
const WORDS: &[u16] =
    &[0x6982, 0x6983, 0x63c2, 0x63c0, 0x6985, 0x6a80, 0x6a82, 0x6a88, 0x6d00, 0x6700, 0x6581, 0x6f00];
const VERIFY: u8 = 0x20;
const GENERATE: u8 = 0x47;
const SIGN: u8 = 0x87;
const ATTEST: u8 = 0xf9;

impl Bed {
    /// The card answers `word` to the next command with this instruction, and `command` ends as that: at the token, and not as
    /// a wrong PIN or a touch that did not come.
    #[track_caller]
    fn answers(&self, ins: u8, fault: Fault, command: &str) -> Value {
        let before = self.verifies();
        let at = format!("{command} with {fault:x?}");
        self.card.fail_at(ins, 1, fault);
        let ended = self.home.run(&format!("{command} --json"));
        assert!(self.card.faults_left() == 0 && [5, 6].contains(&ended.code), "{at}: {ended}");
        let error = ended.json()["error"].clone();
        let reason = error["reason"].as_str().unwrap();
        assert!(
            !["PIN_INCORRECT", "PIN_BLOCKED", "TOUCH_TIMEOUT", "INTERNAL"].contains(&reason),
            "{at}: {ended}"
        );
        assert!(!error["remedy"].as_str().unwrap().is_empty(), "{at}: {ended}");
        assert!(self.verifies() <= before + 1, "{at}: one entry is one VERIFY");
        assert_eq!(self.card.tries_left(), (3, 3), "{at}");
        error
    }

    fn is_unlocked(&self) {
        self.agent.wait_until(|| self.state() == "locked" || self.state() == "unlocked");
        if self.state() == "locked" {
            self.home.run("token unlock alice --pin-file pin").done();
        }
    }
}

#[test]
fn whatever_a_card_answers_to_its_pin_is_a_wrong_one_only_where_a_try_is_gone() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = Bed::locked(firmware) else { return };
        for word in WORDS {
            let error = bed.answers(VERIFY, Fault::Sw(*word), "token unlock alice --pin-file pin");
            assert_eq!(error["reason"], "TOKEN_FAILED", "{word:x}: {error}");
            // Nothing of it is held against anybody.
            bed.home.run("token unlock alice --pin-file pin").done();
            bed.home.run("token lock alice").done();
        }
        assert_eq!(bed.home.token("alice")["pin_tries_left"], 3);
        // What is true is told.
        let refused = bed.home.refused("token unlock alice --pin-file wrong", 5, "PIN_INCORRECT");
        assert_eq!(refused["details"]["tries_left"], 2, "{refused}");
    }
}

#[test]
fn whatever_a_card_answers_to_its_puk_is_a_wrong_one_only_where_a_try_is_gone() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    crate::yubikeys::private(&bed.home, "puk", tufagent_tests::cards::FACTORY_PUK);
    for word in [0x6983, 0x63c2, 0x63c0, 0x6f00] {
        let unblock = "token unblock alice --puk-file puk --new-pin-file pin";
        let error = bed.answers(0x2c, Fault::Sw(word), unblock);
        assert_eq!(error["reason"], "TOKEN_FAILED", "{word:x}: {error}");
        bed.home.run(unblock).done();
    }
}

#[test]
fn whatever_a_card_answers_where_it_is_to_sign_costs_no_try_and_it_signs_the_next_time() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    for word in WORDS {
        bed.answers(SIGN, Fault::Sw(*word), "sign repo --yes --key root-a");
        bed.is_unlocked();
    }
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn whatever_a_card_answers_where_it_is_to_make_or_attest_a_key_is_told_as_that() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    let generate =
        "key generate new --token alice --type ecdsa-p256 --slot 95 --management-key-file management";
    for word in WORDS {
        bed.answers(GENERATE, Fault::Sw(*word), generate);
        bed.is_unlocked();
        bed.answers(ATTEST, Fault::Sw(*word), "key attest root-a");
        bed.is_unlocked();
    }
    bed.home.run(generate).done();
    assert_eq!(bed.key("new")["slot"], "95");
}

#[test]
fn a_signature_that_a_card_made_of_something_else_is_thrown_away() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    // Well formed: r and s are 1.
    let answer = hex::decode("7c0a820830060201010201019000").unwrap();
    let error = bed.answers(SIGN, Fault::Answer(answer), "sign repo --yes --key root-a");
    assert_eq!(error["reason"], "BAD_SIGNATURE", "{error}");
    let shown = bed.home.run("repo show repo --json").done().json();
    let root = shown["roles"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap();
    assert_eq!(root["signed_by"], json!([]), "{shown}");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_signature_that_was_made_and_not_heard_of_has_its_intent_in_the_journal_and_why_none_came() {
    let Some(desk) = Desk::with(&[FIRMWARE_5_7]) else { return };
    desk.unlock("alice");
    desk.key("root-a", "alice", "");
    desk.home.unlock_file_store();
    desk.home.keys(&["online"]);
    desk.init("root-a", "online");
    let card = &desk.cards[0];
    card.fail_at(SIGN, 1, Fault::RemoveAfter);
    desk.home.run("sign repo --yes --json --key root-a").exits(5);
    let outcomes = desk.home.journalled("sign.outcome");
    let told = &outcomes.last().unwrap()["body"];
    assert_eq!((&told["outcome"], &told["about"]["reason"]), (&json!("failed"), &json!("TOKEN_ABSENT")));
    assert!(told["about"]["message"].as_str().unwrap().contains("pulled out while it was asked"), "{told}");
    card.until_gone();
    card.insert();
    desk.until("alice", "locked");
    desk.unlock("alice");
    assert_eq!(desk.sign().done().json()["published"], true);
    // No signature of the card is missing in the journal.
    let of_root = |entry: &&Value| entry["body"]["role"] == "root";
    let intents = desk.home.journalled("sign.intent");
    let intents = u64::try_from(intents.iter().filter(of_root).count()).unwrap();
    assert_eq!((card.counters().signatures, intents), (2, 2));
    assert!(!desk.home.run("audit export").done().stdout.contains(CARD_PIN));
}
