//! Snapshot and timestamp: made when all other changed roles are complete.

use std::collections::BTreeMap;
use std::path::Path;

use tuf::edit::{Editor, new_snapshot, new_timestamp};
use tuf::metadata::{Algorithms, Hashes, MetaFile, Metadata};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tuf::word;

use super::read::parse;
use super::{Workspace, layout};
use crate::error::{Failure, reason};

impl Workspace {
    /// Makes the next snapshot if what is staged needs one, or keeps one that still fits. `signed` is the agent's
    /// watermark: the version is the next above it and above the published one. It comes to `staged/` with its first
    /// signature, or by [`Self::write_held`].
    pub(crate) fn make_snapshot(
        &mut self,
        expires: UtcTime,
        signed: Option<u64>,
    ) -> Result<Option<Metadata>, Failure> {
        let role = RoleKind::Snapshot.role();
        let published = self.published(&role)?;
        let (entries, changed) = self.snapshot_entries()?;
        let staged = self.staged(&role)?;
        let fits = staged.as_ref().and_then(Metadata::as_snapshot).is_some_and(|s| s.meta == entries);
        if fits {
            return Ok(staged);
        }
        if !changed && staged.is_none() && self.still_good(&role, published.as_ref())? {
            return Ok(None);
        }
        let version = next(&role, published.as_ref(), staged.as_ref(), signed)?;
        let bytes = match &published {
            None => new_snapshot(version, expires, &entries),
            Some(base) => {
                let mut edit = Editor::new(base);
                edit.set_version(version).set_expires(expires);
                let known = base.as_snapshot().map(|snapshot| &snapshot.meta);
                let same =
                    |name: &RoleName, file: &MetaFile| known.and_then(|known| known.get(name)) == Some(file);
                entries
                    .iter()
                    .filter(|(name, file)| !same(name, file))
                    .try_for_each(|(name, file)| edit.set_meta(name, file))
                    .and_then(|()| edit.finish())
            }
        };
        self.hold(&role, bytes.map_err(|e| internal(&e))?).map(Some)
    }

    /// Whether the staged snapshot lists exactly what is staged now.
    pub(crate) fn snapshot_fits(&self) -> Result<bool, Failure> {
        let staged = self.staged(&RoleKind::Snapshot.role())?;
        let (entries, _) = self.snapshot_entries()?;
        Ok(staged.as_ref().and_then(Metadata::as_snapshot).is_some_and(|s| s.meta == entries))
    }

    /// Whether the staged timestamp lists exactly the snapshot that is staged, or else published.
    pub(crate) fn timestamp_fits(&self) -> Result<bool, Failure> {
        let role = RoleKind::Timestamp.role();
        let listed = |file: Option<Metadata>| file?.as_timestamp().map(|t| t.snapshot.clone());
        let before = listed(self.published(&role)?);
        let wanted = match self.staged(&RoleKind::Snapshot.role())? {
            Some(snapshot) => Some(described(&snapshot, before.as_ref())),
            None => before,
        };
        let staged = listed(self.staged(&role)?);
        Ok(staged.is_some() && staged == wanted)
    }

    /// What a snapshot lists that is made now, and whether that differs from the published one.
    fn snapshot_entries(&self) -> Result<(BTreeMap<RoleName, MetaFile>, bool), Failure> {
        let published = self.published(&RoleKind::Snapshot.role())?;
        let before: BTreeMap<RoleName, MetaFile> =
            published.as_ref().and_then(Metadata::as_snapshot).map(|s| s.meta.clone()).unwrap_or_default();
        // A role that is new is told of as the top one is.
        let top = before.get(&RoleKind::Targets.role()).cloned();
        let told = |name: &RoleName, file: &Metadata| described(file, before.get(name).or(top.as_ref()));
        let is_cut = self.is_cut()?;
        let mut entries = if is_cut { BTreeMap::new() } else { before.clone() };
        if published.is_none() || is_cut {
            // Nothing was ever published; or, after a reset, what is left of it says itself what there is.
            for name in self.published_targets_roles()? {
                if let Some(metadata) = self.published(&name)? {
                    let entry = told(&name, &metadata);
                    entries.insert(name, entry);
                }
            }
        }
        let found = entries.clone();
        // What one before it has listed, a removed role too: clients that have seen it demand it (specification 5.5.5). One
        // that was never published may have listed what was never published either.
        for (name, last) in self.unlisted() {
            if entries.get(&name).is_some_and(|entry| entry.version >= last) {
                continue;
            }
            let file = layout::file_name(&name, last, self.consistent_snapshot()?);
            let file = self.read_metadata(&name, &file).ok().flatten().filter(|file| file.version() == last);
            if let Some(file) = file {
                let entry = told(&name, &file);
                entries.insert(name, entry);
            } else if !name.is_top_level() && self.parents(&name)?.is_empty() {
                entries.insert(name, MetaFile { version: last, length: None, hashes: None });
            }
        }
        let top = entries.get(&RoleKind::Targets.role()).cloned().or(top);
        for name in self.staged_roles()?.iter().filter(|name| name.kind() == RoleKind::Targets) {
            if let Some(metadata) = self.staged(name)? {
                let file = described(&metadata, entries.get(name).or(top.as_ref()));
                entries.insert(name.clone(), file);
            }
        }
        let changed = entries != found;
        Ok((entries, changed))
    }

    /// Makes the next timestamp if what is staged needs one, or keeps one that still fits; to be called once the
    /// snapshot has its signatures. It comes to `staged/` as the snapshot does.
    pub(crate) fn make_timestamp(
        &mut self,
        expires: UtcTime,
        signed: Option<u64>,
    ) -> Result<Option<Metadata>, Failure> {
        let role = RoleKind::Timestamp.role();
        let (published, staged) = (self.published(&role)?, self.staged(&role)?);
        let Some(snapshot) = self.current(&RoleKind::Snapshot.role())? else { return Ok(None) };
        let listed = |file: &Metadata| file.as_timestamp().map(|t| t.snapshot.clone());
        let before = published.as_ref().and_then(listed);
        let wanted = match (self.staged(&RoleKind::Snapshot.role())?, &before) {
            (None, Some(before)) => before.clone(),
            (staged, before) => described(&staged.unwrap_or(snapshot), before.as_ref()),
        };
        if staged.as_ref().and_then(listed).as_ref() == Some(&wanted) {
            return Ok(staged);
        }
        let same = before.as_ref() == Some(&wanted);
        if same && staged.is_none() && self.still_good(&role, published.as_ref())? {
            return Ok(None);
        }
        let version = next(&role, published.as_ref(), staged.as_ref(), signed)?;
        let bytes = match &published {
            None => new_timestamp(version, expires, &wanted),
            Some(base) => {
                let mut edit = Editor::new(base);
                edit.set_version(version).set_expires(expires);
                edit.set_snapshot(&wanted).and_then(|()| edit.finish())
            }
        };
        self.hold(&role, bytes.map_err(|e| internal(&e))?).map(Some)
    }

    /// Keeps what was made in memory: whoever makes it anew makes the same, so it need not be flushed twice.
    pub(super) fn hold(&mut self, role: &RoleName, bytes: Vec<u8>) -> Result<Metadata, Failure> {
        let metadata = parse(role, Path::new(&layout::staged_name(role)), bytes)?;
        self.staged.borrow_mut().insert(role.clone(), Some(metadata.clone()));
        self.held.insert(role.clone());
        Ok(metadata)
    }

    /// Writes what was made of a role and nobody has signed yet, so that others can.
    pub(crate) fn write_held(&mut self, role: &RoleName) -> Result<(), Failure> {
        if !self.held.contains(role) {
            return Ok(());
        }
        if let Some(metadata) = self.staged(role)? {
            self.write_staged(role, metadata.bytes().to_vec())?;
        }
        Ok(())
    }

    /// Whether what is published of a role still meets every threshold that will stand.
    pub(crate) fn still_good(&self, role: &RoleName, published: Option<&Metadata>) -> Result<bool, Failure> {
        let Some(published) = published else { return Ok(false) };
        Ok(self.signatures_on(role, published)?.met)
    }
}

/// What snapshot and timestamp say of a file: its version, and length and digests of its very bytes as far as they told
/// them of the version before; where there is none, or none that counts, the length and SHA-256.
pub(super) fn described(metadata: &Metadata, before: Option<&MetaFile>) -> MetaFile {
    let bytes = metadata.bytes();
    let of_before = before.and_then(|file| file.hashes.as_ref());
    let of_before = of_before.filter(|hashes| hashes.is_understood());
    let wanted = of_before.map_or(Algorithms::SHA256, Hashes::algorithms);
    let sha256 = wanted.sha256.then(|| metadata.file_digest());
    let hashes = Hashes { sha256, ..Algorithms { sha256: false, ..wanted }.of(bytes) };
    MetaFile {
        version: metadata.version(),
        length: u64::try_from(bytes.len()).ok().filter(|_| before.is_none_or(|file| file.length.is_some())),
        hashes: Some(hashes).filter(|_| before.is_none_or(|file| file.hashes.is_some())),
    }
}

/// The next version above everything that was published, or signed by us or by others.
fn next(
    role: &RoleName,
    published: Option<&Metadata>,
    staged: Option<&Metadata>,
    signed: Option<u64>,
) -> Result<Version, Failure> {
    let has_signatures = |m: &&Metadata| m.signatures().iter().any(|entry| !entry.sig.is_empty());
    let staged = staged.filter(has_signatures).map_or(0, |m| m.version().get());
    let last = published.map_or(0, |m| m.version().get()).max(signed.unwrap_or(0)).max(staged);
    last.checked_add(1).and_then(Version::new).ok_or_else(|| {
        Failure::new(reason::WATERMARK, format!("{role} version {last} is the last that clients can read"))
            .remedy(format!(
                "somebody has moved it forward: once root has given timestamp and snapshot new keys and is signed, tufctl repo reset-watermark DIR {}",
                word::last(role.as_str())
            ))
            .detail("role", role.as_str())
            .detail("file", layout::plain_name(role))
    })
}

fn internal(error: &tuf::edit::EditError) -> Failure {
    Failure::new(reason::INTERNAL, format!("cannot write the next version: {error}"))
}
