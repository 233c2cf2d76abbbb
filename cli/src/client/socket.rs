//! Where the agent's socket is (CONTRACT section 1).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Failure, reason};

/// The socket: `--socket`, `TUF_AGENT_SOCK`, `$XDG_RUNTIME_DIR/tuf-agent/agent.sock`, else `agent.sock` in the
/// state folder. `variable` reads the environment.
///
/// # Errors
/// `USAGE` when the path is longer than a socket address holds, or when there is no home to look in.
pub(crate) fn resolve(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, Failure> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG specification: a path there that is not absolute is to be ignored.
    let folder = |name: &str| set(name).filter(|path| path.is_absolute());
    let path = if let Some(path) = given.map(Path::to_owned).or_else(|| set("TUF_AGENT_SOCK")) {
        path
    } else if let Some(runtime) = folder("XDG_RUNTIME_DIR") {
        runtime.join("tuf-agent/agent.sock")
    } else if let Some(state) =
        folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))
    {
        state.join("tuf-agent/agent.sock")
    } else {
        return Err(Failure::new(
            reason::USAGE,
            "no socket is named and neither XDG_RUNTIME_DIR nor HOME is set",
        )
        .remedy("name the socket with --socket or TUF_AGENT_SOCK"));
    };
    let length = path.as_os_str().len();
    if length > MOST_BYTES {
        return Err(Failure::new(
            reason::USAGE,
            format!(
                "the socket's path has {length} bytes, a unix socket allows {MOST_BYTES}: {}",
                path.display()
            ),
        )
        .remedy("name a shorter one with --socket or TUF_AGENT_SOCK, for the agent and for tufctl"));
    }
    Ok(path)
}

/// `sun_path` holds 108 bytes with the closing zero.
const MOST_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::resolve;

    fn with(vars: &[(&str, &str)], given: Option<&str>) -> PathBuf {
        let find = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        resolve(given.map(Path::new), find).unwrap()
    }

    #[test]
    fn the_flag_wins_over_the_variable_over_the_runtime_folder_over_the_state_folder() {
        let all = [
            ("TUF_AGENT_SOCK", "/sock"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("XDG_STATE_HOME", "/state"),
            ("HOME", "/home/a"),
        ];
        assert_eq!(with(&all, Some("/flag")), Path::new("/flag"));
        assert_eq!(with(&all, None), Path::new("/sock"));
        assert_eq!(with(&all[1..], None), Path::new("/run/user/1/tuf-agent/agent.sock"));
        assert_eq!(with(&all[2..], None), Path::new("/state/tuf-agent/agent.sock"));
        assert_eq!(with(&all[3..], None), Path::new("/home/a/.local/state/tuf-agent/agent.sock"));
    }

    #[test]
    fn empty_and_relative_variables_count_as_unset() {
        let vars = [("TUF_AGENT_SOCK", ""), ("XDG_RUNTIME_DIR", "run"), ("HOME", "/h")];
        assert_eq!(with(&vars, None), Path::new("/h/.local/state/tuf-agent/agent.sock"));
    }

    #[test]
    fn a_path_over_107_bytes_is_refused_with_both_numbers() {
        let long = format!("/{}", "a".repeat(107));
        let failure = resolve(Some(Path::new(&long)), |_| None).unwrap_err();
        assert!(failure.message().contains("108 bytes") && failure.message().contains("107"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
    }
}
