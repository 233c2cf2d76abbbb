//! Several signatures at once, each in a session of its own, where the configuration says that the module can (FAULTS D8).

use std::time::Duration;

use backend::pkcs11::{Pkcs11Config, Pkcs11Token};
use backend::{Backend, BackendError, TokenState};
use lying_pkcs11::Trace;
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::always::sign_with;
use crate::lab::{Lab, PIN, sign, unlock, unlocked, wait_for, wait_until};
use crate::lane::{begin, finish};

pub const CASES: &[Case] = &[
    ("as_many_signatures_as_are_allowed_are_made_at_once", at_once),
    ("a_pool_of_sessions_learns_the_limit_of_the_token", limits),
    ("a_token_that_has_no_more_sessions_all_at_once_is_worked_with_in_those_that_it_has", full_midway),
    ("a_module_that_cannot_lock_makes_one_signature_at_a_time", no_threads),
    ("a_stuck_session_of_the_pool_is_dropped_and_its_signature_made_elsewhere", stuck),
    ("a_signature_of_the_pool_whose_outcome_is_unknown_is_not_made_again", unknown_outcome),
    ("a_login_that_is_lost_under_the_pool_is_told_to_each", login_lost),
    ("a_module_that_hangs_or_dies_under_the_pool_ends_with_its_helper", hangs_and_dies),
    ("a_lock_waits_for_what_is_at_work_and_overtakes_the_rest", lock_overtakes),
    ("a_key_that_takes_the_pin_each_time_signs_while_nobody_else_is_at_work", pin_each_time),
    ("keys_of_every_kind_are_served_by_the_pool", every_kind),
];

const SESSIONS: usize = 4;

fn config(lab: &Lab) -> Pkcs11Config {
    Pkcs11Config { sessions: SESSIONS, ..lab.lying_config("liar") }
}

/// With a key that has signed, so that it is known where it is.
fn with_key(lab: &Lab) -> (Pkcs11Token, PublicKey) {
    let token = unlocked(config(lab));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    sign(&token, &key, "first").unwrap();
    (token, key)
}

/// So many at a time, all begun before one is waited for.
fn together(token: &Pkcs11Token, key: &PublicKey, number: usize) -> Vec<Result<(), BackendError>> {
    let begun: Vec<_> = (0..number).map(|n| begin(token, key, &n.to_string())).collect();
    let finished = begun.into_iter().enumerate().map(|(n, begun)| finish(token, key, &n.to_string(), begun));
    finished.collect()
}

/// Signs until so many were seen at once; it never sees more.
fn wait_for_at_once(lab: &Lab, token: &Pkcs11Token, key: &PublicKey, expected: usize) {
    let seen = || {
        let made = together(token, key, 3 * SESSIONS);
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let most = lab.desk().trace().most_at_once("C_Sign");
        assert!(most <= expected, "{most} at once where {expected} may be");
        most == expected
    };
    wait_until(seen, || format!("never {expected} at once"));
}

fn at_once() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    lab.say("C_Sign * sleep 300");
    lab.desk().forget();
    wait_for_at_once(&lab, &token, &key, SESSIONS);
    // The sessions are opened once, and no key is looked for again.
    let opened = lab.traced("C_OpenSession");
    assert!(opened <= SESSIONS, "{opened}");
    assert!(together(&token, &key, 3 * SESSIONS).iter().all(Result::is_ok));
    assert_eq!((lab.traced("C_OpenSession"), lab.traced("C_FindObjectsInit")), (opened, 0));
    assert_eq!(lab.desk().trace().logins(), 0);
    // The other connection is served between them.
    assert_eq!(token.keys().unwrap().len(), 1);
}

fn limits() {
    for limit in [1, 2, 3, 16] {
        // Told, told and kept, kept and not told.
        for lie in ["sessions told N", "sessions limit N", "sessions told 0\nsessions limit N"] {
            let lab = Lab::new();
            let lie = lie.replace('N', &limit.to_string());
            lab.say(&lie);
            let (token, key) = with_key(&lab);
            lab.say(&format!("{lie}\nC_Sign * sleep 50"));
            lab.desk().forget();
            // One session holds the login, one is for all else.
            wait_for_at_once(&lab, &token, &key, SESSIONS.min(limit.max(3) - 2));
            let full = lab.desk().trace().told("C_OpenSession", "CKR_SESSION_COUNT");
            assert!(full <= 1, "{lie}: asked {full} times for a session that is not there");
            assert_eq!(lab.desk().trace().logins(), 0, "{lie}");
        }
    }
}

fn full_midway() {
    for first in 1..=3 {
        let lab = Lab::new();
        let (token, key) = with_key(&lab);
        assert!(together(&token, &key, 12).iter().all(Result::is_ok));
        // A stuck session costs all; others have taken them when new ones are opened.
        lab.say(&format!(
            "C_SignInit 2 stuck CKR_OPERATION_ACTIVE\nC_OpenSession {first}- CKR_SESSION_COUNT\nC_Sign * sleep 20"
        ));
        lab.desk().forget();
        for _ in 0..2 {
            let made = together(&token, &key, 12);
            assert!(made.iter().all(Result::is_ok), "{first}: {made:?}");
        }
        let trace = lab.desk().trace();
        assert_eq!((trace.signatures(), trace.logins()), (24, 0), "{first}");
        let full = trace.told("C_OpenSession", "CKR_SESSION_COUNT");
        assert!(full <= 1, "{first}: asked {full} times for a session that is not there");
        lab.say("pass");
        assert!(together(&token, &key, 12).iter().all(Result::is_ok), "{first}");
    }
}

fn no_threads() {
    let lab = Lab::new();
    lab.say("C_Initialize 1 CKR_CANT_LOCK");
    let (token, key) = with_key(&lab);
    assert_eq!(lab.traced("C_Initialize"), 2);
    lab.say("C_Sign * sleep 20");
    lab.desk().forget();
    assert!(together(&token, &key, 12).iter().all(Result::is_ok));
    let trace = lab.desk().trace();
    assert_eq!((trace.most_at_once("C_Sign"), trace.signatures()), (1, 12));
}

fn stuck() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    for lie in [
        "C_SignInit 2 stuck CKR_OPERATION_ACTIVE",
        "C_SignInit 3 CKR_SESSION_HANDLE_INVALID",
        "C_SignInit 1 CKR_KEY_HANDLE_INVALID",
        "C_SignInit 2 CKR_DEVICE_REMOVED",
    ] {
        lab.say(&format!("{lie}\nC_Sign * sleep 20"));
        lab.desk().forget();
        let made = together(&token, &key, 8);
        assert!(made.iter().all(Result::is_ok), "{lie}: {made:?}");
        assert_eq!(lab.desk().trace().signatures(), 8, "{lie}");
        assert_eq!(lab.desk().trace().logins(), 0, "{lie}");
    }
}

fn unknown_outcome() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    for code in ["CKR_DEVICE_REMOVED", "CKR_SESSION_CLOSED", "CKR_DEVICE_ERROR", "CKR_FUNCTION_FAILED"] {
        lab.say(&format!("C_Sign 3 after {code}"));
        lab.desk().forget();
        let made = together(&token, &key, 8);
        let errors: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
        let [error] = errors.as_slice() else { panic!("{code}: {made:?}") };
        assert_eq!(error.reason(), "TOKEN_FAILED", "{code}: {error}");
        assert!(error.to_string().contains("not known"), "{code}: {error}");
        let trace = lab.desk().trace();
        assert_eq!((trace.calls("C_Sign"), trace.signatures()), (8, 8), "{code}");
        assert_eq!(token.info().state, TokenState::Unlocked, "{code}");
    }
}

fn login_lost() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    lab.say("C_SignInit * CKR_USER_NOT_LOGGED_IN");
    lab.desk().forget();
    for made in together(&token, &key, 8) {
        assert_eq!(made.unwrap_err().reason(), "TOKEN_LOCKED");
    }
    assert_eq!(lab.desk().trace().signatures(), 0);
    lab.say("pass");
    unlock(&token).unwrap();
    assert!(together(&token, &key, 8).iter().all(Result::is_ok));
}

fn hangs_and_dies() {
    for lie in ["C_Sign 3 hang", "C_Sign 3 abort"] {
        let lab = Lab::new();
        let token = unlocked(Pkcs11Config { deadline: Duration::from_secs(5), ..config(&lab) });
        let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        sign(&token, &key, "first").unwrap();
        lab.say(lie);
        lab.desk().forget();
        let made = together(&token, &key, 8);
        assert!(made.iter().any(Result::is_err), "{lie}");
        // Those beside one that hangs are made, and have come.
        assert!(made.iter().any(Result::is_ok) || lie.ends_with("abort"), "{lie}: {made:?}");
        for error in made.iter().filter_map(|made| made.as_ref().err()) {
            assert_eq!(error.reason(), "TOKEN_FAILED", "{lie}: {error}");
        }
        // None was asked for twice.
        assert!(lab.traced("C_Sign") <= 8, "{lie}");
        lab.say("pass");
        wait_until(|| unlock(&token).is_ok(), || format!("{lie}: {:?}", token.info()));
        sign(&token, &key, "again").unwrap();
        assert!(together(&token, &key, 8).iter().all(Result::is_ok), "{lie}");
    }
}

fn lock_overtakes() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    lab.say("C_Sign * sleep 300");
    lab.desk().forget();
    let begun: Vec<_> = (0..16).map(|n| begin(&token, &key, &n.to_string())).collect();
    wait_until(|| lab.traced("C_Sign") > 0, || "nothing was begun".to_owned());
    token.lock();
    for (n, under_way) in begun.into_iter().enumerate() {
        let error = finish(&token, &key, &n.to_string(), under_way).unwrap_err();
        assert_eq!(error.reason(), "TOKEN_LOCKED", "{error}");
    }
    assert!(lab.traced("C_Sign") < 16, "{}", lab.traced("C_Sign"));
    lab.say("pass");
    wait_for(&token, TokenState::Locked);
    wait_until(|| lab.traced("C_Logout") > 0, || "no logout".to_owned());
    assert_eq!(signatures_under_way_at(&lab.desk().trace(), "C_Logout"), 0);
    unlock(&token).unwrap();
    assert!(together(&token, &key, 8).iter().all(Result::is_ok));
}

fn pin_each_time() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    let wary = token.generate(&"wary".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    token.lock();
    lab.say("always-authenticate context label=wary\nC_Sign * sleep 20");
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    sign(&token, &key, "first").unwrap();
    lab.desk().forget();
    for round in 1..=3 {
        let begun: Vec<_> = (0..12).map(|n| begin(&token, &key, &n.to_string())).collect();
        sign_with(&token, &wary, PIN).unwrap();
        // It is none that a thread of the pool could make.
        let wary_too = begin(&token, &wary, "no PIN");
        for (n, under_way) in begun.into_iter().enumerate() {
            finish(&token, &key, &n.to_string(), under_way).unwrap();
        }
        assert_eq!(finish(&token, &wary, "no PIN", wary_too).unwrap_err().reason(), "PIN_REQUIRED");
        let trace = lab.desk().trace();
        assert_eq!((trace.context_logins(), trace.signatures()), (round, 13 * round));
        assert_eq!(signatures_under_way_at(&trace, "C_Login"), 1, "its own");
    }
}

/// How many were, at most, when the call came in.
fn signatures_under_way_at(trace: &Trace, call: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for entry in &trace.entries {
        match (entry.sign, entry.call.as_str()) {
            ('>', "C_SignInit") => now += 1,
            ('<', "C_Sign") => now = now.saturating_sub(1),
            ('>', it) if it == call => most = most.max(now),
            _ => {}
        }
    }
    most
}

fn every_kind() {
    let lab = Lab::new();
    let token = unlocked(Pkcs11Config { sessions: SESSIONS, ..lab.config("hsm") });
    for kind in [KeyType::EcdsaP256, KeyType::Ed25519, KeyType::EcdsaP384, KeyType::Rsa2048] {
        let key = token.generate(&kind.name().parse().unwrap(), kind).unwrap().public;
        for round in 0..10 {
            let made = together(&token, &key, 16);
            assert!(made.iter().all(Result::is_ok), "{kind} {round}: {made:?}");
        }
    }
}
