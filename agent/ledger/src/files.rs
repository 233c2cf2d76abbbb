//! Files and folders of the state folder: 0600 and 0700, atomic, never through a symbolic link.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::{LedgerError, flush};

/// Makes the folder, 0700, if it is not there.
pub(crate) fn make_folder(path: &Path) -> Result<(), LedgerError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| match path.symlink_metadata() {
        Ok(found) if !found.is_dir() => LedgerError::NoFolder { path: path.to_owned() },
        _ => LedgerError::io(format!("{} could not be made", path.display()), e),
    })
}

/// Makes one folder, 0700, in one that is there.
pub(crate) fn make_one_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    sync_folder_of(path)
}

/// Makes a new empty file, 0600; the file must not exist.
pub(crate) fn make_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file for reading; none when it is not there.
pub(crate) fn open_existing(path: &Path) -> Result<Option<File>, LedgerError> {
    // NONBLOCK: a pipe put here must not hang the agent.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io(format!("{} could not be opened", path.display()), error)),
    }
}

/// Replaces a file whole and durably: a new file beside it, fsync, rename, fsync of the folder.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), LedgerError> {
    let write = || -> io::Result<()> {
        write_beside(path, content, true)?;
        sync_folder_of(path)
    };
    write().map_err(|e| LedgerError::io(format!("{} could not be written", path.display()), e))
}

/// Writes `content` to a new file beside `path` and renames it onto `path`; flushed first when `flush`.
pub(crate) fn write_beside(path: &Path, content: &[u8], flush: bool) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.new", unique()));
    let write = || -> io::Result<()> {
        let mut file = make_file(&beside)?;
        file.write_all(content)?;
        if flush {
            flush::data(&file)?;
        }
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Makes what was renamed or removed in the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| flush::all(&File::open(folder)?))
}

/// A word that no other call of this process has got, nor another process that lives.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
