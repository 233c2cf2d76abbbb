//! Opening the ledger: made new when there is nothing, otherwise checked, and refused when it cannot be trusted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use serde_json::json;
use tuf::digest::Sha256Digest;

use crate::head::{Head, HeadFile};
use crate::schema::{self, Applied, Sum};
use crate::tx::{Position, Tx};
use crate::{Clock, LedgerError, chain, files, flush, put_off, restore, saved};

/// The files of a ledger.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) folder: PathBuf,
    pub(crate) db: PathBuf,
    pub(crate) head: PathBuf,
    pub(crate) texts: PathBuf,
}

impl Paths {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            db: folder.join("ledger.db"),
            head: folder.join("journal.head"),
            texts: folder.join("metadata"),
        }
    }
}

/// An open, checked database.
pub(crate) struct Opened {
    pub(crate) db: Connection,
    pub(crate) identity: (u64, u64),
    pub(crate) head: HeadFile,
    pub(crate) position: Position,
    /// Where it stood as it was found.
    pub(crate) found: Position,
    /// How many pages the log holds, since the last commit.
    pub(crate) pages: Arc<AtomicU32>,
}

/// The largest journal that is checked whole at start; of a larger one, the newest part is.
const SMALL_JOURNAL: u64 = 4096;
/// How much of a large journal is checked at start.
const TAIL: u64 = 1024;
/// The largest database whose every page is checked at start (8 MiB).
const SMALL_DATABASE: i64 = 2048;

/// Opens the ledger in `paths`, making it when nothing was ever there.
pub(crate) fn open(paths: &Paths, clock: &dyn Clock) -> Result<Opened, LedgerError> {
    flush::check()?;
    files::make_folder(&paths.folder)?;
    files::make_folder(&paths.texts)?;
    let head = Head::read(&paths.head)?;
    let identity = match db_identity(&paths.db)? {
        Some(identity) => identity,
        None => {
            refuse_remains(paths, head)?;
            create(paths, clock)?;
            db_identity(&paths.db)?.ok_or_else(|| LedgerError::corrupt(&paths.db, "it vanished"))?
        }
    };
    let Some(head) = Head::read(&paths.head)? else {
        return Err(LedgerError::corrupt(&paths.head, "it is missing, although there is a ledger.db"));
    };
    let (db, pages) = connect(&paths.db).map_err(|e| unusable(&paths.db, &e))?;
    check_mode(&db, &paths.db)?;
    let found = check_schema(&db, &paths.db)?;
    let upgrade = found < schema::VERSION;
    if upgrade {
        // Within one transaction with the check: what cannot be trusted stays as it is.
        begin_upgrade(&db, found).map_err(|e| unusable(&paths.db, &e))?;
    }
    let (mut position, head) = check_with_leftover(&db, paths, head)?;
    if upgrade {
        position = end_upgrade(&db, &paths.db, clock, position, found)?;
    }
    let found = position;
    position = put_off::catch_up(&db, &paths.db, clock, position)?;
    let file = HeadFile::open(&paths.head)?;
    leave_at_close(&db, false)?;
    if position.seq != head.seq {
        // The agent ended between a commit and the head that belongs to it.
        file.write(&Head { seq: position.seq, hash: position.hash, state: position.sum.digest() })?;
    }
    Ok(Opened { db, identity, head: file, position, found, pages })
}

/// The check, with the head that a restore has left where the one beside the database does not fit.
fn check_with_leftover(db: &Connection, paths: &Paths, head: Head) -> Result<(Position, Head), LedgerError> {
    let left = restore::left_head(&paths.head)?;
    let checked = check(db, &paths.db, &head);
    let Some(left) = left else { return Ok((checked?, head)) };
    if let Ok(position) = checked {
        restore::clear_left_head(&paths.head, None)?;
        return Ok((position, head));
    }
    let Ok(position) = check(db, &paths.db, &left) else { return Ok((checked?, head)) };
    restore::clear_left_head(&paths.head, Some(&left))?;
    Ok((position, left))
}

/// A copy from a backup, checked whole: every page, the whole journal, the state against its sum, the head.
pub(crate) fn open_copy(
    path: &Path,
    head: &Head,
    clock: &dyn Clock,
) -> Result<(Connection, Position), LedgerError> {
    let failed = |e: rusqlite::Error| unusable(path, &e);
    let db = Connection::open_with_flags(path, flags()).map_err(failed)?;
    db.execute_batch("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
        .map_err(failed)?;
    check_pages(&db, path)?;
    let found = check_schema(&db, path)?;
    if found < schema::VERSION {
        begin_upgrade(&db, found).map_err(failed)?;
    }
    let mut position = check(&db, path, head)?;
    if position.seq != head.seq {
        return Err(LedgerError::corrupt(path, "its journal does not end where its head says"));
    }
    if let Err(why) = chain::check_from(&db, 0, Some(chain::GENESIS))? {
        return Err(LedgerError::corrupt(path, why));
    }
    if found < schema::VERSION {
        position = end_upgrade(&db, path, clock, position, found)?;
    }
    let position = put_off::catch_up(&db, path, clock, position)?;
    Ok((db, position))
}

/// Checks everything, whatever it takes: every page, the whole journal, the state against its sum, the head.
pub(crate) fn check_whole(db: &Connection, path: &Path, head: &Head) -> Result<Position, LedgerError> {
    check_pages(db, path)?;
    let position = check(db, path, head)?;
    match chain::check_from(db, 0, Some(chain::GENESIS))? {
        Ok(_) => Ok(position),
        Err(why) => Err(LedgerError::corrupt(path, why)),
    }
}

/// Checks everything that is cheap, and at least the end of the journal; gives where it stands.
fn check(db: &Connection, path: &Path, head: &Head) -> Result<Position, LedgerError> {
    let faulty = |error: LedgerError| match error {
        LedgerError::Io { why, .. } => LedgerError::corrupt(path, format!("it cannot be read ({why})")),
        other => other,
    };
    let pages: i64 = pragma(db, "page_count").map_err(|e| unusable(path, &e))?;
    if pages <= SMALL_DATABASE {
        check_pages(db, path)?;
    }
    let newest = chain::newest(db).map_err(faulty)?.unwrap_or(0);
    if newest < head.seq {
        let why = format!(
            "it ends with entry {newest} of the journal, but entry {} was written: an older copy was put back",
            head.seq
        );
        return Err(LedgerError::corrupt(path, why));
    }
    let sum = Sum::over(db).map_err(faulty)?;
    let applied = applied(db, path, sum)?.unwrap_or(newest);
    let from = if newest <= SMALL_JOURNAL { 0 } else { head.seq.min(newest - TAIL).saturating_sub(1) };
    let from = from.min(applied);
    let before = (from == 0).then_some(chain::GENESIS);
    let end = chain::check_from(db, from, before).map_err(faulty)?;
    let end = end.map_err(|why| LedgerError::corrupt(path, why))?;
    let Some((seq, hash)) = end.filter(|(seq, _)| *seq > 0) else {
        return Err(LedgerError::corrupt(path, "its journal is empty"));
    };
    let at_head = chain::entries(db, head.seq.saturating_sub(1), 1).map_err(faulty)?;
    if at_head.first().map(|entry| (entry.seq, entry.hash)) != Some((head.seq, head.hash)) {
        return Err(LedgerError::corrupt(path, "its journal is not the one that journal.head belongs to"));
    }
    let recorded: String = meta(db, "state").map_err(|e| unusable(path, &e))?;
    if recorded != sum.digest().to_string() || (seq == head.seq && head.state != sum.digest()) {
        return Err(LedgerError::corrupt(path, "its records were changed by something else than the agent"));
    }
    Ok(Position { seq, hash, sum, applied })
}

/// Up to which entry the tables say what the journal says; none before schema 3: up to the newest.
fn applied(db: &Connection, path: &Path, sum: Sum) -> Result<Option<u64>, LedgerError> {
    let text = db.query_row("SELECT value FROM meta WHERE name = ?1", (Applied::NAME,), |row| row.get(0));
    let text: Option<String> = text.optional().map_err(|e| unusable(path, &e))?;
    let schema: String = meta(db, "schema").map_err(|e| unusable(path, &e))?;
    let read = text.as_ref().and_then(|text| Applied::read(text, sum));
    match (text, read, schema.as_str()) {
        (None, _, "1" | "2") => Ok(None),
        (Some(_), Some(applied), schema) if !matches!(schema, "1" | "2") => Ok(Some(applied)),
        _ => Err(LedgerError::corrupt(path, "its records were changed by something else than the agent")),
    }
}

/// SQLite takes the file as writable, in the mode that our commits need.
fn check_mode(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    let mode: String =
        db.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(|e| unusable(path, &e))?;
    let read_only = db.is_readonly("main").map_err(|e| unusable(path, &e))?;
    if mode == "wal" && !read_only {
        return Ok(());
    }
    Err(LedgerError::corrupt(path, "its header says that it must not be written"))
}

/// Adds the tables of the newest schema to a database of an older one, in a transaction that stays open.
fn begin_upgrade(db: &Connection, found: u32) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let there = schema::tables_of(found);
    schema::STATEMENTS.iter().skip(there).try_for_each(|sql| db.execute(sql, ()).map(drop))
}

/// Writes what was put off, journals the upgrade and commits it.
fn end_upgrade(
    db: &Connection,
    path: &Path,
    clock: &dyn Clock,
    position: Position,
    from: u32,
) -> Result<Position, LedgerError> {
    // Schemas before 3 put nothing off, and say nothing of it.
    let applied = Applied { seq: position.applied, sum: position.sum };
    db.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
        (Applied::NAME, applied.to_string()),
    )?;
    db.execute("UPDATE meta SET value = ?1 WHERE name = 'schema'", (schema::VERSION.to_string(),))?;
    let before = put_off::PutOff::read(db, path, position.applied)?;
    let mut tx = Tx::looking(db, clock, position).with(&before, None);
    tx.settle()?;
    tx.append("ledger.upgraded", json!({"schema_before": from, "schema": schema::VERSION}))?;
    tx.commit().map(|committed| committed.position)
}

/// The database's own schema version: newer ones are refused before anything else is looked at.
fn check_schema(db: &Connection, path: &Path) -> Result<u32, LedgerError> {
    let application: i64 = pragma(db, "application_id").map_err(|e| unusable(path, &e))?;
    if application != schema::APPLICATION_ID {
        return Err(LedgerError::corrupt(path, "it is not a ledger of tuf-agent"));
    }
    let found: String = meta(db, "schema").map_err(|e| unusable(path, &e))?;
    let found: u32 =
        found.parse().map_err(|_| LedgerError::corrupt(path, "its schema version is not a number"))?;
    if found > schema::VERSION {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known: schema::VERSION });
    }
    if found == 0 || !schema::is_ours(db, found).unwrap_or(false) {
        return Err(LedgerError::corrupt(path, "its tables are not those of its schema version"));
    }
    Ok(found)
}

/// SQLite's own check of every page, row and index.
pub(crate) fn check_pages(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    let found: String =
        db.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0)).map_err(|e| unusable(path, &e))?;
    if found == "ok" { Ok(()) } else { Err(LedgerError::corrupt(path, found)) }
}

/// The parts of a full check beside the chain: pages, state, head. Gives the newest entry's number and hash, and the
/// first thing that is wrong.
pub(crate) fn check_again(
    tx: &Tx<'_>,
    db: &Path,
    head: &Path,
) -> Result<(u64, Sha256Digest, Option<String>), LedgerError> {
    let position = tx.position();
    let found = |error: LedgerError| match error {
        LedgerError::Corrupt { why, .. } => why,
        other => other.to_string(),
    };
    let pages = check_pages(tx.db, db).err().map(found);
    let state = (Sum::over(tx.db)? != position.sum)
        .then(|| "the records were changed by something else than the agent".to_owned());
    // Within the transaction entries may have joined that the head outside does not know yet; it never knows more.
    let outside = match Head::read(head) {
        Err(error) => Some(found(error)),
        Ok(None) => Some("journal.head is missing".to_owned()),
        Ok(Some(head)) => {
            let entry = chain::entries(tx.db, head.seq.saturating_sub(1), 1)?.pop();
            let matches = entry.is_some_and(|entry| (entry.seq, entry.hash) == (head.seq, head.hash));
            (!matches).then(|| "journal.head does not belong to this journal".to_owned())
        }
    };
    Ok((position.seq, position.hash, pages.or(state).or(outside)))
}

/// Without a database nothing else of a ledger may be there. A head at the first entry may: then the agent was
/// stopped while it made the ledger, and nothing was ever recorded.
fn refuse_remains(paths: &Paths, head: Option<Head>) -> Result<(), LedgerError> {
    let missing = |beside: &str| {
        Err(LedgerError::corrupt(&paths.db, format!("it is missing or empty, although there is {beside}")))
    };
    if head.is_some_and(|head| head.seq > 1) {
        return missing("a journal.head");
    }
    if with_suffix(&paths.db, "-wal").exists() {
        return missing("a ledger.db-wal");
    }
    if saved::path(paths).exists() {
        return missing("a ledger.db.saved");
    }
    let mut texts = fs::read_dir(&paths.texts)
        .map_err(|e| LedgerError::io(format!("{} could not be read", paths.texts.display()), e))?;
    if texts.next().is_some() { missing("metadata that was signed or verified") } else { Ok(()) }
}

/// Makes the database beside its place, then the head, then renames it into place.
fn create(paths: &Paths, clock: &dyn Clock) -> Result<(), LedgerError> {
    let beside = with_suffix(&paths.db, ".new");
    let failed =
        |error: io::Error| LedgerError::io(format!("{} could not be made", paths.db.display()), error);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = files::make_file(&beside).map_err(failed)?;
    let head = fill(&beside, clock)?;
    flush::all(&file).map_err(failed)?;
    HeadFile::create(&paths.head, &head)?;
    fs::rename(&beside, &paths.db).and_then(|()| files::sync_folder_of(&paths.db)).map_err(failed)
}

/// The schema and the journal's first entry. Nothing is flushed here: the caller does it once.
fn fill(path: &Path, clock: &dyn Clock) -> Result<Head, LedgerError> {
    let db = Connection::open_with_flags(path, flags())?;
    db.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON")?;
    db.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    let start = Position { seq: 0, hash: chain::GENESIS, sum: Sum::NONE, applied: 0 };
    let mut tx = Tx::begin(&db, clock, start);
    tx.attempt(|tx| {
        for statement in schema::STATEMENTS {
            tx.db.execute(statement, ())?;
        }
        let rows = [
            ("schema", schema::VERSION.to_string()),
            ("state", Sum::NONE.digest().to_string()),
            (Applied::NAME, Applied { seq: 0, sum: Sum::NONE }.to_string()),
        ];
        for row in rows {
            tx.db.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", row)?;
        }
        let id: String = tx.db.query_row("SELECT lower(hex(randomblob(16)))", (), |row| row.get(0))?;
        tx.append("ledger.created", json!({"schema": schema::VERSION, "id": id}))?;
        Ok(Ok(()))
    })?;
    let position = tx.commit()?.position;
    db.close().map_err(|(_, error)| error)?;
    Ok(Head { seq: position.seq, hash: position.hash, state: position.sum.digest() })
}

fn connect(path: &Path) -> rusqlite::Result<(Connection, Arc<AtomicU32>)> {
    let mut db = Connection::open_with_flags(path, flags())?;
    leave_at_close(&db, true)?;
    db.busy_timeout(Duration::ZERO)?;
    db.set_prepared_statement_cache_capacity(64);
    // Otherwise statements that are kept are planned anew for each value that they are given.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Exclusive before the log is opened: its index then lies in memory and not in a mapped file, which others could cut.
    // The cache holds all of a small database, so that it can be saved from there.
    db.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; \
         PRAGMA cache_size = -16384; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; \
         PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 4194304",
    )?;
    db.pragma_update(None, "synchronous", flush::synchronous())?;
    let pages = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&pages);
    db.wal_hook(Some(move |_: &mut Wal, pages| {
        counted.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }))?;
    Ok((db, pages))
}

/// Whether closing leaves the files as they are. By itself SQLite moves the log into the database then and removes it by
/// its name: not of a database that is refused, and not of one whose name another file has.
pub(crate) fn leave_at_close(db: &Connection, leave: bool) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave).map(drop)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn pragma(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

fn meta(db: &Connection, name: &str) -> rusqlite::Result<String> {
    db.query_row("SELECT value FROM meta WHERE name = ?1", (name,), |row| row.get(0))
}

/// Device and inode of the database; none when it is not there. An empty file is damage: ours never is.
fn db_identity(path: &Path) -> Result<Option<(u64, u64)>, LedgerError> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.is_file() => Err(LedgerError::corrupt(path, "it is not a regular file")),
        Ok(file) if file.len() == 0 => Err(LedgerError::corrupt(path, "it is empty")),
        Ok(file) => {
            // Before SQLite has it open: closing any descriptor of the file later would drop SQLite's locks.
            let writable = fs::OpenOptions::new().write(true).open(path);
            writable.map_err(|e| LedgerError::io(format!("{} could not be opened", path.display()), e))?;
            Ok(Some((file.dev(), file.ino())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io(format!("{} could not be read", path.display()), error)),
    }
}

/// What an error of SQLite says about the file.
fn unusable(path: &Path, error: &rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            LedgerError::Busy { path: path.to_owned() }
        }
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory,
        ) => LedgerError::io(format!("{} could not be opened", path.display()), error),
        _ => LedgerError::corrupt(path, error.to_string()),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
