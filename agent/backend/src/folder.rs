//! A folder of state: private, without links, written atomically. That of the file store, and those of split keys.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, fsync};
use rustix::io::Errno;
use tuf::word;

use crate::BackendError;

/// The path of the folder; opened anew for each use, so that it may be moved and repaired while
/// the agent runs.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

/// The folder, open and found private.
#[derive(Debug)]
pub struct OpenFolder<'a> {
    path: &'a Path,
    fd: OwnedFd,
}

impl Folder {
    /// The folder at this path; nothing is looked at yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None` when it is not there.
    ///
    /// # Errors
    /// `Insecure` for one that others can read or replace; `Io`.
    pub fn open(&self) -> Result<Option<OpenFolder<'_>>, BackendError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&self.path, flags, Mode::empty()) {
            Ok(fd) => {
                let stat = fstat(&fd).map_err(|e| BackendError::io(&self.path, "examined", e))?;
                check_private(&self.path, &stat, "chmod 700")?;
                Ok(Some(OpenFolder { path: &self.path, fd }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(insecure(
                &self.path,
                "it is a symbolic link or a file, not a folder",
                format!("put the folder itself at {}", self.path.display()),
            )),
            Err(e) => Err(BackendError::io(&self.path, "opened", e)),
        }
    }

    /// Opens it, and makes it with mode 0700 when it is not there.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn create(&self) -> Result<OpenFolder<'_>, BackendError> {
        match rustix::fs::mkdir(&self.path, Mode::RWXU) {
            Ok(()) => self.sync_parent()?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(BackendError::io(&self.path, "made", e)),
        }
        self.open()?.ok_or_else(|| BackendError::io(&self.path, "opened", Errno::NOENT))
    }

    /// Makes what was renamed to this folder durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_parent(&self) -> Result<(), BackendError> {
        let Some(parent) = self.path.parent() else { return Ok(()) };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(parent, flags, Mode::empty())
            .and_then(|fd| fsync(&fd))
            .map_err(|e| BackendError::io(parent, "written", e))
    }
}

impl OpenFolder<'_> {
    /// The names of all files in it, sorted.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self) -> Result<Vec<String>, BackendError> {
        let failed = |e| BackendError::io(self.path, "read", e);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The bytes of a file; `None` when it is not there.
    ///
    /// # Errors
    /// `Insecure`, `Corrupt` for a file that is too long; `Io`.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let path = self.path.join(name);
        // NONBLOCK: a pipe put here must not hang the agent.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(insecure(&path, "it is a symbolic link", "put the file itself there".to_owned()));
            }
            Err(e) => return Err(BackendError::io(&path, "opened", e)),
        };
        let stat = fstat(&fd).map_err(|e| BackendError::io(&path, "examined", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(insecure(&path, "it is not a file", "move it out of the folder".to_owned()));
        }
        check_private(&path, &stat, "chmod 600")?;
        let mut bytes = Vec::new();
        let mut file = std::fs::File::from(fd).take(FILE_MAX + 1);
        file.read_to_end(&mut bytes).map_err(|e| BackendError::io(&path, "read", e))?;
        if u64::try_from(bytes.len()).is_ok_and(|n| n <= FILE_MAX) {
            return Ok(Some(bytes));
        }
        Err(corrupt(&path, format!("it is longer than {FILE_MAX} bytes")))
    }

    /// Writes a whole file, durably: it is there with these bytes or as it was before.
    /// Without `replace` a file that is there is left alone and the answer is `false`.
    ///
    /// # Errors
    /// `Io`; then nothing has changed.
    pub fn write(&self, name: &str, bytes: &[u8], replace: bool) -> Result<bool, BackendError> {
        let path = self.path.join(name);
        let failed = |e: Errno| BackendError::io(&path, "written", e);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| BackendError::io(&path, "written", e))?;
        let temporary = format!("{TEMPORARY}{}", hex::encode(random));
        let written = self.write_new(&temporary, bytes).map_err(|e| BackendError::io(&path, "written", e));
        let placed = written.and_then(|()| self.place(&temporary, name, replace).map_err(failed));
        if !matches!(placed, Ok(true)) {
            // The error that is reported is the first one; a leftover is removed at the next start.
            let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        if placed? {
            fsync(&self.fd).map_err(failed)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes a file, durably; one that is gone already is fine.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, name: &str) -> Result<(), BackendError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(BackendError::io(&self.path.join(name), "removed", e)),
        }
        fsync(&self.fd).map_err(|e| BackendError::io(self.path, "written", e))
    }

    /// Removes what an interrupted [`OpenFolder::write`] left; it never held the only copy of anything.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_leftovers(&self) -> Result<(), BackendError> {
        // No more than those: a key may have a name that begins like theirs.
        let is_ours = |name: &&String| {
            name.strip_prefix(TEMPORARY)
                .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        for name in self.names()?.iter().filter(is_ours) {
            self.remove(name)?;
        }
        Ok(())
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
        fchmod(&fd, Mode::RUSR | Mode::WUSR)?; // whatever the umask
        let mut file = std::fs::File::from(fd);
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    }

    /// Renames; `false` when the name is taken and may not be replaced.
    fn place(&self, from: &str, to: &str, replace: bool) -> rustix::io::Result<bool> {
        if replace {
            return rustix::fs::renameat(&self.fd, from, &self.fd, to).map(|()| true);
        }
        match rustix::fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // A file system without the flag: the folder is ours alone (one agent a state folder).
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(&self.fd, to, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Ok(false),
                    Err(Errno::NOENT) => rustix::fs::renameat(&self.fd, from, &self.fd, to).map(|()| true),
                    Err(e) => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }
}

/// Owned by this user, and by mode for nobody else.
fn check_private(path: &Path, stat: &Stat, remedy: &str) -> Result<(), BackendError> {
    let me = rustix::process::geteuid();
    if stat.st_uid != me.as_raw() {
        let why = format!("it belongs to uid {}, not to uid {}", stat.st_uid, me.as_raw());
        return Err(insecure(path, &why, format!("chown it to uid {} if you trust it", me.as_raw())));
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        let why = format!("others may read or write it (mode {mode:04o})");
        return Err(insecure(path, &why, format!("{remedy} {}", word::path(path))));
    }
    Ok(())
}

/// The refusal of a file that cannot be trusted, with the way to repair it.
#[must_use]
pub fn corrupt(path: &Path, why: String) -> BackendError {
    let remedy = format!(
        "restore {} from a backup, or move it out of the folder to go on without it; nothing was changed",
        path.display()
    );
    BackendError::Corrupt { path: path.to_owned(), why, remedy }
}

fn insecure(path: &Path, why: &str, remedy: String) -> BackendError {
    BackendError::Insecure { path: path.to_owned(), why: why.to_owned(), remedy }
}

/// No file is longer: an RSA-4096 key takes about 6 KiB, the sets of a split key some ten.
const FILE_MAX: u64 = 1 << 20;
/// How the names of files that are being written begin.
const TEMPORARY: &str = ".tmp-";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::new(temp.path().join("keys"));
        (temp, folder)
    }

    #[test]
    fn files_are_private_and_written_whole() {
        let (_temp, folder) = folder();
        assert!(folder.open().unwrap().is_none());
        let open = folder.create().unwrap();
        assert!(open.write("a", b"1", false).unwrap());
        assert!(!open.write("a", b"2", false).unwrap());
        assert_eq!(open.read("a").unwrap().unwrap(), b"1");
        assert!(open.write("a", b"3", true).unwrap());
        assert_eq!(open.read("a").unwrap().unwrap(), b"3");
        assert_eq!(open.read("b").unwrap(), None);
        let names: Vec<_> = open.names().unwrap().into_iter().filter(|n| !n.starts_with("..")).collect();
        assert_eq!(names, [".", "a"]);
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(folder.path()), mode(&folder.path().join("a"))), (0o700, 0o600));
        open.remove("a").unwrap();
        assert_eq!(open.read("a").unwrap(), None);
    }

    #[test]
    fn leftovers_of_an_interrupted_write_go() {
        let (_temp, folder) = folder();
        let open = folder.create().unwrap();
        open.write(".tmp-0011223344556677", b"half", false).unwrap();
        for name in ["a", ".tmp-key.key", ".tmp-0011223344556677.key"] {
            open.write(name, b"1", false).unwrap();
        }
        open.remove_leftovers().unwrap();
        assert_eq!(open.read(".tmp-0011223344556677").unwrap(), None);
        for name in ["a", ".tmp-key.key", ".tmp-0011223344556677.key"] {
            assert!(open.read(name).unwrap().is_some(), "{name} is a key's");
        }
    }

    #[test]
    fn links_pipes_and_files_that_others_can_read_are_refused() {
        let (temp, folder) = folder();
        let open = folder.create().unwrap();
        open.write("real", b"1", false).unwrap();
        symlink("real", folder.path().join("link")).unwrap();
        rustix::fs::mknodat(&open.fd, "pipe", FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for name in ["link", "pipe"] {
            assert!(matches!(open.read(name), Err(BackendError::Insecure { .. })), "{name}");
        }
        for mode in [0o640, 0o604, 0o620, 0o602] {
            let path = folder.path().join("real");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = open.read("real").unwrap_err();
            assert!(error.remedy().starts_with("chmod 600 "), "{error}");
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(folder.open(), Err(BackendError::Insecure { .. })));
        let link = temp.path().join("other");
        symlink(folder.path(), &link).unwrap();
        assert!(matches!(Folder::new(link).open(), Err(BackendError::Insecure { .. })));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can give files away
        }
        let (_temp, folder) = folder();
        let open = folder.create().unwrap();
        open.write("a", b"1", false).unwrap();
        std::os::unix::fs::chown(folder.path().join("a"), Some(12345), None).unwrap();
        assert!(matches!(open.read("a"), Err(BackendError::Insecure { .. })));
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let (_temp, folder) = folder();
        let open = folder.create().unwrap();
        open.write("big", &vec![b'x'; (1 << 20) + 1], false).unwrap();
        assert!(matches!(open.read("big"), Err(BackendError::Corrupt { .. })));
    }
}
