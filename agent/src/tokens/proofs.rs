//! Which keys of PKCS#11 tokens have signed, remembered over restarts.
//!
//! The public half of a key may be written onto such a token by anybody who reaches it, without a PIN, also beside the private
//! half of another. So it is given to roles and to other people only once a signature has shown that the token has its private
//! half, too (FAULTS D9).
//! Invariant: what is noted was shown by a signature that was verified, or made here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use backend::BackendError;
use backend::folder::{Folder, corrupt};
use policy::Reason;
use tuf::key::PublicKey;

use crate::refusal::Refusal;

/// Fingerprints of the keys, by token.
#[derive(Debug)]
pub struct Proofs {
    folder: Folder,
    known: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl Proofs {
    /// Reads them from the state folder.
    ///
    /// # Errors
    /// For files that cannot be read.
    pub fn open(state: &Path) -> Result<Self, Refusal> {
        let folder = Folder::new(state.join("proofs"));
        let known = read(&folder).map_err(|error| {
            let reason = error.reason().parse().unwrap_or(Reason::Internal);
            Refusal::new(reason, format!("which keys have signed: {error}")).remedy(error.remedy())
        })?;
        Ok(Self { folder, known: Mutex::new(known) })
    }

    /// Whether the token has shown that it has the private half.
    pub(super) fn has(&self, token: &str, public: &PublicKey) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(token).is_some_and(|keys| keys.contains(&public.fingerprint().to_string()))
    }

    /// It has. What cannot be written is asked again after a restart.
    pub(super) fn note(&self, token: &str, public: &PublicKey) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = known.entry(token.to_owned()).or_default();
        if !keys.insert(public.fingerprint().to_string()) {
            return;
        }
        let bytes = serde_json::to_vec(keys).unwrap_or_default();
        let write = || self.folder.create()?.write(&format!("{token}{END}"), &bytes, true);
        if let Err(error) = write() {
            tracing::warn!(token, "that a key has signed is not known after a restart: {error}");
        }
    }
}

fn read(folder: &Folder) -> Result<BTreeMap<String, BTreeSet<String>>, BackendError> {
    let mut all = BTreeMap::new();
    let Some(open) = folder.open()? else { return Ok(all) };
    // What is left is looked for again at the next start.
    let _ = open.remove_leftovers();
    for file in open.names()? {
        let Some(token) = file.strip_suffix(END) else { continue };
        let Some(bytes) = open.read(&file)? else { continue };
        let keys = serde_json::from_slice(&bytes)
            .map_err(|error| corrupt(&folder.path().join(&file), error.to_string()))?;
        all.insert(token.to_owned(), keys);
    }
    Ok(all)
}

const END: &str = ".json";
