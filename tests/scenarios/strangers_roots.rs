//! Roots that a stranger has signed in part: shown, signed here, and finished here or there.

use std::fs;

use tufagent_tests::{Agent, Home, Published, need, oracle};

use crate::judges::{Judges, Reads};

/// The repository of kind `mixed-thresholds` as `repo`: root has keys a, b and c, and two of them must sign. Of its keys
/// we hold `ours`.
pub(crate) fn adopted(ours: &[&str]) -> Option<(Home, Agent, Published)> {
    let (home, agent) = Home::unlocked();
    need(oracle::run_python("strangers.py", &[".", "mixed-thresholds"], &home.path("")))?.done();
    fs::rename(home.path("mixed-thresholds"), home.path("repo")).unwrap();
    fs::rename(home.path("mixed-thresholds.keys"), home.path("keys")).unwrap();
    for key in ours {
        home.run(&format!("key import {key} keys/{key}.pem --token file")).done();
    }
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    let repo = home.published("repo");
    Some((home, agent, repo))
}

/// Runs `strangers_root.py`.
pub(crate) fn stranger(home: &Home, arguments: &str) {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    oracle::run_python("strangers_root.py", &arguments, &home.path("")).unwrap().done();
}

fn staged_root(home: &Home) -> serde_json::Value {
    serde_json::from_slice(&fs::read(home.path("repo/staged/root.json")).unwrap()).unwrap()
}

#[test]
fn a_half_signed_root_with_placeholders_is_shown_and_finished_here() {
    let Some((home, _agent, repo)) = adopted(&["b"]) else { return };
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    fs::create_dir(home.path("repo/staged")).unwrap();
    stranger(&home, "next repo repo/staged/root.json --placeholders keys/a.pem");
    let theirs = staged_root(&home);
    let shown = home.run("repo show repo --json").done().json();
    let root = &shown["roles"][0];
    let keyids = &theirs["signed"]["roles"]["root"]["keyids"];
    assert_eq!(
        (&root["signed_by"], root["staged"].as_bool()),
        (&serde_json::json!([keyids[0]]), Some(true)),
        "{shown}"
    );
    assert_eq!(root["missing"], serde_json::json!([keyids[1], keyids[2]]), "{shown}");
    let text = home.run("repo show repo").done().stdout;
    assert!(text.contains("root v2 · 2 of 3 keys") && text.contains("· b  missing"), "{text}");
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!((signed["published"].as_bool(), signed["signed"][0]["key"].as_str()), (Some(true), Some("b")));
    let now = repo.metadata("2.root.json");
    assert_eq!(now["signed"], theirs["signed"]);
    assert_eq!(now["signatures"][0], theirs["signatures"][0], "the signature of the stranger is kept");
    remembering.accept(&repo, &["app.txt", "team/a.txt"]);
}

#[test]
fn a_half_signed_root_is_signed_here_and_finished_there() {
    let Some((home, _agent, repo)) = adopted(&["b"]) else { return };
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    fs::create_dir(home.path("repo/staged")).unwrap();
    // Nobody has signed yet; all places are empty.
    stranger(&home, "next repo repo/staged/root.json --placeholders");
    let signed = home.run("sign repo --yes --json").exits(4).json();
    assert_eq!(
        (&signed["missing"][0]["have"], &signed["missing"][0]["need"]),
        (&1.into(), &2.into()),
        "{signed}"
    );
    assert_eq!(signed["missing"][0]["keyids"].as_array().unwrap().len(), 2);
    let kept = staged_root(&home);
    assert_eq!(kept["signatures"].as_array().unwrap().len(), 3, "the other places stay: {kept}");
    // They finish the file, and give it back: alone, or in the git working tree of tuf-on-ci.
    fs::create_dir_all(home.path("tree/metadata")).unwrap();
    fs::copy(home.path("repo/staged/root.json"), home.path("tree/metadata/root.json")).unwrap();
    stranger(&home, "sign tree/metadata/root.json keys/c.pem");
    repo.copy_to(&home.path("again"));
    for (folder, from) in [("again", "tree/metadata/root.json"), ("repo", "tree")] {
        home.run(&format!("sign {folder} --from {from} --yes")).done();
        let repo = home.published(folder);
        assert_eq!(repo.version("root"), 2);
        remembering.accept(&repo, &["app.txt"]);
    }
}

#[test]
fn a_root_that_was_finished_and_published_there_is_gone_on_from_here() {
    let Some((home, _agent, repo)) = adopted(&["b", "c", "d"]) else { return };
    fs::create_dir(home.path("repo/staged")).unwrap();
    stranger(&home, "next repo repo/staged/root.json keys/a.pem");
    home.run("sign repo --yes --no-publish").done();
    stranger(&home, "sign repo/staged/root.json keys/c.pem");
    fs::rename(home.path("repo/staged/root.json"), home.path("repo/metadata/2.root.json")).unwrap();
    fs::remove_dir_all(home.path("repo/staged")).unwrap();
    home.run("root set-threshold repo root 1").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("root"), 3);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}

#[test]
fn a_git_working_tree_is_refused_with_its_name() {
    let Some((home, _agent, repo)) = adopted(&[]) else { return };
    for folder in ["tree/metadata/root_history", "tree/targets"] {
        fs::create_dir_all(home.path(folder)).unwrap();
    }
    fs::write(home.path("tree/metadata/root.json"), repo.bytes("1.root.json")).unwrap();
    fs::write(home.path("tree/metadata/root_history/1.root.json"), repo.bytes("1.root.json")).unwrap();
    let error = home.refused(
        "repo adopt tree --name tree --root tree/metadata/root.json --yes",
        3,
        "REPOSITORY_INVALID",
    );
    assert!(error.to_string().contains("git working tree"), "{error}");
}
