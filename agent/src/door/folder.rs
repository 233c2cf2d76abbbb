//! Folders that must be ours and private, and the locks inside them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::DoorError;

/// Makes the folder (0700) when it is absent, and refuses one that is not ours, not private, or a symbolic link.
///
/// With `group`, the folder gets that group and 0750.
///
/// # Errors
/// A sentence on what is wrong with it and what to do.
pub fn own_folder(path: &Path, group: Option<u32>) -> Result<(), DoorError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return set_rights(path, group),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(DoorError::io("cannot make the folder", path)(error)),
    }
    let meta = std::fs::symlink_metadata(path).map_err(DoorError::io("cannot look at", path))?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        let what = if meta.is_symlink() { "is a symbolic link" } else { "is not a folder" };
        return Err(DoorError::not_safe(path, what, "remove it, or name another place"));
    }
    if meta.uid() != own {
        let why = format!("belongs to uid {}, not to this user ({own})", meta.uid());
        return Err(DoorError::not_safe(path, why, "name a folder of your own"));
    }
    let mode = meta.mode() & 0o7777;
    let wanted = wanted_mode(group);
    // 0700 is never too wide; a group's own folder may already have the wider mode.
    if mode == 0o700 || (mode == wanted && group.is_none_or(|gid| gid == meta.gid())) {
        return set_rights(path, group);
    }
    let why = format!("has mode {mode:04o}, and may be entered by others than this user");
    Err(DoorError::not_safe(path, why, format!("chmod {wanted:o} {}, or name another place", path.display())))
}

/// Sets group and mode of a folder of ours.
pub(super) fn set_rights(path: &Path, group: Option<u32>) -> Result<(), DoorError> {
    if let Some(gid) = group {
        std::os::unix::fs::lchown(path, None, Some(gid))
            .map_err(DoorError::io("cannot give to its group", path))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted_mode(group)))
        .map_err(DoorError::io("cannot set the mode of", path))
}

fn wanted_mode(group: Option<u32>) -> u32 {
    if group.is_some() { 0o750 } else { 0o700 }
}

/// Makes the state folder with its parents, checks it and takes its lock: one agent a state folder.
///
/// The lock is held as long as the file lives.
///
/// # Errors
/// `InUse` when another agent holds it; otherwise what is wrong with the folder.
pub fn lock_state(state: &Path) -> Result<File, DoorError> {
    if let Some(parent) = state.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(DoorError::io("cannot make the folder", parent))?;
    }
    own_folder(state, None)?;
    let path = state.join("lock");
    let file = lock_file(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::AGAIN) => {
            Err(DoorError::InUse { path, why: "is locked, so this state folder is in use".into() })
        }
        Err(errno) => Err(DoorError::io("cannot lock", &path)(errno.into())),
    }
}

/// Opens a lock file of our own, never through a symbolic link.
pub(super) fn lock_file(path: &Path) -> Result<File, DoorError> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path)
        .map_err(DoorError::io("cannot open the lock", path))
}
