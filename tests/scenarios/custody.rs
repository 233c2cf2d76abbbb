//! Keys and roots in somebody's care: a key that serves is not destroyed by mistake, a signed root is not lost with a
//! folder, and a longer life is confirmed by itself.

use std::fs;

use serde_json::Value;
use tufagent_tests::{Agent, Home};

use crate::terminal::talk;

#[test]
fn a_key_that_serves_a_role_is_not_removed_without_force() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs", "spare"]);
    home.run("delegation add repo docs --key docs --paths docs/*").done();
    home.run("sign repo --yes").done();
    for (key, role) in [("root", "root"), ("online", "targets"), ("docs", "docs")] {
        let error = home.refused(&format!("key remove {key} --yes"), 3, "KEY_IN_USE");
        assert!(error["message"].as_str().unwrap().contains(&format!("{role} of app")), "{error}");
        let details = &error["details"];
        assert_eq!((&details["repository"], &details["key"]), (&"app".into(), &key.into()), "{error}");
        assert!(error["remedy"].as_str().unwrap().contains("--force"), "{error}");
    }
    home.run("key remove spare --yes").done();
}

#[test]
fn a_key_that_was_replaced_and_published_so_is_removed_and_force_is_journalled() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs", "next"]);
    home.run("delegation add repo docs --key docs --paths docs/*").done();
    home.run("sign repo --yes").done();
    home.refused("key remove docs --yes", 3, "KEY_IN_USE");
    home.run("delegation edit repo docs --add-key next --remove-key docs --yes").done();
    home.refused("key remove docs --yes", 3, "KEY_IN_USE");
    home.run("sign repo --yes").done();
    home.run("key remove docs --yes").done();
    home.refused("key remove next --yes", 3, "KEY_IN_USE");
    home.run("key remove next --yes --force").done();
    let removed = home.journalled("key.remove");
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert!(removed[0]["body"].get("force").is_none(), "{removed:?}");
    assert_eq!(removed[1]["body"]["serves"][0], "docs of app", "{removed:?}");
}

/// A published repository whose next root has all its signatures, and was lost with `staged/`.
fn lost_root() -> (Home, Agent) {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["spare", "other"]);
    home.run("root add-key repo root --key spare").done();
    home.run("sign repo --no-publish --yes").done();
    fs::remove_dir_all(home.path("repo/staged")).unwrap();
    (home, agent)
}

#[test]
fn a_complete_root_that_was_lost_with_its_folder_is_brought_back_and_published() {
    let (home, _agent) = lost_root();
    for command in ["repo show repo", "diff repo", "sign repo --yes"] {
        let told = home.run(command).done();
        assert!(told.stderr.contains("tufctl root restage repo"), "{told}");
    }
    let error = home.refused("root add-key repo root --key other --yes", 3, "WATERMARK");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl root restage repo"), "{error}");
    assert!(!home.path("repo/staged/root.json").exists());
    home.run("root restage repo").done();
    let signed = home.run("sign repo --yes").done();
    assert!(!signed.stderr.contains("restage"), "{signed}");
    let repo = home.published("repo");
    assert_eq!(repo.version("root"), 2);
    home.run("root add-key repo root --key other --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("root"), 3);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    let error = home.refused("root restage repo", 3, "REPOSITORY_INVALID");
    assert!(error["message"].as_str().unwrap().contains("root v3 is published"), "{error}");
}

#[test]
fn another_root_under_the_version_of_a_complete_one_is_refused_with_the_way_out() {
    let (home, _agent) = lost_root();
    // By hand, as a folder from a backup would bring it.
    let mut root: Value =
        serde_json::from_slice(&fs::read(home.path("repo/metadata/1.root.json")).unwrap()).unwrap();
    root["signed"]["version"] = 2.into();
    root["signatures"] = serde_json::json!([]);
    fs::create_dir(home.path("repo/staged")).unwrap();
    fs::write(home.path("repo/staged/root.json"), root.to_string()).unwrap();
    let error = home.refused("sign repo --yes", 3, "WATERMARK");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl root restage repo"), "{error}");
    assert!(!error["message"].as_str().unwrap().contains("published"), "it never was: {error}");
    // What is staged may be meant: it goes only after a yes.
    let staged = fs::read(home.path("repo/staged/root.json")).unwrap();
    let error = home.refused("root restage repo", 3, "CONFIRMATION_MISSING");
    assert!(error["message"].as_str().unwrap().contains("a name of its own"), "{error}");
    assert_eq!(fs::read(home.path("repo/staged/root.json")).unwrap(), staged);
    home.run("root restage repo --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("root"), 2);
}

/// A published repository of two root keys, both here; the next root has the signature of one, and was lost.
fn half_lost_root() -> (Home, Agent, String) {
    let (home, agent) = Home::unlocked();
    home.keys(&["root", "second", "online", "spare", "other"]);
    home.run(
        "repo init repo --name app --root root,second --root-threshold 2 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    home.run("sign repo --yes").done();
    home.run("root add-key repo root --key spare").done();
    home.run("sign repo --key root --yes").exits(4);
    let staged = fs::read(home.path("repo/staged/root.json")).unwrap();
    fs::remove_dir_all(home.path("repo/staged")).unwrap();
    (home, agent, String::from_utf8(staged).unwrap())
}

#[test]
fn a_half_signed_root_that_was_lost_is_brought_back_and_signed_again() {
    let (home, _agent, staged) = half_lost_root();
    let told = home.run("repo show repo").done();
    assert!(told.stderr.contains("root v2 was signed here"), "{told}");
    home.run("root restage repo").done();
    let (before, now): (Value, Value) = (
        serde_json::from_str(&staged).unwrap(),
        serde_json::from_slice(&fs::read(home.path("repo/staged/root.json")).unwrap()).unwrap(),
    );
    assert_eq!(before["signed"], now["signed"]);
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("root"), 2);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_half_signed_root_that_was_lost_is_superseded_by_a_person() {
    let (home, _agent, _) = half_lost_root();
    let told = home.run("root add-key repo root --key other --yes").done();
    assert!(told.stderr.contains("tufctl root restage repo"), "{told}");
    let error = home.refused("sign repo --yes", 3, "WATERMARK");
    let digest = error["details"]["signed_sha256"].as_str().unwrap();
    home.refused(&format!("sign repo --yes --supersede {}", "0".repeat(64)), 3, "WATERMARK");
    home.refused(&format!("sign repo --yes --supersede {digest}"), 3, "CONFIRMATION_MISSING");
    let command = format!("sign repo --yes --supersede {digest}");
    let Some((code, screen)) = talk(&home, &command, &[("[y/N] ", "y\n")]) else { return };
    assert_eq!(code, 0, "{screen}");
    assert_eq!(home.published("repo").version("root"), 2);
    let confirmed = home.journalled("sign.confirmed");
    let by_person = confirmed.iter().filter_map(|entry| entry["body"]["by_person"].as_array()).flatten();
    assert!(by_person.clone().any(|said| said.as_str().unwrap().contains(digest)), "{confirmed:?}");
}

#[test]
fn who_has_signed_nothing_under_a_version_has_nothing_to_supersede() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo root").done();
    let error = home.refused(&format!("sign repo --yes --supersede {}", "0".repeat(64)), 3, "WATERMARK");
    assert!(error["remedy"].as_str().unwrap().contains("leave --supersede out"), "{error}");
    home.run("sign repo --yes").done();
}

#[test]
fn a_longer_life_is_confirmed_by_itself_and_journalled_with_both_lengths() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    let error = home.refused("bump repo targets snapshot --expires 400d", 3, "CONFIRMATION_MISSING");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("valid for 400 days") && message.contains("in place of 7"), "{error}");
    assert!(!home.path("repo/staged").exists() && home.journalled("repository.expiry").is_empty());
    // A shorter one is nobody's worry.
    home.run("bump repo targets --expires 30d").done();
    home.run("bump repo targets --expires 30d").done();
    home.refused("bump repo targets --expires 31d", 3, "CONFIRMATION_MISSING");
    home.run("bump repo targets --expires 400d --yes").done();
    let changes = home.journalled("repository.expiry");
    let lengths = |entry: &Value| (entry["body"]["days_before"].clone(), entry["body"]["days"].clone());
    let all: Vec<_> = changes.iter().map(lengths).collect();
    assert_eq!(all, [(90.into(), 30.into()), (30.into(), 400.into())], "{changes:?}");
    home.run("sign repo --yes").done();
    let command = "bump repo targets --expires 500d";
    let Some((code, screen)) = talk(&home, command, &[("[y/N] ", "n\n")]) else { return };
    assert_eq!(code, 3, "{screen}");
    assert!(
        screen.contains("Let targets of app be valid for 500 days from now on, in place of 400?"),
        "{screen}"
    );
    let (code, screen) = talk(&home, command, &[("[y/N] ", "y\n")]).unwrap();
    assert_eq!(code, 0, "{screen}");
    assert_eq!(home.journalled("repository.expiry").len(), 3);
    // A role that is new gets its first length by being made.
    home.run("delegation add repo docs --key online --paths docs/* --expires 300d").done();
    home.run("sign repo --yes").done();
    home.refused("bump repo docs --expires 301d", 3, "CONFIRMATION_MISSING");
}
