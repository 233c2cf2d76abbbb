//! A YubiKey that others use, too, and what they did to it.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;
use tufagent_tests::cards::{Card, Entry, FIRMWARE_5_7};
use tufagent_tests::{binary, run_to_end};

use crate::neighbours::{HOLD, IDLE, KEEP};
use crate::yubikeys::Bed;

/// Another program that has the card.
pub(crate) struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// It is within a transaction ([`HOLD`]), or keeps the card verified ([`KEEP`]), until it is let go of.
    #[track_caller]
    pub(crate) fn that(does: &str, bed: &Bed) -> Self {
        let mut program = bed.another(does);
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let done = lines.by_ref().map_while(Result::ok).any(|line| line.ends_with(does));
        assert!(done, "it does not {does} the card");
        Self { child, lines }
    }

    /// What it says at its end.
    pub(crate) fn let_go(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let said = self.lines.map_while(Result::ok).collect();
        self.child.wait().unwrap();
        said
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
    let holder = Other::that(HOLD, &bed);
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
    let holder = Other::that(HOLD, &bed);
    // It is known by its name.
    let name = bed.home.path("scdaemon");
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &name).unwrap();
    let mut suspect =
        bed.another_called(&name, IDLE).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut attest = Command::new(binary("tufctl"));
    bed.home.environment(&mut attest);
    attest.args(["key", "attest", "root-a"]);
    let attested = std::thread::spawn(move || run_to_end(&mut attest));
    let signed = bed.home.run("sign repo --yes --key root-a --json");
    let refused = signed.refused(5, "TOKEN_BUSY");
    assert!(refused["message"].as_str().unwrap().contains("another program is in the middle"), "{signed}");
    assert!(refused["message"].as_str().unwrap().contains("it may be scdaemon"), "{signed}");
    assert!(refused["remedy"].as_str().unwrap().contains("scdaemon"), "{signed}");
    drop(suspect.stdin.take());
    suspect.wait().unwrap();
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

#[test]
fn an_agent_that_was_never_unlocked_takes_nothing_from_another_program_that_was() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --slot 9e --pin-policy never");
    bed.repository("root-a");
    bed.forgets_its_pin();
    let other = Other::that(KEEP, &bed);
    let before = bed.verifies();
    // All that needs no PIN, each time with the handle given back; and the end.
    for command in ["token list", "key list", "key attest root-a", "status", "sign repo --yes"] {
        bed.home.run(command).done();
    }
    bed.agent.signal("TERM");
    assert!(bed.agent.wait().success());
    let said = other.let_go();
    assert!(said.iter().any(|line| line.ends_with("answer 9000 reset false")), "{said:?}");
    assert_eq!(bed.verifies(), before);
}

#[test]
fn a_card_whose_time_is_over_forgets_the_pin_too() {
    let Some(bed) = Bed::configured(FIRMWARE_5_7, |_| "unlock_for = \"2s\"\n".to_owned()) else { return };
    bed.home.run("token unlock alice --pin-file pin").done();
    bed.agent.wait_until(|| bed.state() == "locked");
    let asked = |entry: &&Entry| entry.ins == 0x20;
    bed.agent.wait_until(|| {
        bed.other_program("00200080");
        bed.card.log().iter().rev().find(asked).is_some_and(|entry| entry.sw == 0x63c3)
    });
    assert_eq!((bed.verifies(), bed.card.tries_left()), (1, (3, 3)));
}
