//! The journal's head in a file outside the database (DESIGN rule 10).
//!
//! One line of fixed width, with its own checksum. The file is made whole (write, fsync, rename) and then overwritten
//! in place: one write within one sector, so a crash leaves the old line or the new one. It is written after the
//! commit and not flushed with it. After a power cut it may therefore lag behind the database, which is accepted as
//! long as the database still holds the entry that it names; a database that lags behind the head never is.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tuf::digest::Sha256Digest;

use crate::{LedgerError, files, flush};

/// Where the journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The newest entry.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: Sha256Digest,
    /// The sum over all rows of state at that entry.
    pub(crate) state: Sha256Digest,
}

impl Head {
    /// Reads what [`Self::line`] gave.
    pub(crate) fn from_line(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    /// The line, with its newline.
    pub(crate) fn line(&self) -> String {
        let line = format!("{MAGIC} {:020} {} {}", self.seq, self.hash, self.state);
        let check = Sha256Digest::of(line.as_bytes());
        format!("{line} {check}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix(MAGIC)?.split_ascii_whitespace();
        let seq = words.next()?.parse().ok()?;
        let head = Self { seq, hash: words.next()?.parse().ok()?, state: words.next()?.parse().ok()? };
        (head.line() == text).then_some(head)
    }

    /// Reads the head; none when there is no file. Anything but the exact line is refused.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, LedgerError> {
        let Some(file) = files::open_existing(path)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(1024).read_to_end(&mut text).map_err(|e| LedgerError::io(reading(path), e))?;
        let head = std::str::from_utf8(&text).ok().and_then(Self::parse);
        head.map(Some).ok_or_else(|| LedgerError::corrupt(path, "it is damaged or cut short"))
    }
}

/// The open head file.
#[derive(Debug)]
pub(crate) struct HeadFile {
    path: PathBuf,
    file: File,
    identity: Option<(u64, u64)>,
}

impl HeadFile {
    /// Makes the file whole and durable, replacing any.
    pub(crate) fn create(path: &Path, head: &Head) -> Result<Self, LedgerError> {
        files::replace(path, head.line().as_bytes())?;
        Self::open(path)
    }

    /// Opens the file for overwriting.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let file = file.map_err(|e| LedgerError::io(format!("{} could not be opened", path.display()), e))?;
        let identity = file.metadata().ok().map(|about| (about.dev(), about.ino()));
        Ok(Self { path: path.to_owned(), file, identity })
    }

    /// Device and inode of the file that is written.
    pub(crate) const fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }

    /// Overwrites the line. Not flushed: see the module's head.
    pub(crate) fn write(&self, head: &Head) -> Result<(), LedgerError> {
        let written = self.file.write_all_at(head.line().as_bytes(), 0);
        written.map_err(|e| LedgerError::io(format!("{} could not be written", self.path.display()), e))
    }

    /// Flushes it, at the end of the agent's life.
    pub(crate) fn sync(&self) {
        if let Err(error) = flush::data(&self.file) {
            tracing::warn!(path = %self.path.display(), %error, "the journal's head could not be flushed");
        }
    }
}

const MAGIC: &str = "tuf-agent-journal-head-v1";

fn reading(path: &Path) -> String {
    format!("{} could not be read", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { seq: 7, hash: Sha256Digest::of(b"entry"), state: Sha256Digest::of(b"state") }
    }

    #[test]
    fn the_line_reads_back_and_has_the_same_width_for_every_sequence_number() {
        let last = Head { seq: u64::MAX, ..head() };
        assert_eq!(Head::parse(&head().line()), Some(head()));
        assert_eq!(Head::parse(&last.line()), Some(last));
        assert_eq!(head().line().len(), last.line().len());
        assert!(last.line().len() <= 512, "the line must lie within one sector");
    }

    #[test]
    fn every_changed_cut_or_added_byte_is_found() {
        let line = head().line();
        for at in 0..line.len() {
            for mask in [1, 0x20, 0x80] {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= mask;
                let parsed = String::from_utf8(bytes).ok().and_then(|text| Head::parse(&text));
                assert_eq!(parsed, None, "byte {at} mask {mask}");
            }
            assert_eq!(Head::parse(&line[..at]), None, "cut to {at}");
        }
        assert_eq!(Head::parse(&format!("{line}\n")), None);
        assert_eq!(Head::parse(&format!("{line}{line}")), None);
    }
}
