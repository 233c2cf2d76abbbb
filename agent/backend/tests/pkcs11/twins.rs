//! Keys are chosen by public key (FAULTS D4): objects that share label and id.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use backend::Backend;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};

use crate::Case;
use crate::lab::{Lab, PIN, sign, unlocked};

pub const CASES: &[Case] = &[
    ("of_two_objects_with_one_label_and_id_the_public_key_chooses", one_rsa_one_ec),
    ("one_public_key_that_is_there_twice_is_listed_once_and_used_by_nobody", same_key_twice),
    ("two_private_keys_that_could_both_be_meant_are_refused", two_of_one_type),
];

fn one_rsa_one_ec() {
    let lab = Lab::new();
    run_make(&lab, &["rsa", "ec"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0].name, keys[1].name);
    for key in &keys {
        assert!(key.name.as_str().starts_with("twin-"), "{}", key.name);
        sign(&token, &key.public, "by the right one").unwrap();
    }
    token.remove(&keys[0].public).unwrap();
    assert_eq!(token.keys().unwrap().iter().map(|key| &key.public).collect::<Vec<_>>(), [&keys[1].public]);
    sign(&token, &keys[1].public, "the other one is untouched").unwrap();
}

fn two_of_one_type() {
    let lab = Lab::new();
    run_make(&lab, &["ec", "ec"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        let error = sign(&token, &key.public, "which?").unwrap_err();
        assert!(error.to_string().contains("could be meant"), "{error}");
        assert!(token.remove(&key.public).is_err());
    }
}

fn same_key_twice() {
    let lab = Lab::new();
    run_make(&lab, &["copy", "copy"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let error = sign(&token, &keys[0].public, "by which copy?").unwrap_err();
    assert!(error.to_string().contains("could be meant"), "{error}");
}

/// Key pairs with one label and one id, made in a process of its own because a module is for one process.
pub fn run_make(lab: &Lab, kinds: &[&str]) {
    run_make_in(lab.folder.module(), &lab.folder.env(), kinds);
}

/// The same, on the first token of any module.
pub fn run_make_in(module: &Path, env: &BTreeMap<String, String>, kinds: &[&str]) {
    let made = Command::new(std::env::current_exe().unwrap())
        .arg("make-twins")
        .arg(module)
        .args(kinds)
        .envs(env)
        .status()
        .unwrap();
    assert!(made.success());
}

pub fn make(words: &[String]) -> ExitCode {
    let [module, kinds @ ..] = words else { return ExitCode::FAILURE };
    let pkcs11 = Pkcs11::new(module).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&PIN.into())).unwrap();
    let named = [Attribute::Token(true), Attribute::Label(b"twin".to_vec()), Attribute::Id(vec![1])];
    for (copy, kind) in (2_u8..).zip(kinds) {
        if kind == "copy" {
            store_copy(&session, copy);
            continue;
        }
        let (mechanism, more) = match kind.as_str() {
            "rsa" | "always-rsa" => (Mechanism::RsaPkcsKeyPairGen, vec![Attribute::ModulusBits(2048.into())]),
            _ => (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(P256.to_vec())]),
        };
        let public = [&named[..], &more].concat();
        let mut private = [&named[..], &[Attribute::Private(true), Attribute::Sign(true)]].concat();
        if kind.starts_with("always") {
            private.push(Attribute::AlwaysAuthenticate(true));
        }
        session.generate_key_pair(&mechanism, &public, &private).unwrap();
    }
    ExitCode::SUCCESS
}

/// One and the same key, with an id of its own for each copy.
fn store_copy(session: &Session, id: u8) {
    let secret = p256::SecretKey::from_slice(&[5; 32]).unwrap();
    let point = [&[0x04, 65], secret.public_key().to_sec1_bytes().as_ref()].concat();
    let common = [
        Attribute::Token(true),
        Attribute::KeyType(KeyType::EC),
        Attribute::EcParams(P256.to_vec()),
        Attribute::Id(vec![id]),
        Attribute::Label(vec![b'a' + id]),
    ];
    let public = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::EcPoint(point)];
    let private = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Private(true),
        Attribute::Sign(true),
        Attribute::Value(secret.to_bytes().to_vec()),
    ];
    session.create_object(&[&common[..], &public].concat()).unwrap();
    session.create_object(&[&common[..], &private].concat()).unwrap();
}

const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
