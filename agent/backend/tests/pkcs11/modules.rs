//! Real modules beside SoftHSM: each keeps what every backend keeps, as far as it can, and its signatures verify.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backend::Backend;
use backend::conformance::{Ask, Subject};
use backend::pkcs11::{ModuleDigest, Pkcs11Config, Pkcs11Token};
use softhsm::{Nss, P11Kit, Ready, Skipped, SoftHsm, Tpm2, third_party_dir};
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::Case;
use crate::lab::{PIN, secret, start};

pub const CASES: &[Case] = &[
    ("softhsm_keeps_what_every_backend_keeps", || conformance(&SOFTHSM)),
    ("nss_keeps_what_every_backend_keeps", || conformance(&NSS)),
    ("p11_kit_remote_keeps_what_every_backend_keeps", || conformance(&P11_KIT)),
    ("tpm2_keeps_what_every_backend_keeps", || conformance(&TPM2)),
    ("ten_thousand_ed25519_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::Ed25519)),
    ("ten_thousand_p256_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::EcdsaP256)),
    ("ten_thousand_p384_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::EcdsaP384)),
    ("ten_thousand_rsa_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::Rsa3072)),
    ("thousands_of_signatures_of_nss_verify", || all_signatures(&NSS)),
    ("thousands_of_signatures_of_p11_kit_remote_verify", || all_signatures(&P11_KIT)),
    ("thousands_of_signatures_of_tpm2_verify", || all_signatures(&TPM2)),
];

/// A module, and what was measured of it.
struct Module {
    name: &'static str,
    make: fn(&Path) -> Result<Ready, Skipped>,
    generates: &'static [KeyType],
    imports: &'static [KeyType],
    cannot: &'static [Ask],
    changes_pin: bool,
    /// How many wrong PINs it bears at a time.
    wrong_pins: usize,
    /// How many signatures of a type are made, unless `TUFAGENT_SIGNATURES` says so.
    signatures: fn(KeyType) -> usize,
}

const NIST: &[KeyType] = &[KeyType::EcdsaP256, KeyType::EcdsaP384];
const NIST_AND_RSA: &[KeyType] = &[KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072];
const ALL: &[KeyType] = &[KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072];

const SOFTHSM: Module = Module {
    name: "softhsm",
    make: |dir| {
        let folder = SoftHsm::find_or_fetch()?.folder(dir)?;
        let token = folder.init_token("lab", SO_PIN, PIN)?;
        Ok(folder.ready(&token))
    },
    generates: ALL,
    imports: ALL,
    cannot: &[],
    changes_pin: true,
    wrong_pins: usize::MAX,
    signatures: |_| 10_000,
};

const NSS: Module = Module {
    name: "nss",
    make: |dir| Nss::find_or_fetch_in(&third_party_dir()?)?.token(dir, "lab", PIN),
    generates: NIST_AND_RSA,
    imports: NIST_AND_RSA,
    cannot: &[Ask::Generate(KeyType::Ed25519), Ask::Import(KeyType::Ed25519)],
    changes_pin: true,
    wrong_pins: usize::MAX,
    // Its RSA takes 35 ms.
    signatures: |kind| match kind {
        KeyType::EcdsaP256 => 10_000,
        KeyType::EcdsaP384 => 1_000,
        _ => 100,
    },
};

const P11_KIT: Module = Module {
    name: "p11-kit",
    make: |dir| P11Kit::find_or_fetch_in(&third_party_dir()?)?.token(dir, "lab", SO_PIN, PIN),
    generates: NIST_AND_RSA,
    imports: NIST_AND_RSA,
    // It hides Ed25519. Of PSS it passes on the form that signs a digest, and the helper finds that.
    cannot: &[Ask::Generate(KeyType::Ed25519), Ask::Import(KeyType::Ed25519)],
    changes_pin: true,
    wrong_pins: usize::MAX,
    signatures: |kind| if kind == KeyType::EcdsaP256 { 10_000 } else { 1_000 },
};

const TPM2: Module = Module {
    name: "tpm2",
    make: |dir| Tpm2::find_or_fetch_in(&third_party_dir()?)?.token(dir, "lab", SO_PIN, PIN),
    generates: NIST,
    imports: &[],
    cannot: &[
        Ask::Generate(KeyType::Ed25519),
        Ask::Import(KeyType::Ed25519),
        Ask::Import(KeyType::EcdsaP256),
        Ask::Import(KeyType::EcdsaP384),
    ],
    changes_pin: true,
    wrong_pins: 2,
    signatures: |_| 1_000,
};

const SO_PIN: &str = "so-12345678";

fn conformance(module: &Module) {
    let dir = tempfile::tempdir().unwrap();
    let Some(ready) = made(module, dir.path()) else { return };
    let token = start(config_of(&ready, module.name));
    Subject {
        backend: &token,
        secret: secret(PIN),
        wrong_secret: secret("wrong-pin"),
        generates: module.generates,
        imports: module.imports,
        cannot: module.cannot,
        changes_secret: module.changes_pin,
        wrong_secrets: module.wrong_pins,
        signatures: 20,
    }
    .run();
}

fn all_signatures(module: &Module) {
    for kind in module.generates {
        signatures(module, *kind);
    }
}

/// Many signatures through the helper, verified by OpenSSL: those whose r or s is short are among them.
fn signatures(module: &Module, kind: KeyType) {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(ready) = made(module, dir.path()) else { return };
    let token = start(config_of(&ready, module.name));
    token.unlock(&secret(PIN)).unwrap();
    let key = token.generate(&kind.name().parse().unwrap(), kind).unwrap().public;
    let scheme = std::iter::once(kind.default_scheme()).chain(Scheme::ALL);
    let scheme =
        scheme.into_iter().find(|it| it.fits(kind) && !module.cannot.contains(&Ask::Sign(*it))).unwrap();
    let begun = std::time::Instant::now();
    let asked = std::env::var("TUFAGENT_SIGNATURES").ok().map(|count| count.parse().unwrap());
    let count = asked.unwrap_or((module.signatures)(kind));
    let list = dir.path().join("signatures");
    sign_many(&token, &key, scheme, count, &list);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracles/openssl_verify.py");
    let judged = Command::new(python).arg(script).arg(&list).output().unwrap();
    let said = String::from_utf8(judged.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{} {kind}: {complaint}", module.name);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["verified"], count, "{} {kind}", module.name);
    // One in 128 has one; a thousand without any would be a wonder of 1 in 2,500.
    if scheme.to_string().starts_with("ecdsa") && count >= 5_000 {
        assert!(
            said["short"].as_u64().unwrap() > 0,
            "{} {kind}: no r or s began with a zero: {said}",
            module.name
        );
    }
    println!("{} {kind}: {said} after {:?}", module.name, begun.elapsed());
}

fn sign_many(token: &Pkcs11Token, key: &PublicKey, scheme: Scheme, count: usize, list: &Path) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(list).unwrap());
    writeln!(file, "{scheme}\n{}", hex::encode(key.spki_der())).unwrap();
    for n in 0..count {
        let statement = Statement::new(StatementKind::Drill, &format!("number {n}"));
        let signature = token.sign(key, scheme, Signable::Statement(&statement)).unwrap();
        writeln!(file, "{} {}", hex::encode(statement.bytes()), hex::encode(signature.as_bytes())).unwrap();
    }
    file.flush().unwrap();
}

fn made(module: &Module, dir: &Path) -> Option<Ready> {
    need((module.make)(dir))
}

fn python() -> Option<PathBuf> {
    let python = third_party_dir().map(|dir| dir.join("venv/bin/python"));
    let missing = || Skipped::new("python is not there", "cargo xtask test (it wants python3-venv)");
    need(python.and_then(|python| if python.exists() { Ok(python) } else { Err(missing()) }))
}

/// What was asked for, or nothing after a loud line; with `TUFAGENT_REQUIRE_ALL` set, missing is failing.
fn need<T>(thing: Result<T, Skipped>) -> Option<T> {
    thing
        .inspect_err(|skipped| {
            assert!(std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(), "required, and missing: {skipped}");
            println!("SKIPPED: {skipped}");
        })
        .ok()
}

fn config_of(ready: &Ready, name: &str) -> Pkcs11Config {
    Pkcs11Config {
        name: name.parse().unwrap(),
        module: ready.module.clone(),
        label: Some(ready.label.clone()),
        serial: None,
        uri: None,
        env: ready.env.clone(),
        reserved: ready.reserved.clone(),
        digest: ModuleDigest::Any,
        profiles: None,
        deadline: Duration::from_secs(20),
    }
}
