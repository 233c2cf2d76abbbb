//! The encrypted file store: private keys in a folder, under one passphrase.
//!
//! Duty: keep keys at rest so that a copy of the folder is worth as much as the passphrase. Trust:
//! this user's account; not what lies in the files, until the AEAD opened them. Invariants: the
//! folder and its files are private; a file is written whole or not at all; what is damaged, newer
//! or exchanged is refused with the way to repair it and never reset; the passphrase is checked by
//! Argon2id, once for each unlock and never for a signature.
//!
//! `keys/store` holds a random store key, sealed under the passphrase. `keys/NAME.key` holds one
//! private key as PKCS#8, sealed under the store key, with its public parts in a clear header that
//! the seal binds. A new passphrase seals the store key anew and leaves the key files alone.

mod copy;
mod envelope;
mod files;
pub(crate) mod kdf;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::Signable;

use crate::folder::{self, Folder};
use crate::software::{SoftwareKey, SoftwareKeyError};
use crate::{
    Backend, BackendError, ImportedKey, KeyName, Origin, StoredKey, TokenInfo, TokenKind, TokenName,
    TokenState, UnverifiedSignature,
};
pub use copy::{CopiedFile, Imported};

use files::{KeyFile, StoreFile, StoreFiles, StoreKey};

/// The file store, in the folder `keys` of the state folder.
pub struct FileStore {
    name: TokenName,
    folder: Folder,
    /// Held through a check of the passphrase, which takes memory; nothing else waits for it.
    checking: Mutex<()>,
    /// Held through whatever writes files.
    writing: Mutex<()>,
    /// Held for moments only, so that `info` and `sign` never wait.
    state: RwLock<State>,
}

struct State {
    condition: Condition,
    keys: Vec<HeldKey>,
    /// Counts locks: an unlock under way when one comes does not take effect.
    locks: u64,
}

enum Condition {
    /// No store yet.
    Fresh,
    Locked,
    Unlocked(StoreKey),
    /// The files cannot be used; says why and what to do.
    Failed(String),
}

impl Condition {
    const fn state(&self) -> TokenState {
        match self {
            Self::Fresh | Self::Locked => TokenState::Locked,
            Self::Unlocked(_) => TokenState::Unlocked,
            Self::Failed(_) => TokenState::Failed,
        }
    }
}

struct HeldKey {
    stored: StoredKey,
    /// There while unlocked. A signature under way keeps its own reference.
    private: Option<Arc<SoftwareKey>>,
}

impl FileStore {
    /// Looks at the store below the agent's state folder. Nothing is written; a store that is not
    /// there yet is made by the first unlock. One that cannot be used opens too, in the state
    /// `failed`: its [`Backend::info`] says why, and each call looks again.
    #[must_use]
    pub fn open(state_folder: &Path, name: TokenName) -> Self {
        let store = Self {
            name,
            folder: Folder::new(state_folder.join("keys")),
            checking: Mutex::new(()),
            writing: Mutex::new(()),
            state: RwLock::new(State { condition: Condition::Locked, keys: Vec::new(), locks: 0 }),
        };
        // What is wrong is kept in the state; leftovers are looked for again at the next start.
        if store.look().is_ok()
            && let Ok(Some(folder)) = store.folder.open()
        {
            let _ = folder.remove_leftovers();
        }
        store
    }

    /// Reads all files and takes note of their public parts.
    fn look(&self) -> Result<StoreFiles, BackendError> {
        let files = files::read(&self.folder);
        let mut state = self.state_mut();
        match &files {
            Ok(files) => {
                if matches!(state.condition, Condition::Failed(_) | Condition::Fresh | Condition::Locked) {
                    state.condition = match self.cut_off() {
                        _ if files.store.is_some() => Condition::Locked,
                        Some(error) => Condition::Failed(format!("{error}; {}", error.remedy())),
                        None => Condition::Fresh,
                    };
                    state.keys = files.keys.iter().map(|k| k.held(None)).collect();
                }
            }
            Err(error) => {
                state.condition = Condition::Failed(format!("{error}; {}", error.remedy()));
                state.keys.clear();
            }
        }
        drop(state);
        files
    }

    /// Looks again at a store that could not be used; it may have been repaired.
    fn look_if_failed(&self) -> Result<(), BackendError> {
        if matches!(self.state().condition, Condition::Failed(_)) {
            self.look()?;
        }
        Ok(())
    }

    /// A copy of a private key in its smallest form (Ed25519: the seed; ECDSA: the big-endian scalar), to be split among
    /// people and for nothing else.
    ///
    /// # Errors
    /// [`BackendError::KeyNotFound`], [`BackendError::Locked`].
    pub fn copy_secret_to_split_it(&self, key: &PublicKey) -> Result<SecretBytes, BackendError> {
        self.look_if_failed()?;
        let state = self.state();
        let private = state.find(key)?.private.as_ref().ok_or_else(|| state.not_unlocked())?;
        Ok(SecretBytes::copy_from(private.secret().reveal_secret_bytes()))
    }

    /// Destroys a key whose shares have been proven, also while the store is locked: whoever proved the last share may have
    /// no passphrase. False: it is here no more.
    ///
    /// # Errors
    /// What keeps the store from being read or written.
    pub fn destroy_split_key(&self, key: &PublicKey) -> Result<bool, BackendError> {
        self.look_if_failed()?;
        let _writing = lock(&self.writing);
        let Ok(name) = self.state().find(key).map(|held| held.stored.name.clone()) else { return Ok(false) };
        self.take_away(key, &name)?;
        Ok(true)
    }

    fn take_away(&self, key: &PublicKey, name: &KeyName) -> Result<(), BackendError> {
        if let Some(folder) = self.folder.open()? {
            folder.remove(&files::key_file_name(name))?;
        }
        self.state_mut().keys.retain(|held| held.stored.public != *key);
        Ok(())
    }

    /// Makes the store: a random key under the first passphrase.
    fn set_up(&self, passphrase: &SecretBytes) -> Result<StoreKey, BackendError> {
        check_new(passphrase)?;
        if let Some(cut_off) = self.cut_off() {
            return Err(cut_off);
        }
        let (file, key) = StoreFile::create(&self.folder, passphrase)?;
        let folder = self.folder.create()?;
        if folder.write(files::STORE, &file.to_bytes(), false)? {
            return Ok(key);
        }
        Err(corrupt(
            &self.folder.path().join(files::STORE),
            "it appeared while the store was made".to_owned(),
        ))
    }

    /// One check of a passphrase. Who may try how often is for the caller to say.
    fn check(&self, file: &StoreFile, passphrase: &SecretBytes) -> Result<StoreKey, BackendError> {
        let _alone = lock(&self.checking);
        file.unwrap(&self.folder, passphrase)
    }

    /// Seals the store key again where whoever made the file lets a guess at the passphrase cost too little.
    fn raise_cost(&self, file: &StoreFile, key: &StoreKey, passphrase: &SecretBytes) {
        if !file.is_cheap() {
            return;
        }
        let sealed = StoreFile::rewrap(&self.folder, key, passphrase);
        let written =
            sealed.and_then(|file| self.folder.create()?.write(files::STORE, &file.to_bytes(), true));
        match written {
            Ok(_) => tracing::warn!("the file store let a guess at its passphrase cost little: sealed again"),
            Err(error) => {
                tracing::warn!("the file store lets a guess at its passphrase cost little: {error}")
            }
        }
    }

    /// Seals a new key into the store.
    fn add(&self, name: &KeyName, key: SoftwareKey, origin: Origin) -> Result<StoredKey, BackendError> {
        let stored = StoredKey { name: name.clone(), public: key.public().clone(), origin, place: None };
        let file = {
            let state = self.state();
            let Condition::Unlocked(store_key) = &state.condition else { return Err(state.not_unlocked()) };
            state.check_free(name, Some(&stored.public))?;
            KeyFile::seal(&self.folder, &stored, &key, store_key)?
        };
        let folder = self.folder.create()?;
        if !folder.write(&files::key_file_name(name), &file.to_bytes(), false)? {
            return Err(BackendError::NameTaken { name: name.clone() });
        }
        let mut state = self.state_mut();
        let unlocked = matches!(state.condition, Condition::Unlocked(_));
        state.keys.push(HeldKey { stored: stored.clone(), private: unlocked.then(|| Arc::new(key)) });
        Ok(stored)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for FileStore {
    fn info(&self) -> TokenInfo {
        let state = self.state();
        let problem = match &state.condition {
            Condition::Failed(why) => Some(why.clone()),
            Condition::Fresh | Condition::Locked | Condition::Unlocked(_) => None,
        };
        TokenInfo {
            name: self.name.clone(),
            kind: TokenKind::File,
            state: state.condition.state(),
            serial: None,
            label: None,
            pin_tries_left: None,
            helper_pid: None,
            confined: None,
            unconfined: None,
            measured: None,
            problem,
            in_use: false,
            puk_blocked: false,
            warnings: Vec::new(),
            fresh: matches!(state.condition, Condition::Fresh),
        }
    }

    fn state(&self) -> TokenState {
        Self::state(self).condition.state()
    }

    fn unlock(&self, secret: &SecretBytes) -> Result<(), BackendError> {
        let _writing = lock(&self.writing);
        let locks = self.state().locks;
        let files = self.look()?;
        let store_key = match &files.store {
            None => self.set_up(secret)?,
            Some(file) => {
                let key = self.check(file, secret)?;
                self.raise_cost(file, &key, secret);
                key
            }
        };
        let keys =
            files.keys.iter().map(|file| file.open(&self.folder, &store_key)).collect::<Result<Vec<_>, _>>();
        let mut state = self.state_mut();
        match keys {
            Ok(_) if state.locks != locks => Err(BackendError::Locked),
            Ok(keys) => {
                state.keys = keys;
                state.condition = Condition::Unlocked(store_key);
                Ok(())
            }
            Err(error) => {
                state.condition = Condition::Failed(format!("{error}; {}", error.remedy()));
                state.keys.clear();
                Err(error)
            }
        }
    }

    fn lock(&self) {
        let mut state = self.state_mut();
        state.locks = state.locks.wrapping_add(1);
        for key in &mut state.keys {
            key.private = None;
        }
        if matches!(state.condition, Condition::Unlocked(_)) {
            state.condition = Condition::Locked;
        }
    }

    fn keys(&self) -> Result<Vec<StoredKey>, BackendError> {
        self.look_if_failed()?;
        Ok(self.state().keys.iter().map(|key| key.stored.clone()).collect())
    }

    fn generate(&self, name: &KeyName, kind: KeyType) -> Result<StoredKey, BackendError> {
        self.look_if_failed()?;
        {
            // Known before seconds go into an RSA key.
            let state = self.state();
            if !matches!(state.condition, Condition::Unlocked(_)) {
                return Err(state.not_unlocked());
            }
            state.check_free(name, None)?;
        }
        let key = SoftwareKey::generate(kind).map_err(|e| software_failed(&e))?;
        let _writing = lock(&self.writing);
        self.add(name, key, Origin::Generated)
    }

    fn import(&self, name: &KeyName, key: ImportedKey) -> Result<StoredKey, BackendError> {
        self.look_if_failed()?;
        let _writing = lock(&self.writing);
        self.add(name, key.into_software(), Origin::Imported)
    }

    fn remove(&self, key: &PublicKey) -> Result<(), BackendError> {
        self.look_if_failed()?;
        let _writing = lock(&self.writing);
        let name = {
            let state = self.state();
            let held = state.find(key)?;
            if !matches!(state.condition, Condition::Unlocked(_)) {
                return Err(state.not_unlocked());
            }
            held.stored.name.clone()
        };
        self.take_away(key, &name)
    }

    fn change_secret(&self, old: &SecretBytes, new: &SecretBytes) -> Result<(), BackendError> {
        let _writing = lock(&self.writing);
        let files = self.look()?;
        let Some(file) = &files.store else {
            let why = "the store has none yet; the first unlock sets it".to_owned();
            return Err(BackendError::SecretRefused { word: WORD, why });
        };
        let key = self.check(file, old)?;
        check_new(new)?;
        let file = StoreFile::rewrap(&self.folder, &key, new)?;
        self.folder.create()?.write(files::STORE, &file.to_bytes(), true)?;
        Ok(())
    }

    fn make_signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<UnverifiedSignature, BackendError> {
        self.look_if_failed()?;
        let private = {
            let state = self.state();
            state.find(key)?.private.clone().ok_or_else(|| state.not_unlocked())?
        };
        let bytes = private.sign_signable(scheme, what).map_err(|e| software_failed(&e))?;
        Ok(UnverifiedSignature::new(bytes))
    }

    fn shutdown(&self) {
        self.lock();
    }
}

impl State {
    fn find(&self, key: &PublicKey) -> Result<&HeldKey, BackendError> {
        self.keys.iter().find(|held| held.stored.public == *key).ok_or(BackendError::KeyNotFound)
    }

    fn check_free(&self, name: &KeyName, public: Option<&PublicKey>) -> Result<(), BackendError> {
        for StoredKey { name: taken, public: known, .. } in self.keys.iter().map(|key| &key.stored) {
            if taken == name {
                return Err(BackendError::NameTaken { name: name.clone() });
            }
            if Some(known) == public {
                return Err(BackendError::DuplicateKey { name: taken.clone() });
            }
        }
        Ok(())
    }

    /// Why the store cannot be used without an unlock.
    fn not_unlocked(&self) -> BackendError {
        match &self.condition {
            Condition::Failed(why) => BackendError::Failed {
                why: why.clone(),
                remedy: "repair it, then unlock it: tufctl token unlock NAME".to_owned(),
            },
            _ => BackendError::Locked,
        }
    }
}

/// The refusal of a file that cannot be trusted, with the ways to repair it.
fn corrupt(path: &Path, why: String) -> BackendError {
    if path.file_name().is_none_or(|name| name != files::STORE) {
        return folder::corrupt(path, why);
    }
    // Every key is encrypted under what this one file holds.
    let (file, folder) = (path.display(), path.parent().unwrap_or(path).display());
    let remedy = format!(
        "restore {file} from a backup; without it no key of the store can be read, so to begin with an empty store move all of {folder} away; nothing was changed"
    );
    BackendError::Corrupt { path: path.to_owned(), why, remedy }
}

fn check_new(passphrase: &SecretBytes) -> Result<(), BackendError> {
    if passphrase.is_empty() {
        return Err(BackendError::SecretRefused { word: WORD, why: "it is empty".to_owned() });
    }
    Ok(())
}

fn software_failed(error: &SoftwareKeyError) -> BackendError {
    if let SoftwareKeyError::Scheme { kind, scheme } = error {
        return BackendError::Unsupported { what: format!("sign as {scheme} with a {kind} key") };
    }
    if let SoftwareKeyError::NotMade(kind) = error {
        return BackendError::Unsupported { what: format!("make {kind} keys") };
    }
    BackendError::Failed { why: error.to_string(), remedy: "try again; if it stays so, report it".to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the secret of this token is called.
const WORD: &str = TokenKind::File.secret_word();

#[cfg(test)]
mod tests;
