//! What a YubiKey's management key may want, and what another version has written on the card.

use std::time::Duration;

use serde_json::json;
use tufagent_tests::cards::{CARD_PIN, Card, CardRoom, FIRMWARE_5_7, Root, State};
use tufagent_tests::{Agent, Home, need};

use crate::terminal::talk;
use crate::yubikeys::private;

const SERIAL: u32 = 16_400_001;
/// Where the names of keys are.
const NAMES: u32 = 0x5f_5455;
const GENERATE: &str = "key generate a --token alice --type ecdsa-p256 --management-key-file management";

struct Bed {
    home: Home,
    // Before the room, whose folder it knows.
    _agent: Agent,
    card: Card,
    room: CardRoom,
}

impl Bed {
    /// With a card that is unlocked.
    fn with(state: State) -> Option<Self> {
        let card = Card::with_state(state.with_pin(CARD_PIN));
        let room = need(CardRoom::with(&[&card]))?;
        let home = Home::new();
        home.config(&room.table("alice", SERIAL));
        home.secret("pin", CARD_PIN);
        private(&home, "management", "default");
        private(&home, "other", &"ab".repeat(24));
        let agent = home.start();
        home.run("token unlock alice --pin-file pin").done();
        Some(Self { home, _agent: agent, card, room })
    }
}

fn new() -> State {
    State::new(SERIAL, FIRMWARE_5_7, Root::shared())
}

#[test]
fn a_management_key_that_wants_a_touch_is_announced_and_a_missing_touch_is_no_wrong_key() {
    let Some(bed) = Bed::with(new().with_management_touch()) else { return };
    bed.card.touch_within(Duration::from_secs(4));
    let made = bed.home.run(&format!("{GENERATE} --json"));
    let refused = made.refused(5, "TOUCH_TIMEOUT");
    assert!(refused["message"].as_str().unwrap().contains("its management key was not taken"), "{made}");
    for said in ["touch when it blinks", "alice", &SERIAL.to_string(), "management key"] {
        assert!(made.stderr.contains(said), "{said} is not in\n{made}");
    }
    assert_eq!((bed.card.tries_left(), &bed.home.token("alice")["state"]), ((3, 3), &json!("unlocked")));
    // One that is wrong is refused without a touch, as what it is.
    let wrong = GENERATE.replace("management-key-file management", "management-key-file other");
    bed.home.refused(&wrong, 5, "MANAGEMENT_KEY");
    let card = bed.card.clone();
    let touched = std::thread::spawn(move || {
        card.until_it_waits_for_a_touch();
        card.touch();
    });
    bed.home.run(GENERATE).done();
    touched.join().unwrap();
}

#[test]
fn names_that_another_version_has_written_are_not_overwritten() {
    let theirs = b"tuf-agent-names-v9\n9c 00 theirs\n";
    let Some(bed) = Bed::with(new().with_object(NAMES, theirs)) else { return };
    let refused = bed.home.refused(GENERATE, 5, "TOKEN_FAILED");
    assert!(
        refused["message"].as_str().unwrap().contains("not in a form that this version knows"),
        "{refused}"
    );
    assert_eq!(bed.card.state().object(NAMES), Some(&theirs[..]));
    assert_eq!(bed.home.run("key list --json").done().json(), json!({"keys": []}));
}

#[test]
fn a_key_that_wants_a_touch_is_removed_without_one_and_its_slot_is_free() {
    let Some(bed) = Bed::with(new()) else { return };
    let home = &bed.home;
    home.run(&format!("{GENERATE} --touch always")).done();
    let asked = bed.card.touches_asked();
    home.refused("key remove a --yes", 5, "MANAGEMENT_KEY");
    home.run("key remove a --yes --management-key-file management").done();
    assert_eq!(bed.card.touches_asked(), asked);
    home.refused("key show a", 3, "KEY_NOT_FOUND");
    home.run(&GENERATE.replace(" a ", " b ")).done();
    assert_eq!(home.run("key list --json").done().json()["keys"][0]["name"], "b");
    // Removed elsewhere, it is missed by name; one that a management key with a touch protects waits for that.
    let Some(bed) = Bed::with(new().with_management_touch()) else { return };
    bed.card.touch_always(true);
    bed.home.run(&format!("{GENERATE} --touch cached")).done();
    bed.card.touch_always(false);
    bed.card.touch_within(Duration::from_secs(4));
    let refused = bed.home.run("key remove a --yes --management-key-file management --json");
    refused.refused(5, "TOUCH_TIMEOUT");
    assert!(refused.stderr.contains("touch when it blinks"), "{refused}");
    let card = bed.card.clone();
    let touched = std::thread::spawn(move || {
        card.until_it_waits_for_a_touch();
        card.touch();
    });
    bed.home.run("key remove a --yes --management-key-file management").done();
    touched.join().unwrap();
    assert_eq!(bed.home.run("key list --json").done().json(), json!({"keys": []}));
}

#[test]
fn each_aes_key_that_ykman_has_set_is_taken_from_a_file_and_from_a_terminal_where_it_is_not_shown() {
    let Some(bed) = Bed::with(new()) else { return };
    let home = &bed.home;
    let mut before = "010203040506070801020304050607080102030405060708".to_owned();
    let kinds = [("AES128", 16, "82", "c1"), ("AES256", 32, "83", "c2"), ("AES192", 24, "84", "c3")];
    for (algorithm, len, slot, byte) in kinds {
        let key = byte.repeat(len);
        let change =
            ["piv", "access", "change-management-key", "-a", algorithm, "-m", &before, "-n", &key, "-f"];
        let Some(changed) = need(bed.room.ykman(SERIAL, &change)) else { return };
        changed.done();
        private(home, "management", &key);
        // It has gone with the card's power, which ykman has switched off.
        home.run("token unlock alice --pin-file pin").done();
        let generate = format!("key generate key-{slot} --token alice --type ecdsa-p256 --slot {slot}");
        home.refused(&format!("{generate} --management-key-file other"), 5, "MANAGEMENT_KEY");
        home.run(&format!("{generate} --management-key-file management")).done();
        let typed = format!("{key}\n");
        let again = format!("{generate} --overwrite").replace("key-", "typed-");
        let Some((code, screen)) = talk(home, &again, &[("management key of alice", "nonsense\n")]) else {
            return;
        };
        assert_eq!(code, 5, "{screen}");
        let (code, screen) = talk(home, &again, &[("management key of alice", &typed)]).unwrap();
        assert!(code == 0 && !screen.contains(&key), "{screen}");
        before = key;
    }
    assert_eq!(bed.card.tries_left(), (3, 3));
}
