//! The text of what was last signed or verified, each in a file named by the digest of its canonical `signed`; or by that of
//! its bytes, where another role says the same in a file of its own.
//!
//! A file here is only a memory: whoever loads one parses it and compares the digest. One that is damaged or gone
//! counts as never seen, and the agent asks for the published file again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, StatVfsMountFlags};
use tuf::digest::Sha256Digest;

use crate::{Ledger, LedgerError, files, marks};

/// How long a file that nothing refers to stays: its intent may be about to commit.
const SPARE: Duration = Duration::from_secs(3600);

/// No more of a text is read, bytes: metadata has at most 64 MiB, so what is longer is cut and counts as damaged.
const LONGEST: u64 = (64 << 20) + 1;

/// Less room than this is looked at closely, bytes.
const SHORT: u64 = 1 << 20;

/// What is written to try it out; no more than this of it, bytes.
const TRIAL: &str = ".trial";
const MOST_TRIED: usize = 256 << 10;

/// The folder of texts.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    folder: PathBuf,
    /// Why the last text could not be written, and how long it was.
    trouble: Arc<Mutex<Option<(LedgerError, usize)>>>,
}

impl Texts {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), trouble: Arc::default() }
    }

    pub(crate) fn store(&self, digest: &Sha256Digest, text: &[u8], flush: bool) -> Result<(), LedgerError> {
        let stored = self.try_to_store(digest, text, flush);
        self.note(&stored, text.len());
        stored
    }

    /// Whether a text could be written now: nothing is signed without. Nothing is written where the last one could be and
    /// nothing speaks for trouble.
    pub(crate) fn probe(&self) -> Result<(), LedgerError> {
        let length = self.trouble().as_ref().map(|(_, length)| *length);
        match length {
            None if self.looks_well() => Ok(()),
            length => self.trial(length.unwrap_or(1)),
        }
    }

    /// Whether it is a folder of ours, and its disk has room and names left.
    fn looks_well(&self) -> bool {
        let is_ours = self.folder.is_dir() && rustix::fs::access(&self.folder, Access::WRITE_OK).is_ok();
        is_ours
            && rustix::fs::statvfs(&self.folder).is_ok_and(|disk| {
                let has_room = disk.f_bavail.saturating_mul(disk.f_frsize) >= SHORT;
                // Some file systems count no inodes.
                let has_names = disk.f_files == 0 || disk.f_favail > 0;
                has_room && has_names && !disk.f_flag.contains(StatVfsMountFlags::RDONLY)
            })
    }

    /// Writes something as long as a text, not longer than [`MOST_TRIED`], and takes it away again.
    pub(crate) fn trial(&self, length: usize) -> Result<(), LedgerError> {
        let path = self.folder.join(TRIAL);
        let written = self.is_there().and_then(|()| {
            let tried = files::write_beside(&path, &vec![0; length.min(MOST_TRIED)], false);
            let tried = tried.and_then(|()| fs::remove_file(&path));
            tried.map_err(|e| {
                LedgerError::io(format!("nothing could be written into {}", self.folder.display()), e)
            })
        });
        self.note(&written, length);
        written
    }

    fn note(&self, written: &Result<(), LedgerError>, length: usize) {
        let mut trouble = self.trouble();
        match written {
            Ok(()) => *trouble = None,
            Err(error) => {
                if trouble.is_none() {
                    tracing::error!(%error, "texts of metadata cannot be kept, and nothing is signed without");
                }
                let longest = trouble.as_ref().map_or(length, |(_, before)| length.max(*before));
                *trouble = Some((error.clone(), longest));
            }
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Option<(LedgerError, usize)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self) -> Result<(), LedgerError> {
        if self.folder.is_dir() { Ok(()) } else { self.make_anew() }
    }

    fn try_to_store(&self, digest: &Sha256Digest, text: &[u8], flush: bool) -> Result<(), LedgerError> {
        let path = self.path(digest);
        self.is_there()?;
        let stored = files::write_beside(&path, text, flush);
        let stored = stored.and_then(|()| if flush { files::sync_folder_of(&path) } else { Ok(()) });
        stored.map_err(|e| LedgerError::io(format!("{} could not be written", path.display()), e))
    }

    /// A folder that was taken away while the agent runs holds only what may be gone; the state folder itself, if it is
    /// gone, is not made anew.
    fn make_anew(&self) -> Result<(), LedgerError> {
        match files::make_one_folder(&self.folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.folder.is_dir() => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(LedgerError::io(
                format!("{} is no folder, and what is signed is kept in it", self.folder.display()),
                "move what lies there away, and it is made anew",
            )),
            Err(error) => Err(LedgerError::io(
                format!("{} is gone and could not be made", self.folder.display()),
                error,
            )),
            Ok(()) => {
                tracing::warn!(folder = %self.folder.display(), "the folder of texts was gone and is made anew");
                Ok(())
            }
        }
    }

    pub(crate) fn load(&self, digest: &Sha256Digest) -> Result<Option<Vec<u8>>, LedgerError> {
        let path = self.path(digest);
        let Some(file) = files::open_existing(&path)? else { return Ok(None) };
        let mut text = Vec::new();
        let read = file.take(LONGEST).read_to_end(&mut text);
        read.map_err(|e| LedgerError::io(format!("{} could not be read", path.display()), e))?;
        Ok(Some(text))
    }

    /// Removes what nothing refers to; best effort.
    pub(crate) fn prune(&self, keep: &BTreeSet<Sha256Digest>) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            let kept = digest.is_some_and(|digest| keep.contains(&digest));
            let modified = file.metadata().and_then(|file| file.modified());
            let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > SPARE));
            if !kept && old {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Takes away what is no such text, so that it is asked for again; best effort.
    pub(crate) fn discard(&self, digest: &Sha256Digest) {
        let _ = fs::remove_file(self.path(digest));
    }

    pub(crate) fn has(&self, digest: &Sha256Digest) -> bool {
        self.path(digest).is_file()
    }

    fn path(&self, digest: &Sha256Digest) -> PathBuf {
        self.folder.join(format!("{digest}.json"))
    }
}

/// Texts: files named by their digests. These block; call them on a blocking thread.
impl Ledger {
    /// Keeps the text of metadata that will be signed, before its intent is recorded. Atomic, not flushed: if a power
    /// cut takes it, it counts as never seen.
    ///
    /// # Errors
    /// `Io`.
    pub fn store_text(&self, digest: &Sha256Digest, text: &[u8]) -> Result<(), LedgerError> {
        self.texts.store(digest, text, false)
    }

    /// Keeps the text of verified metadata; flushed, since a root is what everything else hangs on.
    ///
    /// # Errors
    /// `Io`.
    pub fn store_verified_text(&self, digest: &Sha256Digest, text: &[u8]) -> Result<(), LedgerError> {
        self.texts.store(digest, text, true)
    }

    /// The text with this digest, if it is kept. Parse it and compare the digest: the disk is not trusted.
    ///
    /// # Errors
    /// `Io`.
    pub fn load_text(&self, digest: &Sha256Digest) -> Result<Option<Vec<u8>>, LedgerError> {
        self.texts.load(digest)
    }

    /// Removes a text that was found damaged: what is not there is asked for again.
    pub fn discard_text(&self, digest: &Sha256Digest) {
        self.texts.discard(digest);
    }

    /// Whether the text with this digest is there, whole or not.
    #[must_use]
    pub fn has_text(&self, digest: &Sha256Digest) -> bool {
        self.texts.has(digest)
    }

    /// Removes texts that no watermark and no root refers to and that are older than an hour.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn prune_texts(&self) -> Result<(), LedgerError> {
        let keep: BTreeSet<Sha256Digest> = self.read(|tx| marks::referred_digests(tx.db)).await?;
        let texts = self.texts.clone();
        let pruned = tokio::task::spawn_blocking(move || texts.prune(&keep)).await;
        pruned.map_err(|e| LedgerError::io("old texts could not be removed", e))
    }
}
