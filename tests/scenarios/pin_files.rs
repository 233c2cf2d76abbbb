//! PINs that lie in files, credentials and the like: presented by the agent itself, once for each content and each loss
//! (FAULTS C1, C2).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use tufagent_tests::{Agent, Home, PIN, binary};

use crate::pins::{a_while, home_with_pin_file, logins, lying_home};

#[test]
fn a_pin_from_a_file_of_which_nobody_knows_what_became_is_not_tried_again() {
    for lie in ["C_Login after CKR_DEVICE_ERROR", "C_Login abort", "C_Login CKR_TOKEN_NOT_PRESENT"] {
        let Some(home) = home_with_pin_file(PIN) else { return };
        let desk = home.lying_desk("hsm");
        desk.say(lie);
        let agent = home.start();
        agent.wait_until(|| home.token("hsm")["problem"].is_string());
        desk.say("pass");
        for _ in 0..3 {
            home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
        }
        a_while();
        assert_eq!(logins(&home), 1, "{lie}");
        agent.stop();
        let agent = home.start();
        a_while();
        assert_eq!(logins(&home), 1, "{lie}: a restart is no reason");
        home.run("token unlock hsm").done();
        assert_eq!(logins(&home), 2);
        agent.stop();
    }
}

#[test]
fn a_wrong_pin_file_is_tried_once_whatever_happens_and_once_more_when_it_changes() {
    let Some(home) = home_with_pin_file("wrong-pin-11d0") else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    for _ in 0..3 {
        home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    }
    // Written anew with what was wrong: nothing new.
    home.secret("token-pin", "wrong-pin-11d0");
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 1);
    home.secret("token-pin", "wrong-pin-22e1");
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "PIN_INCORRECT");
    home.secret("token-pin", "wrong-pin-11d0");
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 2, "the first one again is nothing new");
    agent.kill();
    // What changed while no agent ran is not seen to have changed; what changes after that is.
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 2);
    home.secret("token-pin", PIN);
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    assert_eq!(logins(&home), 3);
    agent.stop();
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    agent.stop();
}

#[test]
fn a_wrong_pin_in_a_credential_or_a_file_made_anew_costs_one_try_however_often_the_agent_starts() {
    for pin in ["credential = 'hsm-pin'", "file = 'FOLDER/hsm-pin'"] {
        let Some(home) = lying_home("") else { return };
        let folder = home.dir().join("credentials");
        fs::create_dir(&folder).unwrap();
        let directory = folder.display().to_string();
        let config = home.dir().join("config/tuf-agent/config.toml");
        let table = fs::read_to_string(config).unwrap();
        home.config(&format!("{table}pin = {{ {} }}\n", pin.replace("FOLDER", &directory)));
        // As a service manager does at each start: a new file, with the same or another content.
        let start = |content: &str| {
            fs::rename(home.secret("new", content), folder.join("hsm-pin")).unwrap();
            let agent = Agent::start_in_environment(
                &home,
                Command::new(binary("tuf-agent")),
                &[("CREDENTIALS_DIRECTORY", &directory)],
            );
            agent.wait_until(|| home.token("hsm")["problem"].is_string());
            home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
            agent
        };
        for content in ["wrong-pin-51aa", "wrong-pin-51aa", "wrong-pin-51aa", PIN] {
            assert!(start(content).stop().success());
            assert_eq!(logins(&home), 1, "{pin}");
        }
        let agent = start(PIN);
        let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
        assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm"), "{refused}");
        // Another PIN that is right says nothing for the one in the source.
        home.run("token unlock hsm --pin-file pin").done();
        assert!(agent.stop().success());
        let agent = start("wrong-pin-51aa");
        assert_eq!(logins(&home), 2, "{pin}");
        fs::rename(home.secret("new", PIN), folder.join("hsm-pin")).unwrap();
        home.run("token unlock hsm").done();
        assert_eq!(logins(&home), 3, "{pin}");
        agent.stop();
    }
}

#[test]
fn what_a_person_had_tried_from_a_file_in_vain_is_not_tried_by_the_next_run() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("token lock hsm").done();
    home.secret("token-pin", "wrong-pin-62bb");
    home.refused("token unlock hsm", 5, "PIN_INCORRECT");
    agent.stop();
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 2);
    agent.stop();
}

#[test]
fn a_pipe_in_place_of_a_pin_file_is_refused_at_once() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    fs::remove_file(home.path("token-pin")).unwrap();
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(home.path("token-pin")).status().unwrap();
    assert!(made.success());
    let agent = home.start();
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["message"].as_str().unwrap().contains("token-pin is not a file"), "{refused}");
    let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "SECRET_FILE");
    assert!(refused["message"].as_str().unwrap().contains("is not a file"), "{refused}");
    fs::remove_file(home.path("token-pin")).unwrap();
    home.secret("token-pin", PIN);
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    agent.stop();
}

#[test]
fn a_proven_pin_is_presented_again_once_for_each_loss_and_not_when_tries_are_gone() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let desk = home.lying_desk("hsm");
    desk.say("token flags none");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(logins(&home), 1);
    let lose_helper = || lose_helper(&home, &agent);
    lose_helper();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(logins(&home), 2);
    desk.say("token flags none +count-low");
    lose_helper();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    a_while();
    assert_eq!((logins(&home), &home.token("hsm")["state"]), (2, &json!("locked")), "{}", home.token("hsm"));
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 2);
    home.run("token unlock hsm").done();
    assert_eq!(logins(&home), 3);
}

/// Ends the token's helper, and waits for the next one.
fn lose_helper(home: &Home, agent: &Agent) {
    let helper = home.token("hsm")["helper_pid"].as_u64().unwrap();
    assert!(Command::new("kill").args(["-KILL", &helper.to_string()]).status().unwrap().success());
    agent.wait_until(|| home.token("hsm")["helper_pid"].as_u64().is_some_and(|pid| pid != helper));
}

#[test]
fn a_pin_file_that_was_wrong_for_a_while_is_tried_when_it_is_right_again() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.secret("token-pin", "wrong-pin-33f2");
    lose_helper(&home, &agent);
    agent.wait_until(|| home.token("hsm")["problem"].as_str().is_some_and(|why| why.contains("is wrong")));
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 2);
    home.secret("token-pin", PIN);
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    assert_eq!(logins(&home), 3);
    // What was wrong stays so.
    home.secret("token-pin", "wrong-pin-33f2");
    lose_helper(&home, &agent);
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    home.refused("key generate k2 --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), 3);
}

#[test]
fn a_pin_that_was_changed_is_not_presented_again_and_the_source_that_holds_it_is_told() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.secret("new-pin", "new-pin-44a7");
    let changed = home.run("token change-pin hsm --pin-file pin --new-pin-file new-pin").done();
    assert!(changed.stdout.contains("still holds the old PIN: put the new one there"), "{}", changed.stdout);
    assert!(changed.stdout.contains("token-pin"), "{}", changed.stdout);
    let before = logins(&home);
    lose_helper(&home, &agent);
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(logins(&home), before, "the old one costs no try");
    home.secret("token-pin", "new-pin-44a7");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    assert_eq!(logins(&home), before + 1);
    assert_eq!(home.token("hsm")["problem"], Value::Null);
    // Nobody knows whether it is changed: the new one may be in force.
    home.lying_desk("hsm").say("C_SetPIN once after CKR_GENERAL_ERROR");
    let refused =
        home.refused("token change-pin hsm --pin-file new-pin --new-pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("new PIN may be in force"), "{refused}");
    home.run("token unlock hsm --pin-file pin").done();
}

#[test]
fn a_pin_that_was_changed_costs_no_try_after_a_restart_either_until_its_file_is_written() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.secret("new-pin", "new-pin-44a7");
    home.run("token change-pin hsm --pin-file pin --new-pin-file new-pin").done();
    let before = logins(&home);
    agent.stop();
    for _ in 0..2 {
        let agent = home.start();
        agent.wait_until(|| home.token("hsm")["problem"].is_string());
        let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
        assert!(refused["message"].as_str().unwrap().contains("change-pin has replaced"), "{refused}");
        assert!(refused["remedy"].as_str().unwrap().contains("put the new one there"), "{refused}");
        agent.stop();
    }
    assert_eq!(logins(&home), before, "the old one costs no try");
    // Written while no agent ran: it is another entry.
    home.secret("token-pin", "new-pin-44a7");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(logins(&home), before + 1);
}

#[test]
fn what_keeps_a_token_from_unlocking_itself_is_told_as_it_is_now_and_logged_once() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let file = home.path("token-pin");
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let agent = home.start();
    let problem = || home.token("hsm")["problem"].as_str().unwrap_or_default().to_owned();
    agent.wait_until(|| problem().contains("is not private"));
    for _ in 0..3 {
        home.run("token lock hsm").done();
        home.refused("token unlock hsm", 5, "SECRET_FILE");
    }
    let log = fs::read_to_string(home.log()).unwrap();
    assert_eq!(log.matches("not unlocked by itself").count(), 1, "{log}");
    mode(0o600);
    assert_eq!(problem(), "", "nothing is wrong with it any more");
    home.run("token unlock hsm").done();
    // What the helper died of is no answer to why it stays locked.
    home.secret("token-pin", "wrong-pin-55b3");
    lose_helper(&home, &agent);
    agent.wait_until(|| problem().contains("is wrong"));
}

#[test]
fn a_change_that_fails_after_its_login_leaves_nobody_logged_in() {
    let Some(home) = crate::pins::lying_home("") else { return };
    let agent = home.start();
    home.secret("new", "new-pin-5c33");
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    // NSS has who is logged in change the PIN; then no session is had for that.
    home.lying_desk("hsm")
        .say("C_SetPIN 1 CKR_USER_NOT_LOGGED_IN\nC_Login * sleep 1\nC_OpenSession 2 CKR_DEVICE_ERROR");
    let refused = home.refused("token change-pin hsm --pin-file pin --new-pin-file new", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("the old PIN was accepted"), "{refused}");
    let trace = home.lying_desk("hsm").trace();
    assert_eq!((trace.logins(), trace.calls("C_Logout")), (1, 1));
    crate::pins::a_while();
    assert_eq!(home.token("hsm")["state"], "locked");
    assert!(home.journalled("token.not-asked").is_empty(), "it was asked");
    home.lying_desk("hsm").say("");
    home.run("token unlock hsm --pin-file pin").done();
}
