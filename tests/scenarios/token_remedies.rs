//! What is told of a token that cannot be used names the way out, wherever it is told.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use softhsm::SoftHsm;
use tufagent_tests::{Home, PIN, binary, need};

use crate::pins::home_with_pin_file;

#[test]
fn of_two_tokens_of_one_label_everything_says_that_the_serial_number_is_to_be_named() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    for _ in 0..2 {
        folder.init_token("build", "so-pin-4711", PIN).unwrap();
    }
    let serials = folder.serials("build").unwrap();
    let pin = home.secret("hsm-pin", PIN).display().to_string();
    let table = Home::softhsm_table("hsm", "build", &folder);
    home.config(&format!("{table}pin = {{ file = {pin:?} }}\n"));
    home.secret("pin", PIN);
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let way = "serial = \"\u{2026}\" in place of label";
    let problem = home.token("hsm")["problem"].as_str().unwrap().to_owned();
    for told in serials.iter().map(String::as_str).chain([way]) {
        assert!(problem.contains(told), "{told} is not in {problem}");
    }
    let unlock = "token unlock hsm --pin-file pin";
    for command in
        ["key generate k --token hsm --type ed25519", "token unlock hsm", unlock, "token doctor hsm"]
    {
        let refused = home.refused(command, 5, "TOKEN_FAILED");
        assert!(refused["remedy"].as_str().unwrap().contains(way), "{command}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains(&serials[0]), "{command}: {refused}");
    }
    drop(agent);
    let by_serial = table.replace("label = \"build\"", &format!("serial = {:?}", serials[1]));
    assert_ne!(by_serial, table);
    home.config(&format!("{by_serial}pin = {{ file = {pin:?} }}\n"));
    let _agent = home.start();
    home.run("key generate k --token hsm --type ed25519").done();
}

#[test]
fn signatures_whose_helper_is_killed_are_made_or_say_that_the_command_is_to_be_said_again() {
    let Some(home) = home_with_pin_file(PIN) else { return };
    let desk = home.lying_desk("hsm");
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    let names: Vec<_> = (0..6).map(|number| format!("r{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // Each has a root of its own.
        let roles =
            format!("--root k --targets k --snapshot k --timestamp k --expires root={}d", 300 + number);
        home.run(&format!("repo init {name} --name {name} {roles} --shared-key")).done();
    }
    desk.say("C_Sign sleep 500");
    let signing: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = Command::new(binary("tufctl"));
            home.environment(&mut command);
            command.args(["sign", name, "--yes", "--shared-key", "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for _ in 0..3 {
        agent.wait_until(|| home.token("hsm")["helper_pid"].is_u64());
        thread::sleep(Duration::from_millis(700));
        if let Some(helper) = home.token("hsm")["helper_pid"].as_u64() {
            tufagent_tests::signal(u32::try_from(helper).unwrap(), "KILL");
        }
    }
    for process in signing {
        let output = process.wait_with_output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let texts = told.to_string();
        assert!(matches!(output.status.code(), Some(0 | 4 | 5)), "{told}");
        assert!(!texts.contains("token unlock"), "it is unlocked by itself: {told}");
        if output.status.code() == Some(5) {
            let remedy = told["error"]["remedy"].as_str().unwrap();
            assert!(remedy.contains("again") || remedy.contains("repeat the command"), "{told}");
        }
    }
    desk.say("pass");
    for name in &names {
        // The end of the last helper may not have been seen yet, and the next one is waited for.
        agent.wait_until(|| home.run(&format!("sign {name} --yes --shared-key")).code == 0);
    }
}
