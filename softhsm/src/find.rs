//! SoftHSM itself: by environment, in the system's folders, or as fetched packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fetched::folder_holding;
use crate::process;
use crate::token::TokenFolder;
use crate::{Skipped, debs};

const REMEDY: &str = "apt-get install softhsm2, or set SOFTHSM2_MODULE and SOFTHSM2_UTIL";

/// Where distributions put the module.
const SYSTEM_MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Libraries that SoftHSM needs beside libc, and the packages that may hold them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("libcrypto.so.3", &["libssl3", "libssl3t64"]),
    ("libstdc++.so.6", &["libstdc++6"]),
    ("libgcc_s.so.1", &["libgcc-s1"]),
    ("libsqlite3.so.0", &["libsqlite3-0"]),
];

/// A SoftHSM that works on this machine.
#[derive(Debug, Clone)]
pub struct SoftHsm {
    module: PathBuf,
    util: PathBuf,
    libraries: Vec<PathBuf>,
}

impl SoftHsm {
    /// The system's SoftHSM, or one fetched into [`crate::third_party_dir`].
    pub fn find_or_fetch() -> Result<Self, Skipped> {
        Self::find_or_fetch_in(&crate::third_party_dir()?)
    }

    /// As [`Self::find_or_fetch`], with the third-party folder named.
    pub fn find_or_fetch_in(third_party: &Path) -> Result<Self, Skipped> {
        let mut found = match Self::by_environment()? {
            Some(found) => found,
            None => match Self::on_the_system() {
                Some(found) => found,
                None => Self::fetched(third_party)?,
            },
        };
        found.complete_libraries(third_party)?;
        Ok(found)
    }

    /// The PKCS#11 module, an absolute path.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// `softhsm2-util`.
    pub fn util(&self) -> &Path {
        &self.util
    }

    /// `LD_LIBRARY_PATH` for whoever loads the module, where the system lacks one of its libraries.
    pub fn library_path(&self) -> Option<String> {
        let folders: Vec<_> = self.libraries.iter().map(|dir| dir.to_string_lossy()).collect();
        (!folders.is_empty()).then(|| folders.join(":"))
    }

    /// A private folder for tokens: `dir` is made if it is absent, and holds the configuration too.
    pub fn folder(&self, dir: &Path) -> Result<TokenFolder, Skipped> {
        let folder = self.folder_to_be(dir);
        folder.make()?;
        Ok(folder)
    }

    /// The same before anything of it is made.
    pub fn folder_to_be(&self, dir: &Path) -> TokenFolder {
        TokenFolder::to_be(self.clone(), dir)
    }

    fn by_environment() -> Result<Option<Self>, Skipped> {
        let Some(module) = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from) else { return Ok(None) };
        let util = std::env::var_os("SOFTHSM2_UTIL").map(PathBuf::from).or_else(util_on_path);
        let util = util.ok_or_else(|| Skipped::new("softhsm2-util was not found", REMEDY))?;
        if !module.is_file() {
            return Err(Skipped::new(format!("SOFTHSM2_MODULE={} is not a file", module.display()), REMEDY));
        }
        Ok(Some(Self { module, util, libraries: Vec::new() }))
    }

    fn on_the_system() -> Option<Self> {
        let module = SYSTEM_MODULES.iter().map(PathBuf::from).find(|path| path.is_file())?;
        Some(Self { module, util: util_on_path()?, libraries: Vec::new() })
    }

    fn fetched(third_party: &Path) -> Result<Self, Skipped> {
        let root = debs::fetch(third_party, &["softhsm2", "libsofthsm2"])?;
        let module = root.join("usr/lib/softhsm/libsofthsm2.so");
        // The packaged path is a link or a copy, by release; its end is what gets pinned.
        let module = module.canonicalize().map_err(|e| {
            Skipped::new(format!("the fetched package has no module: {}: {e}", module.display()), REMEDY)
        })?;
        Ok(Self { module, util: root.join("usr/bin/softhsm2-util"), libraries: Vec::new() })
    }

    /// Runs the tool until the loader misses nothing, fetching one library's package at a time.
    fn complete_libraries(&mut self, third_party: &Path) -> Result<(), Skipped> {
        for _ in 0..=LIBRARIES.len() {
            let done = process::run(self.command().arg("--version"), Duration::from_secs(20))
                .map_err(|why| Skipped::new(format!("SoftHSM does not run: {why}"), REMEDY))?;
            if done.status.success() {
                return Ok(());
            }
            let said = done.last_line().to_owned();
            let missing = LIBRARIES.iter().find(|(library, _)| said.contains(library));
            let (library, packages) =
                missing.ok_or_else(|| Skipped::new(format!("SoftHSM does not run: {said}"), REMEDY))?;
            self.libraries.push(fetch_library(third_party, library, packages)?);
        }
        Err(Skipped::new("SoftHSM does not run: its libraries do not load", REMEDY))
    }

    /// `softhsm2-util` with the environment that it needs to load.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.util);
        if let Some(path) = self.library_path() {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }
}

fn util_on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("softhsm2-util")).find(|file| file.is_file())
}

fn fetch_library(third_party: &Path, library: &str, packages: &[&str]) -> Result<PathBuf, Skipped> {
    let mut last = Skipped::new(format!("{library} is missing"), REMEDY);
    for package in packages {
        match debs::fetch(third_party, &[package]) {
            Ok(root) => {
                if let Some(folder) = folder_holding(&root, library, 5) {
                    return Ok(folder);
                }
            }
            Err(skipped) => last = skipped,
        }
    }
    Err(last)
}
