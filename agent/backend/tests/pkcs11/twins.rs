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
    ("a_strangers_public_object_with_the_id_of_a_key_goes_alone_and_the_private_key_stays", id_of_another),
    (
        "of_a_private_key_that_cannot_show_whose_it_is_none_of_two_public_keys_is_removed",
        id_of_another_each_time,
    ),
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

/// Whoever reaches the token can put a public object on it, without the PIN.
fn id_of_another() {
    let lab = Lab::new();
    run_make(&lab, &["ec", "stranger"]);
    let token = unlocked(lab.config("hsm"));
    let own = token.keys().unwrap().into_iter().find(|key| key.name.as_str() == "twin").unwrap().public;
    let stranger = token.keys().unwrap().into_iter().find(|key| key.public != own).unwrap().public;
    token.remove(&stranger).unwrap();
    assert_eq!(token.keys().unwrap().iter().map(|key| &key.public).collect::<Vec<_>>(), [&own]);
    sign(&token, &own, "the private key is still there").unwrap();
    run_make(&lab, &["stranger"]);
    // The key itself goes whole, with a stranger beside it.
    token.remove(&own).unwrap();
    assert_eq!(sign(&token, &own, "gone").unwrap_err().reason(), "KEY_NOT_FOUND");
    assert!(token.keys().unwrap().is_empty(), "{:?}", token.keys());
}

fn id_of_another_each_time() {
    let lab = Lab::new();
    run_make(&lab, &["always", "stranger"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        let error = token.remove(&key.public).unwrap_err();
        assert!(error.to_string().contains("could be meant"), "{error}");
    }
    assert_eq!(token.keys().unwrap(), keys);
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
    if kinds.iter().any(|kind| kind != "stranger") {
        session.login(UserType::User, Some(&PIN.into())).unwrap();
    }
    let named = [Attribute::Token(true), Attribute::Label(b"twin".to_vec()), Attribute::Id(vec![1])];
    for (copy, kind) in (2_u8..).zip(kinds) {
        if kind == "copy" {
            store_copy(&session, copy);
            continue;
        }
        if kind == "stranger" {
            store_stranger(&session, &named);
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

/// A public object with the id of another key.
fn store_stranger(session: &Session, named: &[Attribute]) {
    let secret = p256::SecretKey::from_slice(&[6; 32]).unwrap();
    let point = [&[0x04, 65], secret.public_key().to_sec1_bytes().as_ref()].concat();
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::EcParams(P256.to_vec()),
        Attribute::EcPoint(point),
        Attribute::Private(false),
    ];
    let named: Vec<_> = named.iter().filter(|it| !matches!(it, Attribute::Label(_))).cloned().collect();
    session.create_object(&[&named[..], &public, &[Attribute::Label(b"junk".to_vec())]].concat()).unwrap();
}

const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
