//! Root rotations, followed by clients that remember and clients that do not.

use tufagent_tests::Home;

use crate::judges::{Judges, Reads};

#[test]
fn five_root_rotations_are_followed_by_all_clients_fresh_and_remembering() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["root-0", "other", "online"]);
    home.run(
        "repo init repo --name app --root root-0,other --root-threshold 2 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    let each_step = Judges::new(&home, "each-step", Reads::All);
    each_step.accept(&repo, &["app.txt"]);
    let from_the_first = Judges::new(&home, "from-the-first", Reads::All);
    from_the_first.accept(&repo, &["app.txt"]);
    for round in 1..=5 {
        let old = round - 1;
        home.keys(&[&format!("root-{round}")]);
        home.run(&format!("root replace-key repo root --old root-{old} --new root-{round} --yes")).done();
        home.run("sign repo --yes").done();
        assert_eq!(repo.version("root"), round + 1);
        each_step.accept(&repo, &["app.txt"]);
    }
    from_the_first.accept(&repo, &["app.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run("verify repo --root repo/metadata/4.root.json").done();
}

#[test]
fn a_new_timestamp_and_snapshot_key_is_followed_by_clients_that_remember() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    home.keys(&["online-2"]);
    for role in ["timestamp", "snapshot"] {
        home.run(&format!("root replace-key repo {role} --old online --new online-2 --yes")).done();
    }
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("root"), 2, "both changes are one root");
    remembering.accept(&repo, &["app.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}

#[test]
fn a_higher_threshold_and_more_keys_are_followed_by_all_clients() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    home.keys(&["second", "third"]);
    home.run("root add-key repo root --key second --yes").done();
    home.run("root add-key repo root --key third --yes").done();
    home.run("root set-threshold repo root 3 --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.metadata("2.root.json")["signed"]["roles"]["root"]["threshold"], 3);
    remembering.accept(&repo, &["app.txt"]);
    home.run("root set-threshold repo root 2 --yes").done();
    home.run("root remove-key repo root --key third --yes").done();
    home.run("sign repo --yes").done();
    remembering.accept(&repo, &["app.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}

#[test]
fn a_key_that_no_role_uses_any_more_is_dropped_from_the_root() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["root-2"]);
    home.run("root replace-key repo root --old root --new root-2 --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.metadata("2.root.json")["signed"]["keys"].as_object().unwrap().len(), 2);
}

#[test]
fn a_root_with_other_keys_tells_what_the_root_before_it_asks_for_and_what_it_asks_for_itself() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["old", "one", "two"]);
    home.run("repo init repo --name app --root old --targets old --snapshot old --timestamp old").done();
    home.run("sign repo --yes").done();
    home.run("root replace-key repo root --old old --new one").done();
    home.run("root add-key repo root --key two").done();
    home.run("root set-threshold repo root 2").done();
    let both = "root v2  1 of 1 key of root v1 and 2 of 2 keys of its own needed";
    let half = home.run("sign repo --yes --key old,one").exits(4).text();
    assert!(half.contains(both) && half.contains("root needs 1 more signature (two)"), "{half}");
    let whole = home.run("sign repo --yes --no-publish").done().stdout;
    assert!(whole.contains(both) && whole.contains("+ old "), "{whole}");
    let shown = home.run("repo show repo").done().stdout;
    assert!(
        shown.contains("root v2 · 2 of 2 keys · ") && shown.contains("by root v1: 1 of 1 keys"),
        "{shown}"
    );
    let root = home.run("repo show repo --json").done().json()["roles"][0].clone();
    assert_eq!((&root["role"], &root["threshold"]), (&"root".into(), &2.into()), "{root}");
    let out = home.run("sign repo --yes").done().stdout;
    assert!(out.contains(both), "{out}");
}
