//! kryoptic: a token in Rust that locks for good after ten wrong PINs, and the one beside SoftHSM with Ed25519. It is no
//! package: `kryoptic/` is built, with an OpenSSL and an SQLite from source, once and only when asked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fetched::Fetched;
use crate::ready::quoted;
use crate::token::{NewToken, initialise};
use crate::{Ready, Skipped, SoftHsm, process};

const REMEDY: &str = "cargo xtask test --kryoptic (it builds for minutes, and wants cc, make and perl)";
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// Which libclang is taken, the newest first; it reads OpenSSL's headers.
const CLANGS: std::ops::RangeInclusive<u8> = 13..=21;

/// kryoptic that was built.
#[derive(Debug, Clone)]
pub struct Kryoptic {
    softhsm: SoftHsm,
    module: PathBuf,
}

impl Kryoptic {
    /// The one that was built before. `softhsm2-util` makes the tokens.
    pub fn find_in(third_party: &Path) -> Result<Self, Skipped> {
        let module = third_party.join("kryoptic/release/libkryoptic_module.so");
        if !module.is_file() {
            return Err(Skipped::new("kryoptic was not built", REMEDY));
        }
        Ok(Self { softhsm: SoftHsm::find_or_fetch_in(third_party)?, module })
    }

    /// Builds it, or sees that it is up to date.
    pub fn build_in(third_party: &Path) -> Result<Self, Skipped> {
        let failed = |why: String| Skipped::new(format!("kryoptic cannot be built: {why}"), REMEDY);
        let (clang, clang_libraries) = libclang(third_party)?;
        let headers = process::run(Command::new("cc").arg("-print-file-name=include"), BUILD_LIMIT);
        let headers = headers.map_err(&failed)?.stdout;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("kryoptic"));
        cargo.args(["build", "--release", "--locked"]).arg("--target-dir").arg(third_party.join("kryoptic"));
        // The compiler's own headers: the package of libclang has none.
        cargo
            .env("LIBCLANG_PATH", clang)
            .env("BINDGEN_EXTRA_CLANG_ARGS", format!("-isystem {}", headers.trim()));
        if let Some(path) = clang_libraries {
            cargo.env("LD_LIBRARY_PATH", path);
        }
        let done = process::run(&mut cargo, BUILD_LIMIT).map_err(&failed)?;
        if !done.status.success() {
            return Err(failed(done.last_line().to_owned()));
        }
        Self::find_in(third_party)
    }

    /// Makes a token in `dir`.
    pub fn token(&self, dir: &Path, label: &str, so_pin: &str, pin: &str) -> Result<Ready, Skipped> {
        let failed =
            |e: std::io::Error| Skipped::new(format!("{}: {e}", dir.display()), "look at the folder");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let (configuration, store) = (dir.join("kryoptic.conf"), dir.join("kryoptic.sql"));
        let slot = format!(
            "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = {}\n",
            quoted(&store.to_string_lossy())
        );
        fs::write(&configuration, slot).map_err(failed)?;
        let path = configuration.to_string_lossy().into_owned();
        let env = BTreeMap::from([("KRYOPTIC_CONF".to_owned(), path)]);
        // The tool reads SoftHSM's configuration whatever the module.
        let mut tool_env = env.clone();
        let of_the_tool = self.softhsm.folder(dir)?.configuration();
        tool_env.insert("SOFTHSM2_CONF".to_owned(), of_the_tool.to_string_lossy().into_owned());
        initialise(&self.softhsm, &self.module, &tool_env, &NewToken { label, so_pin, pin })?;
        Ok(Ready::new(self.module.clone(), env, label, pin).writing(dir.to_path_buf()))
    }
}

/// The folder of libclang, and where its libraries lie if they were fetched.
fn libclang(third_party: &Path) -> Result<(PathBuf, Option<String>), Skipped> {
    let newest_first = || CLANGS.rev();
    let folder = |version: u8| PathBuf::from(format!("/usr/lib/llvm-{version}/lib"));
    if let Some(found) = newest_first().map(folder).find(|dir| dir.join("libclang.so.1").is_file()) {
        return Ok((found, None));
    }
    let mut last = Skipped::new("libclang was not found", "apt-get install libclang-dev");
    for version in newest_first() {
        let package = format!("libclang1-{version}");
        match Fetched::new(third_party, &package, &[&package])
            .and_then(|it| Ok((it.file("libclang.so.1")?, it)))
        {
            Ok((library, fetched)) => {
                let folder = library.parent().map(Path::to_path_buf).unwrap_or_default();
                return Ok((folder, fetched.library_path()));
            }
            Err(skipped) => last = skipped,
        }
    }
    Err(last)
}
