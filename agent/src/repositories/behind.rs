//! Files of signed metadata that are written a moment after the signature, and of each role only the newest.
//!
//! They are a memory of what a difference is compared with, and nothing else rests on them: whoever is killed before
//! they are written has lost what counts as never seen. Watermark and journal are durable before any signature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::{Ledger, RepositoryId};
use tuf::digest::Sha256Digest;
use tuf::metadata::Metadata;
use tuf::role::RoleName;

/// Whose metadata it is.
pub(super) type Owner = (RepositoryId, RoleName);

/// After it has written, it rests for this long: a role that is signed again and again is written a few times a second.
const REST: Duration = Duration::from_millis(50);

/// What waits to be written.
pub(super) struct Behind {
    ledger: Arc<Ledger>,
    waiting: Mutex<Waiting>,
    /// Held while files are written.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    files: BTreeMap<Owner, Metadata>,
    /// A task is there that will write them.
    tended: bool,
}

impl Behind {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, waiting: Mutex::default(), writing: Mutex::default() }
    }

    /// Will be written soon, unless newer metadata of its owner comes first.
    pub(super) fn put(self: &Arc<Self>, of: Owner, metadata: Metadata) {
        let mut waiting = self.waiting();
        waiting.files.insert(of, metadata);
        if !std::mem::replace(&mut waiting.tended, true) {
            tokio::spawn(Arc::clone(self).tend());
        }
    }

    /// What waits with this digest.
    pub(super) fn find(&self, digest: &Sha256Digest) -> Option<Metadata> {
        self.waiting().files.values().find(|file| file.digest() == *digest).cloned()
    }

    /// Writes all that waits; blocks. It can be found until it is written.
    pub(super) fn write(&self) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.waiting().files.clone();
        for (owner, file) in files {
            let digest = file.digest();
            if !self.ledger.has_text(&digest)
                && let Err(error) = self.ledger.store_text(&digest, file.bytes())
            {
                tracing::warn!(%error, role = %owner.1, "metadata that was signed is not kept to compare with");
            }
            let mut waiting = self.waiting();
            if waiting.files.get(&owner).is_some_and(|now| now.digest() == digest) {
                waiting.files.remove(&owner);
            }
        }
    }

    async fn tend(self: Arc<Self>) {
        loop {
            let behind = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || behind.write()).await.is_err() {
                tracing::error!("the thread that keeps what was signed has panicked");
            }
            tokio::time::sleep(REST).await;
            let mut waiting = self.waiting();
            if waiting.files.is_empty() {
                waiting.tended = false;
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
