//! The door: the socket, who may come in, and what a connection may cost.
//!
//! Trust: nobody. The folder and the socket are checked before use, the peer before its first byte is read.
//! Invariants: a live socket is never replaced; a socket that we did not bind is never removed.

mod activation;
mod folder;
mod incoming;
mod peer;
mod shares;

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

pub use activation::passed_socket;
pub use folder::{lock_state, own_folder};
pub use incoming::{Admission, Conn, Incoming, TurnedAway};
pub use peer::{Connection, ConnectionInfo, Peer, connection_of, peer_of};
pub use shares::{CallPlace, HeldBytes, Place, Shares};

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// A folder, socket or lock that is not as it must be.
    #[error("{path} {why}: {remedy}")]
    Unsafe {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// Another agent is at work.
    #[error("another tuf-agent is at work: {path} {why}; stop it first, or name another place")]
    InUse {
        /// The socket or lock.
        path: PathBuf,
        /// How we know.
        why: String,
    },
    /// The service manager passed something else than one socket.
    #[error("the service manager passed {0}: the unit tuf-agent.socket must have exactly one ListenStream")]
    Activation(String),
    /// The system said no.
    #[error("{what} {path}: {cause}; {}", remedy(cause.kind()))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
}

impl DoorError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Io { what, path, cause }
    }

    fn not_safe(path: &Path, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unsafe { path: path.to_path_buf(), why: why.into(), remedy: remedy.into() }
    }
}

/// What to do when the system says no to a start.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ReadOnlyFilesystem => {
            "what is signed must be recorded, and the socket made: mount that file system for writing, or name another \
             place (XDG_STATE_HOME for the state, XDG_RUNTIME_DIR for the socket)"
        }
        ErrorKind::PermissionDenied => "see whose it is and who may use it (ls -ld), or name another place",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room on that file system, then start it again"
        }
        ErrorKind::NotADirectory => "a part of the path is no folder: see whether it is right",
        _ => "see to that disk or folder, then start it again",
    }
}

/// The open door.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket file that we bound; none when it was passed to us.
    bound: Option<(u64, u64)>,
    /// Held while we listen: two starts cannot both find the same stale socket.
    _lock: Option<std::fs::File>,
}

impl Door {
    /// Takes the socket that the service manager passed, or binds one at `path`.
    ///
    /// # Errors
    /// When the folder or what lies at `path` is not ours and private, or another agent answers there.
    pub fn open(path: &Path, passed: Option<UnixListener>, group: Option<u32>) -> Result<Self, DoorError> {
        match passed {
            Some(listener) => Self::adopt(listener, group),
            None => Self::bind(path, group),
        }
    }

    fn adopt(listener: UnixListener, group: Option<u32>) -> Result<Self, DoorError> {
        let path = activation::check(&listener, group)?;
        Ok(Self { listener, path, bound: None, _lock: None })
    }

    fn bind(path: &Path, group: Option<u32>) -> Result<Self, DoorError> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("/"));
        folder::own_folder(parent, group)?;
        let lock = folder::lock_file(&lock_path(path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| DoorError::InUse {
            path: path.to_path_buf(),
            why: "is being served (its lock is held)".into(),
        })?;
        clear_stale(path)?;
        // The file must never be there with wider rights, not even between bind and chmod.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = listener.map_err(DoorError::io("cannot bind", path))?;
        set_rights(path, group)?;
        let meta = std::fs::symlink_metadata(path).map_err(DoorError::io("cannot look at", path))?;
        let bound = Some((meta.dev(), meta.ino()));
        Ok(Self { listener, path: path.to_path_buf(), bound, _lock: Some(lock) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle to accept connections from; must be called inside the runtime.
    ///
    /// # Errors
    /// When the system says no.
    pub fn listener(&self) -> std::io::Result<tokio::net::UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    }

    /// Whoever comes from now on is told that nobody is there, and does not wait for who has gone. A socket that was passed
    /// to us stays: the next agent answers those who come.
    pub fn close(&self) {
        if self.bound.is_some()
            && let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both)
        {
            tracing::warn!(%error, "the socket could not be closed");
        }
    }

    /// Gives the folder and a socket that we bound the rights for another group.
    ///
    /// # Errors
    /// When the system says no.
    pub fn change_group(&self, group: Option<u32>) -> Result<(), DoorError> {
        if self.bound.is_none() {
            return Ok(());
        }
        if let Some(parent) = self.path.parent() {
            folder::set_rights(parent, group)?;
        }
        set_rights(&self.path, group)
    }
}

impl Drop for Door {
    /// Removes the socket file if it is still the one that we bound.
    fn drop(&mut self) {
        let now = std::fs::symlink_metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if self.bound.is_some()
            && now == self.bound
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// 0600, or 0660 with the group that may connect.
fn set_rights(path: &Path, group: Option<u32>) -> Result<(), DoorError> {
    std::os::unix::fs::lchown(path, None, Some(group.unwrap_or_else(own_gid)))
        .map_err(DoorError::io("cannot give to its group", path))?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(DoorError::io("cannot set the mode of", path))
}

fn own_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whatever lies at the path: nothing is fine, our own dead socket is removed, everything else is refused.
fn clear_stale(path: &Path) -> Result<(), DoorError> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DoorError::io("cannot look at", path)(error)),
    };
    if !meta.file_type().is_socket() {
        let what = if meta.is_symlink() { "is a symbolic link" } else { "is not a socket" };
        return Err(DoorError::not_safe(path, what, "remove it, or name another socket"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        let why = format!("belongs to uid {}", meta.uid());
        return Err(DoorError::not_safe(path, why, "remove it, or name another socket"));
    }
    if is_live(path)? {
        return Err(DoorError::InUse { path: path.to_path_buf(), why: "answers".into() });
    }
    std::fs::remove_file(path).map_err(DoorError::io("cannot remove the stale socket", path))
}

/// Connects without waiting: a full backlog is a live socket too.
fn is_live(path: &Path) -> Result<bool, DoorError> {
    let io = |errno: rustix::io::Errno| DoorError::io("cannot try the socket", path)(errno.into());
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io)?;
    match connect(&probe, &SocketAddrUnix::new(path).map_err(io)?) {
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(true),
        Err(errno) => Err(io(errno)),
    }
}

#[cfg(test)]
mod tests;
