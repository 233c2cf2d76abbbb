//! Publication: target files, root, targets roles, snapshot, `timestamp.json` last; each written, flushed and renamed.
//! Where that would show clients a mixture, `metadata/` is made anew beside itself and swapped whole.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};

use super::beneath::Folder;
use super::read::MOST_BYTES;
use super::sources::{Notice, Progress};
use super::{Workspace, files, layout};
use crate::error::{Failure, reason};

/// How to publish; kept in `staged/` so that a publication that was cut off is finished alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishOptions {
    /// Give nested targets a second name for clients of the kind of tough.
    pub(crate) tough_names: bool,
}

/// What was published.
#[derive(Debug)]
pub(crate) struct Published {
    /// The roles and their versions, in the order in which they were published.
    pub(crate) roles: Vec<(RoleName, Version)>,
    /// Target files that were new or different.
    pub(crate) target_files: u64,
}

impl Workspace {
    /// Publishes all that is staged and takes `staged/` away. `notice` is told before anything is written when the file
    /// system cannot swap folders at once.
    ///
    /// # Errors
    /// `THRESHOLD_MISSING` when a role, staged or published, would not meet a threshold; `TARGET_CHANGED` when a source
    /// is gone or changed. Clients see nothing of it then.
    pub(crate) fn publish(
        &mut self,
        options: &PublishOptions,
        progress: Progress<'_>,
        notice: Notice<'_>,
    ) -> Result<Published, Failure> {
        self.check_thresholds()?;
        self.check_folders()?;
        let swap = self.must_swap()?;
        let at_once = !swap || can_exchange(&self.dir);
        if !at_once {
            notice(
                "this file system cannot swap metadata/ at once: for a moment clients will find no metadata, and retry",
            );
        }
        let marker = self.staged_folder().join(layout::PUBLISHING);
        let text = serde_json::to_vec(options)
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write {}: {e}", marker.display())))?;
        files::write(&marker, &text)?;
        let target_files = match self.bring_targets(options.tough_names, progress, notice) {
            Ok(number) => number,
            Err(failure) => {
                // No metadata was touched: this publication never was.
                files::remove(&marker)?;
                return Err(failure);
            }
        };
        let staged = self.staged_metadata()?;
        if swap {
            self.publish_by_swap(&staged, at_once)?
        } else {
            self.publish_in_order(&staged)?
        }
        self.keep_key_names()?;
        self.drop_staged()?;
        Ok(Published {
            roles: staged.into_iter().map(|(role, metadata)| (role, metadata.version())).collect(),
            target_files,
        })
    }

    /// Finishes a publication that was cut off. Every step of it may be done again.
    pub(super) fn finish_publication(&mut self) -> Result<(), Failure> {
        let marker = self.staged_folder().join(layout::PUBLISHING);
        let text = files::read(&marker, MOST_BYTES)?.unwrap_or_default();
        let options = serde_json::from_slice(&text).unwrap_or(PublishOptions { tough_names: true });
        self.publish(&options, &mut |_, _| {}, &mut |_| {}).map(drop)
    }

    /// Takes all of `staged/` away: it is published, or given up.
    pub(crate) fn drop_staged(&mut self) -> Result<(), Failure> {
        let done = self.dir.join(layout::DONE);
        files::remove_folder(&done)?;
        if self.staged_folder().exists() {
            files::rename(&self.staged_folder(), &done)?;
            files::remove_folder(&done)?;
        }
        self.forget();
        let names = std::mem::take(&mut self.record.names);
        self.record = super::staged::Record { names, ..Default::default() };
        Ok(())
    }

    fn staged_metadata(&self) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let roles = self.staged_roles()?.into_iter();
        roles.filter_map(|role| Some(self.staged(&role).transpose()?.map(|m| (role, m)))).collect()
    }

    /// Every role that clients will see must meet every threshold that will stand.
    fn check_thresholds(&self) -> Result<(), Failure> {
        let mut roles = self.staged_roles()?;
        if self.staged(&RoleKind::Root.role())?.is_some() {
            roles.extend([RoleKind::Targets, RoleKind::Snapshot, RoleKind::Timestamp].map(RoleKind::role));
        }
        for parent in roles.clone() {
            if let Some(metadata) = self.current(&parent)? {
                roles.extend(self.children(&metadata)?);
            }
        }
        roles.sort_unstable();
        roles.dedup();
        for role in roles {
            let state = self.signatures(&role)?;
            if !state.met {
                let (have, need) = (state.have, state.need);
                return Err(Failure::new(
                    reason::THRESHOLD_MISSING,
                    format!("{role} has {have} of {need} signatures and cannot be published"),
                )
                .remedy("sign it: tufctl sign")
                .detail("role", role.as_str())
                .detail("have", have)
                .detail("need", need));
            }
        }
        Ok(())
    }

    /// Whether files renamed one after the other would show clients a mixture that they refuse: without consistent
    /// snapshots, or when a root takes keys from roles whose new files come after it.
    fn must_swap(&self) -> Result<bool, Failure> {
        let role = RoleKind::Root.role();
        let (published, staged) = (self.published(&role)?, self.staged(&role)?);
        let Some(before) = published.as_ref().and_then(Metadata::as_root) else { return Ok(false) };
        let Some(after) = staged.as_ref().and_then(Metadata::as_root) else {
            return Ok(!before.consistent_snapshot);
        };
        let online = [RoleKind::Timestamp, RoleKind::Snapshot, RoleKind::Targets];
        let keys_change = online.iter().any(|kind| before.role(*kind) != after.role(*kind));
        Ok(keys_change || !before.consistent_snapshot || !after.consistent_snapshot)
    }

    fn publish_in_order(&self, staged: &[(RoleName, Metadata)]) -> Result<(), Failure> {
        let repository = Folder::of_repository(&self.dir)?;
        let folder = repository.make(Path::new(layout::METADATA))?;
        repository.sync()?;
        for (role, metadata) in staged {
            // What the timestamp leads to is durable before clients see it.
            if role.kind() == RoleKind::Timestamp {
                folder.sync()?;
            }
            self.write_published(&folder, role, metadata)?;
        }
        folder.sync()
    }

    fn publish_by_swap(&self, staged: &[(RoleName, Metadata)], at_once: bool) -> Result<(), Failure> {
        let (now, next) = (self.metadata_folder(), self.dir.join(layout::NEXT));
        // An interrupted swap may have left the old folder here, and nothing in its place.
        if !now.exists() && next.exists() {
            files::rename(&next, &now)?;
        }
        files::remove_folder(&next)?;
        files::make_folder(&next)?;
        copy_folder(&now, &next)?;
        let folder = Folder::of_repository(&self.dir)?.open(Path::new(layout::NEXT))?;
        for (role, metadata) in staged {
            self.write_published(&folder, role, metadata)?;
        }
        folder.sync()?;
        if at_once {
            renameat_with(CWD, &next, CWD, &now, RenameFlags::EXCHANGE)
                .map_err(|e| Failure::io("swap", &now, &e.into()))?;
        } else {
            let old = self.dir.join(format!("{}.old", layout::NEXT));
            files::remove_folder(&old)?;
            files::rename(&now, &old)?;
            files::rename(&next, &now)?;
            files::remove_folder(&old)?;
        }
        files::sync_folder(&self.dir)?;
        files::remove_folder(&next)
    }

    /// Writes one published file, and beside it the names that repositories without consistent snapshots have.
    fn write_published(&self, folder: &Folder, role: &RoleName, metadata: &Metadata) -> Result<(), Failure> {
        let consistent = self.consistent_snapshot()?;
        let name = layout::file_name(role, metadata.version(), consistent);
        folder.write(name.as_ref(), metadata.bytes())?;
        if role.kind() == RoleKind::Root && !consistent {
            folder.write(layout::plain_name(role).as_ref(), metadata.bytes())?;
        }
        Ok(())
    }
}

/// Gives every file of a folder a second name in another; files are never written in place, so they may share.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::io("read", from, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Failure::io("read", from, &e))?;
        let (path, place): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            files::make_folder(&place)?;
            copy_folder(&path, &place)?;
        } else {
            files::link(&path, &place)?;
        }
    }
    files::sync_folder(to)
}

/// Whether the file system swaps two folders in one step; tried with two empty ones.
fn can_exchange(dir: &Path) -> bool {
    let [a, b] = ["a", "b"].map(|end| dir.join(format!(".tufctl.swap.{end}")));
    let made = [&a, &b].iter().all(|folder| folder.is_dir() || fs::create_dir(folder).is_ok());
    let can = made && renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).is_ok();
    let _ = fs::remove_dir(&a);
    let _ = fs::remove_dir(&b);
    can
}
