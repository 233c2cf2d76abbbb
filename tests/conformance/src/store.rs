//! What is trusted from one run to the next: the bytes as they were received, under names without version.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tuf::role::{RoleKind, RoleName};
use tuf::trust::TrustedSet;

/// The folder of trusted metadata, held by one process at a time.
pub(crate) struct Store {
    dir: PathBuf,
    /// The open folder, locked until it is closed.
    lock: File,
}

impl Store {
    /// Opens the folder, made where it is absent, and waits for others that hold it.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let open = || {
            fs::create_dir_all(dir)?;
            let lock = File::open(dir)?;
            lock.lock()?;
            Ok::<_, io::Error>(lock)
        };
        let lock = open().with_context(|| format!("the metadata folder {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned(), lock })
    }

    /// Stores the first root. A folder that trusts a root already keeps it: going back to an older one would be a
    /// rollback.
    pub(crate) fn begin(&self, root: &[u8]) -> Result<()> {
        TrustedSet::from_root(root, &crate::client::options(None))?;
        let role = RoleKind::Root.role();
        match self.read(&role)? {
            None => self.write(&role, root),
            Some(trusted) if trusted == root => Ok(()),
            Some(_) => bail!(
                "{} trusts a root already; to begin anew, give an empty folder",
                self.path(&role).display()
            ),
        }
    }

    /// The trusted file of a role.
    pub(crate) fn read(&self, role: &RoleName) -> Result<Option<Vec<u8>>> {
        let path = self.path(role);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| path.display().to_string()),
        }
    }

    /// Puts a file that is trusted now in the place of the one before: the old bytes or the new ones, never a mixture.
    pub(crate) fn write(&self, role: &RoleName, bytes: &[u8]) -> Result<()> {
        let path = self.path(role);
        let write = || {
            let mut fresh = tempfile::Builder::new().prefix(".fresh-").tempfile_in(&self.dir)?;
            fresh.write_all(bytes)?;
            fresh.as_file().sync_all()?;
            fresh.persist(&path)?;
            self.lock.sync_all()
        };
        write().with_context(|| path.display().to_string())
    }

    /// Forgets a role's file (5.3.11).
    pub(crate) fn forget(&self, role: &RoleName) -> Result<()> {
        let path = self.path(role);
        match fs::remove_file(&path).and_then(|()| self.lock.sync_all()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| path.display().to_string())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn path(&self, role: &RoleName) -> PathBuf {
        self.dir.join(format!("{}.json", file_name(role.file_stem())))
    }
}

/// A name for a file: the encoded name that it was made for, or its digest where file systems hold no such length.
pub(crate) fn file_name(encoded: String) -> String {
    if encoded.len() <= LONGEST_NAME { encoded } else { hex::encode(Sha256::digest(encoded)) }
}

/// File systems hold 255 bytes; `.json` and the names of unfinished files need some.
const LONGEST_NAME: usize = 240;
