//! Files of signed or verified metadata that are written a moment later, and of each role only the newest.
//!
//! They are a memory of what a difference is compared with, and nothing else rests on them: whoever is killed before
//! they are written has lost what counts as never seen. Watermark and journal are durable before any signature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::{Ledger, RepositoryId};
use tuf::digest::Sha256Digest;
use tuf::metadata::Metadata;
use tuf::role::RoleName;

use super::kept::store_verified;
use super::reading::LARGE;
use crate::limits;

/// Whose metadata it is.
pub(super) type Owner = (RepositoryId, RoleName);

/// After it has written, it rests for this long: a role that is signed again and again is written a few times a second.
const REST: Duration = Duration::from_millis(50);
/// A large file waits for this long: it comes back with its signatures, and whoever publishes it needs the processor and the
/// disk now.
const LARGE_RESTS: Duration = Duration::from_secs(1);

/// What waits to be written.
pub(super) struct Behind {
    ledger: Arc<Ledger>,
    waiting: Mutex<Waiting>,
    /// Held while files are written.
    writing: Mutex<()>,
}

/// A file that waits.
#[derive(Clone)]
struct File {
    text: Metadata,
    due: Instant,
    verified: bool,
}

#[derive(Default)]
struct Waiting {
    files: BTreeMap<Owner, File>,
    /// A task is there that will write them.
    tended: bool,
}

impl Behind {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, waiting: Mutex::default(), writing: Mutex::default() }
    }

    /// Will be written soon, unless newer metadata of its owner comes first. What was verified takes the place of the same
    /// text without its signatures, and no such text takes its place.
    pub(super) fn put(self: &Arc<Self>, of: Owner, metadata: Metadata, verified: bool) {
        let rests = if metadata.bytes().len() < LARGE { Duration::ZERO } else { LARGE_RESTS };
        let mut waiting = self.waiting();
        let better = |there: &File| there.verified && !verified && there.text.digest() == metadata.digest();
        if !waiting.files.get(&of).is_some_and(better) {
            waiting.files.insert(of, File { text: metadata, due: Instant::now() + rests, verified });
        }
        if !std::mem::replace(&mut waiting.tended, true) {
            tokio::spawn(Arc::clone(self).tend());
        }
    }

    /// Whether it may wait beside what waits already.
    pub(super) fn has_room(&self, metadata: &Metadata) -> bool {
        if metadata.bytes().len() < LARGE / 4 {
            return true;
        }
        let waiting = self.waiting();
        let bytes = waiting.files.values().map(|file| file.text.bytes().len()).sum::<usize>();
        bytes.saturating_add(metadata.bytes().len()) <= limits::BEHIND
    }

    /// What waits and says the same as `written` need not be written any more, unless it is the verified file of another role.
    pub(super) fn forget(&self, written: &Metadata) {
        let is_other = |file: &File| file.verified && *file.text.bytes() != *written.bytes();
        self.waiting().files.retain(|_, file| file.text.digest() != written.digest() || is_other(file));
    }

    /// What waits with this digest.
    pub(super) fn find(&self, digest: &Sha256Digest) -> Option<Metadata> {
        self.waiting().files.values().map(|file| &file.text).find(|text| text.digest() == *digest).cloned()
    }

    /// The verified file that waits and whose bytes have this digest.
    pub(super) fn find_file(&self, sha256: &Sha256Digest) -> Option<Metadata> {
        let waiting = self.waiting();
        let mut verified = waiting.files.values().filter(|file| file.verified).map(|file| &file.text);
        verified.find(|text| text.known_file_digest() == Some(*sha256)).cloned()
    }

    /// Writes all that waits; blocks. It can be found until it is written.
    pub(super) fn write(&self) {
        self.write_due(None);
    }

    /// Writes what waits until now, or all.
    fn write_due(&self, now: Option<Instant>) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = self.waiting().files.clone();
        files.retain(|_, file| now.is_none_or(|now| file.due <= now));
        for (owner, File { text, verified, .. }) in files {
            let digest = text.digest();
            let stored = match verified {
                true => store_verified(&self.ledger, &text),
                false if self.ledger.has_text(&digest) => Ok(()),
                false => self.ledger.store_text(&digest, text.bytes()),
            };
            if let Err(error) = stored {
                tracing::warn!(%error, role = %owner.1, "metadata that was signed is not kept to compare with");
            }
            let mut waiting = self.waiting();
            if waiting.files.get(&owner).is_some_and(|now| now.text.is(&text)) {
                waiting.files.remove(&owner);
            }
        }
    }

    async fn tend(self: Arc<Self>) {
        loop {
            let behind = Arc::clone(&self);
            let write = move || behind.write_due(Some(Instant::now()));
            if tokio::task::spawn_blocking(write).await.is_err() {
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
