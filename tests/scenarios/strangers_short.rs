//! Repositories in which a delegated role does not reach its threshold: clients use the rest, and so can we.

use serde_json::Value;
use tufagent_tests::Home;

use crate::judges::{Judges, Reads};
use crate::strangers_kinds::made;

const KINDS: [&str; 4] = [
    "a-role-whose-last-key-was-revoked",
    "a-role-whose-threshold-is-above-its-keys",
    "a-role-that-was-not-signed-by-its-new-key",
    "a-role-that-is-short-with-roles-below-it",
];

/// What is here of a kind, adopted as `app` with all its keys; a warning names role, parent and why.
fn adopted(home: &Home, kind: &str, judges: &Judges) -> Option<()> {
    let made = made(home, kind)?.pop()?;
    judges.accept(&home.published(kind), &["app.txt", "other/b.txt"]);
    for key in &made.keys {
        home.run(&format!("key import {key} {kind}.keys/{key}.pem --token file")).done();
    }
    let said = home
        .run(&format!("repo adopt {kind} --name app --root {kind}/metadata/1.root.json --yes --json"))
        .done();
    let alarms = said.json()["alarms"].clone();
    let warning = alarms[0].as_str().unwrap();
    assert!(
        warning.starts_with("team version 2 has 0 of the ")
            || warning.starts_with("team version 2 has 1 of the 3"),
        "{said}"
    );
    assert!(warning.contains("targets version 3"), "{said}");
    assert_eq!(alarms.as_array().unwrap().len(), 1, "{said}");
    let roles: Vec<Value> =
        said.json()["roles"].as_array().unwrap().iter().map(|it| it["role"].clone()).collect();
    assert!(roles.contains(&"other".into()) && !roles.contains(&"team".into()), "{said}");
    Some(())
}

/// The entry of `team` in the newest snapshot.
fn entry(home: &Home, kind: &str) -> Value {
    let repo = home.published(kind);
    let snapshot = repo.metadata(&format!("{}.snapshot.json", repo.version("snapshot")));
    snapshot["signed"]["meta"]["team.json"].clone()
}

#[test]
fn the_rest_is_changed_and_signed_and_the_short_role_stays_listed_as_it_was() {
    let (home, _agent) = Home::unlocked();
    for kind in KINDS {
        let (home, _agent) = Home::unlocked();
        let judges = Judges::new(&home, "before", Reads::NotTough);
        if adopted(&home, kind, &judges).is_none() {
            return;
        }
        let before = entry(&home, kind);
        home.write("new.txt", "new");
        home.run(&format!("target add {kind} new.txt --path other/ --role other")).done();
        home.run(&format!("target add {kind} new.txt")).done();
        home.keys(&["spare"]);
        home.run(&format!("delegation edit {kind} other --add-key spare")).done();
        home.run(&format!("delegation add {kind} fresh --key spare --threshold 1 --paths fresh/*")).done();
        let signed = home.run(&format!("sign {kind} --yes --json")).done().json();
        assert_eq!(signed["published"], true, "{kind}: {signed}");
        assert_eq!(before, entry(&home, kind), "{kind}");
        judges.accept(&home.published(kind), &["app.txt", "new.txt", "other/b.txt", "other/new.txt"]);
        let refused =
            home.refused(&format!("verify {kind} --root {kind}/metadata/1.root.json"), 6, "VERIFICATION");
        assert_eq!(
            (&refused["details"]["role"], &refused["details"]["file"], &refused["details"]["spec"]),
            (&"team".into(), &"2.team.json".into(), &"5.6.3".into()),
            "{kind}"
        );
    }
    drop(home);
}

#[test]
fn the_short_role_is_given_keys_and_signed_again_by_a_persons_word() {
    let (home, _agent) = Home::unlocked();
    for kind in KINDS {
        let (home, _agent) = Home::unlocked();
        let judges = Judges::new(&home, "before", Reads::NotTough);
        if adopted(&home, kind, &judges).is_none() {
            return;
        }
        home.keys(&["repaired"]);
        // Nobody vouches for what it lists without being asked.
        home.refused(&format!("bump {kind} team"), 3, "CONFIRMATION_MISSING");
        home.run(&format!("delegation edit {kind} team --add-key repaired --threshold 1 --yes")).done();
        // Where the key that has signed is enough now, nothing but a person's wish renews it.
        home.run(&format!("bump {kind} team --yes")).done();
        let shown = home.run(&format!("diff {kind} --json")).done().json();
        let team =
            shown["roles"].as_array().unwrap().iter().find(|role| role["role"] == "team").unwrap().clone();
        assert_eq!(team["from_version"], Value::Null, "all of it is new to whoever signs: {team}");
        let signed = home.run(&format!("sign {kind} --yes --json")).done().json();
        assert_eq!(signed["published"], true, "{kind}: {signed}");
        let mut targets = vec!["app.txt", "other/b.txt", "team/a.txt"];
        if kind.ends_with("below-it") {
            targets.push("team/below/c.txt");
        }
        judges.accept(&home.published(kind), &targets);
        Judges::new(&home, "fresh", Reads::All).accept(&home.published(kind), &targets);
        home.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done();
        // What is below it is taken over now.
        if kind.ends_with("below-it") {
            home.run(&format!("bump {kind} below")).done();
            home.run(&format!("sign {kind} --yes")).done();
            home.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done();
        }
    }
    drop(home);
}

#[test]
fn the_short_role_is_taken_out() {
    let (home, _agent) = Home::unlocked();
    for kind in KINDS {
        let (home, _agent) = Home::unlocked();
        let judges = Judges::new(&home, "before", Reads::NotTough);
        if adopted(&home, kind, &judges).is_none() {
            return;
        }
        home.run(&format!("delegation remove {kind} team")).done();
        home.run(&format!("sign {kind} --yes")).done();
        judges.accept(&home.published(kind), &["app.txt", "other/b.txt"]);
        home.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done();
        Judges::new(&home, "fresh", Reads::All).accept(&home.published(kind), &["app.txt", "other/b.txt"]);
    }
    drop(home);
}
