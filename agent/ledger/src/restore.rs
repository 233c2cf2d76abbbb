//! Copies of the ledger for a backup, and the way back, which never lowers a mark.
//!
//! A copy is taken between two commits by the thread that owns the database. Given back, it is checked whole as at a
//! start. A ledger in which nothing was ever done takes its journal over; one that lives keeps its own, and takes
//! repositories that it does not know, marks that are higher, and counts of wrong PINs of cards that it does not know. Whatever came from a copy may be older than what was
//! signed after it was taken: such a repository signs nothing until it is adopted again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, types::Value as Sql};
use serde_json::{Map, Value, json};
use tuf::digest::Sha256Digest;
use tuf::role::RoleName;

use crate::head::{Head, HeadFile};
use crate::listings::{self, Listing};
use crate::marks::{self, Side};
use crate::records::{self, column_text};
use crate::schema::Table;
use crate::tx::{Position, Tx, Verdict};
use crate::writer::{Aside, Job};
use crate::{
    Clock, Ledger, LedgerError, Record, RepositoryId, RepositoryName, Restored, Snapshot, adoption, alarms,
    files, open, pins, resets, unfounded,
};

impl Ledger {
    /// Copies the database, as it is after everything that was asked before, into the file `into`, which must not exist.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn snapshot(&self, into: PathBuf) -> Result<Snapshot, LedgerError> {
        // What was asked before must be committed, and a copy cannot be made within a transaction.
        self.read_all(|_| Ok(())).await?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let aside: Aside = Box::new(move |db, position| {
            let _ = tell.send(take_copy(db, position, &into));
        });
        self.jobs.send(Job::Aside(aside)).map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| LedgerError::Closed)?
    }

    /// Takes over what the copy at `from` holds, in one commit; `head` is the line that [`Self::snapshot`] gave with it.
    /// `about` and `caller` go into the journal.
    ///
    /// # Errors
    /// `Corrupt` or `Newer` for a copy that cannot be trusted; `NameTaken` when a repository of it has the name of another
    /// one here; `Io` or `Closed`. Nothing was changed then.
    pub async fn restore(
        &self,
        from: PathBuf,
        head: String,
        about: Value,
        caller: Value,
    ) -> Result<Vec<Restored>, LedgerError> {
        let outside = self.head.clone();
        let next = open::with_suffix(&outside, ".next");
        let clear = next.clone();
        let done = self.ask(move |tx| {
            let copy = Copy::open(&from, &head, tx)?;
            restore(tx, &copy, &next, &about, &caller)
        });
        let done = done.await;
        // The head is written by now, or nothing was changed; a leftover would be looked at by the next start alone.
        let _ = std::fs::remove_file(clear);
        done
    }

    /// Repositories that came from a backup and were not adopted since.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn restored(&self) -> Result<Vec<RepositoryName>, LedgerError> {
        self.glance(names).await
    }

    /// Takes note that a repository was adopted from a whole published copy that is not behind it, which is for the caller to
    /// judge: one that came from a backup may be signed again. False when it did not come from one.
    ///
    /// # Errors
    /// `RepositoryUnknown`; `Io` or `Closed`.
    pub async fn settle_restored(&self, id: RepositoryId, caller: Value) -> Result<bool, LedgerError> {
        self.ask(move |tx| settle(tx, &id, &caller)).await
    }
}

/// Names of the repositories that came from a backup and were not adopted since.
pub(crate) fn names(tx: &Tx<'_>) -> Result<Vec<RepositoryName>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT name FROM restored JOIN repositories ON id = repository ORDER BY name")?;
    let rows = select.query_map((), |row| column_text(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn take_copy(db: &Connection, position: Position, into: &Path) -> Result<Snapshot, LedgerError> {
    db.execute("VACUUM INTO ?1", (into.to_string_lossy().into_owned(),))?;
    let head = Head { seq: position.seq, hash: position.hash, state: position.sum.digest() };
    let texts = marks::referred_digests(db)?.into_iter().collect();
    Ok(Snapshot { head: head.line(), entries: position.seq, hash: position.hash, texts })
}

/// Whether a repository came from a backup and was not adopted since.
pub(crate) fn is_restored(tx: &Tx<'_>, id: &RepositoryId) -> Result<bool, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT 1 FROM restored WHERE repository = ?1")?;
    Ok(select.query_row((id.to_string(),), |_| Ok(())).optional()?.is_some())
}

/// A person has adopted a restored repository again, from a whole published copy that is not behind it (the caller has
/// judged that); journalled. False when it was none.
pub(crate) fn settle(tx: &mut Tx<'_>, id: &RepositoryId, caller: &Value) -> Verdict<bool> {
    let Some(record) = records::by_id(tx, id)? else {
        return Ok(Err(LedgerError::RepositoryUnknown { name: id.to_string() }));
    };
    adoption::note_whole(tx, &record, caller)?;
    if !is_restored(tx, id)? {
        return Ok(Ok(false));
    }
    let text = record.id.to_string();
    let body = json!({"repository": record.name.as_str(), "repository_id": text, "caller": caller});
    tx.append("restored.adopted", body)?;
    let key = (text.as_str(),);
    tx.change(Table::Restored, key, "DELETE FROM restored WHERE repository = ?1", key)?;
    Ok(Ok(true))
}

/// A copy of a ledger, checked whole.
struct Copy {
    db: Connection,
    position: Position,
}

impl Copy {
    fn open(path: &Path, head: &str, tx: &Tx<'_>) -> Result<Self, LedgerError> {
        let head = Head::from_line(head)
            .ok_or_else(|| LedgerError::corrupt(path, "the head that came with it is damaged"))?;
        let (db, position) = open::open_copy(path, &head, tx.clock())?;
        Ok(Self { db, position })
    }

    fn looking<'a>(&'a self, clock: &'a dyn Clock) -> Tx<'a> {
        Tx::looking(&self.db, clock, self.position)
    }
}

fn restore(
    tx: &mut Tx<'_>,
    copy: &Copy,
    next_head: &Path,
    about: &Value,
    caller: &Value,
) -> Verdict<Vec<Restored>> {
    let before = tx.position();
    let takes_journal = is_untouched(tx)?;
    if takes_journal {
        let earlier = of_tokens(tx)?;
        take_journal(tx, copy)?;
        for (kind, body) in earlier {
            tx.append(&kind, body)?;
        }
    }
    let theirs = copy.looking(tx.clock());
    let mut all = Vec::new();
    for record in records::all(&theirs)? {
        match take(tx, &theirs, &record)? {
            Ok(restored) => all.push(restored),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    let cards = pins::take_over(tx, &theirs)?;
    let list: Vec<Value> = all
        .iter()
        .map(|one| json!({"repository": one.name.as_str(), "new": one.is_new, "raised": one.raised}))
        .collect();
    let end = |position: Position| json!({"entries": position.seq, "hash": position.hash.to_string()});
    let body = json!({
        "backup": about, "backup_journal": end(copy.position), "journal_before": end(before),
        "journal_taken_over": takes_journal, "repositories": list, "pin_counts": cards,
        "caller": caller,
    });
    tx.append("backup.restored", body)?;
    if takes_journal {
        // The head outside belongs to the journal that goes. Killed before the commit the old one fits, after it this.
        let position = tx.position();
        let head = Head { seq: position.seq, hash: position.hash, state: position.sum.digest() };
        HeadFile::create(next_head, &head)?;
    }
    Ok(Ok(all))
}

/// Nothing but starts and ends of the agent stands in the journal, and what was done with tokens, see [`of_tokens`].
fn is_untouched(tx: &Tx<'_>) -> Result<bool, LedgerError> {
    let used: bool = tx.db.query_row(
        "SELECT EXISTS (SELECT 1 FROM repositories) OR EXISTS (SELECT 1 FROM journal WHERE kind NOT LIKE 'agent.%' \
         AND kind NOT LIKE 'ledger.%' AND kind NOT LIKE 'token.%' AND kind NOT IN ('refused', 'backup.restoring'))",
        (),
        |row| row.get(0),
    )?;
    Ok(!used)
}

/// What was done with tokens here, such as attempts at a PIN, each with when it was and its number: it stays in the
/// record, behind the journal that is taken over.
fn of_tokens(tx: &Tx<'_>) -> Result<Vec<(String, Value)>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT seq, time, kind, body FROM journal WHERE kind LIKE 'token.%' ORDER BY seq")?;
    let rows = select.query_map((), |row| {
        let (seq, time, kind): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let mut body: Map<String, Value> =
            serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or_default();
        body.insert("before_restore".to_owned(), json!({"seq": seq, "time": time}));
        Ok((kind, Value::Object(body)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn take_journal(tx: &mut Tx<'_>, copy: &Copy) -> Result<(), LedgerError> {
    tx.db.execute("DELETE FROM journal", ())?;
    let mut select =
        copy.db.prepare("SELECT seq, time, boot_ms, kind, body, previous, hash FROM journal ORDER BY seq")?;
    let mut insert = tx.db.prepare_cached(
        "INSERT INTO journal (seq, time, boot_ms, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let values = (0..7).map(|at| row.get::<_, Sql>(at)).collect::<Result<Vec<_>, _>>()?;
        insert.execute(rusqlite::params_from_iter(values))?;
    }
    drop(insert);
    tx.go_on_from(copy.position.seq, copy.position.hash);
    Ok(())
}

/// Takes one repository of a copy over: whole when it is not known here, what is higher otherwise.
fn take(tx: &mut Tx<'_>, theirs: &Tx<'_>, record: &Record) -> Verdict<Restored> {
    let roots = records::roots(theirs, &record.id)?;
    let digests: Vec<Sha256Digest> = roots.iter().map(|(_, digest)| *digest).collect();
    let known = match records::by_roots(tx, &digests)? {
        Some(known) => Some(known),
        None => records::by_id(tx, &record.id)?,
    };
    let is_new = known.is_none();
    let ours = match known {
        Some(known) => known,
        None if records::by_name(tx, &record.name)?.is_some() => {
            return Ok(Err(LedgerError::NameTaken { name: record.name.clone() }));
        }
        None => {
            records::insert_known(tx, record)?;
            record.clone()
        }
    };
    let id = ours.id;
    let before = (marks::all(tx, &id)?, records::roots(tx, &id)?);
    take_roots(tx, &id, &roots)?;
    for (role, theirs) in marks::all(theirs, &record.id)? {
        for (side, mark) in [(Side::Signed, theirs.signed), (Side::Verified, theirs.verified)] {
            mark.map_or(Ok(()), |mark| marks::raise(tx, &id, &role, side, mark))?;
        }
    }
    for listing in Listing::ALL {
        let lists: BTreeMap<RoleName, _> = listings::listed(theirs, &record.id, listing)?;
        listings::raise_listed(tx, &id, listing, &lists)?;
    }
    for (fingerprint, role, signed) in records::key_uses_of(theirs, &record.id)? {
        records::note_key_use(tx, &id, &role, fingerprint, signed)?;
    }
    for one in unfounded::of_repository(theirs, &record.id)? {
        unfounded::raise(tx, &id, &one.role, one.fingerprint, one.version)?;
    }
    records::note_named(tx, &id, &records::named_in(theirs, &record.id)?)?;
    for (role, mark) in resets::of_repository(theirs, &record.id)? {
        resets::note(tx, &id, &role, mark)?;
    }
    for alarm in alarms::all(theirs)?.into_iter().filter(|alarm| alarm.repository == record.id) {
        alarms::insert(tx, &id, &alarm)?;
    }
    let raised = is_new || before != (marks::all(tx, &id)?, records::roots(tx, &id)?);
    if raised {
        mark_restored(tx, &id)?;
    }
    Ok(Ok(Restored { name: ours.name, is_new, raised }))
}

/// Roots that join the chain that is here at one of its ends.
fn take_roots(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    theirs: &[(tuf::role::Version, Sha256Digest)],
) -> Result<(), LedgerError> {
    for (version, digest) in theirs {
        let ours = records::roots(tx, id)?;
        let next = ours.last().is_none_or(|(newest, _)| newest.next() == Some(*version));
        if next {
            records::insert_root(tx, id, *version, *digest)?;
        }
    }
    for (version, digest) in theirs.iter().rev() {
        let ours = records::roots(tx, id)?;
        if ours.first().is_some_and(|(oldest, _)| version.next() == Some(*oldest)) {
            records::insert_root(tx, id, *version, *digest)?;
        }
    }
    Ok(())
}

fn mark_restored(tx: &mut Tx<'_>, id: &RepositoryId) -> Result<(), LedgerError> {
    let text = id.to_string();
    let key = (text.as_str(),);
    let now = tx.now().unix();
    tx.change(
        Table::Restored,
        key,
        "INSERT INTO restored (repository, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        (key.0, now),
    )
}

/// The head that a restore has left, when the one beside the database does not fit: the agent was stopped between the
/// commit that took another journal over and the writing of its head.
pub(crate) fn left_head(head: &Path) -> Result<Option<Head>, LedgerError> {
    let next = open::with_suffix(head, ".next");
    match Head::read(&next) {
        Err(LedgerError::Corrupt { .. }) => Ok(None),
        found => found,
    }
}

/// Puts what [`left_head`] gave in the head's place, or takes it away.
pub(crate) fn clear_left_head(head: &Path, fits: Option<&Head>) -> Result<(), LedgerError> {
    if let Some(fits) = fits {
        HeadFile::create(head, fits)?;
    }
    match std::fs::remove_file(open::with_suffix(head, ".next")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LedgerError::io("a leftover of a restore could not be removed", error))
        }
        _ => files::sync_folder_of(head)
            .map_err(|e| LedgerError::io("the state folder could not be written", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_leftover_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let head = folder.path().join("journal.head");
        assert_eq!(left_head(&head).unwrap(), None);
        std::fs::write(folder.path().join("journal.head.next"), "damaged").unwrap();
        assert_eq!(left_head(&head).unwrap(), None);
        clear_left_head(&head, None).unwrap();
        assert!(!folder.path().join("journal.head.next").exists());
    }
}
