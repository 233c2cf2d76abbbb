//! Forms that the specification does not allow, though most clients pass over them; digests that nobody can check.

use serde_json::{Value, json};

use super::{A, B, Case, Js, Python, Scene, Stock, Tough, keys, listed, try_all};
use crate::forge::{key, keyid, signing};

const ALL: &[Stock] = &[Python, Js, Tough];

const fn case(
    what: &'static str,
    at: (&'static str, &'static str, &'static str),
    accepted_by: &'static [Stock],
    change: fn(&mut Scene),
) -> Case {
    let (role, file, spec) = at;
    Case { what, role, file, spec, accepted_by, change }
}

/// The delegation to `team`.
fn team(scene: &mut Scene) -> &mut Value {
    &mut scene.forge.targets["delegations"]["roles"][0]
}

fn prefixes(scene: &mut Scene, prefixes: &[&str]) {
    team(scene).as_object_mut().unwrap().remove("paths");
    team(scene)["path_hash_prefixes"] = json!(prefixes);
}

/// Gives `team` another key object of the same key.
fn team_key(scene: &mut Scene, object: Value) {
    let id = keyid(&object);
    team(scene)["keyids"] = json!([id]);
    scene.forge.targets["delegations"]["keys"] = keys(&[object]);
    scene.forge.signers.insert("team", vec![(id, 2)]);
}

/// Adds a key object that no role uses.
fn beside(scene: &mut Scene, object: &Value) {
    scene.forge.targets["delegations"]["keys"][keyid(object)] = object.clone();
}

#[test]
fn lists_that_hold_what_is_none_of_theirs_are_refused() {
    fn mirrors(root: &mut Value) {
        root["roles"]["mirrors"] = root["roles"]["timestamp"].clone();
    }
    const ROOT: (&str, &str, &str) = ("root", "1.root.json", "4.3");
    try_all(&[
        case("a fifth role in the root", ROOT, &[Js], |s| mirrors(&mut s.forge.root)),
        case("a fifth role in the next root", ("root", "2.root.json", "4.3"), &[Js], |s| {
            s.root(2, 2, |f| mirrors(&mut f.root));
        }),
        case("a root without consistent_snapshot", ROOT, &[Python], |s| {
            s.forge.root.as_object_mut().unwrap().remove("consistent_snapshot");
            s.files.push(("targets/a".into(), Some(A.into())));
            s.files.push(("targets/t/b".into(), Some(B.into())));
        }),
        case("targets in the timestamp", ("timestamp", "timestamp.json", "4.6"), &[], |s| {
            s.forge.timestamp["meta"]["targets.json"] = json!({"version": 1});
        }),
        case("the timestamp in the snapshot", ("snapshot", "1.snapshot.json", "4.4"), ALL, |s| {
            s.forge.snapshot["meta"]["timestamp.json"] = json!({"version": 1});
        }),
        case("the snapshot in the snapshot", ("snapshot", "1.snapshot.json", "4.4"), ALL, |s| {
            s.forge.snapshot["meta"]["snapshot.json"] = json!({"version": 1});
        }),
    ]);
}

#[test]
fn paths_of_delegations_that_are_none_are_refused() {
    const AT: (&str, &str, &str) = ("targets", "1.targets.json", "4.5");
    const READ: (&str, &str, &str) = ("targets", "1.targets.json", "5.6.1");
    const OUTSIDE: (&str, &str, &str) = ("team", "1.team.json", "4.5");
    try_all(&[
        // a6 begins the SHA-256 of t/b.
        case("a prefix that is no hexadecimal", AT, ALL, |s| prefixes(s, &["a6", "ZZ"])),
        case("a prefix of nothing", AT, ALL, |s| prefixes(s, &["", "a6"])),
        case("a prefix of nothing alone", AT, ALL, |s| prefixes(s, &[""])),
        case("a prefix longer than a digest", AT, ALL, |s| {
            prefixes(s, &["a6", "00000000000000000000000000000000000000000000000000000000000000000"]);
        }),
        case("a prefix in capitals, which matches nothing", OUTSIDE, &[], |s| prefixes(s, &["A6"])),
        case("no prefix at all", OUTSIDE, &[], |s| prefixes(s, &[])),
        case("no pattern at all", OUTSIDE, &[], |s| team(s)["paths"] = json!([])),
        case("a pattern from the root on", OUTSIDE, &[], |s| team(s)["paths"] = json!(["/t/*"])),
        case("a bracket that does not close", AT, &[Python, Js], |s| {
            team(s)["paths"] = json!(["t/*", "t/[b"])
        }),
        case("a brace that does not close", AT, &[Python, Js], |s| team(s)["paths"] = json!(["t/*", "t/{b"])),
        case("a range that goes down", AT, &[Python, Js], |s| team(s)["paths"] = json!(["t/*", "[z-a]"])),
        case("a backslash at the end", AT, &[Python, Js], |s| team(s)["paths"] = json!(["t/*", "x\\"])),
        case("paths and prefixes that are both null", READ, &[], |s| {
            team(s)["paths"] = json!(null);
            team(s)["path_hash_prefixes"] = json!(null);
        }),
        case("paths as one text", READ, &[], |s| team(s)["paths"] = json!("t/*")),
        case("roles and bins", READ, &[], |s| {
            let bins =
                json!({"keyids": team(s)["keyids"], "threshold": 1, "bit_length": 1, "name_prefix": "b"});
            s.forge.targets["delegations"]["succinct_roles"] = bins;
        }),
        case("neither roles nor bins", ("team", "1.team.json", "5.6.1"), &[Js], |s| {
            s.forge.team["delegations"] = json!({"keys": {}});
        }),
        case("bins of 33 bits", READ, &[], |s| bins(s, &json!(33), &json!("b"))),
        case("bins of bits in quotes", READ, &[], |s| bins(s, &json!("1"), &json!("b"))),
        case("bins whose prefix is a number", READ, &[], |s| bins(s, &json!(1), &json!(5))),
        case("bins that the snapshot does not list", ("b-0", "b-0.json", "5.6.1"), &[], |s| {
            bins(s, &json!(1), &json!("b"));
        }),
    ]);
}

fn bins(scene: &mut Scene, bits: &Value, prefix: &Value) {
    let keyids = team(scene)["keyids"].clone();
    let delegations = scene.forge.targets["delegations"].as_object_mut().unwrap();
    delegations.remove("roles");
    let bins = json!({"keyids": keyids, "threshold": 1, "bit_length": bits, "name_prefix": prefix});
    delegations.insert("succinct_roles".into(), bins);
}

#[test]
fn entries_among_signatures_that_are_none_are_refused() {
    const AT: (&str, &str, &str) = ("targets", "1.targets.json", "4.2.1");
    fn entry(text: String, entry: &str) -> String {
        text.replacen("\"signatures\":[", &format!("\"signatures\":[{entry},"), 1)
    }
    try_all(&[
        case("a signature that is no hexadecimal, beside a good one", AT, &[Python, Js], |s| {
            s.after("targets", |text| {
                entry(text, &json!({"keyid": "ab".repeat(32), "sig": "zz"}).to_string())
            });
        }),
        case("half a byte", AT, &[Python, Js], |s| {
            s.after("targets", |text| {
                entry(text, &json!({"keyid": "ab".repeat(32), "sig": "0"}).to_string())
            });
        }),
        case("a keyid that is no hexadecimal", AT, &[Python, Js], |s| {
            s.after("targets", |text| entry(text, &json!({"keyid": "zz", "sig": "00"}).to_string()));
        }),
        case("a keyid twice, once in capitals", AT, &[Python, Js], |s| {
            s.after("targets", |text| {
                let id = keyid(&key(1)).to_ascii_uppercase();
                entry(text, &json!({"keyid": id, "sig": "00"}).to_string())
            });
        }),
    ]);
}

#[test]
fn keys_and_signatures_that_mean_two_things_are_refused() {
    const TEAM: (&str, &str, &str) = ("team", "1.team.json", "5.6.3");
    const MATERIAL: (&str, &str, &str) = ("targets", "1.targets.json", "4.2.2");
    try_all(&[
        case(
            "a signature of a key that everybody can sign with",
            ("targets", "1.targets.json", "5.6.3"),
            ALL,
            |s| {
                // The neutral point: any text is signed by it and a signature of nothing.
                let neutral = format!("01{}", "00".repeat(31));
                let object =
                    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": neutral}});
                s.forge.root["keys"][keyid(&object)] = object.clone();
                s.forge.root["roles"]["targets"]["keyids"] = json!([keyid(&object)]);
                s.after("targets", |text| {
                    let neutral = format!("01{}", "00".repeat(31));
                    let object =
                        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": neutral}});
                    let mut file: Value = serde_json::from_str(&text).unwrap();
                    let sig = format!("{neutral}{}", "00".repeat(32));
                    file["signatures"] = json!([{"keyid": keyid(&object), "sig": sig}]);
                    file.to_string()
                });
            },
        ),
        case("a public key with a line break behind", TEAM, &[Python], |s| {
            let mut object = key(2);
            object["keyval"]["public"] = json!(format!("{}\n", object["keyval"]["public"].as_str().unwrap()));
            team_key(s, object);
        }),
        case("a public key of 31 bytes that nobody needs", MATERIAL, ALL, |s| {
            let mut object = key(3);
            object["keyval"]["public"] = json!("ab".repeat(31));
            beside(s, &object);
        }),
        case("an RSA key that is none, which nobody needs", MATERIAL, &[Python, Js], |s| {
            let keyval = json!({"public": "garbage"});
            beside(s, &json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": keyval}));
        }),
    ]);
}

#[test]
fn digests_beside_the_usual_ones_are_checked_too() {
    fn hashes(scene: &mut Scene) -> &mut Value {
        &mut scene.forge.targets["targets"]["a"]["hashes"]
    }
    try_all(&[
        case("a wrong MD5", ("targets", ".a", "5.7.2"), &[Tough], |s| {
            hashes(s)["md5"] = json!("00".repeat(16))
        }),
        case(
            "a right MD5, listed first, without a file of that name",
            ("targets", ".a", "5.7.2"),
            &[Tough],
            |s| {
                hashes(s)["md5"] = json!("60b725f10c9c85c70d97880dfe8191b3");
            },
        ),
        case("a digest of no known kind", ("targets", "1.targets.json", "4.5"), &[Tough], |s| {
            hashes(s)["wonder"] = json!("00");
        }),
        case("a wrong MD5 of metadata", ("team", "1.team.json", "5.6.2"), &[Tough], |s| {
            let sha256 = tuf::digest::Sha256Digest::of(&s.text("team"));
            let hashes = json!({"md5": "00".repeat(16), "sha256": sha256.to_string()});
            s.forge.snapshot["meta"]["team.json"]["hashes"] = hashes;
        }),
        case(
            "a digest of metadata of no known kind",
            ("snapshot", "1.snapshot.json", "4.4"),
            &[Tough],
            |s| {
                let sha256 = tuf::digest::Sha256Digest::of(&s.text("team"));
                let hashes = json!({"sha256": sha256.to_string(), "wonder": "00"});
                s.forge.snapshot["meta"]["team.json"]["hashes"] = hashes;
            },
        ),
    ]);
}

#[test]
fn private_keys_anywhere_are_refused() {
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAIC\n-----END PRIVATE KEY-----\n";
    const TEAM: (&str, &str, &str) = ("team", "1.team.json", "4.2");
    const TARGETS: (&str, &str, &str) = ("targets", "1.targets.json", "4.2");
    fn seed(number: u8) -> String {
        hex::encode(signing(number).to_bytes())
    }
    try_all(&[
        case("PEM in custom", TARGETS, ALL, |s| {
            s.forge.targets["targets"]["a"]["custom"] = json!({"notes": ["see", PEM]});
        }),
        case("PEM in an unknown member", ("timestamp", "timestamp.json", "4.2"), ALL, |s| {
            s.forge.timestamp["x-note"] = json!({"deep": [[PEM]]});
        }),
        case("PEM whose line breaks were escaped twice", ("snapshot", "1.snapshot.json", "4.2"), ALL, |s| {
            s.forge.snapshot["x-note"] = json!(PEM.replace('\n', "\\n"));
        }),
        case("PEM in the envelope", TEAM, ALL, |s| {
            s.after("team", |text| text.replacen('{', &format!("{{\"debug\":{},", json!(PEM)), 1));
        }),
        case("PEM as a name", TEAM, ALL, |s| s.forge.team[PEM] = json!(1)),
        case("the seed of a key in custom", TARGETS, ALL, |s| {
            s.forge.targets["targets"]["a"]["custom"] = json!({"build-id": seed(2)});
        }),
        case("the seed of a key of the root, in a delegated role", TEAM, ALL, |s| {
            s.forge.team["x-note"] = json!(seed(1));
        }),
        case("a seed in base64", TEAM, ALL, |s| {
            s.forge.team["x-note"] = json!("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
        }),
        case("a seed as numbers", TEAM, ALL, |s| s.forge.team["x-note"] = json!(vec![2; 32])),
        case("a seed in the envelope", TEAM, ALL, |s| {
            s.after("team", |text| text.replacen('{', &format!("{{\"debug\":\"{}\",", seed(2)), 1));
        }),
        case("a member of a key object that is called so", TARGETS, ALL, |s| {
            let mut object = key(2);
            object["jwk"] = json!({"kty": "OKP", "d": "something"});
            team_key(s, object);
        }),
        case(
            "a private key in the first root, where a second has none",
            ("root", "1.root.json", "4.2"),
            ALL,
            |s| {
                s.forge.root["x-note"] = json!(PEM);
                s.root(2, 2, |f| f.root["x-note"] = json!(null));
            },
        ),
    ]);
}

#[test]
fn the_place_of_a_private_key_is_told_and_not_the_key() {
    let home = tufagent_tests::Home::new();
    let mut scene = Scene::new();
    let secret = hex::encode(signing(2).to_bytes());
    scene.forge.targets["targets"]["a"] = listed(A);
    scene.forge.targets["targets"]["a"]["custom"] = json!({"build/id": [0, secret]});
    scene.write(&home.path("case-0"));
    for command in ["verify case-0 --root case-0/metadata/1.root.json", "lint case-0"] {
        for json in ["", " --json"] {
            let outcome = home.run(&format!("{command}{json}")).exits(6);
            assert!(outcome.text().contains("/signed/targets/a/custom/build~1id/1"), "{outcome}");
            assert!(!outcome.text().contains(&secret), "{command} shows the private key");
        }
    }
}
