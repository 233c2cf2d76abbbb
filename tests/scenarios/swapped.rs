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

#[test]
fn a_reload_while_the_right_pin_is_presented_leaves_the_changed_entry_unlocked() {
    let Some((home, desk)) = unattended() else { return };
    desk.say("C_Login * sleep 2000");
    let agent = home.start();
    let began = || desk.trace().calls("C_Login") > 0;
    while !began() {
        thread::sleep(std::time::Duration::from_millis(20));
    }
    let config = home.dir().join("config/tuf-agent/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    home.config(&format!("{text}sessions = 2\n"));
    agent.signal("HUP");
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    let (made, accepted) = (home.journalled("token.attempt").len(), home.journalled("token.accepted").len());
    assert_eq!((made, accepted), (2, 2), "one by each helper");
}

#[test]
fn a_pin_that_was_not_presented_because_of_another_entry_is_presented_once_that_one_is_right() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let table = |name: &str, text: &str| {
        let file = home.secret(&format!("pin-{name}"), text).display().to_string();
        format!("{}pin = {{ file = {file:?} }}\n", home.lying_table(name, "build", &folder))
    };
    let wrong = table("one", "wrong-pin-77ac");
    home.lying_desk("one").say("token flags none");
    home.config(&wrong);
    // Tried in a run before, so nothing is presented by itself in this one.
    let agent = home.start();
    agent.wait_until(|| home.lying_desk("one").trace().logins() == 1);
    a_while();
    agent.stop();
    home.lying_desk("two").say("token flags none");
    home.config(&(wrong + &table("two", PIN)));
    let agent = home.start();
    let refused = home.refused("key generate k --token two --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert!(refused["message"].as_str().unwrap().contains("was tried before"), "{refused}");
    assert_eq!(home.lying_desk("two").trace().logins(), 0);
    home.secret("pin-one", PIN);
    home.run("token unlock one").done();
    home.run("key generate k --token two --type ecdsa-p256").done();
    drop(agent);
}

#[test]
fn two_databases_that_nothing_but_their_entries_tells_apart_count_their_wrong_pins_apart() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let table = |name: &str| {
        let folder = softhsm.folder(&home.dir().join(name)).unwrap();
        folder.init_token("build", "so-pin-4711", PIN).unwrap();
        home.lying_desk(name).say("token serial 0000000000000000\ntoken flags none");
        home.lying_table(name, "build", &folder)
    };
    home.config(&(table("one") + &table("two")));
    home.secret("pin", PIN);
    home.secret("wrong", "wrong-pin-77ac");
    let agent = home.start();
    agent.wait_until(|| ["one", "two"].iter().all(|name| home.token(name)["state"] == "locked"));
    for reason in ["PIN_INCORRECT", "PIN_INCORRECT", "PIN_INCORRECT", "PIN_BLOCKED"] {
        home.refused("token unlock one --pin-file wrong", 5, reason);
        home.run("token unlock two --pin-file pin").done();
    }
    assert_eq!(home.lying_desk("one").trace().logins(), 3);
}

#[test]
fn a_token_that_says_before_it_is_asked_that_it_is_blocked_costs_no_attempt() {
    let Some(home) = lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    // The flag comes after the look at the token, and before the login: sooner or later.
    for _ in 0..20 {
        desk.say("C_GetSessionInfo * sleep 300");
        thread::scope(|scope| {
            let unlocking = scope.spawn(|| home.run("token unlock hsm --pin-file pin --json"));
            thread::sleep(std::time::Duration::from_millis(200));
            desk.say("token flags +locked");
            drop(unlocking.join().unwrap());
        });
        desk.say("");
        agent.wait_until(|| home.token("hsm")["state"] != "blocked");
        if !home.journalled("token.not-asked").is_empty() {
            break;
        }
        home.run("token lock hsm").done();
    }
    let (made, accepted) = (home.journalled("token.attempt").len(), home.journalled("token.accepted").len());
    let not_asked = home.journalled("token.not-asked");
    assert_eq!(not_asked.len(), 1, "the token was asked each time");
    assert_eq!((made, &not_asked[0]["body"]["wrong"]), (accepted + 1, &json!(0)));
}
