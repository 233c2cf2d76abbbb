//! The chain of roots, and what has expired.

use serde_json::json;

use super::{Case, Js, Python, Scene, Tough, keys, signers, try_all};
use crate::forge::{key, keyid};

const fn case(
    what: &'static str,
    role: &'static str,
    file: &'static str,
    spec: &'static str,
    change: fn(&mut Scene),
) -> Case {
    Case { what, role, file, spec, accepted_by: &[], change }
}

#[test]
fn breaks_in_the_chain_of_roots_are_refused() {
    try_all(&[
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case("a gap", "root", "2.root.json", "5.3.3", |s| s.root(3, 3, |_| {}))
        },
        case("a version inside that skips ahead", "root", "2.root.json", "5.3.5", |s| s.root(2, 3, |_| {})),
        case("a version inside that stands still", "root", "2.root.json", "5.3.5", |s| s.root(2, 1, |_| {})),
        case("new keys without the old", "root", "2.root.json", "5.3.4", |s| {
            s.root(2, 2, |f| {
                f.root["keys"] = keys(&[key(1), key(3)]);
                f.root["roles"]["root"] = json!({"keyids": [keyid(&key(3))], "threshold": 1});
                f.signers.insert("root", signers(&[3]));
            });
        }),
        case("new keys that have not signed", "root", "2.root.json", "5.3.4", |s| {
            s.root(2, 2, |f| {
                f.root["keys"] = keys(&[key(1), key(3)]);
                f.root["roles"]["root"] = json!({"keyids": [keyid(&key(3))], "threshold": 1});
            });
        }),
        case("a raised threshold that is not met", "root", "2.root.json", "5.3.4", |s| {
            s.root(2, 2, |f| {
                f.root["keys"] = keys(&[key(1), key(3)]);
                f.root["roles"]["root"] = json!({"keyids": [keyid(&key(1)), keyid(&key(3))], "threshold": 2});
            });
        }),
        case("a keyid twice among the signatures", "root", "2.root.json", "5.3.3", |s| {
            s.root(2, 2, |f| drop(f.signers.insert("root", signers(&[1, 1]))));
        }),
        case("a role that is missing", "root", "2.root.json", "5.3.3", |s| {
            s.root(2, 2, |f| drop(f.root["roles"].as_object_mut().unwrap().remove("timestamp")));
        }),
        case("no keys", "root", "2.root.json", "5.3.3", |s| {
            s.root(2, 2, |f| drop(f.root.as_object_mut().unwrap().remove("keys")));
        }),
        case("targets in its place", "root", "2.root.json", "5.3.3", |s| {
            s.root(2, 2, |f| {
                f.root = json!({"_type": "targets", "version": 2, "spec_version": "1.0.31",
                "expires": "2040-01-01T00:00:00Z", "targets": {}})
            });
        }),
        case("a break before the newest", "root", "2.root.json", "5.3.4", |s| {
            s.root(2, 2, |f| drop(f.signers.insert("root", signers(&[9]))));
            s.root(3, 3, |_| {});
        }),
        case("keys of timestamp that its file lacks", "timestamp", "timestamp.json", "5.4.2", |s| {
            s.root(2, 2, |f| {
                f.root["keys"] = keys(&[key(1), key(3)]);
                f.root["roles"]["timestamp"] = json!({"keyids": [keyid(&key(3))], "threshold": 1});
            });
        }),
        case("a first root that is no root", "root", "1.root.json", "5.2", |s| {
            s.files.push(("metadata/1.root.json".to_owned(), Some(b"{}".to_vec())));
        }),
    ]);
}

#[test]
fn expired_metadata_is_refused_at_each_role() {
    try_all(&[
        case("root", "root", "1.root.json", "5.3.10", |s| {
            s.signed("root")["expires"] = json!("2020-01-01T00:00:00Z")
        }),
        case("the newest root", "root", "2.root.json", "5.3.10", |s| {
            s.root(2, 2, |f| f.root["expires"] = json!("2020-01-01T00:00:00Z"));
        }),
        case("timestamp", "timestamp", "timestamp.json", "5.4.4", |s| {
            s.signed("timestamp")["expires"] = json!("2020-01-01T00:00:00Z");
        }),
        case("snapshot", "snapshot", "1.snapshot.json", "5.5.6", |s| {
            s.signed("snapshot")["expires"] = json!("2020-01-01T00:00:00Z");
        }),
        case("targets", "targets", "1.targets.json", "5.6.5", |s| {
            s.signed("targets")["expires"] = json!("2020-01-01T00:00:00Z");
        }),
        case("team", "team", "1.team.json", "5.6.5", |s| {
            s.signed("team")["expires"] = json!("2020-01-01T00:00:00Z")
        }),
    ]);
}
