//! Small files of the agent's state folder, replaced whole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::BackendError;

/// Writes a whole file, 0600 in a folder of 0700, by write, fsync, rename, fsync of the folder: it is there with these bytes
/// or as it was before.
///
/// # Errors
/// [`BackendError::Io`].
pub(super) fn keep(path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    let failed = |e| BackendError::io(path, "written", e);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
