//! A YubiKey that others use, too, and what they did to it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tufagent_tests::cards::{Card, Entry, FIRMWARE_5_7};
use tufagent_tests::{binary, run_to_end};

use crate::yubikeys::{Bed, HOLD};

/// Another program within a transaction, until it is let go of.
struct Holder(Child);

impl Holder {
    #[track_caller]
    fn of(bed: &Bed) -> Self {
        let mut program = bed.another(HOLD);
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with(HOLD)), "it does not hold the card");
        Self(child)
    }

    fn let_go(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_card_that_is_locked_while_another_program_uses_it_forgets_its_pin_once_that_is_done() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    // VERIFY without a PIN asks whether it is verified: it was, in this very transaction.
    let state_of_pin = || {
        let asked = |entry: &&Entry| entry.ins == 0x20;
        bed.other_program("00200080");
        bed.card.log().iter().rev().find(asked).map(|entry| entry.sw)
    };
    assert_eq!(state_of_pin(), Some(0x9000));
    bed.home.run("bump repo root").done();
    let holder = Holder::of(&bed);
    bed.home.run("lock").done();
    assert_eq!(bed.state(), "locked");
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    let selected = |card: &Card| card.log().iter().filter(|entry| entry.ins == 0xa4).count();
    let before = selected(&bed.card);
    holder.let_go();
    bed.agent.wait_until(|| selected(&bed.card) > before);
    assert_eq!(state_of_pin(), Some(0x63c3));
}

#[test]
fn a_card_that_another_program_is_using_is_said_to_be_so_and_stays_unlocked() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    bed.card.touch_always(true);
    // The first one after a key was made takes the PIN anew.
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    bed.home.run("bump repo root").done();
    let helper = bed.home.token("alice")["helper_pid"].clone();
    let verifies = bed.verifies();
    let holder = Holder::of(&bed);
    let mut attest = Command::new(binary("tufctl"));
    bed.home.environment(&mut attest);
    attest.args(["key", "attest", "root-a"]);
    let attested = std::thread::spawn(move || run_to_end(&mut attest));
    let signed = bed.home.run("sign repo --yes --key root-a --json");
    let refused = signed.refused(5, "TOKEN_BUSY");
    assert!(refused["message"].as_str().unwrap().contains("another program is in the middle"), "{signed}");
    assert!(refused["remedy"].as_str().unwrap().contains("scdaemon"), "{signed}");
    // Nobody is to touch what was not asked.
    assert!(!signed.stderr.contains("touch now"), "{signed}");
    assert_eq!(bed.home.run("key list --json").done().json()["keys"][0]["name"], "online");
    assert_eq!((bed.state(), &bed.home.token("alice")["helper_pid"]), (json!("unlocked"), &helper));
    holder.let_go();
    // Nobody is left without a word meanwhile.
    let attested = attested.join().unwrap();
    assert!(attested.stderr.contains("waiting for alice (YubiKey 10000001"), "{attested}");
    assert!(attested.stderr.contains("scdaemon"), "{attested}");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!((bed.verifies(), &bed.home.token("alice")["helper_pid"]), (verifies, &helper));
}
