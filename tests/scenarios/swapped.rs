//! A PIN goes to the card that it is for, and to no other one that is in its place a moment later (FAULTS C5); and of several
//! entries for one card one presents it a PIN at a time (FAULTS C1).

use std::process::{Command, Output, Stdio};
use std::thread;

use lying_pkcs11::Desk;
use serde_json::json;
use softhsm::SoftHsm;
use tufagent_tests::{Home, PIN, binary, need};

use crate::doctor_pins::unattended;
use crate::pins::{a_while, lying_home};
use crate::terminal::talk_in_steps;

const FIRST: &str = "token serial AAAA1111";
/// Whatever it is given is wrong.
const OTHER: &str = "token serial BBBB2222\nC_Login * CKR_PIN_INCORRECT";

/// Runs `tufctl` while the card is changed for another one, once `is_so`.
fn while_it_is_changed(home: &Home, desk: &Desk, words: &[&str], is_so: impl Fn() -> bool) -> Output {
    let mut command = Command::new(binary("tufctl"));
    home.environment(&mut command);
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let client = command.spawn().unwrap();
    while !is_so() {
        thread::sleep(std::time::Duration::from_millis(20));
    }
    desk.say(OTHER);
    client.wait_with_output().unwrap()
}

#[test]
fn doctor_gives_the_pin_to_no_other_card_and_keeps_no_profile_of_two() {
    let Some((home, desk)) = unattended() else { return };
    desk.say(FIRST);
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.forget();
    desk.say(&format!("{FIRST}\nC_GenerateKeyPair * sleep 500"));
    let words = ["token", "doctor", "hsm", "--json"];
    let made = || desk.trace().calls("C_GenerateKeyPair") > 0;
    let told = while_it_is_changed(&home, &desk, &words, made);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(5), "{text}");
    assert!(text.contains("TOKEN_SWAPPED"), "{text}");
    assert_eq!(desk.trace().told("C_Login", "CKR_PIN_INCORRECT"), 0);
    desk.say(FIRST);
    agent.wait_until(|| home.token("hsm")["serial"] == "AAAA1111");
    assert_eq!(home.token("hsm")["measured"], "never");
}

#[test]
fn the_pin_of_one_signature_goes_to_no_other_card_that_came_meanwhile() {
    let Some((home, desk)) = unattended() else { return };
    desk.say(FIRST);
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
    agent.stop();
    let lie = format!("{FIRST}\nalways-authenticate relogin\nattribute CKA_ALWAYS_AUTHENTICATE true private");
    desk.say(&lie);
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.forget();
    desk.say(&format!("{lie}\nC_Login 1 sleep 2000"));
    let asked = || desk.trace().context_logins() > 0;
    let words = ["sign", "repo", "--yes", "--json"];
    let told = while_it_is_changed(&home, &desk, &words, asked);
    assert_ne!(told.status.code(), Some(0));
    let trace = desk.trace();
    assert_eq!((trace.context_logins(), trace.logins()), (1, 0), "{}", String::from_utf8_lossy(&told.stdout));
    drop(agent);
}

#[test]
fn a_pin_that_was_asked_for_one_of_two_cards_without_serial_numbers_goes_not_to_the_other() {
    let Some(home) = lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token serial 0000000000000000\ntoken manufacturer One\ntoken model A");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    home.run("token unlock hsm --pin-file pin").done();
    home.run("token lock hsm").done();
    assert!(home.token("hsm")["serial"].as_str().unwrap().contains("One"), "{}", home.token("hsm"));
    desk.forget();
    let other = home.write(
        "other",
        "token serial 0000000000000000\ntoken manufacturer Two\ntoken model B\nC_Login * CKR_PIN_INCORRECT",
    );
    let changed = format!("cp {} {}; sleep 1", other.display(), desk.folder().join("control").display());
    let steps = json!([["label build): ", format!("{PIN}\n"), changed]]).to_string();
    let Some((code, screen)) = talk_in_steps(&home, "token unlock hsm", &steps) else { return };
    assert_eq!((code, desk.trace().logins()), (5, 0), "{screen}");
    assert!(screen.contains("One"), "{screen}");
    // Nor to one whose number alone is said, which is none.
    home.refused("token unlock hsm --pin-file pin --serial 0000000000000000", 5, "TOKEN_SWAPPED");
    assert_eq!(desk.trace().logins(), 0);
}

/// A card that three entries mean, each with its PIN in one file.
fn three_entries(text: &str) -> Option<Home> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let file = home.secret("token-pin", text).display().to_string();
    let tables: String = ["one", "two", "three"]
        .map(|name| format!("{}pin = {{ file = {file:?} }}\n", home.lying_table(name, "build", &folder)))
        .concat();
    home.config(&tables);
    Some(home)
}

#[test]
fn of_several_entries_for_one_card_one_presents_a_wrong_pin_by_itself_and_all_the_right_one() {
    let names = ["one", "two", "three"];
    for text in ["wrong-pin-77ac", PIN] {
        let Some(home) = three_entries(text) else { return };
        for name in names {
            home.lying_desk(name).say("token flags none\nC_Login * sleep 700");
        }
        let agent = home.start();
        a_while();
        let logins = || names.map(|name| home.lying_desk(name).trace().logins()).iter().sum::<usize>();
        if text == PIN {
            agent.wait_until(|| names.iter().all(|name| home.token(name)["state"] == "unlocked"));
            assert_eq!(logins(), 3);
        } else {
            assert_eq!(logins(), 1);
        }
    }
}
