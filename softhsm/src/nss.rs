//! NSS softokn: a module that starts only with a string of its own for C_Initialize.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fetched::Fetched;
use crate::{Ready, Skipped, process};

const REMEDY: &str = "look at the folder and at certutil's message";

/// NSS that works on this machine.
#[derive(Debug, Clone)]
pub struct Nss {
    module: PathBuf,
    certutil: PathBuf,
    library_path: Option<String>,
}

impl Nss {
    /// The system's, or fetched into `third_party`.
    pub fn find_or_fetch_in(third_party: &Path) -> Result<Self, Skipped> {
        let fetched = Fetched::new(third_party, "nss", &["libnss3", "libnss3-tools"])?;
        let (module, certutil) = (fetched.file("libsoftokn3.so")?, fetched.file("certutil")?);
        Ok(Self { module, certutil, library_path: fetched.library_path() })
    }

    /// Makes a key database in `dir`. `label` is at most 32 bytes, without a quote; without a `pin` it wants no login.
    pub fn token(&self, dir: &Path, label: &str, pin: &str) -> Result<Ready, Skipped> {
        let failed = |e: std::io::Error| Skipped::new(format!("{}: {e}", dir.display()), REMEDY);
        let (database, pin_file) = (dir.join("nss"), dir.join("nss-pin"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&database).map_err(failed)?;
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&pin_file);
        file.and_then(|mut file| file.write_all(pin.as_bytes())).map_err(failed)?;
        let made = self.certutil(&["-N", "-d", &format!("sql:{}", database.display()), "-f"], &pin_file);
        fs::remove_file(&pin_file).map_err(failed)?;
        made?;
        let env = self.library_path.iter().map(|path| ("LD_LIBRARY_PATH".to_owned(), path.clone())).collect();
        let mut ready = Ready::new(self.module.clone(), env, label, pin).writing(database.clone());
        ready.reserved = Some(format!(
            "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='secmod.db' dbTokenDescription='{label}'",
            database.display()
        ));
        Ok(ready)
    }

    fn certutil(&self, arguments: &[&str], pin_file: &Path) -> Result<(), Skipped> {
        let mut command = Command::new(&self.certutil);
        command.args(arguments).arg(pin_file);
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        let failed = |why: &str| Skipped::new(format!("certutil: {why}"), REMEDY);
        let done = process::run(&mut command, Duration::from_secs(60)).map_err(|why| failed(&why))?;
        if done.status.success() { Ok(()) } else { Err(failed(done.last_line())) }
    }
}
