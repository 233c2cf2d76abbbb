//! Socket activation: the service manager binds, we check what it gives as strictly as our own.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::DoorError;

/// The socket that was passed by `LISTEN_FDS`, if it was meant for this process.
///
/// Must run before any thread starts: the variables are taken out of the environment.
///
/// # Errors
/// When more than one descriptor was passed, or it is no listening unix socket.
pub fn passed_socket() -> Result<Option<UnixListener>, DoorError> {
    // `from_env` leaves everything alone when LISTEN_PID is another process.
    let mut passed = listenfd::ListenFd::from_env();
    match passed.len() {
        0 => Ok(None),
        1 => passed
            .take_unix_listener(0)
            .map_err(|error| DoorError::Activation(format!("no unix stream socket ({error})"))),
        n => Err(DoorError::Activation(format!("{n} sockets"))),
    }
}

/// Owner and mode of the passed socket and its folder, as they would be had we bound it.
pub(super) fn check(listener: &UnixListener, group: Option<u32>) -> Result<PathBuf, DoorError> {
    let address = listener
        .local_addr()
        .map_err(|error| DoorError::Activation(format!("a socket without an address ({error})")))?;
    let Some(path) = address.as_pathname().map(Path::to_path_buf) else {
        return Err(DoorError::Activation("a socket without a path".into()));
    };
    let remedy = "set SocketMode=0600 and DirectoryMode=0700 in tuf-agent.socket";
    let folder = path.parent().unwrap_or(Path::new("/"));
    look(folder, if group.is_some() { 0o750 } else { 0o700 }, remedy)?;
    look(&path, if group.is_some() { 0o660 } else { 0o600 }, remedy)?;
    Ok(path)
}

fn look(path: &Path, widest: u32, remedy: &str) -> Result<(), DoorError> {
    let meta = std::fs::symlink_metadata(path).map_err(DoorError::io("cannot look at", path))?;
    let own = rustix::process::geteuid().as_raw();
    let mode = meta.mode() & 0o7777;
    if meta.is_symlink() {
        return Err(DoorError::not_safe(path, "is a symbolic link", remedy));
    }
    if meta.uid() != own {
        return Err(DoorError::not_safe(path, format!("belongs to uid {}", meta.uid()), remedy));
    }
    if mode & !widest != 0 {
        return Err(DoorError::not_safe(path, format!("has mode {mode:04o}"), remedy));
    }
    Ok(())
}
