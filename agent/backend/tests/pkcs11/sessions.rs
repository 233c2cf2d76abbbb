//! Sessions, handles and what is done after each answer of a module (FAULTS D1, D2, D3, D8, D11).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use backend::pkcs11::{Asking, Pkcs11Token, Spent, Wanted};
use backend::{Backend, TokenState};
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::lab::{Lab, PIN, examine, kill, pid, secret, sign, start, unlock, unlocked, wait_for, wait_until};

pub const CASES: &[Case] = &[
    ("tokens_with_one_two_and_sixteen_sessions_are_worked_with", limits),
    ("a_token_that_says_it_has_one_session_gets_one", told_limit),
    ("a_token_whose_sessions_others_hold_costs_no_try_and_works_when_they_are_given_back", held_by_others),
    ("a_stuck_session_is_dropped_and_the_next_call_works", stuck),
    ("a_stuck_only_session_costs_the_login_and_nothing_else", stuck_only_session),
    ("stale_handles_are_found_anew_without_a_word", stale_handles),
    ("a_module_is_initialised_again_once_in_thirty_seconds", reloads),
    ("no_answer_about_a_pin_initialises_the_module_again", pins_do_not_reload),
    ("a_pin_that_is_meant_for_another_card_is_not_presented_by_the_helper", meant_for_another),
    ("a_signature_whose_outcome_is_unknown_is_not_made_again", unknown_outcome),
    ("a_key_whose_making_is_unknown_is_not_made_again", unknown_key),
    ("a_token_that_is_pulled_at_each_step_works_again_when_it_is_back", pulled_at_each_step),
    ("removal_and_return_show_within_five_seconds_and_each_helper_initialises_once", shows_in_time),
    ("slots_that_fail_and_blank_tokens_spoil_nothing", bad_slots),
    ("slots_that_hang_keep_no_other_token_away", hung_slots),
    ("a_token_that_is_not_there_is_told_with_those_that_are", named_tokens),
    ("a_key_that_vanished_and_came_back_is_found_without_a_restart", key_came_back),
];

fn with_key(lab: &Lab) -> (Pkcs11Token, PublicKey) {
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    (token, key)
}

fn limits() {
    for limit in [1, 2, 16] {
        let lab = Lab::new();
        lab.say(&format!("sessions limit {limit}"));
        let (token, key) = with_key(&lab);
        for n in 0..5 {
            sign(&token, &key, &format!("{n}")).unwrap();
        }
        assert_eq!(token.keys().unwrap().len(), 1);
        let other = token.generate(&"other".parse().unwrap(), KeyType::Ed25519).unwrap();
        sign(&token, &other.public, "by another").unwrap();
        token.remove(&other.public).unwrap();
        // What a module cannot do costs no login, not even with one session.
        let unsupported = "C_GenerateKeyPair 1- CKR_MECHANISM_INVALID";
        lab.say(&format!("sessions limit {limit}\n{unsupported}"));
        let error = token.generate(&"no".parse().unwrap(), KeyType::Rsa2048).unwrap_err();
        assert_eq!(error.reason(), "UNSUPPORTED", "{limit}: {error}");
        sign(&token, &key, "still unlocked").unwrap();
        assert_eq!(lab.desk().trace().logins(), 1, "{limit}");
    }
}

fn told_limit() {
    let lab = Lab::new();
    lab.say("sessions told 1");
    let (token, key) = with_key(&lab);
    sign(&token, &key, "x").unwrap();
    assert_eq!(lab.traced("C_OpenSession"), 1);
}

fn held_by_others() {
    let lab = Lab::new();
    lab.say("C_OpenSession * CKR_SESSION_COUNT");
    let token = start(lab.lying_config("liar"));
    for _ in 0..3 {
        let error = unlock(&token).unwrap_err();
        assert_eq!(error.reason(), "TOKEN_FAILED", "{error}");
        assert!(error.to_string().contains("CKR_SESSION_COUNT"), "{error}");
    }
    assert_eq!((lab.desk().trace().logins(), lab.traced("C_Initialize")), (0, 1));
    lab.say("pass");
    unlock(&token).unwrap();
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    sign(&token, &key, "x").unwrap();
}

fn stuck() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    lab.say("C_Sign 1 stuck CKR_FUNCTION_FAILED");
    let error = sign(&token, &key, "x").unwrap_err();
    assert_eq!(error.reason(), "TOKEN_FAILED");
    sign(&token, &key, "in a new session").unwrap();
    // Where surely nothing was done, nobody hears of it.
    lab.say("C_SignInit 1 stuck CKR_OPERATION_ACTIVE");
    sign(&token, &key, "again").unwrap();
    assert_eq!(token.info().state, TokenState::Unlocked);
    assert_eq!(lab.desk().trace().logins(), 1);
}

fn stuck_only_session() {
    let lab = Lab::new();
    lab.say("sessions limit 1");
    let (token, key) = with_key(&lab);
    lab.say("sessions limit 1\nC_Sign 1 stuck CKR_FUNCTION_FAILED");
    sign(&token, &key, "x").unwrap_err();
    lab.say("sessions limit 1");
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn stale_handles() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    for code in [
        "CKR_KEY_HANDLE_INVALID",
        "CKR_OBJECT_HANDLE_INVALID",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_OPERATION_ACTIVE",
        "CKR_SESSION_CLOSED",
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_DEVICE_REMOVED",
    ] {
        lab.say(&format!("C_SignInit 1 {code}"));
        lab.desk().forget();
        sign(&token, &key, code).unwrap_or_else(|error| panic!("{code}: {error}"));
        let trace = lab.desk().trace();
        assert_eq!((trace.signatures(), trace.calls("C_Initialize"), trace.logins()), (1, 0, 0), "{code}");
    }
    // A key is looked up once for a login and session.
    lab.say("pass");
    lab.desk().forget();
    for _ in 0..3 {
        sign(&token, &key, "x").unwrap();
    }
    assert_eq!(lab.traced("C_FindObjectsInit"), 0);
}

fn reloads() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    assert_eq!(lab.traced("C_Initialize"), 1);
    lab.say("C_SignInit * CKR_CRYPTOKI_NOT_INITIALIZED");
    assert_eq!(sign(&token, &key, "x").unwrap_err().reason(), "TOKEN_LOCKED");
    assert_eq!(lab.traced("C_Initialize"), 2);
    for _ in 0..3 {
        unlock(&token).unwrap();
        let error = sign(&token, &key, "x").unwrap_err();
        assert_eq!(error.reason(), "TOKEN_FAILED", "{error}");
    }
    // A module that cannot even tell what slots it has is not tried more often.
    lab.say("C_GetTokenInfo * CKR_GENERAL_ERROR\nC_GetSlotList * CKR_GENERAL_ERROR");
    for _ in 0..5 {
        assert_eq!(unlock(&token).unwrap_err().reason(), "TOKEN_FAILED");
    }
    assert_eq!(lab.traced("C_Initialize"), 2);
    lab.say("pass");
    wait_for(&token, TokenState::Locked);
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

fn pins_do_not_reload() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    for code in ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_PIN_LEN_RANGE"] {
        lab.say(&format!("C_Login 1 {code}"));
        lab.desk().forget();
        unlock(&token).expect_err(code);
        assert_eq!(lab.desk().trace().logins(), 1, "{code}");
        assert_eq!(lab.traced("C_Initialize"), 0, "{code}");
    }
    // Nor does it where the token cannot be looked for right after it.
    lab.say("C_Login CKR_PIN_INCORRECT\nC_GetSlotList 1 once CKR_DEVICE_ERROR");
    lab.desk().forget();
    unlock(&token).unwrap_err();
    let trace = lab.desk().trace();
    assert_eq!((trace.logins(), trace.calls("C_Initialize"), trace.calls("C_Finalize")), (1, 0, 0));
    assert!(trace.calls("C_GetSlotList") > 0, "it was looked for");
    lab.say("pass");
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
}

/// By the helper itself: the agent may have looked at another card a moment before.
fn meant_for_another() {
    let lab = Lab::new();
    let (token, _) = with_key(&lab);
    token.lock();
    let asking = |serial: &str| Asking {
        last_try: false,
        meant: Wanted { serial: Some(serial.to_owned()), ..Wanted::default() },
    };
    lab.desk().forget();
    let swapped = token.present(&secret(PIN), &asking("another"));
    assert_eq!(swapped.result.unwrap_err().reason(), "TOKEN_SWAPPED");
    assert_eq!(swapped.spent, Spent::Nothing);
    // The session that would be logged in is gone, and with it the card: another one lies in the slot.
    let serial = lab.token.serial.clone();
    lab.say("C_GetSessionInfo 2 CKR_SESSION_HANDLE_INVALID\ntoken serial 4711");
    let swapped = token.present(&secret(PIN), &asking(&serial));
    assert_eq!(swapped.result.unwrap_err().reason(), "TOKEN_SWAPPED");
    assert_eq!(lab.desk().trace().logins(), 0);
}

fn unknown_outcome() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    for lie in
        ["CKR_DEVICE_REMOVED", "CKR_TOKEN_NOT_PRESENT", "CKR_SESSION_CLOSED", "CKR_DEVICE_ERROR", "abort"]
    {
        lab.say(&format!("C_Sign 1 after {lie}"));
        lab.desk().forget();
        let error = sign(&token, &key, lie).expect_err(lie);
        assert_eq!(error.reason(), "TOKEN_FAILED", "{lie}: {error}");
        // The token has signed, and was not asked to do it again.
        let trace = lab.desk().trace();
        assert_eq!((trace.calls("C_Sign"), trace.signatures()), (1, 1), "{lie}");
        if lie != "abort" {
            assert!(error.to_string().contains("not known"), "{error}");
        }
    }
}

fn unknown_key() {
    let lab = Lab::new();
    let (token, _) = with_key(&lab);
    lab.say("C_GenerateKeyPair 1 after CKR_DEVICE_REMOVED");
    lab.desk().forget();
    let error = token.generate(&"other".parse().unwrap(), KeyType::EcdsaP256).unwrap_err();
    assert!(error.to_string().contains("nothing of it is left"), "{error}");
    assert_eq!(lab.traced("C_GenerateKeyPair"), 1);
    assert_eq!(token.keys().unwrap().len(), 1);
    // Where the token cannot be asked what lies there, that is told.
    lab.say("C_GenerateKeyPair 1 after CKR_DEVICE_REMOVED\nC_DestroyObject CKR_DEVICE_REMOVED");
    let error = token.generate(&"third".parse().unwrap(), KeyType::EcdsaP256).unwrap_err();
    assert!(error.to_string().contains("not known"), "{error}");
    assert_eq!(lab.traced("C_GenerateKeyPair"), 2);
}

fn pulled_at_each_step() {
    let (lab, other_lab) = (Lab::new(), Lab::new());
    let (token, key) = with_key(&lab);
    let (other, other_key) = with_key(&other_lab);
    let other_pid = other.info().helper_pid;
    type Op = fn(&Pkcs11Token, &PublicKey) -> bool;
    let signing: Op = |token, key| sign(token, key, "x").is_ok();
    let unlocking: Op = |token, _| unlock(token).is_ok();
    let making: Op = |token, _| token.generate(&"made".parse().unwrap(), KeyType::EcdsaP256).is_ok();
    let steps = [
        ("C_Login", unlocking),
        ("C_OpenSession", unlocking),
        ("C_FindObjectsInit", signing),
        ("C_FindObjects", signing),
        ("C_GetAttributeValue", signing),
        ("C_SignInit", signing),
        ("C_Sign", signing),
        ("C_GenerateKeyPair", making),
    ];
    for (call, op) in steps {
        lab.say(&format!("{call} 1 CKR_DEVICE_REMOVED"));
        let _ = op(&token, &key);
        lab.say("token gone");
        assert!(!op(&token, &key), "{call}: it is not there");
        wait_for(&token, TokenState::Absent);
        lab.say("pass");
        wait_until(|| unlock(&token).is_ok(), || format!("{call}: {:?}", token.info()));
        sign(&token, &key, "it is back").unwrap();
        for made in token.keys().unwrap().into_iter().filter(|made| made.public != key) {
            token.remove(&made.public).unwrap();
        }
    }
    sign(&other, &other_key, "the other was not touched").unwrap();
    assert_eq!((other.info().helper_pid, other_lab.desk().trace().logins()), (other_pid, 1));
}

fn shows_in_time() {
    let lab = Lab::new();
    let (token, key) = with_key(&lab);
    for _ in 0..2 {
        for (lie, state) in [("token gone", TokenState::Absent), ("pass", TokenState::Locked)] {
            lab.say(lie);
            let began = Instant::now();
            wait_for(&token, state);
            assert!(began.elapsed() < Duration::from_secs(5), "{lie}: {:?}", began.elapsed());
        }
    }
    unlock(&token).unwrap();
    sign(&token, &key, "x").unwrap();
    let mut initialised = BTreeMap::<u32, usize>::new();
    let trace = lab.desk().trace();
    for entry in trace.entries.iter().filter(|it| it.sign == '>' && it.call == "C_Initialize") {
        *initialised.entry(entry.process).or_default() += 1;
    }
    assert!(initialised.values().all(|times| *times == 1), "{initialised:?}");
}

fn bad_slots() {
    for lie in ["slots bad 3", "slots bad 2 CKR_GENERAL_ERROR", "slots blank 2", "slots bad 1\nslots blank 1"]
    {
        let lab = Lab::new();
        lab.say(lie);
        let (token, key) = with_key(&lab);
        assert_eq!(token.keys().unwrap().len(), 1, "{lie}");
        sign(&token, &key, lie).unwrap();
    }
}

fn hung_slots() {
    for lie in ["slots hang 1", "slots hang 2", "slots bad 1\nslots hang 1\nslots blank 1"] {
        let lab = Lab::new();
        lab.say(lie);
        let mut config = lab.lying_config("liar");
        config.deadline = Duration::from_secs(2);
        let token = start(config);
        wait_for(&token, TokenState::Locked);
        unlock(&token).unwrap();
        let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        sign(&token, &key, lie).unwrap();
        // Whoever comes next knows it, and doctor's helpers do.
        kill(pid(&token));
        wait_for(&token, TokenState::Locked);
        unlock(&token).unwrap();
        sign(&token, &key, lie).unwrap();
        assert!(examine(&token).facts.logged_in, "{lie}");
    }
}

fn named_tokens() {
    let lab = Lab::new();
    lab.say("token label b\u{fc}ild  1\nslots blank 1");
    let mut config = lab.lying_config("liar");
    config.label = Some("biuld".to_owned());
    config.serial = None;
    let token = start(config);
    let problem = token.info().problem.unwrap();
    assert!(problem.contains("\"biuld\"") && problem.contains("it shows: "), "{problem}");
    assert!(problem.contains("serial \"\", not initialised"), "{problem}");
    assert!(
        problem.contains("label \"b\u{fc}ild 1\"") && problem.contains("manufacturer \"SoftHSM project\""),
        "{problem}"
    );
}

fn key_came_back() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let keys: Vec<_> = ["a", "b"]
        .map(|name| token.generate(&name.parse().unwrap(), KeyType::EcdsaP256).unwrap())
        .into_iter()
        .collect();
    let folder = std::fs::read_dir(lab.folder.tokens_dir()).unwrap().next().unwrap().unwrap().path();
    let away = lab.dir.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let objects = |folder: &std::path::Path| -> Vec<_> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|it| it != "token.object" && it.to_str().unwrap().ends_with(".object")).collect()
    };
    for name in objects(&folder) {
        std::fs::rename(folder.join(&name), away.join(&name)).unwrap();
    }
    assert_eq!(sign(&token, &keys[0].public, "gone").unwrap_err().reason(), "KEY_NOT_FOUND");
    assert_eq!(token.keys().unwrap(), vec![]);
    assert_eq!(token.info().state, TokenState::Unlocked, "a key that is missing costs no login");
    for name in objects(&away) {
        std::fs::rename(away.join(&name), folder.join(&name)).unwrap();
    }
    // Whoever lists keys finds it again, and the token wants its PIN.
    wait_until(|| token.keys().unwrap().len() == 2, || format!("{:?} {:?}", token.info(), token.keys()));
    assert_eq!(token.info().state, TokenState::Locked);
    unlock(&token).unwrap();
    for key in &keys {
        sign(&token, &key.public, "back").unwrap();
    }
    // A key that was removed here is not looked for.
    token.remove(&keys[0].public).unwrap();
    let pid = token.info().helper_pid;
    assert_eq!(token.keys().unwrap().len(), 1);
    assert_eq!((token.info().state, token.info().helper_pid), (TokenState::Unlocked, pid));
}
