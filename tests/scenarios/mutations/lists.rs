//! Files that are not what another one lists, are missing, or lie elsewhere.

use serde_json::json;

use super::{A, Case, Js, Python, Scene, Tough, file_of_a, listed, try_all};

const fn case(
    what: &'static str,
    role: &'static str,
    file: &'static str,
    spec: &'static str,
    change: fn(&mut Scene),
) -> Case {
    Case { what, role, file, spec, accepted_by: &[], change }
}

fn zeros() -> serde_json::Value {
    json!({"sha256": "0".repeat(64)})
}

/// What the snapshot says of a role, or the timestamp of the snapshot.
fn entry<'s>(scene: &'s mut Scene, role: &str) -> &'s mut serde_json::Value {
    match role {
        "snapshot" => &mut scene.forge.timestamp["meta"]["snapshot.json"],
        role => &mut scene.forge.snapshot["meta"][format!("{role}.json")],
    }
}

#[test]
fn lengths_digests_and_versions_that_do_not_fit_are_refused() {
    try_all(&[
        case("snapshot: length", "snapshot", "1.snapshot.json", "5.5.2", |s| {
            entry(s, "snapshot")["length"] = json!(3)
        }),
        case("snapshot: digest", "snapshot", "1.snapshot.json", "5.5.2", |s| {
            entry(s, "snapshot")["hashes"] = zeros()
        }),
        case("targets: length", "targets", "1.targets.json", "5.6.2", |s| {
            entry(s, "targets")["length"] = json!(3)
        }),
        case("targets: digest", "targets", "1.targets.json", "5.6.2", |s| {
            entry(s, "targets")["hashes"] = zeros()
        }),
        case("team: length", "team", "1.team.json", "5.6.2", |s| entry(s, "team")["length"] = json!(3)),
        case("team: digest", "team", "1.team.json", "5.6.2", |s| entry(s, "team")["hashes"] = zeros()),
        case("team: a digest of no known kind", "team", "1.team.json", "5.6.2", |s| {
            entry(s, "team")["hashes"] = json!({"md5": "00"});
        }),
        case("snapshot: version", "snapshot", "2.snapshot.json", "5.5.4", |s| {
            entry(s, "snapshot")["version"] = json!(2);
            s.moves.push(("metadata/1.snapshot.json".into(), "metadata/2.snapshot.json".into()));
        }),
        case("targets: version", "targets", "2.targets.json", "5.6.4", |s| {
            entry(s, "targets")["version"] = json!(2);
            s.moves.push(("metadata/1.targets.json".into(), "metadata/2.targets.json".into()));
        }),
        case("team: version", "team", "2.team.json", "5.6.4", |s| {
            entry(s, "team")["version"] = json!(2);
            s.moves.push(("metadata/1.team.json".into(), "metadata/2.team.json".into()));
        }),
        case("targets: not listed", "targets", "targets.json", "5.6.1", |s| {
            s.forge.snapshot["meta"].as_object_mut().unwrap().remove("targets.json");
        }),
        case("team: not listed", "team", "team.json", "5.6.1", |s| {
            s.forge.snapshot["meta"].as_object_mut().unwrap().remove("team.json");
        }),
        case("timestamp: lists no snapshot", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.forge.timestamp["meta"] = json!({});
        }),
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case("snapshot: a name without its ending", "snapshot", "1.snapshot.json", "5.5.1", |s| {
                s.forge.snapshot["meta"]["team"] = json!({"version": 1});
            })
        },
    ]);
}

#[test]
fn missing_metadata_is_refused() {
    fn away(scene: &mut Scene, name: &str) {
        scene.files.push((format!("metadata/{name}"), None));
    }
    try_all(&[
        case("timestamp", "timestamp", "timestamp.json", "5.4.1", |s| away(s, "timestamp.json")),
        case("snapshot", "snapshot", "1.snapshot.json", "5.5.1", |s| away(s, "1.snapshot.json")),
        case("targets", "targets", "1.targets.json", "5.6.1", |s| away(s, "1.targets.json")),
        case("team", "team", "1.team.json", "5.6.1", |s| away(s, "1.team.json")),
        case(
            "names without versions under consistent snapshots",
            "snapshot",
            "1.snapshot.json",
            "5.5.1",
            |s| {
                for role in ["snapshot", "targets", "team"] {
                    s.moves.push((format!("metadata/1.{role}.json"), format!("metadata/{role}.json")));
                }
            },
        ),
        case("names with versions without consistent snapshots", "snapshot", "snapshot.json", "5.5.1", |s| {
            s.forge.root["consistent_snapshot"] = json!(false);
            for role in ["snapshot", "targets", "team"] {
                s.moves.push((format!("metadata/{role}.json"), format!("metadata/1.{role}.json")));
            }
        }),
    ]);
}

#[test]
fn target_files_that_are_not_what_is_listed_are_refused() {
    fn with(scene: &mut Scene, content: Option<&[u8]>) {
        scene.files.push((file_of_a(), content.map(<[u8]>::to_vec)));
    }
    try_all(&[
        case("missing", "targets", ".a", "5.7.2", |s| with(s, None)),
        case("short", "targets", ".a", "5.7.2", |s| with(s, Some(b"a"))),
        case("long", "targets", ".a", "5.7.2", |s| with(s, Some(b"a\n\n"))),
        case("other", "targets", ".a", "5.7.2", |s| with(s, Some(b"b\n"))),
        case("empty", "targets", ".a", "5.7.2", |s| with(s, Some(b""))),
        case("under its plain name alone", "targets", ".a", "5.7.2", |s| {
            s.moves.push((file_of_a(), "targets/a".to_owned()));
        }),
        case("a digest of no known kind", "targets", "a", "5.7.2", |s| {
            s.forge.targets["targets"]["a"]["hashes"] = json!({"md5": "00"});
        }),
        Case {
            accepted_by: &[Python, Js],
            ..case("outside the paths of its role", "team", "1.team.json", "4.5", |s| {
                s.forge.team["targets"]["elsewhere/c"] = listed(A);
            })
        },
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case("a name that leads out", "targets", "../../x", "4.5", |s| {
                s.forge.targets["targets"]["../../x"] = listed(A);
            })
        },
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case("a second one that is missing", "targets", ".other", "5.7.2", |s| {
                s.forge.targets["targets"]["other"] = listed(A);
            })
        },
    ]);
}
