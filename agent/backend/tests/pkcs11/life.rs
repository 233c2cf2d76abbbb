//! Helpers that die, tokens that go and come, modules that change (FAULTS B6, B7, C1, D1, D11).

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Duration;

use backend::pkcs11::{ConfigError, ModuleDigest, Pkcs11Token};
use backend::{Backend, TokenState};
use tuf::key::KeyType;

use crate::Case;
use crate::lab::{Lab, PIN, kill, pid, sign, start, unlock, unlocked, wait_for, wait_until};

pub const CASES: &[Case] = &[
    ("a_helper_that_was_killed_is_started_again_and_signs_after_unlocking", killed_helper),
    ("a_listener_hears_that_the_token_wants_its_pin_again", listener),
    ("a_token_folder_that_goes_and_comes_is_seen_and_used_again", moved_folder),
    ("a_token_made_after_the_start_is_found", token_made_later),
    ("each_unlock_is_one_login", crate::lies::one_login_for_each_unlock),
    ("two_tokens_with_one_label_are_refused_and_a_serial_chooses", two_tokens),
    ("a_module_that_changed_is_refused_until_it_is_trusted", changed_module),
    ("a_module_that_others_can_write_is_refused", insecure_module),
    ("a_missing_module_is_said_to_be_missing", missing_module),
    ("the_helper_is_named_and_has_the_configured_environment_alone", helper_process),
    ("a_shut_down_token_leaves_no_helper", shutdown),
    ("an_entry_that_names_no_token_is_refused", bad_entries),
];

fn killed_helper() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let first = pid(&token);
    kill(first);
    // The call may come before the death was seen, or after: it says one of two things, and signs nothing.
    let error = sign(&token, &key, "x").unwrap_err();
    assert!(["TOKEN_LOCKED", "TOKEN_FAILED"].contains(&error.reason()), "{error}");
    wait_for(&token, TokenState::Locked);
    assert_ne!(pid(&token), first);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn listener() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let (sender, states) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    token.on_change(move |info| {
        let _ = sender.lock().unwrap().send(info.state);
    });
    assert_eq!(states.recv().unwrap(), TokenState::Unlocked);
    kill(pid(&token));
    let heard: Vec<_> =
        std::iter::repeat_with(|| states.recv_timeout(Duration::from_secs(60)).unwrap()).take(2).collect();
    assert_eq!(heard, [TokenState::Failed, TokenState::Locked]);
    unlock(&token).unwrap();
    assert_eq!(states.recv().unwrap(), TokenState::Unlocked);
}

fn moved_folder() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let (here, away) = (lab.folder.tokens_dir(), lab.dir.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let error = sign(&token, &key, "x").unwrap_err();
    assert_eq!(error.reason(), "TOKEN_ABSENT", "{error}");
    assert_eq!(token.info().state, TokenState::Absent);
    assert_eq!(unlock(&token).unwrap_err().reason(), "TOKEN_ABSENT");
    assert_eq!(token.keys().unwrap().len(), 1, "what was known");
    std::fs::rename(&away, &here).unwrap();
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
    // The same while nobody asks, and only the one token: its own folder goes and comes.
    let own = std::fs::read_dir(&here).unwrap().next().unwrap().unwrap().path();
    std::fs::rename(&own, &away).unwrap();
    wait_for(&token, TokenState::Absent);
    std::fs::rename(&away, &own).unwrap();
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn token_made_later() {
    let lab = Lab::new();
    let mut config = lab.config("hsm");
    config.label = Some("later".to_owned());
    let token = start(config);
    assert_eq!(token.info().state, TokenState::Absent);
    assert!(token.info().problem.unwrap().contains("later"));
    lab.folder.init_token("later", "so-12345678", PIN).unwrap();
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
}

fn two_tokens() {
    let lab = Lab::new();
    let second = lab.folder.init_token("lab", "so-12345678", PIN).unwrap();
    let token = start(lab.config("hsm"));
    assert_eq!(token.info().state, TokenState::Failed);
    let problem = token.info().problem.unwrap();
    assert!(problem.contains("more than one token"), "{problem}");
    for serial in [&lab.token.serial, &second.serial] {
        assert!(problem.contains(serial.as_str()), "{problem}");
    }
    let mut config = lab.config("hsm");
    config.label = None;
    config.uri = Some(format!("pkcs11:token=lab;serial={}", second.serial));
    let token = unlocked(config);
    assert_eq!(token.info().serial, Some(second.serial));
}

fn changed_module() {
    let lab = Lab::new();
    let module = lab.dir.path().join("module.so");
    std::fs::copy(lab.folder.module(), &module).unwrap();
    std::fs::set_permissions(&module, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut config = lab.config("hsm");
    config.module = module.clone();
    config.digest = ModuleDigest::Recorded(lab.dir.path().join("state/modules/hsm.sha256"));
    drop(unlocked(config.clone()));
    let mut bytes = std::fs::read(&module).unwrap();
    bytes.push(0);
    std::fs::write(&module, bytes).unwrap();
    let token = start(config);
    assert_eq!(token.info().state, TokenState::Failed);
    assert_eq!(unlock(&token).unwrap_err().reason(), "TOKEN_UNTRUSTED");
    let look = token.look_at_module().unwrap();
    let now = tuf::digest::Sha256Digest::of(&std::fs::read(&module).unwrap());
    assert_eq!((look.sha256, look.path.as_str()), (now, module.to_str().unwrap()));
    let other = tuf::digest::Sha256Digest::of(b"another file");
    assert_eq!(token.trust(other).unwrap_err().reason(), "CONFIRMATION_MISSING");
    assert_eq!(token.look_at_module().unwrap(), look);
    assert_eq!(token.trust(now).unwrap(), look);
    unlock(&token).unwrap();
}

fn insecure_module() {
    let lab = Lab::new();
    let module = lab.dir.path().join("module.so");
    std::fs::copy(lab.folder.module(), &module).unwrap();
    std::fs::set_permissions(&module, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut config = lab.config("hsm");
    config.module = module;
    let token = start(config);
    assert_eq!(unlock(&token).unwrap_err().reason(), "TOKEN_UNTRUSTED");
    assert!(token.info().problem.unwrap().contains("everybody can write it"));
    assert!(token.look_at_module().is_err());
    assert!(token.trust(tuf::digest::Sha256Digest::of(b"x")).is_err());
}

fn missing_module() {
    let lab = Lab::new();
    let mut config = lab.config("hsm");
    config.module = lab.dir.path().join("nowhere.so");
    let token = start(config);
    assert_eq!(token.info().state, TokenState::Failed);
    assert!(token.info().problem.unwrap().contains("nowhere.so"));
}

fn helper_process() {
    let lab = Lab::new();
    let mut config = lab.config("hsm");
    config.env.insert("LAB_CANARY".to_owned(), "1".to_owned());
    let names: Vec<String> = config.env.keys().cloned().collect();
    let token = start(config);
    let proc = format!("/proc/{}", pid(&token).as_raw_pid());
    assert_eq!(std::fs::read(format!("{proc}/cmdline")).unwrap(), b"tuf-agent\0host-token\0hsm\0");
    // Only root may look into an undumpable process.
    match std::fs::read_to_string(format!("{proc}/environ")) {
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        Ok(environ) => {
            for variable in environ.split_terminator('\0') {
                let name = variable.split('=').next().unwrap();
                let locale = name.starts_with("LC_") || name.starts_with("LANG");
                assert!(locale || names.iter().any(|known| known == name), "{variable}");
            }
        }
    }
    // Of a module that nothing confines: landlock and the filter of calls would see to the first by themselves.
    let plain = start(lab.lying_config("plain"));
    assert_eq!(plain.info().confined, Some(false));
    for helper in [pid(&token), pid(&plain)] {
        let proc = format!("/proc/{}", helper.as_raw_pid());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        // What is in /proc of an undumpable process belongs to root (proc(5)).
        let owner = std::fs::metadata(format!("{proc}/mem")).unwrap().uid();
        assert_eq!(owner, 0, "{proc} is dumpable");
    }
}

fn shutdown() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let helper = pid(&token);
    token.shutdown();
    assert!(rustix::process::test_kill_process(helper).is_err());
    assert_eq!(token.info().helper_pid, None);
    let dropped = start(lab.config("hsm"));
    let helper = pid(&dropped);
    drop(dropped);
    wait_until(|| rustix::process::test_kill_process(helper).is_err(), || "the helper lives on".to_owned());
}

fn bad_entries() {
    let lab = Lab::new();
    let exe = std::env::current_exe().unwrap();
    let mut config = lab.config("hsm");
    config.label = None;
    let refused = |config| Pkcs11Token::new(config, exe.clone()).err();
    assert_eq!(refused(config.clone()), Some(ConfigError::NamesNothing));
    config.uri = Some("pkcs11:token=lab".to_owned());
    config.serial = Some("1".to_owned());
    assert_eq!(refused(config.clone()), Some(ConfigError::Twice));
    config.module = "relative.so".into();
    assert_eq!(refused(config), Some(ConfigError::ModulePath("relative.so".into())));
}
