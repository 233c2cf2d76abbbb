//! Received files read as what they are said to be.

use policy::Reason;
use tuf::metadata::{Limits, Metadata};
use tuf::role::RoleName;

use super::Repositories;
use super::authority::delegations;
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
