use std::str::FromStr as _;

use der::Encode as _;
use der::asn1::OctetString;
use der::oid::ObjectIdentifier;
use p256::ecdsa::{DerSignature, SigningKey};
use proptest::prelude::*;
use rsa::pkcs8::DecodePrivateKey as _;
use sha2::Digest as _;
use tuf::key::PublicKey;
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::ext::{Criticality, Extension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::Validity;

use super::*;

const SERIAL: u32 = 12_345_678;

/// Whoever signs.
enum Signer {
    Ec(SigningKey),
    Rsa(rsa::pkcs1v15::SigningKey<sha2::Sha256>),
}

impl Signer {
    fn ec(seed: u8) -> Self {
        Self::Ec(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    /// What the attestation keys of YubiKeys are.
    fn rsa() -> Self {
        let pem = include_str!("../../tests/vectors/import/rsa-2048.pem");
        Self::Rsa(rsa::pkcs1v15::SigningKey::new(rsa::RsaPrivateKey::from_pkcs8_pem(pem).unwrap()))
    }

    fn spki(&self) -> SubjectPublicKeyInfoOwned {
        use signature::Keypair as _;
        match self {
            Self::Ec(key) => SubjectPublicKeyInfoOwned::from_key(key.verifying_key()).unwrap(),
            Self::Rsa(key) => SubjectPublicKeyInfoOwned::from_key(&key.verifying_key()).unwrap(),
        }
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_spki_der(&self.spki().to_der().unwrap()).unwrap()
    }
}

/// A certificate to be made.
#[derive(Clone)]
struct Plan {
    subject: &'static str,
    issuer: &'static str,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Plan {
    fn get_issuer(&self, _: &Name) -> Name {
        Name::from_str(&format!("CN={}", self.issuer)).unwrap()
    }

    fn get_subject(&self) -> Name {
        Name::from_str(&format!("CN={}", self.subject)).unwrap()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

impl Plan {
    fn new(subject: &'static str, issuer: &'static str, extensions: Vec<Extension>) -> Self {
        Self { subject, issuer, extensions }
    }

    /// Of a time that is long over.
    fn sign(&self, key: &Signer, by: &Signer) -> Vec<u8> {
        let past = |seconds| {
            x509_cert::time::Time::try_from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap()
        };
        let validity = Validity::new(past(0), past(1));
        let builder =
            CertificateBuilder::new(self.clone(), SerialNumber::from(7_u32), validity, key.spki()).unwrap();
        let certificate = match by {
            Signer::Ec(by) => builder.build::<_, DerSignature>(by),
            Signer::Rsa(by) => builder.build::<_, rsa::pkcs1v15::Signature>(by),
        };
        certificate.unwrap().to_der().unwrap()
    }
}

fn extension(oid: &str, value: &[u8]) -> Extension {
    let extn_value = OctetString::new(value).unwrap();
    Extension { extn_id: ObjectIdentifier::new(oid).unwrap(), critical: false, extn_value }
}

fn authority(below: u8) -> Vec<Extension> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: Some(below) };
    let mut one = extension("2.5.29.19", &constraints.to_der().unwrap());
    one.critical = constraints.criticality(&Name::default(), &[]);
    vec![one]
}

/// The extensions of a good statement.
fn said() -> Vec<Extension> {
    vec![
        extension("1.3.6.1.4.1.41482.3.3", &[5, 7, 1]),
        extension("1.3.6.1.4.1.41482.3.7", &SERIAL.to_der().unwrap()),
        extension("1.3.6.1.4.1.41482.3.8", &[2, 2]),
        extension("1.3.6.1.4.1.41482.3.9", &[0x83]),
    ]
}

const ROOT: &str = "Yubico PIV Root CA Serial 263751";
const DEVICE: &str = "Yubico PIV Attestation";
const SLOT: &str = "YubiKey PIV Attestation 9c";

/// A root, a device and a key in its slot 9c.
struct Lab {
    root: Signer,
    device: Signer,
    key: Signer,
    roots: Roots,
}

impl Lab {
    fn new() -> Self {
        let root = Signer::rsa();
        let mut roots = Roots::default();
        roots.add_pem(&pem(&Plan::new(ROOT, ROOT, authority(1)).sign(&root, &root))).unwrap();
        Self { root, device: Signer::ec(2), key: Signer::ec(3), roots }
    }

    fn given(&self) -> Given {
        self.given_saying(SLOT, said())
    }

    fn given_saying(&self, subject: &'static str, said: Vec<Extension>) -> Given {
        Given {
            slot: SlotId::default(),
            serial: SERIAL,
            statement: Plan::new(subject, DEVICE, said).sign(&self.key, &self.device),
            authority: Plan::new(DEVICE, ROOT, authority(0)).sign(&self.device, &self.root),
        }
    }

    fn check(&self, given: &Given) -> Result<Attestation, AttestationError> {
        check(given, &self.key.public(), &self.roots)
    }
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap()
}

#[test]
fn a_good_chain_tells_device_slot_and_policies_whatever_the_date() {
    let lab = Lab::new();
    let attestation = lab.check(&lab.given()).unwrap();
    assert_eq!(
        attestation,
        Attestation {
            serial: SERIAL,
            firmware: Firmware { major: 5, minor: 7, patch: 1 },
            slot: SlotId::default(),
            pin_policy: PinPolicy::Once,
            touch_policy: Touch::Always,
            form: Some("USB-C keychain, FIPS".to_owned()),
            root: ROOT.to_owned(),
        }
    );
}

#[test]
fn of_another_key_device_or_slot_it_is_refused() {
    let lab = Lab::new();
    let given = lab.given();
    assert_eq!(check(&given, &Signer::ec(9).public(), &lab.roots), Err(AttestationError::WrongKey));
    let other = Given { serial: 1, ..given.clone() };
    assert_eq!(lab.check(&other), Err(AttestationError::WrongSerial { attested: SERIAL, device: 1 }));
    let other = Given { slot: "9a".parse().unwrap(), ..given };
    assert_eq!(
        lab.check(&other),
        Err(AttestationError::WrongSlot { attested: SlotId::default(), slot: "9a".parse().unwrap() })
    );
}

#[test]
fn a_root_that_is_not_trusted_is_named() {
    let lab = Lab::new();
    assert_eq!(
        check(&lab.given(), &lab.key.public(), &Roots::yubico()),
        Err(AttestationError::BrokenSignature { subject: DEVICE.to_owned(), issuer: ROOT.to_owned() }),
        "the name of Yubico's root is not its key"
    );
    assert_eq!(
        check(&lab.given(), &lab.key.public(), &Roots::default()),
        Err(AttestationError::UnknownRoot { issuer: ROOT.to_owned() })
    );
}

#[test]
fn a_key_of_the_device_that_is_no_authority_can_attest_nothing() {
    let lab = Lab::new();
    // The owner of a genuine device signs, by a key in one of its slots, a statement about a key of his own.
    let genuine = lab.given();
    let forged = Signer::ec(8);
    let statement = Plan::new(SLOT, SLOT, said()).sign(&forged, &lab.key);
    let given = Given { statement, authority: genuine.statement, ..genuine };
    assert!(matches!(
        check(&given, &forged.public(), &lab.roots),
        Err(AttestationError::NotAnAuthority { subject, .. }) if subject == SLOT
    ));
}

#[test]
fn an_authority_may_have_no_more_below_it_than_it_says() {
    let lab = Lab::new();
    let mut roots = lab.roots.clone();
    let between = Signer::ec(5);
    roots.add_pem(&pem(&Plan::new("Between", ROOT, authority(0)).sign(&between, &lab.root))).unwrap();
    let authority = Plan::new(DEVICE, "Between", authority(0)).sign(&lab.device, &between);
    let given = Given { authority, ..lab.given() };
    assert!(matches!(
        check(&given, &lab.key.public(), &roots),
        Err(AttestationError::NotAnAuthority { subject, .. }) if subject == "Between"
    ));
}

#[test]
fn a_chain_by_way_of_intermediates_is_found_and_a_circle_ends() {
    let root = Signer::ec(1);
    let (a, b, device, key) = (Signer::ec(4), Signer::ec(5), Signer::rsa(), Signer::ec(7));
    let mut roots = Roots::default();
    let text = [
        Plan::new("Root", "Root", authority(3)).sign(&root, &root),
        Plan::new("A", "Root", authority(2)).sign(&a, &root),
        Plan::new("B", "A", authority(1)).sign(&b, &a),
        // Crosswise: a search that follows names alone would not end.
        Plan::new("A", "B", authority(9)).sign(&a, &b),
    ];
    roots.add_pem(&text.iter().map(|der| pem(der)).collect::<String>()).unwrap();
    let given = Given {
        slot: SlotId::default(),
        serial: SERIAL,
        statement: Plan::new(SLOT, DEVICE, said()).sign(&key, &device),
        authority: Plan::new(DEVICE, "B", authority(0)).sign(&device, &b),
    };
    assert_eq!(check(&given, &key.public(), &roots).unwrap().root, "Root");
    let lost = Given { authority: Plan::new(DEVICE, "C", authority(0)).sign(&device, &b), ..given };
    assert_eq!(
        check(&lost, &key.public(), &roots),
        Err(AttestationError::UnknownRoot { issuer: "C".to_owned() })
    );
}

#[test]
fn a_changed_byte_breaks_it() {
    let lab = Lab::new();
    let given = lab.given();
    for at in (0..given.statement.len()).step_by(3) {
        let mut bent = given.clone();
        bent.statement[at] ^= 1;
        assert!(lab.check(&bent).is_err(), "byte {at}");
    }
    let mut bent = given;
    let last = bent.authority.len() - 1;
    bent.authority[last] ^= 1;
    assert!(
        matches!(lab.check(&bent), Err(AttestationError::BrokenSignature { subject, .. }) if subject == DEVICE)
    );
}

#[test]
fn only_the_statement_of_a_piv_key_counts() {
    let lab = Lab::new();
    for subject in
        ["YubiKey OPGP Attestation SIG", "YubiKey PIV Attestation", "YubiKey PIV Attestation 9c0", "x"]
    {
        let error = lab.check(&lab.given_saying(subject, said())).unwrap_err();
        assert_eq!(error.word(), "not-an-attestation", "{subject}: {error}");
    }
}

#[test]
fn what_it_must_say_is_missing_or_odd() {
    let lab = Lab::new();
    let with = |oid: &str, value: Option<&[u8]>| {
        let oid = format!("1.3.6.1.4.1.41482.3.{oid}");
        let mut said = said();
        said.retain(|one| one.extn_id.to_string() != oid);
        said.extend(value.map(|value| extension(&oid, value)));
        lab.check(&lab.given_saying(SLOT, said))
    };
    let odd: [(&str, Option<&[u8]>); 9] = [
        ("3", None),
        ("3", Some(&[5, 7])),
        ("7", None),
        ("7", Some(&[2, 5, 1, 0, 0, 0, 0])),
        ("7", Some(&[])),
        ("8", None),
        ("8", Some(&[2, 9])),
        ("8", Some(&[0, 1])),
        ("9", Some(&[])),
    ];
    for (oid, value) in odd {
        let error = with(oid, value).unwrap_err();
        assert_eq!(error.word(), "extension", "{oid} {value:?}: {error}");
    }
    assert_eq!(with("9", None).unwrap().form, None, "older firmware does not tell");
    let twice = said().into_iter().chain([extension("1.3.6.1.4.1.41482.3.8", &[1, 1])]).collect();
    assert_eq!(lab.check(&lab.given_saying(SLOT, twice)).unwrap_err().word(), "unreadable");
}

#[test]
fn yubicos_certificates_are_those_of_the_table_and_each_is_signed_by_one_above_it() {
    let roots = Roots::yubico();
    assert_eq!(roots.names(), [ROOT, "Yubico Attestation Root 1"]);
    assert_eq!(roots.intermediates().len(), 5);
    for one in roots.intermediates() {
        assert_eq!(path::climb(one, one, &roots).unwrap().subject(), "Yubico Attestation Root 1");
    }
    let table = include_str!("roots/README.md");
    let files = [
        include_str!("roots/yubico-piv-root-ca-263751.pem"),
        include_str!("roots/yubico-attestation-root-1.pem"),
        include_str!("roots/yubico-piv-intermediates.pem"),
    ];
    let mut count = 0;
    for block in files.iter().flat_map(|file| file.split_inclusive("-----END CERTIFICATE-----\n")) {
        let (_, der) = der::pem::decode_vec(block.as_bytes()).unwrap();
        assert!(table.contains(&hex::encode(sha2::Sha256::digest(der))), "{block}");
        count += 1;
    }
    assert_eq!(count, table.matches("| Yubico ").count());
}

/// What YubiKey 15938765 says of the key in its slot 9c (vectors/attestation/README.md).
fn real() -> (Given, PublicKey) {
    let der = |pem: &str| der::pem::decode_vec(pem.as_bytes()).unwrap().1;
    let statement = der(include_str!("../../tests/vectors/attestation/15938765-9c.pem"));
    let authority = der(include_str!("../../tests/vectors/attestation/15938765-f9.pem"));
    let own: x509_cert::Certificate = der::Decode::from_der(&statement).unwrap();
    let spki = own.tbs_certificate().subject_public_key_info().to_der().unwrap();
    let given = Given { slot: SlotId::default(), serial: 15_938_765, statement, authority };
    (given, PublicKey::from_spki_der(&spki).unwrap())
}

#[test]
fn what_a_real_yubikey_says_is_believed_by_yubicos_root() {
    let (given, key) = real();
    assert_eq!(
        check(&given, &key, &Roots::yubico()),
        Ok(Attestation {
            serial: 15_938_765,
            firmware: Firmware { major: 5, minor: 2, patch: 7 },
            slot: SlotId::default(),
            pin_policy: PinPolicy::Always,
            touch_policy: Touch::Always,
            form: Some("USB-C keychain".to_owned()),
            root: ROOT.to_owned(),
        })
    );
}

#[test]
fn what_a_real_yubikey_says_is_of_its_own_key_and_device_and_of_no_other() {
    let (given, key) = real();
    let yubico = Roots::yubico();
    let says = |given: &Given, key: &PublicKey, roots: &Roots| check(given, key, roots).unwrap_err();
    assert_eq!(says(&given, &Signer::ec(9).public(), &yubico), AttestationError::WrongKey);
    let other = Given { serial: SERIAL, ..given.clone() };
    assert_eq!(
        says(&other, &key, &yubico),
        AttestationError::WrongSerial { attested: 15_938_765, device: SERIAL }
    );
    assert_eq!(says(&given, &key, &Roots::default()).word(), "unknown-root");
    // Another device of the same name has not signed it.
    let lab = Lab::new();
    let mixed = Given { authority: lab.given().authority, ..given.clone() };
    assert_eq!(says(&mixed, &key, &lab.roots).word(), "broken-signature");
    for at in (0..given.statement.len()).step_by(7) {
        let mut bent = given.clone();
        bent.statement[at] ^= 1;
        assert!(check(&bent, &key, &yubico).is_err(), "byte {at}");
    }
}

#[test]
fn a_file_of_roots_that_is_none_is_refused_whole() {
    let mut roots = Roots::default();
    for text in [
        "",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(roots.add_pem(text).is_err(), "{text:?}");
    }
    // It has the names of a root, and another has signed it.
    let forged = pem(&Plan::new(ROOT, ROOT, authority(1)).sign(&Signer::ec(1), &Signer::ec(2)));
    assert!(roots.add_pem(&forged).is_err());
    assert!(roots.names().is_empty());
}

#[test]
fn firmware_before_5_7_has_the_advisory() {
    let of = |major, minor, patch| Firmware { major, minor, patch }.advisory().is_some();
    assert!(of(5, 4, 3) && of(5, 6, 9) && of(4, 3, 7));
    assert!(!of(5, 7, 0) && !of(5, 7, 4) && !of(6, 0, 0));
    assert_eq!(Firmware::parse("5.7.1"), Some(Firmware { major: 5, minor: 7, patch: 1 }));
    assert!(["", "5.7", "5.7.1.2", "5.7.300"].iter().all(|text| Firmware::parse(text).is_none()));
}

proptest! {
    #[test]
    fn whatever_a_card_gives_nothing_breaks(statement: Vec<u8>, authority: Vec<u8>, cut in 0_usize..900, at in 0_usize..900, byte: u8) {
        let lab = Lab::new();
        let good = lab.given();
        let mut bent = good.clone();
        bent.statement.truncate(cut);
        if let Some(place) = bent.statement.get_mut(at) {
            *place = byte;
        }
        let other = Given { statement, ..good.clone() };
        prop_assert!(lab.check(&other).is_err());
        let other = Given { authority, ..good.clone() };
        prop_assert!(lab.check(&other).is_err());
        prop_assert!(bent.statement == good.statement || lab.check(&bent).is_err());
    }
}
