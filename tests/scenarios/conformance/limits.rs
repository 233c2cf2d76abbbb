//! Sizes: what an endless, an oversized or a cut file does.

use std::time::{Duration, Instant};

use serde_json::json;
use tufagent_tests::web::Answer;

use super::world::World;

/// A member that makes a file as large as it takes.
fn padding(bytes: usize) -> serde_json::Value {
    json!("x".repeat(bytes))
}

#[test]
fn endless_files_are_cut_off_for_every_role() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut world = World::new();
        world.publish(&["root", "targets", "snapshot", "timestamp"]);
        world.server.put(&world.address_of(role), Answer::Endless);
        let refused = world.refresh().exits(1);
        assert!(refused.stderr.contains("more than"), "{refused}");
        assert_eq!(world.trusted(role).unwrap_or(0), u64::from(role == "root"), "{role}");
    }
}

#[test]
fn a_file_is_read_up_to_the_limit_of_its_role_and_no_further() {
    for (role, limit) in
        [("root", 512_000), ("timestamp", 16_384), ("snapshot", 2_000_000), ("targets", 5_000_000)]
    {
        for (bytes, code) in [(limit - 2_000, 0), (limit, 1)] {
            let mut world = World::new();
            world.part(role)["x-padding"] = padding(bytes);
            world.publish(&["root", "targets", "snapshot", "timestamp"]);
            let done = world.refresh();
            assert_eq!(done.code, code, "{role} of {} bytes: {done}", world.published[role].len());
        }
    }
}

#[test]
fn a_listed_length_takes_the_place_of_the_limit() {
    let mut world = World::new();
    world.list_digests = true;
    world.part("snapshot")["x-padding"] = padding(2_100_000);
    world.publish(&["targets", "snapshot", "timestamp"]);
    world.refresh().done();
}

#[test]
fn a_file_that_is_cut_short_on_the_way_is_refused() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut world = World::new();
        world.publish(&["root", "targets", "snapshot", "timestamp"]);
        let bytes = world.published[role].clone();
        world.server.put(&world.address_of(role), Answer::CutShort(bytes));
        world.refresh().exits(1);
        assert_ne!(world.trusted(role), Some(2), "{role}");
    }
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_cut_off() {
    let mut world = World::new();
    world.publish(&["snapshot", "timestamp"]);
    world.server.put(&world.address_of("timestamp"), Answer::Drip);
    let began = Instant::now();
    let refused = world.refresh().exits(1);
    assert!(["too slow", "timeout"].iter().any(|why| refused.stderr.contains(why)), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
}

#[test]
fn a_chain_of_roots_is_followed_256_at_a_time() {
    let mut world = World::new();
    for _ in 0..260 {
        world.publish(&["root"]);
    }
    world.refresh().done();
    assert_eq!(world.trusted("root"), Some(257));
    world.refresh().done();
    assert_eq!(world.trusted("root"), Some(261));
}

#[test]
fn a_search_visits_32_delegated_roles() {
    for (depth, code) in [(32, 0), (33, 1)] {
        let mut world = World::new();
        let names: Vec<String> = (1..=depth).map(|n| format!("role-{n}")).collect();
        let mut parent = "targets".to_owned();
        for name in &names {
            world.delegate(&parent, name, 7, &json!({}));
            parent.clone_from(name);
        }
        world.target(&parent, "deep.txt", "deep");
        let mut roles: Vec<&str> = names.iter().map(String::as_str).collect();
        roles.push("targets");
        world.publish_with(&roles);
        let done = world.download(&["deep.txt"]);
        assert_eq!(done.code, code, "{depth}: {done}");
    }
}

#[test]
fn wrong_usage_and_a_server_that_is_not_there_are_refusals_too() {
    let world = World::new();
    world.download(&[]).exits(1);
    let mut command = std::process::Command::new(tufagent_tests::binary("tuf-conformance-client"));
    command.arg("--metadata-dir").arg(world.metadata_dir()).args([
        "--metadata-url",
        "http://127.0.0.1:1/",
        "refresh",
    ]);
    tufagent_tests::run_to_end(&mut command).exits(1);
}
