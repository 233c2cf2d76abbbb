//! The store's files, as a backup takes and gives them: sealed as they lie there, so that no passphrase is needed.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::renameat;

use super::files::{self, KeyFile, STORE, StoreFile, StoreFiles};
use super::{Condition, FileStore, lock};
use crate::folder::{Folder, corrupt};
use crate::{Backend as _, BackendError};

/// A file of the store: its name and its bytes.
pub type CopiedFile = (String, Vec<u8>);

/// What became of files that were given back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Names of the keys that were not here before.
    pub added: Vec<String>,
    /// Names of the keys that were left out: they are sealed for another store than the one that is here, or their name
    /// has another key.
    pub left_out: Vec<String>,
}

impl FileStore {
    /// All files, as they lie there; none when the store was never used.
    ///
    /// # Errors
    /// As an unlock, for files that cannot be used.
    pub fn export_files(&self) -> Result<Vec<CopiedFile>, BackendError> {
        let _writing = lock(&self.writing);
        let all = self.look()?;
        let store = all.store.iter().map(|file| (STORE.to_owned(), file.to_bytes()));
        let keys = all.keys.iter().map(|file| (files::key_file_name(file.name()), file.to_bytes()));
        Ok(store.chain(keys).collect())
    }

    /// Remembers, durably, that files will be taken in, where there is no store yet, or one without keys that goes for them:
    /// until they are, none is made anew. True when that was not remembered before.
    ///
    /// # Errors
    /// `Io`, or as an unlock.
    pub fn begin_import(&self, given: &[CopiedFile]) -> Result<bool, BackendError> {
        let _writing = lock(&self.writing);
        let has_store = given.iter().any(|(name, _)| name == STORE);
        if !has_store || !self.look()?.takes_all(given) {
            return Ok(false);
        }
        self.remember()
    }

    fn remember(&self) -> Result<bool, BackendError> {
        let mark = self.mark();
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark);
        match made.and_then(|file| file.sync_all()) {
            Ok(()) => self.folder.sync_parent().map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(BackendError::io(&mark, "written", error)),
        }
    }

    /// Forgets what [`Self::begin_import`] has remembered: files were taken in, or nothing of the backup was.
    ///
    /// # Errors
    /// `Io`.
    pub fn end_import(&self) -> Result<(), BackendError> {
        let mark = self.mark();
        match std::fs::remove_file(&mark) {
            Ok(()) => self.folder.sync_parent(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(BackendError::io(&mark, "removed", error)),
        }
    }

    /// Why no store may be made now: a restore into this state was cut off before it brought the store.
    pub(super) fn cut_off(&self) -> Option<BackendError> {
        let mark = self.mark();
        mark.symlink_metadata().is_ok().then(|| BackendError::Corrupt {
            path: self.folder.path().to_owned(),
            why: "a restore was cut off before it brought the keys".to_owned(),
            remedy: format!(
                "give it again: tufctl restore FILE (or, to begin with no keys, remove {})",
                mark.display()
            ),
        })
    }

    fn mark(&self) -> PathBuf {
        self.folder.path().with_file_name("keys.restoring")
    }

    /// Takes files of [`Self::export_files`] in. A store that was never used gets them all, at once, and so does one that
    /// holds no key: where the passphrase is configured the start of the agent makes an empty one. Any other gets the keys
    /// that it does not have, if they are sealed for it. The next unlock opens them.
    ///
    /// # Errors
    /// `Corrupt` or `NewerFormat` for files that are no such thing; then nothing was changed.
    pub fn import_files(&self, given: &[CopiedFile]) -> Result<Imported, BackendError> {
        let _writing = lock(&self.writing);
        let here = self.look()?;
        let Some((_, store)) = given.iter().find(|(name, _)| name == STORE) else {
            return Ok(Imported::default());
        };
        let from = StoreFile::parse(Path::new(STORE), store)?;
        let mut keys = Vec::new();
        for (name, bytes) in given.iter().filter(|(name, _)| name != STORE) {
            keys.push((KeyFile::parse_named(name, from.id(), bytes)?, name, bytes));
        }
        let mut imported = Imported::default();
        match &here.store {
            Some(store) if !here.takes_all(given) => {
                let folder = self.folder.create()?;
                for (key, name, bytes) in &keys {
                    let known = here.keys.iter().any(|other| other.public() == key.public());
                    let taken = here.keys.iter().any(|other| other.name() == key.name());
                    if known {
                        continue;
                    }
                    let fits = !taken && store.id() == from.id() && folder.write(name, bytes, false)?;
                    let list = if fits { &mut imported.added } else { &mut imported.left_out };
                    list.push(key.name().to_string());
                }
            }
            empty => {
                self.put_whole(given, empty.is_some())?;
                imported.added = keys.iter().map(|(key, _, _)| key.name().to_string()).collect();
            }
        }
        if !imported.added.is_empty() {
            // The next unlock opens what came.
            self.lock();
            self.look()?;
        }
        self.end_import()?;
        Ok(imported)
    }

    /// Puts the whole folder in its place in one step; an empty store that `is_there` goes before it.
    fn put_whole(&self, given: &[CopiedFile], is_there: bool) -> Result<(), BackendError> {
        let path = self.folder.path();
        let beside = path.with_file_name("keys.restored");
        let fresh = Folder::new(beside.clone());
        if let Some(left) = fresh.open()? {
            // Of a restore that was cut off.
            for name in left.names()?.iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
                left.remove(name)?;
            }
        }
        let folder = fresh.create()?;
        for (name, bytes) in given {
            if !folder.write(name, bytes, false)? {
                let why = "it came while a restore was under way, or stands twice in the backup".to_owned();
                return Err(corrupt(&beside.join(name), why));
            }
        }
        drop(folder);
        let failed = |e| BackendError::io(path, "written", e);
        if is_there {
            // Cut off from here on, the restore is to be given again, and no other store is made.
            self.remember()?;
            self.take_empty_away()?;
        }
        // Over an empty folder, or none.
        renameat(rustix::fs::CWD, &beside, rustix::fs::CWD, path).map_err(failed)?;
        self.folder.sync_parent()?;
        self.state_mut().condition = Condition::Locked;
        Ok(())
    }

    /// Takes the file of a store that holds no key away. What else lies in its folder is not ours to remove.
    fn take_empty_away(&self) -> Result<(), BackendError> {
        let Some(folder) = self.folder.open()? else { return Ok(()) };
        folder.remove_leftovers()?;
        if let Some(other) =
            folder.names()?.into_iter().find(|name| !matches!(name.as_str(), "." | ".." | STORE))
        {
            let path = self.folder.path().join(other);
            return Err(BackendError::Corrupt {
                why: "it lies in the folder of the file store, and is no part of it".to_owned(),
                remedy: format!("move {} elsewhere, then restore again: tufctl restore FILE", path.display()),
                path,
            });
        }
        folder.remove(STORE)
    }
}

impl StoreFiles {
    /// Whether a restore puts all of the given files in the place of what is here: nothing, or a store without keys.
    fn takes_all(&self, given: &[CopiedFile]) -> bool {
        self.store.is_none() || (self.keys.is_empty() && given.iter().any(|(name, _)| name != STORE))
    }
}
