//! A repository folder: what is published, what is staged, and the way from one to the other.
//!
//! Duty: read and write `metadata/`, `targets/` and `staged/` as CONTRACT section 1 lays them out; publish so that a
//! client sees the old repository or the new one. Trust: files are other people's until their signatures are checked,
//! which the commands and the agent do. Invariants: a file is written whole or not at all; one writing command at a
//! time; what a crash leaves behind is finished by the next one.

mod ahead;
mod authority;
mod base;
mod beneath;
mod bring;
mod carried;
mod drop;
mod facts;
mod file_names;
mod files;
mod finish;
mod given_up;
mod layout;
mod names;
mod online;
mod past;
mod places;
mod publish;
mod read;
mod recall;
mod roots;
mod sources;
mod staged;
mod swap;
mod threads;
mod tree;
mod within;

pub(crate) use authority::{Authority, Part, SignatureState, give_keys};
pub(crate) use base::Unsound;
pub(crate) use facts::{Facts, default_days, is_kept};
pub(crate) use files::{make_folder, open_published, read as read_file, read_any, write as write_file};
pub(crate) use layout::{file_name as published_name, published_names, published_role, target_places};
pub(crate) use places::Listed;
pub(crate) use publish::{PublishOptions, Published};
pub(crate) use read::published_roots;
pub(crate) use roots::Waiting;
pub(crate) use sources::{hash_file, hash_within};
pub(crate) use staged::Merged;
pub(crate) use tree::Node;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tuf::metadata::Metadata;
use tuf::role::{RoleName, Version};

use crate::error::{Failure, reason};
use staged::Record;

/// One repository folder. Reading it never changes it; parsed files are kept.
pub(crate) struct Workspace {
    dir: PathBuf,
    /// What is published.
    metadata: PathBuf,
    /// Held for its lifetime by writing commands.
    lock: Option<File>,
    interrupted: Option<String>,
    record: Record,
    labels: names::Labels,
    published: RefCell<BTreeMap<RoleName, Option<Metadata>>>,
    staged: RefCell<BTreeMap<RoleName, Option<Metadata>>>,
    /// Roles that were made in memory and are not in `staged/` yet.
    held: BTreeSet<RoleName>,
    tree: RefCell<Option<Rc<[Node]>>>,
    near: RefCell<Option<Rc<[Node]>>>,
    near_parents: RefCell<Option<Rc<[RoleName]>>>,
    judged: RefCell<base::Judged>,
    /// Roles whose published files are what the agent has verified last; of some it gave them back, see [`recall`].
    recalled: RefCell<BTreeSet<RoleName>>,
    /// A root in `staged/` that others have called `N.root.json`.
    loose_root: Option<PathBuf>,
    /// Roots above this version lie in `metadata/` and are not complete.
    last_root: Option<Version>,
    /// What the agent says of the repository's past.
    past: RefCell<past::Past>,
    /// Whether what leads to the targets roles was thrown away; see [`past`].
    cut: Cell<Option<bool>>,
    /// What the staged roles list anew.
    anew: RefCell<Option<Rc<[places::ListedAnew]>>>,
    /// Staged roles whose files this run has written, and so flushed.
    flushed: BTreeSet<RoleName>,
    /// Large roles that are written while they are signed.
    ahead: BTreeMap<RoleName, ahead::Ahead>,
}

impl Workspace {
    /// For commands that read.
    ///
    /// # Errors
    /// `REPOSITORY_INVALID` when `dir` is no repository folder.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        Self::check(dir)?;
        let mut workspace = Self::at(dir, None)?;
        workspace.interrupted = cut_off(dir).map(ToOwned::to_owned);
        Ok(workspace)
    }

    /// For commands that write: locks the folder, and finishes a publication that was cut off.
    ///
    /// # Errors
    /// `REPOSITORY_INVALID` when `dir` is no repository folder; another command works in it.
    pub(crate) fn open_for_writing(dir: &Path) -> Result<Self, Failure> {
        Self::check(dir)?;
        drop::check_place(dir)?;
        let lock = lock(dir)?;
        drop::finish(dir)?;
        swap::repair_swap(dir)?;
        swap::mend_names(dir)?;
        roots::name_root(&dir.join(layout::STAGED))?;
        let mut workspace = Self::at(dir, Some(lock))?;
        files::remove_folder(&dir.join(layout::DONE))?;
        if workspace.is_publishing() {
            workspace.finish_publication()?;
        }
        swap::clean_up(dir)?;
        Ok(workspace)
    }

    /// A folder in which a new repository is begun: absent or empty before, or left by a begin that was cut off.
    ///
    /// # Errors
    /// `REPOSITORY_INVALID` when something is in it.
    pub(crate) fn create(dir: &Path) -> Result<Self, Failure> {
        let staged = dir.join(layout::STAGED);
        let mut names =
            std::fs::read_dir(&staged).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let is_blank =
            staged.is_dir() && names.all(|name| name.to_string_lossy().starts_with(beneath::TEMPORARY));
        if staged.join(layout::BEGINNING).exists() || is_blank {
            let _lock = lock(dir)?;
            files::remove_folder(&staged)?;
        }
        if let Ok(mut entries) = std::fs::read_dir(dir)
            && entries.next().is_some()
        {
            return Err(Failure::new(reason::REPOSITORY_INVALID, format!("{} is not empty", dir.display()))
                .remedy("name a folder that is absent or empty; an existing repository is taken over by: tufctl repo adopt"));
        }
        files::make_folder(dir)?;
        let lock = lock(dir)?;
        Self::at(dir, Some(lock))
    }

    /// Lets others work in the folder until [`Self::open_again`]; false where something is on its way to `staged/`.
    pub(crate) fn let_go(&mut self) -> bool {
        let is_idle = self.held.is_empty() && self.ahead.is_empty();
        if is_idle {
            self.lock = None;
        }
        is_idle
    }

    /// As [`Self::open_for_writing`]; another command that works in it just now is waited for.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open_again(dir: &Path) -> Result<Self, Failure> {
        let end = Instant::now() + OTHERS;
        loop {
            match Self::open_for_writing(dir) {
                Err(failure) if failure.has_detail(BUSY) && Instant::now() < end => std::thread::sleep(SOON),
                opened => return opened,
            }
        }
    }

    /// Goes on with what was read before, in the folder that `again` has taken.
    pub(crate) fn take_over(&mut self, again: Self) {
        self.lock = again.lock;
    }

    /// Says that what is staged from now on is a part, until [`Self::begun`]; so it can be begun again after a crash.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        files::make_folder(&self.staged_folder())?;
        files::write(&self.staged_folder().join(layout::BEGINNING), b"")
    }

    /// All of the new repository is staged.
    pub(crate) fn begun(&self) -> Result<(), Failure> {
        files::remove(&self.staged_folder().join(layout::BEGINNING))?;
        files::sync_folder(&self.staged_folder())
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A publication that was cut off: one sentence for people.
    pub(crate) fn interrupted(&self) -> Option<&str> {
        self.interrupted.as_deref()
    }

    fn at(dir: &Path, lock: Option<File>) -> Result<Self, Failure> {
        let mut record = Record::read(&dir.join(layout::STAGED).join(layout::RECORD))?;
        let labels = names::Labels::read(dir, &record.names)?;
        record.names = labels.over(record.names);
        Ok(Self {
            dir: dir.to_owned(),
            metadata: swap::metadata_of(dir),
            lock,
            interrupted: None,
            record,
            labels,
            published: RefCell::default(),
            staged: RefCell::default(),
            held: BTreeSet::new(),
            tree: RefCell::default(),
            near: RefCell::default(),
            near_parents: RefCell::default(),
            judged: RefCell::default(),
            recalled: RefCell::default(),
            loose_root: roots::loose_root(&dir.join(layout::STAGED))?,
            last_root: None,
            past: RefCell::default(),
            cut: Cell::default(),
            anew: RefCell::default(),
            flushed: BTreeSet::new(),
            ahead: BTreeMap::new(),
        })
    }

    fn check(dir: &Path) -> Result<(), Failure> {
        if dir.join(layout::STAGED).join(layout::BEGINNING).exists() {
            let what = format!("{} was begun and not finished", dir.display());
            return Err(Failure::new(reason::REPOSITORY_INVALID, what)
                .remedy("run again what began it: tufctl repo init"));
        }
        if dir.join(layout::STAGED).is_dir() || swap::metadata_of(dir).is_dir() {
            return Ok(());
        }
        let why = if dir.is_dir() { "has neither metadata/ nor staged/" } else { "is no folder" };
        Err(Failure::new(reason::REPOSITORY_INVALID, format!("{} is no repository: it {why}", dir.display()))
            .remedy("begin one with: tufctl repo init"))
    }

    /// Whether there is a `staged/`.
    pub(crate) fn has_staged(&self) -> bool {
        self.staged_folder().is_dir()
    }

    fn is_publishing(&self) -> bool {
        self.staged_folder().join(layout::PUBLISHING).exists()
    }

    fn staged_folder(&self) -> PathBuf {
        self.dir.join(layout::STAGED)
    }

    fn metadata_folder(&self) -> PathBuf {
        self.metadata.clone()
    }

    fn targets_folder(&self) -> PathBuf {
        self.dir.join(layout::TARGETS)
    }

    /// Forgets what was read: the files have changed.
    fn forget(&mut self) {
        self.held.clear();
        self.flushed.clear();
        self.published.borrow_mut().clear();
        self.staged.borrow_mut().clear();
        self.forget_tree();
        self.judged.take();
        self.recalled.take();
        self.cut.take();
    }

    /// Goes on as if nothing were staged of a role: what is there is about to be replaced.
    pub(crate) fn overlook(&mut self, role: &RoleName) {
        self.staged.borrow_mut().insert(role.clone(), None);
        self.forget_tree();
    }

    /// Forgets who delegates to whom.
    fn forget_tree(&mut self) {
        self.tree.borrow_mut().take();
        self.near.borrow_mut().take();
        self.near_parents.borrow_mut().take();
        self.anew.borrow_mut().take();
    }
}

/// One sentence for people when a publication was cut off in this folder.
pub(crate) fn cut_off(dir: &Path) -> Option<&'static str> {
    let marker = dir.join(layout::STAGED).join(layout::PUBLISHING).exists();
    (marker || drop::is_emptying(dir) || swap::is_halfway(dir))
        .then_some("a publication was cut off; tufctl sign, or any command that edits, finishes it first")
}

/// Keeps other runs of tufctl out of a folder until the file is dropped.
///
/// # Errors
/// `IO` when another one is in it; it is not waited for.
pub(crate) fn lock(dir: &Path) -> Result<File, Failure> {
    let file = File::open(dir).map_err(|e| Failure::io("open", dir, &e))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
            Err(Failure::new(reason::IO, format!("another tufctl works in {}", dir.display()))
                .remedy("wait until it is done")
                .detail(BUSY, true))
        }
        Err(e) => Err(Failure::io("lock", dir, &e.into())),
    }
}

/// For how long another command may work in a folder that is to be taken again, and how often it is tried.
const OTHERS: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_millis(50);

/// The detail of a failure because another tufctl works in the folder.
pub(crate) const BUSY: &str = "busy";

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
