//! Rollbacks, and the way out of a fast-forward attack (5.3.11).

use serde_json::json;
use tufagent_tests::web::Answer;

use super::world::World;

/// A client that has seen version 2 of everything but root.
fn seen(list_digests: bool) -> World {
    let mut world = World::new();
    world.list_digests = list_digests;
    world.publish(&["targets", "snapshot", "timestamp"]);
    world.refresh().done();
    assert_eq!(world.trusts(), [1, 2, 2, 2]);
    world
}

#[test]
fn an_older_timestamp_is_refused() {
    let mut world = seen(false);
    world.part("timestamp")["version"] = json!(1);
    world.serve("timestamp");
    world.refresh().exits(1);
    assert_eq!(world.trusts(), [1, 2, 2, 2]);
}

#[test]
fn a_newer_timestamp_with_an_older_snapshot_is_refused() {
    for digests in [false, true] {
        let mut world = seen(digests);
        world.part("snapshot")["version"] = json!(0);
        world.publish(&["snapshot", "timestamp"]);
        world.refresh().exits(1);
        assert_eq!(world.trusts(), [1, 2, 2, 2]);
    }
}

#[test]
fn a_newer_snapshot_with_older_targets_is_refused() {
    for digests in [false, true] {
        let mut world = seen(digests);
        world.part("targets")["version"] = json!(0);
        world.publish(&["targets", "snapshot", "timestamp"]);
        world.refresh().exits(1);
        assert_eq!(world.trusts(), [1, 3, 2, 2]);
    }
}

#[test]
fn a_role_that_vanishes_from_the_snapshot_is_refused() {
    let mut world = World::new();
    world.delegate("targets", "team", 5, &json!({}));
    world.publish_with(&["team", "targets"]);
    world.refresh().done();
    world.publish(&["snapshot"]);
    world.part("snapshot")["meta"].as_object_mut().unwrap().remove("team.json");
    world.serve("snapshot");
    world.publish(&["timestamp"]);
    world.refresh().exits(1);
    assert_eq!(world.trusted("snapshot"), Some(2));
}

#[test]
fn an_attack_that_lasts_over_several_updates_does_not_wear_the_client_out() {
    let mut world = seen(false);
    world.part("targets")["version"] = json!(0);
    for _ in 0..3 {
        world.publish(&["snapshot", "timestamp"]);
        world.refresh().exits(1);
        assert_eq!((world.trusted("snapshot"), world.trusted("targets")), (Some(2), Some(2)));
    }
}

/// Versions near 1000 for these roles, seen by the client; then root gives them new keys and they begin anew.
fn recovered(fast: &[&str], rotated: &[&str]) -> World {
    let mut world = seen(false);
    for role in fast {
        world.part(role)["version"] = json!(1000);
    }
    world.publish(&["targets", "snapshot", "timestamp"]);
    world.refresh().done();
    for (role, number) in rotated.iter().zip(50..) {
        world.set_keys(role, &[number], 1);
    }
    for role in fast {
        world.part(role)["version"] = json!(0);
    }
    world.publish(&["root", "targets", "snapshot", "timestamp"]);
    world
}

#[test]
fn new_keys_lead_out_of_a_fast_forward_attack() {
    for (fast, rotated) in [
        (&["timestamp"][..], &["timestamp"][..]),
        (&["snapshot"], &["snapshot"]),
        (&["snapshot", "timestamp"], &["snapshot", "timestamp"]),
        (&["targets"], &["snapshot"]),
        (&["targets", "snapshot", "timestamp"], &["timestamp"]),
    ] {
        let world = recovered(fast, rotated);
        world.refresh().done();
        for role in fast {
            assert_eq!(world.trusted(role), Some(1), "{role} after new keys of {rotated:?}");
        }
    }
}

#[test]
fn without_new_keys_of_timestamp_or_snapshot_there_is_no_way_back() {
    for rotated in [&[][..], &["targets"]] {
        let world = recovered(&["timestamp"], rotated);
        world.refresh().exits(1);
        assert_eq!(world.trusted("timestamp"), Some(1001), "{rotated:?}");
    }
}

#[test]
fn a_root_that_replaces_their_keys_makes_the_client_forget_timestamp_and_snapshot_at_once() {
    let world = recovered(&["timestamp"], &["timestamp"]);
    world.server.put("/metadata/timestamp.json", Answer::Status(500));
    world.refresh().exits(1);
    assert_eq!((world.trusted("timestamp"), world.trusted("snapshot")), (None, None));
}

#[test]
fn a_key_that_is_only_added_makes_the_client_forget_nothing() {
    let mut world = seen(false);
    world.set_keys("timestamp", &[2, 50], 1);
    world.publish(&["root"]);
    world.part("timestamp")["version"] = json!(0);
    world.publish(&["timestamp"]);
    world.refresh().exits(1);
    assert_eq!(world.trusts(), [2, 2, 2, 2]);
}
