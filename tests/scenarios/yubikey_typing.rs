//! What is typed for a YubiKey, and what is not: a key that takes no PIN gets none, one entry does where a key takes it each
//! time, and nobody types one for what is refused anyway.

use serde_json::json;
use tufagent_tests::cards::{FACTORY_PIN, FIRMWARE_5_4, FIRMWARE_5_7};

use crate::terminal::talk;
use crate::yubikeys::{Bed, private};

impl Bed {
    /// The card is locked, and nobody has said `lock`.
    pub(crate) fn forgets_its_pin(&self) {
        self.card.remove();
        self.agent.wait_until(|| self.state() == "absent");
        self.card.insert();
        self.agent.wait_until(|| self.state() == "locked");
    }
}

#[test]
fn a_key_that_takes_no_pin_signs_on_a_locked_card_unless_somebody_locked_it() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-a", "--type ecdsa-p256 --slot 9e --pin-policy never --touch always");
    bed.repository("root-a");
    bed.forgets_its_pin();
    let before = bed.verifies();
    bed.card.touch_within(std::time::Duration::from_secs(1));
    home.refused("sign repo --yes --key root-a", 5, "TOUCH_TIMEOUT");
    bed.card.touch_always(true);
    let signed = home.run("sign repo --yes --json").done();
    assert_eq!(signed.json()["published"], true, "{signed}");
    home.run("bump repo root").done();
    let Some((code, screen)) = talk(home, "sign repo", &[("[y/N] ", "y\n")]) else { return };
    assert_eq!((code, bed.verifies(), bed.state()), (0, before, json!("locked")), "{screen}");
    // What a person has locked stays so.
    home.run("token lock alice").done();
    home.run("bump repo root").done();
    home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    home.run("token unlock alice --pin-file pin").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn one_entry_signs_root_targets_and_delegations() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = Bed::new(firmware) else { return };
        let home = &bed.home;
        bed.generate("all", "--type ecdsa-p256 --pin-policy once");
        home.unlock_file_store();
        home.keys(&["online"]);
        home.run(
            "repo init repo --name app --root all --root-threshold 1 --targets all --targets-threshold 1 --snapshot online \
             --timestamp online",
        )
        .done();
        home.run("delegation add repo team --key all --paths team/* --yes").done();
        home.run("delegation add repo other --key all --paths other/* --yes").done();
        bed.forgets_its_pin();
        let before = bed.card.counters();
        let pin = format!("{FACTORY_PIN}\n");
        let steps = [("PIN of alice", pin.as_str()), ("[y/N] ", "y\n")];
        let Some((code, screen)) = talk(home, "sign repo", &steps) else { return };
        assert!(code == 0 && screen.contains("published"), "{screen}");
        let after = bed.card.counters();
        assert_eq!(
            (after.verifies, after.signatures),
            (before.verifies + 1, before.signatures + 4),
            "{screen}"
        );
        assert_eq!(screen.matches("PIN of alice").count(), 1, "{screen}");
        home.run("verify repo --root repo/metadata/1.root.json").done();
    }
}

#[test]
fn a_configuration_demands_that_the_card_is_unlocked_for_each_of_its_keys() {
    let Some(bed) = Bed::configured(FIRMWARE_5_7, |_| "need_unlock = true\n".to_owned()) else { return };
    bed.home.run("token unlock alice --pin-file pin").done();
    bed.generate("root-a", "--type ecdsa-p256 --slot 9e --pin-policy never");
    bed.repository("root-a");
    bed.forgets_its_pin();
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn one_entry_unlocks_the_card_and_is_the_one_that_a_key_takes_for_its_signature() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-a", "--type ecdsa-p256 --pin-policy always");
    bed.repository("root-a");
    home.run("token lock alice").done();
    let before = bed.verifies();
    let pin = format!("{FACTORY_PIN}\n");
    // Wrong, it is one try, and nothing counts as signed.
    let steps = [("[y/N] ", "y\n"), ("PIN of alice", "654321\n")];
    let Some((code, screen)) = talk(home, "sign repo --role root", &steps) else { return };
    assert_eq!((code, bed.verifies(), bed.card.tries_left().0), (5, before + 1, 2), "{screen}");
    assert_eq!((home.journalled("sign.outcome").len(), bed.state()), (1, json!("locked")));
    for round in 1..=2 {
        let steps = [("[y/N] ", "y\n"), ("PIN of alice", pin.as_str())];
        let (code, screen) = talk(home, "sign repo", &steps).unwrap();
        assert_eq!((code, bed.verifies()), (0, before + 1 + round), "{screen}");
        assert!(screen.contains("root-a takes its PIN for each signature: root v"), "{screen}");
        // Nothing comes between the PIN and what it is for.
        let log = bed.card.log();
        let signs = log.iter().rposition(|entry| entry.ins == 0x87).unwrap();
        let at_once: Vec<_> = log[signs - 1..=signs].iter().map(|entry| (entry.ins, entry.sw)).collect();
        assert_eq!(at_once, [(0x20, 0x9000), (0x87, 0x9000)], "{log:x?}");
        // Unlocked as by any other entry.
        let token = home.token("alice");
        assert_eq!(token["state"], "unlocked", "{token}");
        assert!(token["locks_in_seconds"].as_u64().is_some_and(|left| left > 3_000), "{token}");
        home.run("bump repo root").done();
    }
}

#[test]
fn nobody_types_a_pin_for_what_is_refused_whatever_is_typed() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.run(
        "repo init second --name second --root root-a --targets online --snapshot online --timestamp online \
         --root-threshold 1 --targets-threshold 1",
    )
    .done();
    home.run("token lock alice").done();
    let before = bed.verifies();
    // A script learns the same first.
    home.refused("sign second --role root --yes", 3, "SHARED_KEY");
    home.refused("sign second --role root --yes --key root-a", 3, "SHARED_KEY");
    let Some((code, screen)) = talk(home, "sign second --role root", &[]) else { return };
    assert_eq!((code, bed.verifies()), (3, before), "{screen}");
    assert!(screen.contains("serves the repository app") && !screen.contains("PIN of"), "{screen}");
    // Said so, it is asked for.
    let pin = format!("{FACTORY_PIN}\n");
    let steps = [("PIN of alice", pin.as_str()), ("[y/N] ", "y\n")];
    let (code, screen) = talk(home, "sign second --role root --shared-key", &steps).unwrap();
    assert_eq!((code, bed.verifies()), (4, before + 1), "{screen}");
}

#[test]
fn a_card_that_its_file_cannot_unlock_is_told_once_and_a_blocked_one_with_its_way_out() {
    let Some(bed) = Bed::with_pin_file(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.agent.wait_until(|| bed.state() == "unlocked");
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    private(home, "pin", "654321");
    bed.forgets_its_pin();
    bed.agent.wait_until(|| bed.card.tries_left().0 == 2);
    bed.agent.wait_until(|| home.token("alice")["problem"].to_string().contains("is wrong"));
    let told = home.run("sign repo --yes --role root").exits(5);
    assert_eq!(told.stderr.matches("is wrong").count(), 1, "{told}");
    assert!(told.stderr.contains("error: nothing else could be done"), "{told}");
    // Blocked by another program.
    (0..2).for_each(|_| bed.other_program("0020008008363534333231FFFF"));
    bed.agent.wait_until(|| bed.card.tries_left().0 == 0);
    home.run("token unlock alice --pin-file wrong").exits(5);
    assert_eq!(bed.state(), "blocked");
    let signed = home.run("sign repo --yes").exits(4);
    let end = format!("{}{}", signed.stdout, signed.stderr);
    assert!(end.contains("tufctl token unblock alice") && !end.contains("tufctl token list"), "{signed}");
    let refused = home.run("sign repo --yes --role root").exits(5);
    assert!(refused.stderr.contains("tufctl token unblock alice"), "{refused}");
}
