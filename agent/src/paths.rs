//! Where things lie: the XDG variables decide, `HOME` is only their default.
//!
//! Trust: the environment is the user's own. Nothing is created here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The places the agent uses.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The configuration file, and whether it was named (then it must exist).
    pub config: PathBuf,
    /// True when `--config` named the file.
    pub config_named: bool,
    /// The state folder: ledger, journal head, file store, lock.
    pub state: PathBuf,
    /// The socket.
    pub socket: PathBuf,
    /// The credentials folder of the service manager, if there is one.
    pub credentials: Option<PathBuf>,
}

/// Why the paths cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Neither the XDG variable nor `HOME` is there.
    #[error("neither {0} nor HOME is set: set one of them, as an absolute path")]
    NoHome(&'static str),
    /// The kernel's limit for socket paths.
    #[error(
        "the socket path {path} is {len} bytes long, and the system allows 107: name a shorter one with --socket or TUF_AGENT_SOCK"
    )]
    SocketTooLong {
        /// The path that is too long.
        path: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A relative socket path would depend on where the agent was started.
    #[error("the current folder cannot be told ({0}): give --config and --socket as absolute paths")]
    CurrentFolder(std::io::Error),
}

impl Paths {
    /// Finds all paths from the arguments and the environment that `var` reads.
    ///
    /// # Errors
    /// When no home is known or the socket path is longer than 107 bytes.
    pub fn find(
        config: Option<&Path>,
        socket: Option<&Path>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, PathError> {
        let xdg = |name: &'static str, default: &str| {
            absolute(var(name))
                .or_else(|| absolute(var("HOME")).map(|home| home.join(default)))
                .ok_or(PathError::NoHome(name))
        };
        let state = xdg("XDG_STATE_HOME", ".local/state")?.join("tuf-agent");
        let named = socket.map(Path::to_path_buf).or_else(|| not_empty(var("TUF_AGENT_SOCK")));
        let socket = match (named, absolute(var("XDG_RUNTIME_DIR"))) {
            (Some(path), _) => std::path::absolute(path).map_err(PathError::CurrentFolder)?,
            (None, Some(runtime)) => runtime.join("tuf-agent").join("agent.sock"),
            (None, None) => state.join("agent.sock"),
        };
        check_socket_length(&socket)?;
        let config_named = config.is_some();
        let config = match config {
            Some(path) => std::path::absolute(path).map_err(PathError::CurrentFolder)?,
            None => xdg("XDG_CONFIG_HOME", ".config")?.join("tuf-agent").join("config.toml"),
        };
        Ok(Self { config, config_named, state, socket, credentials: absolute(var("CREDENTIALS_DIRECTORY")) })
    }
}

/// XDG: relative paths are to be ignored, as are empty ones.
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    not_empty(value).filter(|path| path.is_absolute())
}

fn not_empty(value: Option<OsString>) -> Option<PathBuf> {
    value.filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// `sun_path` holds 108 bytes with the terminating NUL.
fn check_socket_length(path: &Path) -> Result<(), PathError> {
    let len = path.as_os_str().len();
    if len > 107 {
        return Err(PathError::SocketTooLong { path: path.display().to_string(), len });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn the_xdg_variables_decide_and_home_is_only_their_default() {
        let paths = Paths::find(
            None,
            None,
            env(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/run/user/1")]),
        )
        .unwrap();
        assert_eq!(paths.state, Path::new("/s/tuf-agent"));
        assert_eq!(paths.config, Path::new("/h/.config/tuf-agent/config.toml"));
        assert_eq!(paths.socket, Path::new("/run/user/1/tuf-agent/agent.sock"));
    }

    #[test]
    fn without_a_runtime_folder_the_socket_lies_in_the_state_folder() {
        let paths = Paths::find(None, None, env(&[("HOME", "/h")])).unwrap();
        assert_eq!(paths.socket, Path::new("/h/.local/state/tuf-agent/agent.sock"));
    }

    #[test]
    fn a_socket_path_over_107_bytes_says_so() {
        let long = format!("/{}", "x".repeat(107));
        let error = Paths::find(None, Some(Path::new(&long)), env(&[("HOME", "/h")])).unwrap_err();
        assert!(error.to_string().contains("108 bytes"), "{error}");
    }
}
