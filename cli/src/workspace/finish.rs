//! The end of a publication that was cut off: it is finished while what is staged is what it was, and otherwise undone.
//!
//! Others work in the folder too: a delegate may have put a newer file of its own into `staged/` meanwhile, of which the
//! snapshot that was signed knows nothing. Published together, clients would refuse both (specification 5.6.2).

use std::collections::{BTreeMap, BTreeSet};

use tuf::metadata::{MetaFile, Metadata};
use tuf::role::{RoleKind, RoleName};

use super::online::described;
use super::read::MOST_BYTES;
use super::{Workspace, files, layout};
use crate::error::{Failure, reason};

/// What clients may have seen of a publication that was cut off.
enum Seen {
    Nothing,
    /// These roles alone.
    Some(Vec<RoleName>),
    /// What leads to all of it.
    All,
}

impl Workspace {
    /// Finishes a publication that was cut off: every step of it may be done again. One that cannot be finished, because
    /// what is staged or published is not what it was, is undone: what clients have not seen of it they will not see.
    pub(super) fn finish_publication(&mut self) -> Result<(), Failure> {
        let marker = self.staged_folder().join(layout::PUBLISHING);
        let text = files::read(&marker, MOST_BYTES)?.unwrap_or_default();
        let options = serde_json::from_slice(&text).map_err(|e| {
            Failure::new(reason::REPOSITORY_INVALID, format!("{}: {e}", marker.display()))
                .remedy("remove the file and publish again: tufctl sign DIR")
                .detail("file", marker.display().to_string())
        })?;
        let seen = self.seen()?;
        let done = self.publish(&options, &mut |_, _| {}, &mut |_| {}).map(drop);
        let Err(failure) = done else { return Ok(()) };
        if UNDOES.contains(&failure.reason()) {
            files::remove(&marker)?;
        }
        if self.is_publishing() {
            return Err(failure);
        }
        Err(failure.context(&match seen {
            Seen::Nothing => "the publication that was cut off is undone".to_owned(),
            Seen::Some(roles) => format!(
                "the publication that was cut off is undone, but for {}, which clients may have seen",
                roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join(", ")
            ),
            Seen::All => {
                "the publication that was cut off is out, and what is staged now is no part of it".to_owned()
            }
        }))
    }

    /// What clients may have seen of what is staged.
    fn seen(&self) -> Result<Seen, Failure> {
        if self.is_out()? {
            return Ok(Seen::All);
        }
        let mut out = Vec::new();
        for role in self.staged_roles()? {
            let same =
                self.staged(&role)?.zip(self.published(&role)?).is_some_and(|(a, b)| a.bytes() == b.bytes());
            out.extend(Some(role).filter(|_| same));
        }
        Ok(if out.is_empty() { Seen::Nothing } else { Seen::Some(out) })
    }

    /// Whether the staged `timestamp.json` has its place: from there clients find all that belongs to it.
    pub(super) fn is_out(&self) -> Result<bool, Failure> {
        let role = RoleKind::Timestamp.role();
        let Some(staged) = self.staged(&role)? else { return Ok(false) };
        let there = files::read(&self.metadata_folder().join(layout::plain_name(&role)), MOST_BYTES)?;
        Ok(there.is_some_and(|there| there == **staged.bytes()))
    }

    /// Whether clients will find what the snapshot lists, and the snapshot that the timestamp lists, byte for byte.
    ///
    /// # Errors
    /// `SNAPSHOT_INVALID` with the role that is another one.
    pub(super) fn check_listed(&self) -> Result<(), Failure> {
        let [snapshot, timestamp] = [RoleKind::Snapshot, RoleKind::Timestamp].map(RoleKind::role);
        let (staged, published) = (self.staged(&snapshot)?, self.published(&snapshot)?);
        let listing = staged.as_ref().or(published.as_ref()).and_then(Metadata::as_snapshot);
        let nothing = BTreeMap::new();
        let listed = listing.map_or(&nothing, |snapshot| &snapshot.meta);
        let roles: BTreeSet<RoleName> = self.staged_files()?.into_iter().collect();
        for role in roles.iter().filter(|role| role.kind() == RoleKind::Targets) {
            if let Some(file) = self.staged(role)?
                && !listed.get(role).is_some_and(|entry| is_of(entry, &file))
            {
                return Err(unlisted(role, &file, &snapshot));
            }
        }
        let before = published.as_ref().and_then(Metadata::as_snapshot).map_or(&nothing, |s| &s.meta);
        for (role, entry) in listed.iter().filter(|(role, entry)| before.get(*role) != Some(*entry)) {
            if !roles.contains(role) && !self.is_there(role, entry)? {
                return Err(gone(role, entry));
            }
        }
        let of = |file: Option<Metadata>| file?.as_timestamp().map(|timestamp| timestamp.snapshot.clone());
        let (entry, before) = (of(self.staged(&timestamp)?), of(self.published(&timestamp)?));
        let is_listed = match (&staged, entry.or(before.clone())) {
            (Some(staged), entry) => entry.is_some_and(|entry| is_of(&entry, staged)),
            (None, entry) => {
                entry == before || entry.zip(published).is_some_and(|(entry, file)| is_of(&entry, &file))
            }
        };
        match staged {
            _ if is_listed => Ok(()),
            Some(staged) => Err(unlisted(&snapshot, &staged, &timestamp)),
            None => Err(misfit(
                &timestamp,
                "the staged timestamp lists another snapshot than is published".to_owned(),
            )),
        }
    }

    /// Published files, of those that were read, that are not what the published snapshot lists: no client takes them.
    pub(crate) fn other_than_listed(&self) -> Result<Vec<String>, Failure> {
        let snapshot = self.published(&RoleKind::Snapshot.role())?;
        let Some(listing) =
            snapshot.as_ref().and_then(Metadata::as_snapshot).filter(|_| self.is_cut().is_ok_and(|cut| !cut))
        else {
            return Ok(Vec::new());
        };
        let read: Vec<(RoleName, Metadata)> = {
            let published = self.published.borrow();
            let read = published.iter().filter(|(role, _)| role.kind() == RoleKind::Targets);
            read.filter_map(|(role, file)| Some((role.clone(), file.clone()?))).collect()
        };
        let mut told = Vec::new();
        for (role, file) in read {
            let Some(entry) = listing.meta.get(&role) else { continue };
            let found = described(&file, Some(entry));
            let hashes = entry.hashes.as_ref().zip(found.hashes.as_ref());
            let other_bytes = hashes.is_some_and(|(listed, found)| !listed.conflicts(found).is_empty());
            if found.version != entry.version || found.length != entry.length || other_bytes {
                let name = layout::file_name(&role, entry.version, self.published_consistently()?);
                told.push(format!(
                    "the published {role} version {} is not the file that the snapshot lists ({name}, specification 5.6.2): clients refuse it until another version of it is published",
                    entry.version
                ));
            }
        }
        Ok(told)
    }

    /// Whether what a snapshot lists anew of a role that is not staged lies in `metadata/` already, or nobody asks for it.
    fn is_there(&self, role: &RoleName, entry: &MetaFile) -> Result<bool, Failure> {
        for name in layout::published_names(role, entry.version, self.consistent_snapshot()?) {
            let file = self.read_metadata(role, &name).ok().flatten();
            if file.is_some_and(|file| is_of(entry, &file)) {
                return Ok(true);
            }
        }
        Ok(!role.is_top_level() && self.parents(role)?.is_empty())
    }
}

/// Whether an entry of a snapshot or timestamp is of this very file.
fn is_of(entry: &MetaFile, file: &Metadata) -> bool {
    described(file, Some(entry)) == *entry
}

fn unlisted(role: &RoleName, file: &Metadata, by: &RoleName) -> Failure {
    let version = file.version();
    misfit(
        role,
        format!(
            "{role} version {version} is staged, and the {by} that was signed does not list this file of it"
        ),
    )
}

fn gone(role: &RoleName, entry: &MetaFile) -> Failure {
    misfit(
        role,
        format!("the staged snapshot lists {role} version {}, which is not staged any more", entry.version),
    )
}

fn misfit(role: &RoleName, message: String) -> Failure {
    Failure::new(reason::SNAPSHOT_INVALID, message)
        .remedy("look at what is staged (tufctl diff DIR) and sign it, which makes the snapshot anew: tufctl sign DIR")
        .detail("role", role.as_str())
}

/// What a publication is refused for before it touches anything: what is staged is not what it was, or can never be
/// published.
const UNDOES: [&str; 4] =
    [reason::THRESHOLD_MISSING, reason::WATERMARK, reason::SNAPSHOT_INVALID, reason::POLICY];
