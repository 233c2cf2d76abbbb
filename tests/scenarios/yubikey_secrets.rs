//! PIN, PUK and management key of a YubiKey stand in no log, reply, file, argument list, environment or core, whatever is logged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tufagent_tests::cards::{Card, CardRoom, FACTORY_PIN, FIRMWARE_5_7};
use tufagent_tests::{Agent, Home, binary, need};

use crate::yubikeys::{SERIAL, private};

/// Of no form that anything else has.
const CANARIES: [(&str, &str); 5] = [
    ("pin", "q7-Zk#1w"),
    ("next-pin", "q8-Zk#2w"),
    ("wrong-pin", "q9-Zk#3w"),
    ("puk", "u7-Zk#4w"),
    ("management", "c7d1c7d2c7d3c7d4c7d5c7d6c7d7c7d8c7d9c7dac7dbc7dc"),
];

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The forms in which a secret could have been written.
fn forms() -> Vec<(String, Vec<u8>)> {
    let mut forms = Vec::new();
    for (name, text) in CANARIES {
        let bytes = hex::decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
        let list: Vec<_> = bytes.iter().map(u8::to_string).collect();
        let written = [
            text.to_owned(),
            hex::encode(&bytes),
            hex::encode_upper(&bytes),
            list.join(", "),
            list.join(","),
        ];
        forms.extend(written.map(|form| (name.to_owned(), form.into_bytes())));
        forms.push((name.to_owned(), bytes));
    }
    forms
}

#[track_caller]
fn holds_none(place: &str, content: &[u8]) {
    for (name, form) in forms() {
        assert!(!content.windows(form.len()).any(|part| part == form), "the {name} stands in {place}");
    }
}

#[test]
fn what_is_typed_for_a_card_stands_in_nothing_that_is_written_even_when_everything_is_logged() {
    let card = Card::new(SERIAL, FIRMWARE_5_7);
    let Some(room) = need(CardRoom::with(&[&card])) else { return };
    let home = Home::new();
    home.config(&room.table("yk", SERIAL));
    let agent =
        Agent::start_in_environment(&home, Command::new(binary("tuf-agent")), &[("TUF_AGENT_LOG", "trace")]);
    CANARIES.iter().for_each(|(name, text)| drop(home.secret(name, text)));
    private(&home, "factory", FACTORY_PIN);
    private(&home, "factory-key", "default");
    let processes = || {
        let helper = home.token("yk")["helper_pid"].as_u64().unwrap();
        for pid in [u64::from(agent.pid()), helper] {
            for file in ["cmdline", "environ"] {
                // Who may not read it has nothing of it.
                let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                holds_none(&format!("{file} of {pid}"), &content);
            }
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
        }
    };
    let run = |arguments: &str, code: i32| {
        let outcome = home.run(arguments).exits(code);
        holds_none(arguments, outcome.text().as_bytes());
        processes();
    };
    run("token setup yk --new-pin-file pin --new-puk-file puk", 0);
    run("token unlock yk --pin-file wrong-pin --json", 5);
    run("token unlock yk --pin-file pin", 0);
    run("key generate no --token yk --type ecdsa-p256 --management-key-file management --json", 5);
    run("key generate root --token yk --type ecdsa-p256 --management-key-file factory-key", 0);
    run("token setup yk --pin-file pin --protect-management-key", 0);
    run("key generate other --token yk --type ecdsa-p256 --slot 84", 0);
    home.unlock_file_store();
    home.keys(&["online"]);
    run("repo init repo --name app --root root --targets online --snapshot online --timestamp online", 0);
    run("sign repo --yes --json", 0);
    run("token change-pin yk --pin-file pin --new-pin-file next-pin", 0);
    run("token unblock yk --puk-file puk --new-pin-file pin", 0);
    run("audit export", 0);
    run("token list --json", 0);
    let log = agent.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "little was logged");
    holds_none("the log", log.as_bytes());
    for file in files_below(&home.state()) {
        holds_none(&file.display().to_string(), &fs::read(&file).unwrap());
    }
}
