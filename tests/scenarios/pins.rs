//! PINs at tokens that count them: one entry, one attempt; counted before the token is asked; to the card that is meant
//! (FAULTS C1 to C6, C9).

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use softhsm::SoftHsm;
use tufagent_tests::clock::Shift;
use tufagent_tests::{Agent, Home, PIN, binary, need};

use crate::origin::reload;
use crate::terminal::{talk, talk_in_steps};

/// A home with a SoftHSM token behind the lying module; `more` ends its entry in the configuration. No agent yet.
pub(crate) fn lying_home(more: &str) -> Option<Home> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&(home.lying_table("hsm", "build", &folder) + more));
    home.secret("pin", PIN);
    home.secret("wrong", "wrong-pin-77ac");
    Some(home)
}

/// The same with its PIN in the file `token-pin`, which holds `text`.
pub(crate) fn home_with_pin_file(text: &str) -> Option<Home> {
    let home = lying_home("")?;
    let file = home.secret("token-pin", text);
    let config = home.dir().join("config/tuf-agent/config.toml");
    let table = fs::read_to_string(config).unwrap();
    home.config(&format!("{table}pin = {{ file = {:?} }}\n", file.display().to_string()));
    Some(home)
}

pub(crate) fn logins(home: &Home) -> usize {
    home.lying_desk("hsm").trace().logins()
}

/// Long enough for the agent to have looked at its tokens again.
pub(crate) fn a_while() {
    thread::sleep(Duration::from_secs(5));
}

#[test]
fn three_wrong_pins_stop_a_token_that_tells_nothing_until_a_person_says_last_try() {
    let Some(home) = lying_home("") else { return };
    home.lying_desk("hsm").say("token flags none");
    let agent = home.start();
    for count in 1..=3 {
        let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
        assert_eq!(refused["details"]["wrong"], count, "{refused}");
        let offered = refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm --last-try");
        assert_eq!(offered, count == 3, "{refused}");
    }
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm --last-try"), "{refused}");
    assert_eq!(logins(&home), 3);
    // Neither a restart nor a new helper makes it forget.
    agent.stop();
    let agent = home.start();
    home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    assert!(home.token("hsm")["problem"].as_str().unwrap().contains("3 PINs"), "{}", home.token("hsm"));
    home.refused("token unlock hsm --pin-file pin --last-try", 3, "CONFIRMATION_MISSING");
    assert_eq!(logins(&home), 3);
    let command = "token unlock hsm --pin-file pin --last-try";
    let Some((code, screen)) = talk(&home, command, &[("[y/N] ", "n\n")]) else { return };
    assert_eq!((code, logins(&home)), (3, 3), "{screen}");
    let (code, screen) = talk(&home, command, &[("[y/N] ", "y\n")]).unwrap();
    assert_eq!((code, logins(&home)), (0, 4), "{screen}");
    assert!(
        screen.contains("hsm") && screen.contains(home.token("hsm")["serial"].as_str().unwrap()),
        "{screen}"
    );
    let attempts = home.journalled("token.attempt");
    let last = &attempts.last().unwrap()["body"];
    assert_eq!((&last["anyway"], &last["wrong_before"]), (&json!(true), &json!(3)), "{last}");
    assert!(last["about"]["caller"]["uid"].is_u64(), "{last}");
    let shown = &last["about"]["shown"];
    assert_eq!((&shown["serial"], &shown["wrong"]), (&home.token("hsm")["serial"], &json!(3)), "{last}");
    // The right one has ended the count.
    home.run("token lock hsm").done();
    home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    home.run("token unlock hsm --pin-file pin").done();
}

#[test]
fn a_last_try_is_of_the_card_and_the_tries_that_the_person_was_shown() {
    let Some(home) = lying_home("") else { return };
    home.lying_desk("hsm").say("token flags none");
    let _agent = home.start();
    home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    // While the question stands somebody else spends a try.
    let meanwhile = format!("{} token unlock hsm --pin-file wrong; true", binary("tufctl").display());
    let steps = json!([["[y/N] ", "y\n", meanwhile]]).to_string();
    let command = "token unlock hsm --pin-file pin --last-try";
    let Some((code, screen)) = talk_in_steps(&home, command, &steps) else { return };
    assert_eq!((code, logins(&home)), (3, 2), "{screen}");
    assert!(screen.contains("not as it was shown"), "{screen}");
    let (code, screen) = talk(&home, command, &[("did not accept the last 2. [y/N] ", "y\n")]).unwrap();
    assert_eq!((code, logins(&home)), (0, 3), "{screen}");
}

#[test]
fn of_a_token_that_tells_the_last_try_is_left_alone_and_a_blocked_one_is_told() {
    let Some(home) = lying_home("") else { return };
    home.lying_desk("hsm").say("token tries 2");
    let _agent = home.start();
    home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    assert!(refused["message"].as_str().unwrap().contains("1 try left"), "{refused}");
    assert_eq!(logins(&home), 1);
    let command = "token unlock hsm --pin-file wrong --last-try";
    let Some((code, screen)) = talk(&home, command, &[("[y/N] ", "y\n")]) else { return };
    assert_eq!((code, logins(&home)), (5, 2), "{screen}");
    assert_eq!(home.token("hsm")["state"], "blocked");
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    assert!(!refused["remedy"].as_str().unwrap().is_empty(), "{refused}");
    assert_eq!(logins(&home), 2);
}

#[test]
fn tries_that_are_low_are_no_reason_to_stop() {
    let Some(home) = lying_home("") else { return };
    home.lying_desk("hsm").say("token flags +count-low");
    let _agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(logins(&home), 1);
}

/// After these the module is started anew.
const RENEWS: &[&str] =
    &["CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_USER_ALREADY_LOGGED_IN"];

#[test]
fn whatever_a_login_answers_it_is_one_attempt() {
    let Some(home) = lying_home("") else { return };
    let mut agent = home.start();
    let desk = home.lying_desk("hsm");
    let mut made = 0;
    for code in [
        "CKR_DEVICE_ERROR",
        "CKR_GENERAL_ERROR",
        "CKR_FUNCTION_FAILED",
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_DEVICE_REMOVED",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_CRYPTOKI_NOT_INITIALIZED",
        "CKR_USER_NOT_LOGGED_IN",
        "CKR_PIN_EXPIRED",
        "CKR_OPERATION_ACTIVE",
        "CKR_USER_ALREADY_LOGGED_IN",
    ] {
        for when in ["", "after "] {
            desk.say(&format!("C_Login {when}{code}"));
            let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
            made += 1;
            assert_eq!(logins(&home), made, "{when}{code}: {refused}");
            desk.say("pass");
            // A login that stood all the same lends nothing to a wrong PIN.
            home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
            made += 1;
            assert_ne!(home.token("hsm")["state"], "unlocked", "{when}{code}");
            home.run("token unlock hsm --pin-file pin").done();
            made += 1;
            assert_eq!(logins(&home), made, "{when}{code}, and then the right one");
            home.run("token lock hsm").done();
            if RENEWS.contains(&code) {
                // What is done once in 30 seconds has been done.
                agent.stop();
                agent = home.start();
            }
        }
    }
    drop(agent);
    let _agent = home.start();
    desk.say("C_Login abort");
    home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    desk.say("pass");
    a_while();
    assert_eq!(logins(&home), made + 1);
}

#[test]
fn a_token_whose_service_was_started_anew_signs_again_by_itself_or_with_the_next_pin() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
    home.run("sign repo --yes").done();
    let desk = home.lying_desk("hsm");
    // Looks are answered; signatures and logins fail in whoever spoke to the old service.
    desk.say("C_Sign until-restart CKR_GENERAL_ERROR\nC_Login until-restart CKR_GENERAL_ERROR");
    home.run("bump repo timestamp").done();
    for _ in 0..2 {
        home.refused("sign repo --yes", 5, "TOKEN_FAILED");
    }
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("sign repo --yes").done();
    assert_eq!(logins(&home), 2, "once for the loss, to a module that can take it");
    // Whose first word is a PIN loses an attempt, and the next is one that can be taken.
    agent.stop();
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("token lock hsm").done();
    desk.say("C_Login until-restart CKR_GENERAL_ERROR");
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("started anew"), "{refused}");
    assert_eq!(refused["details"]["wrong"], 1, "it stays counted: {refused}");
    home.run("token unlock hsm --pin-file pin").done();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
}

#[test]
fn an_agent_that_is_killed_between_count_and_login_counts_no_less_than_the_card() {
    let Some(home) = lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token flags none\nC_Login sleep 20000");
    let agent = home.start();
    let asking = thread::spawn({
        let home = home.clone();
        move || home.run("token unlock hsm --pin-file wrong --json")
    });
    agent.wait_until(|| logins(&home) == 1);
    agent.kill();
    assert_ne!(asking.join().unwrap().code, 0);
    desk.say("token flags none");
    let _agent = home.start();
    for count in 2..=3 {
        let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
        assert_eq!(refused["details"]["wrong"], count, "{refused}");
    }
    home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    assert_eq!(logins(&home), 3);
    assert_eq!(home.run("audit verify --json").done().json()["problem"], Value::Null);
}

#[test]
fn cards_that_are_swapped_while_the_prompt_stands_get_no_attempt() {
    let Some(home) = lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token serial AAAA1111");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["serial"] == "AAAA1111");
    let control = home.dir().join("swap");
    fs::write(&control, "token serial BBBB2222").unwrap();
    let folder = desk_folder(&home);
    let swap = format!("cp {} {}/new && mv {1}/new {1}/control", control.display(), folder);
    let steps = json!([[": ", format!("{PIN}\n"), swap]]).to_string();
    let Some((code, screen)) = talk_in_steps(&home, "token unlock hsm", &steps) else { return };
    assert!(screen.contains("hsm (PKCS#11 AAAA1111, label build)"), "{screen}");
    assert!(screen.contains("BBBB2222"), "{screen}");
    assert_eq!((code, logins(&home)), (5, 0), "{screen}");
    home.refused("token unlock hsm --pin-file pin --serial AAAA1111", 5, "TOKEN_SWAPPED");
    assert_eq!(logins(&home), 0);
    home.run("token unlock hsm --pin-file pin --serial BBBB2222").done();
}

/// Where the desk of the token `hsm` has its control file.
fn desk_folder(home: &Home) -> String {
    let env = home.lying_desk("hsm").env(std::path::Path::new("/real.so"));
    let (_, control) = env.into_iter().find(|(name, _)| name == "LYING_CONTROL").unwrap();
    control.strip_suffix("/control").unwrap().to_owned()
}

#[test]
fn a_pin_from_a_file_goes_to_the_card_that_accepted_it_and_to_no_other_of_its_label() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token serial AAAA1111");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.say("token serial BBBB2222");
    agent.wait_until(|| home.token("hsm")["state"] == "locked" && home.token("hsm")["problem"].is_string());
    assert!(home.token("hsm")["problem"].as_str().unwrap().contains("AAAA1111"), "{}", home.token("hsm"));
    home.refused("token unlock hsm", 5, "TOKEN_SWAPPED");
    agent.stop();
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    assert_eq!(logins(&home), 1);
    let refused = home.refused("token unlock hsm", 5, "TOKEN_SWAPPED");
    assert!(refused["remedy"].as_str().unwrap().contains("--serial BBBB2222"), "{refused}");
    home.run("token unlock hsm --serial BBBB2222").done();
    assert_eq!(logins(&home), 2);
}

#[test]
fn a_name_keeps_to_its_card_also_when_another_entry_uses_that() {
    let Some((home, folder)) = crate::tokens::home_with_pin("") else { return };
    folder.init_token("other", "so-12345678", "another-pin").unwrap();
    let pin = home.secret("pin", PIN).display().to_string();
    let entry = |name: &str, label: &str| {
        format!("{}pin = {{ file = {pin:?} }}\n", Home::softhsm_table(name, label, &folder))
    };
    home.config(&entry("two", "build"));
    let agent = home.start();
    agent.wait_until(|| home.token("two")["state"] == "unlocked");
    // `one` has its card now, and `two` means another one, which has another PIN.
    home.config(&(entry("one", "build") + &entry("two", "other")));
    agent.signal("HUP");
    agent.wait_until(|| home.run("token list --json").stdout.contains("\"one\""));
    agent.wait_until(|| home.token("one")["state"] == "unlocked");
    agent.wait_until(|| home.token("two")["problem"].is_string());
    home.refused("token unlock two", 5, "TOKEN_SWAPPED");
    let attempts = home.journalled("token.attempt");
    assert!(attempts.iter().all(|attempt| !attempt.to_string().contains("other")), "{attempts:?}");
}

#[test]
fn a_hundred_wrong_passphrases_are_slowed_and_other_tokens_wait_for_nothing() {
    let Some(home) = lying_home("") else { return };
    let _agent = home.start();
    home.unlock_file_store();
    let mut tried = 0;
    for _ in 0..100 {
        let error = home.run("token unlock file --pin-file wrong --json").exits(5).json()["error"].clone();
        match error["reason"].as_str().unwrap() {
            "PIN_INCORRECT" => tried += 1,
            "PIN_DELAYED" => {
                let seconds = error["details"]["retry_in_seconds"].as_u64().unwrap();
                assert!(error["remedy"].as_str().unwrap().contains(&format!("{seconds} s")), "{error}");
            }
            other => panic!("{other}: {error}"),
        }
    }
    assert!((4..=10).contains(&tried), "{tried} of 100 were tried");
    home.run("token unlock hsm --pin-file pin").done();
}

#[test]
fn an_unlock_lasts_its_time_whatever_the_wall_clock_does() {
    let Some(shift) = need(Shift::new("+0")) else { return };
    let home = Home::new();
    home.config("[[token]]\nname = 'file'\nkind = 'file'\nunlock_for = '8s'\n");
    let time = home.write("time", "+0\n");
    let variables = shift.following(&time);
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let agent = Agent::start_in_environment(&home, Command::new(binary("tuf-agent")), &variables);
    let year = |kind: &str| -> i32 {
        let last = home.journalled(kind).pop().expect("it is journalled");
        last["time"].as_str().unwrap()[..4].parse().unwrap()
    };
    home.unlock_file_store();
    let (begun, now) = (Instant::now(), year("token.unlock"));
    for (jump, years, key) in [("+10y\n", 10, "a"), ("-10y\n", -10, "b")] {
        fs::write(&time, jump).unwrap();
        home.key(key, "ed25519");
        assert!((year("key.made") - now - years).abs() <= 1, "the agent does not live at {jump}");
    }
    let state = || home.run("token list --json").done().json()["tokens"][0]["state"].clone();
    if begun.elapsed() < Duration::from_secs(6) {
        assert_eq!(state(), "unlocked");
    }
    agent.wait_until(|| state() == "locked");
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[test]
fn a_reload_leaves_an_unlocked_token_as_it_is_and_locks_one_whose_entry_has_changed() {
    let Some(home) = lying_home("") else { return };
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    let table = fs::read_to_string(home.dir().join("config/tuf-agent/config.toml")).unwrap();
    let helper = home.token("hsm")["helper_pid"].clone();
    reload(&home, &agent, &format!("# nothing new\n{table}"));
    assert_eq!(
        (&home.token("hsm")["state"], &home.token("hsm")["helper_pid"]),
        (&json!("unlocked"), &helper)
    );
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    assert_eq!(logins(&home), 1);
    reload(&home, &agent, &format!("{table}unlock_for = '2h'\n"));
    agent
        .wait_until(|| home.token("hsm")["helper_pid"].is_u64() && home.token("hsm")["helper_pid"] != helper);
    home.refused("key generate l --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!((&home.token("hsm")["state"], logins(&home)), (&json!("locked"), 1), "{}", home.token("hsm"));
    home.run("token unlock hsm --pin-file pin").done();
}
