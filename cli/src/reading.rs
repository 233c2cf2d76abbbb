//! Opening files that may be anything: what waits for another process or never ends is told apart before it is read.

use std::fs::{File, FileType, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Opens a regular file; a link to one counts as one.
///
/// # Errors
/// `InvalidInput`, "it is a pipe, not a file", for all else: never a hang, never a device that is read.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    open(path, FileType::is_file)
}

/// Opens what a person named: a regular file, or a pipe such as the shell's `<(command)`. A pipe that nobody writes to
/// is empty.
///
/// # Errors
/// As [`open_file`].
pub(crate) fn open_named(path: &Path) -> Result<File> {
    open(path, |kind| kind.is_file() || kind.is_fifo())
}

/// Whether something is a regular file.
///
/// # Errors
/// As [`open_file`].
pub(crate) fn check_is_file(kind: FileType) -> Result<()> {
    check(kind, FileType::is_file)
}

/// Reads all of an open file, at most `most` bytes; `None` when it holds more.
pub(crate) fn read_at_most(file: File, most: u64) -> Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or_default());
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|read| read <= most);
    Ok(fits.then_some(bytes))
}

fn open(path: &Path, wanted: impl Fn(&FileType) -> bool) -> Result<File> {
    // Asked before opening, as opening alone makes some devices act, and sockets cannot be opened; and again of what
    // was opened, as the name may lead elsewhere by then.
    check(std::fs::metadata(path)?.file_type(), &wanted)?;
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    check(file.metadata()?.file_type(), &wanted)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

fn check(kind: FileType, wanted: impl Fn(&FileType) -> bool) -> Result<()> {
    if wanted(&kind) {
        return Ok(());
    }
    let what = match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a file")))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{open_file, open_named, read_at_most};

    #[test]
    fn pipes_devices_folders_and_sockets_are_no_files_and_hang_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, socket, link] = ["pipe", "socket", "link"].map(|name| folder.path().join(name));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for (path, what) in [
            (pipe.as_path(), "a pipe"),
            (&link, "a pipe"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = open_file(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(what), "{error}");
        }
        // Nobody writes to it.
        assert_eq!(read_at_most(open_named(&pipe).unwrap(), 10).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn a_file_and_a_link_to_it_are_read_within_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, b"12345").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(read_at_most(open_file(path).unwrap(), 5).unwrap(), Some(b"12345".to_vec()));
            assert_eq!(read_at_most(open_file(path).unwrap(), 4).unwrap(), None);
        }
        assert_eq!(open_file(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
