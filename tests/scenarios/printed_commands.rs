//! Commands that are printed are pasted: whatever the roles of other people's repositories are called, a shell reads their
//! names as they are, and nothing else.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tufagent_tests::{Agent, Home, binary};

use crate::forge::Forge;

pub(crate) const ADOPT: &str = "repo adopt repo --name app --root repo/metadata/1.root.json --yes";

const NAMES: [&str; 13] = [
    "docs; touch PWNED #",
    "$(touch PWNED)",
    "`touch PWNED`",
    "' ; touch PWNED; '",
    "a,b",
    "a\\,b",
    "-dash",
    "a DIR b",
    "DIR",
    "zero\u{200b}'; touch PWNED; 'width",
    "line\nbreak",
    "~",
    "100%25 done",
];

/// A stranger's repository with a delegated role of this name, whose keys are here.
fn with_role(name: &str) -> (Home, Agent) {
    let (home, agent) = Home::unlocked();
    import_forged_keys(&home);
    write_with_role(&home, name, &encoded(name));
    (home, agent)
}

/// Writes it, the file of the role under a name of this stem.
pub(crate) fn write_with_role(home: &Home, name: &str, stem: &str) {
    let mut forge = Forge::new();
    forge.targets["delegations"]["roles"][0]["name"] = name.into();
    forge.snapshot["meta"] = json!({"targets.json": {"version": 1}, format!("{name}.json"): {"version": 1}});
    forge.write(&home.path("repo"));
    let metadata = home.path("repo/metadata");
    fs::rename(metadata.join("1.team.json"), metadata.join(format!("1.{stem}.json"))).unwrap();
}

/// Takes the keys in that sign what [`Forge`] makes.
pub(crate) fn import_forged_keys(home: &Home) {
    for (key, pem) in [("one", ONE), ("two", TWO)] {
        let file = format!("{key}.pem");
        home.secret(&file, &format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n"));
        home.run(&format!("key import {key} {file} --token file")).done();
    }
}

fn encoded(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte);
    let of = |byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(of).collect()
}

/// Runs a line as a person does who pastes it; by a shell that knows no `$'…'` as well, for what it must not do.
pub(crate) fn paste(home: &Home, line: &str, name: &str) {
    let run = |shell: &str, tufctl: &str| {
        let mut shell = Command::new(shell);
        home.environment(&mut shell);
        let done = shell.args(["-c", &format!("tufctl() {{ {tufctl} \"$@\"; }}; {line}")]).output().unwrap();
        assert!(done.status.success(), "{name:?}: {line}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(!home.path("PWNED").exists(), "{name:?}: {line}");
    };
    run("sh", ":");
    run("bash", &binary("tufctl").display().to_string());
}

fn remedy(error: &Value) -> &str {
    error["remedy"].as_str().unwrap()
}

#[test]
fn a_role_that_is_lost_is_left_out_by_the_words_that_are_printed_whatever_it_is_called() {
    for name in NAMES {
        let (home, _agent) = with_role(name);
        fs::remove_file(home.path(format!("repo/metadata/1.{}.json", encoded(name)))).unwrap();
        let error = home.refused(ADOPT, 6, "VERIFICATION");
        let (_, words) = remedy(&error).rsplit_once("say so: ").expect("the words to say");
        paste(&home, &format!("tufctl {ADOPT} {words}"), name);
    }
}

#[test]
fn the_next_version_of_a_role_is_staged_by_the_command_that_is_printed_whatever_it_is_called() {
    for name in NAMES {
        let (home, _agent) = with_role(name);
        home.run(ADOPT).done();
        home.run_list(&["bump", "repo", "--yes", "--", name]).done();
        home.run("sign repo --yes --no-publish").done();
        fs::remove_dir_all(home.path("repo/staged")).unwrap();
        home.write("new.txt", "new\n");
        let role = format!("--role={name}");
        home.run_list(&["target", "add", "repo", "new.txt", "--path", "t/new.txt", &role]).done();
        let error = home.refused("sign repo --yes", 3, "WATERMARK");
        let (_, command) = remedy(&error).split_once(": ").expect("a command");
        assert!(command.starts_with("tufctl bump repo "), "{error}");
        paste(&home, command, name);
        let error = home.refused("sign repo --role nobody --yes", 3, "ROLE_UNKNOWN");
        let (_, word) = remedy(&error).split_once("as --role takes it: ").expect("the names");
        let option = format!("--role{}{word}", if name.starts_with('-') { "=" } else { " " });
        paste(&home, &format!("tufctl sign repo --yes {option},snapshot,timestamp"), name);
        let snapshot = format!("{}.snapshot.json", home.published("repo").version("snapshot"));
        let listed = home.published("repo").metadata(&snapshot);
        assert_eq!(listed["signed"]["meta"][format!("{name}.json")]["version"], 3, "{name:?}");
    }
}

#[test]
fn a_remedy_is_printed_for_people_as_it_is_for_scripts() {
    let (home, _agent) = with_role("a,b");
    fs::remove_file(home.path("repo/metadata/1.a%2Cb.json")).unwrap();
    let error = home.refused(ADOPT, 6, "VERIFICATION");
    assert!(remedy(&error).ends_with(r"--without 'a\,b'"), "{error}");
    assert!(home.run(ADOPT).stderr.contains(r"--without 'a\,b'"));
}

#[test]
fn several_names_are_given_with_commas_or_one_by_one_and_patterns_may_hold_a_comma() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs"]);
    let add =
        ["delegation", "add", "repo", "docs", "--key", "docs", "--paths", r"a\,b/*,c/*", "--paths", "d/*"];
    home.run_list(&add).done();
    let listed = home.run("delegation list repo --json").done().json();
    assert!(listed.to_string().contains(r#"["a,b/*","c/*","d/*"]"#), "{listed}");
    home.run("sign repo --role targets --role docs,snapshot --role timestamp --yes").done();
    assert_eq!(home.published("repo").version("docs"), 1);
}

const ONE: &str = "MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const TWO: &str = "MC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
