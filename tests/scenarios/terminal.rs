//! A person at a terminal: what is asked, what is shown, and that secrets are not echoed.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tufagent_tests::{Home, PASSPHRASE, binary, need, oracle};

/// Runs `tufctl` on a pseudo-terminal and answers its questions; the exit code and all that was on the screen.
pub(crate) fn talk(home: &Home, arguments: &str, steps: &[(&str, &str)]) -> Option<(i32, String)> {
    talk_in_steps(home, arguments, &serde_json::to_string(steps).unwrap())
}

/// The same, with steps as doubles/terminal.py takes them.
pub(crate) fn talk_in_steps(home: &Home, arguments: &str, steps: &str) -> Option<(i32, String)> {
    let mut command = Command::new(need(oracle::python())?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/terminal.py"));
    command.arg(steps).arg(binary("tufctl")).args(arguments.split(' '));
    home.environment(&mut command);
    let output = command.env("TERM", "xterm-256color").output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    // What an answer's command says when it fails.
    println!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(!screen.contains(PASSPHRASE), "the passphrase was echoed:\n{screen}");
    assert!(!screen.contains("<left raw>"), "{screen}");
    Some((output.status.code().unwrap(), screen))
}

#[test]
fn a_new_passphrase_is_asked_twice_and_never_echoed() {
    let home = Home::new();
    let _agent = home.start();
    let typed = format!("{PASSPHRASE}\n");
    let steps = [(": ", typed.as_str()), ("more: ", &typed)];
    let Some((code, screen)) = talk(&home, "token unlock file", &steps) else { return };
    assert_eq!(code, 0, "{screen}");
    home.run("token lock file").done();
    let Some((code, screen)) = talk(&home, "unlock", &[(": ", &typed)]) else { return };
    assert_eq!(code, 0, "{screen}");
    home.keys(&["a"]);
}

#[test]
fn two_different_new_passphrases_set_nothing() {
    let home = Home::new();
    let _agent = home.start();
    let steps = [(": ", "one\n"), ("more: ", "two\n"), (": ", "a\n"), ("more: ", "b\n"), (": ", "\u{3}")];
    let Some((code, screen)) = talk(&home, "token unlock file", &steps) else { return };
    assert_ne!(code, 0, "{screen}");
    home.unlock_file_store();
}

#[test]
fn a_person_sees_what_will_be_signed_and_says_yes_once() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    let Some((code, screen)) = talk(&home, "sign repo", &[("[y/N] ", "y\n")]) else { return };
    assert_eq!(code, 0, "{screen}");
    for shown in ["more.txt", "targets", "snapshot", "timestamp"] {
        assert!(screen.contains(shown), "{shown} is not on the screen:\n{screen}");
    }
    assert_eq!(repo.version("targets"), 2);
}

#[test]
fn a_file_that_changes_while_the_question_is_asked_is_seen_before_anything_is_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    let signed = home.journalled("sign.intent").len();
    let steps = json!([["[y/N] ", "y\n", "echo other > more.txt"]]).to_string();
    let Some((code, screen)) = talk_in_steps(&home, "sign repo", &steps) else { return };
    assert!(code != 0 && screen.contains("more.txt is not the file any more"), "{code} {screen}");
    assert_eq!(home.journalled("sign.intent").len(), signed);
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 2);
}

#[test]
fn what_is_unusual_about_the_last_of_many_roles_is_said_before_the_question() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let roles: Vec<String> = (0..40).map(|number| format!("d{number}")).collect();
    for role in &roles {
        home.run(&format!("delegation add repo {role} --key online --threshold 1 --paths {role}/*")).done();
    }
    home.run("sign repo --yes").done();
    home.run(&format!("bump repo {}", roles.join(" "))).done();
    // In the last one a colleague has staged a delegation whose only holder counts twice.
    let by = &repo.metadata("2.targets.json")["signed"]["delegations"];
    let keyid = by["roles"][0]["keyids"][0].as_str().unwrap();
    let (key, other) = (&by["keys"][keyid], "ab".repeat(32));
    let path = repo.dir().join("staged/d39.json");
    let mut staged: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    staged["signatures"] = json!([]);
    staged["signed"]["delegations"] = json!({
        "keys": { keyid: key, &other: key },
        "roles": [{
            "name": "below", "keyids": [keyid, other], "threshold": 2, "terminating": false, "paths": ["d39/*"],
        }],
    });
    std::fs::write(&path, staged.to_string()).unwrap();
    let refusals = |journal: &str| journal.lines().filter(|line| line.contains("CANCELLED")).count();
    let before = refusals(&home.run("audit export").done().stdout);
    let concern = "names one key under two keyids";
    let Some((code, screen)) = talk(&home, "sign repo --no-publish", &[("[y/N] ", "n\n")]) else { return };
    assert_eq!((code, screen.matches(concern).count()), (3, 1), "{screen}");
    assert!(screen.find(concern) < screen.find("[y/N]"), "{screen}");
    // What was only looked at is no refusal; what waited for the answer is.
    let after = refusals(&home.run("audit export").done().stdout);
    assert!((1..=32).contains(&(after - before)), "{before} {after}");
    let steps = [("[y/N] ", "y\n")];
    let Some((_, screen)) = talk(&home, "sign repo --no-publish", &steps) else { return };
    assert_eq!(screen.matches(concern).count(), 1, "{screen}");
    assert!(screen.find(concern) < screen.find("[y/N]"), "{screen}");
    for role in &roles {
        let signed = std::fs::read(repo.dir().join(format!("staged/{role}.json"))).unwrap();
        let signed: Value = serde_json::from_slice(&signed).unwrap();
        assert_eq!(signed["signatures"].as_array().unwrap().len(), 1, "{role}");
    }
}

#[test]
fn a_person_who_says_no_has_signed_nothing() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets").done();
    let before = std::fs::read(repo.dir().join("staged/targets.json")).unwrap();
    let Some((code, screen)) = talk(&home, "sign repo", &[("[y/N] ", "n\n")]) else { return };
    assert_eq!(code, 3, "{screen}");
    assert_eq!(std::fs::read(repo.dir().join("staged/targets.json")).unwrap(), before);
    assert_eq!(repo.version("targets"), 1);
}

#[test]
fn a_person_who_leaves_at_the_question_has_signed_nothing_and_keeps_nobody_waiting() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets").done();
    let before = std::fs::read(repo.dir().join("staged/targets.json")).unwrap();
    // Ctrl-C where the agent has inspected and waits to be told.
    let Some((code, screen)) = talk(&home, "sign repo", &[("[y/N] ", "\u{3}")]) else { return };
    assert_ne!(code, 0, "{screen}");
    assert_eq!(std::fs::read(repo.dir().join("staged/targets.json")).unwrap(), before);
    let journal = home.run("audit export").done().stdout;
    let last = journal.lines().rev().find(|line| line.contains("Signing.Sign")).expect("a refusal");
    assert!(last.contains("CANCELLED"), "{last}");
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 2);
}

#[test]
fn a_root_that_was_signed_and_lacks_others_is_superseded_by_a_person_alone() {
    let (home, _agent) = Home::unlocked();
    let colleague = Home::new();
    let _colleagues_agent = colleague.start();
    colleague.unlock_file_store();
    colleague.keys(&["there"]);
    home.write("there.json", colleague.run("key export there").done().stdout);
    home.keys(&["here", "spare", "online"]);
    home.run(
        "repo init repo --name app --root here,there.json --root-threshold 2 --targets online \
         --snapshot online --timestamp online",
    )
    .done();
    home.run("sign repo --yes").exits(4);
    home.run("root add-key repo root --key spare --yes").done();
    let error = home.refused("sign repo --role root --yes", 3, "WATERMARK");
    let digest = error["details"]["signed_sha256"].as_str().unwrap();
    let command = format!("sign repo --role root --supersede {digest}");
    home.refused(&format!("{command} --yes"), 3, "CONFIRMATION_MISSING");
    let steps = [("[y/N] ", "y\n"), ("[y/N] ", "y\n")];
    let Some((code, screen)) = talk(&home, &command, &steps) else { return };
    // Signed; not published, since snapshot and timestamp were not asked for.
    assert!([0, 4].contains(&code), "{screen}");
    let shown = home.run("repo show repo --json").done().json();
    let root = shown["roles"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap();
    assert_eq!(root["signed_by"].as_array().unwrap().len(), 2, "{root}");
}
