//! Files of strangers: whatever bytes lie there, an error or the key, never a panic, and nothing is rewritten.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64ct::{Base64, Encoding as _};
use proptest::prelude::*;
use secmem::SecretBytes;
use tuf::key::KeyType;
use tufagent_backend::filestore::FileStore;
use tufagent_backend::import::parse_private_key;
use tufagent_backend::{Backend as _, ImportError, Opener, Sealer, TokenState};

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

/// Replaces some bytes by words of the formats, which gets deeper into the readers than noise does.
fn changed(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"",
        b"\n",
        b"\0",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----END PRIVATE KEY-----",
        b"@@@@",
        b"{",
        b"\"",
        b"AAAA",
        b"====",
        b"-1",
        b"99999999999",
        b"\xff\xfe",
        b":",
        b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n",
    ];
    let change = (any::<prop::sample::Index>(), 0_usize..6, prop::sample::select(words), any::<u8>());
    prop::collection::vec(change, 1..4).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, length, word, byte) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            let new = if byte % 2 == 0 { word.to_vec() } else { vec![byte] };
            bytes.splice(at..end, new);
        }
        bytes
    })
}

/// Small files of every kind that is read.
fn key_files() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/import");
    let names = [
        "ed25519.pem",
        "ecdsa-p256.pem",
        "ecdsa-p256.traditional.pem",
        "ecdsa-p256.traditional-aes-128-cbc.pem",
        "ed25519.pbkdf2-aes256.pem",
        "ed25519.scrypt-aes256.pem",
        "rsa-2048.traditional.pem",
        "securesystemslib-0.28-ed25519.json",
        "securesystemslib-0.28-ed25519.encrypted.key",
        "securesystemslib-0.28-ecdsa-p256.json",
    ];
    names.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

/// Without a passphrase: what is encrypted is read as far as its key derivation, which is judged and not run.
fn import(bytes: Vec<u8>) {
    let file = SecretBytes::take_from(bytes);
    match parse_private_key(&file, None) {
        Ok(key) => assert!(key.to_pkcs8_der().is_ok()),
        Err(error) => assert!(!error.to_string().is_empty() && !error.remedy().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_private_key(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        import(bytes.clone());
        let pem = |label: &str| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(&bytes))
        };
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            import(pem(label).into_bytes());
        }
    }

    #[test]
    fn a_damaged_key_file_is_a_key_or_an_error(
        bytes in prop::sample::select(key_files()).prop_flat_map(changed),
    ) {
        import(bytes);
    }

    #[test]
    fn der_that_is_damaged_within_its_armour_is_a_key_or_an_error(
        file in prop::sample::select(key_files().into_iter().filter(|f| f.starts_with(b"-----")).collect::<Vec<_>>()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let text = String::from_utf8(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let body: String = lines.iter().filter(|line| !line.contains("-----")).copied().collect();
        // The old encryption has headers, which are no Base64: those files are damaged as text above.
        if let Ok(mut der) = Base64::decode_vec(&body) {
            for (at, byte) in changes {
                let at = at.index(der.len());
                der[at] = byte;
            }
            let (first, last) = (lines[0], lines[lines.len() - 1]);
            import(format!("{first}\n{}\n{last}\n", Base64::encode_string(&der)).into_bytes());
        }
    }
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head, content].concat()
}

fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    let sign: &[u8] = if bytes[zeros] > 0x7f { &[0] } else { &[] };
    tlv(2, &[sign, &bytes[zeros..]])
}

/// An encrypted PKCS#8 file (RFC 8018) whose key derivation is `oid` with `parameters` after a salt.
fn encrypted(oid: &[u8], parameters: &[&[u8]]) -> SecretBytes {
    const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
    const AES256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
    let salted = tlv(0x30, &[&tlv(4, &[&[7; 8]]), &parameters.concat()]);
    let derivation = tlv(0x30, &[&tlv(6, &[oid]), &salted]);
    let cipher = tlv(0x30, &[&tlv(6, &[AES256_CBC]), &tlv(4, &[&[0; 16]])]);
    let scheme = tlv(0x30, &[&tlv(6, &[PBES2]), &tlv(0x30, &[&derivation, &cipher])]);
    let body = Base64::encode_string(&tlv(0x30, &[&scheme, &tlv(4, &[&[0; 48]])]));
    let label = "ENCRYPTED PRIVATE KEY";
    SecretBytes::take_from(format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes())
}

fn scrypt(cost: u64, block: u64, lanes: u64) -> SecretBytes {
    const SCRYPT: &[u8] = &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 4, 11];
    encrypted(SCRYPT, &[&integer(cost), &integer(block), &integer(lanes)])
}

fn pbkdf2(rounds: u64) -> SecretBytes {
    const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
    const HMAC_SHA256: &[u8] = &[0x30, 12, 6, 8, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9, 5, 0];
    encrypted(PBKDF2, &[&integer(rounds), HMAC_SHA256])
}

#[test]
fn a_key_derivation_with_senseless_or_hostile_parameters_is_refused() {
    let parse = |file| parse_private_key(&file, Some(&secret("x"))).unwrap_err();
    // The files are well made: with ordinary numbers the passphrase is tried.
    assert_eq!(parse(scrypt(2, 1, 1)), ImportError::PassphraseWrong);
    assert_eq!(parse(pbkdf2(1)), ImportError::PassphraseWrong);
    let hostile = [
        scrypt(0, 8, 1),
        scrypt(1, 8, 1),
        scrypt(3, 8, 1),
        scrypt(1 << 63, 8, 1),
        scrypt(u64::MAX, 8, 1),
        scrypt(1 << 63, 0, 1),
        scrypt(2, 8, 0),
        scrypt(1 << 20, 8, 16),
        scrypt(1 << 8, 65535, 65535),
        pbkdf2(0),
        pbkdf2(20_000_001),
        pbkdf2(u64::from(u32::MAX)),
    ];
    for (at, file) in hostile.into_iter().enumerate() {
        let error = parse(file);
        assert!(matches!(error, ImportError::UnsupportedEncryption { .. }), "file {at}: {error:?}");
    }
}

/// The files of a store with two keys.
fn store_files() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let state = tempfile::tempdir().unwrap();
        let store = FileStore::open(state.path(), "file".parse().unwrap());
        store.unlock(&secret("right")).unwrap();
        store.generate(&"a".parse().unwrap(), KeyType::Ed25519).unwrap();
        store.generate(&"b".parse().unwrap(), KeyType::EcdsaP256).unwrap();
        contents(&state.path().join("keys"))
    })
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

fn lay_out(state: &Path, files: &BTreeMap<String, Vec<u8>>) -> PathBuf {
    let keys = state.join("keys");
    fs::DirBuilder::new().mode(0o700).create(&keys).unwrap();
    for (name, bytes) in files {
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(keys.join(name)).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }
    keys
}

/// Opens such a folder and asks everything that needs no passphrase.
fn open_store(files: &BTreeMap<String, Vec<u8>>) {
    let state = tempfile::tempdir().unwrap();
    let keys = lay_out(state.path(), files);
    let store = FileStore::open(state.path(), "file".parse().unwrap());
    let failed = store.info().state == TokenState::Failed;
    match store.keys() {
        Ok(known) => assert!(!failed && known.len() <= files.len()),
        Err(error) => assert!(failed && !error.remedy().is_empty(), "{error}"),
    }
    if failed {
        assert!(store.unlock(&secret("right")).is_err());
    }
    assert_eq!(&contents(&keys), files, "what lies there stays");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_folder_with_noise_is_a_store_or_an_error(
        name in prop::sample::select(vec!["store", "a.key", "new.key", "B\u{e4}.key", ".key", "a.key.tmp", "attempts", "x"]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        alone in any::<bool>(),
    ) {
        let mut files = if alone { BTreeMap::new() } else { store_files().clone() };
        files.insert(name.to_owned(), bytes);
        open_store(&files);
    }

    #[test]
    fn a_damaged_store_is_an_error_and_stays_as_it_is(
        (name, bytes) in prop::sample::select(vec!["store", "a.key", "b.key"])
            .prop_flat_map(|name| (Just(name), changed(store_files()[name].clone()))),
    ) {
        let mut files = store_files().clone();
        files.insert(name.to_owned(), bytes);
        open_store(&files);
    }

    #[test]
    fn key_files_that_changed_places_are_an_error(swap in prop::sample::select(vec![("a.key", "b.key"), ("store", "a.key")])) {
        let mut files = store_files().clone();
        let (one, two) = (files[swap.0].clone(), files[swap.1].clone());
        files.extend([(swap.0.to_owned(), two), (swap.1.to_owned(), one)]);
        open_store(&files);
    }
}

/// A container with a few bytes, sealed once.
fn container() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut sealer = Sealer::new(Vec::new(), &secret("right")).unwrap();
        std::io::Write::write_all(&mut sealer, b"what is kept").unwrap();
        sealer.finish().unwrap()
    })
}

fn open_container(bytes: &[u8]) {
    let mut plain = Vec::new();
    let read = Opener::new(bytes, &secret("right")).map(|mut opener| opener.read_to_end(&mut plain));
    if matches!(read, Ok(Ok(_))) {
        assert_eq!(plain, b"what is kept");
        assert_eq!(bytes, container());
    }
}

proptest! {
    // Each one that has its header costs a derivation.
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_backup_never_opens_as_something_else(
        noise in prop::collection::vec(any::<u8>(), 0..500),
        damaged in changed(container().to_vec()),
        at in any::<prop::sample::Index>(),
    ) {
        let header = container().iter().position(|byte| *byte == b'\n').unwrap() + 1;
        open_container(&noise);
        open_container(&damaged);
        open_container(&container()[..at.index(container().len())]);
        open_container(&[&container()[..header], &noise].concat());
    }
}

#[test]
fn a_backup_that_asks_for_a_hostile_derivation_is_refused_at_once() {
    let end = container().iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = std::str::from_utf8(&container()[..end]).unwrap();
    for (name, values) in
        [("memory_kib", ["0", "4294967295"]), ("passes", ["0", "4294967295"]), ("lanes", ["0", "4294967295"])]
    {
        for value in values {
            let (before, after) = header.split_once(&format!("\"{name}\":")).unwrap();
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            let file = [format!("{before}\"{name}\":{value}{rest}").as_bytes(), &container()[end..]].concat();
            assert!(Opener::new(file.as_slice(), &secret("right")).is_err(), "{name} {value}");
        }
    }
}
