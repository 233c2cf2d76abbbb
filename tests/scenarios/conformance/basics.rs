//! One update from nothing, files that do not fit together, and files that are not there.

use std::fs;

use serde_json::json;
use tufagent_tests::web::Answer;

use super::world::{TOP, World};

#[test]
fn an_update_asks_for_each_file_once_and_keeps_the_bytes_as_they_came() {
    let mut world = World::new();
    let odd = [&world.published["timestamp"][..], b" \n"].concat();
    world.serve_bytes("timestamp", odd.clone());
    world.refresh().done();
    assert_eq!(
        world.server.take_asked(),
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
            .map(|it| format!("/metadata/{it}"))
    );
    for role in TOP {
        let kept = fs::read(world.metadata_dir().join(format!("{role}.json"))).unwrap();
        assert_eq!(kept, world.published[role], "{role}");
    }
}

#[test]
fn what_is_kept_and_still_listed_is_not_fetched_again() {
    let mut world = World::new();
    world.list_digests = true;
    world.publish(&["targets", "snapshot", "timestamp"]);
    world.refresh().done();
    world.server.take_asked();
    world.publish(&["snapshot", "timestamp"]);
    world.refresh().done();
    assert_eq!(world.asked_roles(), ["root", "timestamp", "snapshot"]);
    world.refresh().done();
    assert_eq!(world.asked_roles(), ["root", "timestamp"]);
}

#[test]
fn a_first_root_that_is_broken_or_unsigned_is_refused_before_anything_is_asked() {
    let mut world = World::unpublished();
    world.publish(&TOP);
    let good = world.published["root"].clone();
    let unsigned = String::from_utf8(good.clone()).unwrap().replace("\"sig\":\"", "\"sig\":\"00");
    for bytes in [b"{}".to_vec(), b"no JSON".to_vec(), unsigned.into_bytes()] {
        world.published.insert("root".to_owned(), bytes);
        world.begin().exits(1);
        world.refresh().exits(1);
    }
    assert_eq!(world.server.take_asked(), Vec::<String>::new());
    world.published.insert("root".to_owned(), good);
    world.begin().done();
    world.refresh().done();
}

#[test]
fn a_client_that_trusts_a_root_does_not_begin_anew_with_another() {
    let mut world = World::new();
    let first = world.published["root"].clone();
    world.begin().done();
    world.publish(&["root"]);
    world.refresh().done();
    world.published.insert("root".to_owned(), first);
    world.begin().exits(1);
    assert_eq!(world.trusted("root"), Some(2));
}

#[test]
fn a_role_without_its_signature_stops_the_update_there() {
    let cases = [
        ("root", [1, 0, 0, 0]),
        ("timestamp", [2, 0, 0, 0]),
        ("snapshot", [2, 2, 0, 0]),
        ("targets", [2, 2, 2, 0]),
    ];
    for (role, trusted) in cases {
        let mut world = World::new();
        world.signers.insert(role.to_owned(), Vec::new());
        world.publish(&TOP);
        world.refresh().exits(1);
        assert_eq!(world.trusts(), trusted, "{role}");
        world.signers.insert(role.to_owned(), vec![9]);
        world.serve(role);
        world.refresh().exits(1);
        assert_eq!(world.trusts(), trusted, "{role} by a stranger");
    }
}

#[test]
fn a_signature_over_other_content_stops_the_update_there() {
    for role in TOP {
        let mut world = World::new();
        world.publish(&TOP);
        world.damage(role, |file| file["signed"]["x-more"] = json!(1));
        world.refresh().exits(1);
        assert_ne!(world.trusted(role), Some(2), "{role}");
    }
}

#[test]
fn a_file_with_another_version_than_its_name_says_is_refused() {
    for role in ["root", "snapshot", "targets"] {
        let mut world = World::new();
        world.publish(&["root", "targets"]);
        let address = world.address_of(role);
        world.part(role)["version"] = json!(3);
        world.serve(role);
        world.server.put(&address, Answer::File(world.published[role].clone()));
        world.part(role)["version"] = json!(2);
        let list: &[&str] = if role == "snapshot" { &["timestamp"] } else { &["snapshot", "timestamp"] };
        world.publish(list);
        if role == "snapshot" {
            world.part("timestamp")["meta"]["snapshot.json"]["version"] = json!(1);
            world.server.put("/metadata/1.snapshot.json", Answer::File(world.published["snapshot"].clone()));
            world.serve("timestamp");
        }
        world.refresh().exits(1);
        assert_ne!(world.trusted(role), Some(3), "{role}");
    }
}

#[test]
fn metadata_of_another_role_is_refused_even_with_the_right_signatures() {
    let mut world = World::new();
    world.set_keys("snapshot", &[2, 3], 1);
    world.part("snapshot")["meta"] = json!({"snapshot.json": {"version": 1}});
    world.publish(&["root"]);
    world.serve("snapshot");
    let bytes = world.published["snapshot"].clone();
    world.serve_bytes("timestamp", bytes);
    world.refresh().exits(1);
    assert_eq!(world.trusts(), [2, 0, 0, 0]);
}

#[test]
fn other_content_under_a_timestamp_version_that_is_trusted_is_let_go() {
    let mut world = World::new();
    world.refresh().done();
    let before = fs::read(world.metadata_dir().join("timestamp.json")).unwrap();
    world.part("timestamp")["meta"]["snapshot.json"]["version"] = json!(100);
    world.serve("timestamp");
    world.server.take_asked();
    world.refresh().done();
    assert_eq!(world.asked_roles(), ["root", "timestamp"]);
    assert_eq!(fs::read(world.metadata_dir().join("timestamp.json")).unwrap(), before);
}

#[test]
fn a_file_of_another_length_or_digest_than_is_listed_is_refused() {
    for (role, list) in [("snapshot", "timestamp"), ("targets", "snapshot")] {
        for (member, wrong) in [
            ("length", json!(1)),
            ("length", json!(1_000_000)),
            ("hashes", json!({"sha256": "0".repeat(64)})),
            ("hashes", json!({"md5": "00"})),
        ] {
            let mut world = World::new();
            world.list_digests = true;
            world.publish(&["targets", "snapshot"]);
            if list == "timestamp" {
                world.publish(&["timestamp"]);
            }
            world.part(list)["meta"][format!("{role}.json")][member] = wrong;
            world.serve(list);
            if list == "snapshot" {
                world.publish(&["timestamp"]);
            }
            world.refresh().exits(1);
            assert_eq!(world.trusted(role), None, "{role} {member}");
            assert!(world.trusted(list).is_some(), "{list} itself is fine");
        }
    }
}

#[test]
fn unknown_members_are_signed_over_and_accepted() {
    let mut world = World::new();
    world.part("root")["x-note"] = json!({"b": [1, "é\u{2028}"], "a": null});
    world.part("root")["roles"]["snapshot"]["x-more"] = json!(true);
    world.part("targets")["delegations"] = json!({"keys": {}, "roles": [], "x-kept": 7});
    world.publish(&TOP);
    world.refresh().done();
    assert_eq!(world.trusts(), [2, 2, 2, 2]);
}

#[test]
fn a_missing_file_ends_the_update_with_what_was_trusted_so_far() {
    for (role, trusted) in
        [("timestamp", [1, 1, 1, 1]), ("snapshot", [1, 2, 1, 1]), ("targets", [1, 2, 2, 1])]
    {
        let mut world = World::new();
        world.refresh().done();
        world.publish(&["targets", "snapshot", "timestamp"]);
        world.server.remove(&world.address_of(role));
        world.refresh().exits(1);
        assert_eq!(world.trusts(), trusted, "{role}");
    }
}

#[test]
fn only_a_missing_next_root_ends_the_chain_of_roots() {
    let world = World::new();
    for status in [500, 503, 204, 401] {
        world.server.put("/metadata/2.root.json", Answer::Status(status));
        world.refresh().exits(1);
        assert_eq!(world.trusts(), [1, 0, 0, 0], "{status}");
    }
    world.server.put("/metadata/2.root.json", Answer::Status(403));
    world.refresh().done();
}

#[test]
fn remembered_metadata_that_is_damaged_stops_the_client_with_a_remedy() {
    for role in ["root", "timestamp", "snapshot"] {
        let world = World::new();
        world.refresh().done();
        fs::write(world.metadata_dir().join(format!("{role}.json")), "{").unwrap();
        world.server.take_asked();
        let refused = world.refresh().exits(1);
        assert!(role == "root" || refused.stderr.contains("remove it"), "{refused}");
        assert_eq!(world.server.take_asked(), Vec::<String>::new());
    }
}

#[test]
fn a_download_updates_the_metadata_first() {
    let world = World::new();
    world.download(&["not there"]).exits(1);
    assert_eq!(world.trusts(), [1, 1, 1, 1]);
}
