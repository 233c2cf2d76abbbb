//! What a prompt for a YubiKey says is what the card says just then, whoever has used it meanwhile; and nobody types, says yes
//! or touches for what is refused anyway (FAULTS C1, C3).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use tufagent_tests::cards::{FACTORY_PIN, FIRMWARE_5_4, FIRMWARE_5_7};

use crate::origin::reload;
use crate::terminal::talk;
use crate::yubikeys::{Bed, SERIAL, private};

/// SELECT: a card that nobody has used for a while has lost its power, and what was selected.
const SELECT: &str = "00A4040005A000000308";
/// VERIFY with a PIN that is wrong.
const WRONG_PIN: &str = "0020008008363534333231FFFF";
/// RESET RETRY COUNTER with a PUK that is wrong.
const WRONG_PUK: &str = "002C0080103837363534333231313233343536FFFF";
/// What `ykman piv reset` does once PIN and PUK are blocked.
const RESET: &str = "00FB0000";

impl Bed {
    /// Another program presents wrong PINs; the agent is not told.
    fn lose_tries(&self, tries: u8) {
        let before = self.card.tries_left().0;
        (0..tries).for_each(|_| self.other_program(&format!("{SELECT},{WRONG_PIN}")));
        assert_eq!(self.card.tries_left().0, before - tries);
    }

    /// Whether the screen shows a prompt for the PIN: not where it is only spoken of.
    fn asked(screen: &str) -> bool {
        screen.contains("left): ") || screen.contains("[y/N]")
    }
}

fn pin() -> String {
    format!("{FACTORY_PIN}\n")
}

#[test]
fn an_unlock_asks_by_the_tries_that_the_card_has_now() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    let (home, pin) = (&bed.home, pin());
    home.unlock_file_store();
    assert_eq!(home.token("alice")["pin_tries_left"], 3);
    bed.lose_tries(1);
    let steps = [("PIN of alice (YubiKey 10000001, 2 tries left): ", pin.as_str())];
    let Some((code, screen)) = talk(home, "token unlock alice", &steps) else { return };
    assert_eq!(code, 0, "{screen}");
    home.run("token lock alice").done();
    bed.lose_tries(2);
    for command in ["token unlock alice", "token change-pin alice", "unlock"] {
        let (code, screen) = talk(home, command, &[]).unwrap();
        assert_eq!(code, 5, "{command}: {screen}");
        assert!(screen.contains("tufctl token unlock alice --last-try"), "{command}: {screen}");
        assert!(!Bed::asked(&screen), "{command}: {screen}");
    }
    let steps = [("[y/N] ", "y\n"), ("1 try left): ", pin.as_str())];
    let (code, screen) = talk(home, "token unlock alice --last-try", &steps).unwrap();
    assert_eq!((code, bed.card.tries_left().0), (0, 3), "{screen}");
}

#[test]
fn a_last_try_of_a_blocked_pin_is_told_as_that_and_a_card_that_was_reset_is_asked_for_its_pin() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = Bed::locked(firmware) else { return };
        let (home, pin) = (&bed.home, pin());
        home.unlock_file_store();
        assert_eq!(home.token("alice")["pin_tries_left"], 3);
        bed.lose_tries(3);
        let of_it = ["token unlock alice --last-try", "token unlock alice", "token change-pin alice"];
        for (command, exit) in of_it.map(|command| (command, 5)).into_iter().chain([("unlock", 0)]) {
            let Some((code, screen)) = talk(home, command, &[]) else { return };
            let told = code == exit && screen.contains("blocked");
            assert!(told && screen.contains("tufctl token unblock alice"), "{command}: {screen}");
            assert!(!Bed::asked(&screen), "{command}: {screen}");
        }
        let refused = home.refused("token unlock alice --last-try --pin-file pin", 5, "PIN_BLOCKED");
        assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unblock alice"), "{refused}");
        bed.other_program(&format!("{SELECT},{WRONG_PUK},{WRONG_PUK},{WRONG_PUK},{RESET}"));
        assert_eq!(bed.card.tries_left(), (3, 3));
        let (code, screen) = talk(home, "token unlock alice", &[("3 tries left): ", pin.as_str())]).unwrap();
        assert_eq!((code, bed.state()), (0, json!("unlocked")), "{screen}");
    }
}

#[test]
fn a_pin_that_was_changed_has_all_its_tries_at_once() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    private(home, "new", "765432");
    bed.lose_tries(1);
    let typed = [("2 tries left): ", &*pin()), ("New PIN", "234567\n"), ("more: ", "234567\n")];
    let Some((code, screen)) = talk(home, "token change-pin alice --json", &typed) else { return };
    let told = screen.split_whitespace().collect::<String>();
    assert!(code == 0 && told.contains("\"pin_tries_left\":3"), "{screen}");
    bed.lose_tries(1);
    private(home, "pin", "234567");
    let changed = home.run("token change-pin alice --pin-file pin --new-pin-file new --json").done();
    assert_eq!(changed.json()["pin_tries_left"], 3, "{changed}");
}

#[test]
fn what_can_be_no_pin_is_typed_again_and_costs_nothing() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let (home, pin) = (&bed.home, pin());
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    home.run("token lock alice").done();
    let before = bed.verifies();
    let steps = [("3 tries left): ", "12345\n"), ("3 tries left): ", &*pin), ("[y/N] ", "y\n")];
    let Some((code, screen)) = talk(home, "sign repo", &steps) else { return };
    assert!(code == 0 && screen.contains("six to eight characters"), "{screen}");
    assert_eq!((bed.verifies(), bed.card.tries_left().0), (before + 1, 3), "{screen}");
    let new = [("New PIN", "123\n"), ("more: ", "123\n"), ("New PIN", "234567\n"), ("more: ", "234567\n")];
    let steps = [&[("3 tries left): ", &*pin)], &new[..]].concat();
    let (code, screen) = talk(home, "token change-pin alice", &steps).unwrap();
    assert!(code == 0 && screen.contains("alice has a new PIN"), "{screen}");
    let short = ("3 tries left): ", "1\n");
    let (code, screen) = talk(home, "token unlock alice", &[short, short, short]).unwrap();
    assert!(code == 5 && screen.contains("no PIN of alice was typed"), "{screen}");
}

#[test]
fn a_signature_asks_for_the_pin_by_the_tries_that_the_card_has_now() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let (home, pin) = (&bed.home, pin());
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    home.run("token lock alice").done();
    bed.lose_tries(1);
    let steps = [("2 tries left): ", pin.as_str()), ("[y/N] ", "y\n")];
    let Some((code, screen)) = talk(home, "sign repo", &steps) else { return };
    assert!(code == 0 && !screen.contains("3 tries left"), "{screen}");
    home.run("bump repo root").done();
    home.run("token lock alice").done();
    bed.lose_tries(2);
    let (code, screen) = talk(home, "sign repo", &[]).unwrap();
    assert!(code == 5 && screen.contains("tufctl token unlock alice --last-try"), "{screen}");
    assert!(!Bed::asked(&screen), "{screen}");
}

#[test]
fn a_locked_card_that_is_known_to_have_one_try_left_is_refused_and_the_agent_goes_on() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    home.run("token lock alice").done();
    bed.lose_tries(2);
    // It looks, and is refused: from here on the agent knows of the one try.
    assert_eq!(
        home.refused("token unlock alice --pin-file pin", 5, "PIN_BLOCKED")["details"]["tries_left"],
        1
    );
    assert_eq!(home.token("alice")["pin_tries_left"], 1);
    let way = "tufctl token unlock alice --last-try";
    let signed = home.run("sign repo --yes").exits(4);
    assert!(signed.stdout.contains(way), "{signed}");
    assert_eq!(home.token("alice")["state"], "locked");
    for command in
        ["sign repo --yes --key root-a", "key generate other --token alice --slot 85 --type ecdsa-p256"]
    {
        let refused = home.run(&format!("{command} --json")).exits(5);
        assert!(refused.json()["error"]["remedy"].as_str().unwrap().contains(way), "{command}: {refused}");
        assert_eq!(home.token("alice")["state"], "locked", "{command}");
    }
    assert_eq!(bed.card.tries_left().0, 1);
}

#[test]
fn a_key_that_takes_the_pin_each_time_gets_none_at_the_last_try_and_the_way_on_that_is_told_works() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let (home, pin) = (&bed.home, pin());
    bed.generate("root-a", "--type ecdsa-p256 --pin-policy always");
    bed.repository("root-a");
    bed.lose_tries(1);
    let steps = [("[y/N] ", "y\n"), ("2 tries left): ", pin.as_str())];
    let Some((code, screen)) = talk(home, "sign repo", &steps) else { return };
    assert_eq!(code, 0, "{screen}");
    for locked in [false, true] {
        home.run("bump repo root").done();
        if locked {
            home.run("token lock alice").done();
        }
        bed.lose_tries(2);
        let intents = home.journalled("sign.intent").len();
        let (code, screen) = talk(home, "sign repo --role root", &[("[y/N] ", "y\n")]).unwrap();
        assert!(code == 5 && !screen.contains("left): "), "{screen}");
        assert_eq!((bed.card.tries_left().0, home.journalled("sign.intent").len()), (1, intents), "{screen}");
        let way = "tufctl token unlock alice --last-try";
        assert!(screen.contains(way), "{screen}");
        let steps = [("[y/N] ", "y\n"), ("1 try left): ", pin.as_str())];
        let (code, screen) = talk(home, way.strip_prefix("tufctl ").unwrap(), &steps).unwrap();
        assert_eq!(code, 0, "{screen}");
        let steps = [("[y/N] ", "y\n"), ("3 tries left): ", pin.as_str())];
        let (code, screen) = talk(home, "sign repo", &steps).unwrap();
        assert!(code == 0 && screen.contains("published"), "{screen}");
    }
    // Blocked, it says so in the place of the prompt.
    home.run("bump repo root").done();
    bed.lose_tries(3);
    let (code, screen) = talk(home, "sign repo --role root", &[("[y/N] ", "y\n")]).unwrap();
    assert!(code == 5 && screen.contains("tufctl token unblock alice"), "{screen}");
    assert!(!screen.contains("left): "), "{screen}");
}

#[test]
fn nobody_types_or_touches_for_a_role_where_another_one_is_refused_for_its_key() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-b", "--type ecdsa-p256 --touch always");
    home.unlock_file_store();
    home.keys(&["root-a", "online", "fresh"]);
    let init = |name: &str, root: &str, targets: &str, online: &str| {
        home.run(&format!(
            "repo init {name} --name {name} --root {root} --root-threshold 1 --targets {targets} --targets-threshold 1 \
             --snapshot {online} --timestamp {online}"
        ))
        .done();
    };
    init("app", "root-a", "online", "online");
    home.run("sign app --yes").done();
    bed.card.touch_within(std::time::Duration::from_secs(1));
    // That of its targets, and that of what is made once the others are signed.
    for (name, targets, online) in [("second", "online", "fresh"), ("third", "fresh", "online")] {
        init(name, "root-b", targets, online);
        let (asked, verifies) = (bed.card.touches_asked(), bed.verifies());
        let refused = home.refused(&format!("sign {name} --yes"), 3, "SHARED_KEY");
        assert_eq!(refused["details"], json!({"key": "online", "repository": name}));
        assert!(refused["remedy"].as_str().unwrap().contains("--shared-key"), "{refused}");
        home.run("token lock alice").done();
        let Some((code, screen)) = talk(home, &format!("sign {name}"), &[]) else { return };
        assert!(code == 3 && screen.contains("serves the repository app"), "{screen}");
        assert!(!screen.contains("PIN of"), "{screen}");
        assert_eq!((bed.card.touches_asked(), bed.verifies()), (asked, verifies), "{screen}");
        home.run("token unlock alice --pin-file pin").done();
    }
    // What does not come to it is signed, and so is all of it where that was said.
    bed.card.touch_always(true);
    home.run("sign third --role root --yes").exits(4);
    assert_eq!(home.run("sign third --yes --shared-key --json").done().json()["published"], true);
}

#[test]
fn pinentry_tells_the_tries_that_the_card_has_now_and_is_not_begun_at_the_last() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    let folder = home.dir().join("pinentry");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("pinentry");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/pinentry.sh"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("mode"), format!("pin {FACTORY_PIN}")).unwrap();
    let table = bed.room.table("alice", SERIAL);
    reload(home, &bed.agent, &format!("pinentry = {program:?}\n{table}pin = \"pinentry\"\n"));
    bed.agent.wait_until(|| bed.state() == "locked");
    let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    bed.lose_tries(1);
    let Some((code, screen)) = talk(home, "token unlock alice", &[]) else { return };
    assert!(code == 0 && log().contains("tries left: 2"), "{screen}{}", log());
    home.run("token lock alice").done();
    fs::remove_file(folder.join("log")).unwrap();
    bed.lose_tries(2);
    let (code, screen) = talk(home, "token unlock alice", &[]).unwrap();
    assert!(code == 5 && screen.contains("tufctl token unlock alice --last-try"), "{screen}");
    assert_eq!(log(), "", "{screen}");
    let (code, screen) = talk(home, "token unlock alice --last-try", &[("[y/N] ", "y\n")]).unwrap();
    assert!(code == 0 && log().contains("tries left: 1"), "{screen}{}", log());
}
