//! Who says who signs: what was verified, and what keys of its role have signed; not what was only to be signed.

use ledger::Outcome;
use policy::Reason;

use super::support::{House, delegating, delegating_to, pen, role, root, root_with, sign, targets};

#[tokio::test]
async fn what_a_key_of_nobody_has_signed_takes_no_role_away_and_verifies_nothing() {
    let house = House::published(&sign(&delegating(2, 5), &[&pen(3)])).await;
    // A root that was only sent gives targets to pen 6, which gives rel to pen 7.
    let sent = [(role("root"), root_with(2, 2, 6))];
    let foreign = delegating(3, 7);
    let intent = house.intend("targets", &foreign, &pen(6), &sent).await.unwrap();
    house.signed(intent, &pen(6));
    let file = targets(1, 60);
    let by = async |number| house.facts("rel", &file, &pen(number), &[]).await.unwrap().keys[0].of_role;
    assert!(by(5).await && !by(7).await);
    let shown = sign(&file, &[&pen(7)]);
    assert!(house.observe(false, &[("rel", &shown)]).await.is_err(), "its parent is nobody's");
    house.observe(false, &[("rel", &sign(&file, &[&pen(5)]))]).await.unwrap();
    // Nor does it keep what was looked at from being signed.
    let (app, rel) = (house.app().await, role("rel"));
    let standing = house.repositories.standing(&app, &rel).await.unwrap();
    let authority = house.repositories.authority(&app, &rel, &file, &[]).await.unwrap();
    assert!(house.repositories.still_stands(&app, (&rel, &file), &standing, &authority).await.unwrap());
    // Whoever would take rel's key away asks who is served by it.
    let served = house.repositories.served_by(&pen(5).public()).await.unwrap();
    assert_eq!(served.iter().map(|found| found.role.as_str()).collect::<Vec<_>>(), ["rel"]);
    // What stands in its place keeps nobody from sending the parent that is right.
    let right = [(role("targets"), delegating_to(3, &[("rel", 5), ("more", 8)]))];
    assert!(house.facts("more", &file, &pen(8), &right).await.unwrap().keys[0].of_role);
}

#[tokio::test]
async fn a_parent_counts_once_its_signature_is_made_and_not_before() {
    let house = House::published(&sign(&delegating(2, 5), &[&pen(3)])).await;
    // Pen 5 serves rel: a role beside it must be given by more than a word.
    let parent = delegating_to(3, &[("rel", 5), ("more", 5)]);
    let (sent, file) = ([(role("targets"), parent.clone())], targets(1, 60));
    let more = async || house.intend("more", &file, &pen(5), &sent).await;
    assert_eq!(more().await.unwrap_err().reason, Reason::Policy);
    let intent = house.intend("targets", &parent, &pen(3), &[]).await.unwrap();
    assert_eq!(more().await.unwrap_err().reason, Reason::Policy, "it is only to be signed");
    house.ledger.record_outcome(intent, Outcome::Abandoned);
    assert_eq!(more().await.unwrap_err().reason, Reason::Policy, "nothing came of it");
    let again = house.intend("targets", &parent, &pen(3), &[]).await.unwrap();
    house.signed(again, &pen(3));
    more().await.unwrap();
}

#[tokio::test]
async fn a_signature_that_is_shown_counts_whatever_the_journal_has_of_it() {
    let house = House::published(&sign(&delegating(2, 5), &[&pen(3)])).await;
    let parent = delegating_to(3, &[("rel", 5), ("more", 5)]);
    let file = targets(1, 60);
    let intent = house.intend("targets", &parent, &pen(3), &[]).await.unwrap();
    house.ledger.record_outcome(intent, Outcome::Unknown);
    for (by, counts) in [(9, false), (3, true)] {
        let sent = [(role("targets"), sign(&parent, &[&pen(by)]))];
        assert_eq!(house.intend("more", &file, &pen(5), &sent).await.is_ok(), counts, "pen {by}");
    }
}

#[tokio::test]
async fn what_half_of_those_who_delegate_have_signed_gives_no_second_role_to_a_key() {
    let house = House::published(&sign(&delegating(2, 5), &[&pen(3)])).await;
    // Root wants two.
    for (number, targets_key, is_given) in [(2, 5, false), (2, 6, true)] {
        let half = root_with(number, 2, targets_key);
        let intent = house.intend("root", &half, &pen(1), &[]).await;
        if let Ok(intent) = intent {
            house.signed(intent, &pen(1));
        }
        let sent = [(role("root"), half)];
        let given = house.intend("targets", &targets(3, 80), &pen(targets_key), &sent).await;
        assert_eq!(given.is_ok(), is_given, "pen {targets_key}: {given:?}");
    }
}

#[tokio::test]
async fn a_signed_root_counts_above_the_trusted_one_alone() {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    // Root 2 was signed here, and others completed another chain of changes up to root 3, which takes targets from pen 3.
    let second = root(2, 2);
    let intent = house.intend("root", &second, &pen(1), &[]).await.unwrap();
    house.signed(intent, &pen(1));
    let third = sign(&root_with(3, 2, 6), &[&pen(1), &pen(2)]);
    house.observe(true, &[("root", &sign(&second, &[&pen(1), &pen(2)])), ("root", &third)]).await.unwrap();
    // A root that was only sent gives it back.
    let sent = [(role("root"), root_with(4, 2, 3))];
    let parent = delegating_to(2, &[("fake", 9)]);
    let intent = house.intend("targets", &parent, &pen(3), &sent).await.unwrap();
    house.signed(intent, &pen(3));
    let file = targets(1, 60);
    let refused = house.facts("fake", &file, &pen(9), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RoleUnknown, "nobody of targets has signed that parent");
}
