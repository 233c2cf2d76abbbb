//! What is given back of what was verified.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use tuf::metadata::Metadata;
use tuf::role::RoleName;

use super::super::Repositories;
use super::support::{House, delegating, pen, role, root, sign, targets, version};

async fn recalled(house: &House, without: &[&str]) -> Vec<(RoleName, Metadata)> {
    let without: BTreeSet<RoleName> = without.iter().map(|name| role(name)).collect();
    house.repositories.recalled(&*house.app().await, &without).await.unwrap()
}

async fn names(house: &House, without: &[&str]) -> Vec<String> {
    recalled(house, without).await.into_iter().map(|(role, _)| role.to_string()).collect()
}

#[tokio::test]
async fn what_was_verified_is_given_back_byte_by_byte_and_nothing_else() {
    let house = House::with_app().await;
    assert!(recalled(&house, &[]).await.is_empty(), "there is no root yet");
    let (top, rel) = (sign(&delegating(1, 5), &[&pen(3)]), sign(&targets(1, 80), &[&pen(5)]));
    let first = sign(&root(1, 2), &[&pen(1), &pen(2)]);
    house.observe(true, &[("root", &first)]).await.unwrap();
    assert_eq!(names(&house, &[]).await, ["root"]);
    house.observe(true, &[("targets", &top), ("rel", &rel)]).await.unwrap();
    let given = recalled(&house, &[]).await;
    let bytes: Vec<_> = given.iter().map(|(role, file)| (role.as_str(), file.bytes().to_vec())).collect();
    let seen = [("root", &first), ("targets", &top), ("rel", &rel)];
    assert_eq!(bytes, seen.map(|(role, file)| (role, file.bytes().to_vec())));
    assert_eq!(names(&house, &["targets"]).await, ["root", "rel"]);
    assert_eq!(names(&house, &["rel", "nobody"]).await, ["root", "targets"]);
    // Of another version only what met its threshold counts.
    let next = sign(&targets(2, 80), &[&pen(5)]);
    house.observe(false, &[("rel", &next)]).await.unwrap();
    house.observe(true, &[("rel", &sign(&targets(3, 80), &[&pen(6)]))]).await.unwrap();
    assert_eq!(recalled(&house, &[]).await[2].1.version(), version(2));
}

#[tokio::test]
async fn what_is_not_kept_whole_is_not_given_back() {
    let (top, rel) = (sign(&delegating(1, 5), &[&pen(3)]), sign(&targets(1, 80), &[&pen(5)]));
    let house = House::published(&top).await;
    house.observe(true, &[("rel", &rel)]).await.unwrap();
    let text = |file: &Metadata| house.folder.path().join("metadata").join(format!("{}.json", file.digest()));
    // The same content without its signature.
    fs::write(text(&rel), rel.with_signatures(&[])).unwrap();
    fs::write(text(&top), b"{}").unwrap();
    assert_eq!(names(&house, &[]).await, ["root", "targets", "rel"], "it is at hand still");
    let fresh = Repositories::open(Arc::clone(&house.ledger)).await.unwrap();
    let given = fresh.recalled(&*house.app().await, &BTreeSet::new()).await.unwrap();
    assert_eq!(given.len(), 1, "the root alone");
    fs::write(text(&top), &**top.bytes()).unwrap();
    let fresh = Repositories::open(Arc::clone(&house.ledger)).await.unwrap();
    let given = fresh.recalled(&*house.app().await, &BTreeSet::new()).await.unwrap();
    assert_eq!(given.len(), 2, "and the one that delegates");
}
