//! A role that several parents delegate to, each with keys of its own: a client asks for the keys of the parent that led
//! it there (specification 5.6.7), so a signature is of use if it counts for any of them, and no way may be lost that was
//! open.

use serde_json::Value;
use tufagent_tests::Home;

use crate::judges::{Judges, Reads};
use crate::strangers_kinds::{Kind, adopted_changed_and_accepted, made};

#[test]
fn other_roles_of_such_repositories_are_changed_and_signed() {
    let (home, _agent) = Home::unlocked();
    let Some(kinds) = made(&home, "parents") else { return };
    // One that is not signed for all of its parents is what `verify` refuses; see below.
    assert_eq!(kinds.len(), 4);
    drop(home);
    for kind in ["other-keys-by-each-parent", "three-parents-with-thresholds"] {
        adopted_changed_and_accepted(kind);
    }
}

/// A repository of this kind, adopted as `app` with these keys of its roles; the others are somebody else's.
fn adopted(home: &Home, kind: &str, keys: &[&str]) -> Option<Kind> {
    let mut kinds = made(home, kind)?;
    for key in keys {
        home.run(&format!("key import {key} {kind}.keys/{key}.pem --token file")).done();
    }
    home.run(&format!("repo adopt {kind} --name app --root {kind}/metadata/1.root.json --yes")).done();
    kinds.pop()
}

/// The row of a role in `repo show`.
fn row(home: &Home, dir: &str, role: &str) -> Value {
    let shown = home.run(&format!("repo show {dir} --json")).done().json();
    let rows = shown["roles"].as_array().unwrap().clone();
    rows.into_iter().find(|row| row["role"] == role).unwrap_or_else(|| panic!("no {role}: {shown}"))
}

#[test]
fn a_role_with_other_keys_by_each_parent_is_signed_with_all_of_them() {
    let (home, _agent) = Home::unlocked();
    for kind in ["other-keys-by-each-parent", "three-parents-with-thresholds"] {
        let (home, _agent) = Home::unlocked();
        let Some(Kind { keys, .. }) = made(&home, kind).and_then(|mut kinds| kinds.pop()) else { return };
        let judges = Judges::new(&home, "before", Reads::All);
        judges.accept(&home.published(kind), &["d/0.txt"]);
        for key in &keys {
            home.run(&format!("key import {key} {kind}.keys/{key}.pem --token file")).done();
        }
        home.run(&format!("repo adopt {kind} --name app --root {kind}/metadata/1.root.json --yes")).done();
        home.write("new.txt", "new");
        home.run(&format!("target add {kind} new.txt --path d/ --role deep")).done();
        let signed = home.run(&format!("sign {kind} --yes --json")).done().json();
        assert_eq!(signed["published"], true, "{signed}");
        judges.accept(&home.published(kind), &["d/0.txt", "d/new.txt"]);
        home.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done();
    }
    drop(home);
}

#[test]
fn it_waits_for_the_colleague_of_the_other_parent_and_says_for_whom() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    let kind = "other-keys-by-each-parent-found-by-each";
    if adopted(&ann, kind, &["root", "online", "six"]).is_none() {
        return;
    }
    let by_left = Judges::new(&ann, "left", Reads::NotTough);
    let by_right = Judges::new(&ann, "right", Reads::NotTough);
    by_left.accept(&ann.published(kind), &["l/1.txt"]);
    by_right.accept(&ann.published(kind), &["r/2.txt"]);
    ann.write("new.txt", "new");
    ann.run(&format!("target add {kind} new.txt --path l/ --role deep")).done();
    let text = ann.run(&format!("sign {kind} --yes")).exits(4).stdout;
    assert!(text.contains("deep needs 1 more signature for right"), "{text}");
    let again = ann.run(&format!("sign {kind} --yes --json")).exits(4).json();
    let missing = &again["missing"][0];
    assert_eq!((&missing["role"], &missing["parents"][0]["parent"]), (&"deep".into(), &"right".into()));
    assert_eq!(missing["parents"].as_array().unwrap().len(), 1, "left has all it needs: {missing}");
    let row = row(&ann, kind, "deep");
    let complete = |at: usize| row["parents"][at]["complete"].as_bool().unwrap();
    assert_eq!((complete(0), complete(1), &row["complete"]), (true, false, &false.into()), "{row}");
    let shown = ann.run(&format!("repo show {kind}")).done().stdout;
    assert!(shown.contains("by left") && shown.contains("by right"), "{shown}");

    // Bob has the key that right asks for, and nothing else.
    bob.write("seven.pem", std::fs::read(ann.path(format!("{kind}.keys/seven.pem"))).unwrap());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(bob.path("seven.pem"), mode).unwrap();
    bob.run("key import seven seven.pem --token file").done();
    ann.published(kind).copy_to(&bob.path(kind));
    bob.run(&format!("repo adopt {kind} --name app --root {kind}/metadata/1.root.json --yes")).done();
    let theirs = bob.run(&format!("sign {kind} --yes --json"));
    assert_eq!(theirs.json()["signed"][0]["role"], "deep", "{theirs}");
    bob.published(kind).copy_to(&ann.path("from-bob"));
    let done = ann.run(&format!("sign {kind} --from from-bob --yes --json")).done().json();
    assert_eq!(done["published"], true, "{done}");
    by_left.accept(&ann.published(kind), &["l/1.txt", "l/new.txt"]);
    by_right.accept(&ann.published(kind), &["r/2.txt"]);
    ann.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done();
}

#[test]
fn a_way_that_was_closed_is_not_waited_for_and_can_be_opened() {
    let (home, _agent) = Home::unlocked();
    let kind = "signed-for-one-parent-alone";
    if made(&home, kind).is_none() {
        return;
    }
    for key in ["root", "online", "six", "right"] {
        home.run(&format!("key import {key} {kind}.keys/{key}.pem --token file")).done();
    }
    let by_left = Judges::new(&home, "left", Reads::NotTough);
    let by_right = Judges::new(&home, "right", Reads::NotTough);
    by_left.accept(&home.published(kind), &["l/1.txt"]);
    by_right.refuse(&home.published(kind), &["r/2.txt"]);
    let adopted =
        home.run(&format!("repo adopt {kind} --name app --root {kind}/metadata/1.root.json --yes")).done();
    assert!(adopted.stderr.contains("deep") && adopted.stderr.contains("right version 2"), "{adopted}");
    let refused =
        home.refused(&format!("verify {kind} --root {kind}/metadata/1.root.json"), 6, "VERIFICATION");
    assert_eq!((&refused["details"]["role"], &refused["details"]["spec"]), (&"deep".into(), &"5.6.3".into()));
    home.write("new.txt", "new");
    home.run(&format!("target add {kind} new.txt --path l/ --role deep")).done();
    let signed = home.run(&format!("sign {kind} --yes --json")).done().json();
    assert_eq!(signed["published"], true, "{signed}");
    by_left.accept(&home.published(kind), &["l/1.txt", "l/new.txt"]);
    // Right gives the role a key that is here: then its clients find it, too.
    let seven = row(&home, kind, "deep")["parents"][1]["keyids"][0].as_str().unwrap().to_owned();
    home.run(&format!("delegation edit {kind} deep --parent right --add-key six --remove-key {seven}"))
        .done();
    home.run(&format!("sign {kind} --yes")).done();
    by_left.accept(&home.published(kind), &["l/1.txt", "l/new.txt"]);
    Judges::new(&home, "again", Reads::NotTough).accept(&home.published(kind), &["r/2.txt"]);
    home.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done();
}

#[test]
fn a_new_key_of_one_parent_is_waited_for() {
    let (home, _agent) = Home::unlocked();
    let kind = "other-keys-by-each-parent-found-by-each";
    if adopted(&home, kind, &["root", "online", "six", "right"]).is_none() {
        return;
    }
    // The file that is published is signed by a key that right takes away, and the new one is a colleague's.
    home.keys(&["spare"]);
    let spare = home.run("key export spare").done().stdout;
    home.write("spare.json", &spare);
    home.run("key remove spare --yes").done();
    let seven = row(&home, kind, "deep")["parents"][1]["keyids"][0].as_str().unwrap().to_owned();
    home.run(&format!(
        "delegation edit {kind} deep --parent right --add-key ./spare.json --remove-key {seven}"
    ))
    .done();
    let missing = home.run(&format!("sign {kind} --yes --json")).exits(4).json()["missing"].clone();
    assert_eq!((&missing[0]["role"], &missing[0]["parents"][0]["parent"]), (&"deep".into(), &"right".into()));
}
