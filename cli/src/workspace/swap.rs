//! `metadata/` made anew beside itself and put in its place at once, where single files would show clients a mixture.
//!
//! With RENAME_EXCHANGE there is no moment without it. Where the file system lacks that, the old folder steps aside
//! first; where `metadata/` cannot be moved at all (it is mounted, or of a lower layer of an overlay), its files are
//! replaced one after the other. Each way is said before it is gone, and finished after a crash.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tuf::metadata::Metadata;
use tuf::role::RoleName;

use super::beneath::{Folder, TEMPORARY};
use super::bring::Brought;
use super::publish::{MIXED, TWO_STEPS};
use super::sources::Notice;
use super::{Workspace, carried, files, layout};
use crate::error::Failure;

impl Workspace {
    /// Publishes by swapping `metadata/` whole. Target files that clients know under the same name come with it: for that
    /// moment their names lead through the folder that is swapped. Where they cannot, they are replaced right before.
    pub(super) fn publish_by_swap(
        &self,
        staged: &[(RoleName, Metadata)],
        brought: &Brought,
        at_once: bool,
        notice: Notice<'_>,
    ) -> Result<(), Failure> {
        let next = self.dir().join(layout::NEXT);
        files::remove_folder(&next)?;
        let repository = Folder::of_repository(self.dir())?;
        let folder = repository.make(Path::new(layout::NEXT))?;
        if repository.about(layout::METADATA.as_ref())?.is_some() {
            carried::carry(&repository.open(Path::new(layout::METADATA))?, &folder)?;
        }
        for (role, metadata) in staged {
            self.write_published(&folder, role, metadata)?;
        }
        self.renew_plain_root(&folder)?;
        folder.sync()?;
        files::sync_folder(self.dir())?;
        let through = brought.replaces() && brought.lead_through(&repository, layout::NEXT)?;
        if !through {
            brought.replace()?;
        }
        if !self.swap(at_once, notice)? {
            notice(MIXED);
            self.publish_in_order(staged, false)?;
        }
        files::sync_folder(self.dir())?;
        if through {
            brought.replace()?;
        }
        brought.sync()?;
        if brought.replaces() {
            files::remove_folder(&self.metadata_folder().join(layout::THROUGH))?;
        }
        files::remove_folder(&next)
    }

    /// Puts the next folder in the place of `metadata/`; false when that cannot be moved.
    fn swap(&self, at_once: bool, notice: Notice<'_>) -> Result<bool, Failure> {
        let (now, next) = (self.metadata_folder(), self.dir().join(layout::NEXT));
        if at_once {
            match renameat_with(CWD, &next, CWD, &now, RenameFlags::EXCHANGE) {
                Ok(()) => return Ok(true),
                Err(e) if IMMOVABLE.contains(&e) => {}
                Err(e) if LACKING.contains(&e) => notice(TWO_STEPS),
                Err(e) => return Err(Failure::io("swap", &now, &e.into())),
            }
        }
        let old = self.dir().join(layout::OLD);
        files::remove_folder(&old)?;
        match rustix::fs::rename(&now, &old) {
            Ok(()) => {}
            Err(e) if IMMOVABLE.contains(&e) => return Ok(false),
            Err(e) => return Err(Failure::io("swap", &now, &e.into())),
        }
        // Between these two there is no metadata/; `repair_swap` knows it.
        files::rename(&next, &now)?;
        files::remove_folder(&old)?;
        Ok(true)
    }
}

/// Where metadata lies now: in its place, or, cut off between the two steps of a swap, in the next folder.
pub(super) fn metadata_of(dir: &Path) -> PathBuf {
    let (now, next) = (dir.join(layout::METADATA), dir.join(layout::NEXT));
    if is_halfway(dir) && exists(&next) { next } else { now }
}

/// Whether a swap in two steps was cut off between them.
pub(super) fn is_halfway(dir: &Path) -> bool {
    !exists(&dir.join(layout::METADATA)) && exists(&dir.join(layout::OLD))
}

/// Finishes a swap that was cut off between its two steps. The old folder stepped aside when the next one was whole.
pub(super) fn repair_swap(dir: &Path) -> Result<(), Failure> {
    if !is_halfway(dir) {
        return Ok(());
    }
    let (next, old) = (dir.join(layout::NEXT), dir.join(layout::OLD));
    files::rename(if exists(&next) { &next } else { &old }, &dir.join(layout::METADATA))
}

/// Ends what a swap that was cut off has left of names in `targets/` that lead through `metadata/`: each gets the file to
/// which it leads, the old one before the swap and the new one after it.
pub(super) fn mend_names(dir: &Path) -> Result<(), Failure> {
    let place = dir.join(layout::METADATA).join(layout::THROUGH);
    if !exists(&place) {
        return Ok(());
    }
    let repository = Folder::of_repository(dir)?;
    let through = repository.open(Path::new(layout::METADATA))?.open(Path::new(layout::THROUGH))?;
    let targets = repository.open(Path::new(layout::TARGETS))?;
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let (mut files, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (name, about) in entries(&place.join(&folder))? {
            if about.is_dir() {
                folders.push(folder.join(name));
                continue;
            }
            files.insert((about.dev(), about.ino()));
            names.insert(name.clone());
            let path = dir.join(layout::TARGETS).join(&folder).join(&name);
            let leads = fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink());
            if !leads {
                continue;
            }
            // A target of others may have the usual name of what is on its way.
            let here = targets.open(&folder)?;
            let temporary = here.unused_temporary()?;
            if !here.writing_as(&temporary).link(&through.open(&folder)?, &name, &name)? {
                return Err(Failure::io(
                    "link",
                    &path,
                    &std::io::Error::other("there are no hard links here"),
                ));
            }
        }
        // One that was made and has no name in `targets/` yet is in nobody's way.
        let Ok(here) = targets.open(&folder) else { continue };
        for (name, about) in entries(&dir.join(layout::TARGETS).join(&folder))? {
            // After the swap the new file has its place, and waits no more; before it, it goes on waiting.
            let waits = name
                .to_str()
                .is_some_and(|name| name.starts_with(TEMPORARY) && !names.contains(OsStr::new(name)));
            if waits && files.contains(&(about.dev(), about.ino())) {
                here.remove(&name)?;
            }
        }
        here.sync()?;
    }
    files::remove_folder(&place)
}

/// Names in a folder and what has them, links not followed.
fn entries(folder: &Path) -> Result<Vec<(OsString, fs::Metadata)>, Failure> {
    let fail = |e: std::io::Error| Failure::io("read", folder, &e);
    let found = fs::read_dir(folder).map_err(fail)?;
    found.map(|entry| entry.and_then(|it| Ok((it.file_name(), it.metadata()?))).map_err(fail)).collect()
}

/// Removes what a swap that was cut off has left beside `metadata/`.
pub(super) fn clean_up(dir: &Path) -> Result<(), Failure> {
    for name in [layout::NEXT, layout::OLD] {
        files::remove_folder(&dir.join(name))?;
    }
    layout::TRIAL.iter().for_each(|name| drop(fs::remove_dir(dir.join(name))));
    Ok(())
}

/// Whether the file system swaps two folders in one step; tried with two empty ones.
pub(super) fn can_exchange(dir: &Path) -> bool {
    let [a, b] = layout::TRIAL.map(|name| dir.join(name));
    let made = [&a, &b].iter().all(|folder| folder.is_dir() || fs::create_dir(folder).is_ok());
    let can = made && renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).is_ok();
    let _ = fs::remove_dir(&a);
    let _ = fs::remove_dir(&b);
    can
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// What file systems say that do not know RENAME_EXCHANGE.
const LACKING: [Errno; 3] = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
/// What is said of a folder that is mounted, or lies in a lower layer of an overlay.
pub(super) const IMMOVABLE: [Errno; 2] = [Errno::XDEV, Errno::BUSY];
