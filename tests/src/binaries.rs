//! Where the real binaries are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of `tuf-agent`, `tufctl`, `tuf-agent-softhsm`, `tuf-conformance-client` or `virtual-yubikey`: from `TUFAGENT_BIN_DIR`, or built now in the profile of the tests.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(folder).join(name);
    assert!(path.is_file(), "{} is not there: run `cargo xtask test`", path.display());
    path
}

fn folder() -> PathBuf {
    if let Some(dir) = std::env::var_os("TUFAGENT_BIN_DIR") {
        return PathBuf::from(dir);
    }
    // target/PROFILE/deps/scenarios-HASH
    let program = std::env::current_exe().expect("the path of the test program");
    let folder = program.ancestors().nth(2).expect("target/PROFILE").to_path_buf();
    build(&folder);
    folder
}

/// Plain `cargo test` builds no binaries of other packages, and stale ones would lie.
fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet"]);
    let packages =
        ["tuf-agent", "tufctl", "tufagent-softhsm", "tufagent-conformance", "tufagent-virtual-yubikey"];
    command.args(packages.map(|name| format!("--package={name}")));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    command.arg("--target-dir").arg(folder.parent().expect("the target folder"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "the binaries do not build");
}
