//! The search for a target through delegations (5.6.7): in which order, how far, and whose word counts.

use serde_json::{Value, json};

use super::world::World;

/// Delegations as "parent child [pattern] [!]", in the order of the metadata; `!` for terminating.
fn graph(edges: &[&str]) -> World {
    let mut world = World::new();
    for edge in edges {
        let words: Vec<&str> = edge.split(' ').collect();
        let pattern = words.iter().skip(2).find(|word| **word != "!").unwrap_or(&"*");
        let more = json!({"paths": [pattern], "terminating": words.contains(&"!")});
        let number = 60 + u8::try_from(words[1].bytes().map(u32::from).sum::<u32>() % 100).unwrap();
        world.delegate(words[0], words[1], number, &more);
    }
    let names: Vec<String> = world.signed.keys().filter(|it| it.len() == 1).cloned().collect();
    let roles: Vec<&str> = names.iter().map(String::as_str).chain(["targets"]).collect();
    world.publish_with(&roles);
    world.refresh().done();
    world.server.take_asked();
    world
}

/// The delegated roles that a search visits.
#[track_caller]
fn visits(edges: &[&str], path: &str, roles: &str) {
    let world = graph(edges);
    world.download(&[path]).exits(1);
    let asked = world.asked_roles().split_off(2).join(" ");
    assert_eq!(asked, roles, "{edges:?}");
}

#[test]
fn roles_are_visited_depth_first_in_the_order_of_the_metadata() {
    visits(&["targets A"], "x", "A");
    visits(&["targets B", "targets A"], "x", "B A");
    visits(&["targets A", "targets B", "A C", "A D"], "x", "A C D B");
    visits(&["targets A", "targets B", "A C", "C D", "B E"], "x", "A C D B E");
}

#[test]
fn a_terminating_delegation_ends_the_search_behind_it() {
    visits(&["targets A !", "targets B"], "x", "A");
    visits(&["targets A", "targets B", "A C !", "A D", "C E"], "x", "A C E");
    // Where its paths do not match it ends nothing.
    visits(&["targets A *.txt !", "targets B"], "x", "B");
}

#[test]
fn a_role_whose_paths_do_not_match_is_not_asked_nor_what_is_behind_it() {
    visits(&["targets A *.txt", "targets B", "A C"], "x", "B");
    visits(&["targets A", "A B *.txt", "B C", "A D"], "x", "A D");
    visits(&["targets A a/*", "targets B a/*/*", "targets C *", "targets D a/b?c"], "a/b/c", "B");
    visits(&["targets A a/*", "targets B A/*", "targets C a/b?c"], "a/b1c", "A C");
}

#[test]
fn a_role_is_visited_once_however_many_ways_lead_to_it() {
    visits(&["targets A", "targets B", "A B", "B C", "C A"], "x", "A B C");
    visits(&["targets A", "targets B", "A C", "B C"], "x", "A C B");
    visits(&["targets A", "targets B", "A C *.txt", "B C"], "x", "A B C");
    visits(&["targets A", "A A"], "x", "A");
}

#[test]
fn the_first_role_that_lists_a_target_decides() {
    let mut world = World::new();
    world.delegate("targets", "A", 71, &json!({}));
    world.delegate("targets", "B", 72, &json!({}));
    world.target("A", "both.txt", "of A");
    world.target("B", "both.txt", "of B");
    world.target("B", "second.txt", "of B too");
    world.publish_with(&["A", "B", "targets"]);
    world.download(&["both.txt", "second.txt"]).done();
    let contents: Vec<_> = world.downloads().into_iter().map(|(_, content)| content).collect();
    assert_eq!(contents, ["of A", "of B too"]);
}

#[test]
fn a_target_outside_the_paths_of_its_role_is_not_found() {
    let mut world = World::new();
    world.delegate("targets", "A", 71, &json!({"paths": ["a/*"]}));
    world.delegate("A", "B", 72, &json!({"paths": ["*", "b/*", "a/*"]}));
    for path in ["b/x.txt", "x.txt", "a/x.txt"] {
        world.target("B", path, "content");
    }
    world.publish_with(&["A", "B", "targets"]);
    world.download(&["b/x.txt"]).exits(1);
    world.download(&["x.txt"]).exits(1);
    world.download(&["a/x.txt"]).done();
}

#[test]
fn each_parent_must_vouch_for_a_role_by_its_own_keys() {
    let mut world = World::new();
    world.delegate("targets", "A", 71, &json!({"paths": ["a/*"]}));
    world.delegate("targets", "B", 72, &json!({"paths": ["b/*"]}));
    world.delegate("A", "shared", 73, &json!({"paths": ["a/*"]}));
    world.delegate("B", "shared", 74, &json!({"paths": ["b/*"]}));
    world.target("shared", "a/x.txt", "by A");
    world.target("shared", "b/x.txt", "by nobody");
    world.publish_with(&["shared", "A", "B", "targets"]);
    world.download(&["a/x.txt", "b/x.txt"]).exits(1);
    let contents: Vec<_> = world.downloads().into_iter().map(|(_, content)| content).collect();
    assert_eq!(contents, ["by A"]);
    world.download(&["b/x.txt"]).exits(1);
    world.signers.insert("shared".to_owned(), vec![73, 74]);
    world.publish_with(&["shared"]);
    world.download(&["a/x.txt", "b/x.txt"]).done();
}

#[test]
fn a_delegated_role_that_the_snapshot_does_not_list_is_not_even_asked_for() {
    let mut world = World::new();
    world.delegate("targets", "A", 71, &json!({}));
    world.publish(&["A", "targets", "snapshot"]);
    world.part("snapshot")["meta"].as_object_mut().unwrap().remove("A.json");
    world.serve("snapshot");
    world.publish(&["timestamp"]);
    world.refresh().done();
    world.server.take_asked();
    world.download(&["x"]).exits(1);
    assert_eq!(world.asked_roles(), ["root", "timestamp"]);
    assert_eq!(world.trusted("A"), None);
}

#[test]
fn a_delegated_role_without_enough_signatures_is_refused() {
    for (signers, code) in [(&[71][..], 1), (&[71, 72], 0), (&[71, 90], 1), (&[72, 73], 0)] {
        let mut world = World::new();
        world.delegate("targets", "A", 71, &json!({}));
        let delegations = &mut world.part("targets")["delegations"];
        delegations["keys"] = super::world::keys(&[71, 72, 73]);
        delegations["roles"][0]
            .as_object_mut()
            .unwrap()
            .extend(super::world::role_keys(&[71, 72, 73], 2).as_object().unwrap().clone());
        world.signers.insert("A".to_owned(), signers.to_vec());
        world.target("A", "x.txt", "content");
        world.publish_with(&["A", "targets"]);
        assert_eq!(world.download(&["x.txt"]).code, code, "{signers:?}");
    }
}

#[test]
fn hashed_bins_are_found_by_the_prefix_of_the_path() {
    let mut world = World::new();
    let bins = ["0123", "4567", "89ab", "cdef"];
    for (digits, number) in bins.iter().zip(80..) {
        let prefixes: Vec<String> = digits.chars().map(String::from).collect();
        world.delegate("targets", digits, number, &json!({"path_hash_prefixes": prefixes}));
    }
    let paths = ["a.txt", "dir/b.txt", "c", "d", "e", "f"];
    for path in paths {
        let digit = tuf::digest::Sha256Digest::of(path.as_bytes()).to_string()[..1].to_owned();
        let bin = bins.iter().find(|bin| bin.contains(&digit)).unwrap();
        world.target(bin, path, path);
    }
    world.publish_with(&["0123", "4567", "89ab", "cdef", "targets"]);
    world.download(&paths).done();
    assert_eq!(world.downloads().len(), paths.len());
}

#[test]
fn succinct_bins_are_found_by_the_bits_of_the_path() {
    let mut world = World::new();
    let names = ["bin-0", "bin-1", "bin-2", "bin-3"];
    for name in names {
        world.delegate("targets", name, 80, &json!({}));
    }
    let mut succinct: Value = super::world::role_keys(&[80], 1);
    succinct["bit_length"] = json!(2);
    succinct["name_prefix"] = json!("bin");
    world.part("targets")["delegations"] =
        json!({"keys": super::world::keys(&[80]), "succinct_roles": succinct});
    let paths = ["a.txt", "dir/b.txt", "c", "d", "e", "f"];
    for path in paths {
        let first = tuf::digest::Sha256Digest::of(path.as_bytes()).as_bytes()[0];
        world.target(names[usize::from(first >> 6)], path, path);
    }
    world.publish_with(&["bin-0", "bin-1", "bin-2", "bin-3", "targets"]);
    world.download(&paths).done();
    assert_eq!(world.downloads().len(), paths.len());
}
