//! A folder for what lies on the disk only for a while: below the state folder, ours alone, gone afterwards.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::failed;
use crate::refusal::Refusal;

/// Taken away when it is dropped; what a crash leaves goes with the next one.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    pub(super) fn new(state: &Path, name: &str) -> Result<Self, Refusal> {
        let scratch = Self { folder: state.join(name) };
        scratch.remove();
        DirBuilder::new().mode(0o700).create(&scratch.folder).map_err(|e| failed(&e))?;
        Ok(scratch)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn remove(&self) {
        if self.folder.symlink_metadata().is_ok()
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "a folder of a backup could not be removed");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}
