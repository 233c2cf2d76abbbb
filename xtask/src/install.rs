//! `cargo xtask install`: binaries, units, man pages, completions, below a prefix.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{self, Profile};
use crate::shell;

/// Where the shipped units look for the agent, until an installation says otherwise.
const UNITS_NAME: &str = "/usr/bin/tuf-agent";
const UNITS: [&str; 2] = ["tuf-agent.service", "tuf-agent.socket"];
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/tufctl"),
    ("zsh", "share/zsh/site-functions/_tufctl"),
    ("fish", "share/fish/vendor_completions.d/tufctl.fish"),
];

/// Man pages that `tufctl man` does not write, and where they go.
const PAGES: [(&str, &str); 2] = [
    ("agent/tuf-agent.1", "share/man/man1/tuf-agent.1"),
    ("agent/tuf-agent-pkcs11.7", "share/man/man7/tuf-agent-pkcs11.7"),
];

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    prefix: PathBuf,
    destdir: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let (mut prefix, mut destdir) = (None, None);
        let mut rest = words;
        while let [flag, after @ ..] = rest {
            let (flag, value, after) = match (flag.split_once('='), after) {
                (Some((flag, value)), after) => (flag, value, after),
                (None, [value, after @ ..]) => (*flag, *value, after),
                (None, []) => return Err(format!("install: {flag} wants a folder")),
            };
            match flag {
                "--prefix" => prefix = Some(PathBuf::from(value)),
                "--destdir" => destdir = Some(PathBuf::from(value)),
                _ => return Err(format!("install: unknown option {flag}")),
            }
            rest = after;
        }
        let prefix = prefix.ok_or("install: --prefix P is needed, such as --prefix ~/.local")?;
        if !prefix.is_absolute() {
            return Err("install: the prefix is written into the units, so it must be absolute".to_owned());
        }
        Ok(Self { prefix, destdir })
    }

    /// The folder that files are written to: the prefix, below `--destdir` where that is given.
    fn root(&self) -> PathBuf {
        match &self.destdir {
            Some(dir) => dir.join(self.prefix.strip_prefix("/").unwrap_or(&self.prefix)),
            None => self.prefix.clone(),
        }
    }
}

/// Builds for release and puts every file in its place.
pub(crate) fn install(options: Options) -> Result<(), String> {
    let binaries = build::binaries(Profile::Release)?;
    build::refuse_unsafe(&binaries)?;
    let root = options.root();
    for name in ["tuf-agent", "tufctl", "tuf-agent-softhsm"] {
        let bytes = fs::read(binaries.join(name)).map_err(|e| format!("{name}: {e}"))?;
        put(&root.join("bin").join(name), &bytes, 0o755)?;
    }
    let named = format!("{}/bin/tuf-agent", options.prefix.display());
    for name in UNITS {
        let source = shell::workspace().join("agent/units").join(name);
        let text = fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
        put(&root.join("lib/systemd/user").join(name), text.replace(UNITS_NAME, &named).as_bytes(), 0o644)?;
    }
    let tufctl = binaries.join("tufctl");
    for (shell_name, file) in COMPLETIONS {
        let text = shell::output(Command::new(&tufctl).args(["completions", shell_name]))?;
        put(&root.join(file), text.as_bytes(), 0o644)?;
    }
    man_pages(&tufctl, &root.join("share/man"))?;
    for (written, place) in PAGES {
        let source = shell::workspace().join(written);
        let page = fs::read(&source).map_err(|e| format!("{}: {e}", source.display()))?;
        put(&root.join(place), &page, 0o644)?;
    }
    println!("installed below {}", root.display());
    Ok(())
}

/// All that `tufctl man` writes, each in the folder of its section.
fn man_pages(tufctl: &Path, manual: &Path) -> Result<(), String> {
    let (first, seventh) = (manual.join("man1"), manual.join("man7"));
    for folder in [&first, &seventh] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    shell::output(Command::new(tufctl).arg("man").arg(&first))?;
    for name in ["tufctl-recovery.7", "tufctl-shares.7"] {
        let page = seventh.join(name);
        fs::rename(first.join(name), &page).map_err(|e| format!("{}: {e}", page.display()))?;
        println!("  {}", page.display());
    }
    println!("  {}/", first.display());
    Ok(())
}

/// Writes beside and renames, so that a running binary is replaced and not overwritten.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = path.with_extension("new");
        fs::write(&fresh, bytes)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
        fs::rename(&fresh, path)
    };
    write().map_err(|e| format!("{}: {e}", path.display()))?;
    println!("  {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_asked_for_and_absolute() {
        assert!(Options::parse(&[]).is_err());
        assert!(Options::parse(&["--prefix"]).is_err());
        assert!(Options::parse(&["--prefix", "here"]).is_err());
        let options = Options::parse(&["--prefix=/usr", "--destdir", "/tmp/package"]).unwrap();
        assert_eq!(options.root(), Path::new("/tmp/package/usr"));
    }
}
