//! Tokens of modules: secrets that come from files, keys that go, reloads, what a helper inherits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use softhsm::{SoftHsm, TokenFolder};
use tufagent_tests::{Home, PIN, binary, is_root, need};

use crate::key_types::home_with_softhsm;
use crate::terminal::talk;

/// A home with a SoftHSM token whose entry in the configuration ends with `pin`; no agent yet.
pub(crate) fn home_with_pin(pin: &str) -> Option<(Home, TokenFolder)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&(Home::softhsm_table("hsm", "build", &folder) + pin));
    Some((home, folder))
}

#[test]
fn a_pin_file_with_a_wrong_pin_is_told_with_the_file_and_the_way_out() {
    let Some((home, _folder)) = home_with_pin("") else { return };
    let pin = home.secret("hsm-pin", "wrong-pin-8c1f\n");
    let table = fs::read_to_string(home.dir().join("config/tuf-agent/config.toml")).unwrap();
    home.config(&format!("{table}pin = {{ file = {:?} }}\n", pin.display().to_string()));
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let told = home.token("hsm");
    assert_eq!(told["state"], "locked", "{told}");
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains("hsm-pin") && problem.contains("wrong"), "{problem}");
    let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert!(refused["message"].as_str().unwrap().contains("wrong"), "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm"), "{refused}");
    // After a restart nobody knows whether it was corrected, and says so once.
    drop(agent);
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let problem = home.token("hsm")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("tried before") && !problem.contains("token hsm"), "{problem}");
    let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    assert_eq!(refused["message"].as_str().unwrap().matches("token hsm").count(), 1, "{refused}");
    // It is corrected, and others may read it: that is told too, until it is right.
    home.secret("hsm-pin", PIN);
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o644)).unwrap();
    home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(home.token("hsm")["problem"].as_str().unwrap().contains("0644"), "{}", home.token("hsm"));
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    home.run("token unlock hsm").done();
    assert!(home.token("hsm")["problem"].is_null(), "{}", home.token("hsm"));
}

#[test]
fn whoever_asks_right_after_the_start_waits_for_the_first_word_of_a_slow_token() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    home.lying_desk("hsm").say("C_Initialize sleep 1500");
    // As a build machine does, whose next command would end at an absent token.
    let _agent = home.start();
    assert_eq!(home.token("hsm")["state"], "locked");
}

#[test]
fn a_reload_whose_module_cannot_be_loaded_keeps_the_working_token() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    let helper = home.token("hsm")["helper_pid"].clone();
    let table = Home::softhsm_table("hsm", "build", &folder);
    let module = folder.module().display().to_string();
    let no_module = home.write("no-module.so", "this is no library\n").display().to_string();
    for (count, bad) in [(1, "/nonexistent.so"), (2, no_module.as_str())] {
        home.config(&table.replace(&module, bad));
        agent.signal("HUP");
        agent.wait_until(|| agent.log().matches("the old one stays").count() == count);
        assert!(agent.log().contains(bad), "{}", agent.log());
        let kept = home.token("hsm");
        assert_eq!((&kept["state"], &kept["helper_pid"]), (&"unlocked".into(), &helper), "{kept}");
    }
    assert!(!agent.log().contains("configuration reloaded"), "{}", agent.log());
    home.run("key generate k2 --token hsm --type ecdsa-p256").done();
}

#[test]
fn a_label_that_fits_two_tokens_is_a_matter_of_the_tokens_at_start_and_at_a_reload() {
    let Some((home, folder)) = home_with_pin("") else { return };
    let table = |name: &str, label: &str| Home::softhsm_table(name, label, &folder);
    folder.init_token("twin", "so-pin-4711", PIN).unwrap();
    folder.init_token("twin", "so-pin-4711", PIN).unwrap();
    let failed = |name: &str| {
        let token = home.token(name);
        assert_eq!(token["state"], "failed", "{token}");
        token["problem"].as_str().unwrap().to_owned()
    };
    let agent = home.start();
    // It reloads, so that tokens which are all right can be changed in the same file.
    home.config(&(table("hsm", "build") + &table("twins", "twin")));
    agent.signal("HUP");
    agent.wait_until(|| agent.log().contains("configuration reloaded"));
    let problem = failed("twins");
    assert!(problem.contains("more than one token") && problem.contains("serials"), "{problem}");
    assert!(agent.log().contains(&problem.escape_debug().to_string()) || agent.log().contains(&problem));
    home.secret("pin", PIN);
    let refused = home.refused("token unlock twins --pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["remedy"].as_str().unwrap().contains("serial = "), "{refused}");
    drop(agent);
    let agent = home.start();
    assert_eq!(failed("twins"), problem);
    // What is told leads out of it.
    let serials = problem.split_once("their serials are ").unwrap().1;
    let serial = serials.split('"').nth(1).unwrap();
    let one = table("twins", "twin").replace("label = \"twin\"", &format!("serial = {serial:?}"));
    home.config(&(table("hsm", "build") + &one));
    agent.signal("HUP");
    agent.wait_until(|| home.token("twins")["state"] == "locked");
    home.run("token unlock twins --pin-file pin").done();
    assert_eq!(home.token("twins")["serial"], serial);
}

#[test]
fn nobody_is_asked_for_the_pin_of_a_card_that_is_gone() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    let agent = home.start();
    let serial = home.token("hsm")["serial"].as_str().unwrap().to_owned();
    home.lying_desk("hsm").say("token gone");
    agent.wait_until(|| home.token("hsm")["state"] == "absent");
    assert!(home.token("hsm")["serial"].is_null(), "{}", home.token("hsm"));
    for command in ["token unlock hsm", "token unlock hsm --last-try", "token change-pin hsm"] {
        let Some((code, screen)) = talk(&home, command, &[]) else { return };
        assert_eq!(code, 5, "{screen}");
        assert!(screen.contains("not there") && !screen.contains(&serial), "{screen}");
    }
    home.lying_desk("hsm").say("pass");
    agent.wait_until(|| home.token("hsm")["serial"] == serial);
    let typed = format!("{PIN}\n");
    let (code, screen) = talk(&home, "token unlock hsm", &[("label build): ", &typed)]).unwrap();
    assert_eq!(code, 0, "{screen}");
}

#[test]
fn which_module_a_helper_has_loaded_and_what_it_is_kept_to_is_journalled_as_often_as_it_changes() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    agent.wait_until(|| home.journalled("token.module").len() == 1);
    let helper = || home.token("hsm")["helper_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let (told, first) = (home.token("hsm"), helper().unwrap());
    let entry = home.journalled("token.module")[0]["body"].clone();
    for (name, value) in [("token", &told["name"]), ("confined", &told["confined"])] {
        assert_eq!(&entry[name], value, "{entry}");
    }
    assert_eq!(entry["sha256"].as_str().unwrap().len(), 64, "{entry}");
    assert!(entry["path"].as_str().unwrap().contains("softhsm"), "{entry}");
    assert_eq!(entry.get("unconfined"), told.get("unconfined"), "{entry}");
    // Another helper loads the same.
    tufagent_tests::signal(first, "KILL");
    agent.wait_until(|| helper().is_some_and(|pid| pid != first) && home.token("hsm")["state"] == "locked");
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(home.journalled("token.module").len(), 1);
    // A reload takes in another one.
    let table = |name: &str| Home::softhsm_table(name, "build", &folder);
    home.config(&(table("hsm") + &table("other")));
    agent.signal("HUP");
    agent.wait_until(|| home.journalled("token.module").len() == 2);
    assert_eq!(home.journalled("token.module")[1]["body"]["token"], "other");
    home.run("audit verify").done();
}

#[test]
fn a_module_is_initialised_once_in_each_helper_while_its_token_is_absent_and_after_wrong_pins() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    let agent = home.start();
    let desk = home.lying_desk("hsm");
    let initialised = || {
        let mut helpers = BTreeMap::new();
        for entry in desk.trace().entries.iter().filter(|it| it.sign == '>' && it.call == "C_Initialize") {
            *helpers.entry(entry.process).or_insert(0) += 1;
        }
        helpers
    };
    home.secret("wrong", "wrong-pin-51e0");
    home.secret("pin", PIN);
    assert_eq!(home.token("hsm")["state"], "locked");
    let helper = home.token("hsm")["helper_pid"].clone();
    home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    desk.say("C_Login once CKR_PIN_EXPIRED");
    home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_FAILED");
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(
        (initialised().into_values().collect::<Vec<_>>(), &home.token("hsm")["helper_pid"]),
        (vec![1], &helper)
    );
    desk.say("token gone");
    agent.wait_until(|| initialised().len() >= 4);
    desk.say("");
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    assert!(initialised().values().all(|times| *times == 1), "{:?}", initialised());
}

#[test]
fn a_helper_inherits_nothing_of_what_the_agent_was_started_with() {
    let Some((home, _folder)) = home_with_pin("pin = { fd = 3 }\n") else { return };
    let pin = home.secret("fd-pin", PIN);
    let other = home.write("other", "not for a module");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 3<fd-pin 9<other"]).arg(binary("tuf-agent"));
    let agent = home.start_through(command);
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    let helper = home.token("hsm")["helper_pid"].as_u64().unwrap();
    if !is_root() {
        println!("SKIPPED: only root may look at the descriptors of a helper");
        return;
    }
    let has = |process: u64| -> Vec<_> {
        let entries = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
    };
    let (agents, helpers) = (has(agent.pid().into()), has(helper));
    for file in [&pin, &other] {
        assert!(agents.contains(file), "the agent was not given {}: {agents:?}", file.display());
        assert!(!helpers.contains(file), "the helper has {}: {helpers:?}", file.display());
    }
    let state = home.state();
    assert!(!helpers.iter().any(|file| file.starts_with(&state)), "{helpers:?}");
    let sockets = helpers.iter().filter(|file| file.to_string_lossy().starts_with("socket:")).count();
    // Its two connections to the agent, of which one is watched by a thread of its own.
    assert_eq!(sockets, 3, "{helpers:?}");
}

/// Moves all keys out of the token's folder; gives that folder, and the one in which they lie now.
fn take_keys_away(home: &Home, folder: &TokenFolder) -> (PathBuf, PathBuf) {
    let token = fs::read_dir(folder.tokens_dir()).unwrap().next().unwrap().unwrap().path();
    let away = home.dir().join("away");
    fs::create_dir(&away).unwrap();
    for entry in fs::read_dir(&token).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name != "token.object" && name.ends_with(".object") {
            fs::rename(entry.path(), away.join(name)).unwrap();
        }
    }
    (token, away)
}

#[test]
fn a_key_that_is_gone_from_its_token_keeps_no_other_key_of_the_role_from_signing() {
    let Some((home, _agent, folder)) = home_with_softhsm() else { return };
    home.unlock_file_store();
    home.key("main", "ed25519");
    home.run("key generate spare --token hsm --type ecdsa-p256").done();
    home.run(
        "repo init repo --name app --root main --targets spare,main --targets-threshold 1 --snapshot main --timestamp main",
    )
    .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    take_keys_away(&home, &folder);
    home.run("bump repo targets").done();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    home.run("bump repo targets").done();
    // One that was named is missed.
    home.refused("sign repo --yes --key spare", 3, "KEY_NOT_FOUND");
}

#[test]
fn a_token_that_a_person_does_not_unlock_is_passed_over_where_another_will_do() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    let names = ["anvil", "bell"];
    for name in names {
        folder.init_token(name, "so-pin-4711", PIN).unwrap();
    }
    home.config(&names.map(|name| Home::softhsm_table(name, name, &folder)).concat());
    let _agent = home.start();
    home.unlock_file_store();
    home.key("online", "ed25519");
    home.secret("pin", PIN);
    for name in names {
        home.run(&format!("token unlock {name} --pin-file pin")).done();
        home.run(&format!("key generate root-{name} --token {name} --type ecdsa-p256")).done();
    }
    home.run(
        "repo init repo --name app --root root-anvil,root-bell --root-threshold 1 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    for answer in ["\n", "no-pin-8c1f\n"] {
        home.run("token lock anvil").done();
        home.run("token lock bell").done();
        let pin = format!("{PIN}\n");
        let steps = [("of anvil", answer), ("of bell", &pin), ("[y/N] ", "y\n")];
        let Some((code, screen)) = talk(&home, "sign repo", &steps) else { return };
        assert_eq!(code, 0, "{screen}");
        assert!(screen.contains("going on without anvil"), "{screen}");
        home.run("bump repo root").done();
    }
    // With nobody else to ask, or where it was named, the command ends as it did.
    for command in ["sign repo --key root-anvil", "sign repo"] {
        home.run("token lock anvil").done();
        home.run("token lock bell").done();
        let steps = [("of anvil", "\n"), ("of bell", "\n")];
        let steps = if command.contains("--key") { &steps[..1] } else { &steps[..] };
        let (code, screen) = talk(&home, command, steps).unwrap();
        assert_eq!(code, 5, "{screen}");
    }
}

#[test]
fn a_key_that_is_gone_from_its_token_is_missed_by_name() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    for name in ["root", "online"] {
        home.run(&format!("key generate {name} --token hsm --type ecdsa-p256")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    let (token, away) = take_keys_away(&home, &folder);
    home.run("bump repo timestamp").done();
    let refused = home.refused("sign repo --yes", 3, "KEY_NOT_FOUND");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("online") && message.contains("hsm"), "{refused}");
    assert!(!refused["remedy"].as_str().unwrap().is_empty(), "{refused}");
    let listed = home.run("key list --json").done().json();
    assert!(listed["keys"].as_array().unwrap().iter().any(|key| key["name"] == "online"), "{listed}");
    for entry in fs::read_dir(&away).unwrap().map(Result::unwrap) {
        fs::rename(entry.path(), token.join(entry.file_name())).unwrap();
    }
    // SoftHSM looks for new files only when it is initialised: another helper is started to look, and takes over.
    agent.wait_until(|| {
        home.run("key list").done();
        home.token("hsm")["state"] == "locked"
    });
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.refused("key remove root --yes", 3, "KEY_IN_USE");
    home.run("key remove root --yes --force").done();
    let listed = home.run("key list --json").done().json();
    assert!(!listed["keys"].as_array().unwrap().iter().any(|key| key["name"] == "root"), "{listed}");
}

#[test]
fn an_object_that_cannot_be_read_hides_no_other_key_and_a_key_that_is_not_seen_is_not_called_gone() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    home.secret("pin", PIN);
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    for name in ["root", "online"] {
        home.run(&format!("key generate {name} --token hsm --type ecdsa-p256")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    drop(agent);
    home.lying_desk("hsm").say("object CKR_OBJECT_HANDLE_INVALID label=online");
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    let listed = home.run("key list --json").done().json();
    assert!(listed["keys"].as_array().unwrap().iter().any(|key| key["name"] == "root"), "{listed}");
    let warnings = home.token("hsm")["warnings"].to_string();
    assert!(
        warnings.contains("cannot be read") && warnings.contains("CKR_OBJECT_HANDLE_INVALID"),
        "{warnings}"
    );
    let said = agent.log().matches("cannot be read").count();
    home.run("key list").done();
    assert_eq!((said, agent.log().matches("cannot be read").count()), (1, 1), "{}", agent.log());
    home.lying_desk("hsm").say("pass");
    home.run("bump repo timestamp").done();
    home.run("key list").done();
    home.run("sign repo --yes").done();
    assert!(home.token("hsm")["warnings"].is_null(), "{}", home.token("hsm"));
    // One that was seen and is not any more.
    home.lying_desk("hsm").say("object CKR_OBJECT_HANDLE_INVALID label=online");
    home.run("token lock hsm").done();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("bump repo timestamp").done();
    home.run("key list").done();
    let refused = home.refused("sign repo --yes --key online", 3, "KEY_NOT_FOUND");
    assert!(refused["message"].as_str().unwrap().contains("cannot be read"), "{refused}");
    assert!(!refused["remedy"].as_str().unwrap().contains("another key"), "{refused}");
}

#[test]
fn a_module_that_has_changed_is_told_with_the_one_command_that_trusts_it_whoever_asks() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    home.config(&home.lying_table("hsm", "build", &folder));
    home.secret("pin", PIN);
    let _agent = home.start();
    let by_trust = |refused: &serde_json::Value| {
        let remedy = refused["remedy"].as_str().unwrap();
        assert!(remedy.contains("tufctl token trust hsm"), "{refused}");
    };
    by_trust(&home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_UNTRUSTED"));
    by_trust(&home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_UNTRUSTED"));
    let problem = home.token("hsm")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("tufctl token trust hsm"), "{problem}");
    home.run("token trust hsm --yes").done();
    home.run("token unlock hsm --pin-file pin").done();
}
