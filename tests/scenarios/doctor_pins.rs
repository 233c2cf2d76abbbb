//! What `tufctl token doctor` presents of a PIN is counted as it is presented, and no longer than until it was accepted
//! (FAULTS C1, C2).

use std::process::{Command, Stdio};
use std::time::Duration;

use lying_pkcs11::Desk;
use softhsm::SoftHsm;
use tufagent_tests::{Home, PIN, binary, need};

/// A token behind the lying module, whose PIN lies in a file.
pub(crate) fn unattended() -> Option<(Home, Desk)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let pin = home.secret("hsm-pin", PIN).display().to_string();
    home.config(&format!("{}pin = {{ file = {pin:?} }}\n", home.lying_table("hsm", "build", &folder)));
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
