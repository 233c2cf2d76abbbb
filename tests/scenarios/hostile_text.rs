//! Repositories, records and arguments full of escape sequences: no command lets one of them reach the terminal.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::Home;

use crate::forge::{Forge, key, keyid};
use crate::mutations::{Scene, keys, listed};
use crate::terminal::talk;

/// Clears the screen, colours, changes the title, rings, goes back on the line, and turns the reading direction; as a
/// control byte of eight bits too.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{8}\u{9b}31m\u{202e}fdp\u{2066}\u{200b}\u{7f}\u{90}";
/// The same without control characters, which names of roles and keyids cannot have.
const BIDI: &str = "\u{202e}fdp\u{2066}x\u{200b}\u{feff}\u{2028}";

/// What a screen may show beside what can be seen: line ends, and the colours of tufctl itself.
#[track_caller]
fn is_harmless(command: &str, screen: &str) {
    let mut rest = screen.to_owned();
    for code in ["0", "1", "2", "31", "32", "33"] {
        rest = rest.replace(&format!("\u{1b}[{code}m"), "");
    }
    let invisible = |c: &char| {
        c.is_control() && !matches!(c, '\n' | '\r')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let found: Vec<_> = rest.chars().filter(invisible).collect();
    assert!(found.is_empty(), "{command}: {found:?} reach the terminal:\n{screen:?}");
    // A line that goes back to its beginning is one that ends.
    assert!(!rest.replace("\r\n", "").contains('\r'), "{command}: a line is written over:\n{screen:?}");
}

/// A repository in which everything that can hold text holds [`EVIL`].
fn hostile() -> Scene {
    let mut scene = Scene::new();
    let long = format!("{EVIL}{}", "x".repeat(5_000));
    let targets = &mut scene.forge.targets["targets"];
    targets[format!("a{EVIL}")] = listed(b"");
    targets[long] = listed(b"");
    targets["a"]["custom"] = json!({EVIL: [EVIL, {EVIL: EVIL}]});
    targets["a"]["hashes"][EVIL] = json!(EVIL);
    let mut odd = key(3);
    odd["keytype"] = json!(EVIL);
    odd["scheme"] = json!(EVIL);
    odd[EVIL] = json!(EVIL);
    let delegations = &mut scene.forge.targets["delegations"];
    delegations["keys"][keyid(&odd)] = odd.clone();
    delegations["keys"][BIDI] = key(4);
    delegations[EVIL] = json!(EVIL);
    let mut other = delegations["roles"][0].clone();
    other["name"] = json!(format!("role{BIDI}"));
    other["paths"] = json!([EVIL, format!("{EVIL}/*"), "{", "t/[b"]);
    delegations["roles"].as_array_mut().unwrap().push(other);
    scene.forge.snapshot["meta"][format!("role{BIDI}.json")] = json!({"version": 1, EVIL: EVIL});
    scene.forge.snapshot["meta"][format!("gone{BIDI}.json")] = json!({"version": 1, "hashes": {EVIL: EVIL}});
    scene.forge.root["roles"][EVIL] = scene.forge.root["roles"]["timestamp"].clone();
    scene.forge.root[EVIL] = json!(EVIL);
    scene.forge.root["keys"] = keys(&[key(1), key(7)]);
    scene.forge.timestamp["meta"][EVIL] = json!({"version": 1});
    scene
}

/// Single faults whose messages quote the file.
fn faults() -> Vec<Scene> {
    type Change = fn(&mut Scene);
    let changes: [Change; 12] = [
        |s| s.forge.root["roles"][EVIL] = s.forge.root["roles"]["timestamp"].clone(),
        |s| s.forge.targets["spec_version"] = json!(EVIL),
        |s| s.forge.targets["expires"] = json!(EVIL),
        |s| s.forge.targets["_type"] = json!(EVIL),
        |s| s.forge.targets["targets"][EVIL] = json!(1),
        |s| s.forge.targets["targets"][EVIL] = listed(b""),
        |s| s.forge.targets["targets"]["a"]["hashes"][EVIL] = json!(EVIL),
        |s| s.forge.targets["delegations"]["roles"][0]["name"] = json!(EVIL),
        |s| s.forge.targets["delegations"]["roles"][0]["paths"] = json!([format!("[{EVIL}")]),
        |s| s.forge.targets["delegations"]["keys"][EVIL] = key(3),
        |s| s.forge.snapshot["meta"][format!("{EVIL}.json")] = json!({"version": 1}),
        |s| {
            s.after("timestamp", |text| {
                let twice = json!(EVIL);
                text.replacen('{', &format!("{{{twice}:1,{twice}:2,"), 1)
            });
        },
    ];
    let scene = |change: Change| {
        let mut scene = Scene::new();
        change(&mut scene);
        scene
    };
    changes.into_iter().map(scene).collect()
}

#[test]
fn a_hostile_repository_is_read_by_every_command_without_a_control_byte_on_the_terminal() {
    let (home, _agent) = Home::unlocked();
    for (number, scene) in faults().iter().enumerate() {
        scene.write(&home.path(format!("fault-{number}")));
        for command in ["verify DIR --root DIR/metadata/1.root.json", "lint DIR", "repo show DIR"] {
            let command = command.replace("DIR", &format!("fault-{number}"));
            let Some((_, screen)) = talk(&home, &command, &[]) else { return };
            is_harmless(&command, &screen);
            assert!(!screen.trim().is_empty(), "{command} says nothing");
        }
    }
    hostile().write(&home.path("repo"));
    let adopt = "repo adopt repo --name app --root repo/metadata/1.root.json --yes";
    for command in [
        adopt,
        "verify repo --root repo/metadata/1.root.json",
        "verify repo --root repo/metadata/1.root.json --metadata-only --accept-keyids",
        "lint repo",
        "repo show repo",
        "diff repo",
        "target list repo",
        "delegation list repo",
        "sign repo --yes",
        "status",
        "audit list",
        "audit verify",
        "key list",
        "token list",
    ] {
        let Some((_, screen)) = talk(&home, command, &[]) else { return };
        is_harmless(command, &screen);
    }
    // What lint says of it all is a lot, and none of it raw.
    let linted: Value = home.run("lint repo --json").json();
    assert!(linted["findings"].as_array().unwrap().len() > 8, "{linted}");
}

#[test]
fn hostile_records_and_staged_files_of_colleagues_are_shown_without_a_control_byte() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let keyids: Vec<String> =
        repo.metadata("1.root.json")["signed"]["keys"].as_object().unwrap().keys().cloned().collect();
    let names: Value =
        keyids.iter().map(|keyid| (keyid.clone(), json!(EVIL))).collect::<serde_json::Map<_, _>>().into();
    home.write("repo/.key-names.json", names.to_string());
    home.run("bump repo targets").done();
    let staged = repo.dir().join("staged/targets.json");
    let mut targets: Value = serde_json::from_slice(&fs::read(&staged).unwrap()).unwrap();
    targets["signed"][EVIL] = json!(EVIL);
    targets["signed"]["targets"][EVIL] = listed(b"");
    targets["signed"]["targets"]["x"] = listed(b"");
    targets["signed"]["targets"]["x"]["custom"] = json!({EVIL: EVIL});
    fs::write(&staged, targets.to_string()).unwrap();
    let record = json!({"name": "app", "files": {EVIL: {"source": format!("/{EVIL}")}}, "names": names});
    home.write("repo/staged/repository.json", record.to_string());
    let commands = [
        "diff repo",
        "repo show repo",
        "target list repo",
        "sign repo",
        "sign repo --yes",
        "repo show repo --check 3d",
    ];
    for command in commands {
        let Some((_, screen)) = talk(&home, command, &[]) else { return };
        is_harmless(command, &screen);
    }
    home.write("repo/staged/repository.json", format!("{{\"{}\"", EVIL));
    for command in ["diff repo", "repo show repo", "sign repo --yes"] {
        let Some((code, screen)) = talk(&home, command, &[]) else { return };
        is_harmless(command, &screen);
        assert_ne!(code, 0, "{command}");
    }
}

#[test]
fn hostile_arguments_come_back_without_a_control_byte() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    // `talk` parts its arguments at spaces, and there is none in it.
    for command in [
        "verify EVIL --root EVIL",
        "lint EVIL",
        "repo show EVIL",
        "key show EVIL",
        "target remove repo EVIL",
        "delegation remove repo EVIL",
        "token unlock EVIL",
        "bump repo EVIL",
        "EVIL",
        "lint --client EVIL repo",
        "verify repo --root repo/metadata/1.root.json --at EVIL",
        "repo adopt EVIL --name EVIL --root EVIL",
    ] {
        let command = command.replace("EVIL", EVIL);
        let Some((code, screen)) = talk(&home, &command, &[]) else { return };
        is_harmless(&command, &screen);
        assert_ne!(code, 0, "{command:?}");
    }
}

#[test]
fn what_lint_finds_shows_names_escaped_once_and_gives_them_to_programs_as_they_are() {
    let home = Home::new();
    let mut forge = Forge::new();
    forge.targets["delegations"]["roles"][0]["name"] = json!("q\"x\\y");
    forge.snapshot["meta"] = json!({"targets.json": {"version": 1}, "q\"x\\y.json": {"version": 1}});
    forge.write(&home.path("repo"));
    fs::rename(home.path("repo/metadata/1.team.json"), home.path("repo/metadata/1.q%22x%5Cy.json")).unwrap();
    let text = home.run("lint repo --metadata-only").stdout;
    assert!(text.contains(r#"role "q"x\\y" is fetched as"#), "{text}");
    let found = home.run("lint repo --metadata-only --json").json()["findings"].clone();
    let told =
        |finding: &Value| finding["message"].as_str().unwrap().contains(r#"role "q"x\y" is fetched as"#);
    assert!(found.as_array().unwrap().iter().any(told), "{found}");
}
