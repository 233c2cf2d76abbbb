//! python-tuf, in the virtual environment that `cargo xtask test` and `bench` make.

use std::path::{Path, PathBuf};
use std::process::Command;

use tufagent_tests::oracle;

/// The interpreter, or why there is none.
pub(crate) fn interpreter() -> Result<PathBuf, String> {
    oracle::python().map_err(|skipped| skipped.to_string())
}

/// A script of this folder.
pub(crate) fn command(python: &Path, script: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
    command
}

/// Runs a command to its end; gives its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}
