//! Who may sign, what is taken note of, what may be listed: with real signatures on a real ledger.

mod adopted;
mod grounds;
mod recalled;
mod resets;
mod signing;
mod support;
mod twins;

use std::fs;

use policy::Reason;
use tuf::digest::Sha256Digest;

use self::support::{
    House, delegating, delegating_to, described, pen, role, root, sign, snapshot, targets, version,
};
use super::Described;

#[tokio::test]
async fn the_first_complete_root_of_a_new_repository_is_trusted_and_an_incomplete_one_is_not() {
    let house = House::with_app().await;
    let alone = sign(&root(1, 2), &[&pen(1)]);
    let refused = house.observe(false, &[("root", &alone)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ThresholdMissing);
    let targets = sign(&targets(1, 80), &[&pen(3)]);
    let refused = house.observe(false, &[("targets", &targets)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RepositoryInvalid, "nothing before the root");
    let both = sign(&root(1, 2), &[&pen(1), &pen(2)]);
    let seen = house.observe(false, &[("root", &both), ("targets", &targets)]).await.unwrap();
    assert_eq!(seen.verified.len(), 2);
    assert_eq!(house.app().await.root, Some((version(1), both.digest())));
}

#[tokio::test]
async fn a_root_needs_the_keys_of_the_one_before_and_comes_in_turn() {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    let next = sign(&root(2, 1), &[&pen(1)]);
    let refused =
        house.observe(true, &[("root", &sign(&root(3, 2), &[&pen(1), &pen(2)]))]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::VersionJump);
    // Its own threshold is one, but the trusted root wants two.
    let refused = house.observe(false, &[("root", &next)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ThresholdMissing);
    let next = sign(&next, &[&pen(1), &pen(2)]);
    let seen = house.observe(false, &[("root", &next)]).await.unwrap();
    assert_eq!(seen.verified[&role("root")], version(2));
    let other = sign(&root(2, 2), &[&pen(1), &pen(2)]);
    let alarms = house.observe(true, &[("root", &other)]).await.unwrap().alarms;
    assert_eq!(alarms.len(), 1, "a second root 2: {alarms:?}");
    assert_eq!(house.app().await.root, Some((version(2), next.digest())), "is never trusted");
}

#[tokio::test]
async fn published_metadata_that_does_not_verify_is_refused_at_first_sight_and_told_of_later() {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    let bad = sign(&targets(2, 80), &[&pen(4)]);
    let seen = house.observe(true, &[("targets", &bad)]).await.unwrap();
    assert_eq!((seen.alarms.len(), seen.verified[&role("targets")]), (1, version(1)));
    let entries = [("targets", described(&bad))];
    let snapshot = sign(&snapshot(1, &entries), &[&pen(3)]);
    let refused = house.observe(true, &[("snapshot", &snapshot)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Verification);
    assert_eq!(refused.details["spec"], "5.5.3");
}

#[tokio::test]
async fn a_delegated_role_counts_by_the_parent_that_was_seen() {
    let parent = sign(&delegating(1, 5), &[&pen(3)]);
    let house = House::published(&parent).await;
    let stranger = sign(&targets(1, 80), &[&pen(6)]);
    let refused = house.observe(false, &[("rel", &stranger)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ThresholdMissing);
    let refused = house.observe(false, &[("nobody", &stranger)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RoleUnknown);
    let left_over = house.observe(true, &[("nobody", &stranger)]).await.unwrap();
    assert!(!left_over.verified.contains_key(&role("nobody")), "a removed role stays published");
    // The parent of this call stands before the one that is known.
    let parent = sign(&delegating(2, 6), &[&pen(3)]);
    let seen = house.observe(false, &[("targets", &parent), ("rel", &stranger)]).await.unwrap();
    assert_eq!(seen.verified[&role("rel")], version(1));
}

#[tokio::test]
async fn an_older_parent_does_not_bring_back_the_keys_that_it_names() {
    let house = House::published(&sign(&delegating(1, 5), &[&pen(3)])).await;
    let parent = sign(&delegating(2, 6), &[&pen(3)]);
    house.observe(true, &[("targets", &parent)]).await.unwrap();
    let old = sign(&delegating(1, 5), &[&pen(3)]);
    let revoked = sign(&targets(9, 80), &[&pen(5)]);
    let seen = house.observe(true, &[("targets", &old), ("rel", &revoked)]).await.unwrap();
    assert_eq!((seen.alarms.len(), seen.verified.contains_key(&role("rel"))), (1, false));
    let good = sign(&targets(1, 80), &[&pen(6)]);
    let seen = house.observe(true, &[("targets", &old), ("rel", &good)]).await.unwrap();
    assert_eq!(seen.verified[&role("rel")], version(1));
}

#[tokio::test]
async fn what_is_missing_goes_by_content_and_by_bytes_where_they_matter() {
    let published = sign(&targets(2, 80), &[&pen(3)]);
    let house = House::published(&published).await;
    let app = house.app().await;
    let file = |number, content: &tuf::metadata::Metadata, bytes: Option<&[u8]>| Described {
        role: role("targets"),
        version: version(number),
        digest: content.digest(),
        file: bytes.map(Sha256Digest::of),
    };
    let other = targets(2, 70);
    let cases = [
        (file(2, &published, None), false),
        (file(2, &published, Some(published.bytes())), false),
        (file(2, &published, Some(b"one signature more")), true),
        (file(2, &other, None), true),
        (file(3, &other, None), true),
        (file(1, &other, None), false),
    ];
    for (file, missing) in cases {
        assert_eq!(house.repositories.misses(&app, &file).await.unwrap(), missing, "{file:?}");
    }
}

#[tokio::test]
async fn a_kept_text_that_was_damaged_counts_as_never_seen() {
    let published = sign(&targets(1, 80), &[&pen(3)]);
    let house = House::published(&published).await;
    let path = house.folder.path().join("metadata").join(format!("{}.json", published.digest()));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"version\": 1", "\"version\": 9")).unwrap();
    let fresh = super::Repositories::open(std::sync::Arc::clone(&house.ledger)).await.unwrap();
    let newest = fresh.newest(&*house.app().await, &role("targets"), &targets(2, 80)).await.unwrap();
    assert!(newest.is_none());
    // It is asked for again, and until then nothing is compared with nothing in silence.
    let file = |wanted| Described {
        role: role("targets"),
        version: version(1),
        digest: published.digest(),
        file: wanted,
    };
    assert!(fresh.misses(&*house.app().await, &file(None)).await.unwrap());
    let known = fresh.newest(&*house.app().await, &role("root"), &root(2, 2)).await.unwrap();
    assert!(known.is_some_and(|newest| newest.verified));
}

#[tokio::test]
async fn a_repository_is_its_chain_whichever_root_it_is_adopted_with() {
    let house = House::new().await;
    let roots: Vec<_> = (1..=3).map(|number| sign(&root(number, 2), &[&pen(1), &pen(2)])).collect();
    let (second, targets) = ([("root", &roots[1])], sign(&targets(1, 80), &[&pen(3)]));
    house.adopt_as("app", Some(&roots[1]), &second).await.unwrap();
    house.observe(true, &[("root", &roots[0]), ("root", &roots[2]), ("targets", &targets)]).await.unwrap();
    let again = house.register("app", Some(&roots[0])).await.unwrap().record.unwrap();
    assert_eq!(again.root, Some((version(3), roots[2].digest())));
    for root in &roots {
        let refused = house.register("copy", Some(root)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::RepositoryKnown);
    }
    let stranger = sign(&root(1, 1), &[&pen(1)]);
    assert_eq!(house.register("copy", Some(&stranger)).await.unwrap_err().reason, Reason::SharedKey);
    let unsigned = house.register("copy", Some(&root(1, 1))).await.unwrap_err();
    assert_eq!(unsigned.reason, Reason::Verification);
}

#[tokio::test]
async fn a_forged_ancestor_is_not_taken_into_the_chain() {
    let house = House::new().await;
    let trusted = sign(&root(2, 2), &[&pen(1), &pen(2)]);
    house.adopt(&[("root", &trusted)]).await.unwrap();
    let forged = sign(&root(1, 2), &[&pen(1)]);
    house.observe(true, &[("root", &forged)]).await.unwrap();
    assert!(house.repositories.by_roots(vec![forged.digest()]).await.is_err());
}

#[tokio::test]
async fn a_role_that_was_valid_for_longer_keeps_its_length() {
    let house = House::published(&sign(&targets(1, 200), &[&pen(3)])).await;
    let app = house.app().await;
    assert_eq!(super::days_of(&app, &role("targets")), 200);
    assert_eq!(super::days_of(&app, &role("snapshot")), 7);
    // What comes later does not stretch it: that is what the rule is for.
    house.observe(true, &[("targets", &sign(&targets(2, 900), &[&pen(3)]))]).await.unwrap();
    assert_eq!(super::days_of(&*house.app().await, &role("targets")), 200);
}

#[tokio::test]
async fn a_role_of_two_parents_is_judged_by_both_whichever_comes_first() {
    let top = sign(&delegating_to(1, &[("left", 5), ("right", 6)]), &[&pen(3)]);
    let left = sign(&delegating_to(1, &[("rel", 7)]), &[&pen(5)]);
    let right = sign(&delegating_to(1, &[("rel", 8)]), &[&pen(6)]);
    let both = sign(&targets(1, 80), &[&pen(7), &pen(8)]);
    let house = House::published(&top).await;
    let files = [("left", &left), ("rel", &both), ("right", &right)];
    let seen = house.observe(true, &files).await.unwrap();
    assert_eq!((seen.verified[&role("rel")], seen.alarms.len()), (version(1), 0));
    // Either key may sign the next version, and neither alone keeps both ways open.
    let next = targets(2, 80);
    for number in [7, 8] {
        house.facts("rel", &next, &pen(number), &[]).await.unwrap();
        let refused = house.observe(false, &[("rel", &sign(&next, &[&pen(number)]))]).await.unwrap_err();
        assert_eq!(refused.reason, Reason::ThresholdMissing, "{number}");
        let seen = house.observe(true, &[("rel", &sign(&next, &[&pen(number)]))]).await.unwrap();
        assert_eq!((seen.verified[&role("rel")], seen.alarms.len()), (version(1), 1), "{number}");
    }
    // One parent gives it another key: what comes before that parent in a call is judged by it all the same.
    let right = sign(&delegating_to(2, &[("rel", 9)]), &[&pen(6)]);
    let next = sign(&next, &[&pen(7), &pen(9)]);
    let seen = house.observe(false, &[("rel", &next), ("right", &right)]).await.unwrap();
    assert_eq!(seen.verified[&role("rel")], version(2));
}

#[tokio::test]
async fn a_way_that_was_never_open_is_told_of_and_not_waited_for() {
    let top = sign(&delegating_to(1, &[("left", 5), ("right", 6)]), &[&pen(3)]);
    let left = sign(&delegating_to(1, &[("rel", 7)]), &[&pen(5)]);
    let right = sign(&delegating_to(1, &[("rel", 8)]), &[&pen(6)]);
    let one = sign(&targets(1, 80), &[&pen(7)]);
    let house = House::published(&top).await;
    let seen = house.observe(true, &[("left", &left), ("rel", &one), ("right", &right)]).await.unwrap();
    assert_eq!((seen.verified[&role("rel")], seen.alarms.len()), (version(1), 1));
    assert!(seen.alarms[0].contains("right version 1"), "{:?}", seen.alarms);
    house.observe(false, &[("rel", &sign(&targets(2, 80), &[&pen(7)]))]).await.unwrap();
    // The other key alone would close the only way there is.
    let refused = house.observe(false, &[("rel", &sign(&targets(3, 80), &[&pen(8)]))]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ThresholdMissing);
}

#[tokio::test]
async fn a_role_that_delegates_cannot_put_its_own_key_in_the_place_of_anothers() {
    let top = sign(&delegating_to(1, &[("dev", 5), ("rel", 6)]), &[&pen(3)]);
    let dev = sign(&targets(1, 80), &[&pen(5)]);
    let rel = sign(&targets(1, 80), &[&pen(6)]);
    let house = House::published(&top).await;
    house.observe(true, &[("dev", &dev), ("rel", &rel)]).await.unwrap();
    let dev = sign(&delegating_to(2, &[("rel", 5)]), &[&pen(5)]);
    let forged = sign(&targets(2, 80), &[&pen(5)]);
    let seen = house.observe(true, &[("dev", &dev), ("rel", &forged)]).await.unwrap();
    assert_eq!((seen.verified[&role("rel")], seen.alarms.len()), (version(1), 1));
    // Nor can it keep the role from going on.
    house.observe(false, &[("rel", &sign(&targets(2, 80), &[&pen(6)]))]).await.unwrap();
}

#[tokio::test]
async fn a_parent_that_nobody_leads_to_any_more_has_no_say() {
    let top = sign(&delegating_to(1, &[("left", 5), ("right", 6)]), &[&pen(3)]);
    let left = sign(&delegating_to(1, &[("rel", 7)]), &[&pen(5)]);
    let right = sign(&delegating_to(1, &[("rel", 8)]), &[&pen(6)]);
    let both = sign(&targets(1, 80), &[&pen(7), &pen(8)]);
    let house = House::published(&top).await;
    house.observe(true, &[("left", &left), ("right", &right), ("rel", &both)]).await.unwrap();
    let top = sign(&delegating_to(2, &[("left", 5)]), &[&pen(3)]);
    house.observe(true, &[("targets", &top)]).await.unwrap();
    let next = sign(&targets(2, 80), &[&pen(7)]);
    assert_eq!(house.observe(false, &[("rel", &next)]).await.unwrap().verified[&role("rel")], version(2));
    let facts = house.facts("rel", &targets(3, 80), &pen(8), &[]).await.unwrap();
    assert!(facts.keys.iter().all(|key| !key.of_role), "its key signs no more");
}

#[tokio::test]
async fn a_role_short_of_its_threshold_stays_listed_as_it_is_and_in_no_other_words() {
    let house = House::published(&sign(&delegating(1, 5), &[&pen(3)])).await;
    let stranger = sign(&targets(4, 80), &[&pen(6)]);
    let top = described(&sign(&delegating(1, 5), &[&pen(3)]));
    let listed = snapshot(1, &[("targets", top.clone()), ("rel", described(&stranger))]);
    let published = sign(&listed, &[&pen(4)]);
    let seen = house.observe(true, &[("rel", &stranger), ("snapshot", &published)]).await.unwrap();
    assert_eq!((seen.alarms.len(), seen.verified.contains_key(&role("rel"))), (1, false));
    let same = snapshot(2, &[("targets", top.clone()), ("rel", described(&stranger))]);
    house.facts("snapshot", &same, &pen(4), &[]).await.unwrap();
    let newer = described(&sign(&targets(5, 80), &[&pen(6)]));
    let without = tuf::metadata::MetaFile { version: version(4), length: None, hashes: None };
    for entry in [newer, without] {
        let other = snapshot(2, &[("targets", top.clone()), ("rel", entry)]);
        let refused = house.facts("snapshot", &other, &pen(4), &[]).await.unwrap_err();
        assert_eq!(refused.reason, Reason::SnapshotInvalid);
    }
    // Once it is signed by its key, it is listed like any other.
    let good = sign(&targets(5, 80), &[&pen(5)]);
    house.observe(false, &[("rel", &good)]).await.unwrap();
    let next = snapshot(2, &[("targets", top), ("rel", described(&good))]);
    house.facts("snapshot", &next, &pen(4), &[]).await.unwrap();
}
