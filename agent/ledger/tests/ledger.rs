//! The ledger from outside: what it remembers, what it refuses.

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use support::{digest, intent, repository, role, version};
use tempfile::tempdir;
use tufagent_ledger::{Given, IntentKey, Ledger, LedgerError, Noted, Outcome, Verified};

#[tokio::test]
async fn an_intent_is_remembered_across_a_restart_and_lower_or_other_content_is_refused() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let id = ledger.record_intent(intent(app, "targets", 7, "a")).await.unwrap();
    ledger.record_outcome(id, Outcome::Signed { keyids: vec!["k".into()], keys: Vec::new() });
    drop(ledger);

    let ledger = Ledger::open(folder.path()).unwrap();
    assert!(ledger.open_intents().await.unwrap().is_empty());
    assert!(
        ledger.record_intent(intent(app, "targets", 7, "a")).await.is_ok(),
        "the same content again is fine"
    );
    for (number, content) in [(7, "b"), (6, "a"), (6, "b"), (1, "c")] {
        let refused = ledger.record_intent(intent(app, "targets", number, content)).await.unwrap_err();
        let LedgerError::Watermark { marked_version, marked_digest, published, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!((*marked_version, *marked_digest, *published), (version(7), digest("a"), false));
        assert_eq!(refused.remedy(), "stage version 8: tufctl bump DIR targets");
        assert!(refused.to_string().contains(&digest("a").to_string()), "the earlier digest is shown");
    }
    let refusals = ledger.entries(0, 100).await.unwrap();
    assert_eq!(refusals.iter().filter(|entry| entry.kind == "sign.refused").count(), 4);
    assert!(ledger.record_intent(intent(app, "targets", 8, "b")).await.is_ok());
    let report = ledger.verify_chain().await.unwrap();
    assert_eq!(report.problem, None);
}

#[tokio::test]
async fn a_version_of_which_no_signature_came_keeps_its_mark_and_is_not_said_to_be_signed() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let untouched =
        || Outcome::Failed { reason: "TOUCH_TIMEOUT".into(), message: "nobody touched it".into() };
    let id = ledger.record_intent(intent(app, "root", 2, "a")).await.unwrap();
    let other = intent(app, "root", 2, "b");
    let refused = ledger.record_intent(other.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("was signed on"), "under way: nobody knows yet: {refused}");

    ledger.record_outcome(id, untouched());
    for refused in
        [ledger.check_intent(other.clone()).await, ledger.record_intent(other.clone()).await.map(|_| ())]
    {
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("no signature came of it"), "{refused}");
        assert!(refused.remedy().starts_with("sign what was to be signed then"), "{}", refused.remedy());
    }
    // The same content once more, and this time it is signed.
    let id = ledger.record_intent(intent(app, "root", 2, "a")).await.unwrap();
    ledger.record_outcome(id, Outcome::Signed { keyids: vec!["k".into()], keys: Vec::new() });
    let refused = ledger.check_intent(other.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("was signed on"), "{refused}");
    assert!(refused.remedy().starts_with("publish what was signed"), "{}", refused.remedy());
}

#[tokio::test]
async fn published_versions_count_as_signed() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let noted = support::publish(&ledger, app, "targets", 5, "p").await.unwrap();
    assert_eq!(noted, Noted::Raised);
    for (number, content) in [(4, "p"), (5, "q")] {
        let refused = ledger.record_intent(intent(app, "targets", number, content)).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Watermark { published: true, .. }), "{refused:?}");
    }
    assert!(ledger.record_intent(intent(app, "targets", 5, "p")).await.is_ok());
    let older = support::publish(&ledger, app, "targets", 4, "o");
    assert_eq!(older.await.unwrap(), Noted::Older);
    let mark = ledger.watermark(app, role("targets")).await.unwrap().newest().unwrap();
    assert_eq!((mark.version, mark.digest), (version(5), digest("p")));
}

#[tokio::test]
async fn published_content_that_differs_from_what_was_signed_is_an_alarm_until_a_person_has_looked() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "targets", 2, "ours")).await.unwrap();
    let noted = support::publish(&ledger, app, "targets", 2, "theirs").await.unwrap();
    assert!(matches!(noted, Noted::Conflict { .. }));
    let refused = ledger.record_intent(intent(app, "targets", 3, "next")).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Alarm { .. }), "{refused:?}");
    assert!(ledger.record_intent(intent(app, "snapshot", 1, "s")).await.is_ok(), "other roles go on");
    assert_eq!(ledger.alarms().await.unwrap().len(), 1);
    let found = Some((version(2), digest("theirs")));
    assert!(ledger.acknowledge_alarm(app, role("targets"), found, json!({"uid": 1})).await.unwrap());
    let again = support::publish(&ledger, app, "targets", 2, "theirs").await;
    assert_eq!(again, Ok(Noted::Known), "what a person has seen is no news");
    assert!(ledger.record_intent(intent(app, "targets", 3, "next")).await.is_ok());
    assert!(!ledger.acknowledge_alarm(app, role("targets"), None, json!(null)).await.unwrap());
    // Ours is put back in its place: a person has looked at that as well.
    assert!(matches!(support::publish(&ledger, app, "targets", 2, "ours").await, Ok(Noted::Conflict { .. })));
    let ours = Some((version(2), digest("ours")));
    assert!(ledger.acknowledge_alarm(app, role("targets"), ours, json!({"uid": 1})).await.unwrap());
    assert_eq!(support::publish(&ledger, app, "targets", 2, "ours").await, Ok(Noted::Known));
    let theirs = ledger.record_intent(intent(app, "targets", 2, "theirs")).await;
    assert!(matches!(theirs, Err(LedgerError::Watermark { .. })), "{theirs:?}");
}

#[tokio::test]
async fn what_verified_metadata_lists_is_not_signed_with_other_content_seen_or_not() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    support::publish(&ledger, app, "targets", 5, "targets 5").await.unwrap();
    support::publish(&ledger, app, "team", 2, "team 2").await.unwrap();
    let listing = |name, number, content, entries: &[(&str, u64)]| Verified {
        lists: entries.iter().map(|(name, number)| (role(name), version(*number))).collect(),
        ..support::verified(name, number, content)
    };
    let snapshot = listing("snapshot", 6, "snapshot 6", &[("targets", 5), ("team", 4)]);
    ledger.note_all(app, vec![snapshot], true).await.unwrap();
    let refused = |name, number| {
        let intent = intent(app, name, number, "other");
        let ledger = &ledger;
        async move { matches!(ledger.record_intent(intent).await, Err(LedgerError::Unseen { .. })) }
    };
    assert!(refused("team", 3).await && refused("team", 4).await);
    ledger.record_intent(intent(app, "team", 5, "goes on above it")).await.unwrap();
    let timestamp = listing("timestamp", 7, "timestamp 7", &[("snapshot", 8)]);
    ledger.note_all(app, vec![timestamp], true).await.unwrap();
    for (name, number) in [("snapshot", 7), ("snapshot", 9), ("timestamp", 8), ("targets", 6), ("team", 6)] {
        assert!(refused(name, number).await, "{name} {number}: the newest snapshot was never seen");
    }
    ledger.record_intent(intent(app, "root", 1, "root 1")).await.unwrap();
    let snapshot = listing("snapshot", 8, "snapshot 8", &[("targets", 9), ("team", 4)]);
    ledger.note_all(app, vec![snapshot], true).await.unwrap();
    for (name, number) in [("targets", 6), ("targets", 9), ("targets", 10), ("team", 6)] {
        assert!(refused(name, number).await, "{name} {number}: the newest targets were never seen");
    }
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    support::publish(&ledger, app, "targets", 9, "targets 9").await.unwrap();
    ledger.record_intent(intent(app, "targets", 10, "targets 10")).await.unwrap();
    assert_eq!(ledger.published(app).await.unwrap()[&role("targets")], version(9));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn staged_content_that_differs_from_what_was_signed_is_refused_without_an_alarm() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "targets", 2, "ours")).await.unwrap();
    let refused = ledger.note_all(app, vec![support::verified("targets", 2, "theirs")], false).await;
    assert!(matches!(refused, Err(LedgerError::Watermark { .. })), "{refused:?}");
    assert!(ledger.alarms().await.unwrap().is_empty());
    let ours = ledger.note_all(app, vec![support::verified("targets", 2, "ours")], false).await;
    assert_eq!(ours, Ok(vec![Noted::Raised]));
}

#[tokio::test]
async fn a_snapshot_loses_no_entry_and_lowers_none() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let listing = |number, content, entries: &[(&str, u64)]| {
        let mut intent = intent(app, "snapshot", number, content);
        intent.lists = entries.iter().map(|(name, number)| (role(name), version(*number))).collect();
        intent
    };
    ledger.record_intent(listing(1, "a", &[("targets", 3), ("bin", 2)])).await.unwrap();
    for entries in [&[("targets", 3)][..], &[("targets", 2), ("bin", 2)], &[]] {
        let refused = ledger.record_intent(listing(2, "b", entries)).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Vanished { .. }), "{refused:?}");
    }
    let more = [("targets", 4), ("bin", 2), ("other", 1)];
    assert!(ledger.record_intent(listing(2, "b", &more)).await.is_ok());
    let listed = ledger.listed(app, role("snapshot")).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[&role("targets")], version(4));
}

#[tokio::test]
async fn a_key_of_another_chain_is_refused_until_a_person_shares_it() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let other = repository(&ledger, "other").await;
    ledger.record_intent(intent(app, "targets", 1, "a")).await.unwrap();
    let refused = ledger.record_intent(intent(other, "targets", 1, "b")).await.unwrap_err();
    assert!(
        matches!(&refused, LedgerError::SharedKey { other, .. } if other.as_str() == "app"),
        "{refused:?}"
    );
    let mut shared = intent(other, "targets", 1, "b");
    shared.shared_key = true;
    ledger.record_intent(shared).await.unwrap();
    assert!(ledger.record_intent(intent(other, "targets", 2, "c")).await.is_ok(), "said once is enough");
    assert!(ledger.record_intent(intent(app, "targets", 2, "d")).await.is_ok(), "it was the first one's key");
}

#[tokio::test]
async fn one_key_serves_many_roles_in_turn_but_a_skipped_version_must_clear_all_of_them() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let both = |name: &str, number: u64, content: &str| {
        let mut intent = intent(app, name, number, content);
        intent.also_roles = vec![role("bin-00"), role("bin-01")];
        intent
    };
    for number in 1..=3 {
        ledger.record_intent(both("bin-00", number, &format!("zero {number}"))).await.unwrap();
    }
    for number in 1..=2 {
        ledger.record_intent(both("bin-01", number, &format!("one {number}"))).await.unwrap();
    }
    ledger.record_intent(both("bin-00", 5, "clear of all")).await.unwrap();
    let refused = ledger.record_intent(both("bin-01", 4, "skips 3")).await.unwrap_err();
    let LedgerError::Watermark { marked_role, marked_version, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((marked_role, *marked_version), (&role("bin-00"), version(5)));
    assert!(ledger.record_intent(both("bin-01", 3, "in turn")).await.is_ok());
}

#[tokio::test]
async fn what_a_word_alone_gave_to_a_key_shares_no_version_with_its_other_roles() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let by = |given: &Given, name: &str, number: u64, content: &str| {
        let mut intent = intent(app, name, number, content);
        intent.keys[0].given = given.clone();
        intent
    };
    let word = Given::Unfounded;
    ledger.record_intent(by(&word, "one", 4, "laid by")).await.unwrap();
    ledger.record_intent(by(&word, "one", 4, "laid by")).await.unwrap();
    for (number, content) in [(3, "below"), (4, "beside")] {
        let refused = ledger.record_intent(by(&word, "two", number, content)).await.unwrap_err();
        assert!(
            matches!(&refused, LedgerError::Unfounded { marked_role, marked, .. }
                if *marked_role == role("one") && *marked == version(4)),
            "{refused:?}"
        );
    }
    ledger.record_intent(by(&word, "two", 5, "above")).await.unwrap();
    let noted = ledger.unfounded(app).await.unwrap();
    let noted: Vec<_> = noted.into_iter().map(|one| (one.role, one.version)).collect();
    assert_eq!(noted, [(role("one"), version(4)), (role("two"), version(5))]);
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();

    // The key is given a role: what it signs as that goes on above what was laid by.
    let founded = Given::founded();
    let refused = ledger.record_intent(by(&founded, "targets", 5, "honest")).await.unwrap_err();
    assert!(
        matches!(&refused, LedgerError::LaidBy { marked_role, .. } if *marked_role == role("two")),
        "{refused:?}"
    );
    // Nor does a key of the role that has signed one of them since take it back.
    let mut other = by(&founded, "two", 6, "by others");
    other.keys[0].fingerprint = digest("another key");
    ledger.record_intent(other).await.unwrap();
    assert!(ledger.record_intent(by(&founded, "targets", 5, "honest")).await.is_err());
    ledger.record_intent(by(&founded, "targets", 6, "clear")).await.unwrap();
    // Roles that it is given by now as well have their own counts from there on.
    let also = Given::Founded { also: [role("one"), role("two")].into() };
    ledger.record_intent(by(&also, "bin", 1, "in turn")).await.unwrap();
    // It is forgotten once it is verified, and not before.
    assert_eq!(ledger.unfounded(app).await.unwrap().len(), 2);
    assert!(ledger.record_intent(by(&founded, "bin", 2, "in turn")).await.is_err());
}

#[tokio::test]
async fn what_a_key_signs_on_a_word_is_noted_beside_keys_of_the_role_until_it_is_verified() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "dev", 4, "same")).await.unwrap();
    let mut both = intent(app, "dev", 4, "same");
    let given = Given::Unfounded;
    both.keys.push(IntentKey { name: "own".into(), fingerprint: digest("own"), given });
    ledger.record_intent(both).await.unwrap();
    let mut own = intent(app, "targets", 4, "honest");
    own.keys[0].fingerprint = digest("own");
    let refused = ledger.record_intent(own.clone()).await.unwrap_err();
    assert!(matches!(refused, LedgerError::LaidBy { .. }), "{refused:?}");
    let verified = Verified { signed_by: vec![digest("own")], ..support::verified("dev", 4, "same") };
    ledger.note_all(app, vec![verified], true).await.unwrap();
    assert!(ledger.unfounded(app).await.unwrap().is_empty());
    ledger.record_intent(own).await.unwrap();
}

#[tokio::test]
async fn a_name_for_which_nothing_was_ever_signed_can_be_taken_again() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let new = || {
        let mut new = support::adopted("app", 1, "root 1", "key");
        new.root = None;
        new
    };
    let first = ledger.register_repository(new()).await.unwrap();
    let second = ledger.register_repository(new()).await.unwrap();
    assert_ne!(first.id, second.id);
    ledger.record_intent(intent(second.id, "root", 1, "root 1")).await.unwrap();
    let taken = ledger.register_repository(new()).await.unwrap_err();
    assert!(matches!(taken, LedgerError::NameTaken { .. }));
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.repositories().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_chain_known_under_another_name_is_refused_and_adopting_again_changes_nothing() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let first = ledger.register_repository(support::adopted("app", 3, "root 3", "key")).await.unwrap();
    support::publish(&ledger, first.id, "root", 4, "root 4").await.unwrap();
    ledger.record_intent(intent(first.id, "root", 5, "root 5")).await.unwrap();

    let again = ledger.register_repository(support::adopted("app", 3, "root 3", "key")).await.unwrap();
    assert_eq!(again.id, first.id);
    assert_eq!(again.root, Some((version(4), digest("root 4"))));
    let refused = ledger.record_intent(intent(first.id, "root", 5, "other")).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Watermark { .. }));

    let known = ledger.register_repository(support::adopted("copy", 4, "root 4", "key")).await.unwrap_err();
    assert!(matches!(&known, LedgerError::ChainKnown { name } if name.as_str() == "app"), "{known:?}");
    let taken =
        ledger.register_repository(support::adopted("app", 1, "stranger", "key 2")).await.unwrap_err();
    assert!(matches!(taken, LedgerError::NameTaken { .. }));
    let shared = ledger.register_repository(support::adopted("fork", 1, "fork", "key")).await.unwrap_err();
    assert!(matches!(shared, LedgerError::SharedKey { .. }));
    let mut fork = support::adopted("fork", 1, "fork", "key");
    fork.shared_key = true;
    assert!(ledger.register_repository(fork).await.is_ok());
    assert_eq!(ledger.repositories().await.unwrap().len(), 2);
}

#[tokio::test]
async fn roots_from_before_the_adopted_one_say_which_chain_it_is() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = ledger.register_repository(support::adopted("app", 3, "root 3", "key")).await.unwrap();
    let skipped = ledger.add_ancestors(app.id, vec![(version(1), digest("root 1"))]).await;
    assert!(matches!(skipped, Err(LedgerError::RootStep { .. })), "{skipped:?}");
    let ancestors = vec![(version(2), digest("root 2")), (version(1), digest("root 1"))];
    ledger.add_ancestors(app.id, ancestors.clone()).await.unwrap();
    ledger.add_ancestors(app.id, ancestors).await.unwrap();
    let again = ledger.register_repository(support::adopted("app", 1, "root 1", "key")).await.unwrap();
    assert_eq!((again.id, again.root), (app.id, Some((version(3), digest("root 3")))));
    let copy = ledger.register_repository(support::adopted("copy", 2, "root 2", "key")).await;
    assert!(matches!(copy, Err(LedgerError::ChainKnown { .. })), "{copy:?}");
}

#[tokio::test]
async fn roots_go_one_step_at_a_time_and_a_second_content_is_an_alarm() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    assert_eq!(support::publish(&ledger, app, "root", 1, "1").await, Ok(Noted::Raised));
    assert_eq!(support::publish(&ledger, app, "root", 1, "1").await, Ok(Noted::Known));
    let skipped = support::publish(&ledger, app, "root", 3, "3").await;
    assert_eq!(skipped, Err(LedgerError::RootStep { trusted: version(1), given: version(3) }));
    let other = support::publish(&ledger, app, "root", 1, "one").await.unwrap();
    assert!(matches!(other, Noted::Conflict { .. }));
    assert_eq!(ledger.roots(app).await.unwrap(), [(version(1), digest("1"))]);
    let found = ledger.find_by_roots(vec![digest("x"), digest("1")]).await.unwrap().unwrap();
    assert_eq!(found.id, app);
    assert_eq!(ledger.find_by_roots(vec![digest("x")]).await.unwrap(), None);
}

#[tokio::test]
async fn texts_are_kept_by_their_digest() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.load_text(&digest("t")).unwrap(), None);
    ledger.store_text(&digest("t"), b"one").unwrap();
    ledger.store_verified_text(&digest("t"), b"two").unwrap();
    assert_eq!(ledger.load_text(&digest("t")).unwrap().as_deref(), Some(&b"two"[..]));
    ledger.prune_texts().await.unwrap();
    assert!(ledger.load_text(&digest("t")).unwrap().is_some(), "a fresh one is spared");
}

#[tokio::test]
async fn a_changed_length_is_recorded_and_journalled_once() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    for _ in 0..2 {
        let lengths = BTreeMap::from([(role("targets"), (90, 30))]);
        let record = ledger.set_expiry(app, lengths, json!({"uid": 1})).await.unwrap();
        assert_eq!(record.expiry_days[&role("targets")], 30);
    }
    let entries = || async { ledger.entries(0, 100).await.unwrap() };
    let told = |entries: Vec<tufagent_ledger::Entry>| {
        entries.into_iter().filter(|entry| entry.kind == "repository.expiry").collect::<Vec<_>>()
    };
    let changes = told(entries().await);
    assert_eq!(changes.len(), 1);
    assert!(changes[0].body.contains("\"days\":30,\"days_before\":90"), "{}", changes[0].body);
    // Of many that change alike there is one entry; the one that stays as it was is not among them.
    let names = (0..200).map(|bin| role(&format!("bin-{bin:02x}"))).chain([role("targets")]);
    let all: BTreeMap<_, _> = names.map(|role| (role, (90, 30))).collect();
    let record = ledger.set_expiry(app, all, json!({"uid": 1})).await.unwrap();
    assert_eq!(record.expiry_days.values().filter(|days| **days == 30).count(), 201);
    let changes = told(entries().await);
    assert_eq!(changes.len(), 2);
    assert!(changes[1].body.contains("\"number_of_roles\":200"), "{}", changes[1].body);
}

#[tokio::test]
async fn after_it_is_closed_everything_is_answered_with_closed() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.close();
    assert_eq!(ledger.repositories().await, Err(LedgerError::Closed));
    ledger.close();
}

#[tokio::test]
async fn what_another_root_than_ours_has_verified_is_not_noted() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "root", 1, "ours")).await.unwrap();
    let files = vec![support::verified("root", 1, "theirs"), support::verified("targets", 100, "theirs too")];
    let noted = ledger.note_all(app, files, true).await.unwrap();
    assert!(matches!(noted.as_slice(), [Noted::Conflict { .. }]), "{noted:?}");
    assert_eq!(ledger.watermark(app, role("targets")).await.unwrap().newest(), None);
}

#[tokio::test]
async fn a_key_whose_signature_was_seen_belongs_to_that_chain_and_showing_it_again_elsewhere_takes_nothing() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let (app, other) = (repository(&ledger, "app").await, repository(&ledger, "other").await);
    let mut file = support::verified("dev", 3, "content");
    file.signed_by = vec![digest("key")];
    ledger.note_all(app, vec![file.clone()], true).await.unwrap();
    for _ in 0..2 {
        let refused = ledger.record_intent(intent(other, "targets", 1, "x")).await.unwrap_err();
        assert!(matches!(refused, LedgerError::SharedKey { .. }), "{refused:?}");
        ledger.note_all(other, vec![file.clone()], true).await.unwrap();
    }
    ledger.record_intent(intent(app, "dev", 4, "y")).await.unwrap();
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_text_that_is_a_link_or_a_pipe_is_not_followed() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let path = folder.path().join("metadata").join(format!("{}.json", digest("a")));
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(ledger.load_text(&digest("a")).is_err());
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert_eq!(ledger.load_text(&digest("a")).unwrap(), Some(Vec::new()), "which is no metadata");
}
