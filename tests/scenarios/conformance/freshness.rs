//! Expiry, by the clock of the C library.

use serde_json::{Value, json};
use tufagent_tests::clock::Shift;
use tufagent_tests::need;

use super::world::{LONG_AGO, World};

#[test]
fn an_expired_file_is_refused_and_the_one_before_kept() {
    for (role, trusted) in
        [("timestamp", [1, 1, 1, 1]), ("snapshot", [1, 2, 1, 1]), ("targets", [1, 2, 2, 1])]
    {
        let mut world = World::new();
        world.refresh().done();
        world.part(role)["expires"] = json!(LONG_AGO);
        world.publish(&["targets", "snapshot", "timestamp"]);
        world.refresh().exits(1);
        assert_eq!(world.trusts(), trusted, "{role}");
    }
}

#[test]
fn an_expired_delegated_role_is_refused() {
    let mut world = World::new();
    world.delegate("targets", "team", 5, &json!({}));
    world.target("team", "app.txt", "app");
    world.part("team")["expires"] = json!(LONG_AGO);
    world.publish_with(&["team", "targets"]);
    world.refresh().done();
    world.download(&["app.txt"]).exits(1);
    assert_eq!((world.trusted("team"), world.downloads().len()), (None, 0));
}

/// A time some days from now, as metadata writes it.
fn in_days(days: i64) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    json!(tuf::time::UtcTime::from_unix(i64::try_from(now).unwrap() + days * 86_400).to_string())
}

#[test]
fn what_was_fresh_expires_with_the_clock_of_the_c_library() {
    let (Some(before), Some(after)) = (need(Shift::new("+6d")), need(Shift::new("+8d"))) else { return };
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut world = World::new();
        world.part(role)["expires"] = in_days(7);
        world.publish(&["root", "targets", "snapshot", "timestamp"]);
        world.refresh_at(&before).done();
        let refused = world.refresh_at(&after).exits(1);
        assert!(refused.stderr.contains("expired"), "{role}: {refused}");
        world.refresh().done();
    }
}

#[test]
fn a_client_whose_files_have_expired_goes_on_with_fresh_ones() {
    let Some(later) = need(Shift::new("+20d")) else { return };
    let mut world = World::new();
    for role in ["root", "targets", "snapshot", "timestamp"] {
        world.part(role)["expires"] = in_days(7);
    }
    world.publish(&["root", "targets", "snapshot", "timestamp"]);
    world.refresh().done();
    for role in ["root", "targets", "snapshot", "timestamp"] {
        world.part(role)["expires"] = in_days(30);
    }
    world.publish(&["root", "targets", "snapshot", "timestamp"]);
    world.refresh_at(&later).done();
    assert_eq!(world.trusts(), [3, 3, 3, 3]);
}
