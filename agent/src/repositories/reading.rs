//! Received files read as what they are said to be.

use policy::Reason;
use tuf::metadata::{Limits, Metadata};
use tuf::role::RoleName;

use super::Repositories;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;
use ledger::Record;

/// From this size on, bytes, a file is compared with what is at hand before it is read.
const LARGE: usize = 1 << 20;

impl Repositories {
    /// For each file the newest of its role, where the file is large and that is at hand: what was signed a moment ago
    /// comes back with its signatures, and all else of it need not be read again.
    pub(super) async fn at_hand(
        &self,
        record: &Record,
        files: &[ReceivedFile],
    ) -> Result<Vec<Option<Metadata>>, Refusal> {
        let mut known = Vec::with_capacity(files.len());
        for file in files {
            let role = file.role.parse().ok().filter(|_| file.bytes.len() >= LARGE);
            known.push(match role {
                Some(role) => self.memory.at_hand(record, &role).await?,
                None => None,
            });
        }
        Ok(known)
    }
}

/// Reads every file, and its digest, as what it is said to be.
pub(super) fn read_all(
    files: Vec<ReceivedFile>,
    known: Vec<Option<Metadata>>,
) -> Result<Vec<(RoleName, Metadata)>, Refusal> {
    let limits = Limits::agent();
    let read = |(file, known): (ReceivedFile, Option<Metadata>)| {
        let unreadable = |why: &dyn std::fmt::Display| {
            let shown: String = file.role.chars().take(80).collect();
            Refusal::new(Reason::MetadataInvalid, format!("the metadata of {shown:?} cannot be read: {why}"))
                .remedy("look at the file, or get it again from where it was published")
                .detail("role", shown)
        };
        let role: RoleName = file.role.parse().map_err(|why| unreadable(&why))?;
        let metadata = match known.and_then(|known| known.resigned_as(&file.bytes)) {
            Some(metadata) => metadata,
            None => Metadata::parse(file.bytes, &limits).map_err(|why| unreadable(&why))?,
        };
        if metadata.kind() != role.kind() {
            return Err(unreadable(&format!("it is metadata of the type {}", metadata.kind())));
        }
        let _ = (metadata.digest(), metadata.file_digest());
        Ok((role, metadata))
    };
    files.into_iter().zip(known).map(read).collect()
}
