//! Keys that take the PIN for each signature (FAULTS C7).

use backend::pkcs11::Pkcs11Token;
use backend::{Backend, BackendError, TokenState};
use tuf::key::{KeyType, PublicKey};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::Case;
use crate::lab::{Lab, PIN, secret, sign, unlock, unlocked};

pub const CASES: &[Case] = &[
    ("a_key_of_softhsm_that_takes_the_pin_each_time_signs_with_it_and_not_without", softhsm),
    ("the_login_for_a_signature_stands_between_its_beginning_and_its_end", in_context),
    ("a_module_without_such_a_login_is_logged_out_and_in_again", relogin),
    ("a_module_without_such_a_login_and_with_one_session_signs_too", relogin_in_one_session),
    ("a_wrong_pin_for_one_signature_is_one_attempt_and_ends_the_login", wrong_pin),
    ("an_operation_that_was_left_open_does_not_hold_up_the_next", left_open),
];

pub fn sign_with(token: &Pkcs11Token, key: &PublicKey, pin: &str) -> Result<(), BackendError> {
    let statement = Statement::new(StatementKind::Drill, "with a PIN");
    let scheme = key.key_type().default_scheme();
    let signature = token.sign_with_pin(key, scheme, Signable::Statement(&statement), &secret(pin))?;
    key.verify(statement.bytes(), signature.as_bytes()).expect("what it gives verifies");
    Ok(())
}

fn softhsm() {
    let lab = Lab::new();
    crate::twins::run_make(&lab, &["always-rsa", "always-ec"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        assert_eq!(sign(&token, &key.public, "no PIN").unwrap_err().reason(), "PIN_REQUIRED");
        for _ in 0..3 {
            sign_with(&token, &key.public, PIN).unwrap();
            // It was that of one signature.
            assert_eq!(sign(&token, &key.public, "no PIN").unwrap_err().reason(), "PIN_REQUIRED");
        }
        assert_eq!(sign_with(&token, &key.public, "wrong-pin").unwrap_err().reason(), "PIN_INCORRECT");
        assert_eq!(token.info().state, TokenState::Locked);
        unlock(&token).unwrap();
    }
    // Other keys need none, and none is presented for them.
    let other = token.generate(&"other".parse().unwrap(), KeyType::Ed25519).unwrap().public;
    sign_with(&token, &other, "not looked at").unwrap();
}

fn liar(lie: &str) -> (Lab, Pkcs11Token, PublicKey) {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    token.lock();
    lab.say(lie);
    unlock(&token).unwrap();
    (lab, token, key)
}

fn in_context() {
    let (lab, token, key) = liar("always-authenticate context");
    lab.desk().forget();
    assert_eq!(sign(&token, &key, "x").unwrap_err().reason(), "PIN_REQUIRED");
    assert_eq!((lab.traced("C_SignInit"), lab.traced("C_Login")), (0, 0), "nothing was begun");
    for n in 1..=3 {
        sign_with(&token, &key, PIN).unwrap();
        let trace = lab.desk().trace();
        assert_eq!((trace.context_logins(), trace.logins(), trace.signatures()), (n, 0, n));
    }
    let trace = lab.desk().trace();
    let calls: Vec<_> = trace.sequence().collect();
    let begun: Vec<_> = (0..calls.len()).filter(|at| calls[*at] == "C_SignInit").collect();
    assert_eq!(begun.len(), 3);
    for at in begun {
        assert_eq!(calls[at..at + 3], ["C_SignInit", "C_Login", "C_Sign"], "{calls:?}");
    }
    assert_eq!(token.info().state, TokenState::Unlocked);
}

fn relogin() {
    let (lab, token, key) =
        liar("always-authenticate relogin\nattribute CKA_ALWAYS_AUTHENTICATE true private");
    lab.desk().forget();
    for n in 1..=3 {
        sign_with(&token, &key, PIN).unwrap();
        let trace = lab.desk().trace();
        // The first time it is found out that there is no login in context: the PIN was not looked at.
        assert_eq!((trace.context_logins(), trace.logins(), trace.signatures()), (1, n, n));
    }
}

/// The session in which the signature was begun is the only one, and goes: the login comes in another.
fn relogin_in_one_session() {
    let (lab, token, key) =
        liar("always-authenticate relogin\nattribute CKA_ALWAYS_AUTHENTICATE true private\nsessions limit 1");
    lab.desk().forget();
    for n in 1..=2 {
        sign_with(&token, &key, PIN).unwrap();
        let trace = lab.desk().trace();
        assert_eq!((trace.context_logins(), trace.logins(), trace.signatures()), (1, n, n));
    }
}

fn wrong_pin() {
    for (lie, contexts, logins) in [
        ("always-authenticate context", 1, 0),
        ("always-authenticate relogin\nattribute CKA_ALWAYS_AUTHENTICATE true private", 1, 1),
    ] {
        let (lab, token, key) = liar(lie);
        lab.desk().forget();
        let error = sign_with(&token, &key, "wrong-pin").unwrap_err();
        assert_eq!(error.reason(), "PIN_INCORRECT", "{lie}: {error}");
        let trace = lab.desk().trace();
        assert_eq!(
            (trace.context_logins(), trace.logins(), trace.signatures()),
            (contexts, logins, 0),
            "{lie}"
        );
        assert_eq!(trace.calls("C_Initialize"), 0);
        assert_eq!(token.info().state, TokenState::Locked, "{lie}");
        unlock(&token).unwrap();
        sign_with(&token, &key, PIN).unwrap();
    }
}

fn left_open() {
    let (lab, token, key) = liar("always-authenticate context");
    lab.say("always-authenticate context\nC_Login 1 CKR_DEVICE_ERROR");
    lab.desk().forget();
    let error = sign_with(&token, &key, PIN).unwrap_err();
    assert_eq!(error.reason(), "TOKEN_FAILED", "{error}");
    assert!(matches!(error, BackendError::AttemptUnknown { .. }), "{error}");
    assert_eq!(lab.desk().trace().context_logins(), 1, "it is not presented again");
    lab.say("always-authenticate context");
    unlock(&token).unwrap();
    sign_with(&token, &key, PIN).unwrap();
}
