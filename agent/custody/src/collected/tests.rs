use super::*;
use crate::slip39::sharing::split;
use crate::test_sets::{context, new_set, no_passphrase, read_back, simple};
use crate::{ManifestError, SplitKind};
use tuf::preimage::{Statement, StatementKind};

fn at() -> UtcTime {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

fn collected(set: &NewSet, which: &[usize]) -> Collected {
    let mut collected = Collected::new(set.manifest());
    for at in which {
        collected.offer(read_back(&set.shares()[*at].share)).unwrap();
    }
    collected
}

#[test]
fn a_share_counts_once_and_those_of_other_sets_never() {
    let (set, other) =
        (new_set(SplitKind::Ed25519, &simple(2, 3)), new_set(SplitKind::Ed25519, &simple(2, 3)));
    let mut collected = collected(&set, &[1]);
    let twice = collected.offer(read_back(&set.shares()[1].share)).unwrap_err();
    assert!(matches!(&twice, ShareRefused::Duplicate { custodian } if custodian.name.as_str() == "c1"));
    let foreign = collected.offer(read_back(&other.shares()[0].share)).unwrap_err();
    let (found, wanted) = (other.manifest().identifier(), set.manifest().identifier());
    // Once in 32768 the identifiers are the same, and the share looks forged instead.
    if found != wanted {
        assert_eq!(foreign, ShareRefused::OtherSet { found, wanted });
    }
    assert_eq!((collected.have(), collected.need(), collected.complete()), (1, 2, false));
    assert_eq!(collected.missing().iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["c0", "c2"]);
    assert_eq!(collected.given().count(), 1);
}

#[test]
fn a_forged_share_with_a_right_checksum_is_named_and_costs_nothing() {
    let set = new_set(SplitKind::Ed25519, &simple(2, 3));
    let mut forged = Vec::new();
    let secret = Value::of(&[7; 32]);
    split(&secret, set.manifest().common(), &[(2, 4)], |header, value| {
        forged.push(Share::new(header, value))
    })
    .unwrap();
    let mut collected = collected(&set, &[0]);
    for (at, share) in forged.iter().enumerate() {
        let refused = collected.offer(read_back(share)).unwrap_err();
        let claims = refused.custodian().map(|custodian| custodian.name.to_string());
        // The fourth place is nobody's.
        assert_eq!(claims, (at < 3).then(|| format!("c{at}")));
        assert!(matches!(refused, ShareRefused::Forged { .. }), "{refused}");
    }
    collected.offer(read_back(&set.shares()[2].share)).unwrap();
    assert!(collected.complete());
}

#[test]
fn a_wrong_passphrase_is_noticed_and_can_be_tried_again() {
    let right = SecretBytes::copy_from(b"open sesame");
    let set = NewSet::generate(SplitKind::EcdsaP256, &simple(2, 3), &context(&right)).unwrap();
    let statement = Statement::new(StatementKind::Drill, "x");
    let mut collected = collected(&set, &[0, 2]);
    let mut sign = |passphrase: &str| {
        let passphrase = SecretBytes::copy_from(passphrase.as_bytes());
        collected.sign(Signable::Statement(&statement), &passphrase).map(drop)
    };
    for wrong in ["", "open sesame ", "Open sesame"] {
        assert_eq!(sign(wrong), Err(RecoverError::WrongKey));
    }
    assert_eq!(sign("\u{e9}"), Err(RecoverError::Passphrase));
    assert_eq!(sign("open sesame"), Ok(()));
    // One collection, one signature.
    assert_eq!(sign("open sesame"), Err(RecoverError::Incomplete { have: 0, need: 2 }));
}

#[test]
fn the_same_key_goes_to_other_people_and_the_manifests_are_a_chain() {
    let none = no_passphrase();
    let first = new_set(SplitKind::Ed25519, &simple(2, 3));
    let mut shares = collected(&first, &[0, 1]);
    let second = shares.resplit(&none, &simple(3, 5), &context(&none)).unwrap();
    assert_eq!(shares.have(), 0);
    assert_eq!(second.manifest().follows(first.manifest()), Ok(()));
    let third = collected(&second, &[0, 2, 4]).resplit(&none, &simple(2, 3), &context(&none)).unwrap();
    assert_eq!(third.manifest().sequence(), 3);
    assert_eq!(third.manifest().public_key(), first.manifest().public_key());
    assert!(matches!(third.manifest().follows(first.manifest()), Err(ManifestError::DoesNotFollow { .. })));
    // One that was given up has used its number up, and its identifier.
    let given_up = [second.manifest().used(), third.manifest().used()];
    let context = Context { used: &given_up, ..context(&none) };
    let next = collected(&first, &[0, 1]).resplit(&none, &simple(2, 3), &context).unwrap();
    assert_eq!((next.manifest().sequence(), next.manifest().follows(first.manifest())), (4, Ok(())));
    assert!(given_up.iter().all(|set| set.identifier != next.manifest().identifier()));
    // Nothing is revoked: the first shares still make the key.
    let statement = Statement::new(StatementKind::Drill, "x");
    let signatures = [collected(&first, &[1, 2]), collected(&third, &[0, 1])]
        .map(|mut shares| shares.sign(Signable::Statement(&statement), &none).unwrap());
    assert_eq!(signatures[0], signatures[1]);
    // But sets never mix.
    assert!(collected(&first, &[0]).offer(read_back(&third.shares()[1].share)).is_err());
}

#[test]
fn a_drill_leaves_a_record_that_its_set_alone_vouches_for() {
    let set = new_set(SplitKind::EcdsaP256, &simple(2, 3));
    let drill = collected(&set, &[2, 0]).prove(at(), &no_passphrase()).unwrap();
    let again = Drill::parse(drill.to_json().as_bytes(), set.manifest()).unwrap();
    assert_eq!((again.at(), again.manifest_digest()), (at(), set.manifest().digest()));
    assert_eq!(again.custodians().iter().map(CustodianName::as_str).collect::<Vec<_>>(), ["c2", "c0"]);
    for (from, to) in [("\"c2\"", "\"c1\""), ("2026-12-01", "2026-12-02")] {
        let changed = drill.to_json().replacen(from, to, 1);
        assert_eq!(Drill::parse(changed.as_bytes(), set.manifest()).map(drop), Err(ManifestError::Signature));
    }
    let other = new_set(SplitKind::EcdsaP256, &simple(2, 3));
    assert!(Drill::parse(drill.to_json().as_bytes(), other.manifest()).is_err());
    let manifest = set.manifest().to_json();
    assert!(matches!(Drill::parse(manifest.as_bytes(), set.manifest()), Err(ManifestError::Sort { .. })));
}

#[test]
fn nothing_of_a_collection_shows_in_its_debug_text() {
    let set = new_set(SplitKind::Ed25519, &simple(2, 3));
    let text = format!("{:?} {:?}", collected(&set, &[0]), set.shares()[0]);
    assert!(text.starts_with("Collected(1 of 2 shares)") && text.contains("share: Share(..)"), "{text}");
}
