//! Brings the files of targets into `targets/`: all copied and flushed first, then named, then each folder flushed once.
//!
//! Flushing waits for the disk, file by file; several threads wait together. Nothing has its name before every file is
//! there and is what was signed, so that a source that is gone leaves nothing behind. A file that takes the place of
//! another one (there are such without consistent snapshots alone) waits beside it until its metadata is swapped in, and
//! the name of both leads through that folder for the moment of the swap.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Mode;
use tuf::metadata::{Algorithms, TargetFile};
use tuf::role::RoleName;
use tuf::target::stays_inside;

use super::beneath::{Folder, give_access, temporaries};
use super::sources::{Incoming, Notice, Progress, changed, gone, hash, matches, outside};
use super::threads::on_threads;
use super::{Workspace, layout, places};
use crate::error::Failure;
use crate::reading;

/// A target's file on its way.
struct Job {
    one: Incoming,
    /// Where it will lie below `targets/`.
    folder: PathBuf,
    name: OsString,
    temporary: OsString,
    /// Its other names.
    links: Vec<PathBuf>,
    /// Whether it waits under its temporary name.
    copied: AtomicBool,
    /// Whether its name says what it holds; otherwise clients may still look for another file in its place.
    hashed: bool,
    /// Whether it waits until [`Brought::replace`].
    replaces: AtomicBool,
}

/// Target files that were brought.
#[must_use]
pub(super) struct Brought {
    targets: Folder,
    jobs: Vec<Job>,
}

impl Brought {
    /// How many they are.
    pub(super) fn number(&self) -> u64 {
        u64::try_from(self.jobs.len()).unwrap_or(u64::MAX)
    }

    /// Whether the repository's folder was flushed after them.
    pub(super) fn flushed_repository(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether files wait to take the places of others.
    pub(super) fn replaces(&self) -> bool {
        self.waiting().next().is_some()
    }

    /// Makes the names of those that wait lead into `metadata/`, where the old files have names now, and into the folder
    /// `next`, which will be in its place, where the new ones have them: whoever swaps the two changes metadata and target
    /// files in one step. False where the file system cannot; then nothing has changed that clients see.
    pub(super) fn lead_through(&self, repository: &Folder, next: &str) -> Result<bool, Failure> {
        for job in self.waiting() {
            // A link that somebody has made leads elsewhere from another folder.
            if self.targets.open(&job.folder)?.file(&job.name)?.is_none() {
                return Ok(false);
            }
        }
        for (metadata, is_new) in [(layout::METADATA, false), (next, true)] {
            let metadata = repository.open(Path::new(metadata))?;
            let through = metadata.make(Path::new(layout::THROUGH))?;
            let mut folders = BTreeSet::new();
            for job in self.waiting() {
                let (from, to) = (self.targets.open(&job.folder)?, through.make(&job.folder)?);
                let file = if is_new { &job.temporary } else { &job.name };
                if !to.link(&from, file, &job.name)? {
                    return Ok(false);
                }
                note(&job.folder, &mut folders);
            }
            folders.iter().try_for_each(|folder| through.open(folder)?.sync())?;
            metadata.sync()?;
        }
        for job in self.waiting() {
            // From the folder of the name up to that of the repository.
            let up = job.folder.components().count().saturating_add(1);
            let mut way: PathBuf = std::iter::repeat_n("..", up).collect();
            way.extend([Path::new(layout::METADATA), Path::new(layout::THROUGH), &job.folder]);
            self.targets.open(&job.folder)?.point(&job.name, &way.join(&job.name))?;
        }
        // Lost in a power cut after the swap, they would lead to the old files beside the new metadata.
        self.sync()?;
        Ok(true)
    }

    /// Puts those into their places that other files have. They are on the disk, and only renamed here. Unless the names
    /// lead through `metadata/`, clients find them changed from now on until their metadata is in its place.
    pub(super) fn replace(&self) -> Result<(), Failure> {
        self.waiting().try_for_each(|job| job.put(&self.targets))
    }

    /// Makes durable what [`Self::replace`] did.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        let folders: BTreeSet<&Path> = self.waiting().map(|job| job.folder.as_path()).collect();
        folders.into_iter().try_for_each(|folder| self.targets.open(folder)?.sync())
    }

    fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.replaces.load(Ordering::Relaxed))
    }
}

impl Workspace {
    /// Brings every target that the staged roles add or change into `targets/`, durably.
    ///
    /// # Errors
    /// `TARGET_CHANGED` when a source is gone or not what was added; then nothing of it is left. `TARGET_NAME` for a path
    /// that leads out of `targets/`; `REPOSITORY_INVALID` where a link stands in the way.
    pub(super) fn bring_targets(
        &self,
        tough_names: bool,
        progress: Progress<'_>,
        notice: Notice<'_>,
    ) -> Result<Brought, Failure> {
        let jobs = jobs(self.incoming()?, self.consistent_snapshot()?, tough_names)?;
        self.bring(jobs, progress, notice)
    }

    /// Puts files back into `targets/` that are listed there as these are and are gone, or are cut; gives how many they were.
    ///
    /// # Errors
    /// As [`Self::bring_targets`].
    pub(crate) fn put_back(
        &self,
        role: &RoleName,
        files: Vec<(String, TargetFile<'static>, PathBuf)>,
        tough_names: bool,
        notice: Notice<'_>,
    ) -> Result<u64, Failure> {
        let Some(published) = self.published(role)? else { return Ok(0) };
        let Some(listed) = published.as_targets() else { return Ok(0) };
        let is_listed = |(path, target, _): &(String, TargetFile<'static>, PathBuf)| {
            listed.find(path).is_some_and(|listed| matches(&listed, target))
        };
        let incoming = files.into_iter().filter(is_listed).map(|(path, target, source)| Incoming {
            role: role.clone(),
            path,
            target,
            source: Some(source),
        });
        let mut jobs = jobs(incoming.collect(), self.published_consistently()?, tough_names)?;
        jobs.retain(|job| {
            let place = self.targets_folder().join(&job.folder).join(&job.name);
            !place.metadata().is_ok_and(|there| there.len() == job.one.target.length)
        });
        let brought = self.bring(jobs, &mut |_, _| {}, notice)?;
        brought.replace()?;
        brought.sync()?;
        Ok(brought.number())
    }

    fn bring(
        &self,
        mut jobs: Vec<Job>,
        progress: Progress<'_>,
        notice: Notice<'_>,
    ) -> Result<Brought, Failure> {
        let temporary = self.free_temporary(&jobs)?;
        for (number, job) in jobs.iter_mut().enumerate() {
            job.temporary = numbered(&temporary, number);
        }
        let repository = Folder::of_repository(self.dir())?;
        // Also where nothing is listed: what is served is `metadata/` and `targets/`.
        let targets = repository.make(Path::new(layout::TARGETS))?.writing_as(&temporary);
        let brought = Brought { targets, jobs };
        if brought.jobs.is_empty() {
            return Ok(brought);
        }
        if let Err(failure) = self.bring_all(&brought, progress, notice) {
            for job in &brought.jobs {
                let folder = brought.targets.open(&job.folder);
                let _ = folder.and_then(|folder| folder.remove(&job.temporary));
            }
            return Err(failure);
        }
        repository.sync()?;
        Ok(brought)
    }

    fn bring_all(
        &self,
        brought: &Brought,
        progress: Progress<'_>,
        notice: Notice<'_>,
    ) -> Result<(), Failure> {
        let Brought { targets, jobs } = brought;
        let total = jobs.iter().fold(0_u64, |sum, job| sum.saturating_add(job.one.target.length));
        let mut done = 0;
        let usual = targets.usual_mode()?;
        on_threads(jobs, &|job, tick| job.bring(targets, usual, tick), &mut |more| {
            done += more;
            progress(done, total);
        })?;
        let mut folders = BTreeSet::new();
        for job in jobs {
            job.name(targets, &self.targets_folder(), &mut folders, notice)?;
        }
        let folders: Vec<PathBuf> = folders.into_iter().collect();
        on_threads(&folders, &|folder, _| targets.open(folder)?.sync(), &mut |_| {})
    }

    /// The name under which files wait for their places: what an earlier run left under it goes, so it is none that a
    /// target has or a folder of targets. `target add` gives no such name; others may have.
    fn free_temporary(&self, jobs: &[Job]) -> Result<OsString, Failure> {
        let mut folders: BTreeSet<&Path> = jobs.iter().map(|job| job.folder.as_path()).collect();
        folders.extend(jobs.iter().flat_map(|job| &job.links).filter_map(|link| link.parent()));
        folders.insert(Path::new(""));
        let is_taken = |name: &OsStr| -> Result<bool, Failure> {
            let waiting =
                jobs.iter().enumerate().map(|(number, job)| job.folder.join(numbered(name, number)));
            let places = folders.iter().map(|folder| folder.join(name)).chain(waiting);
            for place in places {
                if self.is_anothers(&place)? {
                    return Ok(true);
                }
            }
            Ok(jobs.iter().any(|job| job.goes_by(name)))
        };
        for name in temporaries() {
            if !is_taken(&name)? {
                return Ok(name);
            }
        }
        Ok(OsString::new())
    }

    /// Whether what lies at this place below `targets/` is a folder, or the file of a target that is listed.
    fn is_anothers(&self, place: &Path) -> Result<bool, Failure> {
        let Ok(found) = std::fs::symlink_metadata(self.targets_folder().join(place)) else {
            return Ok(false);
        };
        // Names of consistent snapshots begin with a hash.
        let Some(path) = place.to_str().filter(|_| !found.is_dir()) else { return Ok(found.is_dir()) };
        if self.consistent_snapshot()? && self.published_consistently()? {
            return Ok(false);
        }
        for role in self.roles_near(path)? {
            for metadata in [self.current(&role)?, self.published(&role)?].into_iter().flatten() {
                if metadata.as_targets().is_some_and(|targets| targets.find(path).is_some()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Where these go.
fn jobs(incoming: Vec<Incoming>, consistent: bool, tough_names: bool) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    for one in incoming {
        // Checked before signing; a publication that is finished later, or another tool's, comes by here alone.
        if !stays_inside(&one.path) {
            return Err(outside(&one.path));
        }
        let mut places = layout::target_places(&one.path, &one.target.hashes, consistent, tough_names);
        let links = places.split_off(places.len().min(1));
        let place = places.pop().unwrap_or_default();
        let Some(name) = place.file_name().map(ToOwned::to_owned) else {
            return Err(changed(&one, Path::new(&one.path)));
        };
        let folder = place.parent().map(ToOwned::to_owned).unwrap_or_default();
        let (temporary, copied, replaces) = Default::default();
        jobs.push(Job { one, folder, name, temporary, links, copied, hashed: consistent, replaces });
    }
    Ok(jobs)
}

impl Job {
    /// Whether a part of one of its names is this one, or begins with it and a dot.
    fn goes_by(&self, name: &OsStr) -> bool {
        let own = self.folder.join(&self.name);
        let mut parts = self.links.iter().chain([&own]).flat_map(|place| place.iter());
        parts.any(|part| {
            part.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'.', ..]))
        })
    }

    /// Copies the source beside its place and flushes it; a right file that is there already is flushed too, since
    /// nobody knows whether whoever put it there did. Who else works in this folder may have made the source lead to what
    /// we alone may read: nobody reads the copy before it is known to be what was signed.
    fn bring(&self, targets: &Folder, usual: Mode, tick: &dyn Fn(u64)) -> Result<(), Failure> {
        let folder = targets.make(&self.folder)?;
        let fail = |e: io::Error| Failure::io("write", &self.folder.join(&self.name), &e);
        if let Some(there) = self.right(&folder, &self.name)? {
            tick(self.one.target.length);
            folder.remove(&self.temporary)?;
            return there.sync_all().map_err(fail);
        }
        self.replaces.store(!self.hashed && folder.about(&self.name)?.is_some(), Ordering::Relaxed);
        self.copied.store(true, Ordering::Relaxed);
        // A publication that was cut off has copied it already; its source may be gone by now.
        if let Some(there) = self.copied_before(&folder)? {
            tick(self.one.target.length);
            return give_access(&there, usual).and_then(|()| there.sync_all()).map_err(fail);
        }
        let Some(source) = self.one.source.as_ref().filter(|source| source.exists()) else {
            return Err(gone(&self.one));
        };
        let mut from = reading::open_file(source).map_err(|e| Failure::io("read", source, &e))?;
        let mut to = folder.create_private(&self.temporary)?;
        let mut tick = |more| tick(more);
        let found =
            hash(&mut from, &self.algorithms(), &mut tick, |piece| to.write_all(piece)).map_err(fail)?;
        if !matches(&self.one.target, &found) {
            return Err(changed(&self.one, source));
        }
        give_access(&to, usual).and_then(|()| to.sync_all()).map_err(fail)
    }

    /// What a publication that was cut off has copied, if it is what was signed; one of another user's that we may not
    /// read was not done.
    fn copied_before(&self, folder: &Folder) -> Result<Option<File>, Failure> {
        let us = rustix::process::geteuid();
        let readable = |about: rustix::fs::Stat| {
            us.is_root() || about.st_uid == us.as_raw() || about.st_mode & 0o044 != 0
        };
        if folder.about(&self.temporary)?.is_none_or(readable) {
            self.right(folder, &self.temporary)
        } else {
            Ok(None)
        }
    }

    /// The file of this name, if it is what was signed.
    fn right(&self, folder: &Folder, name: &OsStr) -> Result<Option<File>, Failure> {
        let Some(mut file) = folder.file(name)?.filter(|file| self.has_length(file)) else { return Ok(None) };
        let found = hash(&mut file, &self.algorithms(), &mut |_| {}, |_| Ok(()));
        let found = found.map_err(|e| Failure::io("read", &self.folder.join(name), &e))?;
        Ok(matches(&self.one.target, &found).then_some(file))
    }

    /// Gives the file that waits its place.
    fn put(&self, targets: &Folder) -> Result<(), Failure> {
        targets.open(&self.folder)?.rename(&self.temporary, &self.name)
    }

    /// Gives the file its names, and notes the folders in which it did.
    fn name(
        &self,
        targets: &Folder,
        path: &Path,
        folders: &mut BTreeSet<PathBuf>,
        notice: Notice<'_>,
    ) -> Result<(), Failure> {
        let folder = targets.open(&self.folder)?;
        if self.copied.load(Ordering::Relaxed) && !self.replaces.load(Ordering::Relaxed) {
            self.put(targets)?;
        }
        note(&self.folder, folders);
        for link in &self.links {
            if places::obstacle(path, link).is_some_and(|found| !found.is_symlink()) {
                notice(&format!(
                    "clients of the kind of tough will not find target {}: what another target left has its name",
                    self.one.path
                ));
                continue;
            }
            let (above, name) =
                (link.parent().unwrap_or(Path::new("")), link.file_name().unwrap_or_default());
            let other = targets.make(above)?;
            self.link(&folder, &other, name)?;
            note(above, folders);
        }
        Ok(())
    }

    /// A second name for the file; a copy where the file system has no hard links.
    fn link(&self, folder: &Folder, other: &Folder, name: &OsStr) -> Result<(), Failure> {
        let (first, second) = (folder.about(&self.name)?, other.about(name)?);
        let identity = |about: rustix::fs::Stat| (about.st_dev, about.st_ino);
        if second.is_some() && first.map(identity) == second.map(identity) {
            return Ok(());
        }
        if other.link(folder, &self.name, name)? {
            return Ok(());
        }
        let Some(mut from) = folder.file(&self.name)? else { return Err(gone(&self.one)) };
        let temporary = other.temporary();
        let mut to = other.create(temporary)?;
        let fail = |e: io::Error| Failure::io("write", &self.folder.join(&self.name), &e);
        let found =
            hash(&mut from, &self.algorithms(), &mut |_| {}, |piece| to.write_all(piece)).map_err(fail)?;
        // Others who may write here can have put another file in its place by now.
        if !matches(&self.one.target, &found) {
            other.remove(temporary)?;
            return Err(changed(&self.one, &self.folder.join(&self.name)));
        }
        to.sync_all().map_err(fail)?;
        other.rename(temporary, name)
    }

    fn has_length(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|about| about.len() == self.one.target.length)
    }

    fn algorithms(&self) -> Algorithms {
        self.one.target.hashes.algorithms()
    }
}

/// The name under which one of several files waits.
fn numbered(temporary: &OsStr, number: usize) -> OsString {
    let mut name = temporary.to_owned();
    name.push(format!(".{number}"));
    name
}

/// A folder and all above it, up to `targets/` itself: any of them may be new.
fn note(folder: &Path, folders: &mut BTreeSet<PathBuf>) {
    for one in folder.ancestors() {
        if !folders.insert(one.to_owned()) {
            break;
        }
    }
}
