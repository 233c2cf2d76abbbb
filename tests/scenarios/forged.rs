//! `tufctl verify` against repositories that are signed as they should be and wrong all the same.

use std::fs;

use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tufagent_tests::Home;

use crate::forge::{Forge, key, keyid};

/// A folder that a change made, and what `verify --json` says of it.
fn verify(home: &Home, forge: &Forge, more: &str) -> Value {
    let _ = fs::remove_dir_all(home.path("forged"));
    forge.write(&home.path("forged"));
    home.run(&format!("verify forged --root forged/metadata/1.root.json {more} --json")).json()
}

#[track_caller]
fn refused(found: &Value, what: &str, role: &str, spec: &str, words: &str) {
    let error = &found["error"];
    assert_eq!(error["reason"], "VERIFICATION", "{what}: {found}");
    assert_eq!(error["details"]["role"], role, "{what}: {found}");
    assert!(error["details"]["spec"].as_str().unwrap().starts_with(spec), "{what}: {found}");
    assert!(error["message"].as_str().unwrap().contains(words), "{what}: {found}");
    assert!(!error["remedy"].as_str().unwrap().is_empty(), "{what}: {found}");
}

#[test]
fn what_some_stock_client_accepts_is_refused_all_the_same() {
    let home = Home::new();
    assert_eq!(verify(&home, &Forge::new(), "")["valid"], true);
    type Change = fn(&mut Forge);
    let cases: [(&str, Change, &str, &str, &str); 15] = [
        ("specification 2", |f| f.targets["spec_version"] = json!("2.0.0"), "targets", "5.6", "2.0.0"),
        (
            "float version",
            |f| {
                f.after.insert("timestamp", |t| t.replace("31\",\"version\":1", "31\",\"version\":1.0"));
            },
            "timestamp",
            "5.4",
            "fraction",
        ),
        (
            "duplicate member",
            |f| {
                f.after.insert("targets", |t| t.replacen("\"version\":1", "\"version\":1,\"version\":1", 1));
            },
            "targets",
            "5.6",
            "duplicate",
        ),
        (
            "expiry with an offset",
            |f| f.snapshot["expires"] = json!("2040-01-01T00:00:00+00:00"),
            "snapshot",
            "5.5",
            "expires",
        ),
        (
            "keyid that is no hash",
            |f| {
                let wrong = "0".repeat(64);
                f.targets["delegations"]["keys"] = json!({&wrong: key(2)});
                f.targets["delegations"]["roles"][0]["keyids"] = json!([wrong]);
                f.signers.insert("team", vec![(wrong, 2)]);
            },
            "targets",
            "4.2.1",
            "not the hash",
        ),
        (
            "a keyid twice in a role",
            |f| {
                let id = keyid(&key(2));
                f.targets["delegations"]["roles"][0]["keyids"] = json!([id, id]);
            },
            "targets",
            "5.6",
            "keyids",
        ),
        (
            "a keyid twice among the signatures",
            |f| {
                let twice = [f.signers["targets"].clone(), f.signers["targets"].clone()].concat();
                f.signers.insert("targets", twice);
            },
            "targets",
            "5.6",
            "keyid",
        ),
        ("one key under two keyids", one_key_two_keyids, "targets", "5.6.3", "counts already"),
        (
            "a private key beside the public one",
            |f| {
                let mut object = key(2);
                object["keyval"]["private"] = json!("ab".repeat(32));
                with_team_key(f, object);
            },
            "targets",
            "4.2",
            "private key",
        ),
        (
            "a private key in a member of its own",
            |f| {
                let mut object = key(2);
                object["x-private-pem"] =
                    json!(["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]);
                with_team_key(f, object);
            },
            "targets",
            "4.2",
            "private key",
        ),
        (
            "a delegated role that the snapshot does not list",
            |f| {
                f.snapshot["meta"].as_object_mut().unwrap().remove("team.json");
            },
            "team",
            "5.6.1",
            "does not list",
        ),
        (
            "a delegated role whose file is missing",
            |f| f.snapshot["meta"]["team.json"]["version"] = json!(7),
            "team",
            "5.6.1",
            "missing",
        ),
        (
            "four thousand million bins",
            |f| {
                let keys = f.targets["delegations"]["keys"].clone();
                let bins = json!({"keyids": [keyid(&key(2))], "threshold": 1, "bit_length": 32, "name_prefix": "bin"});
                f.targets["delegations"] = json!({"keys": keys, "succinct_roles": bins});
            },
            "bin-00000000",
            "5.6.1",
            "does not list",
        ),
        (
            "a target that leads out",
            |f| {
                f.targets["targets"] =
                    json!({"../../x": {"length": 0, "hashes": {"sha256": Sha256Digest::of(b"").to_string()}}})
            },
            "targets",
            "4.5",
            "leave the folder",
        ),
        (
            "lengths beyond all sums",
            |f| {
                let file = json!({"length": 9_007_199_254_740_991_u64, "hashes": {"sha256": Sha256Digest::of(b"").to_string()}});
                let many = (0..2100).map(|n| (format!("f{n}"), file.clone()));
                f.targets["targets"] = Value::Object(many.collect());
            },
            "targets",
            "5.7.2",
            "missing",
        ),
    ];
    for (what, change, role, spec, words) in cases {
        let mut forge = Forge::new();
        change(&mut forge);
        refused(&verify(&home, &forge, ""), what, role, spec, words);
    }
}

fn with_team_key(forge: &mut Forge, object: Value) {
    let id = keyid(&object);
    forge.targets["delegations"]["keys"] = json!({&id: object});
    forge.targets["delegations"]["roles"][0]["keyids"] = json!([id]);
    forge.signers.insert("team", vec![(id, 2)]);
}

/// The targets role wants two signatures and gets two of one key.
fn one_key_two_keyids(forge: &mut Forge) {
    let (one, mut twin) = (key(1), key(1));
    twin["x-note"] = json!("the same key");
    forge.root["keys"] = json!({keyid(&one): one, keyid(&twin): twin});
    forge.root["roles"]["targets"] = json!({"keyids": [keyid(&one), keyid(&twin)], "threshold": 2});
    forge.signers.insert("targets", vec![(keyid(&one), 1), (keyid(&twin), 1)]);
}

#[test]
fn one_key_under_two_keyids_is_told_of_even_where_the_threshold_is_met() {
    let home = Home::new();
    let mut forge = Forge::new();
    one_key_two_keyids(&mut forge);
    forge.root["roles"]["targets"]["threshold"] = json!(1);
    forge.write(&home.path("forged"));
    let outcome = home.run("verify forged --root forged/metadata/1.root.json").done();
    assert!(outcome.stderr.contains("of targets are one key"), "{outcome}");
}

#[test]
fn files_that_are_not_what_another_one_lists_are_refused() {
    let home = Home::new();
    for (member, value) in [
        ("length", json!(3)),
        ("hashes", json!({"sha256": "0".repeat(64)})),
        ("hashes", json!({"md5": "00"})),
    ] {
        let mut forge = Forge::new();
        forge.timestamp["meta"]["snapshot.json"][member] = value.clone();
        refused(&verify(&home, &forge, ""), member, "snapshot", "5.5.2", "");
        let mut forge = Forge::new();
        forge.snapshot["meta"]["team.json"][member] = value;
        refused(&verify(&home, &forge, ""), member, "team", "5.6.2", "");
    }
}

#[test]
fn nothing_goes_back_behind_what_was_trusted_before() {
    let home = Home::new();
    let mut good = Forge::new();
    good.republish(3);
    good.snapshot["meta"]["gone.json"] = json!({"version": 1});
    let fresh = |change: &dyn Fn(&mut Forge)| {
        let _ = fs::remove_dir_all(home.path("memory"));
        assert_eq!(verify(&home, &good, "--state memory")["valid"], true);
        let mut bad = Forge::new();
        bad.republish(4);
        bad.snapshot["meta"]["gone.json"] = json!({"version": 1});
        assert_eq!(verify(&home, &bad, "")["valid"], true, "the change alone must be the reason");
        change(&mut bad);
        let found = verify(&home, &bad, "--state memory");
        assert_eq!(verify(&home, &good, "--state memory")["valid"], true, "a bad run was remembered");
        found
    };
    refused(&fresh(&|f| f.timestamp["version"] = json!(2)), "timestamp", "timestamp", "5.4.3.1", "rollback");
    let snapshot = fresh(&|f| {
        f.snapshot["version"] = json!(2);
        f.timestamp["meta"]["snapshot.json"]["version"] = json!(2);
    });
    refused(&snapshot, "snapshot", "timestamp", "5.4.3.2", "rollback");
    let targets = fresh(&|f| {
        f.targets["version"] = json!(2);
        f.snapshot["meta"]["targets.json"]["version"] = json!(2);
    });
    refused(&targets, "targets", "snapshot", "5.5.5", "rollback");
    let vanished = fresh(&|f| drop(f.snapshot["meta"].as_object_mut().unwrap().remove("gone.json")));
    refused(&vanished, "a role that vanished", "snapshot", "5.5.5", "no longer lists");
    let fork = fresh(&|f| {
        f.timestamp["version"] = json!(3);
        f.timestamp["x-other"] = json!(true);
    });
    refused(&fork, "another timestamp of one version", "timestamp", "5.4.3.1", "other content");
    let fork = fresh(&|f| {
        f.snapshot["version"] = json!(3);
        f.timestamp["meta"]["snapshot.json"]["version"] = json!(3);
    });
    refused(&fork, "another snapshot of one version", "snapshot", "5.5.5", "other content");
}

/// Writes the next root of a repository beside the ones before.
fn next_root(home: &Home, version: u64, change: impl FnOnce(&mut Forge)) {
    let mut forge = Forge::new();
    forge.root["version"] = version.into();
    change(&mut forge);
    forge.write(&home.path("forged"));
}

const VERIFY: &str = "verify forged --root first.json --json";

#[test]
fn every_published_root_counts_whatever_root_the_run_begins_with() {
    let home = Home::new();
    let first = Forge::new().write(&home.path("forged"));
    fs::copy(&first, home.path("first.json")).unwrap();
    next_root(&home, 2, |_| {});
    let second = home.path("forged/metadata/2.root.json");
    fs::copy(&second, home.path("second.json")).unwrap();
    home.run(&format!("{VERIFY} --state memory")).done();

    let good = fs::read_to_string(&first).unwrap();
    let unsigned = good.replace("\"sig\":\"", "\"sig\":\"00");
    assert_ne!(unsigned, good);
    fs::write(&first, unsigned).unwrap();
    refused(&home.run(VERIFY).json(), "unsigned first root", "root", "5", "0 of 1");
    let later = "verify forged --root second.json --json";
    refused(&home.run(later).json(), "unsigned first root", "root", "5", "0 of 1");
    fs::remove_file(&first).unwrap();
    let warned = home.run("verify forged --root second.json").done();
    assert!(warned.stderr.contains("cannot follow"), "{warned}");
    fs::write(&first, &good).unwrap();

    next_root(&home, 4, |_| {});
    refused(&home.run(VERIFY).json(), "a gap", "root", "5.3.3", "version 3 is missing");
    fs::remove_file(home.path("forged/metadata/4.root.json")).unwrap();

    fs::remove_file(&second).unwrap();
    home.run(VERIFY).done();
    let rollback = home.run(&format!("{VERIFY} --state memory")).json();
    refused(&rollback, "root rollback", "root", "5.3.5", "rollback");
    refused(&home.run(later).json(), "root rollback", "root", "5.3.5", "rollback");

    next_root(&home, 2, |f| f.root["x-other"] = json!(1));
    refused(&home.run(&format!("{VERIFY} --state memory")).json(), "a fork", "root", "5.2", "not the root");
    fs::copy(&second, home.path("forged/metadata/3.root.json")).unwrap();
    refused(&home.run(VERIFY).json(), "a root under another number", "root", "5.3.5", "version 2");
    fs::remove_file(home.path("forged/metadata/3.root.json")).unwrap();
    next_root(&home, 2, |f| drop(f.signers.insert("root", vec![(keyid(&key(3)), 3)])));
    refused(&home.run(VERIFY).json(), "a stranger's root", "root", "5.3.4", "0 of 1");
}

#[test]
fn without_consistent_snapshots_the_plain_root_is_the_newest_one() {
    let home = Home::new();
    let mut forge = Forge::new();
    forge.root["consistent_snapshot"] = json!(false);
    let first = forge.write(&home.path("forged"));
    fs::copy(&first, home.path("first.json")).unwrap();
    home.run(VERIFY).done();
    let plain = home.path("forged/metadata/root.json");
    fs::copy(&first, &plain).unwrap();
    home.run(VERIFY).done();
    next_root(&home, 2, |f| f.root["consistent_snapshot"] = json!(false));
    refused(&home.run(VERIFY).json(), "a stale plain root", "root", "5.3.3", "not the newest");
    let unsigned = fs::read_to_string(home.path("forged/metadata/2.root.json")).unwrap();
    fs::write(&plain, unsigned.replace("\"sig\":\"", "\"sig\":\"00")).unwrap();
    refused(&home.run(VERIFY).json(), "an unsigned plain root", "root", "5", "0 of 1");
    fs::copy(home.path("forged/metadata/2.root.json"), &plain).unwrap();
    home.run(VERIFY).done();
}

#[test]
fn the_folder_of_what_was_trusted_is_made_used_or_refused() {
    let home = Home::new();
    Forge::new().write(&home.path("forged"));
    fs::copy(home.path("forged/metadata/1.root.json"), home.path("first.json")).unwrap();
    home.run(&format!("{VERIFY} --at 2050-01-01T00:00:00Z --state deep/memory")).exits(6);
    assert!(!home.path("deep").exists(), "a bad run was remembered");
    home.run(&format!("{VERIFY} --state deep/memory")).done();
    home.run(&format!("{VERIFY} --state deep/memory")).done();
    fs::create_dir(home.path("empty")).unwrap();
    home.run(&format!("{VERIFY} --state empty")).done();
    home.write("file", "x");
    home.write("other/file", "x");
    std::os::unix::fs::symlink("nowhere", home.path("link")).unwrap();
    for folder in
        ["file", "other", "link", "forged", "forged/metadata", "forged/metadata/memory", "forged/staged"]
    {
        home.refused(&format!("verify forged --root first.json --state {folder}"), 2, "USAGE");
    }
    assert!(!home.path("nowhere").exists() && !home.path("forged/staged").exists());
    // A memory of another chain.
    let mut other = Forge::new();
    other.root["x-other"] = json!(1);
    other.write(&home.path("other-repo"));
    let error = home.refused(
        "verify other-repo --root other-repo/metadata/1.root.json --state empty",
        6,
        "VERIFICATION",
    );
    assert_eq!(error["details"]["spec"], "5.2");
    home.write("empty/timestamp.json", "damaged");
    home.refused("verify forged --root first.json --state empty", 1, "STATE_CORRUPT");
}

#[test]
fn expired_roles_are_to_be_renewed_and_wrong_folders_are_slips_of_the_hand() {
    let home = Home::new();
    for role in ["root", "targets", "team", "snapshot", "timestamp"] {
        let mut forge = Forge::new();
        let signed = match role {
            "root" => &mut forge.root,
            "targets" => &mut forge.targets,
            "team" => &mut forge.team,
            "snapshot" => &mut forge.snapshot,
            _ => &mut forge.timestamp,
        };
        signed["expires"] = json!("2020-01-01T00:00:00Z");
        let found = verify(&home, &forge, "");
        refused(&found, role, role, "5.", "expired");
        assert!(
            found["error"]["remedy"].as_str().unwrap().contains(&format!("bump forged {role}")),
            "{found}"
        );
    }
    home.refused("verify nope --root forged/metadata/1.root.json", 2, "USAGE");
    home.refused("verify forged/metadata --root forged/metadata/1.root.json", 2, "USAGE");
    home.refused("verify forged --root nope.json", 1, "IO");
}
