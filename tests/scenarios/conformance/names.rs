//! Names of roles and targets that addresses and file systems could misread.

use std::fs;

use serde_json::json;
use tufagent_tests::web::Answer;

use super::world::World;

#[test]
fn odd_role_names_are_asked_for_and_stored_as_one_encoded_segment() {
    let long = "é".repeat(100);
    for (role, stem) in [
        ("?", "%3F"),
        ("#", "%23"),
        ("/absolute", "%2Fabsolute"),
        ("../../above", "..%2F..%2Fabove"),
        ("..", ".."),
        ("a b%20c", "a%20b%2520c"),
        ("ü~-_.", "%C3%BC~-_."),
        (&long, &"%C3%A9".repeat(100)),
    ] {
        let mut world = World::new();
        world.delegate("targets", role, 5, &json!({}));
        world.publish_with(&[role, "targets"]);
        world.download(&["not there"]).exits(1);
        let asked = world.server.take_asked();
        assert_eq!(asked.last(), Some(&format!("/metadata/1.{stem}.json")), "{role}");
        let files: Vec<_> =
            fs::read_dir(world.metadata_dir()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(files.len(), 5, "{role}: {files:?}");
        // The next run finds it there.
        world.download(&["not there"]).exits(1);
        assert_eq!(world.asked_roles(), ["root", "timestamp"], "{role}");
    }
}

#[test]
fn a_role_named_as_a_top_level_role_never_takes_its_place() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut world = World::new();
        let entry = json!([{"name": role, "terminating": false, "paths": ["*"], "threshold": 1,
            "keyids": [crate::forge::keyid(&crate::forge::key(5))]}]);
        world.part("targets")["delegations"] = json!({"keys": super::world::keys(&[5]), "roles": entry});
        world.publish_with(&["targets"]);
        world.download(&["not there"]).exits(1);
        assert_eq!(world.trusted("root"), Some(1));
        let kept = fs::read(world.metadata_dir().join("timestamp.json"));
        assert!(kept.is_err() || kept.unwrap() == world.published["timestamp"]);
    }
}

#[test]
fn odd_target_names_are_fetched_by_their_encoded_address_and_stored_as_one_file() {
    for (path, address) in [
        ("a b.txt", "a%20b.txt"),
        ("50%.txt", "50%25.txt"),
        ("a%2Fb.txt", "a%252Fb.txt"),
        ("what?#.txt", "what%3F%23.txt"),
        ("dir/Ä+(1)~@.txt", "dir/%C3%84+(1)~@.txt"),
    ] {
        let mut world = World::new();
        world.target("targets", path, "content");
        let digest = tuf::digest::Sha256Digest::of(b"content");
        let (folder, name) =
            address.rsplit_once('/').map_or((String::new(), address), |(f, n)| (format!("{f}/"), n));
        world.server.put(&format!("/targets/{folder}{digest}.{name}"), Answer::File(b"content".to_vec()));
        world.publish_with(&["targets"]);
        world.download(&[path]).done();
        let files = world.downloads();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].1, "content", "{path}");
    }
}

#[test]
fn target_names_that_lead_out_of_the_folder_are_refused() {
    for path in ["../up.txt", "/etc/motd", "a//b", "a/../../b", "."] {
        let mut world = World::new();
        world.target("targets", path, "content");
        world.publish_with(&["targets"]);
        let refused = world.download(&[path]).exits(1);
        assert!(refused.stderr.contains("leave the folder"), "{refused}");
        assert_eq!(world.downloads().len(), 0);
    }
}
