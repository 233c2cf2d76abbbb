//! A YubiKey as it comes from the factory: set up, its PIN changed, and unblocked by its PUK.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tufagent_tests::cards::{Card, CardRoom, FACTORY_PIN, FACTORY_PUK, FIRMWARE_5_4, FIRMWARE_5_7};
use tufagent_tests::{Agent, Home, need};

use crate::terminal::talk;

const SERIAL: u32 = 10_000_009;
const NEW_PIN: &str = "c4n4ry-1";
const NEW_PUK: &str = "c4n4ry-2";

struct Desk {
    card: Card,
    room: CardRoom,
    home: Home,
    _agent: Agent,
}

impl Desk {
    fn new(firmware: [u8; 3]) -> Option<Self> {
        let card = Card::new(SERIAL, firmware);
        let room = need(CardRoom::with(&[&card]))?;
        let home = Home::new();
        home.config(&room.table("yk", SERIAL));
        let agent = home.start();
        for (name, content) in
            [("factory-pin", FACTORY_PIN), ("factory-puk", FACTORY_PUK), ("wrong", "87654321")]
        {
            // What the factory gives to all may well stand in a log, so it is no canary.
            let path = home.write(name, content);
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        home.secret("pin", NEW_PIN);
        home.secret("puk", NEW_PUK);
        Some(Self { card, room, home, _agent: agent })
    }
}

const ALL: &str = "token setup yk --new-pin-file pin --new-puk-file puk --protect-management-key";

#[test]
fn a_setup_that_ends_on_its_way_says_which_values_are_new_already() {
    let Some(desk) = Desk::new(FIRMWARE_5_7) else { return };
    let setup = "token setup yk --pin-file wrong --new-pin-file pin --new-puk-file puk --json";
    let ended = desk.home.run(setup).exits(5);
    assert_eq!(ended.json()["error"]["details"]["changed"], json!(["PUK"]), "{ended}");
    assert!(ended.stderr.contains("the PUK of yk was changed before that: the new one holds"), "{ended}");
    let done = desk.home.run(&format!("{ALL} --json")).done().json();
    assert_eq!(
        (&done["changed"], &done["factory"]),
        (&json!(["PIN", "management key"]), &json!([])),
        "{done}"
    );
}

#[test]
fn setup_replaces_all_that_is_of_the_factory_and_says_so_and_does_nothing_twice() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(desk) = Desk::new(firmware) else { return };
        let home = &desk.home;
        let done = home.run(&format!("{ALL} --json")).done();
        for what in ["PIN", "PUK", "management key"] {
            assert!(
                done.stderr.contains(&format!("the {what} of yk is still the one of the factory")),
                "{done}"
            );
        }
        let told = done.json();
        assert_eq!(told["changed"], json!(["PUK", "PIN", "management key"]), "{told}");
        assert_eq!(
            (&told["factory"], &told["management_key_protected"]),
            (&json!([]), &json!(true)),
            "{told}"
        );
        assert_eq!(told["management_algorithm"], "aes-192", "{told}");
        assert_eq!((&told["state"], desk.card.tries_left()), (&json!("unlocked"), (3, 3)));
        // By the PIN alone, which opens the management key.
        home.run("key generate made --token yk --type ecdsa-p256").done();
        home.refused("token unlock yk --pin-file factory-pin", 5, "PIN_INCORRECT");
        home.run("token unlock yk --pin-file pin").done();
        let (verifies, authentications) =
            (desk.card.counters().verifies, desk.card.counters().authentications);
        let again = home.run(&format!("{ALL} --json")).done();
        assert_eq!((&again.json()["changed"], &again.json()["factory"]), (&json!([]), &json!([])), "{again}");
        assert!(again.stderr.contains("was left as it is"), "{again}");
        assert_eq!(desk.card.counters().verifies, verifies, "what the factory gives is not tried");
        assert_eq!(desk.card.counters().authentications, authentications);
        let journal = home.run("audit export").done().stdout;
        for event in ["token.change-puk", "token.change-secret", "token.management-key"] {
            assert!(journal.contains(event), "{event}");
        }
        judge(&desk, firmware);
    }
}

/// What the maker's own tool sees, and can do with it.
fn judge(desk: &Desk, firmware: [u8; 3]) {
    let ykman = |words: &[&str]| need(desk.room.ykman(SERIAL, words)).map(|outcome| outcome.done().text());
    let Some(info) = ykman(&["piv", "info"]) else { return };
    assert!(!info.contains("Using default"), "{firmware:?}: {info}");
    assert!(info.contains("Management key is stored on the YubiKey, protected by PIN"), "{info}");
    assert!(info.contains("AES192"), "{info}");
    ykman(&["piv", "keys", "generate", "--pin", NEW_PIN, "--algorithm", "ECCP256", "9e", "/dev/null"]);
}

#[test]
fn without_a_terminal_what_is_missing_is_said_before_anything_is_changed() {
    let Some(desk) = Desk::new(FIRMWARE_5_7) else { return };
    let home = &desk.home;
    home.refused("token setup yk", 5, "PIN_REQUIRED");
    home.refused("token setup yk --new-puk-file puk", 5, "PIN_REQUIRED");
    home.refused("token setup yk --new-pin-file factory-pin --new-puk-file puk", 2, "USAGE");
    home.refused("token setup file", 5, "UNSUPPORTED");
    home.secret("nine", "123456789");
    home.refused("token setup yk --new-pin-file nine --new-puk-file puk", 2, "USAGE");
    assert_eq!(desk.card.counters().verifies, 0);
    let left = home.run("token setup yk --new-pin-file pin --new-puk-file puk --json").done().json();
    assert_eq!(left["factory"], json!(["management key"]), "{left}");
    // The PIN that the card has just taken opens it at once.
    assert_eq!((&left["state"], desk.card.counters().verifies), (&json!("unlocked"), 1), "{left}");
    // A card that was set up half is set up whole, with what it has now.
    let whole = home.run("token setup yk --pin-file pin --protect-management-key --json").done();
    assert_eq!(whole.json()["factory"], json!([]), "{whole}");
}

#[test]
fn a_person_is_asked_for_each_new_one_at_the_terminal() {
    let Some(desk) = Desk::new(FIRMWARE_5_7) else { return };
    let (pin, puk) = (format!("{NEW_PIN}\n"), format!("{NEW_PUK}\n"));
    let steps = [
        ("New PUK of yk", puk.as_str()),
        ("more: ", &puk),
        ("New PIN of yk", &pin),
        ("more: ", &pin),
        ("[y/N] ", "y\n"),
    ];
    let Some((code, screen)) = talk(&desk.home, "token setup yk", &steps) else { return };
    assert_eq!(code, 0, "{screen}");
    assert!(
        screen.contains("yk has a new PUK, PIN, management key") && !screen.contains(NEW_PIN),
        "{screen}"
    );
    assert_eq!(desk.home.token("yk")["state"], "unlocked");
}

#[test]
fn a_blocked_pin_is_had_back_by_the_puk_whose_last_try_is_left_to_a_person() {
    let Some(desk) = Desk::new(FIRMWARE_5_7) else { return };
    let home = &desk.home;
    // So short a one may well stand in a log by chance.
    crate::yubikeys::private(home, "four", "1234");
    home.refused("token change-pin yk --pin-file four --new-pin-file pin", 2, "USAGE");
    let refused = home.refused("token unblock yk --puk-file four --new-pin-file pin", 2, "USAGE");
    assert!(refused["message"].as_str().unwrap().contains("this cannot be the PUK"), "{refused}");
    assert_eq!(desk.card.tries_left(), (3, 3), "what is no PIN and no PUK costs no try");
    home.run("token change-pin yk --pin-file factory-pin --new-pin-file pin").done();
    for _ in 0..2 {
        home.refused("token unlock yk --pin-file wrong", 5, "PIN_INCORRECT");
    }
    home.refused("token unlock yk --pin-file pin", 5, "PIN_BLOCKED");
    let Some((code, screen)) = talk(home, "token change-pin yk", &[]) else { return };
    assert!(code == 5 && screen.contains("tufctl token unlock yk --last-try"), "{screen}");
    let Some((code, _)) = talk(home, "token unlock yk --pin-file wrong --last-try", &[("[y/N] ", "y\n")])
    else {
        return;
    };
    assert_eq!((code, home.token("yk")["state"].clone()), (5, json!("blocked")));
    home.secret("next", "c4n4ry-3");
    let refused = home.refused("token unblock yk --puk-file wrong --new-pin-file next", 5, "PIN_INCORRECT");
    assert_eq!(refused["details"]["tries_left"], 2, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("PUK"), "{refused}");
    home.refused("token unblock yk --puk-file wrong --new-pin-file next", 5, "PIN_INCORRECT");
    let refused =
        home.refused("token unblock yk --puk-file factory-puk --new-pin-file next", 5, "PIN_BLOCKED");
    assert_eq!((&refused["details"]["tries_left"], desk.card.tries_left()), (&json!(1), (0, 1)));
    // Nobody types a PUK that is not presented.
    let Some((code, screen)) = talk(home, "token unblock yk", &[]) else { return };
    assert!(code == 5 && screen.contains("tufctl token unblock yk --last-try"), "{screen}");
    assert!(
        !screen.contains("New PIN") && !screen.contains("PUK of yk (YubiKey 10000009, 1 try left):"),
        "{screen}"
    );
    home.refused(
        "token unblock yk --puk-file factory-puk --new-pin-file next --last-try",
        3,
        "CONFIRMATION_MISSING",
    );
    assert_eq!(desk.card.tries_left(), (0, 1), "a flag alone is no person's word");
    let unblock = "token unblock yk --puk-file factory-puk --new-pin-file next --last-try";
    let Some((code, screen)) = talk(home, unblock, &[("[y/N] ", "y\n")]) else { return };
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("1 try left"), "{screen}");
    assert_eq!((home.token("yk")["state"].clone(), desk.card.tries_left()), (json!("locked"), (3, 3)));
    home.run("token unlock yk --pin-file next").done();
    // Who agreed to a last try, and to what, stands in the journal: of the PIN, and of the PUK.
    let entries = |kind: &str, is: &dyn Fn(&serde_json::Value) -> bool| {
        home.journalled(kind).iter().filter(|entry| is(&entry["body"])).count()
    };
    assert_eq!(entries("token.attempt", &|body| body["about"]["shown"]["tries_left"] == 1), 1);
    assert_eq!(entries("token.unblock", &|body| body["last_try"] == true), 1);
    home.refused("token unblock file --puk-file puk --new-pin-file next", 5, "UNSUPPORTED");
}
