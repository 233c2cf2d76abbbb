//! Another time for single processes, by libfaketime.

use std::path::{Path, PathBuf};
use std::process::Command;

use softhsm::{Skipped, debs};

/// Another time than now.
#[derive(Debug, Clone)]
pub struct Shift {
    library: PathBuf,
    offset: String,
}

impl Shift {
    /// `offset` from now, such as `-30d` or `+8d`, with the library from the system or the third-party folder.
    pub fn new(offset: &str) -> Result<Self, Skipped> {
        Ok(Self { library: library()?, offset: offset.to_owned() })
    }

    /// Lets a command live then; clocks that only run on are left alone.
    pub fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME", &self.offset)
            .env("DONT_FAKE_MONOTONIC", "1");
    }

    /// Variables for a process that lives at the time that a file names, such as `+10y`, and follows what is written there
    /// while it runs.
    pub fn following(&self, file: &Path) -> [(&'static str, String); 4] {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

fn library() -> Result<PathBuf, Skipped> {
    let in_system = in_folder(Path::new("/usr/lib"));
    let fetched = || debs::fetch(&softhsm::third_party_dir()?, &["libfaketime"]);
    match in_system {
        Some(library) => Ok(library),
        None => in_folder(&fetched()?.join("usr/lib"))
            .ok_or_else(|| Skipped::new("libfaketime.so.1 is not there", "apt-get install libfaketime")),
    }
}

/// `ARCHITECTURE/faketime/libfaketime.so.1` in a folder of libraries.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut files = entries.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    files.find(|file| file.is_file())
}
