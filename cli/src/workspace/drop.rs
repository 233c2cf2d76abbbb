//! The end of what was staged: it is published, or given up.
//!
//! `staged/` steps aside in one rename, and goes. One that cannot be moved (it is mounted) is emptied: a file in it says so
//! until nothing else is left, so that what a crash leaves is not taken for staged.

use std::fs;
use std::path::Path;

use super::swap::IMMOVABLE;
use super::{Workspace, beneath, files, layout};
use crate::error::Failure;

impl Workspace {
    /// Takes all of `staged/` away: it is published, or given up.
    pub(crate) fn drop_staged(&mut self) -> Result<(), Failure> {
        let done = self.dir.join(layout::DONE);
        files::remove_folder(&done)?;
        let staged = self.staged_folder();
        if staged.exists() {
            match rustix::fs::rename(&staged, &done) {
                Ok(()) => {
                    files::sync_folder(&self.dir)?;
                    files::remove_folder(&done)?;
                }
                Err(e) if IMMOVABLE.contains(&e) => {
                    begin_emptying(&staged)?;
                    empty(&staged)?;
                }
                Err(e) => return Err(Failure::io("write", &done, &e.into())),
            }
        }
        self.forget();
        let names = std::mem::take(&mut self.record.names);
        self.record = super::staged::Record { names, ..Default::default() };
        Ok(())
    }
}

/// Whether emptying was cut off.
pub(super) fn is_emptying(dir: &Path) -> bool {
    dir.join(layout::STAGED).join(layout::EMPTYING).exists()
}

/// Goes on with emptying that was cut off.
pub(super) fn finish(dir: &Path) -> Result<(), Failure> {
    if is_emptying(dir) { empty(&dir.join(layout::STAGED)) } else { Ok(()) }
}

/// Refuses a `staged/` that is a link, before anything is signed: nothing is published through one.
pub(super) fn check_place(dir: &Path) -> Result<(), Failure> {
    let staged = dir.join(layout::STAGED);
    match fs::symlink_metadata(&staged) {
        Ok(about) if !about.is_dir() => Err(beneath::in_the_way(&staged)),
        _ => Ok(()),
    }
}

/// From here on nothing in it is staged any more; in one step, also where a publication was to be finished.
fn begin_emptying(staged: &Path) -> Result<(), Failure> {
    let (publishing, emptying) = (staged.join(layout::PUBLISHING), staged.join(layout::EMPTYING));
    if publishing.exists() { files::rename(&publishing, &emptying) } else { files::write(&emptying, b"") }
}

fn empty(staged: &Path) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::io("read", staged, &e);
    for entry in fs::read_dir(staged).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_name() == layout::EMPTYING {
            continue;
        }
        if entry.file_type().map_err(fail)?.is_dir() {
            files::remove_folder(&entry.path())?;
        } else {
            files::remove(&entry.path())?;
        }
    }
    files::sync_folder(staged)?;
    files::remove(&staged.join(layout::EMPTYING))?;
    files::sync_folder(staged)
}
