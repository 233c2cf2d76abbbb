//! What doctor may conclude: nothing of an answer that says nothing of what was asked, and of keys that want the PIN each
//! time what they do with it (FAULTS C1, C7).

use backend::Backend;
use backend::doctor::{Diagnosis, Verdict};
use backend::pkcs11::{Pkcs11Config, Pkcs11Token};
use tuf::key::KeyType;

use crate::Case;
use crate::always::sign_with;
use crate::lab::{Lab, PIN, examine, sign, unlocked};

pub const CASES: &[Case] = &[
    ("doctor_measures_keys_that_want_the_pin_each_time_by_the_login_that_they_want", made_always),
    ("doctor_measures_them_by_a_login_before_where_the_module_knows_none_within", relogin),
    ("doctor_presents_no_pin_after_one_was_refused_for_a_signature", refused),
    ("an_error_that_passes_is_not_measured_and_refuses_nothing", passing),
    ("an_error_that_passes_while_keys_are_made_invents_nothing", passing_once),
];

/// Said of a module that cannot do something.
const CANNOT: [&str; 12] = [
    "eddsa-short-messages",
    "eddsa-parameters-ignored",
    "no-pss",
    "pss-digest-only",
    "hash-and-sign-only",
    "curve-by-name",
    "no-import",
    "copyable",
    "origin-untold",
    "no-always-authenticate",
    "always-authenticate-ignored",
    "no-session-keys",
];

const KINDS: [KeyType; 4] = [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072];

fn ids(diagnosis: &Diagnosis) -> Vec<&'static str> {
    diagnosis.quirks().iter().map(|quirk| quirk.id).collect()
}

fn verdicts(diagnosis: &Diagnosis) -> Vec<Verdict> {
    diagnosis.uses().named().iter().map(|(_, told)| told.verdict).collect()
}

fn with_profiles(lab: &Lab) -> Pkcs11Config {
    let mut config = lab.lying_config("liar");
    config.profiles = Some(lab.dir.path().join("profiles"));
    config
}

/// A key of each kind that doctor judges.
fn keys(token: &Pkcs11Token) -> Vec<tuf::key::PublicKey> {
    let make = |kind: KeyType| token.generate(&kind.name().parse().unwrap(), kind).unwrap().public;
    KINDS.into_iter().map(make).collect()
}

/// What a module without lies is said to be, by its own keys' attribute or not.
fn honest(lab: &Lab) -> (Vec<Verdict>, Vec<&'static str>) {
    lab.say("pass");
    let token = unlocked(with_profiles(lab));
    // A key that is looked at, and never used.
    token.generate(&"there".parse().unwrap(), KeyType::EcdsaP256).unwrap();
    let diagnosis = examine(&token);
    (verdicts(&diagnosis), ids(&diagnosis))
}

fn made_always() {
    let lab = Lab::new();
    let (verdicts_before, mut ids_before) = honest(&lab);
    let lie = "always-authenticate made";
    lab.say(lie);
    let token = unlocked(with_profiles(&lab));
    let keys = keys(&token);
    lab.desk().forget();
    let diagnosis = examine(&token);
    assert_eq!(verdicts(&diagnosis), verdicts_before, "{:?}", diagnosis.uses());
    ids_before.push("always-authenticate-made");
    ids_before.sort_unstable();
    let mut found = ids(&diagnosis);
    found.sort_unstable();
    assert_eq!(found, ids_before, "{:?}", diagnosis.facts);
    let why = &diagnosis.uses().unattended.why;
    assert!(why.contains("CKA_ALWAYS_AUTHENTICATE"), "{why}");
    assert!(lab.desk().trace().context_logins() > 5);
    assert!(token.save_profile(&diagnosis).unwrap());
    for key in &keys {
        sign_with(&token, key, PIN).unwrap();
    }
}

fn relogin() {
    let lab = Lab::new();
    let (verdicts_before, _) = honest(&lab);
    // The second is what the standard says of such a key, by a module that knows no login for one signature.
    lab.say("always-authenticate relogin\nattribute CKA_ALWAYS_AUTHENTICATE true private");
    let token = unlocked(with_profiles(&lab));
    let keys = keys(&token);
    let diagnosis = examine(&token);
    let facts = &diagnosis.facts;
    assert_eq!(verdicts(&diagnosis), verdicts_before, "{:?} {:?}", diagnosis.uses(), facts.not_measured);
    assert!(facts.left.is_empty(), "{:?}", facts.left);
    assert!(ids(&diagnosis).contains(&"no-context-login"), "{:?}", ids(&diagnosis));
    for wrong in ["eddsa-short-messages", "no-pss", "hash-and-sign-only"] {
        assert!(!ids(&diagnosis).contains(&wrong), "{wrong}: {facts:?}");
    }
    assert!(token.save_profile(&diagnosis).unwrap());
    for key in &keys {
        sign_with(&token, key, PIN).unwrap();
    }
}

fn refused() {
    let lab = Lab::new();
    lab.say("always-authenticate made");
    let token = unlocked(with_profiles(&lab));
    let keys = keys(&token);
    // Doctor's own login, and then the first for a signature.
    lab.say("always-authenticate made\nC_Login 2- CKR_PIN_INCORRECT");
    lab.desk().forget();
    let diagnosis = examine(&token);
    let trace = lab.desk().trace();
    assert_eq!((trace.logins(), trace.context_logins()), (1, 1));
    assert!(diagnosis.pin_refused);
    assert!(!verdicts(&diagnosis).contains(&Verdict::No), "{:?}", diagnosis.uses());
    assert!(token.save_profile(&diagnosis).unwrap());
    lab.say("always-authenticate made");
    token.lock();
    crate::lab::unlock(&token).unwrap();
    for key in &keys {
        sign_with(&token, key, PIN).unwrap();
    }
}

fn passing() {
    let lab = Lab::new();
    let token = unlocked(with_profiles(&lab));
    let keys = keys(&token);
    for code in [
        "CKR_DEVICE_ERROR",
        "CKR_HOST_MEMORY",
        "CKR_DEVICE_REMOVED",
        "CKR_FUNCTION_FAILED",
        "CKR_USER_NOT_LOGGED_IN",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_VENDOR_DEFINED",
    ] {
        lab.say(&format!("C_Sign * {code}"));
        let diagnosis = examine(&token);
        let uses = diagnosis.uses();
        for (name, told) in uses.named().into_iter().take(4) {
            assert_eq!(told.verdict, Verdict::Limited, "{code} {name}: {}", told.why);
            assert!(told.why.contains(code), "{code} {name}: {}", told.why);
        }
        assert!(!verdicts(&diagnosis).contains(&Verdict::No), "{code}: {:?}", diagnosis.uses());
        for wrong in CANNOT {
            assert!(!ids(&diagnosis).contains(&wrong), "{code} {wrong}: {:?}", diagnosis.facts);
        }
        assert!(token.save_profile(&diagnosis).unwrap());
        lab.say("pass");
        for key in &keys {
            sign(&token, key, code).unwrap();
        }
    }
}

fn passing_once() {
    let lab = Lab::new();
    let (verdicts_before, ids_before) = honest(&lab);
    let token = unlocked(with_profiles(&lab));
    for lie in [
        // The first key of all, in each new process; and the first attribute that is asked for.
        "C_GenerateKeyPair 1 CKR_DEVICE_ERROR",
        "C_GenerateKeyPair 2-3 CKR_DEVICE_REMOVED",
        "C_GetAttributeValue 1 CKR_HOST_MEMORY",
        "C_CreateObject 1 CKR_DEVICE_ERROR",
        "C_OpenSession 5 CKR_FUNCTION_FAILED",
    ] {
        lab.say(lie);
        let diagnosis = examine(&token);
        for id in ids(&diagnosis) {
            assert!(ids_before.contains(&id), "{lie}: {id} {:?}", diagnosis.facts);
        }
        for (now, before) in verdicts(&diagnosis).iter().zip(&verdicts_before) {
            assert!(now == before || *now == Verdict::Limited, "{lie}: {:?}", diagnosis.uses());
        }
    }
}
