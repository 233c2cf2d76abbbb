//! Roots, their keys and thresholds, and how each rotation is followed or refused.

use serde_json::{Value, json};

use super::world::{LONG_AGO, TOP, World, keys, role_keys};
use crate::forge::{key, keyid};

/// One version of root: its keys, its threshold, and who signs it.
type Step<'s> = (&'s [u8], u32, &'s [u8]);

/// Publishes the steps as versions 1, 2, …; begins with version 1, updates, and compares exit code and trusted version.
#[track_caller]
fn followed(steps: &[Step<'_>], code: i32, trusted: u64) {
    let mut world = World::unpublished();
    for (index, (members, threshold, signers)) in steps.iter().enumerate() {
        let root = world.part("root");
        root["keys"].as_object_mut().unwrap().extend(keys(members).as_object().unwrap().clone());
        root["roles"]["root"] = role_keys(members, *threshold);
        world.signers.insert("root".to_owned(), signers.to_vec());
        world.publish(&["root"]);
        if index == 0 {
            world.begin().done();
        }
    }
    world.publish_with(&["targets"]);
    let done = world.refresh();
    assert_eq!((done.code, world.trusted("root")), (code, Some(trusted)), "{steps:?}: {done}");
}

#[test]
fn a_rotation_that_old_and_new_keys_sign_is_followed() {
    let all: &[u8] = &[10, 11, 12, 13, 14];
    followed(&[(&[10], 1, &[10]), (&[11], 1, &[10, 11]), (&[11], 1, &[11])], 0, 3);
    followed(&[(&[10], 1, &[20, 10, 21]), (&[11], 1, &[20, 11, 10])], 0, 2);
    followed(&[(all, 3, &[10, 12, 14]), (all, 3, &[14, 11, 10]), (all, 3, &[11, 12, 13])], 0, 3);
    followed(&[(all, 3, &[10, 11, 12]), (&[10, 11, 12, 13, 15], 3, &[10, 11, 13])], 0, 2);
    followed(&[(all, 3, &[10, 11, 12]), (&[20, 21, 22, 23, 24], 3, &[10, 11, 12, 20, 21, 22])], 0, 2);
}

#[test]
fn a_threshold_goes_up_and_down() {
    followed(&[(&[10, 11, 12], 1, &[10]), (&[10, 11, 12], 2, &[10, 12])], 0, 2);
    followed(&[(&[10, 11], 2, &[10, 11]), (&[10, 11], 1, &[10, 11]), (&[10, 11], 1, &[11])], 0, 3);
    followed(&[(&[10, 11, 12], 1, &[10]), (&[10, 11, 12], 2, &[12])], 1, 1);
    followed(&[(&[10, 11], 2, &[10, 11]), (&[10, 11], 1, &[10])], 1, 1);
}

#[test]
fn a_rotation_that_old_or_new_keys_do_not_sign_is_refused_and_the_last_good_root_kept() {
    followed(&[(&[10], 1, &[10]), (&[11], 1, &[11, 20])], 1, 1);
    followed(&[(&[10], 1, &[10]), (&[11], 1, &[10, 20])], 1, 1);
    followed(&[(&[10], 1, &[10]), (&[10], 1, &[10]), (&[11], 1, &[11])], 1, 2);
    followed(&[(&[10, 11, 12], 2, &[10, 11]), (&[12, 13, 14], 2, &[10, 11, 12])], 1, 1);
    followed(&[(&[10, 11, 12], 2, &[10, 11]), (&[12, 13, 14], 2, &[12, 13])], 1, 1);
}

#[test]
fn keys_of_the_other_roles_are_followed_with_the_root_that_brings_them() {
    for role in ["timestamp", "snapshot", "targets"] {
        for (members, threshold, signers, code) in [
            (&[30][..], 1, &[30][..], 0),
            (&[30], 1, &[31, 30, 32], 0),
            (&[30, 31, 32], 2, &[30, 32], 0),
            (&[30, 31, 32], 2, &[32, 40], 1),
            (&[30, 31, 32], 2, &[31], 1),
            (&[30], 1, &[2, 3, 4], 1),
        ] {
            let mut world = World::new();
            world.refresh().done();
            world.set_keys(role, members, threshold);
            world.signers.insert(role.to_owned(), signers.to_vec());
            world.publish(&TOP);
            let done = world.refresh();
            assert_eq!(done.code, code, "{role} of {members:?} by {signers:?}: {done}");
            assert_eq!(world.trusted(role) == Some(2), code == 0, "{role}");
        }
    }
}

#[test]
fn an_expired_root_on_the_way_is_followed_and_an_expired_last_one_kept_and_refused() {
    let mut world = World::new();
    world.refresh().done();
    world.part("root")["expires"] = json!(LONG_AGO);
    world.publish(&TOP);
    world.refresh().exits(1);
    assert_eq!(world.trusts(), [2, 1, 1, 1]);
    world.part("root")["expires"] = json!("2039-01-01T00:00:00Z");
    world.publish(&["root"]);
    world.refresh().done();
    assert_eq!(world.trusts(), [3, 2, 2, 2]);
}

#[test]
fn a_client_may_begin_with_an_expired_root() {
    let mut world = World::unpublished();
    world.part("root")["expires"] = json!(LONG_AGO);
    world.publish(&TOP);
    world.begin().done();
    world.refresh().exits(1);
    world.part("root")["expires"] = json!("2039-01-01T00:00:00Z");
    world.publish(&["root"]);
    world.refresh().done();
}

#[test]
fn a_wrong_or_empty_signature_beside_enough_good_ones_does_not_spoil_a_file() {
    for sig in ["", "00", &"ab".repeat(64)] {
        let mut world = World::new();
        world.set_keys("timestamp", &[2, 5], 1);
        world.publish(&["root", "timestamp"]);
        world.damage("timestamp", |file| file["signatures"][0]["sig"] = json!(sig));
        world.refresh().done();
        assert_eq!(world.trusted("timestamp"), Some(2), "{sig:?}");
    }
}

#[test]
fn two_signatures_under_one_keyid_spoil_a_file() {
    let mut world = World::new();
    world.damage("snapshot", |file| {
        let again = file["signatures"][0].clone();
        file["signatures"].as_array_mut().unwrap().push(again);
    });
    world.refresh().exits(1);
    assert_eq!(world.trusts(), [1, 1, 0, 0]);
}

#[test]
fn one_key_counts_once_under_however_many_keyids() {
    let mut world = World::new();
    let root = world.part("root");
    // The same key with one more member is another key object and has another keyid.
    let mut twin = key(3);
    twin["x-note"] = json!("twin");
    let twin_id = keyid(&twin);
    root["keys"][&twin_id] = twin;
    root["roles"]["snapshot"] = json!({"keyids": [keyid(&key(3)), twin_id], "threshold": 2});
    world.publish(&["root", "snapshot", "timestamp"]);
    world.damage("snapshot", |file| {
        let mut again = file["signatures"][0].clone();
        again["keyid"] = json!(twin_id);
        file["signatures"].as_array_mut().unwrap().push(again);
    });
    world.refresh().exits(1);
    assert_eq!(world.trusted("snapshot"), None);
}

#[test]
fn a_threshold_that_no_number_of_keys_can_reach_spoils_that_role_alone() {
    let mut world = World::new();
    world.set_keys("snapshot", &[3, 5, 6], 4);
    world.publish(&["root", "snapshot", "timestamp"]);
    world.refresh().exits(1);
    assert_eq!(world.trusts(), [2, 2, 0, 0]);
}

#[test]
fn a_keyid_that_is_not_the_hash_of_its_key_is_taken_as_the_suite_demands() {
    let mut world = World::unpublished();
    let odd: Value = json!("0".repeat(64));
    let root = world.part("root");
    root["keys"][odd.as_str().unwrap()] = key(1);
    root["roles"]["root"]["keyids"] = json!([odd]);
    world.publish(&["root"]);
    world.damage("root", |file| file["signatures"][0]["keyid"] = odd);
    world.publish(&["targets", "snapshot", "timestamp"]);
    world.begin().done();
    world.refresh().done();
}

#[test]
fn a_specification_of_another_major_version_is_refused() {
    for (version, code) in [("1.0.0", 0), ("1.99.3", 0), ("2.0.0", 1), ("0.9.0", 1)] {
        let mut world = World::new();
        world.part("timestamp")["spec_version"] = json!(version);
        world.publish(&["timestamp"]);
        assert_eq!(world.refresh().code, code, "{version}");
    }
}
