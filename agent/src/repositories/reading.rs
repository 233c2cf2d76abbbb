//! Received files read as what they are said to be.

use std::collections::BTreeMap;

use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::json::Text;
use tuf::metadata::{Limits, Metadata, MetadataError};
use tuf::role::RoleName;

use super::Repositories;
use super::authority::delegations;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;
use ledger::Record;

/// From this size on, bytes, a file is compared with what is at hand before it is read, and may be sent as changes of it.
pub(super) const LARGE: usize = 1 << 20;

impl Repositories {
    /// The large files that are at hand: by the digest of what is signed in them, that of their bytes.
    #[must_use]
    pub fn kept(&self) -> BTreeMap<Sha256Digest, Sha256Digest> {
        let named = |file: &Metadata| Some((file.digest(), file.known_file_digest()?));
        self.memory.large().iter().filter_map(named).collect()
    }

    /// The large file whose bytes have this digest, of which the caller sends changes; nothing for none.
    ///
    /// # Errors
    /// `BASE_UNKNOWN`, `USAGE`.
    pub fn base(&self, file_sha256: &str) -> Result<Option<Metadata>, Refusal> {
        if file_sha256.is_empty() {
            return Ok(None);
        }
        let wanted: Sha256Digest = file_sha256.parse().map_err(|error| {
            Refusal::new(Reason::Usage, format!("the digest of a base was given wrongly: {error}"))
        })?;
        let large = self.memory.large();
        let found = large.into_iter().find(|file| file.known_file_digest() == Some(wanted));
        found.map(Some).ok_or_else(|| {
            Refusal::new(Reason::BaseUnknown, "the file is not at hand of which changes were sent")
                .remedy("send all of it")
        })
    }

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

/// Reads a file, with the help of the version that it was made from.
pub fn parse(bytes: impl Into<Text>, near: Option<&Metadata>) -> Result<Metadata, MetadataError> {
    let limits = Limits::agent();
    match near {
        Some(near) => near.parse_near(bytes, &limits),
        None => Metadata::parse(bytes, &limits),
    }
}

/// Reads every file, and its digest, as what it is said to be.
pub(super) fn read_all(
    files: Vec<ReceivedFile>,
    known: Vec<Option<Metadata>>,
) -> Result<Vec<(RoleName, Metadata)>, Refusal> {
    let read = |(file, known): (ReceivedFile, Option<Metadata>)| {
        let unreadable = |why: &dyn std::fmt::Display| {
            let shown: String = file.role.chars().take(80).collect();
            Refusal::new(Reason::MetadataInvalid, format!("the metadata of {shown:?} cannot be read: {why}"))
                .remedy("look at the file, or get it again from where it was published")
                .detail("role", shown)
        };
        let role: RoleName = file.role.parse().map_err(|why| unreadable(&why))?;
        let bytes = Text::from(file.bytes);
        let metadata = match known.and_then(|known| known.resigned_as(&bytes)) {
            Some(metadata) => metadata,
            None => parse(bytes, file.near.as_ref()).map_err(|why| unreadable(&why))?,
        };
        if metadata.kind() != role.kind() {
            return Err(unreadable(&format!("it is metadata of the type {}", metadata.kind())));
        }
        let _ = (metadata.digest(), metadata.file_digest());
        Ok((role, metadata))
    };
    files.into_iter().zip(known).map(read).collect()
}

/// Puts every targets role behind all of those that delegate to it; all else stays where it is. A role with two parents
/// is judged by both. In a circle of delegations the first one goes first.
pub(super) fn parents_first(files: Vec<(RoleName, Metadata)>) -> Vec<(RoleName, Metadata)> {
    let parents: Vec<usize> = (0..files.len())
        .filter(|at| files.get(*at).is_some_and(|(_, file)| delegations(file).is_some()))
        .collect();
    let (mut order, mut begun) = (Vec::with_capacity(files.len()), vec![false; files.len()]);
    for first in 0..files.len() {
        // What must come before it, deepest last; each is looked at once before its parents and once after.
        let mut waiting = vec![(first, false)];
        while let Some((at, ready)) = waiting.pop() {
            let Some((role, _)) = files.get(at) else { continue };
            if ready {
                order.push(at);
                continue;
            }
            let Some(begun) = begun.get_mut(at).filter(|begun| !**begun) else { continue };
            *begun = true;
            waiting.push((at, true));
            let delegates = |parent: &&usize| {
                let of = files.get(**parent).filter(|(name, _)| name != role);
                of.and_then(|(_, file)| delegations(file)).is_some_and(|all| all.role_keys(role).is_some())
            };
            waiting.extend(parents.iter().filter(delegates).rev().map(|parent| (*parent, false)));
        }
    }
    let mut files: Vec<_> = files.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| files.get_mut(at)?.take()).collect()
}
