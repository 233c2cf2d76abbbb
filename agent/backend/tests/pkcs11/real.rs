//! Real modules, and what was measured of each.

use std::path::Path;
use std::time::Duration;

use backend::conformance::Ask;
use backend::pkcs11::{Limits, ModuleDigest, Pkcs11Config};
use softhsm::{Kryoptic, Nss, P11Kit, Ready, Skipped, SoftHsm, Tpm2, third_party_dir};
use tuf::key::KeyType;

use crate::lab::PIN;

/// A module, and what was measured of it.
pub struct Module {
    pub name: &'static str,
    pub make: fn(&Path) -> Result<Ready, Skipped>,
    pub generates: &'static [KeyType],
    pub imports: &'static [KeyType],
    pub cannot: &'static [Ask],
    /// Whether it says of a key all that a role may demand (FAULTS D9).
    pub proves_origin: bool,
    /// The types by which it signs, but not everything, or whether it does is not known.
    pub limited: &'static [KeyType],
    /// How many wrong PINs it bears at a time.
    pub wrong_pins: usize,
    /// How many signatures of a type are made, unless `TUFAGENT_SIGNATURES` says so.
    pub signatures: fn(KeyType) -> usize,
}

const NIST: &[KeyType] = &[KeyType::EcdsaP256, KeyType::EcdsaP384];
const NIST_AND_RSA: &[KeyType] = &[KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072];
const ALL: &[KeyType] = &[KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072];

pub const SOFTHSM: Module = Module {
    name: "softhsm",
    make: |dir| {
        let folder = SoftHsm::find_or_fetch()?.folder(dir)?;
        let token = folder.init_token("lab", SO_PIN, PIN)?;
        Ok(folder.ready(&token))
    },
    generates: ALL,
    imports: ALL,
    cannot: &[],
    proves_origin: true,
    limited: &[],
    wrong_pins: usize::MAX,
    signatures: |_| 10_000,
};

pub const NSS: Module = Module {
    name: "nss",
    make: |dir| Nss::find_or_fetch_in(&third_party_dir()?)?.token(dir, "lab", PIN),
    generates: NIST_AND_RSA,
    imports: NIST_AND_RSA,
    cannot: &[Ask::Generate(KeyType::Ed25519), Ask::Import(KeyType::Ed25519)],
    // It says false to CKA_LOCAL whatever the key.
    proves_origin: false,
    limited: &[],
    wrong_pins: usize::MAX,
    // Its RSA takes 35 ms.
    signatures: |kind| match kind {
        KeyType::EcdsaP256 => 10_000,
        KeyType::EcdsaP384 => 1_000,
        _ => 100,
    },
};

pub const P11_KIT: Module = Module {
    name: "p11-kit",
    make: |dir| P11Kit::find_or_fetch_in(&third_party_dir()?)?.token(dir, "lab", SO_PIN, PIN),
    generates: NIST_AND_RSA,
    imports: NIST_AND_RSA,
    // It hides Ed25519. Of PSS it passes on the form that signs a digest, and the helper finds that.
    cannot: &[Ask::Generate(KeyType::Ed25519), Ask::Import(KeyType::Ed25519)],
    proves_origin: true,
    limited: &[],
    wrong_pins: usize::MAX,
    signatures: |kind| if kind == KeyType::EcdsaP256 { 10_000 } else { 1_000 },
};

pub const TPM2: Module = Module {
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
    proves_origin: true,
    // What it answers to PSS, CKR_GENERAL_ERROR, says nothing of that.
    limited: &[KeyType::Rsa3072],
    wrong_pins: 2,
    signatures: |_| 1_000,
};

/// The one beside SoftHSM with Ed25519, and one that locks for good. Built when asked for alone.
pub const KRYOPTIC: Module = Module {
    name: "kryoptic",
    make: |dir| Kryoptic::find_in(&third_party_dir()?)?.token(dir, "lab", SO_PIN, PIN),
    generates: ALL,
    imports: ALL,
    cannot: &[],
    proves_origin: true,
    // Not of more than some hundred thousand bytes.
    limited: &[KeyType::Ed25519],
    wrong_pins: 9,
    signatures: |kind| match kind {
        KeyType::EcdsaP256 | KeyType::Ed25519 => 10_000,
        KeyType::EcdsaP384 => 1_000,
        _ => 500,
    },
};

impl Module {
    /// A token of its own in `dir`, with the PIN [`PIN`]; nothing where the module cannot be had.
    pub fn made(&self, dir: &Path) -> Option<Ready> {
        let variable = if self.name == KRYOPTIC.name { "TUFAGENT_KRYOPTIC" } else { "TUFAGENT_REQUIRE_ALL" };
        need((self.make)(dir), variable)
    }
}

pub fn config_of(ready: &Ready, name: &str) -> Pkcs11Config {
    Pkcs11Config {
        name: name.parse().unwrap(),
        module: ready.module.clone(),
        label: Some(ready.label.clone()),
        serial: None,
        uri: None,
        env: ready.env.clone(),
        reserved: ready.reserved.clone(),
        limits: Limits { paths: Some(ready.paths.clone()), network: Some(false) },
        digest: ModuleDigest::Any,
        profiles: None,
        sessions: 1,
        deadline: Duration::from_secs(20),
    }
}

/// What was asked for, or nothing after a loud line; where the variable is set, missing is failing.
pub fn need<T>(thing: Result<T, Skipped>, required_by: &str) -> Option<T> {
    thing
        .inspect_err(|skipped| {
            assert!(std::env::var_os(required_by).is_none(), "required, and missing: {skipped}");
            println!("SKIPPED: {skipped}");
        })
        .ok()
}

const SO_PIN: &str = "so-12345678";
