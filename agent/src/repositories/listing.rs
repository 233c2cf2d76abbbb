//! What a snapshot or timestamp may list: metadata that the agent has seen with its threshold met.

use std::collections::BTreeMap;

use ledger::Record;
use policy::Reason;
use tuf::metadata::{Hashes, MetaFile, Metadata};
use tuf::role::{RoleKind, RoleName, Version};

use super::Repositories;
use crate::refusal::Refusal;

impl Repositories {
    /// What snapshots have listed and the newest that was verified does not list, or at a lower version: clients that have
    /// seen it refuse what does not list it (specification 5.5.5).
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn unlisted(&self, record: &Record) -> Result<BTreeMap<RoleName, Version>, Refusal> {
        let role = RoleKind::Snapshot.role();
        let mut listed = self.ledger.listed(record.id, role.clone()).await?;
        let newest = self.ledger.watermark(record.id, role).await?.verified;
        let newest = self.memory.of_mark(newest).await?;
        if let Some(newest) = newest.as_ref().and_then(Metadata::as_snapshot) {
            listed.retain(|role, last| newest.meta.get(role).is_none_or(|entry| entry.version < *last));
        }
        Ok(listed)
    }

    /// Checks what `subject` lists, if it lists anything. That nothing vanishes or goes down the ledger checks itself.
    pub(super) async fn check_listing(
        &self,
        record: &Record,
        role: &RoleName,
        subject: &Metadata,
    ) -> Result<(), Refusal> {
        if let Some(timestamp) = subject.as_timestamp() {
            let snapshot = RoleKind::Snapshot.role();
            return self.check_entry(record, role, &snapshot, &timestamp.snapshot).await;
        }
        let Some(snapshot) = subject.as_snapshot() else { return Ok(()) };
        if !snapshot.meta.contains_key(&RoleKind::Targets.role()) {
            return Err(invalid(role, "it does not list targets", "list every targets role"));
        }
        let before = self.ledger.watermark(record.id, role.clone()).await?.verified;
        let before = self.memory.of_mark(before).await?;
        let before = before.as_ref().and_then(Metadata::as_snapshot);
        let same = |name: &RoleName, entry: &MetaFile| {
            before.and_then(|snapshot| snapshot.meta.get(name)).is_some_and(|known| known == entry)
        };
        let marks = self.ledger.watermarks(record.id).await?;
        let verified = |name: &RoleName| Some(marks.get(name)?.verified?.version);
        let listed = self.ledger.listed(record.id, role.clone()).await?;
        let mut family = None;
        for (name, entry) in &snapshot.meta {
            if !same(name, entry) {
                if name.kind() != RoleKind::Targets {
                    return Err(invalid(role, &format!("it lists {name}"), "list targets roles only"));
                }
                // What another one has listed before says no more of a file that the agent never saw.
                let is_bare = entry.length.is_none() && entry.hashes.is_none();
                let is_dropped = before.is_some_and(|snapshot| !snapshot.meta.contains_key(name));
                let is_old = is_bare && is_dropped && listed.get(name) == Some(&entry.version);
                if !is_old || verified(name) >= Some(entry.version) {
                    self.check_entry(record, role, name, entry).await?;
                    continue;
                }
            }
            // In the words of the verified snapshot: the bytes were that one's care.
            let seen = verified(name);
            if seen >= Some(entry.version) || name.kind() != RoleKind::Targets {
                continue;
            }
            let is_short = self.ledger.short(record.id, name.clone()).await? == Some(entry.version);
            if family.is_none() {
                family = Some(self.reachable(record, &BTreeMap::new()).await?);
            }
            let is_anybodys = name.is_top_level() || family.as_ref().is_none_or(|family| family.knows(name));
            if is_anybodys && !is_short {
                return Err(unseen(role, name, entry.version, seen));
            }
        }
        Ok(())
    }

    /// One entry names the newest that was verified of its role, and describes its very bytes.
    async fn check_entry(
        &self,
        record: &Record,
        listing: &RoleName,
        role: &RoleName,
        entry: &MetaFile,
    ) -> Result<(), Refusal> {
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        let (version, verified) = (entry.version, watermark.verified);
        if verified.is_none_or(|mark| mark.version != version) {
            return Err(unseen(listing, role, version, verified.map(|mark| mark.version)));
        }
        if entry.length.is_none() && entry.hashes.is_none() {
            return Ok(());
        }
        let Some(file) = watermark.file else {
            let what =
                format!("the bytes of {role} version {version} were not seen, so they cannot be compared");
            return Err(invalid(listing, &what, "show the agent that file again"));
        };
        let fits = entry.length.is_none_or(|listed| listed == file.length)
            && match &entry.hashes {
                None => true,
                Some(Hashes { sha256: Some(listed), sha512: None, other }) if other.is_empty() => {
                    *listed == file.sha256
                }
                // Other digests were not noted: only the very file can tell.
                Some(hashes) => match self.memory.verified_file(&watermark).await? {
                    Some(kept) => hashes.match_bytes(kept.bytes()),
                    None => {
                        let what = format!(
                            "the file of {role} version {version} is not kept any more, so it cannot be compared"
                        );
                        return Err(invalid(listing, &what, "show the agent that file again")
                            .detail("entry", role.to_string()));
                    }
                },
            };
        if fits {
            return Ok(());
        }
        let what = format!(
            "length or hash of {role} version {version} are not those of the file that this agent saw"
        );
        Err(invalid(listing, &what, "show the agent the file as it will be published")
            .detail("entry", role.to_string()))
    }
}

fn unseen(listing: &RoleName, role: &RoleName, version: Version, seen: Option<Version>) -> Refusal {
    let seen = seen.map_or_else(|| "none".to_owned(), |seen| format!("version {seen}"));
    let what = format!(
        "it lists version {version} of {role}, and the newest that this agent saw with its threshold met is {seen}"
    );
    invalid(listing, &what, "show the agent what is complete, then make it anew")
        .detail("entry", role.to_string())
        .detail("version", version.get())
}

fn invalid(listing: &RoleName, what: &str, remedy: &str) -> Refusal {
    Refusal::new(Reason::SnapshotInvalid, format!("this {listing} cannot be signed: {what}"))
        .remedy(remedy)
        .detail("role", listing.to_string())
}
