//! Metadata that was signed or verified, by digest. A text on the disk counts only if its digest is right.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ledger::{Ledger, LedgerError, Mark, Record, Watermark};
use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::json::Text;
use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, RoleName};

use super::behind::{Behind, Owner};
use super::kept::store_verified;
use super::reading::LARGE;
use crate::limits::KEPT;
use crate::refusal::Refusal;

/// Of so many texts it is known that they do not delegate.
const MOST_LEAVES: usize = 1 << 17;

/// What was signed or verified.
pub(super) struct Memory {
    ledger: Arc<Ledger>,
    parsed: Mutex<Parsed>,
    behind: Arc<Behind>,
}

/// What was parsed, by the digest of what is signed, or of its bytes where that of another role says the same; what was not
/// asked for longest goes first.
#[derive(Default)]
struct Parsed {
    files: HashMap<Sha256Digest, (Metadata, u64)>,
    /// By when they were last asked for.
    turns: BTreeMap<u64, Sha256Digest>,
    turn: u64,
    bytes: usize,
    /// Targets metadata that does not delegate. A digest says so for ever.
    leaves: HashSet<Sha256Digest>,
}

impl Parsed {
    fn get(&mut self, digest: &Sha256Digest) -> Option<Metadata> {
        let (found, last) = self.files.get_mut(digest)?;
        self.turns.remove(last);
        self.turn += 1;
        *last = self.turn;
        self.turns.insert(self.turn, *digest);
        Some(found.clone())
    }

    fn put(&mut self, metadata: &Metadata) {
        self.put_as(metadata.digest(), metadata);
    }

    fn put_as(&mut self, digest: Sha256Digest, metadata: &Metadata) {
        let size = size(metadata);
        self.forget(&digest);
        if size > KEPT {
            return;
        }
        while self.bytes + size > KEPT {
            let Some((_, oldest)) = self.turns.first_key_value() else { break };
            let oldest = *oldest;
            self.forget(&oldest);
        }
        self.turn += 1;
        self.turns.insert(self.turn, digest);
        self.files.insert(digest, (metadata.clone(), self.turn));
        self.bytes += size;
    }

    /// The same, unless it is known.
    fn put_new(&mut self, metadata: &Metadata) {
        if !self.files.contains_key(&metadata.digest()) {
            self.put(metadata);
        }
    }

    fn forget(&mut self, digest: &Sha256Digest) {
        if let Some((before, turn)) = self.files.remove(digest) {
            self.turns.remove(&turn);
            self.bytes -= size(&before);
        }
    }
}

/// About what a parsed file takes, bytes.
fn size(metadata: &Metadata) -> usize {
    metadata.bytes().len() + metadata.document().tape_bytes() + EACH
}

/// What any file takes beside its text and its tape.
const EACH: usize = 1 << 10;

impl Memory {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        let behind = Arc::new(Behind::new(Arc::clone(&ledger)));
        Self { ledger, parsed: Mutex::default(), behind }
    }

    /// The metadata with this digest; none when it is not kept or its file is damaged.
    pub(super) async fn load(&self, digest: Sha256Digest) -> Result<Option<Metadata>, Refusal> {
        if let Some(found) = self.parsed().get(&digest) {
            return Ok(Some(found));
        }
        if let Some(found) = self.behind.find(&digest) {
            return Ok(Some(found));
        }
        let found = self.read_kept(digest).await?;
        if let Some(metadata) = &found {
            self.remember(metadata);
        }
        Ok(found)
    }

    /// The very file that was verified of a role last: another role may say the same in a file of its own, under other
    /// signatures.
    pub(super) async fn verified_file(&self, watermark: &Watermark) -> Result<Option<Metadata>, Refusal> {
        let Some(mark) = watermark.verified else { return Ok(None) };
        // Of a mark from before its bytes were noted any file with signatures will do.
        let Some(seen) = watermark.file else { return self.load_verified(mark.digest).await };
        let is_it = |file: &Metadata| {
            u64::try_from(file.bytes().len()) == Ok(seen.length)
                && (file.digest(), file.file_digest()) == (mark.digest, seen.sha256)
        };
        if let Some(found) = self.load(mark.digest).await?.filter(is_it) {
            return Ok(Some(found));
        }
        let at_hand = self.parsed().get(&seen.sha256).or_else(|| self.behind.find_file(&seen.sha256));
        if let Some(found) = at_hand.filter(is_it) {
            return Ok(Some(found));
        }
        for name in [mark.digest, seen.sha256] {
            if let Some(found) = self.read_kept(name).await?.filter(is_it) {
                self.parsed().put_as(seen.sha256, &found);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The same with the signatures under which it was verified; of what is about to be signed again the text alone may be
    /// at hand.
    async fn load_verified(&self, digest: Sha256Digest) -> Result<Option<Metadata>, Refusal> {
        let signed = |file: &Metadata| !file.signatures().is_empty();
        match self.load(digest).await?.filter(signed) {
            Some(found) => Ok(Some(found)),
            None => Ok(self.read_kept(digest).await?.filter(signed)),
        }
    }

    async fn read_kept(&self, digest: Sha256Digest) -> Result<Option<Metadata>, Refusal> {
        let ledger = Arc::clone(&self.ledger);
        let work = move || -> Result<Option<Metadata>, Refusal> {
            let Some(text) = ledger.load_text(&digest)? else { return Ok(None) };
            let found = read(text).filter(|file| file.digest() == digest || file.file_digest() == digest);
            // Of a large one changes may be sent; its bytes are hashed here, not on a thread that serves others.
            let _ = found.as_ref().filter(|file| file.bytes().len() >= LARGE).map(Metadata::file_digest);
            if found.is_none() {
                tracing::warn!(%digest, "a kept metadata file is damaged: it is removed, and counts as never seen");
                ledger.discard_text(&digest);
            }
            Ok(found)
        };
        tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?
    }

    /// The large files that are at hand; there is room for a few.
    pub(super) fn large(&self) -> Vec<Metadata> {
        let parsed = self.parsed();
        let files = parsed.files.values().map(|(file, _)| file);
        files.filter(|file| file.bytes().len() >= LARGE).cloned().collect()
    }

    /// The newest of a role that was signed or verified, if it is at hand without reading it again.
    pub(super) async fn at_hand(
        &self,
        record: &Record,
        role: &RoleName,
    ) -> Result<Option<Metadata>, Refusal> {
        let mark = self.ledger.watermark(record.id, role.clone()).await?.newest();
        Ok(mark.and_then(|mark| self.parsed().get(&mark.digest)))
    }

    /// Keeps metadata that has met its threshold. What is large, and says of nobody what they may sign, is written a moment
    /// later: an agent that is killed before has lost what it will ask for again.
    pub(super) async fn keep_verified(&self, of: Owner, metadata: &Metadata) -> Result<(), Refusal> {
        if says_who(metadata) || metadata.bytes().len() < LARGE || !self.behind.has_room(metadata) {
            let is_root = metadata.kind() == RoleKind::Root;
            return if is_root {
                self.keep_root(metadata).await
            } else {
                self.keep(metadata, store_verified).await
            };
        }
        self.remember(metadata);
        self.behind.put(of, metadata.clone(), true);
        Ok(())
    }

    /// Keeps a root that was verified; flushed to the disk.
    pub(super) async fn keep_root(&self, root: &Metadata) -> Result<(), Refusal> {
        self.keep(root, |ledger, root| ledger.store_verified_text(&root.digest(), root.bytes())).await
    }

    async fn keep(&self, metadata: &Metadata, store: Store) -> Result<(), Refusal> {
        let (ledger, behind, file) = (Arc::clone(&self.ledger), Arc::clone(&self.behind), metadata.clone());
        let work = move || {
            let stored = store(&ledger, &file);
            behind.forget(&file);
            stored
        };
        tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)??;
        self.remember(metadata);
        Ok(())
    }

    /// Keeps metadata that is about to be signed for this role. What says who may sign others is in its file before that;
    /// of what is only compared with, the file may follow a moment later. What is kept already stays: a copy with
    /// signatures, as it was verified, is worth more than the text alone.
    pub(super) async fn keep_signed(&self, of: Owner, metadata: &Metadata) -> Result<(), Refusal> {
        if says_who(metadata) || !self.behind.has_room(metadata) {
            let kept = self.has(&metadata.digest());
            let store: Store = |ledger, text| ledger.store_text(&text.digest(), text.bytes());
            return if kept { Ok(()) } else { self.keep(metadata, store).await };
        }
        self.parsed().put_new(metadata);
        self.behind.put(of, metadata.clone(), false);
        Ok(())
    }

    /// Writes what waits to be written; at the end.
    pub(super) fn write_behind(&self) {
        self.behind.write();
    }

    /// Whether the file with this digest is kept, whole or not.
    pub(super) fn has(&self, digest: &Sha256Digest) -> bool {
        self.behind.find(digest).is_some() || self.ledger.has_text(digest)
    }

    /// Whether nobody can tell any more if this file delegates.
    pub(super) fn is_lost(&self, digest: &Sha256Digest) -> bool {
        !self.has(digest) && !self.parsed().leaves.contains(digest)
    }

    /// The newest trusted root; none while the repository has none.
    pub(super) async fn trusted_root(&self, record: &Record) -> Result<Option<Metadata>, Refusal> {
        let Some((version, digest)) = record.root else { return Ok(None) };
        let root = self.load(digest).await?;
        root.map(Some).ok_or_else(|| {
            let message =
                format!("root version {version} of {}, which is trusted, is not kept any more", record.name);
            Refusal::new(Reason::StateCorrupt, message)
                .remedy("adopt it again from its newest published copy: tufctl repo adopt DIR --name NAME --root ROOT.json")
        })
    }

    /// The newest root that was signed or verified, and whether it has met its thresholds here.
    pub(super) async fn newest_root(&self, record: &Record) -> Result<Option<(Metadata, bool)>, Refusal> {
        let watermark = self.ledger.watermark(record.id, RoleKind::Root.role()).await?;
        let Some(mark) = watermark.newest() else { return Ok(None) };
        let complete = watermark.verified.is_some_and(|verified| verified.digest == mark.digest);
        Ok(self.load(mark.digest).await?.map(|root| (root, complete)))
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

    /// The metadata of a mark, if its text is kept and it delegates. Of many bins each is looked at once.
    pub(super) async fn delegating(&self, mark: Option<Mark>) -> Result<Option<Metadata>, Refusal> {
        let Some(mark) = mark else { return Ok(None) };
        if self.parsed().leaves.contains(&mark.digest) {
            return Ok(None);
        }
        let found = self.load(mark.digest).await?;
        let delegates =
            |file: &Metadata| file.as_targets().is_some_and(|targets| targets.delegations.is_some());
        if let Some(file) = &found
            && !delegates(file)
        {
            let mut parsed = self.parsed();
            if parsed.leaves.len() >= MOST_LEAVES {
                parsed.leaves.clear();
            }
            parsed.leaves.insert(mark.digest);
        }
        Ok(found.filter(delegates))
    }

    fn remember(&self, metadata: &Metadata) {
        self.parsed().put(metadata);
    }

    fn parsed(&self) -> std::sync::MutexGuard<'_, Parsed> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes metadata into the folder of texts.
type Store = fn(&Ledger, &Metadata) -> Result<(), LedgerError>;

/// Whether it says who may sign others.
fn says_who(metadata: &Metadata) -> bool {
    metadata.kind() == RoleKind::Root
        || metadata.as_targets().is_some_and(|targets| targets.delegations.is_some())
}

/// A whole file, or the `signed` part alone, as it was signed.
fn read(text: Vec<u8>) -> Option<Metadata> {
    let text: Text = text.into();
    let limits = Limits::agent();
    Metadata::parse(text.clone(), &limits).or_else(|_| Metadata::parse_signed_part(text, &limits)).ok()
}
