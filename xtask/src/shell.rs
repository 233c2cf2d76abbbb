//! Running programs, and where things are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cargo that runs us.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder: the one that this program lies in.
pub(crate) fn target_dir() -> Result<PathBuf, String> {
    let third_party = softhsm::third_party_dir().map_err(|e| e.to_string())?;
    if std::env::var_os("TUFAGENT_THIRD_PARTY").is_none() {
        return third_party.parent().map(Path::to_path_buf).ok_or_else(|| "no target folder".to_owned());
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let marked = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    marked.map(Path::to_path_buf).ok_or_else(|| "cargo's target folder was not found".to_owned())
}

/// Runs with our own streams; the error names the program.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = program(command);
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("{name} cannot be run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed ({status})")) }
}

/// Runs and returns standard output; the error has the last line of standard error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = program(command);
    let done = command.stdin(Stdio::null()).output().map_err(|e| format!("{name} cannot be run: {e}"))?;
    if done.status.success() {
        return String::from_utf8(done.stdout).map_err(|_| format!("{name} printed bad UTF-8"));
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(format!("{name}: {}", said.trim().lines().last().unwrap_or("failed")))
}

/// Whether a program is on the path.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// Whether we are root, as in containers.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

fn program(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
