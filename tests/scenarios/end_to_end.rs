//! From nothing to a published repository that every stock client accepts.

use tufagent_tests::Home;

use crate::judges::{Judges, Reads};

/// Root and targets keys by the list, everything else by `online`.
fn repository_with_threshold(home: &Home, threshold: usize, keys: &[&str]) {
    home.keys(keys);
    home.key("online", "ed25519");
    let keys = keys.join(",");
    home.run(&format!(
        "repo init repo --name app --root {keys} --root-threshold {threshold} --targets {keys} \
         --targets-threshold {threshold} --snapshot online --timestamp online"
    ))
    .done();
}

#[track_caller]
fn is_accepted_with_threshold(threshold: usize, keys: &[&str]) {
    let (home, _agent) = Home::unlocked();
    repository_with_threshold(&home, threshold, keys);
    home.write("app.txt", "hello\n");
    home.write("docs/guide.txt", "read me\n");
    home.run("target add repo app.txt").done();
    home.run("target add repo docs --path docs/").done();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    let of_root = signed["signed"].as_array().unwrap().iter().filter(|it| it["role"] == "root").count();
    assert!(of_root >= threshold, "{signed}");

    let repo = home.published("repo");
    let root = repo.metadata("1.root.json");
    assert_eq!(root["signed"]["roles"]["root"]["threshold"], threshold);
    let verified = home.run("verify repo --root repo/metadata/1.root.json --json").done().json();
    assert_eq!(verified["valid"], true);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt", "docs/guide.txt"]);
}

#[test]
fn a_repository_with_one_root_key_is_accepted_by_all_clients() {
    is_accepted_with_threshold(1, &["a"]);
}

#[test]
fn a_repository_with_two_of_three_root_keys_is_accepted_by_all_clients() {
    is_accepted_with_threshold(2, &["a", "b", "c"]);
}

#[test]
fn a_repository_with_three_of_three_root_keys_is_accepted_by_all_clients() {
    is_accepted_with_threshold(3, &["a", "b", "c"]);
}

#[test]
fn clients_that_remember_the_version_before_accept_the_next_ones() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);

    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 2);
    remembering.accept(&repo, &["app.txt", "more.txt"]);

    home.run("target remove repo app.txt").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 3);
    remembering.accept(&repo, &["more.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["more.txt"]);
}

#[test]
fn a_bump_of_the_timestamp_alone_is_accepted_by_clients_that_remember() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("timestamp"), repo.version("snapshot")), (2, 1));
    remembering.accept(&repo, &["app.txt"]);
}

#[test]
fn signing_when_nothing_is_staged_is_done_and_publishes_nothing() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], false);
    assert_eq!(signed["signed"], serde_json::json!([]));
}

#[test]
fn the_published_layout_is_that_of_consistent_snapshots() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    assert_eq!(
        repo.names("metadata"),
        ["1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"]
    );
    // sha256 of "hello\n"
    assert_eq!(
        repo.names("targets"),
        ["5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.app.txt"]
    );
    assert!(repo.names("staged").iter().all(|name| name == "repository.json"), "{:?}", repo.names("staged"));
}

#[test]
fn the_difference_names_what_will_be_signed_and_its_digest_is_the_one_that_is_signed() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    let text = home.run("diff repo").done().text();
    assert!(text.contains("more.txt"), "{text}");
    let difference = home.run("diff repo --json").done().json();
    let role = difference["roles"].as_array().unwrap().iter().find(|it| it["role"] == "targets").unwrap();
    let digest = role["sha256"].as_str().unwrap();
    home.run("sign repo --yes").done();
    let journal = home.run("audit list --json").done().stdout;
    assert!(journal.contains(digest), "the journal does not name what was shown");
}

#[test]
fn the_tree_shows_roles_thresholds_and_who_is_missing() {
    let (home, _agent) = Home::unlocked();
    repository_with_threshold(&home, 2, &["a", "b"]);
    let shown = home.run("repo show repo --json").done().json();
    assert_eq!(shown["name"], "app");
    let root = shown["roles"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap().clone();
    assert_eq!((&root["version"], &root["threshold"]), (&1.into(), &2.into()), "{root}");
    assert_eq!(root["keyids"].as_array().unwrap().len(), 2);
    assert_eq!(root["missing"].as_array().unwrap().len(), 2, "{root}");
    assert_eq!(root["staged"], true);
    home.run("sign repo --yes").done();
    let text = home.run("repo show repo").done().text();
    for word in ["root", "targets", "snapshot", "timestamp", "a", "b", "online", "2 of 2"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn a_repository_with_a_damaged_signature_is_refused_by_all_clients() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    repo.damage("1.targets.json", |text| text.replace("5891b5b5", "5891b5b6"));
    Judges::new(&home, "fresh", Reads::All).refuse(&repo, &["app.txt"]);
}
