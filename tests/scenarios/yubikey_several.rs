//! Several YubiKeys for one root, and cards that change places while a person types: each PIN goes to the card that it is for,
//! once, in any order (FAULTS C1, C5).

use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tufagent_tests::cards::{CARD_PIN, FIRMWARE_5_4, FIRMWARE_5_7, Root, State};

use crate::terminal::{talk, talk_in_steps};
use crate::yubikey_away::meanwhile;
use crate::yubikey_matrix::Desk;

const STRANGER: u32 = 15_359_999;

/// A desk whose root is signed by `threshold` of the keys of its cards, all of which are locked again; the rest by the file
/// store.
fn desk_of(firmwares: &[[u8; 3]], threshold: usize) -> Option<Desk> {
    let desk = Desk::with(firmwares)?;
    let names = &["alice", "bob", "carol"][..firmwares.len()];
    for name in names {
        desk.unlock(name);
        desk.key(&format!("root-{name}"), name, "");
    }
    let home = &desk.home;
    home.unlock_file_store();
    home.keys(&["online"]);
    let roots: Vec<_> = names.iter().map(|name| format!("root-{name}")).collect();
    home.run(&format!(
        "repo init repo --name app --root {} --root-threshold {threshold} --targets online --targets-threshold 1 --snapshot \
         online --timestamp online",
        roots.join(",")
    ))
    .done();
    home.run("lock").done();
    home.unlock_file_store();
    Some(desk)
}

impl Desk {
    fn verifies(&self) -> Vec<u64> {
        self.cards.iter().map(|card| card.counters().verifies).collect()
    }
}

#[test]
fn two_of_three_sign_whoever_declines_and_in_any_order_and_nobody_types_a_pin_twice() {
    let Some(desk) = desk_of(&[FIRMWARE_5_7, FIRMWARE_5_4, FIRMWARE_5_7], 2) else { return };
    let (home, pin) = (&desk.home, format!("{CARD_PIN}\n"));
    let before = desk.verifies();
    let more =
        |these: [u64; 3]| before.iter().zip(these).map(|(before, more)| before + more).collect::<Vec<_>>();
    // Bob has nothing to say: carol is asked in his place.
    let steps =
        [("PIN of alice", pin.as_str()), ("PIN of bob", "\n"), ("PIN of carol", &pin), ("[y/N] ", "y\n")];
    let Some((code, screen)) = talk(home, "sign repo", &steps) else { return };
    assert!(code == 0 && screen.contains("published"), "{screen}");
    assert_eq!(desk.verifies(), more([1, 0, 1]), "{screen}");
    // The last one first, and then one that is not there and comes when it is asked for by name and number.
    home.run("lock").done();
    home.unlock_file_store();
    let [alice, bob, _] = &desk.cards[..] else { panic!("three cards") };
    for (card, name) in [(alice, "alice"), (bob, "bob")] {
        card.remove();
        desk.until(name, "absent");
    }
    home.run("bump repo root").done();
    let number = bob.state().serial();
    let talked = std::thread::scope(|scope| {
        let comes = meanwhile(scope, home.dir(), "comes", || {
            bob.insert();
            bob.until_seen();
        });
        let steps = json!([
            ["PIN of carol", pin],
            ["[y/N] ", "y\n"],
            [format!("bob (YubiKey {number}"), "\n", comes],
            ["PIN of bob", pin],
        ]);
        talk_in_steps(home, "sign repo", &steps.to_string())
    });
    let Some((code, screen)) = talked else { return };
    assert!(code == 0 && screen.contains("published"), "{screen}");
    assert!(screen.contains("insert alice (YubiKey"), "{screen}");
    assert_eq!(desk.verifies(), more([1, 1, 2]), "{screen}");
    // Of what is unlocked nothing is asked again.
    home.run("bump repo root").done();
    let Some((code, screen)) = talk(home, "sign repo", &[("[y/N] ", "y\n")]) else { return };
    assert!(code == 0 && screen.contains("published"), "{screen}");
    assert_eq!(desk.verifies(), more([1, 1, 2]), "{screen}");
    for card in &desk.cards {
        assert_eq!(card.tries_left(), (3, 3));
    }
}

#[test]
fn a_card_that_was_put_in_place_of_another_while_its_pin_is_typed_gets_none() {
    let Some(desk) = desk_of(&[FIRMWARE_5_7], 1) else { return };
    let (home, card) = (&desk.home, &desk.cards[0]);
    let before = card.counters().verifies;
    let own = Mutex::new(None);
    let talked = std::thread::scope(|scope| {
        let swaps = meanwhile(scope, home.dir(), "swaps", || {
            let stranger = State::new(STRANGER, FIRMWARE_5_7, Root::shared()).with_pin(CARD_PIN);
            *own.lock().unwrap() = Some(card.swap(stranger));
            card.until_seen();
        });
        let steps = json!([
            ["PIN of alice", format!("{CARD_PIN}\n"), swaps],
            ["insert alice (YubiKey 15350041", "no\n"],
            ["[y/N] ", "y\n"],
        ]);
        talk_in_steps(home, "sign repo", &steps.to_string())
    });
    let Some((code, screen)) = talked else { return };
    assert_eq!(code, 4, "{screen}");
    let stranger = card.swap(own.into_inner().unwrap().unwrap());
    assert_eq!((stranger.serial(), stranger.counters()), (STRANGER, Default::default()), "{screen}");
    card.until_seen();
    assert_eq!((card.counters().verifies, card.tries_left()), (before, (3, 3)), "{screen}");
}

#[test]
fn cards_that_change_readers_while_a_pin_is_typed_get_each_their_own() {
    let Some(desk) = desk_of(&[FIRMWARE_5_7, FIRMWARE_5_4], 2) else { return };
    let (home, pin) = (&desk.home, format!("{CARD_PIN}\n"));
    let [one, other] = &desk.cards[..] else { panic!("two cards") };
    let numbers = || [one.state().serial(), other.state().serial()];
    let (before, verifies) = (numbers(), desk.verifies());
    let talked = std::thread::scope(|scope| {
        let change = meanwhile(scope, home.dir(), "change", || {
            let nobody = || State::new(STRANGER, FIRMWARE_5_7, Root::shared());
            let first = one.swap(nobody());
            let second = other.swap(first);
            drop(one.swap(second));
            one.until_seen();
            other.until_seen();
        });
        let steps = json!([["PIN of alice", pin, change], ["PIN of bob", pin], ["[y/N] ", "y\n"]]);
        talk_in_steps(home, "sign repo", &steps.to_string())
    });
    let Some((code, screen)) = talked else { return };
    assert_eq!(numbers(), [before[1], before[0]]);
    assert!(code == 0 && screen.contains("published"), "{screen}");
    assert_eq!(desk.verifies(), [verifies[1] + 1, verifies[0] + 1], "{screen}");
    for card in &desk.cards {
        assert_eq!((card.tries_left(), card.counters().signatures), ((3, 3), 1));
    }
}

#[test]
fn all_that_was_not_signed_is_listed_where_nobody_touched_anything() {
    let Some(desk) = Desk::with(&[FIRMWARE_5_7, FIRMWARE_5_4]) else { return };
    for (card, name) in desk.cards.iter().zip(["alice", "bob"]) {
        desk.unlock(name);
        desk.key(&format!("root-{name}"), name, "--touch always");
        card.touch_within(Duration::from_millis(300));
    }
    desk.home.unlock_file_store();
    desk.home.keys(&["online"]);
    desk.init("root-alice,root-bob", "online");
    let refused = desk.home.refused("sign repo --yes", 5, "TOUCH_TIMEOUT");
    let unsigned = refused["details"]["unsigned"].as_array().unwrap();
    let told = unsigned.iter().map(|one| json!([one["role"], one["key"], one["token"], one["reason"]]));
    let told: Vec<_> = told.collect();
    let one = |key: &str, token: &str| json!(["root", key, token, "TOUCH_TIMEOUT"]);
    assert_eq!(told, [one("root-alice", "alice"), one("root-bob", "bob")], "{refused}");
    assert!(unsigned.iter().all(|one| one["version"] == 1 && one["keyid"].is_string()), "{refused}");
    let missing = refused["details"]["missing"].as_array().unwrap();
    let root = missing.iter().find(|one| one["role"] == "root").unwrap();
    assert_eq!((&root["have"], &root["need"]), (&json!(0), &json!(2)), "{refused}");
}
