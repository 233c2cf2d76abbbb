//! What need not be read where it is published: the agent gives back the root and whoever delegates.
//!
//! Duty: a command that signs one of many bins reads of what is published that bin, snapshot and timestamp. Trust: the name
//! in `staged/` is a hint; that these very files are the newest that the agent has verified says that it is its repository,
//! and the roles that it gives back are those that the snapshot lists. Invariants: where anything does not fit, all is read
//! as ever; what is signed the agent judges by what it knows itself.

use tuf::metadata::{Limits, MetaFile, Metadata, Snapshot};
use tuf::role::{RoleKind, RoleName, Version};
use tufagent_proto::v1;

use super::ahead::is_large;
use super::{Workspace, layout};
use crate::error::Failure;

/// Asks the agent.
type Ask<'a> = &'a dyn Fn(v1::RecallRequest) -> Result<v1::RecallReply, Failure>;

/// Published files that were read to ask the agent by.
struct Shown {
    timestamp: Metadata,
    snapshot: Metadata,
    /// Those of staged roles, but for large ones.
    bases: Vec<(RoleName, Metadata)>,
    /// Staged roles, whose published files are read here.
    staged: Vec<RoleName>,
}

impl Workspace {
    /// Takes from the agent what it has verified of the files that are published here, and its record of the repository;
    /// `None` where it has not, or where that would not do: then nothing has changed.
    pub(crate) fn recall(&self, ask: Ask<'_>) -> Option<v1::Repository> {
        let name = self.staged_name()?.to_owned();
        let shown = self.shown().ok()??;
        let files = shown.files().map(|(role, file)| v1::FileDigest {
            role: role.to_string(),
            version: file.version().get(),
            sha256: file.digest().to_string(),
            file_sha256: file.file_digest().to_string(),
        });
        let without = shown.staged.iter().map(ToString::to_string).collect();
        let reply = ask(v1::RecallRequest { repository: name, files: files.collect(), without }).ok()?;
        let record = reply.repository.filter(|record| reply.missing.is_empty() && shown.is_newest(record))?;
        let recalled = self.fitting(&shown, reply.recalled)?;
        let all = || shown.files().chain(recalled.iter().map(|(role, file)| (role.clone(), file)));
        self.published.borrow_mut().extend(all().map(|(role, file)| (role, Some(file.clone()))));
        self.believe(all().map(|(role, _)| role));
        *self.recalled.borrow_mut() = all().map(|(role, _)| role).collect();
        Some(record)
    }

    /// Whether the agent has verified the published root, snapshot and timestamp, to the byte.
    pub(crate) fn is_recalled(&self) -> bool {
        !self.recalled.borrow().is_empty()
    }

    /// Those of `files` of which that is not known.
    pub(super) fn not_recalled(&self, mut files: Vec<(RoleName, Metadata)>) -> Vec<(RoleName, Metadata)> {
        let recalled = self.recalled.borrow();
        files.retain(|(role, _)| !recalled.contains(role));
        files
    }

    /// What is asked by: nothing where a root is staged, or nothing at all, or where files have no versioned names.
    fn shown(&self) -> Result<Option<Shown>, Failure> {
        let staged = self.staged_files()?;
        if staged.is_empty() || staged.contains(&RoleKind::Root.role()) {
            return Ok(None);
        }
        let [timestamp, snapshot] = [RoleKind::Timestamp.role(), RoleKind::Snapshot.role()];
        let Some(timestamp) = self.read_metadata(&timestamp, &layout::plain_name(&timestamp))? else {
            return Ok(None);
        };
        let Some(version) = timestamp.as_timestamp().map(|listed| listed.snapshot.version) else {
            return Ok(None);
        };
        let name = layout::file_name(&snapshot, version, true);
        let Some(snapshot) = self.read_metadata(&snapshot, &name)? else { return Ok(None) };
        let mut bases = Vec::new();
        for role in &staged {
            let listed = snapshot.as_snapshot().and_then(|listing| listing.meta.get(role));
            let name = listed.map(|listed| layout::file_name(role, listed.version, true));
            let name = name.filter(|name| !is_large(&self.metadata_folder().join(name)));
            let base = name.map(|name| self.read_metadata(role, &name)).transpose()?.flatten();
            bases.extend(base.map(|base| (role.clone(), base)));
        }
        Ok(Some(Shown { timestamp, snapshot, bases, staged }))
    }

    /// What was given back, as far as it is what is published here; `None` where the root is another.
    fn fitting(&self, shown: &Shown, given: Vec<v1::RecalledFile>) -> Option<Vec<(RoleName, Metadata)>> {
        let listing = shown.snapshot.as_snapshot()?;
        let mut fitting = Vec::new();
        for one in given {
            let role = RoleName::parse(&one.role).ok()?;
            let file = Metadata::parse(one.file, &Limits::agent()).ok()?;
            if file.kind() == role.kind() && self.is_published_so(&role, &file, listing)? {
                fitting.push((role, file));
            }
        }
        let root = fitting.iter().find_map(|(_, file)| file.as_root());
        root.is_some_and(|root| root.consistent_snapshot).then_some(fitting)
    }

    /// Whether a file is, by the names and lengths of what is published and by what the snapshot lists, the published one.
    fn is_published_so(&self, role: &RoleName, file: &Metadata, listing: &Snapshot) -> Option<bool> {
        let version = match role.kind() {
            RoleKind::Root => self.newest_root_here(),
            RoleKind::Targets => {
                listing.meta.get(role).filter(|listed| describes(listed, file)).map(|it| it.version)
            }
            RoleKind::Snapshot | RoleKind::Timestamp => None,
        };
        let path = self.metadata_folder().join(layout::file_name(role, file.version(), true));
        let about = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
        let same_length = about.is_some_and(|about| usize::try_from(about.len()) == Ok(file.bytes().len()));
        Some(version == Some(file.version()) && same_length)
    }

    fn newest_root_here(&self) -> Option<Version> {
        self.root_versions().ok()?.last().copied()
    }
}

impl Shown {
    fn files(&self) -> impl Iterator<Item = (RoleName, &Metadata)> {
        let online = [(RoleKind::Timestamp, &self.timestamp), (RoleKind::Snapshot, &self.snapshot)];
        let online = online.into_iter().map(|(kind, file)| (kind.role(), file));
        online.chain(self.bases.iter().map(|(role, file)| (role.clone(), file)))
    }

    /// Whether these are the newest that the agent has verified, and nothing was ever thrown away.
    fn is_newest(&self, record: &v1::Repository) -> bool {
        let is = |role: &RoleName, file: &Metadata| {
            record.verified.get(role.as_str()).copied() == Some(file.version().get())
        };
        record.resets.is_empty() && self.files().all(|(role, file)| is(&role, file))
    }
}

/// Whether a snapshot's entry, as far as it goes, tells of this very file.
fn describes(listed: &MetaFile, file: &Metadata) -> bool {
    let length = u64::try_from(file.bytes().len()).ok();
    listed.length.is_none_or(|listed| Some(listed) == length)
        && listed.hashes.as_ref().is_none_or(|hashes| hashes.match_bytes(file.bytes()))
}
