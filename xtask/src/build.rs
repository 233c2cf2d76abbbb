//! Building the binaries, and telling shipped builds from measuring ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// Which profile of the workspace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Builds `tuf-agent`, `tufctl` and `tuf-agent-softhsm`, for tests the conformance client and
/// `virtual-yubikey` too; returns the folder that holds them.
pub(crate) fn binaries(profile: Profile) -> Result<PathBuf, String> {
    let mut command = Command::new(shell::cargo());
    command.arg("build").current_dir(shell::workspace());
    command.args(["tuf-agent", "tufctl", "tufagent-softhsm"].map(|name| format!("--package={name}")));
    let target = shell::target_dir()?;
    command.arg("--target-dir").arg(&target);
    match profile {
        Profile::Release => command.arg("--release"),
        Profile::Dev => command.args(FOR_TESTS.map(|name| format!("--package={name}"))),
    };
    shell::run(&mut command)?;
    Ok(target.join(if profile == Profile::Release { "release" } else { "debug" }))
}

const FOR_TESTS: [&str; 2] = ["tufagent-conformance", "tufagent-virtual-yubikey"];

/// Fails for an agent that was built to measure (cargo feature `unsafe-flush`): nobody's keys belong into it.
pub(crate) fn refuse_unsafe(binaries: &Path) -> Result<(), String> {
    let version = shell::output(Command::new(binaries.join("tuf-agent")).arg("--version"))?;
    if version.contains("unsafe") {
        return Err(format!(
            "{} was built to measure, not to be used: {}",
            binaries.display(),
            version.trim()
        ));
    }
    Ok(())
}
