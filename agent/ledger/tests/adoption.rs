//! What versions before this one have left of adoptions that were refused or cut off makes room for those that are whole.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use support::{digest, verified, version};
use tempfile::tempdir;
use tufagent_ledger::{AdoptedCopy, Ledger, LedgerError, NewRepository};

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
    ledger.make_room(one, roots, serde_json::Value::Null).await.unwrap();
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
