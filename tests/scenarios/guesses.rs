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

#[test]
fn a_pin_that_the_module_has_not_looked_at_is_not_counted_and_told_with_a_way_out() {
    let Some(home) = crate::pins::lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    let _agent = home.start();
    for (code, says, remedy) in [
        ("CKR_USER_PIN_NOT_INITIALIZED", "no user PIN", "--init-pin"),
        ("CKR_PIN_EXPIRED", "expired", "change-pin"),
        ("CKR_ARGUMENTS_BAD", "takes no PIN in this way", "not supported"),
    ] {
        desk.say(&format!("token flags none\nC_Login {code}"));
        for _ in 0..2 {
            let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
            assert!(refused["message"].as_str().unwrap().contains(says), "{refused}");
            assert!(refused["remedy"].as_str().unwrap().contains(remedy), "{refused}");
        }
    }
    let asked = logins(&home);
    desk.say("token flags +protected-path");
    let refused = home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("typed at the device"), "{refused}");
    assert_eq!(logins(&home), asked, "it is not presented");
    desk.say("token flags none");
    let refused = home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!(refused["details"]["wrong"], 1, "{refused}");
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
