//! What `tuf-agent-softhsm` does.

mod configuration;
mod options;
mod secrets;

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use softhsm::{NewToken, Skipped, SoftHsm, TokenFolder};

use self::configuration::{Agent, Draft};
pub(crate) use self::options::Options;
use self::secrets::{random_pin, secret_in};

/// Makes what is not there, and says what was done. Whatever is wrong with what was asked for is said before anything is
/// made.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let config = options.config.clone().map_or_else(default_config, Ok)?;
    let config = std::path::absolute(&config).map_err(|e| format!("{}: {e}", config.display()))?;
    let third_party = options.third_party.clone().map_or_else(default_third_party, Ok)?;
    let agent = Agent::find(options)?;
    let pin = secret_in(&options.pin_file)?;
    let so_pin = options.so_pin_file.as_deref().map_or_else(random_pin, secret_in)?;
    let new = NewToken { label: &options.label, so_pin: &so_pin, pin: &pin };
    new.check().map_err(said)?;
    let softhsm = SoftHsm::find_or_fetch_in(&third_party).map_err(said)?;
    let folder = softhsm.folder_to_be(&options.dir);
    let table = folder.table(&options.name, &options.label) + &options.pin_lines();
    let draft = || Draft::new(&config, &table, &options.name, &agent);
    draft()?;
    let _alone = alone(&[&options.dir, config.parent().unwrap_or(Path::new("/"))])?;
    // Another run may have written it meanwhile.
    let draft = draft()?;
    folder.make().map_err(said)?;
    let made = token(&folder, &new, options)?;
    let named = draft.write(&options.name)?;
    Ok(format!("{made}\n{named}"))
}

/// The token that is there, when it is the one that is meant, or a new one.
fn token(folder: &TokenFolder, new: &NewToken<'_>, options: &Options) -> Result<String, String> {
    let (label, dir) = (&options.label, options.dir.display());
    match folder.serials(label).map_err(said)?.as_slice() {
        [] => {
            let token = folder.init_token(label, new.so_pin, new.pin).map_err(said)?;
            Ok(format!("token {label:?} was made, with serial {}", token.serial))
        }
        [serial] if folder.accepts(label, new.pin).map_err(said)? => {
            Ok(format!("token {label:?} is there, with serial {serial}"))
        }
        [serial] => Err(format!(
            "token {label:?} is in {dir} already, with serial {serial}, and its PIN is not the one in {}: give the file that \
             holds its PIN, or another --label",
            options.pin_file.display()
        )),
        several => Err(format!(
            "{dir} has {} tokens {label:?}, and the agent could not tell which is meant: choose another --label, or remove \
             all but one of them ({})",
            several.len(),
            several.join(", ")
        )),
    }
}

/// Holds these folders, which are made where they are absent, until the value ends: one run at a time makes tokens in
/// one and writes configurations in the other.
fn alone(folders: &[&Path]) -> Result<Vec<File>, String> {
    let mut open = Vec::new();
    for folder in folders {
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        make_private(folder).map_err(failed)?;
        let file = File::open(folder).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        open.push(((meta.dev(), meta.ino()), file));
    }
    // In the same order by everybody, and one folder once: nobody waits for who waits for him.
    open.sort_by_key(|(id, _)| *id);
    open.dedup_by_key(|(id, _)| *id);
    let held = open.into_iter().map(|(_, file)| file.lock().map(|()| file));
    held.collect::<Result<_, _>>().map_err(|e| format!("the folders cannot be locked: {e}"))
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

fn said(skipped: Skipped) -> String {
    skipped.to_string()
}

fn default_config() -> Result<PathBuf, String> {
    Ok(base("XDG_CONFIG_HOME", ".config", "--config")?.join("tuf-agent/config.toml"))
}

fn default_third_party() -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("TUFAGENT_THIRD_PARTY") {
        return Ok(PathBuf::from(dir));
    }
    Ok(base("XDG_CACHE_HOME", ".cache", "--third-party")?.join("tuf-agent"))
}

/// XDG base directories: a relative one counts as unset.
fn base(variable: &str, below_home: &str, option: &str) -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable)
        .or_else(|| Some(set("HOME")?.join(below_home)))
        .ok_or_else(|| format!("neither {variable} nor HOME is set: give {option}"))
}
