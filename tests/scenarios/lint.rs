//! `tufctl lint`: what stock clients stumble over, told with role, file, client and remedy.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::Home;

use crate::forge::{Forge, key, keyid};
use crate::mutations::{Scene, keys, listed, signers};

/// The findings of a folder, and the exit code.
fn lint(home: &Home, scene: &Scene) -> (Vec<Value>, i32) {
    scene.write(&home.path("linted"));
    let outcome = home.run("lint linted --json");
    let document = outcome.json();
    let findings = document["findings"].as_array().unwrap_or_else(|| panic!("{outcome}")).clone();
    (findings, outcome.code)
}

fn clean() -> Scene {
    let mut scene = Scene::new();
    // Two of three, as a root should be; keys of their own for all that is online.
    scene.forge.root["keys"] = keys(&[key(1), key(3), key(4), key(5), key(6)]);
    let role = |of: &[u8], threshold: u8| json!({"keyids": of.iter().map(|n| keyid(&key(*n))).collect::<Vec<_>>(), "threshold": threshold});
    scene.forge.root["roles"] = json!({
        "root": role(&[3, 4, 5], 2), "targets": role(&[1], 1),
        "snapshot": role(&[6], 1), "timestamp": role(&[6], 1),
    });
    scene.forge.signers.insert("root", signers(&[3, 4]));
    scene.forge.signers.insert("snapshot", signers(&[6]));
    scene.forge.signers.insert("timestamp", signers(&[6]));
    scene
}

#[test]
fn a_repository_without_faults_has_nothing_worse_than_notes() {
    let home = Home::new();
    let (findings, code) = lint(&home, &clean());
    assert_eq!(code, 0);
    // Its entries carry neither length nor digest.
    assert!(findings.iter().all(|found| found["rule"] == "meta-entries"), "{findings:?}");
    let text = home.run("lint linted").done();
    assert!(text.stdout.contains("0 errors · 0 warnings"), "{text}");
}

#[test]
fn each_thing_that_a_client_stumbles_over_is_found() {
    type Change = fn(&mut Scene);
    let cases: [(&str, &str, &str, &[&str], Change); 33] = [
        ("expiry", "error", "timestamp", &[], |s| {
            s.forge.timestamp["expires"] = json!("2020-01-01T00:00:00Z")
        }),
        ("threshold", "warning", "root", &[], |s| s.forge.root["roles"]["root"]["threshold"] = json!(3)),
        ("threshold", "error", "targets", &[], |s| {
            s.forge.targets["delegations"]["roles"][0]["threshold"] = json!(2);
        }),
        ("shared-key", "warning", "root", &[], |s| {
            s.forge.root["roles"]["targets"]["keyids"] = json!([keyid(&key(3))]);
            s.forge.signers.insert("targets", signers(&[3]));
        }),
        ("unused-key", "note", "root", &[], |s| {
            s.forge.root["keys"][keyid(&key(7))] = key(7);
        }),
        ("pattern", "warning", "targets", &["python-tuf"], |s| paths(s, &["t/*", "d/{a,b}"])),
        ("pattern", "warning", "targets", &["python-tuf", "tuf-js", "tough"], |s| paths(s, &["t/*", "d/**"])),
        ("pattern", "warning", "targets", &["tuf-js"], |s| paths(s, &["t/*", "d/!(b)"])),
        ("outside-paths", "error", "team", &[], |s| paths(s, &["d/*"])),
        ("unreachable", "error", "team", &[], |s| paths(s, &["d/*"])),
        ("target-name", "error", "targets", &[], |s| target(s, "100%")),
        ("target-name", "note", "targets", &[], |s| target(s, "a b")),
        ("target-file", "error", "targets", &[], |s| target(s, "not-there")),
        ("nfc", "error", "targets", &["tough"], |s| target(s, "e\u{301}")),
        ("member-order", "error", "targets", &["tuf-js"], |s| {
            target(s, "\u{1f600}");
            target(s, "\u{fb01}");
        }),
        ("custom", "error", "targets", &["tough"], |s| s.forge.targets["targets"]["a"]["custom"] = json!({})),
        ("expiry", "error", "team", &["tough"], |s| s.forge.team["expires"] = json!("9999-12-30T22:00:01Z")),
        ("hashes", "error", "targets", &["tough"], |s| {
            s.forge.targets["targets"]["a"]["hashes"] = json!({"sha512": "0".repeat(128)});
        }),
        ("hashes", "note", "targets", &[], |s| {
            s.forge.targets["targets"]["a"]["hashes"]["sha512"] = json!("0".repeat(128));
        }),
        ("hashes", "error", "targets", &["tough"], |s| {
            s.forge.targets["targets"]["a"]["hashes"] = json!({"sha384": "0".repeat(96)});
        }),
        ("hashes", "error", "targets", &["tuf-js"], |s| {
            s.forge.targets["targets"]["a"]["hashes"]["blake2b-256"] = json!("0".repeat(64));
        }),
        ("hashes", "error", "targets", &[], |s| {
            s.forge.targets["targets"]["a"]["hashes"] = json!({"sha1": "0".repeat(40)});
        }),
        ("hashes", "error", "snapshot", &["tuf-js"], |s| {
            let hashes = json!({"sha256": "0".repeat(64), "sha3_256": "0".repeat(64)});
            s.forge.snapshot["meta"]["targets.json"]["hashes"] = hashes;
        }),
        ("unknown-members", "error", "targets", &["tough"], |s| {
            s.forge.targets["delegations"]["roles"][0]["x-owner"] = json!("@ann");
        }),
        ("snapshot-listing", "error", "snapshot", &[], |s| {
            s.forge.snapshot["meta"].as_object_mut().unwrap().remove("team.json");
        }),
        ("snapshot-listing", "note", "snapshot", &[], |s| {
            s.forge.snapshot["meta"]["gone.json"] = json!({"version": 1});
        }),
        ("signatures", "error", "targets", &[], |s| drop(s.forge.signers.insert("targets", signers(&[9])))),
        ("consistent-snapshot", "note", "root", &[], |s| s.forge.root["consistent_snapshot"] = json!(false)),
        ("root-chain", "error", "root", &[], |s| s.root(3, 3, |f| f.root = clean().forge.root)),
        ("role-name", "warning", "targets", &[], |s| rename_team(s, "te am")),
        ("size", "error", "timestamp", &["python-tuf", "tuf-js"], |s| {
            s.forge.timestamp["x-long"] = json!("x".repeat(17_000));
        }),
        ("size", "warning", "timestamp", &["python-tuf", "tuf-js"], |s| {
            s.forge.timestamp["x-long"] = json!("x".repeat(13_000));
        }),
        ("spec-version", "note", "team", &[], |s| s.forge.team["spec_version"] = json!("1.0")),
    ];
    let home = Home::new();
    for (rule, severity, role, clients, change) in cases {
        let mut scene = clean();
        change(&mut scene);
        let (findings, code) = lint(&home, &scene);
        let found = findings
            .iter()
            .find(|found| found["rule"] == rule && found["severity"] == severity && found["role"] == role);
        let found = found.unwrap_or_else(|| panic!("{rule} {severity} {role}: {findings:?}"));
        let every = ["python-tuf", "tuf-js", "tough"];
        let clients = if clients.is_empty() { &every[..] } else { clients };
        assert_eq!(found["clients"], json!(clients), "{found}");
        let worst = findings.iter().any(|found| found["severity"] == "error");
        assert_eq!(code, if worst { 6 } else { 0 }, "{rule}: {findings:?}");
        if severity != "note" {
            assert!(!found["remedy"].as_str().unwrap().is_empty(), "{found}");
        }
    }
}

fn paths(scene: &mut Scene, paths: &[&str]) {
    scene.forge.targets["delegations"]["roles"][0]["paths"] = json!(paths);
}

fn target(scene: &mut Scene, name: &str) {
    scene.forge.targets["targets"][name] = listed(b"");
}

fn rename_team(scene: &mut Scene, name: &str) {
    scene.forge.targets["delegations"]["roles"][0]["name"] = json!(name);
    let entry = scene.forge.snapshot["meta"].as_object_mut().unwrap().remove("team.json").unwrap();
    scene.forge.snapshot["meta"][format!("{name}.json")] = entry;
}

#[test]
fn a_role_is_looked_for_under_the_names_that_verify_looks_for() {
    let home = Home::new();
    for name in ["te am", "ü"] {
        let stem = tuf::role::RoleName::parse(name).unwrap().file_stem();
        let must = |decoded: bool, encoded: bool| {
            let mut scene = clean();
            rename_team(&mut scene, name);
            scene.write(&home.path("linted"));
            let file = |name: &str| home.path(format!("linted/metadata/1.{name}.json"));
            // Wherever the scene puts it.
            let there =
                [file("team"), file(name), file(&stem)].into_iter().find(|file| file.exists()).unwrap();
            let bytes = fs::read(&there).unwrap();
            fs::remove_file(there).unwrap();
            for path in [(file(name), decoded), (file(&stem), encoded)].into_iter().filter(|it| it.1) {
                fs::write(path.0, &bytes).unwrap();
            }
            home.run("verify linted --root linted/metadata/1.root.json").done();
            let document = home.run("lint linted --json").done().json();
            let findings = document["findings"].as_array().unwrap().clone();
            let told = findings.iter().find(|it| it["rule"] == "role-name" && it["severity"] == "warning");
            told.map(|it| it["message"].as_str().unwrap().rsplit_once("the server ").unwrap().1.to_owned())
        };
        assert_eq!(must(false, true).as_deref(), Some("must not decode it on the way to the file"));
        assert!(must(true, false).unwrap().starts_with("must decode it on the way"));
        assert_eq!(must(true, true), None);
    }
}

#[test]
fn names_of_targets_that_verify_refuses_are_errors() {
    let home = Home::new();
    for name in ["a\0b", "a\u{200b}/../b", "a\\b//c", "..", "/a"] {
        let mut scene = clean();
        target(&mut scene, name);
        let (findings, code) = lint(&home, &scene);
        let found = findings.iter().find(|it| it["rule"] == "target-name" && it["severity"] == "error");
        assert!(found.is_some(), "{name:?}: {findings:?}");
        assert_eq!(code, 6, "{name:?}");
        let refused = home.run("verify linted --root linted/metadata/1.root.json --json").exits(6);
        assert!(refused.stdout.contains("4.5") || name.contains('\0'), "{name:?}: {refused}");
    }
}

#[test]
fn keys_that_not_everybody_reads_are_found() {
    let home = Home::new();
    let other = |keytype: &str, scheme: &str| json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": "00"}});
    let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3NhfeSpYmLG9dnpi/kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f\n-----END PUBLIC KEY-----\n";
    let p384 = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp384", "keyval": {"public": p384}});
    for (object, client, severity) in [
        (p384.clone(), "tough", "error"),
        (p384, "tuf-js", "warning"),
        (other("sphincs", "sphincs-shake-128s"), "python-tuf", "error"),
    ] {
        let mut scene = clean();
        let team = &mut scene.forge.targets["delegations"];
        team["keys"][keyid(&object)] = object.clone();
        team["roles"][0]["keyids"].as_array_mut().unwrap().push(json!(keyid(&object)));
        let (findings, _) = lint(&home, &scene);
        let found = |found: &&Value| found["rule"] == "key-type" && found["clients"] == json!([client]);
        let found = findings.iter().find(found).unwrap_or_else(|| panic!("{client}: {findings:?}"));
        assert_eq!((&found["severity"], &found["role"]), (&json!(severity), &json!("targets")), "{found}");
    }
}

#[test]
fn keyids_twins_and_private_keys_are_errors() {
    let home = Home::new();
    let mut twin = key(1);
    twin["x"] = json!(1);
    let mut open = key(1);
    open["keyval"]["private"] = json!("ab".repeat(32));
    for (rule, object, id) in [
        ("keyid", key(1), "0".repeat(64)),
        ("keyid", key(1), "not hexadecimal".to_owned()),
        ("one-key-two-keyids", twin.clone(), keyid(&twin)),
        ("private-key", open.clone(), keyid(&open)),
    ] {
        let mut scene = clean();
        scene.forge.root["keys"][&id] = object;
        scene.forge.root["roles"]["targets"]["keyids"].as_array_mut().unwrap().push(json!(id));
        let (findings, code) = lint(&home, &scene);
        let found = findings.iter().find(|found| found["rule"] == rule);
        let found = found.unwrap_or_else(|| panic!("{rule}: {findings:?}"));
        assert_eq!((&found["severity"], &found["file"], code), (&json!("error"), &json!("1.root.json"), 6));
        assert!(!found.to_string().contains(&"ab".repeat(32)), "the private key itself is shown");
    }
}

#[test]
fn a_private_key_in_a_file_that_nothing_leads_to_any_more_is_found() {
    let home = Home::new();
    let scene = clean();
    scene.write(&home.path("linted"));
    let secret = "ab".repeat(32);
    let mut object = key(1);
    object["keyval"]["private"] = json!(secret);
    let old =
        json!({"signatures": [], "signed": {"_type": "targets", "delegations": {"keys": {"k": object}}}});
    for (name, role) in [("0.targets.json", "targets"), ("7.a%2Fb.json", "a/b"), ("notes.json", "notes")] {
        home.write(&format!("linted/metadata/{name}"), old.to_string());
        let told = home.run("lint linted --json").exits(6);
        let findings = told.json()["findings"].clone();
        let found = findings.as_array().unwrap().iter().find(|found| found["file"] == name).cloned();
        let found = found.unwrap_or_else(|| panic!("{name}: {findings}"));
        assert_eq!(
            (&found["rule"], &found["role"], &found["clients"]),
            (&json!("private-key"), &json!(role), &json!([]))
        );
        assert!(!told.stdout.contains(&secret), "the private key itself is shown");
        std::fs::remove_file(home.path("linted/metadata").join(name)).unwrap();
    }
}

#[test]
fn findings_about_clients_that_nobody_has_are_left_out() {
    let home = Home::new();
    let mut scene = clean();
    scene.forge.targets["delegations"]["roles"][0]["x-owner"] = json!("@ann");
    scene.write(&home.path("linted"));
    let of = |flags: &str| home.run(&format!("lint linted --json {flags}"));
    assert_eq!(of("").code, 6);
    assert_eq!(of("--client tough").code, 6);
    for flags in ["--client python-tuf", "--client python-tuf --client tuf-js"] {
        let document = of(flags).done().json();
        assert!(!document.to_string().contains("\"tough\""), "{document}");
    }
    home.refused("lint linted --client wget", 2, "USAGE");
    // What no client minds and `verify` refuses is told whoever is asked about.
    scene = clean();
    scene.forge.snapshot["meta"]["timestamp.json"] = json!({"version": 1});
    scene.write(&home.path("linted"));
    let document = of("--client tuf-js").exits(6).json();
    let found = document["findings"].as_array().unwrap().iter().find(|found| found["rule"] == "lists");
    assert_eq!(found.unwrap()["clients"], json!([]), "{document}");
    assert!(home.run("lint linted").exits(6).stdout.contains("no client, but tufctl verify"));
}

#[test]
fn a_root_that_a_snapshot_lists_is_told_of_and_refused_by_nobody() {
    let home = Home::new();
    let mut scene = clean();
    scene.forge.snapshot["meta"]["root.json"] = json!({"version": 1});
    scene.write(&home.path("linted"));
    let document = home.run("lint linted --json").done().json();
    let found = document["findings"].as_array().unwrap().iter().find(|found| found["rule"] == "root-listed");
    assert_eq!(found.unwrap()["severity"], "warning", "{document}");
    let verified = home.run("verify linted --root linted/metadata/1.root.json").done();
    assert!(verified.stderr.contains("\"root.json\"") && verified.stderr.contains("4.4"), "{verified}");
}

#[test]
fn delegations_that_match_nothing_are_told_of() {
    let home = Home::new();
    for (prefixes, rule) in
        [(json!(["A6"]), "hash-prefix"), (json!([]), "hash-prefix"), (json!(null), "pattern")]
    {
        let mut scene = clean();
        let role = scene.forge.targets["delegations"]["roles"][0].as_object_mut().unwrap();
        role.insert("paths".into(), json!([]));
        if !prefixes.is_null() {
            role.remove("paths");
            role.insert("path_hash_prefixes".into(), prefixes.clone());
        }
        let (findings, _) = lint(&home, &scene);
        let told = findings.iter().any(|found| found["rule"] == rule && found["severity"] == "warning");
        assert!(told, "{prefixes}: {findings:?}");
    }
}

#[test]
fn a_target_file_of_other_content_is_found_unless_only_metadata_is_asked_about() {
    let home = Home::new();
    let mut scene = clean();
    scene.files.push((crate::mutations::file_of_a(), Some(b"b\n".to_vec())));
    scene.write(&home.path("linted"));
    let document = home.run("lint linted --json").exits(6).json();
    let found = document["findings"].as_array().unwrap().iter().find(|found| found["rule"] == "target-file");
    assert!(found.is_some_and(|found| found["role"] == "targets"), "{document}");
    home.run("lint linted --json --metadata-only").done();
}

#[test]
fn a_damaged_repository_is_read_as_far_as_it_goes() {
    let home = Home::new();
    let scene = clean();
    scene.write(&home.path("linted"));
    for (name, content) in
        [("1.snapshot.json", &b"{"[..]), ("1.targets.json", b"\xff"), ("timestamp.json", b"")]
    {
        scene.write(&home.path("linted"));
        fs::write(home.path("linted/metadata").join(name), content).unwrap();
        let outcome = home.run("lint linted --json").exits(6);
        let findings = outcome.json()["findings"].clone();
        let found = findings.as_array().unwrap().iter().find(|found| found["rule"] == "unreadable");
        assert_eq!(found.unwrap()["file"], name, "{findings}");
    }
    let empty = home.path("empty/metadata");
    fs::create_dir_all(empty).unwrap();
    let text = home.run("lint empty").exits(6);
    assert!(text.stdout.contains("every other root"), "{text}");
    home.refused("lint nowhere", 2, "USAGE");
    home.refused("lint linted --at yesterday", 2, "USAGE");
}

#[test]
fn what_tufctl_itself_publishes_has_no_errors_and_tough_names() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.write("nested.txt", "nested\n");
    home.run("target add repo nested.txt --path docs/").done();
    home.run("sign repo --yes").done();
    let document = home.run("lint repo --json").done().json();
    assert_eq!(document["errors"], 0, "{document}");
    let folders = fs::read_dir(home.path("repo/targets")).unwrap().map(|it| it.unwrap().path());
    let tough = folders.into_iter().find(|it| it.to_string_lossy().ends_with(".docs")).unwrap();
    fs::remove_dir_all(tough).unwrap();
    let document = home.run("lint repo --json").done().json();
    let rules: Vec<_> =
        document["findings"].as_array().unwrap().iter().map(|it| it["rule"].clone()).collect();
    assert!(rules.contains(&"tough-names".into()), "{document}");
}

#[test]
fn a_far_delegation_and_a_long_chain_of_roots_are_told_of() {
    let home = Home::new();
    let mut scene = clean();
    let Forge { targets, snapshot, .. } = &mut scene.forge;
    // Forty roles that match before the one that lists the target.
    let team = targets["delegations"]["roles"][0].clone();
    let roles = (0..40).map(|number| {
        let mut role = team.clone();
        role["name"] = json!(format!("r{number}"));
        snapshot["meta"][format!("r{number}.json")] = json!({"version": 1});
        role
    });
    targets["delegations"]["roles"] = roles.chain([team.clone()]).collect();
    let (findings, _) = lint(&home, &scene);
    let far = findings.iter().find(|found| found["rule"] == "delegations-visited");
    let far = far.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!((&far["severity"], &far["role"]), (&json!("error"), &json!("team")), "{far}");
    let mut scene = clean();
    for version in 2..=210 {
        scene.root(version, version, |f| {
            let mut root = clean().forge.root;
            root["version"] = version.into();
            f.root = root;
            f.signers.insert("root", signers(&[3, 4]));
        });
    }
    let (findings, _) = lint(&home, &scene);
    assert!(findings.iter().any(|found| found["rule"] == "root-count"), "{findings:?}");
}
