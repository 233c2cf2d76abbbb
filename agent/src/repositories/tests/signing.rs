//! What the signing pipeline asks.

use policy::{Decision, Reason, SigningRules, judge};
use serde_json::Value;
use tuf::key::Key;
use tuf::metadata::{Limits, Metadata};

use super::support::{
    House, delegating, delegating_to, described, pen, role, root, sign, snapshot, targets, timestamp, version,
};
use crate::repositories::Signing;

#[tokio::test]
async fn a_staged_root_speaks_for_the_roles_of_a_new_repository() {
    let house = House::with_app().await;
    let targets = targets(1, 80);
    let refused = house.facts("targets", &targets, &pen(3), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RoleUnknown);
    let staged = [(role("root"), root(1, 2))];
    let facts = house.facts("targets", &targets, &pen(3), &staged).await.unwrap();
    assert_eq!(judge(&SigningRules::default(), &facts), Decision::Allow);
    let stranger = house.facts("targets", &targets, &pen(5), &staged).await.unwrap();
    assert!(!stranger.keys[0].of_role);
    let own = house.facts("root", &root(1, 2), &pen(1), &[]).await.unwrap();
    assert_eq!(judge(&SigningRules::default(), &own), Decision::Allow);
}

#[tokio::test]
async fn a_sent_parent_counts_only_above_the_one_that_is_known() {
    let house = House::published(&sign(&delegating(2, 5), &[&pen(3)])).await;
    let file = targets(1, 80);
    let known = house.facts("rel", &file, &pen(5), &[]).await.unwrap();
    assert!(known.keys[0].of_role);
    let older = [(role("targets"), delegating(1, 6))];
    assert!(!house.facts("rel", &file, &pen(6), &older).await.unwrap().keys[0].of_role);
    let newer = [(role("targets"), delegating(3, 6))];
    assert!(house.facts("rel", &file, &pen(6), &newer).await.unwrap().keys[0].of_role);
    assert!(!house.facts("rel", &file, &pen(5), &newer).await.unwrap().keys[0].of_role);
    let skipped = [(role("root"), root(3, 2))];
    let refused = house.facts("targets", &file, &pen(3), &skipped).await.unwrap_err();
    assert_eq!(refused.reason, Reason::VersionJump);
}

#[tokio::test]
async fn a_sent_parent_to_which_no_delegation_leads_says_nothing() {
    let house = House::published(&sign(&delegating(2, 5), &[&pen(3)])).await;
    let file = targets(3, 80);
    // The very key of targets: any role that nobody heard of would be one more content under its version.
    let alone = [(role("nowhere"), delegating_to(1, &[("fake", 3)]))];
    let refused = house.facts("fake", &file, &pen(3), &alone).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RoleUnknown);
    let round = [
        (role("one"), delegating_to(1, &[("fake", 3), ("two", 3)])),
        (role("two"), delegating_to(1, &[("one", 3)])),
    ];
    assert_eq!(house.facts("fake", &file, &pen(3), &round).await.unwrap_err().reason, Reason::RoleUnknown);
    let led = [(role("rel"), delegating_to(1, &[("fake", 3)]))];
    assert!(house.facts("fake", &file, &pen(3), &led).await.unwrap().keys[0].of_role);
}

#[tokio::test]
async fn what_was_signed_is_the_base_until_something_is_verified_and_the_watermark_holds_before_anyone_is_asked()
 {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    let app = house.app().await;
    let (name, second) = (role("targets"), targets(2, 80));
    let authority = house.repositories.authority(&app, &name, &second, &[]).await.unwrap();
    let signing = Signing {
        record: &app,
        role: &name,
        subject: &second,
        authority: &authority,
        keys: pen(3).named(),
        shared_key: false,
        supersedes: None,
        caller: Value::Null,
    };
    house.repositories.record_intent(signing).await.unwrap();
    let refused = house.facts("targets", &targets(2, 70), &pen(3), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Watermark);
    assert_eq!(refused.details["signed_sha256"], second.digest().to_string());
    assert_eq!(refused.details["repository"], "app");
    assert!(house.facts("targets", &second, &pen(3), &[]).await.is_ok(), "the same content again is fine");
    let base = house.repositories.newest(&app, &name, &targets(3, 80)).await.unwrap().unwrap();
    assert_eq!((base.metadata.version(), base.verified), (version(1), true));
}

#[tokio::test]
async fn a_snapshot_lists_only_what_was_seen_complete_and_describes_its_bytes() {
    let published = sign(&targets(1, 80), &[&pen(3)]);
    let house = House::published(&published).await;
    let unseen = sign(&targets(2, 80), &[&pen(3)]);
    let mut wrong = described(&published);
    wrong.length = wrong.length.map(|length| length + 1);
    let cases = [
        (snapshot(1, &[("targets", described(&published))]), true),
        (snapshot(1, &[("targets", described(&unseen))]), false),
        (snapshot(1, &[("targets", wrong)]), false),
        (snapshot(1, &[("rel", described(&published))]), false),
        (snapshot(1, &[("targets", described(&published)), ("rel", described(&unseen))]), false),
    ];
    for (file, good) in cases {
        let facts = house.facts("snapshot", &file, &pen(4), &[]).await;
        assert_eq!(facts.is_ok(), good, "{facts:?}");
        if let Err(refusal) = facts {
            assert_eq!(refusal.reason, Reason::SnapshotInvalid);
        }
    }
}

#[tokio::test]
async fn a_timestamp_names_the_newest_snapshot_and_entries_neither_vanish_nor_go_down() {
    let first = sign(&targets(1, 80), &[&pen(3)]);
    let house = House::published(&first).await;
    let listing = sign(&snapshot(1, &[("targets", described(&first))]), &[&pen(4)]);
    let stamp = timestamp(1, &described(&listing));
    let refused = house.facts("timestamp", &stamp, &pen(4), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::SnapshotInvalid, "not seen yet");
    house.observe(false, &[("snapshot", &listing)]).await.unwrap();
    assert!(house.facts("timestamp", &stamp, &pen(4), &[]).await.is_ok());

    let second = sign(&delegating(2, 5), &[&pen(3)]);
    let rel = sign(&targets(1, 60), &[&pen(5)]);
    let both = [("targets", described(&second)), ("rel", described(&rel))];
    let newer = sign(&snapshot(2, &both), &[&pen(4)]);
    house.observe(true, &[("targets", &second), ("rel", &rel), ("snapshot", &newer)]).await.unwrap();
    let refused = house.facts("timestamp", &stamp, &pen(4), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::SnapshotInvalid, "it names an older one");
    let lost = snapshot(3, &[("targets", described(&second))]);
    let refused = house.facts("snapshot", &lost, &pen(4), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::SnapshotInvalid, "rel has vanished");
    assert!(house.facts("snapshot", &snapshot(3, &both), &pen(4), &[]).await.is_ok());
}

#[tokio::test]
async fn a_judgement_is_void_once_a_parent_or_what_is_listed_has_moved() {
    let first = sign(&delegating(1, 5), &[&pen(3)]);
    let house = House::published(&first).await;
    let app = house.app().await;
    let (rel, file) = (role("rel"), targets(1, 60));
    let standing = house.repositories.standing(&app, &rel).await.unwrap();
    let authority = house.repositories.authority(&app, &rel, &file, &[]).await.unwrap();
    let stands =
        async || house.repositories.still_stands(&app, (&rel, &file), &standing, &authority).await.unwrap();
    assert!(stands().await);
    let (listing, lists) = (role("snapshot"), snapshot(1, &[("targets", described(&first))]));
    let before = house.repositories.standing(&app, &listing).await.unwrap();
    let online = house.repositories.authority(&app, &listing, &lists, &[]).await.unwrap();
    let lists_still =
        async || house.repositories.still_stands(&app, (&listing, &lists), &before, &online).await;
    assert!(lists_still().await.unwrap());
    // Its parent gives the role to another key while a person reads.
    house.observe(true, &[("targets", &sign(&delegating(2, 6), &[&pen(3)]))]).await.unwrap();
    assert!(!stands().await);
    assert_eq!(lists_still().await.unwrap_err().reason, Reason::SnapshotInvalid);
    // A parent that was sent along and is signed meanwhile is the one that was looked at.
    let sent = [(role("targets"), delegating(3, 5))];
    let authority = house.repositories.authority(&app, &rel, &file, &sent).await.unwrap();
    let standing = house.repositories.standing(&app, &rel).await.unwrap();
    let stands =
        async || house.repositories.still_stands(&app, (&rel, &file), &standing, &authority).await.unwrap();
    assert!(stands().await);
    house.observe(false, &[("targets", &sign(&sent[0].1, &[&pen(3)]))]).await.unwrap();
    assert!(stands().await);
}

#[tokio::test]
async fn what_a_root_takes_away_is_a_concern() {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    let facts = house.facts("root", &root(2, 1), &pen(1), &[]).await.unwrap();
    let step = facts.thresholds.first().unwrap();
    assert_eq!((step.role.as_str(), step.from, step.to), ("root", 2, 1));
    assert_eq!(judge(&SigningRules::default(), &facts).concerns().len(), 1);
}

#[tokio::test]
async fn the_roles_of_a_key_are_all_that_it_may_sign() {
    let house = House::published(&sign(&delegating(1, 3), &[&pen(3)])).await;
    let of = async |number| -> Vec<String> {
        let roles = house.repositories.roles_of_key(&pen(number).public()).await.unwrap();
        roles.into_iter().map(|found| found.role.to_string()).collect()
    };
    assert_eq!(of(1).await, ["root"]);
    assert_eq!(of(3).await, ["rel", "targets"]);
    assert_eq!(of(4).await, ["snapshot", "timestamp"]);
    assert!(of(9).await.is_empty());
    let (app, file) = (house.app().await, targets(1, 80));
    let warned = house.repositories.authority(&app, &role("rel"), &file, &[]).await.unwrap().warnings;
    assert_eq!(warned, ["a key of rel also serves targets"]);
}

/// A root with these changes to its text, as somebody staged it.
fn changed(of: &Metadata, change: impl FnOnce(&mut Value)) -> Metadata {
    let mut signed: Value = serde_json::from_slice(&of.canonical_signed()).unwrap();
    change(&mut signed);
    Metadata::parse_signed_part(signed.to_string().into_bytes(), &Limits::agent()).unwrap()
}

#[tokio::test]
async fn a_key_that_stands_under_the_keyid_of_another_is_a_concern_and_so_is_one_that_counts_twice() {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    let facts = house.facts("root", &changed(&root(2, 2), |_| {}), &pen(1), &[]).await.unwrap();
    assert!(facts.odd_keys.is_empty(), "{facts:?}");
    let known = pen(3).key().computed_keyid();
    let thief: Value = serde_json::from_str(pen(9).key().json()).unwrap();
    let swapped = changed(&root(2, 2), |root| root["keys"][known.as_str()] = thief);
    let facts = house.facts("root", &swapped, &pen(1), &[]).await.unwrap();
    let (own, said) = (pen(9).key().computed_keyid(), facts.odd_keys.join(" "));
    assert!(said.contains(known.as_str()) && said.contains(own.as_str()), "{said}");
    assert!(!judge(&SigningRules::default(), &facts).concerns().is_empty());
    let mut twin: Value = serde_json::from_str(pen(3).key().json()).unwrap();
    twin["x-desk"] = "left".into();
    let other = Key::from_json(twin.to_string().as_bytes()).unwrap().computed_keyid();
    let doubled = changed(&root(2, 2), |root| {
        root["keys"][other.as_str()] = twin;
        let keyids = root["roles"]["targets"]["keyids"].as_array_mut().unwrap();
        keyids.push(other.as_str().into());
        root["roles"]["targets"]["threshold"] = 2.into();
    });
    let facts = house.facts("root", &doubled, &pen(1), &[]).await.unwrap();
    assert_eq!(facts.odd_keys.len(), 1, "{facts:?}");
    assert!(facts.odd_keys[0].starts_with("targets names one key under two keyids"), "{facts:?}");
    // What stands so already is no news.
    let both = sign(&doubled, &[&pen(1), &pen(2)]);
    house.observe(false, &[("root", &both)]).await.unwrap();
    let third = changed(&doubled, |root| root["version"] = 3.into());
    let facts = house.facts("root", &third, &pen(1), &[]).await.unwrap();
    assert!(facts.odd_keys.is_empty(), "{facts:?}");
}
