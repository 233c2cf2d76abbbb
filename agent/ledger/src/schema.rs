//! The tables, and what of them counts as state.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};
use tuf::digest::Sha256Digest;

use crate::LedgerError;
use crate::chain::hash_fields;
use crate::mirror::Touched;

/// The schema that this program writes; those before it are upgraded when they are opened.
pub(crate) const VERSION: u32 = 5;

/// "tufa": tells our databases from others.
pub(crate) const APPLICATION_ID: i64 = 0x7475_6661;

/// Every statement that makes the schema. The database must hold exactly these objects.
pub(crate) const STATEMENTS: [&str; 14] = [
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE journal (seq INTEGER PRIMARY KEY, time TEXT NOT NULL, boot_ms INTEGER NOT NULL, kind TEXT NOT NULL, \
     body TEXT NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL) STRICT",
    "CREATE TABLE repositories (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, expiry TEXT NOT NULL, \
     tough_names INTEGER NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE roots (repository TEXT NOT NULL REFERENCES repositories (id), version INTEGER NOT NULL, \
     digest BLOB NOT NULL UNIQUE, PRIMARY KEY (repository, version)) STRICT, WITHOUT ROWID",
    "CREATE TABLE watermarks (repository TEXT NOT NULL REFERENCES repositories (id), role TEXT NOT NULL, \
     signed_version INTEGER, signed_digest BLOB, signed_on INTEGER, \
     verified_version INTEGER, verified_digest BLOB, verified_on INTEGER, \
     file_length INTEGER, file_sha256 BLOB, \
     PRIMARY KEY (repository, role)) STRICT, WITHOUT ROWID",
    "CREATE TABLE listed (repository TEXT NOT NULL REFERENCES repositories (id), listing TEXT NOT NULL, \
     role TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (repository, listing, role)) STRICT, WITHOUT ROWID",
    "CREATE TABLE key_use (fingerprint BLOB NOT NULL, repository TEXT NOT NULL REFERENCES repositories (id), \
     role TEXT NOT NULL, signed INTEGER NOT NULL, PRIMARY KEY (fingerprint, repository, role)) STRICT, WITHOUT ROWID",
    "CREATE TABLE alarms (repository TEXT NOT NULL REFERENCES repositories (id), role TEXT NOT NULL, \
     since INTEGER NOT NULL, message TEXT NOT NULL, version INTEGER NOT NULL, digest BLOB NOT NULL, \
     PRIMARY KEY (repository, role)) STRICT, WITHOUT ROWID",
    "CREATE TABLE intents (seq INTEGER PRIMARY KEY REFERENCES journal (seq), repository TEXT NOT NULL, \
     role TEXT NOT NULL, version INTEGER NOT NULL, digest BLOB NOT NULL) STRICT",
    // Since schema 2:
    "CREATE TABLE resets (repository TEXT NOT NULL REFERENCES repositories (id), role TEXT NOT NULL, \
     version INTEGER NOT NULL, digest BLOB NOT NULL, on_time INTEGER NOT NULL, \
     PRIMARY KEY (repository, role, digest)) STRICT, WITHOUT ROWID",
    "CREATE TABLE restored (repository TEXT NOT NULL PRIMARY KEY REFERENCES repositories (id), \
     since INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    // Since schema 4:
    "CREATE TABLE pins (card TEXT PRIMARY KEY, wrong INTEGER NOT NULL, source TEXT NOT NULL, token TEXT NOT NULL, \
     changed INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    // Since schema 5:
    "CREATE TABLE named (fingerprint BLOB NOT NULL, repository TEXT NOT NULL REFERENCES repositories (id), \
     owned INTEGER NOT NULL, PRIMARY KEY (fingerprint, repository)) STRICT, WITHOUT ROWID",
    "CREATE TABLE unfounded (repository TEXT NOT NULL REFERENCES repositories (id), role TEXT NOT NULL, \
     fingerprint BLOB NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (repository, role, fingerprint)) \
     STRICT, WITHOUT ROWID",
];

/// How many of [`STATEMENTS`] make schema 1.
const FIRST_STATEMENTS: usize = 9;
/// How many make schema 2 and 3.
const SECOND_STATEMENTS: usize = 11;
/// How many make schema 4.
const FOURTH_STATEMENTS: usize = 12;

/// The entry of the journal up to which the tables say what it says; in `meta` since schema 3. It is bound to the sum over
/// the tables, so that neither is changed without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) seq: u64,
    pub(crate) sum: Sum,
}

impl Applied {
    /// What it is called in `meta`.
    pub(crate) const NAME: &'static str = "applied";

    /// Reads what was written with this sum.
    pub(crate) fn read(text: &str, sum: Sum) -> Option<u64> {
        let seq = text.split_once(' ')?.0.parse().ok()?;
        (Self { seq, sum }.to_string() == text).then_some(seq)
    }
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = [&self.seq.to_be_bytes()[..], &self.sum.0];
        write!(f, "{} {}", self.seq, hash_fields(b"tuf-agent applied v1", fields))
    }
}

/// A table whose rows are state: the sum over all of them is kept beside the journal's head, so that a row that was
/// changed, added or taken away behind our back is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Repositories,
    Roots,
    Watermarks,
    Listed,
    KeyUse,
    Alarms,
    Intents,
    Resets,
    Restored,
    Pins,
    Named,
    Unfounded,
}

impl Table {
    const ALL: [Self; 12] = [
        Self::Repositories,
        Self::Roots,
        Self::Watermarks,
        Self::Listed,
        Self::KeyUse,
        Self::Alarms,
        Self::Intents,
        Self::Resets,
        Self::Restored,
        Self::Pins,
        Self::Named,
        Self::Unfounded,
    ];

    const fn select(self) -> &'static str {
        match self {
            Self::Repositories => "SELECT * FROM repositories",
            Self::Roots => "SELECT * FROM roots",
            Self::Watermarks => "SELECT * FROM watermarks",
            Self::Listed => "SELECT * FROM listed",
            Self::KeyUse => "SELECT * FROM key_use",
            Self::Alarms => "SELECT * FROM alarms",
            Self::Intents => "SELECT * FROM intents",
            Self::Resets => "SELECT * FROM resets",
            Self::Restored => "SELECT * FROM restored",
            Self::Pins => "SELECT * FROM pins",
            Self::Named => "SELECT * FROM named",
            Self::Unfounded => "SELECT * FROM unfounded",
        }
    }

    /// One row by its whole primary key.
    const fn select_row(self) -> &'static str {
        match self {
            Self::Repositories => "SELECT * FROM repositories WHERE id = ?1",
            Self::Roots => "SELECT * FROM roots WHERE repository = ?1 AND version = ?2",
            Self::Watermarks => "SELECT * FROM watermarks WHERE repository = ?1 AND role = ?2",
            Self::Listed => "SELECT * FROM listed WHERE repository = ?1 AND listing = ?2 AND role = ?3",
            Self::KeyUse => "SELECT * FROM key_use WHERE fingerprint = ?1 AND repository = ?2 AND role = ?3",
            Self::Alarms => "SELECT * FROM alarms WHERE repository = ?1 AND role = ?2",
            Self::Intents => "SELECT * FROM intents WHERE seq = ?1",
            Self::Resets => "SELECT * FROM resets WHERE repository = ?1 AND role = ?2 AND digest = ?3",
            Self::Restored => "SELECT * FROM restored WHERE repository = ?1",
            Self::Pins => "SELECT * FROM pins WHERE card = ?1",
            Self::Named => "SELECT * FROM named WHERE fingerprint = ?1 AND repository = ?2",
            Self::Unfounded => {
                "SELECT * FROM unfounded WHERE repository = ?1 AND role = ?2 AND fingerprint = ?3"
            }
        }
    }

    fn digest(self, row: &Row<'_>) -> rusqlite::Result<Sha256Digest> {
        let mut fields = vec![self.select().as_bytes().to_vec()];
        let columns = row.as_ref().column_count();
        for column in 0..columns {
            fields.push(match row.get_ref(column)? {
                ValueRef::Null => vec![b'n'],
                ValueRef::Integer(number) => [&b"i"[..], &number.to_be_bytes()].concat(),
                ValueRef::Real(number) => [&b"r"[..], &number.to_be_bytes()].concat(),
                ValueRef::Text(text) => [b"t", text].concat(),
                ValueRef::Blob(bytes) => [b"b", bytes].concat(),
            });
        }
        Ok(hash_fields(b"tuf-agent state row v1", fields.iter().map(Vec::as_slice)))
    }
}

/// The sum over all rows of state: exclusive-or of their digests. Against accident and careless hands; whoever can
/// compute a new sum can as well write a new journal (DESIGN section 4, what this does not protect against).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum([u8; 32]);

impl Sum {
    /// The sum over no row.
    pub(crate) const NONE: Self = Self([0; 32]);

    pub(crate) const fn digest(self) -> Sha256Digest {
        Sha256Digest::from_bytes(self.0)
    }

    fn toggle(&mut self, row: Sha256Digest) {
        self.0.iter_mut().zip(row.as_bytes()).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// Adds or takes away the row with this key, if there is one: call it before and after a change.
    pub(crate) fn toggle_row(
        &mut self,
        db: &Connection,
        table: Table,
        key: impl Params,
        touched: &mut Touched,
    ) -> Result<(), LedgerError> {
        let mut select = db.prepare_cached(table.select_row())?;
        let mut rows = select.query(key)?;
        if let Some(row) = rows.next()? {
            self.toggle(table.digest(row)?);
            touched.row(table, row)?;
        }
        Ok(())
    }

    /// The sum over every row that the database holds.
    pub(crate) fn over(db: &Connection) -> Result<Self, LedgerError> {
        let mut sum = Self::NONE;
        for table in Table::ALL {
            let mut select = db.prepare(table.select())?;
            let mut rows = select.query(())?;
            while let Some(row) = rows.next()? {
                sum.toggle(table.digest(row)?);
            }
        }
        Ok(sum)
    }
}

/// How many of [`STATEMENTS`] a schema version has.
pub(crate) const fn tables_of(version: u32) -> usize {
    match version {
        1 => FIRST_STATEMENTS,
        2 | 3 => SECOND_STATEMENTS,
        4 => FOURTH_STATEMENTS,
        _ => STATEMENTS.len(),
    }
}

/// Whether the database holds exactly the tables of this schema version and nothing else.
pub(crate) fn is_ours(db: &Connection, version: u32) -> Result<bool, LedgerError> {
    let mut select = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut found = select.query_map((), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut wanted: Vec<String> =
        STATEMENTS.iter().take(tables_of(version)).map(|&sql| sql.to_owned()).collect();
    found.sort();
    wanted.sort();
    Ok(found == wanted)
}
