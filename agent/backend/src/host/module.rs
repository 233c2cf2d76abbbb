//! The module's file: who may write it, and its digest, taken from the very descriptor that is loaded
//! (FAULTS B7).

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::protocol::{HostError, HostErrorKind};

/// A module's file that was checked and hashed. What is hashed and what is loaded is one open file.
#[derive(Debug)]
pub(crate) struct ModuleFile {
    file: File,
    path: PathBuf,
    sha256: String,
}

impl ModuleFile {
    /// Checks, opens and hashes.
    pub(crate) fn open(path: &Path) -> Result<Self, HostError> {
        if !path.is_absolute() {
            return Err(refuse(path, "its path is not absolute"));
        }
        let real = resolve(path)?;
        let mut file = File::open(&real).map_err(|e| refuse(&real, &e.to_string()))?;
        let kind = file.metadata().map_err(|e| refuse(&real, &e.to_string()))?;
        if !kind.is_file() {
            return Err(refuse(&real, "it is not a file"));
        }
        check_one(&real, &kind, false)?;
        let sha256 = hash(&mut file).map_err(|e| refuse(&real, &e.to_string()))?;
        Ok(Self { file, path: real, sha256 })
    }

    /// Where it really lies, symbolic links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256, in hexadecimal.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where it lies, if what lies there now is still the file that was hashed: for loaders that do
    /// not take [`ModuleFile::load_path`].
    pub(crate) fn unchanged_path(&self) -> Option<&Path> {
        let (open, there) = (self.file.metadata().ok()?, self.path.metadata().ok()?);
        (open.dev() == there.dev() && open.ino() == there.ino()).then_some(&self.path)
    }

    /// The path by which the loader reaches this open file.
    pub(crate) fn load_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

fn hash(file: &mut File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 16];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(buf.get(..n).unwrap_or_default()),
        }
    }
}

/// Where the path leads, as the kernel walks it (path_resolution(7)): each folder, each link and the file at the end must be
/// writable by root and this user alone, as whoever can replace one of them chooses the module.
fn resolve(path: &Path) -> Result<PathBuf, HostError> {
    let mut left: Vec<OsString> = parts(path);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    check_step(&at, true)?;
    while let Some(part) = left.pop() {
        if part == ".." {
            // Of a folder that was checked on the way down.
            at.pop();
            continue;
        }
        let step = at.join(&part);
        let meta = step.symlink_metadata().map_err(|e| refuse(path, &e.to_string()))?;
        if !meta.file_type().is_symlink() {
            check_step(&step, !left.is_empty())?;
            at = step;
            continue;
        }
        // Its mode says nothing; its owner and its folder, the step before, do.
        check_owner(&step, &meta)?;
        links += 1;
        if links > MOST_LINKS {
            return Err(refuse(path, "it leads through too many symbolic links"));
        }
        let target = step.read_link().map_err(|e| refuse(&step, &e.to_string()))?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(parts(&target));
    }
    Ok(at)
}

/// The names of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut all: Vec<_> = named.collect();
    all.reverse();
    all
}

fn check_step(step: &Path, folder: bool) -> Result<(), HostError> {
    let meta = step.symlink_metadata().map_err(|e| refuse(step, &e.to_string()))?;
    check_one(step, &meta, folder)
}

/// Gives this user's id.
fn check_owner(path: &Path, meta: &std::fs::Metadata) -> Result<u32, HostError> {
    let me = rustix::process::geteuid().as_raw();
    match meta.uid() {
        0 => Ok(me),
        uid if uid == me => Ok(me),
        uid => Err(insecure(path, &format!("it belongs to user {uid}"), me)),
    }
}

fn check_one(path: &Path, meta: &std::fs::Metadata, folder: bool) -> Result<(), HostError> {
    let me = check_owner(path, meta)?;
    // In a sticky folder (such as /tmp) nobody can rename or remove what belongs to root or this user,
    // and the step below it, which was checked before, does.
    let sticky = folder && meta.mode() & 0o1000 != 0;
    if meta.mode() & 0o002 != 0 && !sticky {
        return Err(insecure(path, "everybody can write it", me));
    }
    // The bit is then the mask of all that the list gives to users and groups (acl(5)).
    if meta.mode() & 0o020 != 0 && !sticky && has_acl(path) {
        return Err(insecure(path, "an access control list lets others write it (getfacl, setfacl -b)", me));
    }
    if meta.mode() & 0o020 != 0 && !sticky && meta.gid() != 0 && !group_is_private(meta.gid(), me) {
        return Err(insecure(path, &format!("group {} can write it", meta.gid()), me));
    }
    Ok(())
}

/// Whether a POSIX access control list says more than the mode. One that cannot be read is there.
fn has_acl(path: &Path) -> bool {
    let mut list = [0_u8; 4096];
    !matches!(
        rustix::fs::lgetxattr(path, ACL, &mut list[..]),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS)
    )
}

const ACL: &str = "system.posix_acl_access";
/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Whether a group has this user alone, as Debian and Ubuntu make one for every user.
fn group_is_private(gid: u32, uid: u32) -> bool {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    private_group(&groups, &users, gid, uid)
}

/// `groups` and `users` in the forms of group(5) and passwd(5). A group that is not there is not private.
fn private_group(groups: &str, users: &str, gid: u32, uid: u32) -> bool {
    let mine = |text: &str| text.parse() == Ok(uid);
    let users: Vec<Vec<&str>> = users.lines().map(|line| line.split(':').collect()).collect();
    let my_names: Vec<&str> = users
        .iter()
        .filter(|user| user.get(2).is_some_and(|id| mine(id)))
        .filter_map(|user| user.first().copied())
        .collect();
    let primary_of_others = users.iter().any(|user| {
        user.get(3).is_some_and(|g| g.parse() == Ok(gid)) && !user.get(2).is_some_and(|id| mine(id))
    });
    let members = groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|group| group.get(2).is_some_and(|id| id.parse() == Ok(gid)))
        .map(|group| group.get(3).copied().unwrap_or_default().to_owned());
    match members {
        None => false,
        Some(members) => {
            !primary_of_others
                && members.split(',').filter(|name| !name.is_empty()).all(|name| my_names.contains(&name))
        }
    }
}

fn refuse(path: &Path, why: &str) -> HostError {
    HostError::new(HostErrorKind::Module, format!("the module {} cannot be used: {why}", path.display()))
}

fn insecure(path: &Path, why: &str, me: u32) -> HostError {
    let message = format!(
        "{} must be writable only by root or user {me}, but {why}; a module is code that handles the PIN",
        path.display()
    );
    HostError::new(HostErrorKind::Insecure, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn private_folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o700);
        dir
    }

    #[test]
    fn a_module_in_a_private_folder_is_hashed_and_reached_through_its_descriptor() {
        let dir = private_folder();
        let path = dir.path().join("m.so");
        std::fs::write(&path, b"abc").unwrap();
        chmod(&path, 0o644);
        let module = ModuleFile::open(&path).unwrap();
        assert_eq!(module.sha256(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"other").unwrap();
        assert_eq!(std::fs::read(module.load_path()).unwrap(), b"abc");
        assert_eq!(module.unchanged_path(), None);
    }

    #[test]
    fn a_module_that_others_can_write_or_replace_is_refused() {
        let dir = private_folder();
        let folder = dir.path().join("lib");
        std::fs::create_dir(&folder).unwrap();
        chmod(&folder, 0o755);
        let path = folder.join("m.so");
        std::fs::write(&path, b"abc").unwrap();
        chmod(&path, 0o666);
        assert_eq!(ModuleFile::open(&path).unwrap_err().kind, HostErrorKind::Insecure);
        chmod(&path, 0o644);
        chmod(&folder, 0o777);
        let error = ModuleFile::open(&path).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Insecure);
        assert!(error.message.contains("everybody"), "{}", error.message);
    }

    #[test]
    fn a_link_is_resolved_and_the_folder_of_the_link_counts_too() {
        let dir = private_folder();
        let path = dir.path().join("m.so");
        std::fs::write(&path, b"abc").unwrap();
        chmod(&path, 0o644);
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        chmod(&open, 0o755);
        let link = open.join("link.so");
        symlink(&path, &link).unwrap();
        assert_eq!(ModuleFile::open(&link).unwrap().path(), path.canonicalize().unwrap());
        chmod(&open, 0o777);
        assert_eq!(ModuleFile::open(&link).unwrap_err().kind, HostErrorKind::Insecure);
    }

    #[test]
    fn each_link_of_a_chain_counts_and_each_folder_on_the_way() {
        let dir = private_folder();
        let make = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            chmod(&folder, 0o755);
            folder
        };
        let (real, middle, first) = (make("real"), make("middle"), make("first"));
        std::fs::write(real.join("m.so"), b"abc").unwrap();
        chmod(&real.join("m.so"), 0o644);
        symlink("../real/m.so", middle.join("two.so")).unwrap();
        symlink(middle.join("two.so"), first.join("one.so")).unwrap();
        let open = || ModuleFile::open(&first.join("one.so"));
        assert_eq!(open().unwrap().path(), real.join("m.so").canonicalize().unwrap());
        for folder in [&real, &middle, &first] {
            chmod(folder, 0o777);
            let error = open().unwrap_err();
            assert_eq!(error.kind, HostErrorKind::Insecure, "{}", error.message);
            assert!(error.message.contains(&*folder.to_string_lossy()), "{}", error.message);
            chmod(folder, 0o755);
        }
        symlink("loop.so", first.join("loop.so")).unwrap();
        assert_eq!(ModuleFile::open(&first.join("loop.so")).unwrap_err().kind, HostErrorKind::Module);
        // A folder that is a link leads on as well, and ".." is that of where it leads.
        symlink(&middle, dir.path().join("way")).unwrap();
        let by_folder = dir.path().join("way/../real/m.so");
        assert_eq!(ModuleFile::open(&by_folder).unwrap().path(), real.join("m.so").canonicalize().unwrap());
    }

    /// rw for user 65534 by a list, in the form of acl(5) in the kernel: version, then tag, permissions and id of each.
    fn give_by_acl(path: &Path) -> bool {
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 6, 65_534), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, may, id) in entries {
            list.extend([&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat());
        }
        rustix::fs::setxattr(path, ACL, &list, rustix::fs::XattrFlags::empty()).is_ok()
    }

    /// On the first file system that has lists: not each has, and a machine's memory mostly does.
    fn folder_with_acls() -> Option<tempfile::TempDir> {
        let places = [std::env::temp_dir(), "/dev/shm".into(), "/var/tmp".into()];
        let made = places.iter().filter_map(|place| tempfile::tempdir_in(place).ok());
        let found = made.into_iter().find(|dir| {
            let given = give_by_acl(dir.path());
            chmod(dir.path(), 0o700);
            given
        });
        let required = std::env::var_os("TUFAGENT_REQUIRE_ALL").is_some();
        assert!(
            found.is_some() || !required,
            "required, and missing: a file system with access control lists"
        );
        if found.is_none() {
            println!("SKIPPED: no file system here has access control lists");
        }
        found
    }

    #[test]
    fn what_an_access_control_list_lets_others_write_is_refused() {
        let Some(dir) = folder_with_acls() else { return };
        let folder = dir.path().join("lib");
        std::fs::create_dir(&folder).unwrap();
        chmod(&folder, 0o755);
        let path = folder.join("m.so");
        std::fs::write(&path, b"abc").unwrap();
        chmod(&path, 0o644);
        ModuleFile::open(&path).unwrap();
        for place in [&path, &folder] {
            assert!(give_by_acl(place));
            let error = ModuleFile::open(&path).unwrap_err();
            assert_eq!(error.kind, HostErrorKind::Insecure);
            assert!(error.message.contains("access control list"), "{}", error.message);
            // The mask takes it away again.
            chmod(place, if place == &path { 0o644 } else { 0o755 });
            ModuleFile::open(&path).unwrap();
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: only root can give files away; run the tests as root once");
            return;
        }
        let dir = private_folder();
        let folder = dir.path().join("lib");
        std::fs::create_dir(&folder).unwrap();
        chmod(&folder, 0o755);
        let (path, link) = (folder.join("m.so"), dir.path().join("link.so"));
        std::fs::write(&path, b"abc").unwrap();
        chmod(&path, 0o644);
        symlink(&path, &link).unwrap();
        ModuleFile::open(&link).unwrap();
        for place in [&path, &folder, &link] {
            std::os::unix::fs::lchown(place, Some(65_534), None).unwrap();
            let error = ModuleFile::open(&link).unwrap_err();
            assert_eq!(error.kind, HostErrorKind::Insecure);
            assert!(error.message.contains("belongs to user 65534"), "{}", error.message);
            std::os::unix::fs::lchown(place, Some(0), None).unwrap();
        }
    }

    #[test]
    fn relative_missing_and_unfit_paths_are_refused() {
        for path in ["m.so", "/nonexistent/m.so", "/usr"] {
            assert_eq!(ModuleFile::open(Path::new(path)).unwrap_err().kind, HostErrorKind::Module, "{path}");
        }
    }

    #[test]
    fn only_a_group_of_this_user_alone_is_private() {
        let groups = "root:x:0:\nann:x:1000:\nstaff:x:50:ann,ben\nown:x:51:ann\n";
        let users = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nben:x:1001:1001::/:/bin/sh\n";
        assert!(private_group(groups, users, 1000, 1000));
        assert!(private_group(groups, users, 51, 1000));
        assert!(!private_group(groups, users, 50, 1000));
        assert!(!private_group(groups, users, 77, 1000), "an unknown group");
        let shared = users.replace("1001:1001", "1001:1000");
        assert!(!private_group(groups, &shared, 1000, 1000), "another's primary group");
    }
}
