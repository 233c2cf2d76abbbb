//! What `tuf-agent-softhsm` does.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use softhsm::{Skipped, SoftHsm};

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    dir: PathBuf,
    label: String,
    pin_file: PathBuf,
    so_pin_file: Option<PathBuf>,
    name: String,
    pin: PinSource,
    unlock_for: Option<String>,
    config: Option<PathBuf>,
    third_party: Option<PathBuf>,
}

/// Where the agent will take the PIN from.
#[derive(Debug, PartialEq, Eq)]
enum PinSource {
    Prompt,
    Fd(u32),
    Credential(String),
    File(String),
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let (mut dir, mut label, mut pin_file, mut so_pin_file, mut name) = (None, None, None, None, None);
        let (mut pin, mut unlock_for, mut config, mut third_party) = (None, None, None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--label" => &mut label,
                "--pin-file" => &mut pin_file,
                "--so-pin-file" => &mut so_pin_file,
                "--name" => &mut name,
                "--pin" => &mut pin,
                "--unlock-for" => &mut unlock_for,
                "--config" => &mut config,
                "--third-party" => &mut third_party,
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
                folder => {
                    if dir.replace(PathBuf::from(folder)).is_some() {
                        return Err(format!("one DIR, and no second one: {folder}"));
                    }
                    continue;
                }
            };
            let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
            if place.replace(value.clone()).is_some() {
                return Err(format!("{word} is there twice"));
            }
        }
        let label = label.ok_or("--label is missing")?;
        Ok(Self {
            dir: absolute(dir.ok_or("DIR is missing: the folder for the token")?)?,
            pin_file: pin_file.ok_or("--pin-file is missing")?.into(),
            so_pin_file: so_pin_file.map(PathBuf::from),
            name: name.unwrap_or_else(|| label.clone()),
            pin: pin.as_deref().map_or(Ok(PinSource::Prompt), PinSource::parse)?,
            label,
            unlock_for,
            config: config.map(PathBuf::from),
            third_party: third_party.map(PathBuf::from),
        })
    }

    /// The lines that a `[[token]]` table ends with.
    fn pin_lines(&self) -> String {
        let unlock_for = match (&self.unlock_for, &self.pin) {
            (Some(time), _) => format!("unlock_for = {}\n", softhsm::quoted(time)),
            (None, PinSource::Prompt) => String::new(),
            (None, _) => "unlock_for = \"forever\"\n".to_owned(),
        };
        let pin = match &self.pin {
            PinSource::Prompt => return unlock_for,
            PinSource::Fd(number) => format!("fd = {number}"),
            PinSource::Credential(name) => format!("credential = {}", softhsm::quoted(name)),
            PinSource::File(path) => format!("file = {}", softhsm::quoted(path)),
        };
        format!("pin = {{ {pin} }}\n{unlock_for}")
    }
}

impl PinSource {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "prompt" => Ok(Self::Prompt),
            Some(("fd", number)) => {
                let number = number.parse().ok().filter(|number| (3..65_536).contains(number));
                number.map(Self::Fd).ok_or_else(|| "--pin fd:N: N is a descriptor from 3 up".to_owned())
            }
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') => {
                Ok(Self::Credential(name.to_owned()))
            }
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.to_owned())),
            // The value is not repeated: somebody may have given the PIN itself.
            _ => {
                Err("--pin is one of prompt, fd:N, credential:NAME and file:/PATH; never the PIN".to_owned())
            }
        }
    }
}

/// Makes what is not there, and says what was done.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let said = |skipped: Skipped| skipped.to_string();
    let config = options.config.clone().map_or_else(default_config, Ok)?;
    let third_party = options.third_party.clone().map_or_else(default_third_party, Ok)?;
    let pin = secret_in(&options.pin_file)?;
    let softhsm = SoftHsm::find_or_fetch_in(&third_party).map_err(said)?;
    let folder = softhsm.folder(&options.dir).map_err(said)?;
    let table = folder.table(&options.name, &options.label) + &options.pin_lines();
    let written = Written::look(&config, &table, &options.name)?;
    let made = match folder.serial(&options.label).map_err(said)? {
        Some(serial) => format!("token {:?} is there, with serial {serial}", options.label),
        None => {
            let so_pin = options.so_pin_file.as_deref().map_or_else(random_pin, secret_in)?;
            let token = folder.init_token(&options.label, &so_pin, &pin).map_err(said)?;
            format!("token {:?} was made, with serial {}", options.label, token.serial)
        }
    };
    let named = match written {
        Written::Already => format!("{} names it already", config.display()),
        Written::Not { before } => {
            write_config(&config, &before, &table)?;
            format!("{} names it as {}", config.display(), options.name)
        }
    };
    Ok(format!("{made}\n{named}"))
}

/// Whether the configuration holds the table.
enum Written {
    Already,
    Not { before: String },
}

impl Written {
    fn look(config: &Path, table: &str, name: &str) -> Result<Self, String> {
        let before = match fs::read_to_string(config) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(format!("{}: {e}", config.display())),
        };
        // Without the lines that confine it, as they were left out before, it is the same token.
        let limits = |line: &&str| line.starts_with("paths = ") || line.starts_with("network = ");
        let open: String = table.split_inclusive('\n').filter(|line| !limits(line)).collect();
        if before.contains(table) || before.contains(&open) {
            return Ok(Self::Already);
        }
        let line = format!("name = {}", softhsm::quoted(name));
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        if before.lines().any(|there| squeezed(there) == line) {
            return Err(format!(
                "{} names another token {name}: remove it there, or choose another --name",
                config.display()
            ));
        }
        Ok(Self::Not { before })
    }
}

/// Beside the old file and over it: the agent may read it at any time.
fn write_config(config: &Path, before: &str, table: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", config.display());
    if let Some(folder) = config.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let fresh = config.with_extension("toml.new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(failed)?;
    let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    file.write_all(format!("{before}{gap}{table}").as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&fresh, config).map_err(failed)
}

/// The first line of a file that its owner alone can read.
fn secret_in(path: &Path) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        let (path, mode) = (path.display(), meta.mode() & 0o7777);
        return Err(format!("{path} has mode {mode:04o}, so others can read it; chmod 600 {path}"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn random_pin() -> Result<String, String> {
    let mut bytes = [0; 24];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| format!("/dev/urandom: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    std::path::absolute(&path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_sources_of_a_pin_become_lines_of_the_table() {
        let lines = |more: &str| parsed(&format!("/d --label l --pin-file p{more}")).map(|it| it.pin_lines());
        assert_eq!(lines("").unwrap(), "");
        assert_eq!(lines(" --pin fd:3").unwrap(), "pin = { fd = 3 }\nunlock_for = \"forever\"\n");
        assert_eq!(
            lines(" --pin credential:hsm --unlock-for 8h").unwrap(),
            "pin = { credential = \"hsm\" }\nunlock_for = \"8h\"\n"
        );
        assert!(lines(" --pin file:/x").unwrap().starts_with("pin = { file = \"/x\" }\n"));
        for wrong in ["fd:2", "fd:x", "file:x", "credential:a/b", "123456"] {
            let why = lines(&format!(" --pin {wrong}")).unwrap_err();
            assert!(why.contains("--pin") && !why.contains("123456"), "{why}");
        }
    }

    #[test]
    fn what_is_missing_twice_or_unknown_is_refused() {
        for line in
            ["--label l --pin-file p", "/d --pin-file p", "/d --label l", "/d /e --label l --pin-file p"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parsed("/d --label l --label m --pin-file p").unwrap_err().contains("twice"));
        assert!(parsed("/d --label l --pin-file p --pni x").unwrap_err().contains("--pni"));
        assert!(parsed("/d --label l --pin-file").unwrap_err().contains("wants a value"));
    }

    #[test]
    fn a_pin_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("softhsm-pin-{}", std::process::id()));
        fs::write(&path, "1234\nmore").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = secret_in(&path).unwrap_err();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let read = secret_in(&path);
        fs::remove_file(&path).unwrap();
        assert!(refused.contains("0640") && refused.contains("chmod 600"), "{refused}");
        assert_eq!(read.unwrap(), "1234");
    }
}
