//! The count of wrong PINs: before the card is asked, across restarts, never silently lower.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use rusqlite::Connection;
use serde_json::json;
use tempfile::tempdir;
use tufagent_ledger::{
    ByItself, FormerNames, HeldBack, Ledger, LedgerError, PinAttempt, PinLeave, PinOutcome, PinRecord,
    SourceMark,
};

fn attempt(card: &str, limit: Option<u32>) -> PinAttempt {
    PinAttempt {
        card: card.to_owned(),
        token: "hsm".to_owned(),
        limit,
        from_source: false,
        by_person: true,
        by_itself: None,
        about: json!({"caller": {"uid": 1000}}),
    }
}

const ACCEPTED: PinOutcome = PinOutcome::Accepted { from_source: false, typed: true };

fn not_made() -> PinOutcome {
    PinOutcome::NotMade { source_before: SourceMark::Fresh, typed: true }
}

fn counted(wrong_before: u32) -> PinLeave {
    PinLeave::Counted { wrong_before, source_before: SourceMark::Fresh }
}

async fn count(ledger: &Ledger, card: &str) -> PinLeave {
    ledger.count_pin_attempt(attempt(card, Some(3))).await.unwrap()
}

async fn settle(ledger: &Ledger, card: &str, outcome: PinOutcome) {
    ledger.settle_pin_attempt(card.to_owned(), "hsm".to_owned(), outcome).await.unwrap();
}

async fn wrong(ledger: &Ledger, card: &str) -> u32 {
    ledger.pin_record(card.to_owned()).await.unwrap().wrong
}

#[tokio::test]
async fn three_wrong_ones_stop_a_card_until_one_is_made_anyway_and_accepted() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    for before in 0..3 {
        assert_eq!(count(&ledger, "a").await, counted(before));
    }
    assert_eq!(count(&ledger, "a").await, PinLeave::Stopped(3));
    assert_eq!(count(&ledger, "b").await, counted(0), "another card is not concerned");
    assert_eq!(ledger.count_pin_attempt(attempt("a", None)).await.unwrap(), counted(3));
    assert_eq!(wrong(&ledger, "a").await, 4);
    settle(&ledger, "a", ACCEPTED).await;
    assert_eq!((wrong(&ledger, "a").await, wrong(&ledger, "b").await), (0, 1));
}

#[tokio::test]
async fn a_count_lives_through_a_restart_and_what_was_not_asked_is_taken_back() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    count(&ledger, "a").await;
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(wrong(&ledger, "a").await, 1, "nobody said what came of it");
    count(&ledger, "a").await;
    settle(&ledger, "a", not_made()).await;
    assert_eq!(wrong(&ledger, "a").await, 1);
    for _ in 0..3 {
        settle(&ledger, "a", not_made()).await;
    }
    assert_eq!(wrong(&ledger, "a").await, 0);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_name_means_the_card_that_accepted_its_pin_last() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let card = async || ledger.card_of_token("hsm".to_owned()).await.unwrap();
    count(&ledger, "a").await;
    assert_eq!(card().await, None, "an attempt proves nothing");
    settle(&ledger, "a", ACCEPTED).await;
    assert_eq!(card().await.as_deref(), Some("a"));
    count(&ledger, "b").await;
    settle(&ledger, "b", ACCEPTED).await;
    assert_eq!(card().await.as_deref(), Some("b"));
    assert_eq!(ledger.pin_record("a".to_owned()).await.unwrap(), PinRecord::default());
}

#[tokio::test]
async fn that_a_source_was_tried_is_kept_until_what_it_holds_is_accepted() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let tried = async || ledger.pin_record("a".to_owned()).await.unwrap().source == SourceMark::Tried;
    let with_source = PinAttempt { from_source: true, by_person: false, ..attempt("a", Some(3)) };
    let leave = ledger.count_pin_attempt(with_source.clone()).await.unwrap();
    let PinLeave::Counted { source_before, .. } = leave else { panic!("{leave:?}") };
    assert!(source_before == SourceMark::Fresh && tried().await);
    settle(&ledger, "a", PinOutcome::NotMade { source_before, typed: false }).await;
    assert!(!tried().await, "the card was not asked");
    ledger.count_pin_attempt(with_source.clone()).await.unwrap();
    count(&ledger, "a").await;
    assert!(tried().await, "a person's says nothing of it");
    settle(&ledger, "a", ACCEPTED).await;
    assert!(tried().await, "another PIN was accepted");
    ledger.count_pin_attempt(with_source).await.unwrap();
    settle(&ledger, "a", PinOutcome::Accepted { from_source: true, typed: false }).await;
    assert!(!tried().await);
}

#[tokio::test]
async fn of_two_that_begin_together_with_what_a_source_holds_one_is_made() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let with = |content| PinAttempt {
        from_source: true,
        by_person: false,
        by_itself: Some(content),
        ..attempt("a", Some(3))
    };
    let by_itself = |content| ledger.count_pin_attempt(with(content));
    let (one, other) = tokio::join!(by_itself(ByItself::default()), by_itself(ByItself::default()));
    let (one, other) = (one.unwrap(), other.unwrap());
    let held_back = PinLeave::HeldBack(HeldBack::Tried);
    assert!((one == counted(0)) != (other == counted(0)), "{one:?} {other:?}");
    assert!((one == held_back) != (other == held_back), "{one:?} {other:?}");
    assert_eq!(wrong(&ledger, "a").await, 1);
    let changed = ByItself { changed: true, ..ByItself::default() };
    assert!(matches!(by_itself(changed).await.unwrap(), PinLeave::Counted { wrong_before: 1, .. }));
    settle(&ledger, "a", PinOutcome::Accepted { from_source: true, typed: false }).await;
    let proven = || ByItself { proven: true, ..ByItself::default() };
    count(&ledger, "a").await;
    assert_eq!(by_itself(proven()).await.unwrap(), PinLeave::HeldBack(HeldBack::TriesGone));
    settle(&ledger, "a", ACCEPTED).await;
    assert_eq!(by_itself(proven()).await.unwrap(), counted(0));
    settle(&ledger, "a", PinOutcome::Accepted { from_source: true, typed: false }).await;
    ledger.note_source_replaced("a".into(), "hsm".into(), "then".into()).await.unwrap();
    let source_is = |how: &str| ByItself { source_is: Some(how.to_owned()), ..ByItself::default() };
    assert_eq!(by_itself(source_is("then")).await.unwrap(), PinLeave::HeldBack(HeldBack::Replaced));
    assert!(matches!(by_itself(source_is("now")).await.unwrap(), PinLeave::Counted { .. }));
}

#[tokio::test]
async fn what_persons_typed_is_counted_though_the_source_holds_the_right_one() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let with_source = PinAttempt { from_source: true, ..attempt("a", Some(3)) };
    let from_source = async |ledger: &Ledger| {
        assert!(matches!(
            ledger.count_pin_attempt(with_source.clone()).await.unwrap(),
            PinLeave::Counted { wrong_before: 0 | 1, .. }
        ));
        settle(ledger, "a", PinOutcome::Accepted { from_source: true, typed: false }).await;
    };
    for before in 0..3 {
        assert_eq!(count(&ledger, "a").await, counted(before));
        settle(&ledger, "a", PinOutcome::Refused { from_source: false }).await;
        from_source(&ledger).await;
    }
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(count(&ledger, "a").await, PinLeave::Stopped(3));
    let record = ledger.pin_record("a".to_owned()).await.unwrap();
    assert_eq!((record.wrong, record.typed, record.for_person()), (0, 3, 3));
    // The source goes on; a typed one that was not made counts nothing, and one that is right ends it.
    from_source(&ledger).await;
    assert_eq!(ledger.count_pin_attempt(attempt("a", None)).await.unwrap(), counted(3));
    settle(&ledger, "a", not_made()).await;
    assert_eq!(ledger.pin_record("a".to_owned()).await.unwrap().typed, 3);
    ledger.count_pin_attempt(attempt("a", None)).await.unwrap();
    settle(&ledger, "a", ACCEPTED).await;
    assert_eq!(count(&ledger, "a").await, counted(0));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn what_was_counted_under_a_name_that_cards_shared_counts_for_each_of_them_and_once() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let adopt = async |ledger: &Ledger, card: &str, token: &str| {
        let former = FormerNames { around: None, shared: vec!["label a".to_owned()] };
        ledger.adopt_pin_record(former, card.to_owned(), token.to_owned()).await.unwrap();
        ledger.pin_record(card.to_owned()).await.unwrap()
    };
    assert_eq!(adopt(&ledger, "new", "hsm").await, PinRecord::default(), "nothing was counted");
    count(&ledger, "label a").await;
    settle(&ledger, "label a", ACCEPTED).await;
    count(&ledger, "label a").await;
    count(&ledger, "label a").await;
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    let record = adopt(&ledger, "one", "hsm").await;
    assert_eq!((record.wrong, record.typed, record.token.as_str()), (2, 2, "hsm"));
    assert_eq!(ledger.card_of_token("hsm".to_owned()).await.unwrap().as_deref(), Some("one"));
    let record = adopt(&ledger, "two", "other").await;
    assert_eq!((record.wrong, record.typed, record.token.as_str()), (2, 2, ""));
    settle(&ledger, "one", ACCEPTED).await;
    assert_eq!(adopt(&ledger, "one", "hsm").await.wrong, 0, "once");
    assert_eq!(wrong(&ledger, "two").await, 2, "what one accepts says nothing of the other");
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn of_several_names_that_a_card_had_the_strictest_count_goes_on() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let named = |model: &str| format!("serial \"1\", model {model:?} of \"x\"");
    let around = Some(("serial \"1\", model \"".to_owned(), "\" of \"x\"".to_owned()));
    for (name, times) in [("serial 1".to_owned(), 4), (named("a"), 1), (named("b"), 3)] {
        settle(&ledger, &name, ACCEPTED).await;
        for _ in 0..times {
            count(&ledger, &name).await;
        }
    }
    let with_source = PinAttempt { from_source: true, ..attempt(&named("a"), None) };
    ledger.count_pin_attempt(with_source).await.unwrap();
    // One that is alike at both ends and is none of them.
    count(&ledger, "serial \"1\", model \" of \"y\"").await;
    let former = FormerNames { around, shared: vec!["serial 1".to_owned()] };
    for _ in 0..2 {
        ledger.adopt_pin_record(former.clone(), "new".to_owned(), "hsm".to_owned()).await.unwrap();
        let record = ledger.pin_record("new".to_owned()).await.unwrap();
        assert_eq!((record.wrong, record.typed, record.source), (3, 3, SourceMark::Tried));
        count(&ledger, &named("b")).await;
    }
    assert_eq!(ledger.card_of_token("hsm".to_owned()).await.unwrap().as_deref(), Some("new"));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_card_that_tells_of_fewer_tries_gone_than_are_counted_has_accepted_the_others() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let with_source = PinAttempt { from_source: true, by_person: false, ..attempt("a", None) };
    let record = async || ledger.pin_record("a".to_owned()).await.unwrap();
    let correct = async |gone| ledger.correct_pin_count("a".into(), "hsm".into(), gone).await.unwrap();
    ledger.count_pin_attempt(with_source.clone()).await.unwrap();
    count(&ledger, "a").await;
    assert_eq!((correct(3).await, correct(2).await, correct(1).await), (2, 2, 1));
    assert_eq!((record().await.wrong, record().await.source), (1, SourceMark::Tried));
    assert_eq!(correct(0).await, 0);
    assert_eq!((record().await.wrong, record().await.source), (0, SourceMark::Fresh));
    // Of what the card has refused that says nothing.
    ledger.count_pin_attempt(with_source).await.unwrap();
    settle(&ledger, "a", PinOutcome::Refused { from_source: true }).await;
    assert_eq!(correct(0).await, 0);
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.pin_record("a".to_owned()).await.unwrap().source, SourceMark::Refused);
    let entries = ledger.entries(0, 100).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "token.count-corrected").count(), 3);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_count_that_somebody_lowers_is_found() {
    for edit in [
        "UPDATE pins SET wrong = 0",
        "UPDATE pins SET wrong = 0 WHERE card = 'typed a'",
        "DELETE FROM pins",
        "DELETE FROM pins WHERE card = 'typed a'",
        "UPDATE pins SET card = 'b' WHERE card = 'a'",
    ] {
        let folder = tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        count(&ledger, "a").await;
        count(&ledger, "a").await;
        drop(ledger);
        let db = Connection::open(folder.path().join("ledger.db")).unwrap();
        db.execute_batch(edit).unwrap();
        db.close().unwrap();
        let refused = Ledger::open(folder.path()).unwrap_err();
        assert!(matches!(refused, LedgerError::Corrupt { .. }), "{edit}: {refused:?}");
        assert!(refused.remedy().contains("put"), "{}", refused.remedy());
    }
}

#[tokio::test]
async fn attempts_are_in_the_journal_before_they_are_made_and_hold_no_pin() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    count(&ledger, "a").await;
    let entries = ledger.entries(0, 100).await.unwrap();
    let last = entries.last().unwrap();
    assert_eq!(last.kind, "token.attempt");
    let body: serde_json::Value = serde_json::from_str(&last.body).unwrap();
    assert_eq!(
        (&body["token"], &body["card"], &body["wrong_before"]),
        (&"hsm".into(), &"a".into(), &0.into())
    );
    assert_eq!((&body["anyway"], &body["by_person"]), (&false.into(), &true.into()));
}

#[tokio::test]
async fn that_a_source_holds_a_replaced_secret_is_kept_until_it_is_tried() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    count(&ledger, "a").await;
    settle(&ledger, "a", ACCEPTED).await;
    ledger.note_source_replaced("a".to_owned(), "hsm".to_owned(), "7:1.2".to_owned()).await.unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    let mark = async || ledger.pin_record("a".to_owned()).await.unwrap().source;
    let replaced = SourceMark::Replaced("7:1.2".to_owned());
    assert_eq!(mark().await, replaced);
    count(&ledger, "a").await;
    settle(&ledger, "a", ACCEPTED).await;
    assert_eq!(mark().await, replaced, "a person's says nothing of it");
    let with_source = PinAttempt { from_source: true, by_person: false, ..attempt("a", Some(3)) };
    let leave = ledger.count_pin_attempt(with_source.clone()).await.unwrap();
    let PinLeave::Counted { source_before, .. } = leave else { panic!("{leave:?}") };
    assert_eq!(mark().await, SourceMark::Tried);
    settle(&ledger, "a", PinOutcome::NotMade { source_before, typed: false }).await;
    assert_eq!(mark().await, replaced, "the card was not asked");
    ledger.count_pin_attempt(with_source).await.unwrap();
    settle(&ledger, "a", PinOutcome::Accepted { from_source: true, typed: false }).await;
    assert_eq!(mark().await, SourceMark::Fresh);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

/// On the machine that takes the place of one that is lost a card has as many tries as before; what is known of it there is newer
/// than any backup.
#[tokio::test]
async fn a_backup_brings_the_counts_of_cards_that_are_not_known_here_and_changes_no_other() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let ledger = Ledger::open(old.path()).unwrap();
    for card in ["lost", "lost", "known", "known", "right"] {
        count(&ledger, card).await;
    }
    settle(&ledger, "right", ACCEPTED).await;
    let from_source = PinAttempt { from_source: true, by_person: false, ..attempt("file", Some(3)) };
    ledger.count_pin_attempt(from_source).await.unwrap();
    settle(&ledger, "file", PinOutcome::Refused { from_source: true }).await;
    let copy = copied.path().join("copy.db");
    let snapshot = ledger.snapshot(copy.clone()).await.unwrap();
    let ledger = Ledger::open(new.path()).unwrap();
    count(&ledger, "known").await;
    settle(&ledger, "known", ACCEPTED).await;
    count(&ledger, "more").await;
    ledger.restore(copy, snapshot.head, json!({}), json!({})).await.unwrap();
    let record = |card: &str| ledger.pin_record(card.to_owned());
    let lost = record("lost").await.unwrap();
    assert_eq!((lost.wrong, lost.typed, lost.token.as_str()), (2, 2, ""));
    assert_eq!(count(&ledger, "lost").await, counted(2));
    assert_eq!(count(&ledger, "lost").await, PinLeave::Stopped(3));
    let file = record("file").await.unwrap();
    assert_eq!((file.wrong, file.source), (1, SourceMark::Refused));
    for (card, count) in [("known", 0), ("more", 1), ("right", 0)] {
        assert_eq!(wrong(&ledger, card).await, count, "{card}");
    }
    assert_eq!(ledger.card_of_token("hsm".to_owned()).await.unwrap().as_deref(), Some("known"));
    let journal = ledger.entries(0, 1000).await.unwrap();
    let body = &journal.iter().find(|entry| entry.kind == "backup.restored").unwrap().body;
    assert!(body.contains(r#"{"card":"lost","wrong":2}"#) && !body.contains(r#""card":"known""#), "{body}");
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
    drop(ledger);
    let ledger = Ledger::open(new.path()).unwrap();
    assert_eq!(wrong(&ledger, "lost").await, 3, "it stays over a restart");
}

#[tokio::test]
async fn two_names_may_mean_one_card_and_each_is_its_own() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let accepted = async |card: &str, token: &str| {
        assert_eq!(count(&ledger, card).await, counted(0));
        ledger.settle_pin_attempt(card.to_owned(), token.to_owned(), ACCEPTED).await.unwrap();
    };
    let card_of = async |token: &str| ledger.card_of_token(token.to_owned()).await.unwrap();
    for token in ["two", "one", "two", "tw"] {
        accepted("a", token).await;
    }
    for token in ["one", "two", "tw"] {
        assert_eq!(card_of(token).await.as_deref(), Some("a"), "{token}");
    }
    assert_eq!(card_of("t").await, None);
    accepted("b", "two").await;
    assert_eq!((card_of("one").await.as_deref(), card_of("two").await.as_deref()), (Some("a"), Some("b")));
    assert_eq!(ledger.pin_record("a".to_owned()).await.unwrap().token, "one\ntw");
}
