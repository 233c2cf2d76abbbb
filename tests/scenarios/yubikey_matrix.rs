//! YubiKeys through the real agent, for whom the virtual one was made: both firmwares, touches, swaps, several cards,
//! others who hold one, a reply that was lost, attestations that lie.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tufagent_tests::cards::{CARD_PIN, Card, CardRoom, FIRMWARE_5_4, FIRMWARE_5_7, Fault, Root, State, card};
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{Agent, Home, Outcome, binary, need, run_to_end};

use crate::neighbours::hold_alone;

const SERIAL: u32 = 15_350_041;
const OTHER: u32 = 15_350_042;

/// An agent with a card of each firmware that is asked for: `alice`, then `bob`, then `carol`.
pub(crate) struct Desk {
    pub(crate) home: Home,
    pub(crate) cards: Vec<Card>,
    // Before the rooms, whose folders it knows.
    agent: Agent,
    rooms: Vec<CardRoom>,
}

impl Desk {
    pub(crate) fn with(firmwares: &[[u8; 3]]) -> Option<Self> {
        let cards: Vec<Card> =
            (SERIAL..).zip(firmwares).map(|(serial, firmware)| card(serial, *firmware)).collect();
        // Two cards a pcscd; the third is another pcscd's.
        let rooms = cards.chunks(2).map(|cards| need(CardRoom::with(&cards.iter().collect::<Vec<_>>())));
        let rooms = rooms.collect::<Option<Vec<_>>>()?;
        let home = Home::new();
        let tables = ["alice", "bob", "carol"].iter().zip(&cards).enumerate();
        let tables = tables.map(|(nth, (name, card))| rooms[nth / 2].table(name, card.state().serial()));
        let tables: String = tables.collect();
        let roots = home.write("roots.pem", Root::shared().certificate_pem());
        home.config(&format!("attestation_roots = [{roots:?}]\n{tables}"));
        let agent = home.start();
        home.secret("pin", CARD_PIN);
        // Not a secret: everybody knows that word.
        let management = home.write("management", "default");
        fs::set_permissions(management, fs::Permissions::from_mode(0o600)).unwrap();
        Some(Self { home, cards, agent, rooms })
    }

    /// Another agent of the same home.
    pub(crate) fn restart(&mut self) {
        self.agent.signal("TERM");
        self.agent.wait();
        self.agent = self.home.start();
    }

    fn card(&self) -> &Card {
        &self.cards[0]
    }

    pub(crate) fn unlock(&self, name: &str) {
        self.home.run(&format!("token unlock {name} --pin-file pin")).done();
    }

    /// Makes a key in 9c of a card that is unlocked.
    pub(crate) fn key(&self, name: &str, token: &str, more: &str) -> Value {
        let generate = format!("key generate {name} --token {token} --management-key-file management --json");
        self.home.run(&format!("{generate} --type ecdsa-p256 {more}")).done().json()
    }

    /// One card whose key in 9c signs the targets of `repo`, published; the rest is signed by the file store.
    fn published(firmware: [u8; 3], more: &str) -> Option<Self> {
        let desk = Self::with(&[firmware])?;
        desk.unlock("alice");
        desk.key("releases", "alice", more);
        desk.home.unlock_file_store();
        desk.home.keys(&["root", "online"]);
        desk.init("root", "releases");
        let card = desk.card();
        card.touch_always(true);
        desk.sign().done();
        card.touch_always(false);
        Some(desk)
    }

    pub(crate) fn init(&self, root: &str, targets: &str) {
        let threshold = root.split(',').count();
        self.home
            .run(&format!(
                "repo init repo --name app --root {root} --root-threshold {threshold} --targets {targets} \
                 --targets-threshold 1 --snapshot online --timestamp online"
            ))
            .done();
    }

    pub(crate) fn sign(&self) -> Outcome {
        self.home.run("sign repo --yes --json")
    }

    /// Something new for the card to sign.
    fn stage(&self) {
        self.home.run("bump repo targets").done();
    }

    /// Signs in the background, for a touch that is to come or not.
    fn signing(&self) -> std::thread::JoinHandle<Outcome> {
        let mut command = Command::new(binary("tufctl"));
        self.home.environment(&mut command);
        command.args(["sign", "repo", "--yes", "--json"]);
        std::thread::spawn(move || run_to_end(&mut command))
    }

    /// The list shows what has happened to a card a moment later.
    pub(crate) fn until(&self, name: &str, state: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.home.token(name)["state"] != state {
            assert!(Instant::now() < end, "{}", self.home.token(name));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn keys_made_on_cards_of_both_firmwares_sign_a_root_of_two_that_stock_clients_take() {
    let Some(desk) = Desk::with(&[FIRMWARE_5_4, FIRMWARE_5_7]) else { return };
    let home = &desk.home;
    for name in ["alice", "bob"] {
        desk.unlock(name);
        desk.key(&format!("root-{name}"), name, "--touch never");
    }
    home.unlock_file_store();
    home.keys(&["online"]);
    desk.init("root-alice,root-bob", "online");
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    let signed = desk.sign().done().json();
    assert_eq!(signed["published"], true, "{signed}");
    for card in &desk.cards {
        let counters = card.counters();
        // One entry; and making a key leaves the card without it, so that it was given once more.
        assert_eq!((counters.verifies, counters.signatures), (2, 1), "{}", card.state().serial());
    }
    if let Some(client) = need(Client::python()) {
        client.accepts(&home.published("repo"), &Memory::new(home.path("memory")), &["app.txt"]);
    }
}

#[test]
fn a_touch_in_time_signs_and_one_that_does_not_come_costs_neither_try_nor_unlock() {
    let Some(desk) = Desk::published(FIRMWARE_5_7, "--touch always") else { return };
    let card = desk.card();
    desk.stage();
    let signing = desk.signing();
    card.until_it_waits_for_a_touch();
    card.touch();
    assert_eq!(signing.join().unwrap().done().json()["published"], true);
    let (before, asked) = (card.counters(), card.touches_asked());
    desk.stage();
    card.touch_within(Duration::from_millis(300));
    desk.sign().refused(5, "TOUCH_TIMEOUT");
    // Too late: nothing waits any more, and nothing is signed by it.
    card.touch();
    assert_eq!((card.counters(), card.touches_asked()), (before, asked + 1));
    assert_eq!(card.tries_left(), (3, 3));
    assert_eq!(desk.home.token("alice")["state"], "unlocked");
    card.touch_within(Duration::from_secs(100));
    let signing = desk.signing();
    card.until_it_waits_for_a_touch();
    // The list waits behind no touch.
    assert_eq!(desk.home.token("alice")["state"], "unlocked");
    card.touch();
    assert_eq!(signing.join().unwrap().done().json()["published"], true);
    assert_eq!(card.counters().verifies, before.verifies);
}

#[test]
fn a_signature_that_was_made_and_not_heard_of_is_made_again_over_the_same_content() {
    let Some(desk) = Desk::published(FIRMWARE_5_7, "") else { return };
    let card = desk.card();
    let (before, tries) = (card.counters().signatures, card.tries_left());
    desk.stage();
    card.fail_at(AUTHENTICATE, 1, Fault::RemoveAfter);
    desk.sign().exits(5);
    assert_eq!((card.counters().signatures, card.tries_left()), (before + 1, tries));
    card.until_gone();
    card.insert();
    desk.until("alice", "locked");
    desk.unlock("alice");
    assert_eq!(desk.sign().done().json()["published"], true);
    assert_eq!(card.counters().signatures, before + 2);
    desk.home.run("audit verify").done();
}

/// GENERAL AUTHENTICATE, by which a card signs.
const AUTHENTICATE: u8 = 0x87;

#[test]
fn another_card_in_the_reader_is_given_no_pin_and_signs_nothing() {
    let Some(desk) = Desk::published(FIRMWARE_5_7, "") else { return };
    let (home, card) = (&desk.home, desk.card());
    desk.stage();
    let other = State::new(OTHER, FIRMWARE_5_7, Root::shared()).with_pin(CARD_PIN);
    let own = card.swap(other);
    card.until_seen();
    assert_ne!(desk.sign().code, 0);
    home.refused("token unlock alice --pin-file pin", 5, "TOKEN_ABSENT");
    let untouched = card.swap(own);
    assert_eq!((untouched.serial(), untouched.counters()), (OTHER, Default::default()));
    card.until_seen();
    // What was unlocked was the card in its reader.
    desk.until("alice", "locked");
    desk.unlock("alice");
    assert_eq!(desk.sign().done().json()["published"], true);
}

#[test]
fn pcscd_may_be_started_anew_and_one_of_three_cards_may_be_away() {
    let Some(mut desk) = Desk::with(&[FIRMWARE_5_7, FIRMWARE_5_4, FIRMWARE_5_7]) else { return };
    let cards = desk.cards.clone();
    for name in ["alice", "bob", "carol"] {
        desk.unlock(name);
        desk.key(&format!("root-{name}"), name, "");
    }
    desk.home.unlock_file_store();
    desk.home.keys(&["online"]);
    desk.init("root-alice,root-bob,root-carol", "online");
    cards[2].remove();
    desk.until("carol", "absent");
    let told = desk.sign().exits(4).json();
    assert_eq!(
        told["signed"].as_array().unwrap().iter().filter(|it| it["role"] == "root").count(),
        2,
        "{told}"
    );
    assert_eq!(told["missing"][0]["role"], "root", "{told}");
    desk.rooms[0].stop();
    desk.rooms[0].restart(&[&cards[0], &cards[1]]);
    cards[2].insert();
    cards[2].until_seen();
    for name in ["alice", "bob", "carol"] {
        desk.until(name, "locked");
        desk.unlock(name);
    }
    assert_eq!(desk.sign().done().json()["published"], true);
    for card in &cards {
        assert_eq!((card.counters().signatures, card.tries_left()), (1, (3, 3)));
    }
}

#[test]
fn a_card_that_another_program_holds_is_said_to_be_held_and_is_taken_when_it_is_free() {
    let Some(desk) = Desk::published(FIRMWARE_5_7, "") else { return };
    desk.home.run("token lock alice").done();
    let Some(mut holder) = hold_alone(&desk.rooms[0]) else { return };
    let verifies = desk.card().counters().verifies;
    let held = desk.home.refused("token unlock alice --pin-file pin", 5, "TOKEN_BUSY");
    assert!(held["message"].as_str().unwrap().contains("another program"), "{held}");
    assert_eq!(desk.card().counters().verifies, verifies);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    desk.unlock("alice");
    desk.stage();
    assert_eq!(desk.sign().done().json()["published"], true);
}

#[test]
fn an_attestation_is_proven_or_says_what_is_wrong_with_it() {
    let Some(desk) = Desk::with(&[FIRMWARE_5_7]) else { return };
    let (home, card) = (&desk.home, desk.card());
    desk.unlock("alice");
    desk.key("root-a", "alice", "--touch always --pin-policy once");
    let told = home.run("key attest root-a --json").done().json();
    assert!(told.to_string().contains(&SERIAL.to_string()), "{told}");
    assert!(told.to_string().contains("always"), "{told}");
    for (lie, why) in [
        ("serial 7", "wrong-serial"),
        ("key", "wrong-key"),
        ("signer", "broken-signature"),
        ("bare", "extension"),
    ] {
        card.order(&format!("attest {lie}"), Root::shared()).unwrap();
        let refused = home.refused("key attest root-a", 6, "VERIFICATION");
        assert!(
            refused["details"]["why"].as_str().is_some_and(|told| told.contains(why)),
            "{lie}: {refused}"
        );
    }
    // A card whose maker nobody knows.
    let stranger = State::new(SERIAL, FIRMWARE_5_7, &Root::new()).with_pin(CARD_PIN);
    drop(card.swap(stranger));
    card.order("attest truth", Root::shared()).unwrap();
    card.until_seen();
    desk.unlock("alice");
    desk.key("root-b", "alice", "");
    let refused = home.refused("key attest root-b", 6, "VERIFICATION");
    assert_eq!(refused["details"]["why"], "unknown-root", "{refused}");
}
