//! A repository folder, looked at from outside.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A repository folder: `metadata/`, `targets/` and perhaps `staged/`.
#[derive(Debug, Clone)]
pub struct Published {
    dir: PathBuf,
}

impl Published {
    /// The repository in this folder.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bytes of a file under `metadata/`.
    #[track_caller]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.dir.join("metadata").join(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A file under `metadata/`, read with serde_json.
    #[track_caller]
    pub fn metadata(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Whether a file is under `metadata/`.
    pub fn has(&self, name: &str) -> bool {
        self.dir.join("metadata").join(name).exists()
    }

    /// The names of the files in a folder of the repository, sorted; empty when the folder is not there.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dir.join(folder)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The version that `timestamp.json` leads to for `root`, `timestamp`, `snapshot` or a targets role.
    #[track_caller]
    pub fn version(&self, role: &str) -> u64 {
        if role == "root" {
            return (1..).take_while(|n| self.has(&format!("{n}.root.json"))).last().expect("a root");
        }
        let timestamp = self.metadata("timestamp.json");
        if role == "timestamp" {
            return timestamp["signed"]["version"].as_u64().unwrap();
        }
        let snapshot = timestamp["signed"]["meta"]["snapshot.json"]["version"].as_u64().unwrap();
        if role == "snapshot" {
            return snapshot;
        }
        let meta = self.metadata(&format!("{snapshot}.snapshot.json"));
        meta["signed"]["meta"][format!("{role}.json")]["version"]
            .as_u64()
            .unwrap_or_else(|| panic!("no {role}"))
    }

    /// Copies the folder, as a mirror does; hard links become files.
    pub fn copy_to(&self, to: &Path) -> Self {
        copy(&self.dir, to);
        Self::at(to)
    }

    /// Rewrites a file under `metadata/` through a function on its text.
    #[track_caller]
    pub fn damage(&self, name: &str, change: impl FnOnce(String) -> String) {
        let before = String::from_utf8(self.bytes(name)).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "the change changes nothing in {name}");
        let path = self.dir.join("metadata").join(name);
        fs::remove_file(&path).unwrap();
        fs::write(path, after).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let goal = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &goal);
        } else {
            fs::copy(entry.path(), goal).unwrap();
        }
    }
}
