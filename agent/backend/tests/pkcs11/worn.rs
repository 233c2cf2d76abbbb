//! A module that answers with errors of its own: no PIN is proven by them, nobody stays logged in, and the token comes back
//! once the module was started anew (FAULTS C1, D2).

use backend::pkcs11::Pkcs11Token;
use backend::{Backend, BackendError, TokenState};
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::lab::{Lab, pid, secret, sign, start, unlock, unlocked, wait_for};

pub const CASES: &[Case] = &[
    ("a_login_that_took_place_and_failed_lends_nothing_to_a_wrong_pin", took_place),
    ("already_logged_in_proves_no_pin_and_is_an_end_of_the_helper", already),
    ("a_token_whose_service_was_started_anew_comes_back_without_a_pin_for_nothing", restarted),
    ("a_module_is_started_anew_at_most_once_in_thirty_seconds_and_gets_no_pin_before", not_too_often),
    ("a_key_that_always_fails_costs_the_others_one_login_and_no_more", one_key_fails),
    ("one_signature_that_fails_costs_no_login_and_the_second_in_a_row_does", two_in_a_row),
];

const WRONG: &str = "wrong-pin";

fn with_key(lab: &Lab) -> (Pkcs11Token, PublicKey) {
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    (token, key)
}

#[track_caller]
fn unclear(outcome: Result<(), BackendError>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, BackendError::AttemptUnknown { .. }), "{error:?}");
}

fn took_place() {
    for lie in [
        "C_Login 1 once after CKR_GENERAL_ERROR",
        "C_Login 1 once after CKR_PIN_INCORRECT",
        "C_Login 1 once after CKR_GENERAL_ERROR\nC_Logout CKR_GENERAL_ERROR",
        "C_Login 1 once after CKR_PIN_INCORRECT\nC_Logout CKR_GENERAL_ERROR\nC_CloseSession CKR_GENERAL_ERROR",
    ] {
        let lab = Lab::new();
        let (token, key) = with_key(&lab);
        token.lock();
        let _ = token.keys();
        lab.desk().forget();
        lab.say(lie);
        unlock(&token).unwrap_err();
        assert_ne!(token.info().state, TokenState::Unlocked, "{lie}");
        let error = token.unlock(&secret(WRONG)).expect_err(lie);
        assert_ne!(token.info().state, TokenState::Unlocked, "{lie}: {error}");
        assert!(sign(&token, &key, "by a wrong PIN").is_err(), "{lie}");
        assert!(lab.traced("C_Login") <= 2, "{lie}");
        lab.say("");
        let token = start(lab.lying_config("liar"));
        unlock(&token).unwrap();
        sign(&token, &key, "by the right one").unwrap();
    }
}

fn already() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    let helper = pid(&token);
    // Also of a session that says itself that the user is logged in.
    lab.say("C_Login 1 once after CKR_USER_ALREADY_LOGGED_IN");
    unclear(unlock(&token));
    assert_ne!(pid(&token), helper, "whatever stood in it is gone");
    wait_for(&token, TokenState::Locked);
    let error = token.unlock(&secret(WRONG)).unwrap_err();
    assert_eq!(error.reason(), "PIN_INCORRECT");
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn restarted() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    let before = lab.traced("C_Login");
    lab.say("C_Sign until-restart CKR_GENERAL_ERROR\nC_Login until-restart CKR_GENERAL_ERROR");
    let error = sign(&token, &key, "x").unwrap_err();
    assert!(error.to_string().contains("CKR_GENERAL_ERROR"), "{error}");
    // Whoever presents a PIN now presents it to a module that can take it.
    token.card().unwrap();
    unlock(&token).unwrap();
    assert_eq!(lab.traced("C_Login"), before + 1);
    sign(&token, &key, "x").unwrap();
}

fn not_too_often() {
    let lab = Lab::new();
    let token = start(lab.lying_config("liar"));
    lab.say("C_Login CKR_GENERAL_ERROR");
    unclear(unlock(&token));
    unclear(unlock(&token));
    lab.say("");
    let error = unlock(&token).unwrap_err();
    assert!(error.to_string().contains("started anew in"), "{error}");
    assert_eq!(error.reason(), "TOKEN_FAILED");
    assert_eq!(token.info().state, TokenState::Failed);
    assert_eq!(lab.traced("C_Login"), 2);
}

fn one_key_fails() {
    let lab = Lab::new();
    let (token, good) = with_key(&lab);
    let bad = token.generate(&"bad".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let fails = |times: usize, round: &str| {
        // Its device does not let it sign, whatever is done.
        lab.say(&format!("C_Sign CKR_FUNCTION_FAILED # {round}"));
        for _ in 0..times {
            sign(&token, &bad, "no").unwrap_err();
        }
        lab.say("");
    };
    fails(2, "it may be the module");
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    let helper = pid(&token);
    fails(4, "it is the key");
    assert_eq!((token.info().state, pid(&token)), (TokenState::Unlocked, helper));
    sign(&token, &good, "yes").unwrap();
    // Once it signs it counts as any other.
    sign(&token, &bad, "now").unwrap();
    sign(&token, &good, "and the other").unwrap();
}

fn two_in_a_row() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    let helper = pid(&token);
    for time in 0..3 {
        lab.say(&format!("C_Sign 1 CKR_DEVICE_ERROR # {time}"));
        assert!(sign(&token, &key, "x").is_err());
        sign(&token, &key, "x").unwrap();
    }
    assert_eq!(pid(&token), helper);
    lab.say("C_Sign until-restart CKR_DEVICE_ERROR");
    assert!(sign(&token, &key, "x").is_err());
    let error = sign(&token, &key, "x").unwrap_err();
    assert!(error.to_string().contains("started anew"), "{error}");
    wait_for(&token, TokenState::Locked);
    assert_ne!(pid(&token), helper);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}
