//! The search for a target through delegations (5.6.7).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{
    client::{Keys, at, keys, name},
    delegate, delegated, file, targets, tuf,
};
use serde_json::{Value as Json, json};
use tuf::trust::{Search, TrustedSet};

/// A set with `targets` that delegates to the given roles, all with one key.
fn delegating(keys: &Keys, roles: Json, listed: &[&str]) -> TrustedSet {
    let mut set = keys.listed(listed);
    let top = delegate(targets(1, &[]), &[&keys.other[0], &keys.other[1]], roles);
    set.update_targets(&name("targets"), &name("root"), file(&top, &[&keys.targets])).unwrap();
    set
}

#[test]
fn a_search_goes_depth_first_and_ends_at_a_terminating_role() {
    let keys = keys();
    let x = &keys.other[0];
    let roles = json!([
        delegated("a", &[x], 1, &["d/*"], false),
        delegated("b", &[x], 1, &["d/*"], true),
        delegated("c", &[x], 1, &["d/*", "e"], false),
    ]);
    let mut set = delegating(&keys, roles, &["targets", "a", "a1", "b", "c"]);
    let nested = delegate(targets(1, &[]), &[x], json!([delegated("a1", &[x], 1, &["*", "d/*"], false)]));
    set.update_targets(&name("a"), &name("targets"), file(&nested, &[x])).unwrap();
    let mut order = Vec::new();
    while let Search::Needs { role, parent } = set.find_target("d/f") {
        order.push(format!("{parent}>{role}"));
        set.update_targets(&role, &parent, file(&targets(1, &[]), &[x])).unwrap();
    }
    assert_eq!(order, ["a>a1", "targets>b"]);
    assert_eq!(set.find_target("d/f"), Search::NotFound { visited: 4, limit_reached: false });
    assert_eq!(set.find_target("none"), Search::NotFound { visited: 1, limit_reached: false });
    assert!(matches!(set.find_target("e"), Search::Needs { role, .. } if role == name("c")));
}

#[test]
fn a_search_visits_each_role_once_and_no_more_roles_than_allowed() {
    let keys = keys();
    let x = &keys.other[0];
    let roles = json!([delegated("a", &[x], 1, &["*"], false), delegated("b", &[x], 1, &["*"], false)]);
    let mut set = delegating(&keys, roles, &["targets", "a", "b"]);
    let circle = |to: &str| {
        file(&delegate(targets(1, &[]), &[x], json!([delegated(to, &[x], 1, &["*"], false)])), &[x])
    };
    while let Search::Needs { role, parent } = set.find_target("f") {
        set.update_targets(&role, &parent, circle(if role == name("a") { "b" } else { "a" })).unwrap();
    }
    assert_eq!(set.find_target("f"), Search::NotFound { visited: 3, limit_reached: false });
    let many: Vec<_> = (0..400).map(|n| format!("r{n}")).collect();
    let roles: Vec<_> = many.iter().map(|role| delegated(role, &[x], 1, &["*"], false)).collect();
    let mut listed: Vec<_> = many.iter().map(String::as_str).collect();
    listed.push("targets");
    let mut set = delegating(&keys, json!(roles), &listed);
    let empty = file(&targets(1, &[]), &[x]);
    while let Search::Needs { role, parent } = set.find_target("f") {
        set.update_targets(&role, &parent, empty.clone()).unwrap();
    }
    assert_eq!(set.find_target("f"), Search::NotFound { visited: 256, limit_reached: true });
}

#[test]
fn a_role_with_two_parents_must_satisfy_the_one_it_is_reached_through() {
    let keys = keys();
    let [x, y] = &keys.other;
    let roles = json!([delegated("a", &[x], 1, &["p"], false), delegated("shared", &[y], 1, &["q"], false)]);
    let mut set = delegating(&keys, roles, &["targets", "a", "shared"]);
    let nested = delegate(targets(1, &[]), &[x], json!([delegated("shared", &[x], 1, &["p"], false)]));
    set.update_targets(&name("a"), &name("targets"), file(&nested, &[x])).unwrap();
    let by_x = file(&targets(1, &["p", "q"]), &[x]);
    set.update_targets(&name("shared"), &name("a"), by_x.clone()).unwrap();
    assert!(matches!(set.find_target("p"), Search::Found { .. }));
    assert!(matches!(set.find_target("q"), Search::Needs { parent, .. } if parent == name("targets")));
    at(set.update_targets(&name("shared"), &name("targets"), by_x), "shared", "5.6.3");
    let by_both = file(&targets(1, &["p", "q"]), &[x, y]);
    set.update_targets(&name("shared"), &name("targets"), by_both).unwrap();
    assert!(matches!(set.find_target("q"), Search::Found { .. }));
    // Another file than the one that `a` has vouched for: `a` is asked anew.
    assert!(matches!(set.find_target("p"), Search::Needs { parent, .. } if parent == name("a")));
}
