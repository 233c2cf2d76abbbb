//! Files on disk: read whole, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Failure, reason};
use crate::reading;

/// Reads a regular file of at most `most` bytes; `None` when there is none.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    read_opened(reading::open_file(path), path, most)
}

/// Reads what a person named, a pipe too, of at most `most` bytes; `None` when there is none.
pub(crate) fn read_any(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    read_opened(reading::open_named(path), path, most)
}

fn read_opened(file: std::io::Result<File>, path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    let found = match file.and_then(|file| reading::read_at_most(file, most)) {
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::io("read", path, &e)),
    };
    found.map(Some).ok_or_else(|| {
        Failure::new(
            reason::LIMIT,
            format!("{} is larger than {most} bytes, which no metadata is", path.display()),
        )
        .remedy("it is not what belongs there: restore the file from a copy")
        .detail("file", path.display().to_string())
    })
}

/// Writes a file beside its place, flushes it to the disk and moves it there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_unsettled(path, bytes)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// As [`write`], but its place in the folder is durable only after [`sync_folder`]: for one of many files.
pub(crate) fn write_unsettled(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let temporary = beside(path);
    let fail = |e: std::io::Error| Failure::io("write", path, &e);
    // What an earlier run left is nobody's: the folder is locked.
    remove(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(fail)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail);
    if let Err(failure) = written {
        let _ = fs::remove_file(&temporary);
        return Err(failure);
    }
    fs::rename(&temporary, path).map_err(fail)
}

/// Moves a file that is flushed already, and makes the move durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|e| Failure::io("write", to, &e))?;
    sync_folder(to.parent().unwrap_or(to))
}

/// Makes what was created, moved or removed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Failure> {
    let sync = File::open(folder).and_then(|file| file.sync_all());
    sync.map_err(|e| Failure::io("write", folder, &e))
}

/// Makes a folder with its parents, durably.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {
            sync_folder(folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(Failure::io("make", folder, &e)),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::io("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::io("remove", path, &e)),
        _ => Ok(()),
    }
}

/// A second name for a file; a copy where the file system has no hard links.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), Failure> {
    remove(to)?;
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(from, to)
            .and_then(|_| File::open(to)?.sync_all())
            .map_err(|e| Failure::io("write", to, &e)),
    }
}

/// The name under which a file is written before it is moved to its place.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_file_name(".tufctl.tmp")
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn a_file_is_written_whole_and_read_back_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        assert_eq!(read(&path, 10).unwrap(), None);
        write(&path, b"12345").unwrap();
        write(&path, b"1234567890").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"1234567890");
        assert_eq!(read(&path, 9).unwrap_err().reason(), "LIMIT");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
