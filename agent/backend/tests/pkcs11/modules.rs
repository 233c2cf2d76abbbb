//! Real modules beside SoftHSM: each keeps what every backend keeps, as far as it can, and its signatures verify.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use backend::conformance::{Ask, Subject};
use backend::pkcs11::{Asking, Pkcs11Token};
use backend::{Backend, BackendError, TokenState};
use softhsm::{Skipped, third_party_dir};
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::Case;
use crate::lab::{PIN, secret, start};
use crate::real::{KRYOPTIC, Module, NSS, P11_KIT, SOFTHSM, TPM2, config_of, need};

pub const CASES: &[Case] = &[
    ("softhsm_keeps_what_every_backend_keeps", || conformance(&SOFTHSM)),
    ("nss_keeps_what_every_backend_keeps", || conformance(&NSS)),
    ("p11_kit_remote_keeps_what_every_backend_keeps", || conformance(&P11_KIT)),
    ("tpm2_keeps_what_every_backend_keeps", || conformance(&TPM2)),
    ("kryoptic_keeps_what_every_backend_keeps", || conformance(&KRYOPTIC)),
    ("a_tpm_locks_after_wrong_pins_and_says_so", || locks(&TPM2, 3, false)),
    ("kryoptic_locks_after_wrong_pins_and_says_so", || locks(&KRYOPTIC, 9, true)),
    ("ten_thousand_ed25519_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::Ed25519)),
    ("ten_thousand_p256_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::EcdsaP256)),
    ("ten_thousand_p384_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::EcdsaP384)),
    ("ten_thousand_rsa_signatures_of_softhsm_verify", || signatures(&SOFTHSM, KeyType::Rsa3072)),
    ("thousands_of_signatures_of_nss_verify", || all_signatures(&NSS)),
    ("thousands_of_signatures_of_p11_kit_remote_verify", || all_signatures(&P11_KIT)),
    ("thousands_of_signatures_of_tpm2_verify", || all_signatures(&TPM2)),
    ("thousands_of_signatures_of_kryoptic_verify", || all_signatures(&KRYOPTIC)),
];

fn conformance(module: &Module) {
    let dir = tempfile::tempdir().unwrap();
    let Some(ready) = module.made(dir.path()) else { return };
    let token = start(config_of(&ready, module.name));
    // All that follows is done within its own folders, where the kernel can see to it.
    let info = token.info();
    let gap = info.unconfined.as_deref().unwrap_or_default();
    assert!(info.confined == Some(true) || gap.contains("kernel"), "{info:?}");
    Subject {
        backend: &token,
        secret: secret(PIN),
        wrong_secret: secret("wrong-pin"),
        generates: module.generates,
        imports: module.imports,
        cannot: module.cannot,
        proves_origin: module.proves_origin,
        wrong_secrets: module.wrong_pins,
        signatures: 20,
    }
    .run();
}

/// A token that bears so many wrong PINs then refuses the right one too, and that is told apart from a wrong one. Where it
/// tells that one try is left, no attempt is made unless that is said to be meant.
fn locks(module: &Module, bears: usize, tells_the_last: bool) {
    let dir = tempfile::tempdir().unwrap();
    let Some(ready) = module.made(dir.path()) else { return };
    let token = start(config_of(&ready, module.name));
    token.unlock(&secret(PIN)).unwrap();
    for nth in 1..=bears {
        let left = (tells_the_last && nth == bears).then_some(1);
        let wrong = token.unlock(&secret("wrong-pin")).unwrap_err();
        assert!(
            matches!(wrong, BackendError::SecretIncorrect { tries_left, .. } if tries_left == left),
            "{nth}: {wrong:?}"
        );
        assert_eq!(token.info().state, TokenState::Locked);
    }
    if tells_the_last {
        let kept = token.unlock(&secret(PIN)).unwrap_err();
        assert!(matches!(kept, BackendError::LastTry { tries_left: Some(1) }), "{kept:?}");
        insist(&token, "wrong-pin").unwrap_err();
    }
    for _ in 0..2 {
        let blocked = token.unlock(&secret(PIN)).unwrap_err();
        assert!(matches!(blocked, BackendError::Blocked), "{blocked:?}");
        assert_eq!(token.info().state, TokenState::Blocked);
    }
    let blocked = insist(&token, PIN).unwrap_err();
    assert!(matches!(blocked, BackendError::Blocked), "{blocked:?}");
}

/// As a person does who says `--last-try`.
fn insist(token: &Pkcs11Token, pin: &str) -> Result<(), BackendError> {
    let asking = Asking { last_try: true, ..Asking::default() };
    token.present(&secret(pin), &asking).result
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
    let Some(ready) = module.made(dir.path()) else { return };
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

fn python() -> Option<PathBuf> {
    let python = third_party_dir().map(|dir| dir.join("venv/bin/python"));
    let missing = || Skipped::new("python is not there", "cargo xtask test (it wants python3-venv)");
    let there = python.and_then(|python| if python.exists() { Ok(python) } else { Err(missing()) });
    need(there, "TUFAGENT_REQUIRE_ALL")
}
