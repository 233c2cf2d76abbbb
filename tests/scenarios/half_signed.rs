//! Half-signed roots where the tools of others leave them: taken to `staged/`, shown, signed, and finished here or there.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tufagent_tests::{Agent, Home, Published, need, oracle};

use crate::judges::{Judges, Reads};
use crate::strangers_roots::{adopted, stranger};

const ADOPT: &str = "repo adopt repo --name app --root repo/metadata/1.root.json";

/// The repository of kind `mixed-thresholds` as `repo`, not adopted yet: root has keys a, b and c, and two must sign. Of
/// its keys we hold `b`.
fn theirs() -> Option<(Home, Agent, Published)> {
    let (home, agent) = Home::unlocked();
    need(oracle::run_python("strangers.py", &[".", "mixed-thresholds"], &home.path("")))?.done();
    fs::rename(home.path("mixed-thresholds"), home.path("repo")).unwrap();
    fs::rename(home.path("mixed-thresholds.keys"), home.path("keys")).unwrap();
    home.run("key import b keys/b.pem --token file").done();
    let repo = home.published("repo");
    Some((home, agent, repo))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The published root is theirs to the byte, but for signatures in the empty places of these keyids.
#[track_caller]
fn only_places_were_filled(theirs: &str, published: &[u8], keyids: &[&Value]) {
    let mut now = String::from_utf8(published.to_vec()).unwrap();
    let document: Value = serde_json::from_str(&now).unwrap();
    for entry in document["signatures"].as_array().unwrap() {
        if keyids.contains(&&entry["keyid"]) {
            let sig = entry["sig"].as_str().unwrap();
            assert!(sig.len() > 100, "{entry}");
            now = now.replace(sig, "");
        }
    }
    assert_eq!(now, theirs);
}

#[test]
fn a_root_that_is_staged_under_its_version_is_shown_signed_and_published() {
    let Some((home, _agent, repo)) = adopted(&["b"]) else { return };
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    fs::create_dir(home.path("repo/staged")).unwrap();
    stranger(&home, "next repo repo/staged/2.root.json --placeholders keys/a.pem");
    let text = fs::read_to_string(home.path("repo/staged/2.root.json")).unwrap();
    let shown = home.run("repo show repo --json").done().json();
    let root = &shown["roles"][0];
    assert_eq!((root["version"].as_u64(), root["staged"].as_bool()), (Some(2), Some(true)), "{shown}");
    assert_eq!(root["signed_by"].as_array().unwrap().len(), 1, "{shown}");
    home.run("diff repo").done();
    assert!(home.path("repo/staged/2.root.json").exists(), "commands that read change nothing");
    home.refused("sign repo", 3, "CONFIRMATION_MISSING");
    home.run("sign repo --yes").done();
    let keyids = read(&repo.dir().join("metadata/2.root.json"))["signed"]["roles"]["root"]["keyids"].clone();
    only_places_were_filled(&text, &repo.bytes("2.root.json"), &[&keyids[1]]);
    remembering.accept(&repo, &["app.txt", "team/a.txt"]);
}

#[test]
fn two_roots_in_staged_are_told_by_their_names() {
    let Some((home, _agent, _repo)) = adopted(&["b"]) else { return };
    fs::create_dir(home.path("repo/staged")).unwrap();
    stranger(&home, "next repo repo/staged/2.root.json keys/a.pem");
    fs::copy(home.path("repo/staged/2.root.json"), home.path("repo/staged/3.root.json")).unwrap();
    let error = home.refused("repo show repo", 3, "REPOSITORY_INVALID");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("staged/2.root.json") && message.contains("staged/3.root.json"), "{error}");
    fs::rename(home.path("repo/staged/3.root.json"), home.path("repo/staged/root.json")).unwrap();
    let error = home.refused("sign repo --yes", 3, "METADATA_INVALID");
    assert!(error["remedy"].as_str().unwrap().contains("root.json"), "{error}");
}

#[test]
fn a_half_signed_root_among_the_published_ones_is_adopted_as_staged_and_finished_here() {
    let Some((home, _agent, repo)) = theirs() else { return };
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    stranger(&home, "next repo repo/metadata/2.root.json keys/a.pem");
    let theirs = repo.bytes("2.root.json");
    remembering.refuse(&repo, &["app.txt"]);
    let adopted = home.run(&format!("{ADOPT} --json")).done().json();
    let staged = &adopted["staged"][0];
    assert_eq!(
        (staged["version"].as_u64(), staged["have"].as_u64(), staged["need"].as_u64()),
        (Some(2), Some(1), Some(2)),
        "{adopted}"
    );
    assert!(!repo.has("2.root.json"), "clients stumble over it");
    assert_eq!(fs::read(home.path("repo/staged/root.json")).unwrap(), theirs);
    remembering.accept(&repo, &["app.txt"]);
    let text = home.run("repo show repo").done().stdout;
    assert!(text.contains("root v2 · 2 of 3 keys") && text.contains("· b  missing"), "{text}");
    home.run("sign repo --yes").done();
    let now = repo.metadata("2.root.json");
    assert_eq!(now["signatures"][0], serde_json::from_slice::<Value>(&theirs).unwrap()["signatures"][0]);
    remembering.accept(&repo, &["app.txt", "team/a.txt"]);
}

#[test]
fn a_half_signed_root_is_adopted_signed_here_and_finished_there_by_the_tool_of_others() {
    let Some((home, _agent, repo)) = theirs() else { return };
    // Nobody has signed; and the working copy of it lies there without a version as well, as tuftool leaves it.
    stranger(&home, "next repo repo/metadata/2.root.json --placeholders");
    fs::copy(home.path("repo/metadata/2.root.json"), home.path("repo/metadata/root.json")).unwrap();
    let theirs = fs::read_to_string(home.path("repo/metadata/root.json")).unwrap();
    home.run(ADOPT).done();
    home.run("sign repo --yes").exits(4);
    stranger(&home, "sign repo/staged/root.json keys/c.pem");
    home.run("sign repo --yes").done();
    let keyids = repo.metadata("2.root.json")["signed"]["roles"]["root"]["keyids"].clone();
    only_places_were_filled(&theirs, &repo.bytes("2.root.json"), &[&keyids[1], &keyids[2]]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}

#[test]
fn an_unversioned_root_beside_the_published_ones_is_adopted_as_staged_and_left_where_it_is() {
    let Some((home, _agent, repo)) = theirs() else { return };
    stranger(&home, "next repo repo/metadata/root.json --placeholders keys/c.pem");
    let theirs = repo.bytes("root.json");
    let adopted = home.run(ADOPT).done();
    assert!(adopted.stdout.contains("root v2 has 1 of 2 signatures"), "{adopted}");
    assert_eq!(repo.bytes("root.json"), theirs);
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("root"), repo.bytes("root.json")), (2, theirs));
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}

#[test]
fn a_root_whose_signature_is_wrong_is_not_one_that_waits() {
    let Some((home, _agent, repo)) = theirs() else { return };
    stranger(&home, "next repo repo/metadata/2.root.json keys/a.pem");
    let path = home.path("repo/metadata/2.root.json");
    let mut root = read(&path);
    root["signed"]["expires"] = "2030-01-01T00:00:00Z".into();
    fs::write(&path, root.to_string()).unwrap();
    let error = home.refused(ADOPT, 6, "VERIFICATION");
    assert_eq!(error["details"]["file"], "2.root.json", "{error}");
    assert!(repo.has("2.root.json") && !home.path("repo/staged").exists());
    // Other content than what is staged already is nobody's to choose between.
    fs::remove_file(&path).unwrap();
    stranger(&home, "next repo repo/metadata/2.root.json keys/a.pem");
    fs::create_dir(home.path("repo/staged")).unwrap();
    fs::write(home.path("repo/staged/root.json"), root.to_string()).unwrap();
    home.refused(ADOPT, 3, "REPOSITORY_INVALID");
    assert!(repo.has("2.root.json"));
}

#[test]
fn a_half_signed_root_that_comes_to_metadata_later_is_told_with_the_way_out() {
    let Some((home, _agent, repo)) = adopted(&["b"]) else { return };
    stranger(&home, "next repo repo/metadata/2.root.json keys/a.pem");
    let error = home.refused("bump repo root", 6, "VERIFICATION");
    assert!(error["remedy"].as_str().unwrap().contains("staged/root.json"), "{error}");
    home.run(ADOPT).done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("root"), 2);
}

/// Where the tools of others leave a half-signed root: what is given to `--from`, and where it lies.
const LEFT: [(&str, &str); 6] = [
    ("tree", "tree/metadata/root.json"),
    ("tree/metadata/root.json", "tree/metadata/root.json"),
    ("root.json", "root.json"),
    ("2.root.json", "2.root.json"),
    ("bobs", "bobs/metadata/2.root.json"),
    ("bobs", "bobs/staged/2.root.json"),
];

#[test]
fn a_half_signed_root_is_taken_on_from_wherever_it_was_left() {
    let Some((home, _agent, repo)) = adopted(&["b"]) else { return };
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    let before = repo.copy_to(&home.path("before"));
    for (from, file) in LEFT {
        let _ = fs::remove_dir_all(repo.dir());
        before.copy_to(repo.dir());
        for folder in ["tree", "bobs"] {
            let _ = fs::remove_dir_all(home.path(folder));
        }
        fs::create_dir_all(home.path("tree/metadata")).unwrap();
        before.copy_to(&home.path("bobs"));
        fs::create_dir_all(home.path(file).parent().unwrap()).unwrap();
        // The same content each time: the agent signs one content under one version.
        if !home.path("draft.json").exists() {
            stranger(&home, "next repo draft.json --placeholders keys/a.pem");
        }
        fs::copy(home.path("draft.json"), home.path(file)).unwrap();
        home.refused(&format!("sign repo --from {from}"), 3, "CONFIRMATION_MISSING");
        assert!(!home.path("repo/staged").exists(), "{from}: it was written before anybody said yes");
        let signed = home.run(&format!("sign repo --from {from} --yes")).done();
        assert!(signed.stderr.contains("taking on the next root"), "{signed}");
        let theirs = fs::read_to_string(home.path("draft.json")).unwrap();
        let keyids = repo.metadata("2.root.json")["signed"]["roles"]["root"]["keyids"].clone();
        only_places_were_filled(&theirs, &repo.bytes("2.root.json"), &[&keyids[1]]);
        remembering.accept(&repo, &["app.txt", "team/a.txt"]);
    }
}

#[test]
fn a_root_of_others_for_which_no_key_is_here_waits_in_staged() {
    let Some((home, _agent, repo)) = adopted(&[]) else { return };
    stranger(&home, "next repo 2.root.json --placeholders keys/a.pem");
    home.refused("sign repo --from 2.root.json", 3, "CONFIRMATION_MISSING");
    let waits = home.run("sign repo --from 2.root.json --yes --json").exits(4).json();
    assert_eq!(waits["missing"][0]["keyids"].as_array().unwrap().len(), 2, "{waits}");
    assert_eq!(
        fs::read(home.path("repo/staged/root.json")).unwrap(),
        fs::read(home.path("2.root.json")).unwrap()
    );
    // It is finished there, and what comes back is merged and published.
    stranger(&home, "sign 2.root.json keys/c.pem");
    home.run("sign repo --from 2.root.json --yes").done();
    assert_eq!(repo.version("root"), 2);
}

#[test]
fn a_root_that_does_not_follow_that_was_changed_or_whose_base_is_not_sound_is_not_taken_on() {
    let Some((home, _agent, repo)) = adopted(&["b"]) else { return };
    stranger(&home, "next repo 2.root.json keys/a.pem");
    let mut root = read(&home.path("2.root.json"));
    root["signed"]["version"] = 3.into();
    fs::write(home.path("far.json"), root.to_string()).unwrap();
    let error = home.refused("sign repo --from far.json --yes", 3, "REPOSITORY_INVALID");
    assert!(error["message"].as_str().unwrap().contains("comes v2"), "{error}");
    root["signed"]["version"] = 2.into();
    root["signed"]["expires"] = "2030-01-01T00:00:00Z".into();
    fs::write(home.path("changed.json"), root.to_string()).unwrap();
    home.refused("sign repo --from changed.json --yes", 3, "METADATA_INVALID");
    // A published root that others have changed is nothing to go on from.
    let good = repo.bytes("1.root.json");
    let mut base = repo.metadata("1.root.json");
    base["signed"]["expires"] = "2030-01-01T00:00:00Z".into();
    fs::remove_file(repo.dir().join("metadata/1.root.json")).unwrap();
    fs::write(repo.dir().join("metadata/1.root.json"), base.to_string()).unwrap();
    let refused = home.run("sign repo --from 2.root.json --yes --json");
    assert!([3, 6].contains(&refused.code), "{refused}");
    assert!(!home.path("repo/staged").exists());
    fs::write(repo.dir().join("metadata/1.root.json"), good).unwrap();
    // What is published is no news.
    let same = home.run("sign repo --from repo/metadata/1.root.json --yes --json").done().json();
    assert_eq!(same["published"], false, "{same}");
}

#[test]
fn the_first_root_of_others_is_signed_once_its_repository_has_a_name() {
    let Some((home, _agent, repo)) = theirs() else { return };
    let mut first = repo.metadata("1.root.json");
    first["signatures"].as_array_mut().unwrap().truncate(1);
    fs::create_dir_all(home.path("new/staged")).unwrap();
    fs::write(home.path("new/staged/1.root.json"), first.to_string()).unwrap();
    let shown = home.run("repo show new").done();
    assert!(shown.stdout.contains("root v1") && shown.stdout.contains("missing"), "{shown}");
    let error = home.refused("sign new --yes", 3, "REPOSITORY_UNKNOWN");
    assert!(error["remedy"].as_str().unwrap().contains("new/staged/repository.json"), "{error}");
    fs::write(home.path("new/staged/repository.json"), "{\"name\": \"new\"}").unwrap();
    let signed = home.run("sign new --yes --json").exits(4).json();
    assert_eq!(
        (&signed["signed"][0]["role"], &signed["signed"][0]["key"]),
        (&"root".into(), &"b".into()),
        "{signed}"
    );
    let now = read(&home.path("new/staged/root.json"));
    assert_eq!((&now["signed"], now["signatures"].as_array().unwrap().len()), (&first["signed"], 2));
}
