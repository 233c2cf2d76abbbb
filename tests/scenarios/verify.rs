//! `tufctl verify`: what is damaged, old, short-signed or missing is refused by role, file and section.

use std::fs;

use serde_json::Value;
use tufagent_tests::{Home, Published};

const VERIFY: &str = "verify repo --root repo/metadata/1.root.json";

/// `verify` exits 6 and names what a reader needs.
#[track_caller]
fn fails(home: &Home, arguments: &str, role: &str, file: &str, spec: &str) -> Value {
    let error = home.refused(arguments, 6, "VERIFICATION");
    let details = &error["details"];
    assert_eq!(details["role"], role, "{error}");
    assert!(details["file"].as_str().is_some_and(|it| it.contains(file)), "{error}");
    assert!(details["spec"].as_str().is_some_and(|it| it.starts_with(spec)), "{error}");
    error
}

fn flip_signature(repo: &Published, name: &str) {
    repo.damage(name, |text| {
        let at = text.find("\"sig\"").unwrap() + 20;
        let mut bytes = text.into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    });
}

#[test]
fn a_good_repository_is_valid_without_agent_and_configuration() {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    drop(agent);
    let verified = home.run(&format!("{VERIFY} --json")).done().json();
    assert_eq!(verified["valid"], true);
    assert_eq!((&verified["targets"], &verified["bytes"]), (&1.into(), &6.into()));
    let roles: Vec<_> = verified["roles"].as_array().unwrap().iter().map(|it| it["role"].clone()).collect();
    for role in ["root", "timestamp", "snapshot", "targets"] {
        assert!(roles.contains(&role.into()), "{verified}");
    }
}

#[test]
fn a_signature_that_does_not_verify_names_role_file_and_section() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    for (name, role, spec) in [
        ("timestamp.json", "timestamp", "5.4"),
        ("1.snapshot.json", "snapshot", "5.5"),
        ("1.targets.json", "targets", "5.6"),
    ] {
        let damaged = home.path(format!("damaged-{role}"));
        let copy = repo.copy_to(&damaged);
        flip_signature(&copy, name);
        let arguments = format!("verify damaged-{role} --root repo/metadata/1.root.json");
        fails(&home, &arguments, role, name, spec);
    }
}

#[test]
fn edited_metadata_is_refused() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    repo.damage("1.targets.json", |text| text.replace("5891b5b5", "5891b5b6"));
    fails(&home, VERIFY, "targets", "1.targets.json", "5.6");
}

#[test]
fn expired_metadata_is_refused_by_the_time_that_is_asked_for() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    let error = fails(&home, &format!("{VERIFY} --at 2099-01-01T00:00:00Z"), "root", "root.json", "5.3.10");
    assert!(error["message"].as_str().unwrap().contains("expire"), "{error}");
}

#[test]
fn a_missing_and_a_changed_target_file_are_refused() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let name = repo.names("targets").remove(0);
    let file = repo.dir().join("targets").join(&name);
    fs::write(&file, "HELLO\n").unwrap();
    fails(&home, VERIFY, "targets", "app.txt", "5.7");
    fs::remove_file(&file).unwrap();
    fails(&home, VERIFY, "targets", "app.txt", "5.7");
    home.run(&format!("{VERIFY} --metadata-only")).done();
}

#[test]
fn short_signed_metadata_is_refused() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["a", "b", "online"]);
    home.run(
        "repo init repo --name app --root a,b --root-threshold 2 --targets a,b --targets-threshold 2 \
         --snapshot online --timestamp online",
    )
    .done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    let mut targets = repo.metadata("1.targets.json");
    targets["signatures"].as_array_mut().unwrap().truncate(1);
    repo.damage("1.targets.json", |_| targets.to_string());
    let error = home.refused(VERIFY, 6, "VERIFICATION");
    assert_eq!(error["details"]["role"], "targets", "{error}");
}

#[test]
fn a_client_with_memory_refuses_to_go_back() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let old = repo.copy_to(&home.path("old"));
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    home.run(&format!("{VERIFY} --state memory")).done();
    home.run(&format!("{VERIFY} --state memory")).done();
    let arguments = format!("verify {} --root repo/metadata/1.root.json --state memory", old.dir().display());
    fails(&home, &arguments, "timestamp", "timestamp.json", "5.4.3");
    home.write("not-a-memory/file", "something else");
    home.run(&format!("{VERIFY} --state not-a-memory --json")).exits(2);
}

#[test]
fn a_missing_metadata_file_is_refused() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    fs::remove_file(repo.dir().join("metadata/1.snapshot.json")).unwrap();
    fails(&home, VERIFY, "snapshot", "1.snapshot.json", "5.5");
}

#[test]
fn a_duplicate_member_is_refused_although_stock_clients_take_it() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    repo.damage("timestamp.json", |text| text.replacen("\"version\"", "\"version\": 1, \"version\"", 1));
    let error = home.refused(VERIFY, 6, "VERIFICATION");
    assert!(error["message"].as_str().unwrap().contains("duplicate"), "{error}");
}

#[test]
fn the_published_root_that_a_client_begins_with_must_be_whole_too() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    fs::copy(repo.dir().join("metadata/1.root.json"), home.path("trusted.json")).unwrap();
    let text = fs::read_to_string(repo.dir().join("metadata/1.root.json")).unwrap();
    let mut root: serde_json::Value = serde_json::from_str(&text).unwrap();
    root["signatures"] = serde_json::json!([]);
    fs::write(repo.dir().join("metadata/1.root.json"), root.to_string()).unwrap();
    let error = home.refused("verify repo --root trusted.json", 6, "VERIFICATION");
    assert_eq!(error["details"]["file"], "1.root.json", "{error}");
}

#[test]
fn a_damaged_copy_for_other_clients_is_found() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("notes", "notes\n");
    home.run("target add repo notes --path v2/").done();
    home.run("sign repo --yes").done();
    let verify = "verify repo --root repo/metadata/1.root.json";
    home.run(verify).done();
    let folders = fs::read_dir(repo.dir().join("targets")).unwrap();
    let tough =
        folders.map(|it| it.unwrap().path()).find(|it| it.to_string_lossy().ends_with(".v2")).unwrap();
    fs::remove_file(tough.join("notes")).unwrap();
    fs::write(tough.join("notes"), "other\n").unwrap();
    home.refused(verify, 6, "VERIFICATION");
}

#[test]
fn expired_roles_are_to_be_renewed_and_a_folder_that_is_not_there_is_wrong_usage() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    for (at, role) in [("2099-01-01T00:00:00Z", "root"), ("2000-01-01T00:00:00Z", "")] {
        let command = format!("verify repo --root repo/metadata/1.root.json --at {at}");
        if role.is_empty() {
            home.run(&command).done();
        } else {
            let error = home.refused(&command, 6, "VERIFICATION");
            assert_eq!(error["details"]["role"], role);
            assert!(error["remedy"].as_str().unwrap().contains("renew"), "{error}");
        }
    }
    home.refused("verify repo --root repo/metadata/1.root.json --at yesterday", 2, "USAGE");
    home.refused("verify nowhere --root repo/metadata/1.root.json", 2, "USAGE");
    home.refused("verify repo --root nowhere.json", 1, "IO");
    home.refused("verify repo --root repo/metadata/1.root.json --state repo/metadata", 2, "USAGE");
}

#[test]
fn roots_older_than_the_trusted_one_and_than_the_specification_are_told_of_and_the_repository_is_adopted() {
    let (home, agent) = Home::unlocked();
    let repo = home.published_repository();
    home.key("later", "ed25519");
    home.run("root add-key repo root --key later").done();
    home.run("sign repo --yes").done();
    drop(agent);
    repo.damage("1.root.json", |text| text.replacen("Z\"", ".990080000-06:00\"", 1));
    fails(&home, VERIFY, "root", "1.root.json", "5.2");
    let verified = home.run("verify repo --root repo/metadata/2.root.json").done();
    assert!(verified.stderr.contains("1.root.json is not checked"), "{}", verified.stderr);

    let (other, _agent) = Home::unlocked();
    repo.copy_to(&other.path("repo"));
    other.run("repo adopt repo --name app --root repo/metadata/2.root.json").done();
    let shown = other.run("repo show repo --json").done().json();
    assert_eq!(shown["roles"][0]["version"], 2, "{shown}");
}
