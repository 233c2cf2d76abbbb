//! Metadata that was signed or verified, by digest. A text on the disk counts only if its digest is right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::{Ledger, Mark, Record};
use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::metadata::{Limits, Metadata};
use tuf::role::RoleName;

use crate::refusal::Refusal;

/// The largest file that stays parsed, bytes.
const SMALL: usize = 256 << 10;
/// All that stays parsed, bytes.
const ROOM: usize = 4 << 20;

/// What was signed or verified.
pub(super) struct Memory {
    ledger: Arc<Ledger>,
    parsed: Mutex<Parsed>,
}

#[derive(Default)]
struct Parsed {
    files: HashMap<Sha256Digest, Metadata>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, parsed: Mutex::default() }
    }

    /// The metadata with this digest; none when it is not kept or its file is damaged.
    pub(super) async fn load(&self, digest: Sha256Digest) -> Result<Option<Metadata>, Refusal> {
        if let Some(found) = self.parsed().files.get(&digest) {
            return Ok(Some(found.clone()));
        }
        let ledger = Arc::clone(&self.ledger);
        let work = move || -> Result<Option<Metadata>, Refusal> {
            let Some(text) = ledger.load_text(&digest)? else { return Ok(None) };
            let found = read(text).filter(|metadata| metadata.digest() == digest);
            if found.is_none() {
                tracing::warn!(%digest, "a kept metadata file is damaged and counts as never seen");
            }
            Ok(found)
        };
        let found = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)??;
        if let Some(metadata) = &found {
            self.remember(metadata);
        }
        Ok(found)
    }

    /// Keeps metadata; flushed to the disk when `durable`.
    pub(super) async fn keep(&self, metadata: &Metadata, durable: bool) -> Result<(), Refusal> {
        let (ledger, file) = (Arc::clone(&self.ledger), metadata.clone());
        let work = move || {
            let digest = file.digest();
            let store = if durable { Ledger::store_verified_text } else { Ledger::store_text };
            store(&ledger, &digest, file.bytes())
        };
        tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)??;
        self.remember(metadata);
        Ok(())
    }

    /// Whether the file with this digest is kept, whole or not.
    pub(super) fn has(&self, digest: &Sha256Digest) -> bool {
        self.ledger.has_text(digest)
    }

    /// The newest trusted root; none while the repository has none.
    pub(super) async fn trusted_root(&self, record: &Record) -> Result<Option<Metadata>, Refusal> {
        let Some((version, digest)) = record.root else { return Ok(None) };
        let root = self.load(digest).await?;
        root.map(Some).ok_or_else(|| {
            let message =
                format!("root version {version} of {}, which is trusted, is not kept any more", record.name);
            Refusal::new(Reason::StateCorrupt, message)
                .remedy("adopt the repository again: tufctl repo adopt DIR --name NAME --root ROOT.json")
        })
    }

    /// The newest of a role that was signed or verified, if its text is kept.
    pub(super) async fn newest(&self, record: &Record, role: &RoleName) -> Result<Option<Metadata>, Refusal> {
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        self.of_mark(watermark.newest()).await
    }

    /// The metadata of a mark, if its text is kept.
    pub(super) async fn of_mark(&self, mark: Option<Mark>) -> Result<Option<Metadata>, Refusal> {
        match mark {
            Some(mark) => self.load(mark.digest).await,
            None => Ok(None),
        }
    }

    fn remember(&self, metadata: &Metadata) {
        let size = metadata.bytes().len();
        if size > SMALL {
            return;
        }
        let mut parsed = self.parsed();
        if parsed.bytes + size > ROOM {
            *parsed = Parsed::default();
        }
        let before = parsed.files.insert(metadata.digest(), metadata.clone());
        parsed.bytes = parsed.bytes + size - before.map_or(0, |file| file.bytes().len());
    }

    fn parsed(&self) -> std::sync::MutexGuard<'_, Parsed> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole file, or the `signed` part alone, as it was signed.
fn read(text: Vec<u8>) -> Option<Metadata> {
    let text: Arc<[u8]> = text.into();
    let limits = Limits::agent();
    Metadata::parse(Arc::clone(&text), &limits).or_else(|_| Metadata::parse_signed_part(text, &limits)).ok()
}
