//! What versions before this one have left of adoptions that were refused or cut off makes room for those that are whole.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;

use support::{digest, verified, version};
use tempfile::tempdir;
use tuf::key::KeyId;
use tufagent_ledger::{AdoptedCopy, Ledger, LedgerError, NewRepository, RepositoryId};

/// Registered, as it was when the copy was noted in a call of its own, and nothing after that.
async fn left(ledger: &Ledger, name: &str, number: u64) {
    let content = format!("root {number}");
    ledger.register_repository(support::adopted(name, number, &content, "key")).await.unwrap();
}

/// The same chain again, from a copy that has these other roots.
fn again(name: &str, number: u64, others: &[&str]) -> NewRepository {
    let mut new = support::adopted(name, number, &format!("root {number}"), "key");
    new.root.as_mut().unwrap().others = others.iter().map(|content| digest(content)).collect();
    new
}

async fn names(ledger: &Ledger) -> Vec<String> {
    ledger.repositories().await.unwrap().into_iter().map(|record| record.name.to_string()).collect()
}

fn copy() -> AdoptedCopy {
    AdoptedCopy { files: vec![verified("targets", 3, "targets")], ..Default::default() }
}

#[tokio::test]
async fn a_record_of_nothing_but_roots_makes_room_for_a_whole_copy_of_its_chain() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    left(&ledger, "wrong", 1).await;
    let new = again("right", 1, &["root 2"]);
    let looked = ledger.look_at_adoption(new.clone()).await.unwrap();
    assert!(!looked.known);
    assert_eq!(names(&ledger).await, ["wrong"], "a look changes nothing");
    ledger.adopt_repository(looked.record.id, new, copy()).await.unwrap();
    assert_eq!(names(&ledger).await, ["right"]);
    let watermark = ledger.watermark(looked.record.id, support::role("targets")).await.unwrap();
    assert_eq!(watermark.verified.map(|mark| mark.version), Some(version(3)));
    // From now on the chain has its name.
    let known = ledger.look_at_adoption(again("wrong", 1, &[])).await.unwrap_err();
    assert!(matches!(known, LedgerError::ChainKnown { .. }), "{known:?}");
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(names(&ledger).await, ["right"]);
}

#[tokio::test]
async fn a_record_makes_no_room_for_a_copy_that_is_behind_it() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    left(&ledger, "wrong", 1).await;
    let wrong = ledger.repositories().await.unwrap()[0].id;
    support::publish(&ledger, wrong, "root", 2, "root 2").await.unwrap();
    let behind = ledger.look_at_adoption(again("right", 1, &[])).await.unwrap_err();
    assert!(matches!(behind, LedgerError::ChainKnown { .. }), "{behind:?}");
    assert!(ledger.look_at_adoption(again("right", 1, &["root 2"])).await.is_ok());
}

#[tokio::test]
async fn a_chain_that_two_names_claim_goes_on_under_the_one_that_was_adopted() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    left(&ledger, "one", 4).await;
    let one = ledger.repositories().await.unwrap()[0].id;
    ledger.note_all(one, vec![verified("targets", 3, "targets")], true).await.unwrap();
    let mut second = support::adopted("two", 1, "root 1", "key");
    second.shared_key = true;
    ledger.register_repository(second).await.unwrap();
    let whole = ["root 1", "root 2", "root 3", "root 4"];
    let refused = ledger.look_at_adoption(again("two", 1, &whole)).await.unwrap_err();
    assert!(matches!(&refused, LedgerError::ChainKnown { name } if name.as_str() == "one"), "{refused:?}");
    for root in [1, 4] {
        let looked = ledger.look_at_adoption(again("one", root, &whole)).await.unwrap();
        assert_eq!((looked.record.id, looked.known), (one, true));
    }
    let older: Vec<_> =
        (1..=3).rev().map(|number| (version(number), digest(&format!("root {number}")))).collect();
    assert!(ledger.add_ancestors(one, older.clone()).await.is_err());
    let roots = older.iter().map(|(_, digest)| *digest).collect();
    ledger.make_room(one, roots, BTreeMap::new(), serde_json::Value::Null).await.unwrap();
    assert_eq!(names(&ledger).await, ["one"]);
    ledger.add_ancestors(one, older).await.unwrap();
}

#[tokio::test]
async fn a_name_that_a_cut_off_adoption_holds_is_free_for_another_repository() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    left(&ledger, "app", 1).await;
    let other = support::adopted("app", 7, "another chain", "key");
    let looked = ledger.look_at_adoption(other.clone()).await.unwrap();
    ledger.adopt_repository(looked.record.id, other, copy()).await.unwrap();
    assert_eq!(names(&ledger).await, ["app"]);
    // Now it is one that was adopted.
    let taken = ledger.look_at_adoption(support::adopted("app", 1, "root 1", "key 2")).await.unwrap_err();
    assert!(matches!(taken, LedgerError::NameTaken { .. }), "{taken:?}");
}

#[tokio::test]
async fn what_is_refused_of_a_copy_undoes_its_registration() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let new = again("app", 1, &[]);
    let id = ledger.look_at_adoption(new.clone()).await.unwrap().record.id;
    let files = vec![verified("targets", 3, "targets"), verified("root", 9, "root 9")];
    let refused = ledger.adopt_repository(id, new, AdoptedCopy { files, ..Default::default() }).await;
    assert!(matches!(refused, Err(LedgerError::RootStep { .. })), "{refused:?}");
    assert!(names(&ledger).await.is_empty());
    assert!(ledger.watermarks(id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_adoption_of_an_older_version_tells_nothing_of_what_a_key_has_signed() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    left(&ledger, "app", 1).await;
    let app = ledger.repositories().await.unwrap()[0].id;
    let keyid = || KeyId::parse(&"ab".repeat(32)).unwrap();
    let known = async |key: &str| ledger.knows_past(app, digest(key), keyid()).await.unwrap();
    assert!(!known("key").await && !known("stranger").await);
    // What was verified of a copy that was refused was noted all the same: whose keys those are is known by it, and no more.
    ledger.note_all(app, vec![verified("targets", 3, "targets")], true).await.unwrap();
    assert!(known("key").await && !known("stranger").await);
    // Adopted again, from a whole copy: now its versions are known, whoever signed them.
    ledger.settle_restored(app, serde_json::Value::Null).await.unwrap();
    assert!(known("stranger").await);
    let entries = ledger.entries(0, 100).await.unwrap().len();
    ledger.settle_restored(app, serde_json::Value::Null).await.unwrap();
    assert_eq!(ledger.entries(0, 100).await.unwrap().len(), entries, "nothing new, nothing written");
}

#[tokio::test]
async fn what_is_adopted_whole_tells_what_its_keys_have_signed() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let new = again("app", 1, &[]);
    let id = ledger.look_at_adoption(new.clone()).await.unwrap().record.id;
    // Roots alone, as of a repository that was never published whole.
    ledger.adopt_repository(id, new, AdoptedCopy::default()).await.unwrap();
    for key in ["key", "stranger"] {
        assert!(ledger.knows_past(id, digest(key), KeyId::parse(&"ab".repeat(32)).unwrap()).await.unwrap());
    }
}

/// Adopted whole, from a copy whose roots are these.
async fn adopted_whole(ledger: &Ledger, name: &str, roots: &[u64], targets: u64) -> RepositoryId {
    let (first, rest) = roots.split_first().unwrap();
    let others: Vec<String> = rest.iter().map(|number| format!("root {number}")).collect();
    let mut new = again(name, *first, &others.iter().map(String::as_str).collect::<Vec<_>>());
    new.root.as_mut().unwrap().keys = vec![(digest(name), support::role("root"))];
    let id = ledger.look_at_adoption(new.clone()).await.unwrap().record.id;
    let roots = rest.iter().map(|number| verified("root", *number, &format!("root {number}")));
    let files = roots.chain([verified("targets", targets, &format!("targets {targets}"))]).collect();
    ledger.adopt_repository(id, new, AdoptedCopy { files, ..Default::default() }).await.unwrap();
    id
}

#[tokio::test]
async fn of_two_names_for_one_chain_the_one_that_nothing_was_signed_for_makes_room_for_a_fuller_copy() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let old = adopted_whole(&ledger, "old", &[1, 2], 3).await;
    let recent = adopted_whole(&ledger, "recent", &[4, 5], 6).await;
    let roots = |numbers: &[u64]| numbers.iter().map(|number| digest(&format!("root {number}"))).collect();
    let whole = ["root 1", "root 2", "root 3", "root 4", "root 5"];
    // A copy that lacks the newest root of the other, one that is behind it, and a third name: no way.
    for (name, others) in [("recent", &whole[..1]), ("third", &whole[..])] {
        let refused = ledger.look_at_adoption(again(name, 5, others)).await.unwrap_err();
        assert!(matches!(refused, LedgerError::ChainKnown { .. }), "{name}: {refused:?}");
    }
    let seen = |targets| BTreeMap::from([(support::role("targets"), version(targets))]);
    let room = async |id, targets| {
        ledger.make_room(id, roots(&[1, 2, 3, 4, 5]), seen(targets), serde_json::Value::Null).await.unwrap();
    };
    room(old, 5).await;
    assert_eq!(names(&ledger).await, ["old", "recent"]);
    // What was signed for stays, whatever is shown.
    let signed = support::intent(recent, "targets", 7, "targets 7");
    ledger.record_intent(signed).await.unwrap();
    room(old, 9).await;
    assert_eq!(names(&ledger).await, ["old", "recent"]);
    let refused = ledger.look_at_adoption(again("old", 1, &whole)).await.unwrap_err();
    assert!(matches!(&refused, LedgerError::ChainKnown { name } if name.as_str() == "recent"), "{refused:?}");
    let looked = ledger.look_at_adoption(again("recent", 5, &whole)).await.unwrap();
    assert_eq!((looked.record.id, looked.known), (recent, true));
    room(recent, 6).await;
    assert_eq!(names(&ledger).await, ["recent"]);
    let older = (1..=3).rev().map(|number| (version(number), digest(&format!("root {number}"))));
    ledger.add_ancestors(recent, older.collect()).await.unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(names(&ledger).await, ["recent"]);
}
