//! What `tufctl token doctor` presents of a PIN is counted as it is presented, and no longer than until it was accepted
//! (FAULTS C1, C2).

use std::process::{Command, Stdio};
use std::time::Duration;

use lying_pkcs11::Desk;
use softhsm::SoftHsm;
use tufagent_tests::{Home, PIN, binary, need};

/// A token behind the lying module, whose PIN lies in a file.
pub(crate) fn unattended() -> Option<(Home, Desk)> {
    token("pin = { file = PIN_FILE }\n")
}

/// The same, whose PIN comes from elsewhere.
fn token(pin_from: &str) -> Option<(Home, Desk)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let pin = home.secret("hsm-pin", PIN).display().to_string();
    let pin_from = pin_from.replace("PIN_FILE", &format!("{pin:?}"));
    home.config(&(home.lying_table("hsm", "build", &folder) + &pin_from));
    let desk = home.lying_desk("hsm");
    Some((home, desk))
}

#[test]
fn an_agent_that_is_killed_while_doctor_measures_unlocks_its_token_by_itself_again() {
    let Some((home, desk)) = unattended() else { return };
    let mut agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.say("C_Sign * hang");
    let mut doctor = Command::new(binary("tufctl"));
    home.environment(&mut doctor);
    doctor.args(["token", "doctor", "hsm"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut doctor = doctor.spawn().unwrap();
    agent.wait_until(|| desk.trace().calls("C_Sign") > 0);
    agent.signal("KILL");
    doctor.wait().unwrap();
    while !agent.has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    desk.say("pass");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] != "absent" && home.token("hsm")["problem"].is_null());
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(home.journalled("token.attempt").len(), home.journalled("token.accepted").len());
}

#[test]
fn a_pin_of_the_configuration_that_was_refused_doctor_presents_no_more_after_a_restart() {
    let Some((home, desk)) = unattended() else { return };
    home.secret("hsm-pin", "999999");
    desk.say("token tries 10\ntoken flags none");
    let agent = home.start();
    agent.wait_until(|| desk.trace().logins() == 1 && !home.token("hsm")["problem"].is_null());
    agent.stop();
    for _ in 0..2 {
        let agent = home.start();
        agent
            .wait_until(|| home.token("hsm")["state"] == "locked" && !home.token("hsm")["problem"].is_null());
        for _ in 0..2 {
            let told = home.run("token doctor hsm --json").done().json();
            let missed = told["facts"]["not_measured"].to_string();
            assert!(missed.contains("tried before") || missed.contains("not tried"), "{missed}");
        }
        assert_eq!(desk.trace().logins(), 1, "the wrong PIN was presented once, by the agent itself");
        agent.stop();
    }
}

/// What is accepted takes back all that is counted: a wrong one between the two would not count.
#[test]
fn while_doctor_presents_a_pin_again_nobody_else_presents_one_to_the_same_token() {
    let Some((home, desk)) = token("pin = \"prompt\"\n") else { return };
    home.secret("bad", "999999");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    desk.forget();
    desk.say("token tries 6\ntoken flags none\nC_Login 3 once after sleep 2500");
    let mut doctor = Command::new(binary("tufctl"));
    home.environment(&mut doctor);
    doctor.args(["token", "doctor", "hsm", "--pin-file"]).arg(home.path("hsm-pin")).stdout(Stdio::null());
    let mut doctor = doctor.spawn().unwrap();
    agent.wait_until(|| desk.trace().calls("C_Login") >= 3);
    home.refused("token unlock hsm --pin-file bad", 5, "PIN_INCORRECT");
    assert!(doctor.wait().unwrap().success());
    let journal = home.run("audit list --json").done().json();
    let of_pins: Vec<_> = journal["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| ["token.attempt", "token.accepted"].iter().any(|kind| entry["kind"] == *kind))
        .collect();
    let is_person = |entry: &&&serde_json::Value| entry["body"]["by_person"] == true;
    let wrong = of_pins.iter().rfind(is_person).unwrap();
    let next = of_pins.iter().find(|entry| entry["seq"].as_u64() > wrong["seq"].as_u64());
    assert!(next.is_none_or(|next| next["kind"] == "token.attempt"), "{of_pins:#?}");
}

#[test]
fn each_time_that_doctor_presents_a_pin_is_counted_before_and_settled_after() {
    let Some((home, desk)) = unattended() else { return };
    desk.say("always-authenticate made");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.forget();
    let counted = || home.journalled("token.attempt").len();
    let settled = || home.journalled("token.accepted").len() + home.journalled("token.not-asked").len();
    let before = counted();
    home.run("token doctor hsm").done();
    let trace = desk.trace();
    let presented = trace.logins() + trace.context_logins();
    assert!(presented > 10, "{presented}");
    assert_eq!((counted() - before, settled()), (presented, counted()));
    // One that is refused on the way stays counted, and nothing follows it.
    desk.say("always-authenticate made\nC_Login 2- CKR_PIN_INCORRECT");
    desk.forget();
    let (before, settled_before) = (counted(), settled());
    home.run("token doctor hsm").done();
    let trace = desk.trace();
    assert_eq!((trace.logins(), trace.context_logins()), (1, 1));
    assert_eq!((counted() - before, settled() - settled_before), (2, 1));
}
