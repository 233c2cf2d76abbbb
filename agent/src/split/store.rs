//! A token of kind `shares`: keys that are whole nowhere.
//!
//! Duty: remember, durably, which sets there are, what each is worth, and who has proven what. Trust: this user's account.
//! Invariants: no secret is here; a record is written whole or not at all; one that is damaged is refused by name, with
//! the way to repair it, and never reset; such a token signs nothing by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use backend::folder::Folder;
use backend::{
    Backend, BackendError, ImportedKey, KeyName, StoredKey, TokenInfo, TokenKind, TokenName, TokenState,
    UnverifiedSignature,
};
use secmem::SecretBytes;
use tokio::sync::watch;
use tuf::digest::Sha256Digest;
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::Signable;

use super::record::SplitKey;

/// The split keys of one token, in `shares/TOKEN` of the state folder.
#[derive(Debug)]
pub struct SplitStore {
    name: TokenName,
    /// `shares`, in which the folders of all such tokens lie.
    above: Folder,
    folder: Folder,
    writing: Mutex<()>,
    state: RwLock<State>,
    /// Changes when whatever is being collected ends.
    stops: watch::Sender<Stop>,
    /// Changes with each record.
    changes: watch::Sender<u64>,
}

/// What ends all collections of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nothing has yet.
    None,
    /// Somebody said `lock`.
    Locked,
    /// A new configuration is without the token, or changes it.
    Left,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody said `lock`, and nobody `unlock` since.
    locked: bool,
    /// Why the records cannot be used.
    failed: Option<String>,
    keys: BTreeMap<String, Arc<SplitKey>>,
}

impl SplitStore {
    /// Looks at the records below the agent's state folder; nothing is written. One that cannot be used makes the token
    /// fail, loudly, rather than a key vanish quietly; each call looks again.
    #[must_use]
    pub fn open(state_folder: &Path, name: TokenName) -> Self {
        let above = state_folder.join("shares");
        let folder = Folder::new(above.join(name.as_str()));
        let store = Self {
            name,
            above: Folder::new(above),
            folder,
            writing: Mutex::default(),
            state: RwLock::default(),
            stops: watch::Sender::new(Stop::None),
            changes: watch::Sender::new(0),
        };
        if store.look().is_ok()
            && let Ok(Some(folder)) = store.folder.open()
        {
            // What is left is looked for again at the next start.
            let _ = folder.remove_leftovers();
        }
        store
    }

    /// Reads all records.
    fn look(&self) -> Result<(), BackendError> {
        let read = self.read();
        let mut state = self.state_mut();
        match read {
            Ok(keys) => {
                state.keys = keys;
                state.failed = None;
                Ok(())
            }
            Err(error) => {
                state.keys.clear();
                state.failed = Some(format!("{error}; {}", error.remedy()));
                Err(error)
            }
        }
    }

    fn read(&self) -> Result<BTreeMap<String, Arc<SplitKey>>, BackendError> {
        if self.above.open()?.is_none() {
            return Ok(BTreeMap::new());
        }
        let Some(folder) = self.folder.open()? else { return Ok(BTreeMap::new()) };
        let mut keys = BTreeMap::new();
        for file in folder.names()? {
            let Some(name) = file.strip_suffix(ENDING) else { continue };
            let Some(bytes) = folder.read(&file)? else { continue };
            let path = self.folder.path().join(&file);
            keys.insert(name.to_owned(), Arc::new(SplitKey::parse(&path, name, &bytes)?));
        }
        Ok(keys)
    }

    fn look_if_failed(&self) -> Result<(), BackendError> {
        if self.state().failed.is_some() { self.look() } else { Ok(()) }
    }

    /// Whether there is a record of this name, also while they cannot be used; true where that cannot be seen.
    #[must_use]
    pub fn may_have(&self, name: &str) -> bool {
        match self.folder.open() {
            Ok(None) => false,
            Ok(Some(folder)) => {
                folder.names().map_or(true, |names| names.iter().any(|there| *there == file_name(name)))
            }
            Err(_) => true,
        }
    }

    /// All split keys; none while the records cannot be used.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<SplitKey>> {
        self.state().keys.values().cloned().collect()
    }

    /// The key with this public half.
    #[must_use]
    pub fn of_public(&self, public: &PublicKey) -> Option<Arc<SplitKey>> {
        self.state().keys.values().find(|key| key.public() == Some(public)).cloned()
    }

    /// The key that has, or had, this set.
    #[must_use]
    pub fn of_set(&self, digest: &Sha256Digest) -> Option<Arc<SplitKey>> {
        self.state().keys.values().find(|key| key.set(digest).is_some()).cloned()
    }

    /// Writes the record of a key, durably, in place of the one of its name; blocks.
    ///
    /// # Errors
    /// What keeps the folder from being written; then nothing has changed.
    pub fn put(&self, key: SplitKey) -> Result<(), BackendError> {
        self.look_if_failed()?;
        let _writing = lock(&self.writing);
        self.above.create()?;
        self.folder.create()?.write(&file_name(key.name.as_str()), &key.to_bytes()?, true)?;
        self.state_mut().keys.insert(key.name.to_string(), Arc::new(key));
        self.tell_of_change();
        Ok(())
    }

    /// All records, as a backup takes them: the name of the key, and the file.
    ///
    /// # Errors
    /// While the records cannot be used.
    pub(super) fn records(&self) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        self.look_if_failed()?;
        self.all().iter().map(|key| Ok((key.name.to_string(), key.to_bytes()?))).collect()
    }

    /// A record of a backup, if it holds.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`.
    pub(super) fn read_record(&self, name: &str, bytes: &[u8]) -> Result<SplitKey, BackendError> {
        SplitKey::parse(&self.folder.path().join(file_name(name)), name, bytes)
    }

    /// Forgets a key, durably; blocks.
    ///
    /// # Errors
    /// What keeps the folder from being written.
    pub fn forget(&self, name: &KeyName) -> Result<(), BackendError> {
        self.look_if_failed()?;
        let _writing = lock(&self.writing);
        if let Some(folder) = self.folder.open()? {
            folder.remove(&file_name(name.as_str()))?;
        }
        self.state_mut().keys.remove(name.as_str());
        self.tell_of_change();
        Ok(())
    }

    fn tell_of_change(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Changes whenever a record was written or forgotten.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Changes whenever whatever is being collected ends.
    #[must_use]
    pub fn stops(&self) -> watch::Receiver<Stop> {
        self.stops.subscribe()
    }

    /// Whether somebody said `lock`, and nobody `unlock` since.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.state().locked
    }

    /// The configuration is without this token now, or has another in its place.
    pub fn leave(&self) {
        self.stops.send_replace(Stop::Left);
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that are open, by name: a token that a reload takes in anew goes on with the same records.
#[derive(Debug, Default)]
pub struct SplitStores(Mutex<BTreeMap<String, Arc<SplitStore>>>);

impl SplitStores {
    /// The one of this name, opened when it is asked for the first time.
    #[must_use]
    pub fn open(&self, state_folder: &Path, name: &TokenName) -> Arc<SplitStore> {
        let mut open = lock(&self.0);
        let new = || Arc::new(SplitStore::open(state_folder, name.clone()));
        Arc::clone(open.entry(name.to_string()).or_insert_with(new))
    }
}

impl Backend for SplitStore {
    fn info(&self) -> TokenInfo {
        let state = self.state();
        TokenInfo {
            name: self.name.clone(),
            kind: TokenKind::Shares,
            state: match (&state.failed, state.locked) {
                (Some(_), _) => TokenState::Failed,
                (None, true) => TokenState::Locked,
                (None, false) => TokenState::Unlocked,
            },
            serial: None,
            label: None,
            pin_tries_left: None,
            helper_pid: None,
            confined: None,
            unconfined: None,
            measured: None,
            problem: state.failed.clone(),
            in_use: false,
            puk_blocked: false,
            warnings: Vec::new(),
            fresh: false,
        }
    }

    /// There is nothing to unlock with: it only ends a `lock`.
    fn unlock(&self, secret: &SecretBytes) -> Result<(), BackendError> {
        if !secret.is_empty() {
            let why = "a token of shares has no PIN: people give their shares when something is signed";
            return Err(BackendError::SecretRefused { word: "secret", why: why.to_owned() });
        }
        self.look_if_failed()?;
        self.state_mut().locked = false;
        Ok(())
    }

    fn lock(&self) {
        self.state_mut().locked = true;
        self.stops.send_replace(Stop::Locked);
    }

    fn keys(&self) -> Result<Vec<StoredKey>, BackendError> {
        self.look_if_failed()?;
        Ok(self.state().keys.values().filter_map(|key| key.stored()).collect())
    }

    fn generate(&self, _: &KeyName, _: KeyType) -> Result<StoredKey, BackendError> {
        let what = "make a key without people who hold its shares: name them by --custodian".to_owned();
        Err(BackendError::Unsupported { what })
    }

    fn import(&self, _: &KeyName, _: ImportedKey) -> Result<StoredKey, BackendError> {
        let what =
            "hold a whole key: import the manifest of a set (set.json), or split a key of the file store"
                .to_owned();
        Err(BackendError::Unsupported { what })
    }

    fn remove(&self, key: &PublicKey) -> Result<(), BackendError> {
        self.look_if_failed()?;
        let name = self.of_public(key).ok_or(BackendError::KeyNotFound)?.name.clone();
        self.forget(&name)
    }

    fn change_secret(&self, _: &SecretBytes, _: &SecretBytes) -> Result<(), BackendError> {
        let why = "a token of shares has none".to_owned();
        Err(BackendError::SecretRefused { word: "secret", why })
    }

    fn make_signature(
        &self,
        _: &PublicKey,
        _: Scheme,
        _: Signable<'_>,
    ) -> Result<UnverifiedSignature, BackendError> {
        Err(BackendError::SharesNeeded)
    }

    fn made_here(&self, _: &PublicKey) -> Result<(), BackendError> {
        Err(BackendError::Foreign { why: "it is split among people, and no device holds it".to_owned() })
    }

    /// It runs nothing, and a reload may have given its records to another token.
    fn shutdown(&self) {}
}

fn file_name(key: &str) -> String {
    format!("{key}{ENDING}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the names of records end.
const ENDING: &str = ".split";
