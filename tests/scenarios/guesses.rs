//! Guesses at a PIN that the configuration knows, and the counts of tokens that look alike (FAULTS C2, C5, C9).

use softhsm::SoftHsm;
use tufagent_tests::{Home, PIN, need};

use crate::pins::{home_with_pin_file, logins};
use crate::terminal::talk;

#[test]
fn guesses_are_counted_and_slowed_though_the_configured_pin_is_accepted_between_them() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    home.lying_desk("hsm").say("token tries 5");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    for _ in 0..3 {
        home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
        home.run("token unlock hsm").done();
    }
    let logins_before = logins(&home);
    // Measuring with the configured PIN is no proof of a person either.
    home.run("token doctor hsm").done();
    let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_BLOCKED");
    assert_eq!(refused["details"]["wrong"], 3, "{refused}");
    agent.stop();
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert!(logins(&home) > logins_before, "the source goes on");
    home.refused("token unlock hsm --pin-file wrong", 5, "PIN_BLOCKED");
    let command = "token unlock hsm --pin-file pin --last-try";
    let Some((code, screen)) = talk(&home, command, &[("did not accept the last 3. [y/N] ", "y\n")]) else {
        return;
    };
    assert_eq!(code, 0, "{screen}");
    home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
}

#[test]
fn tokens_of_one_label_without_serial_are_counted_each_for_itself() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let mut tables = String::new();
    for name in ["one", "two"] {
        let folder = softhsm.folder(&home.dir().join(name)).unwrap();
        folder.init_token("build", "so-pin-4711", PIN).unwrap();
        tables += &home.lying_table(name, "build", &folder);
    }
    home.config(&tables);
    home.secret("pin", PIN);
    home.secret("wrong", "wrong-pin-77ac");
    home.lying_desk("one").say("token serial 0000000000000000");
    home.lying_desk("two").say("token serial 0000000000000000\ntoken model other\ntoken flags none");
    let _agent = home.start();
    for count in 1..=3 {
        let refused = home.refused("token unlock two --pin-file wrong", 5, "PIN_INCORRECT");
        assert_eq!(refused["details"]["wrong"], count, "{refused}");
        home.run("token unlock one --pin-file pin").done();
        home.run("token lock one").done();
    }
    home.refused("token unlock two --pin-file pin", 5, "PIN_BLOCKED");
    home.run("token unlock one --pin-file pin").done();
    assert_eq!(home.lying_desk("two").trace().logins(), 3);
}

#[test]
fn a_token_that_calls_itself_another_model_keeps_its_count() {
    let Some(home) = crate::pins::lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token flags none");
    let agent = home.start();
    for _ in 0..3 {
        home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    }
    // As after an update of its firmware.
    desk.say("token flags none\ntoken model v3");
    home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    agent.stop();
    let _agent = home.start();
    home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
    assert_eq!(logins(&home), 3);
}

#[test]
fn a_label_that_looks_like_a_serial_in_a_uri_binds_to_no_card() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("serial=7", "so-pin-4711", PIN).unwrap();
    let file = home.secret("token-pin", PIN);
    let table = home.lying_table("hsm", "LABEL", &folder);
    let by_uri = table.replace("label = \"LABEL\"", "uri = 'pkcs11:token=serial=7'");
    assert_ne!(by_uri, table);
    home.config(&(by_uri + &format!("pin = {{ file = {:?} }}\n", file.display().to_string())));
    let desk = home.lying_desk("hsm");
    desk.say("token serial AAAA1111");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.say("token serial BBBB2222");
    agent.wait_until(|| home.token("hsm")["state"] == "locked" && home.token("hsm")["problem"].is_string());
    home.refused("token unlock hsm", 5, "TOKEN_SWAPPED");
    assert_eq!(logins(&home), 1);
}

#[test]
fn a_pin_that_doctor_had_accepted_and_then_refused_stays_counted() {
    let Some(home) = crate::pins::lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    // Somebody changes it while doctor works; the token tells nothing of its tries.
    desk.say("token flags none\nC_Login 3- CKR_PIN_INCORRECT");
    let _agent = home.start();
    home.run("token doctor hsm --pin-file pin").done();
    desk.say("token flags none");
    let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!(refused["details"]["wrong"], 2, "{refused}");
}

/// Answers of C_Login by which the PIN was not looked at, what is told of them, and the way out. A module that says so may
/// have looked at it.
const UNLOOKED: [(&str, &str, &str); 3] = [
    ("CKR_USER_PIN_NOT_INITIALIZED", "no user PIN", "--init-pin"),
    ("CKR_PIN_EXPIRED", "expired", "tufctl token change-pin hsm"),
    ("CKR_ARGUMENTS_BAD", "takes no PIN in this way", "not supported"),
];

#[test]
fn whatever_a_login_answers_a_typed_pin_is_counted_and_three_stop() {
    let Some(home) = crate::pins::lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    for (code, says, remedy) in UNLOOKED {
        desk.say(&format!("token flags none\nC_Login {code}"));
        let before = logins(&home);
        for count in 1..=3 {
            let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
            assert!(refused["message"].as_str().unwrap().contains(says), "{refused}");
            assert!(refused["remedy"].as_str().unwrap().contains(remedy), "{refused}");
            assert_eq!(refused["details"]["wrong"], count, "{code}: {refused}");
            assert!(home.token("hsm")["problem"].as_str().unwrap().contains(says), "{}", home.token("hsm"));
        }
        home.refused("token unlock hsm --pin-file pin", 5, "PIN_BLOCKED");
        assert_eq!(logins(&home), before + 3, "{code}");
        // The right one ends the count.
        desk.say("token flags none");
        let command = "token unlock hsm --pin-file pin --last-try";
        let Some((exit, screen)) = talk(&home, command, &[("[y/N] ", "y\n")]) else { return };
        assert_eq!(exit, 0, "{screen}");
        assert!(home.token("hsm")["problem"].is_null(), "{}", home.token("hsm"));
        home.run("token lock hsm").done();
    }
    let asked = logins(&home);
    desk.say("token flags +protected-path");
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("typed at the device"), "{refused}");
    assert_eq!(logins(&home), asked, "it is not presented");
    desk.say("token flags none");
    let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!(refused["details"]["wrong"], 1, "what was not presented is not counted: {refused}");
}

#[test]
fn whatever_a_login_answers_the_pin_of_a_file_is_not_presented_again_by_itself() {
    for (code, says, _) in UNLOOKED {
        let Some(home) = home_with_pin_file(PIN) else { return };
        home.lying_desk("hsm").say(&format!("token flags none\nC_Login {code}"));
        let agent = home.start();
        agent.wait_until(|| home.token("hsm")["problem"].as_str().is_some_and(|told| told.contains(says)));
        for _ in 0..3 {
            let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
            assert!(refused["message"].as_str().unwrap().contains(says), "{refused}");
            // Doctor measures what it can without it.
            home.run("token doctor hsm").done();
        }
        assert_eq!(logins(&home), 1, "{code}");
        agent.stop();
        let agent = home.start();
        agent.wait_until(|| home.token("hsm")["problem"].is_string());
        home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
        assert_eq!(logins(&home), 1, "{code}: a restart is no reason");
        for count in 2..=3 {
            home.refused("token unlock hsm", 5, "TOKEN_FAILED");
            assert_eq!(logins(&home), count, "{code}: a person is");
        }
        home.refused("token unlock hsm", 5, "PIN_BLOCKED");
        assert_eq!(logins(&home), 3, "{code}");
    }
}

#[test]
fn a_pin_that_has_expired_is_told_until_it_is_changed_and_that_ends_the_count() {
    let Some(home) = crate::pins::lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token flags none\nC_Login CKR_PIN_EXPIRED");
    let _agent = home.start();
    home.secret("new", "new-pin-5c33");
    // Too short to be looked for in what must hold no secret.
    crate::yubikeys::private(&home, "short", "12");
    for _ in 0..2 {
        home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    }
    assert!(home.token("hsm")["problem"].as_str().unwrap().contains("tufctl token change-pin"));
    // One that the token does not take by its word is not presented; what C_SetPIN itself refuses counts.
    home.refused("token change-pin hsm --pin-file pin --new-pin-file short", 2, "USAGE");
    assert_eq!(desk.trace().calls("C_SetPIN"), 0);
    // Stopped, a person says that it is changed all the same.
    home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    let refused = home.refused("token change-pin hsm --pin-file pin --new-pin-file new", 5, "PIN_BLOCKED");
    let command = "token change-pin hsm --pin-file pin --new-pin-file new --last-try";
    assert!(refused["remedy"].as_str().unwrap().contains("change-pin hsm --last-try"), "{refused}");
    home.refused(command, 3, "CONFIRMATION_MISSING");
    let Some((code, screen)) = talk(&home, command, &[("[y/N] ", "y\n")]) else { return };
    assert_eq!((code, desk.trace().calls("C_SetPIN")), (0, 1), "{screen}");
    assert!(home.token("hsm")["problem"].is_null(), "{}", home.token("hsm"));
    desk.say("token flags none\nC_SetPIN CKR_PIN_LEN_RANGE");
    let refused = home.refused("token change-pin hsm --pin-file wrong --new-pin-file pin", 5, "TOKEN_FAILED");
    assert_eq!(refused["details"]["wrong"], 1, "{refused}");
    home.run("token unlock hsm --pin-file new").done();
}

#[test]
fn a_pin_that_doctor_saw_refused_is_not_presented_by_doctor_again() {
    for code in ["CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_PIN_INCORRECT"] {
        let Some(home) = home_with_pin_file(PIN) else { return };
        let desk = home.lying_desk("hsm");
        desk.say("token flags none");
        let agent = home.start();
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
        desk.say(&format!("token flags none\nC_Login {code}"));
        let before = logins(&home);
        for _ in 0..3 {
            home.run("token doctor hsm");
        }
        assert_eq!(logins(&home), before + 1, "{code}");
        desk.say("token flags none");
        let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
        assert_eq!(refused["details"]["wrong"], 2, "{code}: {refused}");
    }
}

#[test]
fn a_wrong_pin_of_a_file_is_presented_once_though_somebody_says_unlock_or_doctor_meanwhile() {
    for command in ["token unlock hsm", "token doctor hsm"] {
        let Some(home) = home_with_pin_file("wrong-pin-5c33") else { return };
        let desk = home.lying_desk("hsm");
        desk.say("token flags none\nC_Login sleep 3000");
        let agent = home.start();
        agent.wait_until(|| logins(&home) == 1);
        // Said before the answer is known, which is about the very same content.
        if command == "token doctor hsm" {
            home.run(command).done();
        } else {
            let refused = home.refused(command, 5, "TOKEN_LOCKED");
            assert!(refused["message"].as_str().unwrap().contains("is wrong"), "{refused}");
            assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm"), "{refused}");
        }
        assert_eq!(logins(&home), 1, "{command}");
        desk.say("token flags none");
        let refused = home.refused("token unlock hsm", 5, "PIN_INCORRECT");
        assert_eq!((&refused["details"]["wrong"], logins(&home)), (&serde_json::json!(2), 2), "{refused}");
    }
}

#[test]
fn the_deadline_of_the_configuration_is_that_of_each_call() {
    let Some(home) = crate::pins::lying_home("deadline = '5s'\n") else { return };
    let desk = home.lying_desk("hsm");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    desk.say("C_Login sleep 30000");
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("within 5 s"), "{refused}");
    desk.say("pass");
}

#[test]
fn what_waits_behind_a_wrong_guess_is_not_told_that_the_token_unlocks_itself() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let desk = home.lying_desk("hsm");
    desk.say("C_Login * sleep 1500");
    let agent = home.start();
    agent.wait_until(|| logins(&home) > 0);
    std::thread::scope(|scope| {
        let guess = scope.spawn(|| home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
        let remedy = refused["remedy"].as_str().unwrap();
        assert!(!remedy.contains("by itself") && remedy.contains("tufctl token unlock hsm"), "{refused}");
        guess.join().unwrap();
    });
}
