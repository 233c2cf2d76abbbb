//! `lock` holds until `unlock`: what began before it is void. Nobody is asked any more, no PIN is presented for what waits,
//! and whoever waits is told (CONTRACT section 1).

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tufagent_tests::cards::{FACTORY_PIN, FIRMWARE_5_7};
use tufagent_tests::{Agent, Home, PIN, binary};

use crate::pins::{home_with_pin_file, logins, lying_home};
use crate::terminal::talk_in_steps;
use crate::yubikeys;

/// A `tufctl` that waits, and then says why it is refused under `--json`.
struct Waiting(Child);

impl Waiting {
    fn begin(home: &Home, arguments: &str) -> Self {
        let mut command = Command::new(binary("tufctl"));
        home.environment(&mut command);
        command.args(arguments.split(' ')).arg("--json").stdout(Stdio::piped()).stderr(Stdio::null());
        let waiting = Self(command.spawn().unwrap());
        // Until the agent has it.
        thread::sleep(Duration::from_millis(700));
        waiting
    }

    #[track_caller]
    fn ends_locked_meanwhile(self) {
        let output = self.0.wait_with_output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &told["error"]["reason"]),
            (Some(5), &json!("TOKEN_LOCKED")),
            "{told}"
        );
        assert!(told["error"]["message"].as_str().unwrap().contains("locked meanwhile"), "{told}");
    }
}

/// Locks, waits until all that was under way would have been done, and says how many logins there were.
fn lock_and_wait(home: &Home, command: &str, waiting: Vec<Waiting>) -> usize {
    let before = Instant::now();
    home.run(command).done();
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    for waiting in waiting {
        waiting.ends_locked_meanwhile();
    }
    thread::sleep(Duration::from_secs(5));
    assert_eq!(home.token("hsm")["state"], "locked");
    logins(home)
}

#[test]
fn an_unlock_that_waits_behind_the_agents_own_slow_login_is_void_after_a_lock() {
    for command in ["token lock hsm", "lock"] {
        let Some(home) = home_with_pin_file(PIN) else { return };
        let desk = home.lying_desk("hsm");
        desk.say("C_Login sleep 3000");
        let agent = home.start();
        agent.wait_until(|| logins(&home) == 1);
        let waiting = vec![Waiting::begin(&home, "token unlock hsm")];
        assert_eq!(lock_and_wait(&home, command, waiting), 1, "{command}");
        desk.say("pass");
        home.run("token unlock hsm").done();
        assert_eq!(home.token("hsm")["state"], "unlocked");
    }
}

#[test]
fn typed_unlocks_that_wait_for_each_other_are_all_void_after_a_lock_and_a_later_one_is_not() {
    let Some(home) = lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    desk.say("C_Login sleep 3000");
    let _agent = home.start();
    let command = "token unlock hsm --pin-file pin";
    let waiting = vec![Waiting::begin(&home, command), Waiting::begin(&home, command)];
    assert_eq!(logins(&home), 1);
    assert_eq!(lock_and_wait(&home, "token lock hsm", waiting), 1);
    // One that is said while the one before the lock is still under way stands.
    let first = Waiting::begin(&home, command);
    home.run("token lock hsm").done();
    let unlocked = home.run(&format!("{command} --json")).done();
    first.ends_locked_meanwhile();
    assert_eq!((unlocked.json()["state"].as_str(), logins(&home)), (Some("unlocked"), 3));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(home.token("hsm")["state"], "unlocked");
}

#[test]
fn a_pin_for_each_signature_that_waits_its_turn_is_not_presented_after_a_lock() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let desk = home.lying_desk("hsm");
    desk.say("always-authenticate made");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    for repository in ["one", "two"] {
        let init = format!("repo init {repository} --name {repository} --root k --targets k --snapshot k");
        home.run(&format!("{init} --timestamp k --shared-key")).done();
    }
    desk.forget();
    desk.say("always-authenticate made\nC_Login sleep 3000");
    let mut waiting: Vec<_> = ["one", "two"]
        .map(|repository| Waiting::begin(&home, &format!("sign {repository} --yes --shared-key")))
        .into();
    let in_context = || desk.trace().context_logins();
    assert_eq!(in_context(), 1);
    home.run("token lock hsm").done();
    thread::sleep(Duration::from_secs(5));
    for waiting in &mut waiting {
        assert_eq!(waiting.0.wait().unwrap().code(), Some(5));
    }
    assert_eq!((in_context(), logins(&home)), (1, 0));
    assert_eq!(home.token("hsm")["state"], "locked");
}

#[test]
fn doctor_that_has_not_logged_in_yet_does_not_after_a_lock() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let desk = home.lying_desk("hsm");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    desk.say("C_Initialize sleep 3000");
    for command in ["token doctor hsm", "token doctor hsm --pin-file pin"] {
        let before = logins(&home);
        let waiting = vec![Waiting::begin(&home, command)];
        assert_eq!(lock_and_wait(&home, "token lock hsm", waiting), before, "{command}");
        home.run("token unlock hsm --pin-file pin").done();
    }
}

/// What the shell runs before the answer is typed.
fn and_lock(token: &str) -> String {
    format!("{} token lock {token}", binary("tufctl").display())
}

#[test]
fn a_pin_that_was_asked_for_a_signature_before_a_lock_is_not_presented_after_it_and_one_for_an_unlock_is() {
    let Some(home) = lying_home("") else { return };
    let _agent: Agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
    home.run("token lock hsm").done();
    let before = logins(&home);
    let steps = json!([["label build): ", format!("{PIN}\n"), and_lock("hsm")]]).to_string();
    let Some((code, screen)) = talk_in_steps(&home, "sign repo --yes", &steps) else { return };
    assert_eq!((code, logins(&home)), (5, before), "{screen}");
    assert!(screen.contains("locked meanwhile"), "{screen}");
    assert_eq!(home.token("hsm")["state"], "locked");
    // Whoever types it at an unlock says that now.
    let (code, screen) = talk_in_steps(&home, "token unlock hsm", &steps).unwrap();
    assert_eq!((code, logins(&home)), (0, before + 1), "{screen}");
    assert_eq!(home.token("hsm")["state"], "unlocked");
}

#[test]
fn a_yubikey_is_not_shown_the_pin_of_a_signature_that_was_asked_for_before_a_lock() {
    let Some(bed) = yubikeys::Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-a", "--type ecdsa-p256 --pin-policy always");
    bed.repository("root-a");
    home.run("token lock alice").done();
    let before = bed.verifies();
    let steps = json!([["PIN of alice", format!("{FACTORY_PIN}\n"), and_lock("alice")]]).to_string();
    let command = "sign repo --role root --yes";
    let Some((code, screen)) = talk_in_steps(home, command, &steps) else { return };
    assert_eq!((code, bed.verifies(), bed.card.tries_left().0), (5, before, 3), "{screen}");
    assert!(screen.contains("locked meanwhile"), "{screen}");
    assert_eq!(bed.state(), json!("locked"));
    let steps = json!([["PIN of alice", format!("{FACTORY_PIN}\n")]]).to_string();
    let (code, screen) = talk_in_steps(home, command, &steps).unwrap();
    // The other roles are not signed by this key.
    assert_eq!((code, bed.verifies()), (4, before + 1), "{screen}");
}
