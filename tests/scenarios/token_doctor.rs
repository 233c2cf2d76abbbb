//! `tufctl token doctor` through the real binaries, on SoftHSM.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use softhsm::TokenFolder;
use tufagent_tests::{Home, PIN, binary};

use crate::key_types::home_with_softhsm;

/// What lies in SoftHSM's folder, byte for byte, but for what counts up with each look.
fn content(folder: &TokenFolder) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for token in fs::read_dir(folder.tokens_dir()).unwrap() {
        for file in fs::read_dir(token.unwrap().path()).unwrap().map(Result::unwrap) {
            let name = file.file_name().into_string().unwrap();
            if !["generation", "token.object"].contains(&name.as_str()) {
                all.push((file.path(), fs::read(file.path()).unwrap()));
            }
        }
    }
    all.sort();
    all
}

fn profile(home: &Home) -> PathBuf {
    let folder = home.state().join("profiles");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn the_doctor_says_what_softhsm_is_good_for_and_leaves_the_token_as_it_was() {
    let Some((home, _agent, folder)) = home_with_softhsm() else { return };
    home.run("key generate own --token hsm --type ecdsa-p256").done();
    let before = content(&folder);
    let told = home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!(content(&folder), before);
    assert_eq!(told["name"], "hsm");
    let module = folder.module().canonicalize().unwrap();
    assert_eq!(told["module"], module.display().to_string());
    let sum = Command::new("sha256sum").arg(&module).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(told["sha256"], sum.split(' ').next().unwrap());
    assert!(told["covers"].as_str().unwrap().contains("not covered"), "{told}");
    assert!(told["library"].as_str().unwrap().contains("SoftHSM"), "{told}");
    for name in ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-pss-3072", "unattended", "root_ceremony"] {
        let expected = if name == "root_ceremony" { "limited" } else { "yes" };
        assert_eq!(told["uses"][name]["verdict"], expected, "{told}");
        assert!(!told["uses"][name]["why"].as_str().unwrap().is_empty(), "{told}");
    }
    assert_eq!(told["uses"].as_object().unwrap().len(), 6);
    let quirks: Vec<&str> =
        told["quirks"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(quirks.contains(&"digest-only") && quirks.contains(&"eddsa-one-shot"), "{quirks:?}");
    let by_softhsm = told["facts"]["mechanisms"].as_array().unwrap();
    assert!(!by_softhsm.iter().any(|it| it["name"] == "CKM_ECDSA_SHA256"), "{told}");
    // For people: verdicts before quirks, no colour into a pipe.
    let text = home.run("token doctor hsm --pin-file pin").done().stdout;
    assert!(text.find("root_ceremony").unwrap() < text.find("digest-only").unwrap(), "{text}");
    assert!(text.contains("means ") && text.contains("agent ") && !text.contains('\x1b'), "{text}");
    // The token went on: it is unlocked, and signs.
    home.run("key generate another --token hsm --type ed25519").done();
    home.run("audit verify").done();
    let journal = home.run("audit export").done().stdout;
    assert!(journal.contains("token.doctor"), "{journal}");
}

#[test]
fn the_doctor_takes_no_pin_but_the_one_it_is_given_and_that_one_once() {
    let Some((home, agent, _folder)) = home_with_softhsm() else { return };
    home.run("token lock hsm").done();
    let told = home.run("token doctor hsm --json").done().json();
    assert_eq!(told["saved"], false);
    assert_eq!(told["uses"]["ecdsa-p256"]["verdict"], "limited");
    let why = told["uses"]["ecdsa-p256"]["why"].as_str().unwrap();
    assert!(why.contains("tufctl token doctor hsm --pin-file"), "{why}");
    assert!(!home.state().join("profiles").exists());
    home.secret("wrong", "wrong-pin-77");
    home.refused("token doctor hsm --pin-file wrong", 5, "PIN_INCORRECT");
    fs::set_permissions(home.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    home.refused("token doctor hsm --pin-file wrong", 5, "SECRET_FILE");
    home.refused("token doctor file", 5, "UNSUPPORTED");
    home.refused("token doctor nobody", 5, "TOKEN_UNKNOWN");
    let told = home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!(told["uses"]["ecdsa-p256"]["verdict"], "yes");
    // It was locked, and stays so.
    let state = home.run("token list --json").done().json();
    assert!(
        state["tokens"].as_array().unwrap().iter().any(|it| it["name"] == "hsm" && it["state"] == "locked")
    );
    home.assert_no_secret_in(&profile(&home));
    home.assert_no_secret_in(&home.log());
    drop(agent);
}

#[test]
fn the_doctor_uses_the_pin_of_the_configuration_unless_somebody_locked_the_token() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    let pin = home.secret("hsm-pin", PIN);
    let pin = format!("pin = {{ file = {:?} }}\n", pin.display().to_string());
    home.config(&(Home::softhsm_table("hsm", "build", &folder) + &pin));
    drop(agent);
    let _agent = home.start();
    let told: Value = home.run("token doctor hsm --json").done().json();
    assert_eq!(
        (&told["saved"], &told["uses"]["unattended"]["verdict"]),
        (&true.into(), &"yes".into()),
        "{told}"
    );
    home.run("token lock hsm").done();
    let told = home.run("token doctor hsm --json").done().json();
    assert_eq!(told["saved"], false);
    assert!(told["not_measured"][0]["why"].as_str().unwrap().contains("locked"), "{told}");
}

#[test]
fn what_a_doctor_that_was_killed_left_on_the_token_the_next_one_removes() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    home.run("key generate own --token hsm --type ecdsa-p256").done();
    let before = content(&folder);
    drop(agent);
    home.config(&home.lying_table("hsm", "build", &folder));
    let desk = home.lying_desk("hsm");
    let mut agent = home.start();
    home.run("token trust hsm --yes").done();
    // Keys cannot lie in a session, and the first signature never comes.
    desk.say("C_GenerateKeyPair 1-10 CKR_TEMPLATE_INCONSISTENT\nC_Sign * hang");
    let mut doctor = Command::new(binary("tufctl"));
    home.environment(&mut doctor);
    doctor.args(["token", "doctor", "hsm", "--pin-file", "pin"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut doctor = doctor.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while desk.trace().calls("C_Sign") == 0 {
        assert!(Instant::now() < end, "no signature was asked for:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    agent.signal("KILL");
    doctor.wait().unwrap();
    while !agent.has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_ne!(content(&folder), before, "something was left, or this proves nothing");
    desk.say("pass");
    let _agent = home.start();
    let told = home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!(told["facts"]["removed"], 2, "{told}");
    assert!(told["quirks"].as_array().unwrap().iter().any(|it| it["id"] == "leftovers-removed"), "{told}");
    assert_eq!(content(&folder), before);
}

#[test]
fn a_damaged_profile_is_refused_with_its_repair_and_token_list_says_what_was_measured() {
    let Some((home, agent, _folder)) = home_with_softhsm() else { return };
    let measured = || {
        let list = home.run("token list --json").done().json();
        list["tokens"].as_array().unwrap().iter().find(|it| it["name"] == "hsm").unwrap().clone()
    };
    assert_eq!(measured()["measured"], "never");
    home.run("token doctor hsm --pin-file pin").done();
    assert_eq!((&measured()["measured"], &measured()["state"]), (&"yes".into(), &"unlocked".into()));
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    drop(agent);
    let file = profile(&home);
    let good = fs::read(&file).unwrap();
    // The profile of a file that lay there before.
    let other = file.with_file_name(format!("{}.profile", "ab".repeat(32)));
    fs::rename(&file, &other).unwrap();
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    let _agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(measured()["measured"], "damaged");
    let problem = measured()["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("tufctl token doctor hsm") && problem.contains("profile"), "{problem}");
    let refused = home.refused("key generate no --token hsm --type ecdsa-p256", 5, "TOKEN_FAILED");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token doctor hsm"), "{refused}");
    home.run("token doctor hsm --pin-file pin").done();
    assert_eq!(measured()["measured"], "yes");
    home.run("key generate k2 --token hsm --type ecdsa-p256").done();
}

#[test]
fn after_doctor_said_no_a_module_that_was_set_right_is_measured_again_and_the_remedy_says_so() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    home.config(&home.lying_table("hsm", "build", &folder));
    let desk = home.lying_desk("hsm");
    let _agent = home.start();
    home.run("token trust hsm --yes").done();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate rsa --token hsm --type rsa-3072").done();
    home.run("repo init repo --name app --root rsa --targets rsa --snapshot rsa --timestamp rsa").done();
    desk.say("mechanism CKM_RSA_PKCS_PSS absent\nmechanism CKM_SHA256_RSA_PKCS_PSS absent");
    let told = home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!(told["uses"]["rsa-pss-3072"]["verdict"], "no", "{told}");
    desk.say("pass");
    let refused = home.refused("sign repo --yes", 5, "UNSUPPORTED");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(remedy.contains("set right") && remedy.contains("tufctl token doctor hsm"), "{refused}");
    home.run("token doctor hsm --pin-file pin").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn of_two_tokens_of_one_module_the_one_that_was_measured_says_so() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    folder.init_token("other", "so-pin-4711", PIN).unwrap();
    home.config(
        &(Home::softhsm_table("hsm", "build", &folder) + &Home::softhsm_table("other", "other", &folder)),
    );
    let measured = || ["hsm", "other"].map(|name| home.token(name)["measured"].clone());
    let agent = home.start();
    agent.wait_until(|| measured() == ["never", "never"]);
    home.run("token doctor hsm --pin-file pin").done();
    drop(agent);
    let agent = home.start();
    agent.wait_until(|| measured() == ["yes", "module"]);
    home.run("token doctor other --pin-file pin").done();
    assert_eq!(measured(), ["yes", "yes"]);
}

#[test]
fn what_was_measured_of_one_token_refuses_nothing_of_another_of_its_module() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    let far = folder;
    let near = softhsm::SoftHsm::find_or_fetch().unwrap().folder(&home.dir().join("near")).unwrap();
    near.init_token("near", "so-pin-4711", PIN).unwrap();
    home.config(&(home.lying_table("hsm", "build", &far) + &home.lying_table("near", "near", &near)));
    // The same file of a module speaks to both; one token has no PSS.
    home.lying_desk("hsm").say("mechanism CKM_RSA_PKCS_PSS absent\nmechanism CKM_SHA256_RSA_PKCS_PSS absent");
    let agent = home.start();
    home.run("token trust hsm --yes").done();
    home.run("token unlock near --pin-file pin").done();
    home.run("key generate rsa --token near --type rsa-3072").done();
    home.run("repo init repo --name app --root rsa --targets rsa --snapshot rsa --timestamp rsa").done();
    home.run("sign repo --yes").done();
    let told = home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!(told["uses"]["rsa-pss-3072"]["verdict"], "no", "{told}");
    agent.stop();
    let agent = home.start();
    home.run("token unlock near --pin-file pin").done();
    agent.wait_until(|| home.token("near")["measured"] == "module");
    home.run("bump repo timestamp").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    // And that one's own profile leaves the first as it is.
    home.run("token doctor near --pin-file pin").done();
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(["hsm", "near"].map(|name| home.token(name)["measured"].clone()), ["yes", "yes"]);
}

#[test]
fn of_a_module_whose_keys_want_the_pin_each_time_doctor_says_what_it_can_and_an_unattended_token_goes_on() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    let pin = home.secret("hsm-pin", PIN);
    let pin = format!("pin = {{ file = {:?} }}\n", pin.display().to_string());
    home.config(&(home.lying_table("hsm", "build", &folder) + &pin));
    home.lying_desk("hsm").say("always-authenticate made");
    let _agent = home.start();
    home.run("token trust hsm --yes").done();
    for kind in ["ed25519", "ecdsa-p256", "rsa-3072"] {
        home.run(&format!("key generate {kind} --token hsm --type {kind}")).done();
    }
    home.run(
        "repo init repo --name app --root rsa-3072 --targets ed25519 --snapshot ecdsa-p256 --timestamp ecdsa-p256",
    )
    .done();
    let told = home.run("token doctor hsm --json").done().json();
    for name in ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-pss-3072", "unattended"] {
        assert_eq!(told["uses"][name]["verdict"], "yes", "{told}");
    }
    let quirks = told["quirks"].to_string();
    assert!(quirks.contains("always-authenticate-made"), "{quirks}");
    assert!(!quirks.contains("eddsa-short-messages") && !quirks.contains("no-pss"), "{quirks}");
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn an_error_that_passes_while_doctor_measures_keeps_no_key_from_signing() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    home.config(&home.lying_table("hsm", "build", &folder));
    let desk = home.lying_desk("hsm");
    let _agent = home.start();
    home.run("token trust hsm --yes").done();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate rsa --token hsm --type rsa-3072").done();
    home.run("repo init repo --name app --root rsa --targets rsa --snapshot rsa --timestamp rsa").done();
    desk.say("C_Sign * CKR_DEVICE_ERROR");
    let told = home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!((&told["saved"], &told["uses"]["rsa-pss-3072"]["verdict"]), (&true.into(), &"limited".into()));
    let why = told["uses"]["rsa-pss-3072"]["why"].as_str().unwrap();
    assert!(why.contains("not measured") && why.contains("CKR_DEVICE_ERROR"), "{why}");
    desk.say("pass");
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}
