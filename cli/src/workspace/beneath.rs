//! Writing below the repository folder and nowhere else: every step down is one name, and no link is followed.
//!
//! Names of targets and roles come from metadata, which others write; a folder may be swapped for a link at any moment.
//! So a path is never opened as a whole: each folder is opened from the one above it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fchown, fstat};
use rustix::fs::{openat, readlinkat};
use rustix::io::Errno;

use crate::error::{Failure, reason};

/// An open folder: the repository's own, or one below it.
#[derive(Debug)]
pub(super) struct Folder {
    file: File,
    /// For messages alone.
    path: PathBuf,
    /// Under which a file is written before it is moved to its place, here and below.
    temporary: Arc<OsStr>,
}

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

impl Folder {
    /// The repository folder, as it was named: links on the way to it are the caller's own.
    pub(super) fn of_repository(dir: &Path) -> Result<Self, Failure> {
        let file = File::open(dir).map_err(|e| Failure::io("open", dir, &e))?;
        Ok(Self { file, path: dir.to_owned(), temporary: OsStr::new(TEMPORARY).into() })
    }

    /// The same folder, where files are written under another name first: one that nobody else's file has.
    #[must_use]
    pub(super) fn writing_as(self, temporary: &OsStr) -> Self {
        Self { temporary: temporary.into(), ..self }
    }

    /// The name under which a file is written before it is moved to its place.
    pub(super) fn temporary(&self) -> &OsStr {
        &self.temporary
    }

    /// Such a name that nothing has here, where nobody knows whose is what has the usual one.
    pub(super) fn unused_temporary(&self) -> Result<OsString, Failure> {
        for name in temporaries() {
            if self.about(&name)?.is_none() {
                return Ok(name);
            }
        }
        Ok(TEMPORARY.into())
    }

    /// A folder below; empty for this one.
    ///
    /// # Errors
    /// `REPOSITORY_INVALID` when a link or a file stands on the way, or the path is not one of plain names.
    pub(super) fn open(&self, below: &Path) -> Result<Self, Failure> {
        self.descend(below, false)
    }

    /// A folder below, made with those above it where they are missing. The caller flushes them.
    pub(super) fn make(&self, below: &Path) -> Result<Self, Failure> {
        self.descend(below, true)
    }

    fn descend(&self, below: &Path, make: bool) -> Result<Self, Failure> {
        let again = self.file.try_clone().map_err(|e| Failure::io("open", &self.path, &e))?;
        let mut at = Self { file: again, path: self.path.clone(), temporary: Arc::clone(&self.temporary) };
        for part in below.components() {
            let Component::Normal(name) = part else { return Err(self.leads_out(below)) };
            at = at.step(name, make)?;
        }
        Ok(at)
    }

    fn step(&self, name: &OsStr, make: bool) -> Result<Self, Failure> {
        let path = self.path.join(name);
        if make {
            match rustix::fs::mkdirat(&self.file, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Failure::io("make", &path, &e.into())),
            }
        }
        match rustix::fs::openat(&self.file, name, OPEN | OFlags::DIRECTORY, Mode::empty()) {
            Ok(file) => Ok(Self { file: file.into(), path, temporary: Arc::clone(&self.temporary) }),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(in_the_way(&path)),
            Err(e) => Err(Failure::io("open", &path, &e.into())),
        }
    }

    /// A regular file of this name, for reading; `None` for anything else and for none.
    pub(super) fn file(&self, name: &OsStr) -> Result<Option<File>, Failure> {
        let file = match rustix::fs::openat(&self.file, self.plain(name)?, OPEN, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(e) => return Err(self.failed("read", name, e.into())),
        };
        let about = file.metadata().map_err(|e| self.failed("read", name, e))?;
        Ok(about.is_file().then_some(file))
    }

    /// What has this name here, links not followed.
    pub(super) fn about(&self, name: &OsStr) -> Result<Option<Stat>, Failure> {
        match rustix::fs::statat(&self.file, self.plain(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => Ok(Some(about)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.failed("read", name, e.into())),
        }
    }

    /// A new file for writing; what an earlier run left under this name is nobody's and goes.
    pub(super) fn create(&self, name: &OsStr) -> Result<File, Failure> {
        self.create_as(name, Mode::from_raw_mode(0o666))
    }

    /// As [`Self::create`], but nobody else may read it until [`give_access`].
    pub(super) fn create_private(&self, name: &OsStr) -> Result<File, Failure> {
        self.create_as(name, Mode::RUSR | Mode::WUSR)
    }

    /// Who may use a new file of this folder, by the umask or by what the folder has set: tried with an empty one.
    pub(super) fn usual_mode(&self) -> Result<Mode, Failure> {
        let name = self.temporary();
        let about = fstat(self.create(name)?).map_err(|e| self.failed("read", name, e.into()))?;
        self.remove(name)?;
        Ok(Mode::from_raw_mode(about.st_mode & 0o777))
    }

    fn create_as(&self, name: &OsStr, mode: Mode) -> Result<File, Failure> {
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.file, name, flags, mode);
        made.map(File::from).map_err(|e| self.failed("write", name, e.into()))
    }

    /// What is in this folder, and what it is; links not followed.
    pub(super) fn entries(&self) -> Result<Vec<(OsString, FileType)>, Failure> {
        let fail = |e: Errno| Failure::io("read", &self.path, &e.into());
        let mut all = Vec::new();
        for entry in Dir::read_from(&self.file).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say it here; who is gone by now is no entry.
                FileType::Unknown => match self.about(name)? {
                    Some(about) => FileType::from_raw_mode(about.st_mode),
                    None => continue,
                },
                kind => kind,
            };
            all.push((name.to_owned(), kind));
        }
        Ok(all)
    }

    /// Whether [`Self::share`] will be able to: a file of somebody else's may have to be copied.
    pub(super) fn check_shareable(&self, name: &OsStr) -> Result<(), Failure> {
        let owner = self.about(name)?.map(|about| about.st_uid);
        let is_ours = owner.is_none_or(|owner| owner == rustix::process::geteuid().as_raw());
        if is_ours { Ok(()) } else { self.file(name).map(drop) }
    }

    /// Gives a regular file of another folder its name in this new one too: a second name, or a copy where it cannot have
    /// one (the file system has none, or the file is somebody else's). `false` when it is no regular file any more.
    pub(super) fn share(&self, from: &Self, name: &OsStr) -> Result<bool, Failure> {
        let Some(looked_at) = from.about(name)? else { return Ok(false) };
        let other = from.file.as_fd();
        if rustix::fs::linkat(other, from.plain(name)?, &self.file, name, AtFlags::empty()).is_ok() {
            // What has the name can be something else by now.
            if self.about(name)?.as_ref().map(identity) == Some(identity(&looked_at)) {
                return Ok(FileType::from_raw_mode(looked_at.st_mode).is_file());
            }
            self.remove(name)?;
        }
        let Some(mut file) = from.file(name)? else { return Ok(false) };
        let about = file.metadata().map_err(|e| from.failed("read", name, e))?;
        let mut copy = self.create_private(name)?;
        io::copy(&mut file, &mut copy).map_err(|e| self.failed("write", name, e))?;
        // Nobody may read the copy who may not read the file: not a group of another name.
        let mine = copy.metadata().map_err(|e| self.failed("write", name, e))?;
        let group = rustix::process::Gid::from_raw(about.gid());
        let same = mine.gid() == about.gid() || fchown(&copy, None, Some(group)).is_ok();
        let mode = Mode::from_raw_mode(about.mode() & if same { 0o777 } else { 0o707 });
        fchmod(&copy, mode).map_err(|e| self.failed("write", name, e.into()))?;
        copy.sync_all().map_err(|e| self.failed("write", name, e))?;
        Ok(true)
    }

    /// The text of a link and whose it is; `None` for anything else.
    pub(super) fn link_text(&self, name: &OsStr) -> Result<Option<(PathBuf, u32)>, Failure> {
        let fail = |e: Errno| self.failed("read", name, e.into());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = openat(&self.file, self.plain(name)?, flags, Mode::empty()).map_err(fail)?;
        let about = fstat(&link).map_err(fail)?;
        if !FileType::from_raw_mode(about.st_mode).is_symlink() {
            return Ok(None);
        }
        let text = readlinkat(&link, "", Vec::new()).map_err(fail)?;
        Ok(Some((OsString::from_vec(text.into_bytes()).into(), about.st_uid)))
    }

    /// Whose this folder is.
    pub(super) fn owner(&self) -> Option<u32> {
        fstat(&self.file).ok().map(|about| about.st_uid)
    }

    /// Lets those use this folder who may use another one.
    pub(super) fn set_access_of(&self, other: &Self) -> Result<(), Failure> {
        let about = fstat(&other.file).map_err(|e| Failure::io("read", &other.path, &e.into()))?;
        // A group that may be given away is; whose it cannot be stays ours, as with a folder made by hand.
        let _ = fchown(&self.file, None, Some(rustix::process::Gid::from_raw(about.st_gid)));
        let mode = Mode::from_raw_mode(about.st_mode & 0o7777);
        fchmod(&self.file, mode).map_err(|e| Failure::io("write", &self.path, &e.into()))
    }

    /// For messages alone.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file beside its place, flushes it and moves it there. The folder is the caller's to flush.
    pub(super) fn write(&self, name: &OsStr, bytes: &[u8]) -> Result<(), Failure> {
        let temporary = self.temporary();
        let mut file = self.create(temporary)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(e) = written {
            self.remove(temporary)?;
            return Err(self.failed("write", name, e));
        }
        self.rename(temporary, name)
    }

    /// Gives a file of this folder another name in it, in place of what has that name.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> Result<(), Failure> {
        let (from, to) = (self.plain(from)?, self.plain(to)?);
        rustix::fs::renameat(&self.file, from, &self.file, to).map_err(|e| self.failed("write", to, e.into()))
    }

    /// Gives a file of another folder a second name here, in place of what has that name; `false` where the file system
    /// has no hard links.
    pub(super) fn link(&self, from: &Self, name: &OsStr, to: &OsStr) -> Result<bool, Failure> {
        self.link_if(from, name, to, None)
    }

    /// The same, if that file has the name still.
    fn link_if(
        &self,
        from: &Self,
        name: &OsStr,
        to: &OsStr,
        wanted: Option<Identity>,
    ) -> Result<bool, Failure> {
        let temporary = self.temporary();
        self.remove(temporary)?;
        let (from, name) = (from.file.as_fd(), from.plain(name)?);
        if rustix::fs::linkat(from, name, &self.file, temporary, AtFlags::empty()).is_err() {
            return Ok(false);
        }
        // What has the name can be another file by now: looked at under the name that nobody else gives.
        if wanted.is_some() && self.about(temporary)?.as_ref().map(identity) != wanted {
            return self.remove(temporary).map(|()| false);
        }
        self.rename(temporary, to).map(|()| true)
    }

    /// Lets a name of this folder lead elsewhere, in place of what has that name.
    pub(super) fn point(&self, name: &OsStr, to: &Path) -> Result<(), Failure> {
        let temporary = self.temporary();
        self.remove(temporary)?;
        rustix::fs::symlinkat(to, &self.file, temporary).map_err(|e| self.failed("write", name, e.into()))?;
        self.rename(temporary, name)
    }

    /// Gives a file of another folder a second name here, if it holds these bytes, and flushes it unless it `is_flushed`; `false` where it does
    /// not, or where the file system has no hard links. Writing a large file again takes as long as all the rest.
    pub(super) fn adopt(
        &self,
        from: &Self,
        name: &OsStr,
        to: &OsStr,
        bytes: &[u8],
        is_flushed: bool,
    ) -> Result<bool, Failure> {
        let Some(mut file) = from.file(name)? else { return Ok(false) };
        if !holds(&mut file, bytes).map_err(|e| from.failed("read", name, e))? {
            return Ok(false);
        }
        if !is_flushed {
            file.sync_all().map_err(|e| from.failed("write", name, e))?;
        }
        let looked_at = fstat(&file).map_err(|e| from.failed("read", name, e.into()))?;
        let looked_at = Some(identity(&looked_at));
        if self.about(to)?.as_ref().map(identity) == looked_at {
            return Ok(true);
        }
        self.link_if(from, name, to, looked_at)
    }

    /// Takes a file's name away, if it is there.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), Failure> {
        match rustix::fs::unlinkat(&self.file, self.plain(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.failed("remove", name, e.into())),
        }
    }

    /// Makes durable what got a name here.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|e| Failure::io("write", &self.path, &e))
    }

    /// One name, and nothing that leads elsewhere.
    fn plain<'n>(&self, name: &'n OsStr) -> Result<&'n OsStr, Failure> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(only)), None) if only == name => Ok(name),
            _ => Err(self.leads_out(Path::new(name))),
        }
    }

    fn leads_out(&self, below: &Path) -> Failure {
        let (here, below) = (self.path.display(), below.display());
        Failure::new(reason::REPOSITORY_INVALID, format!("{below} would leave {here}; nothing is written"))
            .remedy("look at what is staged: tufctl diff; and take the name out")
    }

    fn failed(&self, doing: &str, name: &OsStr, error: io::Error) -> Failure {
        Failure::io(doing, &self.path.join(name), &error)
    }
}

/// Lets those use a file who were kept from it while it was made.
pub(super) fn give_access(file: &File, mode: Mode) -> io::Result<()> {
    let now = Mode::from_raw_mode(file.metadata()?.mode() & 0o777);
    // Where all files have one mode, none may be set.
    if now == mode { Ok(()) } else { Ok(fchmod(file, mode)?) }
}

/// Whether a file holds exactly these bytes.
fn holds(file: &mut File, bytes: &[u8]) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    let mut rest = bytes;
    loop {
        let read = file.read(&mut piece)?;
        let (Some(here), Some(wanted)) = (piece.get(..read), rest.get(..read)) else { return Ok(false) };
        if read == 0 || here != wanted {
            return Ok(read == 0 && rest.is_empty());
        }
        rest = rest.get(read..).unwrap_or_default();
    }
}

/// A link, or a file where a folder belongs, or the other way round.
pub(super) fn in_the_way(path: &Path) -> Failure {
    let what = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => "a link, and nothing is published through it",
        Ok(found) if found.is_dir() => "a folder, where a file is to be published",
        _ => "no folder, where one is needed to publish",
    };
    Failure::new(reason::REPOSITORY_INVALID, format!("{} is {what}", path.display()))
        .remedy("take it away, or put a folder in its place (a mounted one will do)")
        .detail("file", path.display().to_string())
}

/// Names under which a file may be written before it is moved to its place: the usual one, and others where that is taken.
pub(super) fn temporaries() -> impl Iterator<Item = OsString> {
    let more = (1_u64..).map(|number| format!("{TEMPORARY}-{number}").into());
    std::iter::once(TEMPORARY.into()).chain(more)
}

/// The name under which a file is written before it is moved to its place.
pub(super) const TEMPORARY: &str = ".tufctl.tmp";

/// Files are compared in pieces of so many bytes.
const PIECE: usize = 1 << 18;

/// By which a file is told from others, whatever its name.
type Identity = (u64, u64);

fn identity(about: &Stat) -> Identity {
    (about.st_dev, about.st_ino)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::Folder;

    #[test]
    fn nothing_is_written_outside_whatever_the_name_or_the_link() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path(), inside.path().join("link")).unwrap();
        std::fs::write(outside.path().join("file"), "theirs").unwrap();
        symlink(outside.path().join("file"), inside.path().join("x")).unwrap();
        let folder = Folder::of_repository(inside.path()).unwrap();
        for path in ["link", "link/a", "../a", "/tmp", "a/../../b", "x/y"] {
            assert_eq!(folder.make(Path::new(path)).unwrap_err().reason(), "REPOSITORY_INVALID", "{path}");
        }
        for name in ["../x", "/x", "a/b", "..", ".", "", "a/"] {
            assert!(folder.write(OsStr::new(name), b"ours").is_err(), "{name}");
        }
        folder.write(OsStr::new("x"), b"ours").unwrap();
        assert!(folder.file(OsStr::new("link")).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(outside.path().join("file")).unwrap(), "theirs");
        assert_eq!(std::fs::read_to_string(inside.path().join("x")).unwrap(), "ours");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        // A file of the right bytes gets a second name, again and again; one of others is left alone.
        let other = folder.make(Path::new("other")).unwrap();
        other.write(OsStr::new("y"), b"theirs").unwrap();
        for (bytes, adopted) in
            [(&b"their"[..], false), (b"theirs.", false), (b"theirs", true), (b"theirs", true)]
        {
            let found = folder.adopt(&other, OsStr::new("y"), OsStr::new("z"), bytes, false);
            assert_eq!(found.unwrap(), adopted);
            assert!(!inside.path().join(super::TEMPORARY).exists());
        }
        // What has the name by now is not what was looked at.
        let looked_at = other.about(OsStr::new("y")).unwrap().as_ref().map(super::identity);
        other.write(OsStr::new("y"), b"others").unwrap();
        let mine = folder.link_if(&other, OsStr::new("y"), OsStr::new("z"), looked_at).unwrap();
        assert!(!mine && !inside.path().join(super::TEMPORARY).exists());
        assert_eq!(std::fs::read(inside.path().join("z")).unwrap(), b"theirs");
        assert!(!folder.adopt(&other, OsStr::new("none"), OsStr::new("z"), b"", true).unwrap());
        folder.make(Path::new("a/b")).unwrap().write(OsStr::new("c"), b"").unwrap();
        assert!(inside.path().join("a/b/c").is_file());
    }
}
