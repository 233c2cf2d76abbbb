//! Programs and libraries that are on the system or were unpacked into a folder.

use std::path::{Path, PathBuf};

use crate::{Skipped, debs};

/// Where the programs and libraries of some packages lie.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    root: PathBuf,
    remedy: String,
}

impl Fetched {
    /// What `packages` hold, and what they depend on: the system's where it has it, fetched otherwise.
    pub(crate) fn new(third_party: &Path, name: &str, packages: &[&str]) -> Result<Self, Skipped> {
        let root = debs::fetch_with_dependencies(third_party, name, packages)?;
        // Outside there are start scripts of the same names.
        Ok(Self { root: root.join("usr"), remedy: format!("apt-get install {}", packages.join(" ")) })
    }

    /// A file by its name.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, Skipped> {
        let fetched = folder_holding(&self.root, name, 6);
        let system = || system_folders().into_iter().find(|folder| folder.join(name).is_file());
        fetched
            .or_else(system)
            .map(|folder| folder.join(name))
            .ok_or_else(|| Skipped::new(format!("{name} was not found"), &self.remedy))
    }

    /// `LD_LIBRARY_PATH` for what was fetched; `None` when no library had to be.
    pub(crate) fn library_path(&self) -> Option<String> {
        let mut folders = Vec::new();
        collect_library_folders(&self.root, 6, &mut folders);
        folders.sort();
        (!folders.is_empty()).then(|| folders.join(":"))
    }
}

fn system_folders() -> Vec<PathBuf> {
    let libraries = PathBuf::from(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let below = ["", "pkcs11", "p11-kit", "nss"].map(|name| libraries.join(name));
    let fixed = [
        "/usr/bin",
        "/usr/sbin",
        "/usr/libexec/p11-kit",
        "/usr/lib64",
        "/usr/lib64/pkcs11",
        "/usr/lib",
        "/usr/lib/pcsc/drivers/serial",
    ];
    below.into_iter().chain(fixed.map(PathBuf::from)).collect()
}

/// The folder at or below `root` that has a file of this name.
pub(crate) fn folder_holding(root: &Path, name: &str, depth: u8) -> Option<PathBuf> {
    if root.join(name).is_file() {
        return Some(root.to_path_buf());
    }
    let below = depth.checked_sub(1)?;
    folders_in(root).into_iter().find_map(|folder| folder_holding(&folder, name, below))
}

fn collect_library_folders(root: &Path, depth: u8, found: &mut Vec<String>) {
    let Some(below) = depth.checked_sub(1) else { return };
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    if entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".so")) {
        found.push(root.to_string_lossy().into_owned());
    }
    folders_in(root).iter().for_each(|folder| collect_library_folders(folder, below, found));
}

fn folders_in(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    // Links are passed over: packages link to and fro. So is what shells complete under a program's name.
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != "share")
        .map(|entry| entry.path())
        .collect()
}
