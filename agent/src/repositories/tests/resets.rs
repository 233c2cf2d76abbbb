//! When a watermark may start anew, and when nobody can tell.

use std::fs;

use policy::{Reason, SigningRules, judge};
use serde_json::Value;
use tuf::metadata::{Limits, Metadata};

use super::support::{House, Pen, described, pen, role, root, sign, snapshot, targets, timestamp};
use crate::refusal::Refusal;
use crate::repositories::{Repositories, Signing};

async fn signs(house: &House, name: &str, file: &Metadata, by: &Pen) {
    let (app, role) = (house.app().await, role(name));
    let authority = house.repositories.authority(&app, &role, file, &[]).await.unwrap();
    let signing = Signing {
        record: &app,
        role: &role,
        subject: file,
        authority: &authority,
        keys: by.named(),
        shared_key: false,
        supersedes: None,
        caller: Value::Null,
    };
    house.repositories.record_intent(signing).await.unwrap();
}

async fn reset(house: &House, repositories: &Repositories, name: &str) -> Result<ledger::Reset, Refusal> {
    repositories.look_at_reset(&*house.app().await, &role(name)).await
}

fn reason(result: Result<ledger::Reset, Refusal>) -> Reason {
    result.unwrap_err().reason
}

/// One with root 1 alone.
async fn with_root() -> House {
    let house = House::with_app().await;
    house.observe(true, &[("root", &sign(&root(1, 2), &[&pen(1), &pen(2)]))]).await.unwrap();
    house
}

#[tokio::test]
async fn what_was_signed_by_the_keys_that_stand_is_never_taken_back() {
    let house = with_root().await;
    signs(&house, "targets", &targets(1, 80), &pen(3)).await;
    assert_eq!(reason(reset(&house, &house.repositories, "targets").await), Reason::Policy);
    let listing = snapshot(1, &[]);
    signs(&house, "snapshot", &listing, &pen(4)).await;
    assert_eq!(reason(reset(&house, &house.repositories, "snapshot").await), Reason::Policy);
}

#[tokio::test]
async fn without_the_file_that_was_verified_nothing_starts_anew() {
    let house = with_root().await;
    let first = sign(&targets(1, 80), &[&pen(3)]);
    let listing = sign(&snapshot(1, &[("targets", described(&first))]), &[&pen(4)]);
    let stamp = sign(&timestamp(1, &described(&listing)), &[&pen(4)]);
    house.observe(true, &[("targets", &first), ("snapshot", &listing), ("timestamp", &stamp)]).await.unwrap();
    assert_eq!(reason(reset(&house, &house.repositories, "timestamp").await), Reason::Policy);
    for file in [&first, &listing, &stamp] {
        fs::remove_file(house.folder.path().join("metadata").join(format!("{}.json", file.digest())))
            .unwrap();
    }
    let fresh = Repositories::open(std::sync::Arc::clone(&house.ledger)).await.unwrap();
    for name in ["timestamp", "snapshot", "targets"] {
        assert_eq!(reason(reset(&house, &fresh, name).await), Reason::StateCorrupt, "{name}");
    }
}

#[tokio::test]
async fn a_text_without_the_signatures_that_it_had_says_nothing() {
    let first = sign(&targets(1, 80), &[&pen(3)]);
    let house = House::published(&first).await;
    let path = house.folder.path().join("metadata").join(format!("{}.json", first.digest()));
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let fresh = Repositories::open(std::sync::Arc::clone(&house.ledger)).await.unwrap();
    let house = House { repositories: fresh, ..house };
    // It is signed again, and lies at hand as it is sent for that.
    let part = Metadata::parse_signed_part(first.canonical_signed().to_vec(), &Limits::agent()).unwrap();
    signs(&house, "targets", &part, &pen(3)).await;
    assert_eq!(reason(reset(&house, &house.repositories, "targets").await), Reason::StateCorrupt);
    house.repositories.write_behind();
    fs::write(&path, text).unwrap();
    assert_eq!(reason(reset(&house, &house.repositories, "targets").await), Reason::Policy);
}

#[tokio::test]
async fn a_base_that_was_lost_is_a_persons_to_pass_over() {
    let first = sign(&targets(1, 80), &[&pen(3)]);
    let house = House::published(&first).await;
    fs::remove_file(house.folder.path().join("metadata").join(format!("{}.json", first.digest()))).unwrap();
    let fresh = Repositories::open(std::sync::Arc::clone(&house.ledger)).await.unwrap();
    let house = House { repositories: fresh, ..house };
    let facts = house.facts("targets", &targets(2, 80), &pen(3), &[]).await.unwrap();
    assert_eq!(facts.lost_base, Some(1));
    let decision = judge(&SigningRules::default(), &facts);
    assert!(decision.concerns().iter().any(|concern| concern.needs_person()), "{decision:?}");
    // Shown once more, it is the base again.
    house.observe(true, &[("targets", &first)]).await.unwrap();
    let facts = house.facts("targets", &targets(2, 80), &pen(3), &[]).await.unwrap();
    assert_eq!(facts.lost_base, None);
    assert!(judge(&SigningRules::default(), &facts).concerns().is_empty());
}
