//! Key files as OpenSSL, OpenSSH, cryptography and securesystemslib write them.
//!
//! `vectors/import/make.sh` made the files; the fingerprints in the manifest are OpenSSL's and
//! cryptography's word on the public keys.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::PathBuf;

use secmem::SecretBytes;
use tufagent_backend::ImportError;
use tufagent_backend::import::parse_private_key;

#[test]
fn every_key_file_gives_its_key_or_its_error() {
    let vectors = vectors();
    assert!(vectors.len() > 80, "{}", vectors.len());
    for Vector { name, file, expected, passphrase, fingerprint } in vectors {
        match parse_private_key(&file, passphrase.as_ref()) {
            Ok(key) => {
                assert_eq!(key.key_type().to_string(), expected, "{name}");
                assert_eq!(key.public().fingerprint().to_string(), fingerprint, "{name}");
            }
            Err(error) => {
                assert_eq!(variant(&error), expected, "{name}: {error}");
                assert!(!error.remedy().is_empty());
            }
        }
    }
}

#[test]
fn an_encrypted_file_asks_for_its_passphrase_and_tells_a_wrong_one() {
    let wrong = SecretBytes::copy_from(b"wrong");
    for Vector { name, file, .. } in good(|v| v.passphrase.is_some()) {
        let without = parse_private_key(&file, None).unwrap_err();
        assert_eq!(without, ImportError::PassphraseNeeded, "{name}");
        let with_wrong = parse_private_key(&file, Some(&wrong)).unwrap_err();
        assert_eq!(with_wrong, ImportError::PassphraseWrong, "{name}");
    }
}

#[test]
fn a_passphrase_for_a_plain_file_is_not_used() {
    let unused = SecretBytes::copy_from(b"unused");
    for Vector { name, file, .. } in good(|v| v.passphrase.is_none() && v.name.contains("ed25519")) {
        assert!(parse_private_key(&file, Some(&unused)).is_ok(), "{name}");
    }
}

#[test]
fn damaged_files_never_panic() {
    // The cheap ones: no key derivation.
    for Vector { name, file, passphrase, .. } in
        good(|v| v.passphrase.is_none() || v.name.contains("traditional"))
    {
        let bytes = file.reveal_secret_bytes();
        for at in (0..bytes.len()).step_by(7) {
            let _ = parse_private_key(&SecretBytes::copy_from(&bytes[..at]), passphrase.as_ref());
            let mut changed = bytes.to_vec();
            changed[at] ^= 3;
            let parsed = parse_private_key(&SecretBytes::take_from(changed), passphrase.as_ref());
            let shown = format!("{parsed:?}");
            assert!(shown.len() < 3000, "{name}: {shown}");
        }
    }
}

#[test]
fn a_hostile_key_derivation_is_refused_before_it_costs_anything() {
    let passphrase = SecretBytes::copy_from(b"x");
    let hostile = format!("00@@@@{}@@@@00@@@@00@@@@00", u32::MAX);
    let error =
        parse_private_key(&SecretBytes::copy_from(hostile.as_bytes()), Some(&passphrase)).unwrap_err();
    assert!(matches!(error, ImportError::UnsupportedEncryption { .. }), "{error}");
    for file in [SCRYPT_2_POW_40, PBKDF2_ENDLESS] {
        let error =
            parse_private_key(&SecretBytes::copy_from(file.as_bytes()), Some(&passphrase)).unwrap_err();
        assert!(matches!(error, ImportError::UnsupportedEncryption { .. }), "{error:?}");
    }
}

#[test]
fn what_is_no_key_at_all_says_so() {
    let parse = |bytes: &[u8]| parse_private_key(&SecretBytes::copy_from(bytes), None).unwrap_err();
    for bytes in [&b""[..], b"hello", b"\xff\xfe\x00", b"{}", b"{\"keytype\": 1}", b"[]", b"{", b"\0\0\0"] {
        assert!(matches!(parse(bytes), ImportError::NotAKey { .. }), "{bytes:?}");
    }
    assert_eq!(parse(b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), ImportError::Damaged);
    assert_eq!(parse(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END OTHER-----\n"), ImportError::Damaged);
    assert_eq!(parse(b"@@@@"), ImportError::Damaged);
}

struct Vector {
    name: String,
    file: SecretBytes,
    expected: String,
    passphrase: Option<SecretBytes>,
    fingerprint: String,
}

fn vectors() -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/import");
    let manifest = fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let lines = manifest.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let [name, expected, passphrase, fingerprint] =
                <[&str; 4]>::try_from(line.split('\t').collect::<Vec<_>>()).unwrap();
            Vector {
                name: name.to_owned(),
                file: SecretBytes::take_from(fs::read(folder.join(name)).unwrap()),
                expected: expected.to_owned(),
                passphrase: (passphrase != "-").then(|| SecretBytes::copy_from(passphrase.as_bytes())),
                fingerprint: fingerprint.to_owned(),
            }
        })
        .collect()
}

/// Those that hold a key that can be used.
fn good(filter: impl Fn(&Vector) -> bool) -> Vec<Vector> {
    vectors().into_iter().filter(|v| v.fingerprint != "-" && filter(v)).collect()
}

fn variant(error: &ImportError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// A well-formed `EncryptedPrivateKeyInfo` whose scrypt asks for N = 2^40.
const SCRYPT_2_POW_40: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGPMFsGCSqGSIb3DQEFDTBOMC0GCSsGAQQB2kcECzAgBBABAQEBAQEBAQEBAQEB
AQEBAgYBAAAAAAACAQgCAQEwHQYJYIZIAWUDBAEqBBAAAAAAAAAAAAAAAAAAAAAA
BDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAA=
-----END ENCRYPTED PRIVATE KEY-----";

/// One whose PBKDF2 asks for 90 million rounds.
const PBKDF2_ENDLESS: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGVMGEGCSqGSIb3DQEFDTBUMDMGCSqGSIb3DQEFDDAmBBABAQEBAQEBAQEBAQEB
AQEBAgQFXUqAMAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBAAAAAAAAAAAAAA
AAAAAAAABDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAA=
-----END ENCRYPTED PRIVATE KEY-----";
