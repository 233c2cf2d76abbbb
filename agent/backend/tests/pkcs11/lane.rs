//! Signatures of which several are under way, and nobody's thread waits.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backend::pkcs11::{Begun, Pkcs11Token, UnderWay};
use backend::{Backend, BackendError, TokenState};
use tuf::key::{KeyType, PublicKey};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::Case;
use crate::lab::{Lab, sign, unlock, unlocked, wait_for, wait_until};

pub const CASES: &[Case] = &[
    ("many_signatures_under_way_come_each_to_its_own_question", many),
    ("a_crash_under_signatures_under_way_is_told_to_each_and_none_is_made_again", crash),
    ("a_lock_overtakes_signatures_under_way", lock_overtakes),
    ("a_lock_overtakes_a_large_signature_that_somebody_waits_for", lock_overtakes_a_call),
    ("a_signature_that_nobody_waits_for_keeps_its_place_until_it_is_made", abandoned),
    ("a_key_that_takes_the_pin_says_so_on_the_lane_too", wants_pin),
];

pub fn begin(token: &Pkcs11Token, key: &PublicKey, text: &str) -> UnderWay {
    let statement = Statement::new(StatementKind::Drill, text);
    let scheme = key.key_type().default_scheme();
    match token.begin_signature(key, scheme, Signable::Statement(&statement), Box::new(())) {
        Begun::UnderWay(under_way) => under_way,
        Begun::Refused(error) => panic!("{text}: {error}"),
        Begun::NotThisWay => panic!("{text}: it goes another way"),
    }
}

/// Waits for it as somebody does who attends to its lane.
pub fn finish(
    token: &Pkcs11Token,
    key: &PublicKey,
    text: &str,
    under_way: UnderWay,
) -> Result<(), BackendError> {
    let statement = Statement::new(StatementKind::Drill, text);
    let what = Signable::Statement(&statement);
    let lane = Arc::clone(under_way.lane());
    let mut under_way = pin!(under_way);
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(made) = under_way.as_mut().poll(&mut context) {
            return made?.verify(key, key.key_type().default_scheme(), what).map(|_| ());
        }
        if !lane.receive() {
            token.lane_ended(&lane);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn many() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let keys = [KeyType::EcdsaP256, KeyType::Ed25519, KeyType::EcdsaP384, KeyType::Rsa2048]
        .map(|kind| token.generate(&kind.name().parse().unwrap(), kind).unwrap().public);
    for round in 0..20 {
        let text = |n: usize| format!("{round} {n}");
        let begun: Vec<_> = (0..32).map(|n| begin(&token, &keys[n % 4], &text(n))).collect();
        assert!(!begun[0].is_alone());
        // The other connection goes on beside it.
        assert_eq!(token.keys().unwrap().len(), 4);
        for (n, under_way) in begun.into_iter().enumerate().rev() {
            finish(&token, &keys[n % 4], &text(n), under_way).unwrap();
        }
    }
    let long = Statement::new(StatementKind::Drill, &"x".repeat(40_000));
    let scheme = KeyType::Ed25519.default_scheme();
    let begun = token.begin_signature(&keys[1], scheme, Signable::Statement(&long), Box::new(()));
    assert!(matches!(begun, Begun::NotThisWay));
}

fn crash() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    lab.say("C_Sign 2 after abort");
    lab.desk().forget();
    let begun: Vec<_> = (0..3).map(|n| begin(&token, &key, &n.to_string())).collect();
    let ended = begun.into_iter().enumerate().map(|(n, it)| finish(&token, &key, &n.to_string(), it));
    let ended: Vec<_> = ended.collect();
    assert!(ended[0].is_ok());
    for end in &ended[1..] {
        let error = end.as_ref().unwrap_err();
        assert_eq!(error.reason(), "TOKEN_FAILED", "{error}");
        assert!(error.to_string().contains("helper of token liar died"), "{error}");
    }
    assert_eq!(lab.desk().trace().signatures(), 2);
    lab.say("pass");
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    finish(&token, &key, "again", begin(&token, &key, "again")).unwrap();
    // Locked, nothing is begun.
    token.lock();
    let statement = Statement::new(StatementKind::Drill, "locked");
    let scheme = key.key_type().default_scheme();
    let begun = token.begin_signature(&key, scheme, Signable::Statement(&statement), Box::new(()));
    assert!(matches!(begun, Begun::Refused(BackendError::Locked)));
}

fn lock_overtakes() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    lab.say("C_Sign * sleep 300");
    lab.desk().forget();
    let begun: Vec<_> = (0..4).map(|n| begin(&token, &key, &n.to_string())).collect();
    wait_until(|| lab.traced("C_Sign") > 0, || "nothing was begun".to_owned());
    token.lock();
    for (n, under_way) in begun.into_iter().enumerate() {
        let error = finish(&token, &key, &n.to_string(), under_way).unwrap_err();
        assert_eq!(error.reason(), "TOKEN_LOCKED", "{error}");
    }
    // The logout went before what was asked earlier and not begun.
    assert!(lab.traced("C_Sign") < 4, "{}", lab.traced("C_Sign"));
    lab.say("pass");
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn lock_overtakes_a_call() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    lab.say("C_Sign * sleep 3000");
    lab.desk().forget();
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| sign(&token, &key, "waited for"));
        wait_until(|| lab.traced("C_Sign") > 0, || "nothing was begun".to_owned());
        token.lock();
        let error = signing.join().unwrap().unwrap_err();
        assert_eq!(error.reason(), "TOKEN_LOCKED", "{error}");
    });
    lab.say("pass");
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn abandoned() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    lab.say("C_Sign * sleep 300");
    let place = Arc::new(());
    let statement = Statement::new(StatementKind::Drill, "x");
    let what = Signable::Statement(&statement);
    let scheme = key.key_type().default_scheme();
    let begun = token.begin_signature(&key, scheme, what, Box::new(Arc::clone(&place)));
    let Begun::UnderWay(under_way) = begun else { panic!("not begun") };
    let lane = Arc::clone(under_way.lane());
    drop(under_way);
    assert_eq!(Arc::strong_count(&place), 2);
    wait_until(|| lane.receive() && Arc::strong_count(&place) == 1, || "its place is kept".to_owned());
}

fn wants_pin() {
    let lab = Lab::new();
    crate::twins::run_make(&lab, &["always-ec"]);
    let token = unlocked(lab.config("hsm"));
    let key = token.keys().unwrap().remove(0).public;
    let error = finish(&token, &key, "x", begin(&token, &key, "x")).unwrap_err();
    assert_eq!(error.reason(), "PIN_REQUIRED");
}
