//! The files of the store as types: `store` and `NAME.key`.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use secmem::SecretBytes;
use serde::{Deserialize, Serialize};
use tuf::key::PublicKey;
use tuf::time::UtcTime;

use super::envelope::{Envelope, EnvelopeError};
use super::kdf::{self, Cost, KdfError};
use super::{HeldKey, WORD, corrupt};
use crate::folder::Folder;
use crate::software::SoftwareKey;
use crate::{BackendError, KeyName, Origin, StoredKey};

/// The name of the file that holds the store key.
pub(super) const STORE: &str = "store";

/// All files of the store, read and found well-formed.
pub(super) struct StoreFiles {
    /// `None`: never used.
    pub(super) store: Option<StoreFile>,
    /// Sorted by name.
    pub(super) keys: Vec<KeyFile>,
}

/// The store key, under the passphrase.
pub(super) struct StoreFile {
    header: StoreHeader,
    envelope: Envelope,
}

/// The key under which key files are sealed.
pub(super) struct StoreKey {
    key: SecretBytes,
    /// The store that it belongs to, as its files name it.
    store: String,
}

/// One private key, under the store key.
pub(super) struct KeyFile {
    stored: StoredKey,
    envelope: Envelope,
}

/// The file name of the key `name`.
pub(super) fn key_file_name(name: &KeyName) -> String {
    format!("{name}{ENDING}")
}

/// Reads the whole folder. One file that cannot be used makes the store unusable, loudly, rather
/// than a key vanish quietly.
pub(super) fn read(folder: &Folder) -> Result<StoreFiles, BackendError> {
    let Some(open) = folder.open()? else { return Ok(StoreFiles { store: None, keys: Vec::new() }) };
    let path = folder.path().join(STORE);
    let store = open.read(STORE)?.map(|bytes| StoreFile::parse(&path, &bytes)).transpose()?;
    let mut keys = Vec::new();
    for file_name in open.names()? {
        let Some(stem) = file_name.strip_suffix(ENDING) else { continue };
        let path = folder.path().join(&file_name);
        let Some(store) = &store else {
            return Err(corrupt(&folder.path().join(STORE), "it is missing, but keys are there".to_owned()));
        };
        let Some(bytes) = open.read(&file_name)? else { continue };
        keys.push(KeyFile::parse(&path, stem, &store.header.store, &bytes)?);
    }
    check_distinct(folder, &keys)?;
    Ok(StoreFiles { store, keys })
}

impl StoreFile {
    /// A new store, and its key.
    pub(super) fn create(
        folder: &Folder,
        passphrase: &SecretBytes,
    ) -> Result<(Self, StoreKey), BackendError> {
        let path = folder.path().join(STORE);
        let key = SecretBytes::random(KEY_LEN).map_err(|e| BackendError::io(&path, "written", e))?;
        let key = StoreKey { key, store: hex::encode(random::<8>(&path)?) };
        Ok((Self::wrap(&path, &key, passphrase, kdf::FLOOR)?, key))
    }

    /// The same store key under a new passphrase and a new salt.
    pub(super) fn rewrap(
        folder: &Folder,
        key: &StoreKey,
        passphrase: &SecretBytes,
    ) -> Result<Self, BackendError> {
        Self::wrap(&folder.path().join(STORE), key, passphrase, kdf::FLOOR)
    }

    /// Whether a guess at the passphrase costs less than with any file of this program.
    pub(super) fn is_cheap(&self) -> bool {
        self.header.cost.is_below_floor()
    }

    /// The store key, if the passphrase is right.
    pub(super) fn unwrap(&self, folder: &Folder, passphrase: &SecretBytes) -> Result<StoreKey, BackendError> {
        let path = folder.path().join(STORE);
        let salt =
            hex::decode(&self.header.salt).map_err(|_| corrupt(&path, "its salt is not hex".to_owned()))?;
        let derived = kdf::derive(passphrase, &salt, self.header.cost).map_err(|e| kdf_failed(&path, &e))?;
        let key = self
            .envelope
            .open(&derived)
            .map_err(|_| BackendError::SecretIncorrect { word: WORD, tries_left: None })?;
        if key.len() == KEY_LEN {
            return Ok(StoreKey { key, store: self.header.store.clone() });
        }
        Err(corrupt(&path, "what is sealed in it is not a store key".to_owned()))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// By which its key files name it.
    pub(super) fn id(&self) -> &str {
        &self.header.store
    }

    pub(super) fn wrap(
        path: &Path,
        key: &StoreKey,
        passphrase: &SecretBytes,
        cost: Cost,
    ) -> Result<Self, BackendError> {
        let salt = random::<16>(path)?;
        let header = StoreHeader {
            format: STORE_FORMAT.to_owned(),
            version: VERSION,
            store: key.store.clone(),
            kdf: KDF.to_owned(),
            cost,
            salt: hex::encode(salt),
        };
        let derived = kdf::derive(passphrase, &salt, header.cost).map_err(|e| kdf_failed(path, &e))?;
        let envelope = Envelope::seal(&header, &derived, &key.key).map_err(|e| unusable(path, &e))?;
        Ok(Self { header, envelope })
    }

    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, BackendError> {
        let envelope = Envelope::parse(bytes, STORE_FORMAT, VERSION).map_err(|e| unusable(path, &e))?;
        let header: StoreHeader = envelope.header().map_err(|e| unusable(path, &e))?;
        if header.kdf != KDF {
            return Err(corrupt(path, format!("its key derivation is not {KDF}")));
        }
        header.cost.check().map_err(|e| kdf_failed(path, &e))?;
        Ok(Self { header, envelope })
    }
}

impl KeyFile {
    /// Seals `key` under the store key.
    pub(super) fn seal(
        folder: &Folder,
        stored: &StoredKey,
        key: &SoftwareKey,
        store: &StoreKey,
    ) -> Result<Self, BackendError> {
        let path = folder.path().join(key_file_name(&stored.name));
        let header = KeyHeader {
            format: KEY_FORMAT.to_owned(),
            version: VERSION,
            store: store.store.clone(),
            name: stored.name.to_string(),
            kind: stored.public.key_type().to_string(),
            public: stored.public.spki_pem(),
            origin: stored.origin,
            created: now(),
        };
        let plain = key.to_pkcs8().map_err(|e| super::software_failed(&e))?;
        let envelope = Envelope::seal(&header, &store.key, &plain).map_err(|e| unusable(&path, &e))?;
        Ok(Self { stored: stored.clone(), envelope })
    }

    /// The private key; it must be the one whose public key stands in the header.
    pub(super) fn open(&self, folder: &Folder, store_key: &StoreKey) -> Result<HeldKey, BackendError> {
        let path = folder.path().join(key_file_name(&self.stored.name));
        let plain = self.envelope.open(&store_key.key).map_err(|e| unusable(&path, &e))?;
        let key = SoftwareKey::from_pkcs8(plain.reveal_secret_bytes())
            .map_err(|e| corrupt(&path, format!("the key in it cannot be used: {e}")))?;
        if *key.public() != self.stored.public {
            return Err(corrupt(&path, "the private key in it belongs to another public key".to_owned()));
        }
        Ok(self.held(Some(Arc::new(key))))
    }

    pub(super) fn held(&self, private: Option<Arc<SoftwareKey>>) -> HeldKey {
        HeldKey { stored: self.stored.clone(), private }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    pub(super) fn name(&self) -> &KeyName {
        &self.stored.name
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.stored.public
    }

    /// A file of this name that came from elsewhere.
    pub(super) fn parse_named(file_name: &str, store: &str, bytes: &[u8]) -> Result<Self, BackendError> {
        let path = Path::new(file_name);
        let stem = file_name.strip_suffix(ENDING);
        let stem = stem.ok_or_else(|| corrupt(path, "it is no file of the store".to_owned()))?;
        Self::parse(path, stem, store, bytes)
    }

    fn parse(path: &Path, stem: &str, store: &str, bytes: &[u8]) -> Result<Self, BackendError> {
        let envelope = Envelope::parse(bytes, KEY_FORMAT, VERSION).map_err(|e| unusable(path, &e))?;
        let header: KeyHeader = envelope.header().map_err(|e| unusable(path, &e))?;
        if header.name != stem {
            return Err(corrupt(path, format!("it holds the key {}: files were exchanged", header.name)));
        }
        if header.store != store {
            return Err(corrupt(path, "it belongs to another store".to_owned()));
        }
        let name = header.name.parse().map_err(|e| corrupt(path, format!("its name cannot be used: {e}")))?;
        let public = PublicKey::from_spki_pem(&header.public)
            .map_err(|e| corrupt(path, format!("its public key cannot be read: {e}")))?;
        if public.key_type().to_string() != header.kind {
            return Err(corrupt(path, "its type is not that of its public key".to_owned()));
        }
        Ok(Self { stored: StoredKey { name, public, origin: header.origin, place: None }, envelope })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreHeader {
    format: String,
    version: u64,
    /// Random, the same in each key file.
    store: String,
    kdf: String,
    cost: Cost,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHeader {
    format: String,
    version: u64,
    store: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// SPKI PEM.
    public: String,
    origin: Origin,
    /// RFC 3339, UTC; for people.
    created: String,
}

/// Two files with one public key would make the choice by public key ambiguous (FAULTS D4).
fn check_distinct(folder: &Folder, keys: &[KeyFile]) -> Result<(), BackendError> {
    let mut seen = std::collections::BTreeMap::new();
    for key in keys {
        if let Some(other) = seen.insert(&key.stored.public, &key.stored.name) {
            let path = folder.path().join(key_file_name(&key.stored.name));
            return Err(corrupt(&path, format!("it holds the same key as {other}")));
        }
    }
    Ok(())
}

fn unusable(path: &Path, error: &EnvelopeError) -> BackendError {
    match error {
        EnvelopeError::Newer(found) => {
            BackendError::NewerFormat { path: path.to_owned(), found: *found, supported: VERSION }
        }
        other => corrupt(path, other.to_string()),
    }
}

fn kdf_failed(path: &Path, error: &KdfError) -> BackendError {
    match error {
        KdfError::Memory(_) => BackendError::Failed {
            why: error.to_string(),
            remedy: "free memory or raise the limit, and try again".to_owned(),
        },
        KdfError::TooCostly(_) | KdfError::Parameters => corrupt(path, error.to_string()),
    }
}

fn random<const N: usize>(path: &Path) -> Result<[u8; N], BackendError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| BackendError::io(path, "written", e))?;
    Ok(bytes)
}

fn now() -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(elapsed.as_secs()).unwrap_or_default();
    UtcTime::from_unix(seconds).to_string()
}

const STORE_FORMAT: &str = "tuf-agent file store";
const KEY_FORMAT: &str = "tuf-agent key";
const VERSION: u64 = 1;
const KDF: &str = "argon2id";
const KEY_LEN: usize = 32;
const ENDING: &str = ".key";
