//! Files on disk: read whole, written whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::beneath::{Folder, TEMPORARY};
use super::carried;
use super::threads::on_threads;
use crate::error::{Failure, reason};
use crate::reading;

/// Reads a regular file of a repository's folder, of at most `most` bytes; `None` when there is none. Others may write there:
/// a link is followed only where it is our own, or leads to a name beside it.
///
/// # Errors
/// `REPOSITORY_INVALID` for a link of somebody else's that leads elsewhere.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    read_opened(open_here(path, LINKS, &carried::leads_to)?, path, most).map_err(|failure| {
        // Nobody has named it: it stands in a repository's folder where a file belongs.
        if is_no_file(path) { failure.remedy(TAKE_AWAY) } else { failure }
    })
}

/// Opens a file of a published folder for those who only read it, and who may be anybody: a link is also followed where
/// whoever owns the folder made it.
///
/// # Errors
/// `InvalidInput` for another link of somebody else's, and as [`reading::open_file`].
pub(crate) fn open_published(path: &Path) -> io::Result<File> {
    let leads = |folder: &Folder, name: &OsStr| {
        let link = folder.link_text(name)?;
        match link.filter(|(_, owner)| folder.owner() == Some(*owner)) {
            Some((to, _)) => Ok(to),
            None => carried::leads_to(folder, name),
        }
    };
    open_here(path, LINKS, &leads).unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a link of another user's, which is not followed",
        ))
    })
}

/// Where a link leads that may be followed.
type Leads<'a> = &'a dyn Fn(&Folder, &OsStr) -> Result<PathBuf, Failure>;

/// Opens what has this name in its folder, `links` of them followed at most.
fn open_here(path: &Path, links: u8, leads: Leads<'_>) -> Result<io::Result<File>, Failure> {
    // What is wrong is said as ever; what is no file, or none any more, is not opened.
    let told = || {
        let changed = || io::Error::other("it was exchanged while it was looked at");
        reading::open_file(path).and_then(|_| Err(changed()))
    };
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(told()) };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let Ok(folder) = Folder::of_repository(above) else { return Ok(told()) };
    let kind = folder.about(name).ok().flatten().map(|about| FileType::from_raw_mode(about.st_mode));
    match kind {
        Some(FileType::RegularFile) => Ok(folder.file(name)?.map_or_else(told, Ok)),
        Some(FileType::Symlink) => {
            let to = leads(&folder, name)?;
            let is_beside = to.components().count() == 1 && to.file_name().is_some();
            match links.checked_sub(1) {
                Some(left) if is_beside => open_here(&above.join(to), left, leads),
                None if is_beside => Ok(Err(rustix::io::Errno::LOOP.into())),
                _ => Ok(reading::open_file(&above.join(to))),
            }
        }
        _ => Ok(told()),
    }
}

fn is_no_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| !about.is_file())
}

/// Reads what a person named, a pipe too, of at most `most` bytes; `None` when there is none.
pub(crate) fn read_any(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    read_opened(reading::open_named(path), path, most)
}

fn read_opened(file: std::io::Result<File>, path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    use std::io::ErrorKind::{InvalidFilename, NotFound};
    let found = match file.and_then(|file| reading::read_at_most(file, most)) {
        Ok(found) => found,
        // A name that no file system here holds is there as little.
        Err(e) if matches!(e.kind(), NotFound | InvalidFilename) => return Ok(None),
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
    flushed(&temporary, path, bytes)?;
    fs::rename(&temporary, path).map_err(|e| Failure::io("write", path, &e))
}

/// Writes many files, as [`write_unsettled`] does: some are flushed at the same time, and then moved to their places in the
/// order given.
pub(crate) fn write_many<B: Deref<Target = [u8]> + Sync>(files: &[(PathBuf, B)]) -> Result<(), Failure> {
    if let [(path, bytes)] = files {
        return write_unsettled(path, bytes);
    }
    for some in files.chunks(TOGETHER) {
        let names = some.iter().enumerate().map(|(number, file)| (numbered(&file.0, number), file));
        let names: Vec<_> = names.collect();
        let written = on_threads(&names, &|(name, (path, bytes)), _| flushed(name, path, bytes), &mut |_| {});
        if let Err(failure) = written {
            names.iter().for_each(|(name, _)| drop(fs::remove_file(name)));
            return Err(failure);
        }
        for (name, (path, _)) in &names {
            fs::rename(name, path).map_err(|e| Failure::io("write", path, &e))?;
        }
    }
    Ok(())
}

/// A new file with these bytes, on the disk; `path` is what it is going to be.
fn flushed(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::io("write", path, &e);
    // What an earlier run left is nobody's: the folder is locked.
    remove(temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(temporary).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| {
        let _ = fs::remove_file(temporary);
        fail(e)
    })
}

/// Moves a file that is flushed already, and makes the move durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|e| Failure::io("write", to, &e))?;
    sync_folder(to.parent().unwrap_or(to))
}

/// Makes what was created, moved or removed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Failure> {
    // A pipe that has its name by now would be waited for.
    let only_folders = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(only_folders).open(folder);
    opened.and_then(|file| file.sync_all()).map_err(|e| Failure::io("write", folder, &e))
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

/// The name under which a file is written before it is moved to its place.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_file_name(TEMPORARY)
}

/// The same for one of several that are written at a time.
fn numbered(path: &Path, number: usize) -> PathBuf {
    path.with_file_name(format!("{TEMPORARY}.{number}"))
}

/// So many links in a row are looked at one by one.
const LINKS: u8 = 8;

const TAKE_AWAY: &str = "it is not what belongs there: take it away, or restore the file from a good copy";

/// So many files wait under other names before they are moved to their places.
const TOGETHER: usize = 256;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::{TOGETHER, read, write, write_many};

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

    #[test]
    fn many_files_are_written_like_one_and_a_failure_leaves_no_half_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |number: usize| -> (PathBuf, Arc<[u8]>) {
            (folder.path().join(format!("{number}.json")), number.to_string().into_bytes().into())
        };
        let files: Vec<_> = (0..TOGETHER + 3).map(file).collect();
        std::fs::write(folder.path().join(".tufctl.tmp.1"), "of a run that was killed").unwrap();
        for _ in 0..2 {
            write_many(&files).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), files.len());
            for (path, bytes) in &files {
                assert_eq!(read(path, 10).unwrap().unwrap(), **bytes);
            }
        }
        let nowhere = folder.path().join("gone/x.json");
        let failed = write_many(&[file(1), (nowhere, Arc::from(*b"x"))]).unwrap_err();
        assert_eq!(failed.reason(), "IO");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), files.len());
    }
}
