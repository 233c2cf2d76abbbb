//! Private keys without a public object beside them, as smart cards and some HSMs keep them: told of by CKA_PUBLIC_KEY_INFO or by a
//! certificate with the same CKA_ID, and by nothing else.

use std::process::{Command, ExitCode};
use std::str::FromStr as _;
use std::time::{Duration, UNIX_EPOCH};

use backend::pkcs11::{Pkcs11Config, Pkcs11Token};
use backend::{Backend, BackendError, Origin, StoredKey, TokenState};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use der::{Decode as _, Encode as _};
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use tuf::key::{KeyType, PublicKey};
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use crate::Case;
use crate::lab::{Lab, PIN, pid, sign, start, unlock, unlocked};
use crate::twins::run_make;

pub const CASES: &[Case] = &[
    ("keys_with_a_certificate_alone_are_listed_used_and_removed", certificates),
    ("a_key_that_tells_its_public_half_itself_is_found", told_by_itself),
    ("what_a_certificate_says_wrongly_signs_nothing", wrong_certificates),
    ("two_keys_that_one_certificate_may_mean_are_refused", two_of_one_certificate),
    ("a_public_object_has_the_word_before_a_certificate", public_object_first),
    ("public_objects_and_certificates_without_a_key_cost_no_login", no_key_at_all),
    ("a_public_object_without_its_key_keeps_no_name_from_a_new_one", name_of_half_a_key),
];

const KINDS: [KeyType; 4] = [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048];

fn make(token: &Pkcs11Token, kinds: &[KeyType]) -> Vec<StoredKey> {
    kinds.iter().map(|kind| token.generate(&kind.name().parse().unwrap(), *kind).unwrap()).collect()
}

fn publics(mut keys: Vec<StoredKey>) -> Vec<PublicKey> {
    keys.sort_by(|a, b| a.public.cmp(&b.public));
    keys.into_iter().map(|key| key.public).collect()
}

/// A token with these keys, and what was then done to its objects.
fn token_with(lab: &Lab, kinds: &[KeyType], deeds: &[&str]) -> Vec<StoredKey> {
    let made = make(&unlocked(lab.config("hsm")), kinds);
    run(lab, deeds);
    made
}

fn certificates() {
    let lab = Lab::new();
    let made = token_with(&lab, &KINDS, &["certify", "drop-publics"]);
    let token = start(lab.config("hsm"));
    assert_eq!(publics(token.keys().unwrap()), publics(made.clone()), "locked");
    unlock(&token).unwrap();
    let keys = token.keys().unwrap();
    assert_eq!(publics(keys.clone()), publics(made));
    for key in &keys {
        assert_eq!(key.origin, Origin::Generated);
        token.made_here(&key.public).unwrap();
        sign(&token, &key.public, "by a key without a public object").unwrap();
        let before = token.keys().unwrap().len();
        token.remove(&key.public).unwrap();
        assert_eq!(token.keys().unwrap().len(), before - 1);
        assert_eq!(sign(&token, &key.public, "gone").unwrap_err().reason(), "KEY_NOT_FOUND");
    }
}

fn lying(lab: &Lab, said: &[(&str, &PublicKey)]) -> Pkcs11Token {
    let told = said.iter().map(|(label, key)| {
        format!("attribute CKA_PUBLIC_KEY_INFO hex:{} private label={label}\n", hex::encode(key.spki_der()))
    });
    lab.say(&told.collect::<String>());
    unlocked(lab.lying_config("hsm"))
}

fn told_by_itself() {
    let lab = Lab::new();
    let made = token_with(&lab, &[KeyType::EcdsaP256, KeyType::Ed25519], &["drop-publics"]);
    let [a, b] = made.as_slice() else { panic!("{made:?}") };
    let [label_a, label_b] = [a.name.as_str(), b.name.as_str()];
    assert_eq!(unlocked(lab.config("hsm")).keys().unwrap(), [], "nothing tells of them");
    let token = lying(&lab, &[(label_a, &a.public), (label_b, &b.public)]);
    assert_eq!(publics(token.keys().unwrap()), publics(made.clone()));
    for key in [a, b] {
        sign(&token, &key.public, "told by itself").unwrap();
    }
    drop(token);
    // Both claim to be one: nobody guesses.
    let token = lying(&lab, &[(label_a, &a.public), (label_b, &a.public)]);
    refused_as_ambiguous(&token, &a.public);
    assert_eq!(sign(&token, &b.public, "told by nothing").unwrap_err().reason(), "KEY_NOT_FOUND");
    drop(token);
    // Each claims to be the other.
    let token = lying(&lab, &[(label_a, &b.public)]);
    not_signed_by_another(sign(&token, &b.public, "by another key"));
    drop(token);
    for nothing in ["absent", "hex:", "hex:3000", "huge"] {
        lab.say(&format!("attribute CKA_PUBLIC_KEY_INFO {nothing} private"));
        let token = unlocked(lab.lying_config("hsm"));
        assert_eq!(token.keys().unwrap(), [], "{nothing}");
        assert_eq!(sign(&token, &a.public, nothing).unwrap_err().reason(), "KEY_NOT_FOUND", "{nothing}");
    }
}

fn wrong_certificates() {
    let lab = Lab::new();
    let made = token_with(&lab, &[KeyType::EcdsaP256], &["certify-wrongly", "drop-publics"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 1);
    assert_ne!(keys[0].public, made[0].public);
    not_signed_by_another(sign(&token, &keys[0].public, "which?"));
    assert_eq!(sign(&token, &made[0].public, "which?").unwrap_err().reason(), "KEY_NOT_FOUND");
    drop(token);
    // Of a key of another type, without a CKA_ID, and no certificate at all.
    for deed in ["certify-otherwise", "certify-nobody", "certify-nonsense"] {
        let lab = Lab::new();
        let made = token_with(&lab, &[KeyType::EcdsaP384], &[deed, "drop-publics"]);
        let token = unlocked(lab.config("hsm"));
        assert_eq!(token.keys().unwrap(), [], "{deed}");
        assert_eq!(sign(&token, &made[0].public, deed).unwrap_err().reason(), "KEY_NOT_FOUND", "{deed}");
    }
}

fn not_signed_by_another<T: std::fmt::Debug>(outcome: Result<T, BackendError>) {
    let error = outcome.unwrap_err();
    assert!(["BAD_SIGNATURE", "UNSUPPORTED", "TOKEN_FAILED"].contains(&error.reason()), "{error:?}");
}

fn refused_as_ambiguous(token: &Pkcs11Token, key: &PublicKey) {
    let error = sign(token, key, "which?").unwrap_err();
    assert!(error.to_string().contains("could be meant"), "{error}");
    assert!(token.remove(key).is_err());
}

fn two_of_one_certificate() {
    let lab = Lab::new();
    run_make(&lab, &["ec", "ec"]);
    run(&lab, &["certify", "drop-publics"]);
    let token = unlocked(lab.config("hsm"));
    let keys = token.keys().unwrap();
    assert_eq!(keys.len(), 2, "two certificates with one CKA_ID");
    for key in keys {
        refused_as_ambiguous(&token, &key.public);
    }
}

fn public_object_first() {
    let lab = Lab::new();
    let made = token_with(&lab, &[KeyType::EcdsaP256], &["certify-wrongly"]);
    let token = unlocked(lab.config("hsm"));
    assert_eq!(publics(token.keys().unwrap()), publics(made.clone()));
    sign(&token, &made[0].public, "by its public object").unwrap();
}

/// What others have left of a key keeps no name from a new one.
fn name_of_half_a_key() {
    let lab = Lab::new();
    token_with(&lab, &[KeyType::EcdsaP256], &["drop-privates"]);
    let token = unlocked(lab.config("hsm"));
    let name = KeyType::EcdsaP256.name().parse().unwrap();
    let made = token.generate(&name, KeyType::EcdsaP384).unwrap();
    sign(&token, &made.public, "under the name that was left").unwrap();
    let again = token.generate(&name, KeyType::EcdsaP384);
    assert!(matches!(again, Err(BackendError::NameTaken { .. })), "{again:?}");
}

/// A locked token shows what may be a key, an unlocked one does not: that is no reason to look for what is missing with a new
/// helper, which would cost the login.
fn no_key_at_all() {
    for deeds in [&["drop-privates"][..], &["certify", "drop-publics", "drop-privates"]] {
        let lab = Lab::new();
        token_with(&lab, &[KeyType::EcdsaP256], deeds);
        let token = start(lab.config("hsm"));
        assert_eq!(token.keys().unwrap().len(), 1, "{deeds:?}");
        unlock(&token).unwrap();
        let helper = pid(&token);
        for _ in 0..3 {
            assert_eq!(token.keys().unwrap(), [], "{deeds:?}");
        }
        assert_eq!((token.info().state, pid(&token)), (TokenState::Unlocked, helper), "{deeds:?}");
    }
}

/// Changes the objects of the lab's token, in a process of its own because a module is for one process.
fn run(lab: &Lab, deeds: &[&str]) {
    let config: Pkcs11Config = lab.config("hsm");
    let done = Command::new(std::env::current_exe().unwrap())
        .arg("change-objects")
        .arg(&config.module)
        .args(deeds)
        .envs(&config.env)
        .status()
        .unwrap();
    assert!(done.success(), "{deeds:?}");
}

pub fn change(words: &[String]) -> ExitCode {
    let [module, deeds @ ..] = words else { return ExitCode::FAILURE };
    let pkcs11 = Pkcs11::new(module).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&PIN.into())).unwrap();
    for deed in deeds {
        let of = |class| session.find_objects(&[Attribute::Class(class)]).unwrap();
        match deed.as_str() {
            "drop-publics" => drop_all(&session, &of(ObjectClass::PUBLIC_KEY)),
            "drop-privates" => drop_all(&session, &of(ObjectClass::PRIVATE_KEY)),
            _ => of(ObjectClass::PUBLIC_KEY).iter().for_each(|key| certify(&session, *key, deed)),
        }
    }
    ExitCode::SUCCESS
}

fn drop_all(session: &Session, objects: &[ObjectHandle]) {
    objects.iter().for_each(|object| session.destroy_object(*object).unwrap());
}

/// Writes a certificate with the CKA_ID of a public object.
fn certify(session: &Session, public: ObjectHandle, how: &str) {
    let attribute = |kind| session.get_attributes(public, &[kind]).unwrap().remove(0);
    let other = SigningKey::from_slice(&[7; 32]).unwrap();
    let other = SubjectPublicKeyInfoOwned::from_key(other.verifying_key()).unwrap();
    let (mut id, mut spki) = (vec![attribute(AttributeType::Id)], None);
    match how {
        "certify" => spki = Some(spki_of(session, public)),
        "certify-wrongly" | "certify-otherwise" => spki = Some(other),
        "certify-nobody" => (id, spki) = (Vec::new(), Some(spki_of(session, public))),
        "certify-nonsense" => {}
        _ => panic!("{how}"),
    }
    let certificate = spki.map_or_else(|| b"\x30\x03\x02\x01\x01".to_vec(), certificate);
    let object = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Subject(Name::from_str("CN=lab").unwrap().to_der().unwrap()),
        Attribute::Value(certificate),
        attribute(AttributeType::Label),
    ];
    session.create_object(&[&object[..], &id].concat()).unwrap();
}

/// As OpenSSL and other tools would write it, not by our own code.
fn spki_of(session: &Session, public: ObjectHandle) -> SubjectPublicKeyInfoOwned {
    let wanted = [
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let (mut params, mut point, mut modulus, mut exponent) = (vec![], vec![], vec![], vec![]);
    for attribute in session.get_attributes(public, &wanted).unwrap() {
        match attribute {
            Attribute::EcParams(bytes) => params = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            Attribute::Modulus(bytes) => modulus = bytes,
            Attribute::PublicExponent(bytes) => exponent = bytes,
            _ => {}
        }
    }
    let der = match (params.len(), point.get(2..)) {
        (10, Some(point)) => p256::PublicKey::from_sec1_bytes(point).unwrap().to_public_key_der(),
        (7, Some(point)) => p384::PublicKey::from_sec1_bytes(point).unwrap().to_public_key_der(),
        (_, Some(point)) => {
            ed25519_dalek::VerifyingKey::from_bytes(point.try_into().unwrap()).unwrap().to_public_key_der()
        }
        (_, None) => {
            let number = |bytes: &[u8]| rsa::BoxedUint::from_be_slice_vartime(bytes);
            rsa::RsaPublicKey::new(number(&modulus), number(&exponent)).unwrap().to_public_key_der()
        }
    };
    SubjectPublicKeyInfoOwned::from_der(der.unwrap().as_bytes()).unwrap()
}

struct OfLab;

impl BuilderProfile for OfLab {
    fn get_issuer(&self, _: &Name) -> Name {
        Name::from_str("CN=somebody").unwrap()
    }

    fn get_subject(&self) -> Name {
        Name::from_str("CN=lab").unwrap()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(Vec::new())
    }
}

/// One that expired long ago, by an authority that nobody knows.
fn certificate(of: SubjectPublicKeyInfoOwned) -> Vec<u8> {
    let past = |seconds| Time::try_from(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    let validity = Validity::new(past(0), past(1));
    let builder = CertificateBuilder::new(OfLab, SerialNumber::from(7_u32), validity, of).unwrap();
    let by = SigningKey::from_slice(&[8; 32]).unwrap();
    builder.build::<_, DerSignature>(&by).unwrap().to_der().unwrap()
}
