//! A backup as it comes over the wire: to the disk, piece by piece, and hashed on its way.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use policy::Reason;
use secmem::SecretBytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use tokio_stream::StreamExt as _;
use tonic::Streaming;
use tuf::digest::Sha256Digest;
use tufagent_proto::v1::RestoreRequest;
use tufagent_proto::v1::restore_request::Part;

use super::failed;
use super::scratch::Scratch;
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;

/// A backup on the disk, still sealed.
pub struct Received {
    pub(super) sealed: PathBuf,
    pub(super) passphrase: SecretBytes,
    pub(super) sha256: Sha256Digest,
    pub(super) scratch: Scratch,
    pub(super) receiving: MutexGuard<'static, ()>,
}

/// One at a time: they share a folder. No backup waits for what a client has not sent.
static RECEIVING: Mutex<()> = Mutex::const_new(());

/// Reads the whole stream: the sealed passphrase, then the file.
///
/// # Errors
/// `USAGE`, `LIMIT`, `CANCELLED`, `STATE_IO`.
pub async fn receive(
    state: &AppState,
    connection: &Connection,
    mut stream: Streaming<RestoreRequest>,
) -> Result<Received, Refusal> {
    let Some(Part::Passphrase(passphrase)) = next(&mut stream).await? else {
        return Err(usage("the first part must be the passphrase"));
    };
    let passphrase = connection.seal().open(&passphrase, "restore")?;
    let receiving = RECEIVING.lock().await;
    let scratch = Scratch::new(state.ledger().folder(), ".restore")?;
    let sealed = scratch.path("sealed");
    let mut file = File::create_new(&sealed).map_err(|e| failed(&e))?;
    let (mut hash, mut total) = (Sha256::new(), 0_u64);
    while let Some(part) = next(&mut stream).await? {
        let Part::Chunk(bytes) = part else { return Err(usage("the passphrase came twice")) };
        total = total.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if total > MOST {
            return Err(Refusal::new(Reason::Limit, "the backup is larger than any that is read (64 GiB)")
                .remedy("is this the right file?"));
        }
        hash.update(&bytes);
        // A disk may be slow: not on a thread that serves others.
        let write = move || file.write_all(&bytes).map(|()| file);
        let written = tokio::task::spawn_blocking(write).await.map_err(Refusal::internal)?;
        file = written.map_err(|e| failed(&e))?;
    }
    let sha256 = Sha256Digest::from_bytes(hash.finalize().into());
    Ok(Received { sealed, passphrase, sha256, scratch, receiving })
}

async fn next(stream: &mut Streaming<RestoreRequest>) -> Result<Option<Part>, Refusal> {
    match tokio::time::timeout(PATIENCE, stream.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(request))) => {
            request.part.map(Some).ok_or_else(|| usage("an empty request came on the stream"))
        }
        Ok(Some(Err(_))) | Err(_) => {
            Err(Refusal::new(Reason::Cancelled, "nothing was restored: the client's stream broke off")
                .remedy("restore it again"))
        }
    }
}

fn usage(message: &str) -> Refusal {
    Refusal::new(Reason::Usage, message).remedy("use tufctl, or read agent.proto")
}

/// A client that sends nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest backup that is read, bytes.
const MOST: u64 = 64 << 30;
