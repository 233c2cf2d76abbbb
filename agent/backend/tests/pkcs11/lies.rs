//! A module that lies, crashes and hangs (FAULTS B6, D7).

use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, TokenState};
use tuf::key::KeyType;

use crate::Case;
use crate::lab::{Lab, pid, sign, start, unlock, unlocked, wait_for, wait_until};

pub const CASES: &[Case] = &[
    ("a_wrong_a_truncated_and_another_keys_signature_never_leave", lies),
    ("an_object_with_an_absurd_attribute_is_passed_over_and_the_others_sign", absurd),
    ("a_crash_while_signing_is_told_and_the_next_signature_works_after_unlocking", crash),
    ("a_module_that_hangs_costs_its_token_a_deadline_and_others_nothing", hang),
    ("a_call_that_waits_behind_a_hung_helper_is_told_of_the_helper_and_not_of_a_lock", stopped),
];

fn lies() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
        let key = token.generate(&kind.name().parse().unwrap(), kind).unwrap().public;
        token.generate(&format!("{kind}-2").parse().unwrap(), kind).unwrap();
        lab.say("pass");
        sign(&token, &key, "true").unwrap();
        for lie in ["wrong", "truncated", "other-key"] {
            lab.say(lie);
            let error = sign(&token, &key, "a lie").expect_err(lie);
            assert_eq!(error.reason(), "BAD_SIGNATURE", "{kind} {lie}: {error}");
        }
        lab.say("pass");
        sign(&token, &key, "true again").unwrap();
    }
}

fn absurd() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let make = |name: &str| token.generate(&name.parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let (odd, good) = (make("odd"), make("good"));
    let helper = pid(&token);
    for attribute in ["CKA_EC_POINT", "CKA_EC_PARAMS", "CKA_ID", "CKA_LABEL", "CKA_KEY_TYPE", "CKA_LOCAL"] {
        token.lock();
        lab.say(&format!("attribute {attribute} huge label=odd"));
        unlock(&token).unwrap();
        let shown: Vec<_> = token.keys().unwrap().into_iter().map(|key| key.public).collect();
        assert_eq!(shown.as_slice(), std::slice::from_ref(&good), "{attribute}");
        sign(&token, &good, "the other one").unwrap();
        assert!(sign(&token, &odd, "passed over").is_err(), "{attribute}");
        assert_eq!(pid(&token), helper, "{attribute}: the helper lives");
    }
    lab.say("C_GetAttributeValue huge");
    token.lock();
    unlock(&token).unwrap();
    let error = sign(&token, &good, "all are passed over").unwrap_err();
    assert_eq!(error.reason(), "TOKEN_FAILED", "{error}");
    assert!(error.to_string().contains("a length that cannot be"), "{error}");
    lab.say("");
    sign(&token, &odd, "true again").unwrap();
    assert_eq!(pid(&token), helper);
}

fn crash() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let first = pid(&token);
    lab.say("crash");
    let error = sign(&token, &key, "x").unwrap_err();
    assert_eq!(error.reason(), "TOKEN_FAILED");
    let text = error.to_string();
    assert!(text.contains("liar") && text.contains("signing") && text.contains("started again"), "{text}");
    lab.say("pass");
    assert_eq!(token.info().state, TokenState::Locked);
    assert_ne!(pid(&token), first);
    assert_eq!(sign(&token, &key, "x").unwrap_err().reason(), "TOKEN_LOCKED");
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
    // The second death within a minute waits before the next start.
    lab.say("crash");
    let error = sign(&token, &key, "x").unwrap_err();
    assert!(error.to_string().contains("is started again in"), "{error}");
    assert_eq!(token.info().state, TokenState::Failed);
    assert!(token.info().problem.is_some());
    lab.say("pass");
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn hang() {
    let (lab, good_lab) = (Lab::new(), Lab::new());
    let mut config = lab.lying_config("liar");
    config.deadline = Duration::from_secs(3);
    let token = Arc::new(unlocked(config));
    let good = unlocked(good_lab.config("good"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::Ed25519).unwrap().public;
    let good_key = good.generate(&"k".parse().unwrap(), KeyType::Ed25519).unwrap().public;
    let hung = pid(&token);
    lab.say("hang");
    let signed_before = lab.traced("C_Sign");
    let hanging = {
        let (token, key) = (Arc::clone(&token), key.clone());
        std::thread::spawn(move || sign(&token, &key, "x").unwrap_err())
    };
    wait_until(|| lab.traced("C_Sign") > signed_before, || "the module was not asked".to_owned());
    sign(&good, &good_key, "meanwhile").unwrap();
    assert_eq!(token.info().helper_pid, u32::try_from(hung.as_raw_pid()).ok(), "info does not wait");
    let error = hanging.join().unwrap();
    assert_eq!(error.reason(), "TOKEN_FAILED");
    assert!(error.to_string().contains("did not answer within"), "{error}");
    assert!(rustix::process::test_kill_process(hung).is_err(), "the helper that hung is gone");
    lab.say("pass");
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn stopped() {
    let lab = Lab::new();
    let mut config = lab.config("hsm");
    config.deadline = Duration::from_secs(3);
    let token = Arc::new(unlocked(config));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    rustix::process::kill_process(pid(&token), rustix::process::Signal::STOP).unwrap();
    // One of the two has the helper, or neither, because the agent's own look at the token has it.
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let (token, key) = (Arc::clone(&token), key.clone());
            std::thread::spawn(move || sign(&token, &key, "x").unwrap_err())
        })
        .collect();
    for call in calls {
        let error = call.join().unwrap();
        assert_eq!(error.reason(), "TOKEN_FAILED", "{error}");
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert!(error.remedy().contains("unlock"), "{}", error.remedy());
    }
    assert_eq!(token.info().state, TokenState::Locked);
    let why = token.info().problem.expect("it says why it is locked");
    assert!(why.contains("did not answer"), "{why}");
    unlock(&token).unwrap();
    assert_eq!(token.info().problem, None);
    sign(&token, &key, "x").unwrap();
}

/// For [`crate::life`]: one attempt at the token for each unlock, whatever comes of it.
pub fn one_login_for_each_unlock() {
    let lab = Lab::new();
    let token = start(lab.lying_config("liar"));
    let error = token.unlock(&crate::lab::secret("wrong-pin")).unwrap_err();
    assert_eq!(error.reason(), "PIN_INCORRECT");
    assert_eq!(lab.traced("C_Login"), 1);
    assert_eq!(token.info().state, TokenState::Locked);
    unlock(&token).unwrap();
    assert_eq!(lab.traced("C_Login"), 2);
    unlock(&token).unwrap();
    assert_eq!(lab.traced("C_Login"), 3);
    assert_eq!(token.info().state, TokenState::Unlocked);
    // A login that stands lends nothing to a wrong PIN, and a wrong PIN ends it.
    let error = token.unlock(&crate::lab::secret("wrong-pin")).unwrap_err();
    assert_eq!((error.reason(), lab.traced("C_Login")), ("PIN_INCORRECT", 4));
    assert_eq!(token.info().state, TokenState::Locked);
    unlock(&token).unwrap();
    // Whether the token counted this attempt nobody knows: it is told apart, and not made again.
    lab.say("crash-login");
    let error = unlock(&token).unwrap_err();
    assert!(matches!(error, backend::BackendError::AttemptUnknown { .. }), "{error:?}");
    assert_eq!(lab.traced("C_Login"), 6);
    lab.say("pass");
    wait_for(&token, TokenState::Locked);
    assert_eq!(lab.traced("C_Login"), 6);
    unlock(&token).unwrap();
}
