//! Text that is no metadata, or not as the specification has it.

use serde_json::json;

use super::{Case, Js, Python, Scene, Tough, try_all};

const fn case(
    what: &'static str,
    role: &'static str,
    file: &'static str,
    spec: &'static str,
    change: fn(&mut Scene),
) -> Case {
    Case { what, role, file, spec, accepted_by: &[], change }
}

fn without(scene: &mut Scene, role: &str, member: &str) {
    assert!(scene.signed(role).as_object_mut().unwrap().remove(member).is_some());
}

#[test]
fn members_that_are_missing_or_wrong_are_refused() {
    try_all(&[
        case("timestamp: _type of snapshot", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.forge.timestamp["_type"] = json!("snapshot");
        }),
        case("snapshot: _type of targets", "snapshot", "1.snapshot.json", "5.5.1", |s| {
            s.forge.snapshot["_type"] = json!("targets");
        }),
        case("team: _type of its name", "team", "1.team.json", "5.6.1", |s| {
            s.forge.team["_type"] = json!("team")
        }),
        case("targets: no _type", "targets", "1.targets.json", "5.6.1", |s| without(s, "targets", "_type")),
        case("timestamp: no meta", "timestamp", "timestamp.json", "5.4.1", |s| {
            without(s, "timestamp", "meta")
        }),
        case("snapshot: no version", "snapshot", "1.snapshot.json", "5.5.1", |s| {
            without(s, "snapshot", "version")
        }),
        case("targets: no targets", "targets", "1.targets.json", "5.6.1", |s| {
            without(s, "targets", "targets")
        }),
        case("team: no expires", "team", "1.team.json", "5.6.1", |s| without(s, "team", "expires")),
        case("targets: no spec_version", "targets", "1.targets.json", "5.6.1", |s| {
            without(s, "targets", "spec_version")
        }),
        Case {
            accepted_by: &[Tough],
            ..case("specification 2", "targets", "1.targets.json", "5.6.1", |s| {
                s.forge.targets["spec_version"] = json!("2.0.0");
            })
        },
        case("a target without a length", "targets", "1.targets.json", "5.6.1", |s| {
            s.forge.targets["targets"]["a"].as_object_mut().unwrap().remove("length");
        }),
        case("a target without digests", "targets", "1.targets.json", "5.6.1", |s| {
            s.forge.targets["targets"]["a"]["hashes"] = json!({});
        }),
        case("version 0", "snapshot", "1.snapshot.json", "5.5.1", |s| {
            s.forge.snapshot["version"] = json!(0);
            s.moves.push(("metadata/0.snapshot.json".into(), "metadata/1.snapshot.json".into()));
        }),
        case("a version in quotes", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.forge.timestamp["version"] = json!("1")
        }),
        Case {
            accepted_by: &[Js],
            ..case("expires with an offset", "snapshot", "1.snapshot.json", "5.5.1", |s| {
                s.forge.snapshot["expires"] = json!("2040-01-01T00:00:00+00:00");
            })
        },
        Case {
            accepted_by: &[Js],
            ..case("expires with a fraction", "timestamp", "timestamp.json", "5.4.1", |s| {
                s.forge.timestamp["expires"] = json!("2040-01-01T00:00:00.5Z");
            })
        },
        case("expires as a number", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.forge.timestamp["expires"] = json!(2_208_988_800_u64);
        }),
    ]);
}

#[test]
fn delegations_that_do_not_hold_together_are_refused() {
    fn team(scene: &mut Scene) -> &mut serde_json::Value {
        &mut scene.forge.targets["delegations"]["roles"][0]
    }
    try_all(&[
        case("a top-level name", "targets", "1.targets.json", "5.6.1", |s| {
            team(s)["name"] = json!("snapshot")
        }),
        case("paths and prefixes", "targets", "1.targets.json", "5.6.1", |s| {
            team(s)["path_hash_prefixes"] = json!(["00"])
        }),
        case("neither paths nor prefixes", "targets", "1.targets.json", "5.6.1", |s| {
            team(s).as_object_mut().unwrap().remove("paths");
        }),
        Case {
            accepted_by: &[Tough],
            ..case("one role twice", "targets", "1.targets.json", "5.6.1", |s| {
                let again = team(s).clone();
                s.forge.targets["delegations"]["roles"].as_array_mut().unwrap().push(again);
            })
        },
        Case {
            accepted_by: &[Python],
            ..case("terminating as a word", "targets", "1.targets.json", "5.6.1", |s| {
                team(s)["terminating"] = json!("no")
            })
        },
        case("a threshold in quotes", "targets", "1.targets.json", "5.6.1", |s| {
            team(s)["threshold"] = json!("1")
        }),
        case("bins of no bits", "targets", "1.targets.json", "5.6.1", |s| {
            let keys = s.forge.targets["delegations"]["keys"].clone();
            let bins =
                json!({"keyids": team(s)["keyids"], "threshold": 1, "bit_length": 0, "name_prefix": "b"});
            s.forge.targets["delegations"] = json!({"keys": keys, "succinct_roles": bins});
        }),
    ]);
}

#[test]
fn text_that_readers_could_read_in_two_ways_is_refused() {
    try_all(&[
        Case {
            accepted_by: &[Python, Js],
            ..case("a member twice", "timestamp", "timestamp.json", "5.4.1", |s| {
                s.after("timestamp", |text| text.replacen("\"version\":1", "\"version\":1,\"version\":1", 1));
            })
        },
        Case {
            accepted_by: &[Js],
            ..case("a version with a fraction", "timestamp", "timestamp.json", "5.4.1", |s| {
                s.after("timestamp", |text| text.replace("31\",\"version\":1", "31\",\"version\":1.0"));
            })
        },
        Case {
            accepted_by: &[Python, Tough],
            ..case("an integer that JavaScript reads as another", "targets", "1.targets.json", "4.1", |s| {
                s.forge.targets["x-number"] = json!(9_007_199_254_740_993_u64);
            })
        },
        Case {
            accepted_by: &[Python, Js],
            ..case("a signed part that nests for ever", "targets", "1.targets.json", "5.6.1", |s| {
                let mut deep = json!(1);
                for _ in 0..400 {
                    deep = json!([deep]);
                }
                s.forge.targets["x-deep"] = deep;
            })
        },
        case("text after the end", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.after("timestamp", |text| format!("{text}{{}}"));
        }),
        case("a byte order mark", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.after("timestamp", |text| format!("\u{feff}{text}"));
        }),
        case("cut short", "targets", "1.targets.json", "5.6.1", |s| {
            s.after("targets", |text| text[..text.len() / 2].to_owned());
        }),
        case("nothing", "snapshot", "1.snapshot.json", "5.5.1", |s| s.after("snapshot", |_| String::new())),
        case("no object", "snapshot", "1.snapshot.json", "5.5.1", |s| {
            s.after("snapshot", |_| "[]".to_owned())
        }),
        case("bytes that are no text", "team", "1.team.json", "5.6.1", |s| {
            s.files.push(("metadata/1.team.json".to_owned(), Some(vec![0xff, 0xfe, 0])));
        }),
    ]);
}
