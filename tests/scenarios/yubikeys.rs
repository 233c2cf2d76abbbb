//! YubiKeys through the real agent: a PIN is one attempt, a key is a slot, and whoever else uses the card keeps what is theirs
//! (FAULTS C1, C3, C5, D1, D10).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use tufagent_tests::cards::{Card, CardRoom, FACTORY_PIN, FIRMWARE_5_4, FIRMWARE_5_7, Root};
use tufagent_tests::{Agent, Home, need};

/// An agent with one card, unlocked.
pub(crate) struct Bed {
    pub(crate) home: Home,
    pub(crate) agent: Agent,
    pub(crate) card: Card,
    pub(crate) room: CardRoom,
}

pub(crate) const SERIAL: u32 = 10_000_001;

impl Bed {
    pub(crate) fn locked(firmware: [u8; 3]) -> Option<Self> {
        Self::configured(firmware, |_| String::new())
    }

    /// The PIN lies in a file that the configuration names.
    pub(crate) fn with_pin_file(firmware: [u8; 3]) -> Option<Self> {
        Self::configured(firmware, |home| format!("pin = {{ file = {:?} }}\n", home.path("pin")))
    }

    pub(crate) fn configured(firmware: [u8; 3], more: impl FnOnce(&Home) -> String) -> Option<Self> {
        let card = Card::new(SERIAL, firmware);
        let room = need(CardRoom::with(&[&card]))?;
        let home = Home::new();
        private(&home, "pin", FACTORY_PIN);
        let roots = home.write("roots.pem", Root::shared().certificate_pem());
        home.config(&format!(
            "attestation_roots = [{roots:?}]\n{}{}",
            room.table("alice", SERIAL),
            more(&home)
        ));
        let agent = home.start();
        private(&home, "wrong", "654321");
        private(&home, "management", "default");
        Some(Self { home, agent, card, room })
    }

    pub(crate) fn new(firmware: [u8; 3]) -> Option<Self> {
        let bed = Self::locked(firmware)?;
        bed.home.run("token unlock alice --pin-file pin").done();
        Some(bed)
    }

    pub(crate) fn verifies(&self) -> u64 {
        self.card.counters().verifies
    }

    pub(crate) fn state(&self) -> Value {
        self.home.token("alice")["state"].clone()
    }
}

/// A file of one's own. What the factory's PIN is made of may well stand in a log, so it is no canary.
pub(crate) fn private(home: &Home, name: &str, content: &str) {
    let path = home.write(name, content);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn one_entry_is_one_verify_and_the_last_try_is_left_to_a_person() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    assert_eq!(bed.state(), "locked");
    assert_eq!(bed.home.token("alice")["pin_tries_left"], 3);
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!((bed.verifies(), bed.state()), (1, json!("unlocked")));
    // Now, also when it is unlocked already.
    let refused = bed.home.refused("token unlock alice --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!((&refused["details"]["tries_left"], bed.verifies()), (&json!(2), 2));
    assert_eq!(bed.state(), "locked");
    let refused = bed.home.refused("token unlock alice --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!((&refused["details"]["tries_left"], bed.verifies()), (&json!(1), 3));
    let refused = bed.home.refused("token unlock alice --pin-file pin", 5, "PIN_BLOCKED");
    assert_eq!((bed.verifies(), bed.card.tries_left().0), (3, 1));
    // One step to the way out, wherever it is told.
    let way = "tufctl token unlock alice --last-try";
    assert!(refused["remedy"].as_str().unwrap().contains(way), "{refused}");
    assert_eq!(refused["details"]["tries_left"], 1, "{refused}");
}

impl Bed {
    /// A key in a slot, by the factory's management key, which is named.
    #[track_caller]
    pub(crate) fn generate(&self, name: &str, more: &str) -> Value {
        let command =
            format!("key generate {name} --token alice --management-key-file management {more} --json");
        self.home.run(&command).done().json()
    }

    /// A repository whose root key is the one of this name on the card; staged.
    pub(crate) fn repository(&self, key: &str) {
        self.home.unlock_file_store();
        self.home.keys(&["online"]);
        self.home
            .run(&format!(
                "repo init repo --name app --root {key} --root-threshold 1 --targets online --targets-threshold 1 \
                 --snapshot online --timestamp online"
            ))
            .done();
    }

    pub(crate) fn key(&self, name: &str) -> Value {
        self.home.run(&format!("key show {name} --json")).done().json()
    }
}

#[test]
fn a_key_goes_into_its_slot_with_its_name_and_an_occupied_slot_is_kept() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = Bed::new(firmware) else { return };
        let made = bed.generate("root-a", "--type ecdsa-p256");
        assert_eq!(
            (&made["slot"], &made["touch"], &made["pin_policy"]),
            (&json!("9c"), &json!("never"), &json!("once"))
        );
        assert_eq!(made["origin"], "generated");
        let warnings = made["warnings"].to_string();
        for warned in ["PIN", "PUK", "management key"] {
            assert!(warnings.contains(warned), "{warnings}");
        }
        bed.home.refused(
            "key generate b --token alice --type ecdsa-p384 --management-key-file management",
            5,
            "SLOT_OCCUPIED",
        );
        let other = bed.generate("b", "--type ecdsa-p384 --slot 82 --touch cached --pin-policy always");
        assert_eq!(
            (&other["slot"], &other["touch"], &other["pin_policy"]),
            (&json!("82"), &json!("cached"), &json!("always"))
        );
        let again = bed.generate("c", "--type ecdsa-p256 --overwrite");
        assert_ne!(again["keyid"], made["keyid"]);
        assert!(again["warnings"].to_string().contains("root-a was in that slot"), "{again}");
        bed.home.refused("key show root-a", 3, "KEY_NOT_FOUND");
        // The names are on the card: an agent that never saw it knows them.
        let home = Home::new();
        home.config(&bed.room.table("carol", SERIAL));
        let _agent = home.start();
        home.run("key show c --json").done();
        assert_eq!(home.run("key show b --json").done().json()["keyid"], other["keyid"]);
    }
}

#[test]
fn a_key_that_serves_a_role_is_overwritten_by_force_alone() {
    let Some(bed) = Bed::new(FIRMWARE_5_4) else { return };
    let made = bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    let other = "key generate b --token alice --type ecdsa-p256 --overwrite --management-key-file management";
    let refused = bed.home.refused(other, 3, "KEY_IN_USE");
    assert!(refused["message"].as_str().unwrap().contains("root of app"), "{refused}");
    assert_eq!(bed.key("root-a")["keyid"], made["keyid"]);
    bed.home.run(&format!("{other} --force")).done();
    let journal = bed.home.run("audit export").done().stdout;
    let entry = journal.lines().find(|line| line.contains("\"force\"")).unwrap();
    assert!(entry.contains("root of app"), "{entry}");
}

#[test]
fn a_management_key_is_named_or_lies_behind_the_pin_and_is_never_taken_for_a_pin() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    private(&bed.home, "other", &"ab".repeat(24));
    private(&bed.home, "short", &"ab".repeat(16));
    let before = bed.card.counters().authentications;
    bed.home.refused("key generate a --token alice --type ecdsa-p256", 5, "MANAGEMENT_KEY");
    // The factory's is not tried unsaid.
    assert_eq!(bed.card.counters().authentications, before);
    for wrong in ["other", "short"] {
        let command = format!("key generate a --token alice --type ecdsa-p256 --management-key-file {wrong}");
        bed.home.refused(&command, 5, "MANAGEMENT_KEY");
    }
    assert_eq!((bed.card.tries_left(), bed.state()), ((3, 3), json!("unlocked")));
    bed.generate("a", "--type ecdsa-p256");
    bed.home.refused("key remove a --yes", 5, "MANAGEMENT_KEY");
    bed.home.run("key remove a --yes --management-key-file management").done();
    assert_eq!(bed.home.run("key list --json").done().json(), json!({"keys": []}));
}

#[test]
fn a_signature_waits_for_a_touch_that_is_announced_for_what_it_signs() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    let toucher = bed.card.clone();
    let touched = std::thread::spawn(move || {
        toucher.until_it_waits_for_a_touch();
        // Long enough for the word on it to be said, which nothing but time brings.
        std::thread::sleep(Duration::from_millis(700));
        toucher.touch();
    });
    let signed = bed.home.run("sign repo --yes --json");
    touched.join().unwrap();
    assert_eq!(signed.clone().done().json()["published"], true, "{signed}");
    let digest = bed.home.journalled("sign.intent").iter().find_map(|entry| {
        let body = &entry["body"];
        (body["role"] == "root").then(|| body["sha256"].as_str().unwrap().to_owned())
    });
    let digest = digest.unwrap();
    for said in ["touch now", "alice", &SERIAL.to_string(), "root-a", "root version 1", &digest] {
        assert!(signed.stderr.contains(said), "{said} is not in\n{signed}");
    }
    // A card that nobody touches says so itself, and no try of the PIN is gone.
    bed.card.touch_within(Duration::from_secs(1));
    bed.home.run("bump repo root").done();
    let verifies = bed.verifies();
    bed.home.refused("sign repo --yes --key root-a", 5, "TOUCH_TIMEOUT");
    assert_eq!((bed.card.tries_left().0, bed.verifies(), bed.state()), (3, verifies, json!("unlocked")));
    // Another content under its version is told as what it is: the one before was to be signed.
    let bumped = bed.home.run("bump repo root").done();
    let noted = bed.home.refused("sign repo --yes --key root-a", 3, "WATERMARK");
    let noted = noted["details"]["signed_sha256"].as_str().unwrap();
    assert!(bumped.stderr.contains("root v2 was signed here, or was to be, with other content"), "{bumped}");
    assert!(bumped.stderr.contains(&format!("tufctl sign repo --supersede {noted}")), "{bumped}");
}

#[test]
fn of_a_touch_that_comes_at_once_nothing_is_said() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    bed.repository("root-a");
    bed.card.touch_always(true);
    let asked = bed.card.touches_asked();
    // The first after a key was made takes the PIN anew. A machine that is slow may well say it.
    bed.home.run("sign repo --yes").done();
    let mut silent = false;
    for _ in 0..20 {
        bed.home.run("bump repo root").done();
        silent |= !bed.home.run("sign repo --yes").done().stderr.contains("touch now");
        if silent {
            break;
        }
    }
    assert!(silent && bed.card.touches_asked() > asked + 1, "it was announced each time");
}

#[test]
fn a_card_that_is_pulled_forgets_its_pin_and_comes_back_without_a_new_agent() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.card.remove();
    bed.agent.wait_until(|| bed.state() == "absent");
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_ABSENT");
    bed.card.insert();
    bed.agent.wait_until(|| bed.state() == "locked");
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_card_that_another_program_reset_gets_the_pin_that_it_accepted_once_more() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    bed.other_program("A4040000");
    let before = bed.verifies();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!((bed.verifies(), bed.state()), (before + 1, json!("unlocked")));
    // With a try gone it is not presented: a person looks first.
    bed.home.run("bump repo root").done();
    bed.other_program("0020008008363534333231FFFF");
    let before = bed.verifies();
    bed.home.refused("sign repo --yes --key root-a", 5, "TOKEN_LOCKED");
    assert_eq!((bed.verifies(), bed.card.tries_left().0), (before, 2));
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn ykman_and_the_agent_use_one_card_in_turns_and_neither_keeps_it_from_the_other() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    for _ in 0..3 {
        // It switches the card off when it ends.
        let Some(told) = need(bed.room.ykman(SERIAL, &["piv", "info"])) else { return };
        told.done();
        bed.home.run("key attest root-a --json").done();
        bed.home.run("lock").done();
        bed.home.run("token unlock alice --pin-file pin").done();
    }
    bed.home.refused("token unlock alice --pin-file wrong", 5, "PIN_INCORRECT");
    // What is left is told at once.
    assert_eq!(bed.home.token("alice")["pin_tries_left"], 2);
    bed.home.run("token unlock alice --pin-file pin").done();
    bed.repository("root-a");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn pcscd_may_end_and_come_back_under_a_running_agent() {
    let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.room.stop();
    bed.agent.wait_until(|| bed.state() == "failed");
    let problem = bed.home.token("alice")["problem"].to_string();
    assert!(problem.contains("pcscd") && problem.contains("systemctl start"), "{problem}");
    let card = bed.card.clone();
    bed.room.restart(&[&card]);
    bed.agent.wait_until(|| bed.state() == "locked");
    // It is over, and why a PIN is wanted again is told.
    let problem = bed.home.token("alice")["problem"].to_string();
    assert!(problem.contains("its login was lost: "), "{problem}");
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!(bed.home.token("alice")["problem"], Value::Null);
    assert_eq!(bed.key("root-a")["available"], true);
}

#[test]
fn two_cards_go_side_by_side_and_neither_disturbs_the_other() {
    let (one, two) = (Card::new(1, FIRMWARE_5_7), Card::new(2, FIRMWARE_5_4));
    let Some(room) = need(CardRoom::with(&[&one, &two])) else { return };
    let home = Home::new();
    home.config(&(room.table("one", 1) + &room.table("two", 2) + &room.table("three", 3)));
    let agent = home.start();
    private(&home, "pin", FACTORY_PIN);
    private(&home, "management", "default");
    for name in ["one", "two"] {
        home.run(&format!("token unlock {name} --pin-file pin")).done();
    }
    let made = |token: &str| {
        home.run(&format!(
            "key generate of-{token} --token {token} --type ecdsa-p256 --management-key-file management"
        ))
        .done();
    };
    made("one");
    made("two");
    assert_eq!(home.token("three")["state"], "absent");
    home.unlock_file_store();
    home.keys(&["online"]);
    home.run(
        "repo init repo --name app --root of-one,of-two --root-threshold 2 --targets online --targets-threshold 1 \
         --snapshot online --timestamp online",
    )
    .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    // What comes and goes beside it costs a card nothing.
    let verifies = one.counters().verifies;
    two.remove();
    agent.wait_until(|| home.token("two")["state"] == "absent");
    two.insert();
    agent.wait_until(|| home.token("two")["state"] == "locked");
    home.run("bump repo root").done();
    let signed = home.run("sign repo --yes --key of-one --json");
    assert_eq!(signed.code, 4, "{signed}");
    assert_eq!(one.counters().verifies, verifies);
}
