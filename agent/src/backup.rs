//! Backups: the file store and the ledger, sealed under a passphrase of their own, and the way back.
//!
//! Duty: a copy of one moment, taken while the agent serves; a restore that changes everything it can or nothing, and
//! never lowers a watermark. Trust: a backup is believed once its seal and its journal hold, and no further: it may be
//! older than what was signed since. Invariants: keys stay sealed as they lie in the store; no size needs memory.

mod receive;
mod records;
mod scratch;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backend::filestore::{CopiedFile, FileStore, Imported};
use backend::{Opener, SealedFileError, Sealer};
use ledger::{Ledger, LedgerError, Restored};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tonic::Status;
use tuf::digest::Sha256Digest;
use tufagent_proto::v1::BackupChunk;

pub use self::receive::{Received, receive};
use self::records::Contents;
use self::scratch::Scratch;
use crate::door::Connection;
use crate::limits;
use crate::refusal::Refusal;
use crate::sparing;
use crate::split::{self, Copied};
use crate::state::AppState;

/// What a restore did.
#[derive(Debug)]
pub struct Done {
    /// What it meant to each repository.
    pub repositories: Vec<Restored>,
    /// What it meant to the file store, and to tokens of shares.
    pub keys: Imported,
    /// SHA-256 of the backup.
    pub sha256: Sha256Digest,
}

/// One at a time: it is a copy of one moment, and each may take a while.
static WORK: Mutex<()> = Mutex::const_new(());

/// Takes a backup and sends it in pieces.
///
/// # Errors
/// `STATE_IO`; `PIN_REQUIRED` for an empty passphrase.
pub async fn backup(
    state: AppState,
    connection: &Connection,
    passphrase: SecretBytes,
) -> Result<mpsc::Receiver<Result<BackupChunk, Status>>, Refusal> {
    if passphrase.is_empty() {
        return Err(Refusal::new(Reason::PinRequired, "a backup needs a passphrase of its own")
            .remedy("give one: --passphrase-file FILE"));
    }
    let working = WORK.lock().await;
    state.journal("backup.made", Some(connection.peer()), json!({})).await?;
    let scratch = Scratch::new(state.ledger().folder(), ".backup")?;
    let db = scratch.path("ledger.db");
    let (keeper, into) = (state.clone(), db.clone());
    let snapshot = sparing::run(async move { keeper.ledger().snapshot(into).await }).await??;
    let (store, splits) = (file_store(&state), state.tokens().split_stores());
    let (sender, receiver) = mpsc::channel(4);
    let peer = connection.peer().clone();
    tokio::spawn(async move {
        let writer = state.clone();
        let out = Pieces { to: sender.clone(), open: Vec::with_capacity(PIECE), sent: 0, began: None };
        let work = move || -> Result<(), Refusal> {
            let keys =
                store.map_or(Ok(Vec::new()), |store| store.export_files()).map_err(|e| of_store(&e))?;
            let splits = split::records(&splits).map_err(|e| of_store(&e))?;
            let mut out = Sealer::new(out, &passphrase).map_err(|e| sealing(&e))?;
            let ledger = writer.ledger();
            let written = write(&mut out, ledger, &snapshot.head, &snapshot.texts, &db, &keys, &splits);
            written.map_err(|e| failed(&e))?;
            out.finish().and_then(|mut out| Ok(out.flush()?)).map_err(|e| sealing(&e))
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal).and_then(|done| done);
        drop((scratch, working));
        if let Err(refusal) = done {
            let _ = sender.send(Err(state.refused(&peer, "Agent.Backup", refusal))).await;
        }
    });
    Ok(receiver)
}

/// Takes over what a backup holds.
///
/// # Errors
/// `STATE_CORRUPT` for a file that is no backup, or damaged, or newer; `PIN_INCORRECT`; `NAME_TAKEN`; `STATE_IO`. Nothing was
/// changed then, but for `STATE_IO` after the ledger took it over: the same restore again adds what is missing.
pub async fn restore(state: AppState, connection: &Connection, received: Received) -> Result<Done, Refusal> {
    let Received { sealed, passphrase, sha256, scratch, receiving: _receiving } = received;
    let working = WORK.lock().await;
    let unpack = {
        let (db, texts) = (scratch.path("ledger.db"), scratch.path("texts"));
        move || records::read(&sealed, &passphrase, &db, &texts)
    };
    let contents = tokio::task::spawn_blocking(unpack).await.map_err(Refusal::internal)??;
    let Contents { head, keys, texts, splits } = contents;
    let (keeper, folder) = (state.clone(), scratch.path("texts"));
    let keep = move || keep_texts(keeper.ledger(), &folder, &texts);
    tokio::task::spawn_blocking(keep).await.map_err(Refusal::internal)??;
    let about = json!({"sha256": sha256.to_string()});
    let caller = connection.peer().journal_json();
    let store = file_store(&state);
    let (keys, begun) = begin(store.clone(), keys).await?;
    let restored = state.ledger().restore(scratch.path("ledger.db"), head, about, caller).await;
    if let (Some(store), Err(error)) = (store.as_ref().filter(|_| begun), &restored)
        && *error != LedgerError::Closed
    {
        // Nothing was changed.
        store.end_import().map_err(|e| of_store(&e))?;
    }
    let repositories = restored?;
    let take = move || store.map_or(Ok(Imported::default()), |store| store.import_files(&keys));
    let keys = tokio::task::spawn_blocking(take).await.map_err(Refusal::internal)?;
    let mut keys = keys.map_err(|e| of_store(&e))?;
    let (added, left_out) = split::take_in(&state, splits, &keys.added).await?;
    let gone = split::take_whole_copies_away(&state, &keys.added, &added).await?;
    keys.added.retain(|name| !gone.contains(name));
    keys.left_out.extend(gone);
    // Of one that was being split there is one name, and both.
    keys.added.extend(added.into_iter().filter(|name| !keys.added.contains(name)).collect::<Vec<_>>());
    keys.left_out.extend(left_out);
    let held = state.tokens().keys().await;
    let added = held.iter().filter(|key| keys.added.contains(&key.name));
    let keyids = added.map(|key| key.stored.public.to_key().computed_keyid().to_string());
    let body = json!({
        "sha256": sha256.to_string(),
        "added": keys.added,
        "keyids": keyids.collect::<Vec<_>>(),
        "left_out": keys.left_out,
    });
    state.journal("backup.keys", Some(connection.peer()), body).await?;
    drop((scratch, working));
    Ok(Done { repositories, keys, sha256 })
}

/// From here until the keys are there, too, no store is made anew, whatever happens to this process.
async fn begin(
    store: Option<Arc<FileStore>>,
    keys: Vec<CopiedFile>,
) -> Result<(Vec<CopiedFile>, bool), Refusal> {
    let work = move || {
        let begun = store.map_or(Ok(false), |store| store.begin_import(&keys));
        begun.map(|begun| (keys, begun)).map_err(|e| of_store(&e))
    };
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?
}

fn file_store(state: &AppState) -> Option<Arc<FileStore>> {
    state.tokens().all().iter().find_map(|slot| slot.file_store())
}

fn write(
    out: &mut impl Write,
    ledger: &Ledger,
    head: &str,
    texts: &[Sha256Digest],
    db: &Path,
    keys: &[CopiedFile],
    splits: &[Copied],
) -> io::Result<()> {
    records::put(out, "head", head.as_bytes())?;
    let mut file = File::open(db)?;
    let length = file.metadata()?.len();
    records::put_from(out, "ledger.db", length, &mut file)?;
    for digest in texts {
        // One that is gone counts as never seen, as it does here.
        let text = ledger.load_text(digest).map_err(io::Error::other)?;
        text.map_or(Ok(()), |text| records::put(out, &format!("text/{digest}"), &text))?;
    }
    for (name, bytes) in keys {
        records::put(out, &format!("keys/{name}"), bytes)?;
    }
    for Copied { token, key, bytes } in splits {
        records::put(out, &format!("shares/{token}/{key}"), bytes)?;
    }
    records::end(out)
}

fn keep_texts(ledger: &Ledger, folder: &Path, texts: &[Sha256Digest]) -> Result<(), Refusal> {
    for digest in texts.iter().filter(|digest| !ledger.has_text(digest)) {
        let mut text = Vec::new();
        let read =
            File::open(folder.join(digest.to_string())).and_then(|mut file| file.read_to_end(&mut text));
        read.map_err(|e| failed(&e))?;
        ledger.store_verified_text(digest, &text)?;
    }
    Ok(())
}

/// Sealed bytes on their way to the client.
struct Pieces {
    to: mpsc::Sender<Result<BackupChunk, Status>>,
    open: Vec<u8>,
    sent: u64,
    /// When the first piece went.
    began: Option<Instant>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.extend_from_slice(bytes);
        if self.open.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.open, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away");
        self.sent = self.sent.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        self.to.blocking_send(Ok(BackupChunk { data })).map_err(gone)?;
        // Another backup waits until this one is taken.
        let began = self.began.get_or_insert_with(Instant::now);
        if limits::too_slow(began.elapsed(), self.sent) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes it too slowly"));
        }
        Ok(())
    }
}

const PIECE: usize = 1 << 20;

fn failed(error: &io::Error) -> Refusal {
    LedgerError::from_io("the backup could not be written or read", error).into()
}

fn of_store(error: &backend::BackendError) -> Refusal {
    let reason = error.reason().parse().unwrap_or(Reason::StateIo);
    Refusal::new(reason, format!("the file store: {error}")).remedy(error.remedy())
}

/// A file that cannot be opened, or not be written.
fn sealing(error: &SealedFileError) -> Refusal {
    let unreadable = |remedy: &str| {
        Refusal::new(Reason::StateCorrupt, format!("the backup cannot be used: {error}")).remedy(remedy)
    };
    match error {
        SealedFileError::Passphrase { .. } => {
            Refusal::new(Reason::PinIncorrect, format!("the backup cannot be opened: {error}"))
                .remedy("give the passphrase with which it was made")
        }
        SealedFileError::Newer(_) => {
            unreadable("restore it with the version of tuf-agent that made it, or a newer one")
        }
        SealedFileError::Io(error) if error.kind() != io::ErrorKind::InvalidData => failed(error),
        _ => unreadable("take another copy of it, or another backup; nothing was changed"),
    }
}

/// Opens a sealed file.
fn open(path: &Path, passphrase: &SecretBytes) -> Result<Opener<File>, Refusal> {
    let file = File::open(path).map_err(|e| failed(&e))?;
    Opener::new(file, passphrase).map_err(|e| sealing(&e))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_that_takes_a_little_now_and_then_keeps_no_other_backup_waiting() {
        let (to, _taken) = mpsc::channel(4);
        let began = Instant::now().checked_sub(Duration::from_secs(60));
        let mut pieces = Pieces { to, open: Vec::new(), sent: 0, began };
        pieces.write_all(&[0; 100]).unwrap();
        assert_eq!(pieces.flush().unwrap_err().kind(), io::ErrorKind::TimedOut);
        pieces.sent = 60 * limits::RATE;
        pieces.write_all(&[0; 100]).unwrap();
        pieces.flush().unwrap();
    }
}
