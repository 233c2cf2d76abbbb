use super::*;
use crate::test_sets::{context, new_set, no_passphrase, read_back, simple};
use crate::{Collected, GroupTerms, Terms, Weak};
use tuf::preimage::{Statement, StatementKind};

/// The secret key 1 and 2 of RFC 8032, 7.1, and of RFC 6979, A.2.5.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const SEED_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const SCALAR: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
const SCALAR_PUBLIC: &str = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                             7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

fn secret(text: &str) -> SecretBytes {
    SecretBytes::take_from(hex::decode(text).unwrap())
}

#[test]
fn a_key_that_exists_is_split_and_signs_as_it_did_before() {
    let statement = Statement::new(StatementKind::Drill, "x");
    for (kind, text, public) in
        [(SplitKind::Ed25519, SEED, SEED_PUBLIC), (SplitKind::EcdsaP256, SCALAR, SCALAR_PUBLIC)]
    {
        let none = no_passphrase();
        let split = || NewSet::of_secret(&secret(text), kind, &simple(2, 3), &context(&none), None).unwrap();
        let (one, two) = (split(), split());
        assert_eq!(hex::encode(one.manifest().public_key().raw().unwrap()), public);
        let signature = |set: &NewSet, which: [usize; 2]| {
            let mut collected = Collected::new(set.manifest());
            for at in which {
                collected.offer(read_back(&set.shares()[at].share)).unwrap();
            }
            collected.sign(Signable::Statement(&statement), &none).unwrap()
        };
        let first = signature(&one, [0, 1]);
        assert_eq!(one.manifest().public_key().verify(statement.bytes(), first.as_bytes()), Ok(()));
        // Both schemes are deterministic: the same key signs the same.
        assert!([signature(&one, [2, 0]), signature(&two, [1, 2])].iter().all(|again| *again == first));
    }
}

#[test]
fn what_is_no_key_or_another_key_is_refused() {
    let none = no_passphrase();
    let split = |bytes: &[u8], kind| {
        NewSet::of_secret(&SecretBytes::copy_from(bytes), kind, &simple(2, 3), &context(&none), None)
    };
    for bytes in [&[0; 32][..], &[0xFF; 32], &[1; 31], &[1; 33], &[]] {
        let refused = split(bytes, SplitKind::EcdsaP256).map(drop);
        assert_eq!(refused, Err(SplitError::NotAKey { kind: SplitKind::EcdsaP256 }));
    }
    assert!(matches!(split(&[1; 33], SplitKind::Ed25519), Err(SplitError::NotAKey { .. })));
    let other = new_set(SplitKind::Ed25519, &simple(2, 3));
    let seed = SecretBytes::copy_from(&[1; 32]);
    let after =
        |before| NewSet::of_secret(&seed, SplitKind::Ed25519, &simple(2, 3), &context(&none), Some(before));
    assert_eq!(after(other.manifest()).map(drop), Err(SplitError::OtherKey));
    let first = split(&[1; 32], SplitKind::Ed25519).unwrap();
    let second = after(first.manifest()).unwrap();
    assert_eq!(second.manifest().follows(first.manifest()), Ok(()));
    assert!(first.manifest().follows(second.manifest()).is_err());
    assert_ne!(second.manifest().identifier(), first.manifest().identifier());
    assert_ne!(second.manifest().set_id(), first.manifest().set_id());
}

#[test]
fn names_and_passphrases_that_cannot_be_written_are_refused_before_anything_is_made() {
    let none = no_passphrase();
    for name in ["", "a b", "\"", "é", &"x".repeat(101)] {
        let context = Context { key_name: name, ..context(&none) };
        let made = NewSet::generate(SplitKind::Ed25519, &simple(2, 3), &context);
        assert_eq!(made.map(drop), Err(SplitError::KeyName));
    }
    let accent = SecretBytes::copy_from("é".as_bytes());
    let made = NewSet::generate(SplitKind::Ed25519, &simple(2, 3), &context(&accent));
    assert_eq!(made.map(drop), Err(SplitError::Recover(RecoverError::Passphrase)));
}

#[test]
fn one_of_many_is_a_group_for_each_and_any_share_alone_signs() {
    let set = new_set(SplitKind::Ed25519, &simple(1, 3));
    let statement = Statement::new(StatementKind::Drill, "x");
    for new in set.shares() {
        let mut collected = Collected::new(set.manifest());
        collected.offer(read_back(&new.share)).unwrap();
        assert!(collected.complete() && collected.have() == 1 && collected.need() == 1);
        collected.sign(Signable::Statement(&statement), &no_passphrase()).unwrap();
    }
}

#[test]
fn groups_are_handed_out_in_order_and_come_together() {
    let group = |name: &str, threshold, custodians: &[&str]| GroupTerms {
        name: name.parse().unwrap(),
        threshold,
        custodians: custodians.iter().map(|name| name.parse().unwrap()).collect(),
    };
    let groups =
        vec![group("board", 1, &["ann"]), group("ops", 2, &["ben", "cy", "dee"]), group("hr", 1, &["eve"])];
    let terms = Terms::groups(2, groups).unwrap().agreed(Weak::Refused).unwrap();
    let set = new_set(SplitKind::EcdsaP256, &terms);
    let names: Vec<_> = set.shares().iter().map(|new| new.custodian.to_string()).collect();
    assert_eq!(names, ["ann", "ben", "cy", "dee", "eve"]);
    let mut collected = Collected::new(set.manifest());
    let missing = |collected: &Collected| -> Vec<String> {
        collected.missing().iter().map(ToString::to_string).collect()
    };
    assert_eq!((collected.need(), missing(&collected).len()), (2, 5));
    collected.offer(read_back(&set.shares()[3].share)).unwrap();
    assert_eq!(missing(&collected), ["ann", "ben", "cy", "eve"]);
    // Two more are still the fewest.
    assert_eq!(collected.have(), 0);
    collected.offer(read_back(&set.shares()[4].share)).unwrap();
    // Two shares, and not enough: dee's group is not complete.
    assert!(!collected.complete());
    assert_eq!(missing(&collected), ["ann", "ben", "cy"]);
    let statement = Statement::new(StatementKind::Drill, "x");
    let too_few = collected.sign(Signable::Statement(&statement), &no_passphrase());
    assert_eq!(too_few, Err(RecoverError::Incomplete { have: 1, need: 2 }));
    collected.offer(read_back(&set.shares()[1].share)).unwrap();
    assert!(collected.complete() && missing(&collected).is_empty());
    assert_eq!(collected.have(), 2);
    let progress: Vec<_> = collected.progress().iter().map(|group| (group.have, group.need)).collect();
    assert_eq!(progress, [(0, 1), (2, 2), (1, 1)]);
    collected.sign(Signable::Statement(&statement), &no_passphrase()).unwrap();
}

#[test]
fn sets_of_all_shapes_come_together_from_their_words_and_sign() {
    let statement = Statement::new(StatementKind::Drill, "x");
    for kind in [SplitKind::Ed25519, SplitKind::EcdsaP256] {
        for (threshold, count) in [(1, 1), (2, 2), (2, 16), (9, 16), (16, 16)] {
            let set = new_set(kind, &simple(threshold, count));
            let mut collected = Collected::new(set.manifest());
            // The last ones, the last of them first.
            for new in set.shares().iter().rev().take(threshold) {
                assert!(!collected.complete());
                collected.offer(read_back(&new.share)).unwrap();
            }
            let signature = collected.sign(Signable::Statement(&statement), &no_passphrase()).unwrap();
            let verified = set.manifest().public_key().verify(statement.bytes(), signature.as_bytes());
            assert_eq!(verified, Ok(()), "{kind} {threshold} of {count}");
        }
    }
}

/// What a set of this secret is made with.
fn facts(terms: &AgreedTerms, identifier: u16) -> Facts {
    let key = key::public_of(SplitKind::Ed25519, &Value::of(&[7; KEY_LEN])).unwrap().to_key();
    Facts {
        set_id: SetId::random().unwrap(),
        identifier,
        exponent: IterationExponent(0),
        key_name: "root-s".to_owned(),
        key,
        kind: SplitKind::Ed25519,
        terms: terms.terms().clone(),
        fingerprints: Vec::new(),
        made_at: context(&no_passphrase()).made_at,
        sequence: 1,
        previous: None,
    }
}

#[test]
fn no_share_leaves_when_one_of_the_set_is_wrong_or_lacks_or_the_set_is_of_another_secret() {
    let (secret, none) = (Value::of(&[7; KEY_LEN]), no_passphrase());
    for terms in [simple(2, 3), groups_of_two()] {
        let facts = facts(&terms, 4711);
        let encrypted = cipher::encrypt(&secret, facts.common(), &none);
        let copied = |shares: &[Share]| -> Vec<Share> {
            let copy = |part: Part<'_>| Share::new(part.header, &Value { bytes: *part.value, len: part.len });
            shares.iter().map(|share| copy(share.part())).collect()
        };
        let right = checked_shares(&secret, &facts, &none).unwrap();
        let judged = |shares: Vec<Share>, encrypted: &Value, secret: &Value| {
            checked(shares, encrypted, secret, &facts, &none).map(|shares| shares.len())
        };
        assert_eq!(judged(copied(&right), &encrypted, &secret), Ok(right.len()));
        let wrong = Err(SplitError::Check);
        for at in 0..right.len() {
            for bit in [0, 100, 255] {
                let mut shares = copied(&right);
                let part = shares[at].part();
                let mut value = Value { bytes: *part.value, len: part.len };
                value.bytes[bit / 8] ^= 1 << (bit % 8);
                shares[at] = Share::new(part.header, &value);
                assert_eq!(judged(shares, &encrypted, &secret), wrong, "share {at}, bit {bit}");
            }
            let mut fewer = copied(&right);
            fewer.remove(at);
            assert_eq!(judged(fewer, &encrypted, &secret), wrong, "without share {at}");
        }
        let mut more = copied(&right);
        more.extend(copied(&right[..1]));
        assert_eq!(judged(more, &encrypted, &secret), wrong, "one twice");
        let other = Value::of(&[8; KEY_LEN]);
        assert_eq!(judged(copied(&right), &encrypted, &other), wrong, "of another secret");
        let other = cipher::encrypt(&other, facts.common(), &none);
        assert_eq!(judged(copied(&right), &other, &secret), wrong, "of another encryption");
    }
    // An identifier that has no room in the words: they would give another share.
    let unwritable = facts(&simple(2, 3), 0x8000 | 4711);
    assert_eq!(checked_shares(&secret, &unwritable, &none).map(drop), Err(SplitError::Check));
}

fn groups_of_two() -> AgreedTerms {
    let group = |name: &str, people: [&str; 2]| GroupTerms {
        name: name.parse().unwrap(),
        threshold: 2,
        custodians: people.map(|one| one.parse().unwrap()).into(),
    };
    let groups = vec![group("one", ["ann", "ben"]), group("two", ["cy", "dan"])];
    Terms::groups(2, groups).unwrap().agreed(Weak::Allowed).unwrap()
}
