//! Another time for one process, by libfaketime.

use std::path::PathBuf;
use std::process::Command;

use softhsm::{Skipped, debs};

/// The library of libfaketime, from the system or the third-party folder.
pub fn faketime() -> Result<PathBuf, Skipped> {
    let root = debs::fetch(&softhsm::third_party_dir()?, &["libfaketime"])?;
    for system in [PathBuf::from("/"), root] {
        let folders = std::fs::read_dir(system.join("usr/lib")).into_iter().flatten().flatten();
        let files = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        if let Some(library) = files.into_iter().find(|file| file.is_file()) {
            return Ok(library);
        }
    }
    Err(Skipped::new("libfaketime.so.1 is in neither place", "apt-get install libfaketime"))
}

/// Lets a command live `offset` from now, such as `+8d`.
pub fn shift(command: &mut Command, library: &std::path::Path, offset: &str) {
    command.env("LD_PRELOAD", library).env("FAKETIME", offset);
}
