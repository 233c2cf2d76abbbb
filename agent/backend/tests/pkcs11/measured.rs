//! What was measured is true of other modules too, of modules that lie, and the agent signs by it.

use std::fs;

use backend::doctor::{Diagnosis, Place, Verdict};
use backend::pkcs11::ModuleDigest;
use backend::{Backend, BackendError, TokenState};
use lying_pkcs11::Desk;
use tuf::key::KeyType;

use crate::Case;
use crate::lab::{Lab, PIN, examine, sign, start, unlocked};
use crate::real::{KRYOPTIC, Module, NSS, P11_KIT, TPM2, config_of};

pub const CASES: &[Case] = &[
    ("doctor_finds_of_nss_what_it_can_be_used_for", || real(&NSS)),
    ("doctor_finds_of_p11_kit_remote_what_it_can_be_used_for", || real(&P11_KIT)),
    ("keys_behind_p11_kit_remote_that_take_the_pin_each_time_sign_with_it_as_doctor_says", p11_kit_each_time),
    ("doctor_finds_of_tpm2_what_it_can_be_used_for", || real(&TPM2)),
    ("doctor_finds_of_kryoptic_what_it_can_be_used_for", || real(&KRYOPTIC)),
    ("a_module_that_signs_no_digests_signs_by_its_profile_and_not_without", by_profile),
    ("a_module_that_writes_ecdsa_in_der_signs_by_its_profile_and_not_without", in_der),
    ("doctor_believes_no_attribute_that_the_module_contradicts", attributes),
    ("doctor_works_with_as_few_sessions_as_there_are", few_sessions),
    ("doctor_measures_with_keys_of_the_token_where_a_session_takes_none_and_removes_them", on_the_token),
    ("by_a_damaged_profile_nothing_is_signed_until_the_module_is_measured_again", damaged),
];

fn has(diagnosis: &Diagnosis, id: &str) -> bool {
    diagnosis.quirks().iter().any(|quirk| quirk.id == id)
}

/// What doctor says a token is good for, the token then really does, and what it says it is not, is refused.
fn real(module: &Module) {
    let (name, dir) = (module.name, tempfile::tempdir().unwrap());
    let Some(ready) = module.made(dir.path()) else { return };
    let token = unlocked(config_of(&ready, name));
    let own = token.generate(&"own".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let diagnosis = examine(&token);
    let facts = &diagnosis.facts;
    assert!(facts.left.is_empty() && facts.troubles.is_empty(), "{name}: {facts:?}");
    assert_eq!(token.keys().unwrap().len(), 1, "{name}: its own key, and nothing of doctor's");
    let uses = diagnosis.uses();
    let kinds = [
        (KeyType::Ed25519, &uses.ed25519),
        (KeyType::EcdsaP256, &uses.ecdsa_p256),
        (KeyType::EcdsaP384, &uses.ecdsa_p384),
        (KeyType::Rsa3072, &uses.rsa_pss_3072),
    ];
    for (kind, told) in kinds {
        let does = token
            .generate(&format!("try-{kind}").parse().unwrap(), kind)
            .and_then(|key| sign(&token, &key.public, "by a key of its own"));
        println!("{name} {kind}: {} ({}) · {:?}", told.verdict.as_str(), told.why, does.as_ref().err());
        assert_eq!(
            told.verdict == Verdict::Limited,
            module.limited.contains(&kind),
            "{name} {kind}: {}",
            told.why
        );
        match told.verdict {
            Verdict::Limited if told.why.contains("CKR_GENERAL_ERROR") => assert!(does.is_err()),
            Verdict::Yes | Verdict::Limited => assert!(does.is_ok(), "{name} {kind}: {does:?}"),
            Verdict::No => assert!(does.is_err(), "{name} {kind}: {}", told.why),
        }
    }
    assert_eq!(uses.unattended.verdict, Verdict::Yes, "{name}: {}", uses.unattended.why);
    // Attributes, as the agent reads them of its own key.
    let origin = token.keys().unwrap().iter().find(|key| key.public == own).unwrap().origin;
    let made = facts.generated.as_ref().unwrap();
    assert_eq!(
        origin == backend::Origin::Generated,
        made.local == Some(true) || made.never_extractable == Some(true)
    );
    assert!(!made.readable.is_yes());
    // What it says of keys that demand a login for each signature is one thing.
    let says_none =
        facts.not_measured.iter().any(|missed| missed.why.starts_with("no key was made that demands"));
    assert_eq!(has(&diagnosis, "no-always-authenticate"), says_none, "{name}: {:?}", facts.not_measured);
    let says_ignored = facts.not_measured.iter().any(|missed| missed.why.ends_with("signs without one"));
    assert_eq!(
        has(&diagnosis, "always-authenticate-ignored"),
        says_ignored,
        "{name}: {:?}",
        facts.not_measured
    );
    let quirks: Vec<&str> = diagnosis.quirks().iter().map(|quirk| quirk.id).collect();
    println!("{name}: place {:?}, sessions {:?}, quirks {quirks:?}", facts.place, facts.sessions);
    println!("{name}: {:?}", facts.not_measured);
}

/// p11-kit's client gives another table of functions to each who asks: the login and C_Sign must be of the same.
fn p11_kit_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ready) = P11_KIT.made(dir.path()) else { return };
    crate::twins::run_make_in(&ready.module, &ready.env, &["always-ec", "always-rsa"]);
    let mut config = config_of(&ready, "hsm");
    config.profiles = Some(dir.path().join("profiles"));
    let token = unlocked(config);
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 2);
    let all_sign = || {
        for key in &keys {
            assert_eq!(sign(&token, &key.public, "no PIN").unwrap_err().reason(), "PIN_REQUIRED");
            for _ in 0..2 {
                crate::always::sign_with(&token, &key.public, PIN).unwrap();
            }
        }
    };
    all_sign();
    let diagnosis = examine(&token);
    let always = diagnosis.facts.always.as_ref().unwrap();
    assert!(always.honoured.is_yes() && always.context_digest.is_yes(), "{always:?}");
    assert!(!has(&diagnosis, "no-context-login"), "{:?}", diagnosis.quirks());
    assert!(token.save_profile(&diagnosis).unwrap());
    all_sign();
    let wrong = crate::always::sign_with(&token, &keys[0].public, "wrong-pin").unwrap_err();
    assert_eq!(wrong.reason(), "PIN_INCORRECT", "{wrong}");
}

/// NSS hashes and signs; behind the lying module it signs no digests, which is what the agent gives first.
fn by_profile() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ready) = NSS.made(dir.path()) else { return };
    let desk = Desk::new(dir.path());
    let mut config = config_of(&ready, "hsm");
    config.module = lying_pkcs11::module().unwrap();
    config.env.extend(desk.env(&ready.module));
    config.profiles = Some(dir.path().join("profiles"));
    desk.say("mechanism CKM_ECDSA absent");
    let token = unlocked(config.clone());
    assert_eq!(token.info().measured, Some("never"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let error = sign(&token, &key, "no digests here").unwrap_err();
    assert_eq!(error.reason(), "UNSUPPORTED", "{error}");
    let diagnosis = examine(&token);
    assert_eq!(diagnosis.uses().ecdsa_p256.verdict, Verdict::Yes, "{:?}", diagnosis.facts.curves);
    assert!(has(&diagnosis, "hash-and-sign-only"), "{:?}", diagnosis.quirks());
    assert!(token.save_profile(&diagnosis).unwrap());
    // At once, by the helper that runs, with the login that stands.
    assert_eq!(token.info().measured, Some("yes"));
    sign(&token, &key, "the module hashes").unwrap();
    // And by every later one.
    token.shutdown();
    let later = unlocked(config);
    sign(&later, &key, "the module hashes again").unwrap();
}

/// Which way a module writes its signatures is measured, and never guessed by the look of one: neither of a module that was not
/// measured, nor of one that has changed its way since.
fn in_der() {
    let lab = Lab::new();
    let mut config = lab.lying_config("hsm");
    config.profiles = Some(lab.dir.path().join("profiles"));
    lab.say("ecdsa der");
    let token = unlocked(config.clone());
    let keys = [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Ed25519]
        .map(|kind| token.generate(&kind.name().parse().unwrap(), kind).unwrap().public);
    let [p256, p384, ed25519] = &keys;
    for key in [p256, p384] {
        let error = sign(&token, key, "not measured").unwrap_err();
        assert_eq!(error.reason(), "BAD_SIGNATURE");
        assert!(error.remedy().contains("tufctl token doctor"), "{}", error.remedy());
    }
    let diagnosis = examine(&token);
    let uses = diagnosis.uses();
    assert_eq!((uses.ecdsa_p256.verdict, uses.ecdsa_p384.verdict), (Verdict::Yes, Verdict::Yes));
    assert!(has(&diagnosis, "ecdsa-in-der"), "{:?}", diagnosis.quirks());
    assert!(token.save_profile(&diagnosis).unwrap());
    for n in 0..40 {
        for key in &keys {
            sign(&token, key, &format!("measured {n}")).unwrap();
        }
    }
    token.shutdown();
    let later = unlocked(config);
    sign(&later, p384, "by every later one").unwrap();
    for lie in ["wrong", "short", "long", "empty", "zero", "other-key"] {
        lab.say(&format!("ecdsa der\nC_Sign {lie}"));
        assert!(sign(&later, p256, lie).is_err(), "{lie}");
        lab.say("ecdsa der");
        sign(&later, p256, "and right again").unwrap();
    }
    lab.say("");
    assert_eq!(sign(&later, p256, "as the standard says").unwrap_err().reason(), "BAD_SIGNATURE");
    sign(&later, ed25519, "not of that kind").unwrap();
    assert!(!has(&examine(&later), "ecdsa-in-der"));
}

fn attributes() {
    let lab = Lab::new();
    let token = start(lab.lying_config("hsm"));
    for (lie, verdict, quirk) in [
        ("attribute CKA_EXTRACTABLE true private", Verdict::No, None),
        ("attribute CKA_SENSITIVE false private", Verdict::No, None),
        ("attribute CKA_LOCAL false private", Verdict::Limited, Some("origin-untold")),
        ("attribute CKA_NEVER_EXTRACTABLE absent private", Verdict::Limited, Some("origin-untold")),
        ("attribute CKA_COPYABLE true private", Verdict::Limited, Some("copyable")),
        (
            "attribute CKA_LOCAL true\nattribute CKA_NEVER_EXTRACTABLE true\nattribute CKA_ALWAYS_SENSITIVE true",
            Verdict::Limited,
            Some("imports-claim-origin"),
        ),
    ] {
        lab.say(lie);
        let diagnosis = examine(&token);
        assert_eq!(diagnosis.uses().root_ceremony.verdict, verdict, "{lie}");
        assert!(quirk.is_none_or(|id| has(&diagnosis, id)), "{lie}: {:?}", diagnosis.quirks());
    }
    lab.say("attribute CKA_EC_POINT raw public");
    let diagnosis = examine(&token);
    assert!(has(&diagnosis, "point-raw"), "{:?}", diagnosis.quirks());
    assert_eq!(diagnosis.facts.curves["ecdsa-p256"].point_len, 65);
    lab.say("token flags +final-try");
    let before = lab.traced("C_Login");
    let diagnosis = examine(&token);
    assert_eq!(lab.traced("C_Login"), before, "no PIN at the final try");
    assert!(has(&diagnosis, "pin-final-try"));
    lab.say("token flags +count-low");
    let before = lab.traced("C_Login");
    let diagnosis = examine(&token);
    assert_eq!(lab.traced("C_Login"), before + 1, "one entry, and no second while it tells of a wrong one");
    assert!(has(&diagnosis, "pin-count-low"));
}

fn few_sessions() {
    let lab = Lab::new();
    let mut config = lab.lying_config("hsm");
    config.digest = ModuleDigest::Any;
    for limit in [1, 2, 3, 16] {
        lab.say(&format!("sessions limit {limit}"));
        let token = start(config.clone());
        let diagnosis = examine(&token);
        let sessions = diagnosis.facts.sessions.as_ref().unwrap();
        assert_eq!(sessions.opened, limit, "{:?}", diagnosis.facts);
        assert!(sessions.refused.as_deref().unwrap().contains("CKR_SESSION_COUNT"), "{sessions:?}");
        assert!(has(&diagnosis, "session-limit"));
        assert_eq!(diagnosis.uses().ecdsa_p256.verdict, Verdict::Yes, "{limit}: {:?}", diagnosis.facts);
        assert_eq!(diagnosis.uses().ed25519.verdict, Verdict::Yes, "{limit}: {:?}", diagnosis.facts);
        token.shutdown();
    }
}

fn on_the_token() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("hsm"));
    let own = token.generate(&"own".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    // What find_place asks for first: three kinds of keys, in each form.
    lab.say("C_GenerateKeyPair 1-10 CKR_TEMPLATE_INCONSISTENT");
    let diagnosis = examine(&token);
    assert_eq!(diagnosis.facts.place, Some(Place::Token), "{:?}", diagnosis.facts);
    assert!(diagnosis.facts.left.is_empty() && has(&diagnosis, "no-session-keys"), "{:?}", diagnosis.facts);
    lab.say("pass");
    assert_eq!(token.keys().unwrap().iter().map(|key| &key.public).collect::<Vec<_>>(), [&own]);
    // One that cannot remove what it makes makes one pair, and no more; it says so, and the next run takes it away.
    lab.say("C_GenerateKeyPair 1-10 CKR_TEMPLATE_INCONSISTENT\nC_DestroyObject * CKR_FUNCTION_NOT_SUPPORTED");
    let diagnosis = examine(&token);
    assert!(has(&diagnosis, "leftovers"), "{:?}", diagnosis.quirks());
    assert!(diagnosis.facts.curves.is_empty(), "nothing more is made: {:?}", diagnosis.facts.curves);
    lab.say("pass");
    let diagnosis = examine(&token);
    assert_eq!(diagnosis.facts.removed, 2);
    assert_eq!(token.keys().unwrap().len(), 1);
    sign(&token, &own, "still there").unwrap();
}

fn damaged() {
    let lab = Lab::new();
    let profiles = lab.dir.path().join("profiles");
    let mut config = lab.config("hsm");
    config.profiles = Some(profiles.clone());
    let token = unlocked(config.clone());
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    assert!(token.save_profile(&examine(&token)).unwrap());
    token.shutdown();
    let file = fs::read_dir(&profiles).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&file).unwrap();
    for bad in [&good[..0], &good[..good.len() / 2], &vec![0; good.len()][..]] {
        fs::write(&file, bad).unwrap();
        let token = unlocked(config.clone());
        let info = token.info();
        assert_eq!((info.state, info.measured), (TokenState::Unlocked, Some("damaged")));
        assert!(
            info.problem.as_deref().is_some_and(|why| why.contains("tufctl token doctor hsm")),
            "{info:?}"
        );
        let error = sign(&token, &key, "by what?").unwrap_err();
        assert!(matches!(error, BackendError::Failed { .. }), "{error}");
        assert!(error.remedy().contains("tufctl token doctor hsm"), "{}", error.remedy());
        assert!(token.generate(&"k2".parse().unwrap(), KeyType::EcdsaP256).is_err());
        assert_eq!(fs::read(&file).unwrap(), bad, "it is not written over unasked");
        assert!(token.save_profile(&examine(&token)).unwrap());
        sign(&token, &key, "measured again").unwrap();
        token.shutdown();
    }
}
