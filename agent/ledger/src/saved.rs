//! `ledger.db.saved`: what the agent saves of a database whose file has lost its name. It lies there only as long as it
//! is of use: nobody shall put an old copy over a live database.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tuf::digest::Sha256Digest;

use crate::head::Head;
use crate::open::{Paths, with_suffix};
use crate::tx::Position;
use crate::{LedgerError, chain, open};

/// Where it lies.
pub(crate) fn path(paths: &Paths) -> PathBuf {
    with_suffix(&paths.db, ".saved")
}

/// Removes it where it holds nothing that the ledger does not; the ledger is whole. Best effort.
pub(crate) fn remove(paths: &Paths) {
    let saved = path(paths);
    if fs::remove_file(&saved).is_ok() {
        tracing::info!(saved = %saved.display(), "the ledger is whole: what was saved of it is removed");
    }
}

/// At the start, the ledger is good by itself: an older copy of it goes, one of something else stays where it is.
///
/// # Errors
/// `Corrupt`: the copy is newer, so the ledger is an older one that was put back.
pub(crate) fn settle(paths: &Paths, at: &Position) -> Result<(), LedgerError> {
    let saved = path(paths);
    if !saved.exists() {
        return Ok(());
    }
    let newest = newest(paths);
    match newest {
        Some(newest) if newest <= at.seq => remove(paths),
        Some(newest) if continues(paths, at.seq, at.hash) => {
            let why = format!(
                "it ends with entry {} of the journal, and ledger.db.saved with entry {newest}",
                at.seq
            );
            return Err(name_it(LedgerError::corrupt(&paths.db, why), paths));
        }
        _ => tracing::warn!(saved = %saved.display(), "this is no copy of this ledger: move it away"),
    }
    Ok(())
}

/// Says in the error about a database that the copy beside it will do, where it is there and fits the journal's head.
pub(crate) fn name_it(mut error: LedgerError, paths: &Paths) -> LedgerError {
    if let LedgerError::Corrupt { path: faulty, saved, .. } = &mut error
        && *faulty == paths.db
        && let Ok(Some(Head { seq, hash, .. })) = Head::read(&paths.head)
        && continues(paths, seq, hash)
    {
        *saved = Some(path(paths));
    }
    error
}

/// Whether a copy is whole, and ends where `head` says.
pub(crate) fn check(copy: &Path, head: &Head) -> Result<(), LedgerError> {
    let faulty = |why: String| LedgerError::corrupt(copy, why);
    let db = Connection::open_with_flags(copy, READING).map_err(|e| faulty(e.to_string()))?;
    let position = open::check_whole(&db, copy, head).map_err(|e| faulty(e.to_string()))?;
    let ends_there = (position.seq, position.sum.digest()) == (head.seq, head.state);
    if ends_there { Ok(()) } else { Err(faulty("it does not end where it should".to_owned())) }
}

/// Whether its journal has this entry.
fn continues(paths: &Paths, seq: u64, hash: Sha256Digest) -> bool {
    let found = connect(paths).and_then(|db| chain::entries(&db, seq.saturating_sub(1), 1).ok());
    found.is_some_and(|found| found.first().is_some_and(|entry| (entry.seq, entry.hash) == (seq, hash)))
}

fn newest(paths: &Paths) -> Option<u64> {
    chain::newest(&connect(paths)?).ok()?
}

const READING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn connect(paths: &Paths) -> Option<Connection> {
    let file = path(paths);
    fs::symlink_metadata(&file).ok().filter(fs::Metadata::is_file)?;
    Connection::open_with_flags(file, READING).ok()
}
