//! A YubiKey whose PUK is blocked, alone or with its PIN: it is told as that, and with the way out that is left.

use serde_json::{Value, json};
use tufagent_tests::cards::{FACTORY_PUK, FIRMWARE_5_4, FIRMWARE_5_7};

use crate::terminal::talk;
use crate::yubikeys::{Bed, private};

/// One attempt of another program, with a wrong PIN or a wrong PUK; it selects the application, which no power keeps.
const WRONG_PIN: &str = "00A4040005A000000308,0020008008363534333231FFFF";
const WRONG_PUK: &str = "00A4040005A000000308,002C0080103030303030303030363534333231FFFF";
const UNBLOCK: &str = "token unblock alice --puk-file wrong-puk --new-pin-file pin";

/// A card whose PUK has one try left.
fn one_puk_left(firmware: [u8; 3]) -> Option<Bed> {
    let bed = Bed::new(firmware)?;
    private(&bed.home, "puk", FACTORY_PUK);
    private(&bed.home, "wrong-puk", "00000000");
    (0..2).for_each(|_| bed.other_program(WRONG_PUK));
    assert_eq!(bed.card.tries_left(), (3, 1));
    Some(bed)
}

/// What goes on is said: a reset, and what it costs.
#[track_caller]
fn names_the_reset(text: &str) {
    for said in ["ykman piv reset", "insert it again", "destroys every key"] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

#[test]
fn the_last_wrong_puk_is_told_as_a_blocked_one_with_what_still_works() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = one_puk_left(firmware) else { return };
        let last = format!("{UNBLOCK} --last-try --json");
        let Some((code, screen)) = talk(&bed.home, &last, &[("[y/N] ", "y\n")]) else { return };
        assert!(code == 5 && screen.contains("PIN_BLOCKED") && !screen.contains("TOKEN_FAILED"), "{screen}");
        assert!(screen.contains("its PUK is blocked") && screen.contains("keep that"), "{screen}");
        assert_eq!(bed.card.tries_left(), (3, 0));
        // It is known from then on, whoever asks; and nothing is lost yet.
        let refused = bed.home.refused(UNBLOCK, 5, "PIN_BLOCKED");
        assert!(refused["message"].as_str().unwrap().contains("PUK"), "{refused}");
        names_the_reset(refused["remedy"].as_str().unwrap());
        let puk = "token unblock alice --puk-file puk --new-pin-file pin";
        bed.home.refused(puk, 5, "PIN_BLOCKED");
        bed.home.run("token unlock alice --pin-file pin").done();
        assert_eq!((bed.state(), &bed.home.token("alice")["puk_blocked"]), (json!("unlocked"), &Value::Null));
    }
}

#[test]
fn where_pin_and_puk_are_blocked_nobody_is_sent_to_the_puk() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = one_puk_left(firmware) else { return };
        let home = &bed.home;
        bed.generate("root-a", "--type ecdsa-p256");
        bed.repository("root-a");
        home.run("sign repo --yes").done();
        home.run("bump repo root").done();
        home.run("token lock alice").done();
        (0..3).for_each(|_| bed.other_program(WRONG_PIN));
        // With the PUK's last try the PIN may be had back.
        let refused = home.refused("token unlock alice --pin-file pin", 5, "PIN_BLOCKED");
        assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unblock alice"), "{refused}");
        let last = format!("{UNBLOCK} --last-try --json");
        let Some((code, screen)) = talk(home, &last, &[("[y/N] ", "y\n")]) else { return };
        assert!(code == 5 && screen.contains("PIN_BLOCKED") && screen.contains("PUK is blocked"), "{screen}");
        names_the_reset(&screen);
        let verifies = bed.verifies();
        let token = home.token("alice");
        assert_eq!((&token["state"], &token["puk_blocked"]), (&json!("blocked"), &json!(true)), "{token}");
        assert!(home.run("token list").done().stdout.contains("its PUK is blocked, too"));
        for command in [
            "token unlock alice --pin-file pin",
            "token change-pin alice --pin-file pin --new-pin-file wrong",
            "sign repo --yes",
            "sign repo --yes --key root-a",
            UNBLOCK,
        ] {
            let refused = home.refused(command, 5, "PIN_BLOCKED");
            let remedy = refused["remedy"].as_str().unwrap();
            names_the_reset(remedy);
            assert!(!remedy.contains("token unblock"), "{command}: {refused}");
        }
        for command in ["token unlock alice", "token change-pin alice", "token unblock alice"] {
            let Some((code, screen)) = talk(home, command, &[]) else { return };
            assert_eq!(code, 5, "{command}: {screen}");
            names_the_reset(&screen.replace("\r\n", " "));
            assert!(!screen.contains("by its PUK"), "{command}: {screen}");
        }
        // What others sign is told with it.
        home.run("bump repo targets").done();
        let signed = home.run("sign repo --yes").exits(4);
        names_the_reset(&signed.text());
        assert_eq!((bed.verifies(), bed.card.tries_left()), (verifies, (0, 0)));
        // A new agent finds it so.
        bed.agent.signal("HUP");
        assert_eq!(home.token("alice")["puk_blocked"], true);
    }
}
