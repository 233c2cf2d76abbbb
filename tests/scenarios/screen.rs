//! What people see: names that others wrote cannot drive the terminal (FAULTS E5).

use std::fs;

use tufagent_tests::{Home, Outcome};

/// A red word, a title change, a line break, and letters that turn the reading direction.
const HOSTILE: &str = "evil\\u001b[31mred\\u0007\\u009b2J\\u202etxt.exe\\u2066x\\n next";

#[track_caller]
fn is_harmless(outcome: &Outcome) {
    for letter in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{2066}'] {
        assert!(!outcome.text().contains(letter), "{letter:?} reaches the terminal: {outcome:?}");
    }
}

#[test]
fn control_and_bidirectional_characters_in_metadata_are_shown_escaped() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["docs"]);
    home.run("bump repo targets").done();
    // As a colleague's tool might have written it.
    let staged = repo.dir().join("staged/targets.json");
    let text = fs::read_to_string(&staged).unwrap();
    let at = text.find("\"app.txt\"").unwrap();
    let hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let target = format!("\"{HOSTILE}\": {{\"hashes\": {{\"sha256\": \"{hash}\"}}, \"length\": 6}}, ");
    fs::write(&staged, format!("{}{target}{}", &text[..at], &text[at..])).unwrap();

    for command in ["diff repo", "repo show repo", "target list repo", "sign repo --yes", "audit list"] {
        is_harmless(&home.run(command));
    }
    let shown = home.run("diff repo").text();
    assert!(shown.contains("evil"), "the target is not shown at all:\n{shown}");
}

#[test]
fn control_characters_in_arguments_are_shown_escaped() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.write("x", "x");
    for arguments in [
        vec!["key", "show", "no\u{1b}[31mbody\u{202e}"],
        vec!["target", "add", "repo", "x", "--path", "a/\u{1b}[31mb\u{202e}"],
        vec!["target", "remove", "repo", "a/\u{1b}[31mb\u{202e}"],
        vec!["repo", "show", "no\u{1b}[31mwhere\u{202e}"],
    ] {
        let outcome = home.run_list(&arguments);
        assert_ne!(outcome.code, 0, "{outcome:?}");
        is_harmless(&outcome);
    }
}

#[test]
fn a_difference_shows_no_digest_of_what_is_made_anew_when_it_is_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo snapshot timestamp").done();
    let staged = fs::read_to_string(repo.dir().join("staged/timestamp.json")).unwrap();
    assert!(!staged.is_empty());
    let text = home.run("diff repo").done().text();
    assert!(text.contains("timestamp is made anew"), "{text}");
    let shown = home.run("diff repo --json").done().json();
    let timestamp =
        shown["roles"].as_array().unwrap().iter().find(|role| role["role"] == "timestamp").unwrap();
    assert_eq!((&timestamp["made_anew"], &timestamp["sha256"]), (&true.into(), &serde_json::Value::Null));
    home.run("sign repo --yes").done();
}

#[test]
fn a_thousand_changes_hide_none_and_custom_data_of_a_new_target_is_told() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    (0..=1000).for_each(|number| drop(home.write(&format!("many/f{number:04}"), "x")));
    home.run("target add repo many").done();
    let staged = repo.dir().join("staged/targets.json");
    let mut targets: serde_json::Value = serde_json::from_slice(&fs::read(&staged).unwrap()).unwrap();
    targets["signed"]["targets"]["f1000"]["custom"] = serde_json::json!({"run": "at once"});
    fs::write(&staged, targets.to_string()).unwrap();
    let asked = home.run("sign repo").exits(3).text();
    assert!(
        asked.contains("… and 1 more change, not listed here: tufctl diff DIR lists them all"),
        "{asked}"
    );
    let shown = home.run("diff repo").done().stdout;
    assert!(!shown.contains("not listed"), "{shown}");
    let (_, last) = shown.split_once("+ target f1000 ").expect("the last one");
    assert_eq!(last.lines().nth(1), Some("      with custom data"), "{shown}");
}
