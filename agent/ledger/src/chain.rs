//! The journal's hash chain.
//!
//! The hash of an entry is SHA-256 over the domain `tuf-agent journal v1` and then its number, wall time, boot
//! milliseconds, kind, body and the hash before, each preceded by its length in bytes as a 64-bit big-endian number.
//! Numbers are 64-bit big-endian, hashes are their 32 bytes. Anyone can recompute it from `audit export`.

use rusqlite::{Connection, Row};
use tuf::digest::Sha256Digest;

use crate::{Entry, LedgerError};

/// The hash before the first entry.
pub(crate) const GENESIS: Sha256Digest = Sha256Digest::from_bytes([0; 32]);

impl Entry {
    /// The hash that the entry must have.
    #[must_use]
    pub fn computed_hash(&self) -> Sha256Digest {
        let (seq, boot_ms) = (self.seq.to_be_bytes(), self.boot_ms.to_be_bytes());
        let fields: [&[u8]; 6] = [
            &seq,
            self.time.as_bytes(),
            &boot_ms,
            self.kind.as_bytes(),
            self.body.as_bytes(),
            self.previous.as_bytes(),
        ];
        hash_fields(DOMAIN, fields)
    }
}

/// SHA-256 over a domain and fields, each preceded by its length.
pub(crate) fn hash_fields<'a>(domain: &'a [u8], fields: impl IntoIterator<Item = &'a [u8]>) -> Sha256Digest {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for field in std::iter::once(domain).chain(fields) {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field);
    }
    Sha256Digest::from_bytes(hash.finalize().into())
}

/// Adds an entry; its hash must be right.
pub(crate) fn insert(db: &Connection, entry: &Entry) -> Result<(), LedgerError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO journal (seq, time, boot_ms, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    insert.execute((
        number(entry.seq)?,
        &entry.time,
        number(entry.boot_ms)?,
        &entry.kind,
        &entry.body,
        entry.previous.as_bytes(),
        entry.hash.as_bytes(),
    ))?;
    Ok(())
}

/// At most `limit` entries with numbers above `after`, in order.
pub(crate) fn entries(db: &Connection, after: u64, limit: u64) -> Result<Vec<Entry>, LedgerError> {
    let mut select = db.prepare_cached(
        "SELECT seq, time, boot_ms, kind, body, previous, hash FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = select.query_map((after, limit), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest entry's number; none when the journal is empty.
pub(crate) fn newest(db: &Connection) -> Result<Option<u64>, LedgerError> {
    let newest: Option<i64> = db.query_row("SELECT max(seq) FROM journal", (), |row| row.get(0))?;
    Ok(newest.and_then(|seq| u64::try_from(seq).ok()))
}

/// What a check of entries found: the last one that was checked (none when there was none), or what is wrong.
pub(crate) type Checked = Result<Option<(u64, Sha256Digest)>, String>;

/// Checks the entries above `after` up to the newest: numbers without a gap, each naming the hash before, each hash
/// right. `before` is the hash of entry `after`; without it the first entry's word for it is taken.
pub(crate) fn check_from(
    db: &Connection,
    after: u64,
    before: Option<Sha256Digest>,
) -> Result<Checked, LedgerError> {
    let mut last = None;
    loop {
        let (from, hash) = last.map_or((after, before), |(seq, hash)| (seq, Some(hash)));
        match check_some(db, from, hash)? {
            Ok(Some(next)) => last = Some(next),
            Ok(None) => return Ok(Ok(last)),
            Err(why) => return Ok(Err(why)),
        }
    }
}

/// One step of [`check_from`].
pub(crate) fn check_some(
    db: &Connection,
    after: u64,
    before: Option<Sha256Digest>,
) -> Result<Checked, LedgerError> {
    let (mut seq, mut hash) = (after, before);
    let batch = entries(db, after, 512)?;
    let empty = batch.is_empty();
    for entry in batch {
        if Some(entry.seq) != seq.checked_add(1) {
            return Ok(Err(format!("entry {} is missing from the journal", seq.saturating_add(1))));
        }
        if hash.is_some_and(|before| before != entry.previous) {
            return Ok(Err(format!("entry {} does not follow the entry before it", entry.seq)));
        }
        if entry.computed_hash() != entry.hash {
            return Ok(Err(format!("entry {} was changed", entry.seq)));
        }
        (seq, hash) = (entry.seq, Some(entry.hash));
    }
    Ok(Ok(hash.filter(|_| !empty).map(|hash| (seq, hash))))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let number = |at: usize| -> rusqlite::Result<u64> {
        let value: i64 = row.get(at)?;
        u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
    };
    Ok(Entry {
        seq: number(0)?,
        time: row.get(1)?,
        boot_ms: number(2)?,
        kind: row.get(3)?,
        body: row.get(4)?,
        previous: Sha256Digest::from_bytes(row.get(5)?),
        hash: Sha256Digest::from_bytes(row.get(6)?),
    })
}

/// SQLite's integers are signed.
pub(crate) fn number(value: u64) -> Result<i64, LedgerError> {
    i64::try_from(value)
        .map_err(|_| LedgerError::io("the ledger could not be written", "a number is too large"))
}

const DOMAIN: &[u8] = b"tuf-agent journal v1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_entry_is_the_documented_one() {
        let entry = Entry {
            seq: 1,
            time: "2026-11-20T11:00:00Z".into(),
            boot_ms: 2,
            kind: "k".into(),
            body: "{}".into(),
            previous: GENESIS,
            hash: GENESIS,
        };
        let mut bytes = Vec::new();
        for field in [
            &b"tuf-agent journal v1"[..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            b"2026-11-20T11:00:00Z",
            &[0, 0, 0, 0, 0, 0, 0, 2],
            b"k",
            b"{}",
            &[0; 32],
        ] {
            bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, u8::try_from(field.len()).unwrap()]);
            bytes.extend_from_slice(field);
        }
        assert_eq!(entry.computed_hash(), Sha256Digest::of(&bytes));
    }
}
