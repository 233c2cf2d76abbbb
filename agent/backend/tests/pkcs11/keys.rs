//! Making, importing, listing, using and removing keys.

use backend::import::parse_private_key;
use backend::{Backend, Origin, TokenState};
use ed25519_dalek::pkcs8::EncodePrivateKey;
use pkcs8::LineEnding;
use secmem::SecretBytes;
use tuf::key::KeyType;

use crate::Case;
use crate::lab::{Lab, PIN, secret, sign, start, unlock, unlocked};

pub const CASES: &[Case] = &[
    ("every_type_is_made_listed_used_and_removed", every_type),
    ("keys_of_files_are_imported_and_sign", imported_keys),
    ("twelve_megabytes_are_signed_whole_with_ed25519", long_message),
    ("a_locked_token_shows_public_keys_and_signs_nothing", locked_token),
    ("a_name_is_given_once", names_are_unique),
    ("a_key_that_cannot_be_read_after_it_was_made_does_not_keep_its_name", half_a_key),
    ("a_key_whose_making_was_answered_wrongly_signs_or_leaves_nothing", lost_answers),
    ("a_key_whose_import_was_answered_wrongly_signs_or_leaves_nothing", lost_answers_of_import),
    ("the_pin_is_changed", change_pin),
];

fn every_type() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072] {
        let key = token.generate(&kind.name().parse().unwrap(), kind).unwrap();
        assert_eq!(key.public.key_type(), kind);
        assert_eq!(key.origin, Origin::Generated);
        assert!(token.keys().unwrap().contains(&key), "{kind}");
        sign(&token, &key.public, "hello").unwrap();
    }
    assert_eq!(token.keys().unwrap().len(), 4);
    for key in token.keys().unwrap() {
        sign(&token, &key.public, "still there").unwrap();
        token.remove(&key.public).unwrap();
        assert!(!token.keys().unwrap().contains(&key));
        assert_eq!(sign(&token, &key.public, "gone").unwrap_err().reason(), "KEY_NOT_FOUND");
        assert_eq!(token.remove(&key.public).unwrap_err().reason(), "KEY_NOT_FOUND");
    }
}

fn imported_keys() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let ed25519 = ed25519_dalek::SigningKey::from_bytes(&[9; 32]).to_pkcs8_pem(LineEnding::LF).unwrap();
    let p256 = p256::SecretKey::from_slice(&[9; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
    let p384 = p384::SecretKey::from_slice(&[9; 48]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
    let mut random = getrandom::SysRng;
    let rsa = rsa::RsaPrivateKey::new(&mut signature::rand_core::UnwrapErr(&mut random), 2048).unwrap();
    let rsa = rsa.to_pkcs8_pem(LineEnding::LF).unwrap();
    for (name, pem) in [("ed25519", ed25519), ("p256", p256), ("p384", p384), ("rsa", rsa)] {
        let file = SecretBytes::copy_from(pem.as_bytes());
        let parse = || parse_private_key(&file, None).unwrap();
        let stored = token.import(&name.parse().unwrap(), parse()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(stored.origin, Origin::Imported, "{name}");
        assert!(token.keys().unwrap().contains(&stored), "{name}: {:?}", token.keys());
        sign(&token, &stored.public, "imported").unwrap();
        let again = token.import(&"other".parse().unwrap(), parse()).unwrap_err();
        assert_eq!(again.reason(), "DUPLICATE_KEY", "{again}");
    }
}

fn long_message() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::Ed25519).unwrap();
    sign(&token, &key.public, &"0123456789ab".repeat(1_000_000)).unwrap();
}

fn locked_token() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap();
    token.lock();
    assert_eq!(token.info().state, TokenState::Locked);
    assert_eq!(sign(&token, &key.public, "x").unwrap_err().reason(), "TOKEN_LOCKED");
    assert_eq!(token.keys().unwrap(), vec![key.clone()]);
    unlock(&token).unwrap();
    sign(&token, &key.public, "x").unwrap();
    drop(token);
    let token = start(lab.config("hsm"));
    assert_eq!(token.info().state, TokenState::Locked);
    assert_eq!(token.info().serial, Some(lab.token.serial.clone()));
    assert_eq!(token.keys().unwrap()[0].public, key.public);
    assert_eq!(sign(&token, &key.public, "x").unwrap_err().reason(), "TOKEN_LOCKED");
}

fn names_are_unique() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap();
    let error = token.generate(&"k".parse().unwrap(), KeyType::Ed25519).unwrap_err();
    assert_eq!(error.reason(), "NAME_TAKEN");
    assert_eq!(token.keys().unwrap().len(), 1);
}

fn half_a_key() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("hsm"));
    let make = || token.generate(&"second".parse().unwrap(), KeyType::EcdsaP256);
    token.generate(&"first".parse().unwrap(), KeyType::EcdsaP256).unwrap();
    lab.desk().forget();
    token.remove(&make().unwrap().public).unwrap();
    let trace = lab.desk().trace();
    let calls: Vec<_> = trace.sequence().collect();
    let pair = calls.iter().position(|call| *call == "C_GenerateKeyPair").unwrap();
    let reads = |calls: &[&str]| calls.iter().filter(|call| **call == "C_GetAttributeValue").count();
    let before = reads(&calls[..pair]);
    let mut failed = 0;
    for read in before + 1..=before + 3 {
        lab.say(&format!("C_GetAttributeValue {read} CKR_FUNCTION_FAILED"));
        let told = make();
        lab.say("");
        failed += usize::from(told.is_err());
        // The name is free, or it is that of a key which can be used.
        let key = told.or_else(|_| make()).unwrap_or_else(|error| panic!("read {read}: {error}")).public;
        sign(&token, &key, "second").unwrap();
        token.remove(&key).unwrap();
    }
    assert!(failed > 0, "nothing was read of the new key");
}

fn lost_answers() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("hsm"));
    let make = |name: &str| token.generate(&name.parse().unwrap(), KeyType::EcdsaP256);
    let codes = ["CKR_GENERAL_ERROR", "CKR_TEMPLATE_INCONSISTENT", "CKR_DEVICE_ERROR", "CKR_FUNCTION_FAILED"];
    for (n, code) in codes.into_iter().enumerate() {
        let name = format!("k{n}");
        lab.desk().forget();
        lab.say(&format!("C_GenerateKeyPair 1 once after {code}"));
        let told = make(&name);
        let asked = lab.traced("C_GenerateKeyPair");
        assert_eq!((told.is_ok(), asked), if n < 2 { (true, 2) } else { (false, 1) }, "{code}: {told:?}");
        if let Err(error) = &told {
            assert!(error.to_string().contains("nothing of it is left"), "{error}");
        }
        lab.say("");
        let key = told.or_else(|_| make(&name)).unwrap_or_else(|error| panic!("{code}: {error}"));
        sign(&token, &key.public, "by one private key").unwrap();
        assert_eq!(token.keys().unwrap().len(), n + 1, "{code}");
    }
    for (kind, most) in [(KeyType::EcdsaP256, 5), (KeyType::Rsa2048, 3)] {
        lab.desk().forget();
        lab.say("C_GenerateKeyPair after CKR_GENERAL_ERROR");
        let error = token.generate(&"lost".parse().unwrap(), kind).unwrap_err();
        assert!(error.to_string().contains("nothing of it is left"), "{error}");
        assert_eq!(lab.traced("C_GenerateKeyPair"), most, "{kind}");
        assert_eq!(token.keys().unwrap().len(), codes.len());
    }
    lab.desk().forget();
    lab.say("C_GenerateKeyPair after CKR_GENERAL_ERROR\nC_DestroyObject CKR_FUNCTION_FAILED");
    let error = make("stays").unwrap_err().to_string();
    assert!(error.contains("CKA_ID") && error.contains("not known"), "{error}");
    assert_eq!(lab.traced("C_GenerateKeyPair"), 1);
    lab.say("");
    assert_eq!(make("stays").unwrap_err().reason(), "NAME_TAKEN");
}

fn lost_answers_of_import() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("hsm"));
    let lies =
        ["1 once after CKR_GENERAL_ERROR", "1 once after CKR_DEVICE_ERROR", "2 once after CKR_GENERAL_ERROR"];
    for (n, lie) in (1..).zip(lies) {
        let pem = p256::SecretKey::from_slice(&[n; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
        let file = SecretBytes::copy_from(pem.as_bytes());
        let name = format!("k{n}").parse().unwrap();
        let import = || token.import(&name, parse_private_key(&file, None).unwrap());
        lab.say(&format!("C_CreateObject {lie}"));
        let told = import();
        lab.say("");
        assert_eq!(told.is_ok(), n == 1, "{lie}: {told:?}");
        let key = told.or_else(|_| import()).unwrap_or_else(|error| panic!("{lie}: {error}"));
        sign(&token, &key.public, "by one private key").unwrap();
        assert_eq!(token.keys().unwrap().len(), usize::from(n), "{lie}");
    }
}

fn change_pin() {
    let lab = Lab::new();
    let token = start(lab.config("hsm"));
    assert_eq!(
        token.change_secret(&secret("wrong-pin"), &secret("654321")).unwrap_err().reason(),
        "PIN_INCORRECT"
    );
    token.change_secret(&secret(PIN), &secret("654321")).unwrap();
    assert_eq!(unlock(&token).unwrap_err().reason(), "PIN_INCORRECT");
    token.unlock(&secret("654321")).unwrap();
}
