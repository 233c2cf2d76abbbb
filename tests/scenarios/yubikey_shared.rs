//! A YubiKey that others use, too, and what they did to it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::json;
use tufagent_tests::cards::FIRMWARE_5_7;

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
    let signed = bed.home.run("sign repo --yes --key root-a --json");
    let refused = signed.refused(5, "TOKEN_BUSY");
    assert!(refused["message"].as_str().unwrap().contains("another program is in the middle"), "{signed}");
    assert!(refused["remedy"].as_str().unwrap().contains("scdaemon"), "{signed}");
    // Nobody is to touch what was not asked.
    assert!(!signed.stderr.contains("touch now"), "{signed}");
    assert_eq!(bed.home.run("key list --json").done().json()["keys"][0]["name"], "online");
    assert_eq!((bed.state(), &bed.home.token("alice")["helper_pid"]), (json!("unlocked"), &helper));
    holder.let_go();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!((bed.verifies(), &bed.home.token("alice")["helper_pid"]), (verifies, &helper));
}
