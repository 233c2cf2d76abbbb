//! Who has signed, and what was changed since.

use serde_json::json;

use super::{Case, Js, Python, Scene, Tough, keys, signers, try_all};
use crate::forge::{Forge, key, keyid};

fn flip(text: String) -> String {
    let at = text.find("\"sig\":\"").unwrap() + 10;
    let mut bytes = text.into_bytes();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    String::from_utf8(bytes).unwrap()
}

fn edit(text: String) -> String {
    text.replace("2040-01-01", "2041-01-01")
}

fn second_root(scene: &mut Scene, change: fn(&mut Forge)) {
    scene.root(2, 2, change);
}

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
fn signatures_that_are_bad_missing_or_a_strangers_are_refused() {
    try_all(&[
        case("timestamp: a bad signature", "timestamp", "timestamp.json", "5.4.2", |s| {
            s.after("timestamp", flip)
        }),
        case("snapshot: a bad signature", "snapshot", "1.snapshot.json", "5.5.3", |s| {
            s.after("snapshot", flip)
        }),
        case("targets: a bad signature", "targets", "1.targets.json", "5.6.3", |s| s.after("targets", flip)),
        case("team: a bad signature", "team", "1.team.json", "5.6.3", |s| s.after("team", flip)),
        case("first root: a bad signature", "root", "1.root.json", "5.2", |s| s.after("root", flip)),
        case("next root: a bad signature", "root", "2.root.json", "5.3.4", |s| {
            second_root(s, |f| f.after("root", flip));
        }),
        case("timestamp: no signature", "timestamp", "timestamp.json", "5.4.2", |s| {
            s.forge.signers.insert("timestamp", Vec::new());
        }),
        case("snapshot: no signature", "snapshot", "1.snapshot.json", "5.5.3", |s| {
            s.forge.signers.insert("snapshot", Vec::new());
        }),
        case("targets: no signature", "targets", "1.targets.json", "5.6.3", |s| {
            s.forge.signers.insert("targets", Vec::new());
        }),
        case("team: no signature", "team", "1.team.json", "5.6.3", |s| {
            s.forge.signers.insert("team", Vec::new());
        }),
        case("next root: no signature", "root", "2.root.json", "5.3.4", |s| {
            second_root(s, |f| drop(f.signers.insert("root", Vec::new())));
        }),
        case(
            "timestamp: a stranger's key under the right keyid",
            "timestamp",
            "timestamp.json",
            "5.4.2",
            |s| {
                s.forge.signers.insert("timestamp", vec![(keyid(&key(1)), 9)]);
            },
        ),
        case(
            "snapshot: a stranger's key under the right keyid",
            "snapshot",
            "1.snapshot.json",
            "5.5.3",
            |s| {
                s.forge.signers.insert("snapshot", vec![(keyid(&key(1)), 9)]);
            },
        ),
        case("targets: a stranger", "targets", "1.targets.json", "5.6.3", |s| {
            s.forge.signers.insert("targets", signers(&[9]));
        }),
        case("team: the key of targets", "team", "1.team.json", "5.6.3", |s| {
            s.forge.signers.insert("team", signers(&[1]));
        }),
        case(
            "timestamp: a key that is listed, but not for it",
            "timestamp",
            "timestamp.json",
            "5.4.2",
            |s| {
                s.forge.root["keys"] = keys(&[key(1), key(3)]);
                s.forge.signers.insert("timestamp", signers(&[3]));
            },
        ),
        case("timestamp: an empty placeholder alone", "timestamp", "timestamp.json", "5.4.2", |s| {
            s.after("timestamp", |text| {
                let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
                file["signatures"][0]["sig"] = json!("");
                file.to_string()
            });
        }),
        case("targets: a signature that is no hexadecimal", "targets", "1.targets.json", "5.6.3", |s| {
            s.after("targets", |text| text.replacen("\"sig\":\"", "\"sig\":\"zz", 1));
        }),
        case("timestamp: a keyid twice among the signatures", "timestamp", "timestamp.json", "5.4.1", |s| {
            s.forge.signers.insert("timestamp", signers(&[1, 1]));
        }),
        case("targets: one of two signatures", "targets", "1.targets.json", "5.6.3", |s| {
            s.forge.root["keys"] = keys(&[key(1), key(3)]);
            s.forge.root["roles"]["targets"] =
                json!({"keyids": [keyid(&key(1)), keyid(&key(3))], "threshold": 2});
        }),
    ]);
}

#[test]
fn text_that_was_edited_after_it_was_signed_is_refused() {
    try_all(&[
        case("timestamp", "timestamp", "timestamp.json", "5.4.2", |s| s.after("timestamp", edit)),
        case("snapshot", "snapshot", "1.snapshot.json", "5.5.3", |s| s.after("snapshot", edit)),
        case("targets", "targets", "1.targets.json", "5.6.3", |s| s.after("targets", edit)),
        case("team", "team", "1.team.json", "5.6.3", |s| s.after("team", edit)),
        case("first root", "root", "1.root.json", "5.2", |s| s.after("root", edit)),
        case("next root", "root", "2.root.json", "5.3.4", |s| second_root(s, |f| f.after("root", edit))),
        case("a member that nobody knows", "targets", "1.targets.json", "5.6.3", |s| {
            s.after("targets", |text| text.replacen("\"spec_version\"", "\"x-new\":1,\"spec_version\"", 1));
        }),
    ]);
}

#[test]
fn keys_that_are_not_what_they_seem_are_refused() {
    try_all(&[
        Case {
            accepted_by: &[Python, Js],
            ..case("a keyid that is not the hash of its key", "targets", "1.targets.json", "4.2.1", |s| {
                let wrong = "0".repeat(64);
                s.forge.targets["delegations"]["keys"] = json!({&wrong: key(2)});
                s.forge.targets["delegations"]["roles"][0]["keyids"] = json!([wrong]);
                s.forge.signers.insert("team", vec![(wrong, 2)]);
            })
        },
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case(
                "one key under two keyids meets a threshold of two",
                "targets",
                "1.targets.json",
                "5.6.3",
                |s| {
                    let mut twin = key(1);
                    twin["x-note"] = json!("the same key");
                    s.forge.root["keys"] = keys(&[key(1), twin.clone()]);
                    s.forge.root["roles"]["targets"] =
                        json!({"keyids": [keyid(&key(1)), keyid(&twin)], "threshold": 2});
                    s.forge.signers.insert("targets", vec![(keyid(&key(1)), 1), (keyid(&twin), 1)]);
                },
            )
        },
        Case {
            accepted_by: &[Tough],
            ..case("a role lists a keyid twice", "targets", "1.targets.json", "5.6.1", |s| {
                let id = keyid(&key(2));
                s.forge.targets["delegations"]["roles"][0]["keyids"] = json!([id, id]);
            })
        },
        Case {
            accepted_by: &[Tough],
            ..case("a root lists a keyid twice", "root", "2.root.json", "5.3.3", |s| {
                second_root(s, |f| {
                    let id = keyid(&key(1));
                    f.root["roles"]["timestamp"]["keyids"] = json!([id, id]);
                });
            })
        },
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case("a private key in a delegated key", "targets", "1.targets.json", "4.2", |s| {
                let mut object = key(2);
                object["keyval"]["private"] = json!("ab".repeat(32));
                let id = keyid(&object);
                s.forge.targets["delegations"]["keys"] = keys(&[object]);
                s.forge.targets["delegations"]["roles"][0]["keyids"] = json!([id]);
                s.forge.signers.insert("team", vec![(id, 2)]);
            })
        },
        Case {
            accepted_by: &[Python, Js, Tough],
            ..case("a private key in a root", "root", "2.root.json", "4.2", |s| {
                second_root(s, |f| {
                    let mut object = key(3);
                    object["x-pem"] = json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
                    f.root["keys"] = keys(&[key(1), object]);
                });
            })
        },
        case("a key that a role lists and nobody has", "team", "1.team.json", "5.6.3", |s| {
            s.forge.targets["delegations"]["keys"] = json!({});
        }),
        case("a threshold of none", "targets", "1.targets.json", "5.6.1", |s| {
            s.forge.targets["delegations"]["roles"][0]["threshold"] = json!(0);
        }),
        case("a threshold above the number of keys", "team", "1.team.json", "5.6.3", |s| {
            s.forge.targets["delegations"]["roles"][0]["threshold"] = json!(2);
        }),
    ]);
}
