//! Tokens in a private folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::find::SoftHsm;
use crate::process::{self, Finished};
use crate::{Ready, Skipped};

const REMEDY: &str = "look at the folder and at softhsm2-util's message";

/// A folder with SoftHSM's configuration and its tokens; no other process need know it.
#[derive(Debug, Clone)]
pub struct TokenFolder {
    softhsm: SoftHsm,
    dir: PathBuf,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// The label it was given.
    pub label: String,
    /// The serial that SoftHSM gave it, lowercase hex.
    pub serial: String,
    /// The user PIN.
    pub pin: String,
    /// The security officer's PIN.
    pub so_pin: String,
}

impl TokenFolder {
    pub(crate) fn to_be(softhsm: SoftHsm, dir: &Path) -> Self {
        Self { softhsm, dir: dir.to_path_buf() }
    }

    /// Makes what is not there of it.
    pub fn make(&self) -> Result<(), Skipped> {
        self.write_configuration().map_err(|e| Skipped::new(format!("{}: {e}", self.dir.display()), REMEDY))
    }

    fn write_configuration(&self) -> std::io::Result<()> {
        use std::io::Write;
        let tokens = self.tokens_dir();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        let path = self.configuration();
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        // Beside the old one and over it: a module may read it at any time.
        let fresh = path.with_extension("conf.new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(fresh, path)
    }

    /// What `SOFTHSM2_CONF` names.
    pub fn configuration(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    /// Where SoftHSM keeps the tokens; moving it away is pulling them out.
    pub fn tokens_dir(&self) -> PathBuf {
        self.dir.join("tokens")
    }

    /// The PKCS#11 module.
    pub fn module(&self) -> &Path {
        self.softhsm.module()
    }

    /// The environment for whoever loads the module (the `env` table of a `[[token]]`).
    pub fn env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        env.insert("SOFTHSM2_CONF".to_owned(), self.configuration().to_string_lossy().into_owned());
        if let Some(path) = self.softhsm.library_path() {
            env.insert("LD_LIBRARY_PATH".to_owned(), path);
        }
        env
    }

    /// The `[[token]]` table of the token with a label.
    pub fn table(&self, name: &str, label: &str) -> String {
        self.named(label, "").table(name)
    }

    /// One of its tokens, for the agent's configuration.
    pub fn ready(&self, token: &Token) -> Ready {
        self.named(&token.label, &token.pin)
    }

    fn named(&self, label: &str, pin: &str) -> Ready {
        Ready::new(self.module().to_path_buf(), self.env(), label, pin).writing(self.tokens_dir())
    }

    /// Makes a token in the next free slot. `label` has at most 32 bytes, PINs have 4 to 255.
    pub fn init_token(&self, label: &str, so_pin: &str, pin: &str) -> Result<Token, Skipped> {
        initialise(&self.softhsm, self.module(), &self.env(), &NewToken { label, so_pin, pin })?;
        let serial = self.serial_of(label)?;
        Ok(Token { label: label.to_owned(), serial, pin: pin.to_owned(), so_pin: so_pin.to_owned() })
    }

    fn serial_of(&self, label: &str) -> Result<String, Skipped> {
        self.serials(label)?
            .pop()
            .ok_or_else(|| Skipped::new(format!("softhsm2-util does not list the new token {label}"), REMEDY))
    }

    /// The serials of the tokens with a label.
    pub fn serials(&self, label: &str) -> Result<Vec<String>, Skipped> {
        Ok(serials_in(&self.util(&["--show-slots"])?, label))
    }

    /// Whether this is the user PIN of its one token with a label. SoftHSM counts no tries, so that asking costs none.
    pub fn accepts(&self, label: &str, pin: &str) -> Result<bool, Skipped> {
        // The tool has no login of its own: it logs in to import what is then not there.
        let typed = [pin, pin].map(|line| line.to_owned() + "\n").concat();
        let tool = Typed { softhsm: &self.softhsm, module: self.module(), env: &self.env(), label };
        let done = tool.run(
            "--import /proc/self/nothing.pem --id 00 --force --label nothing --token \"$SOFTHSM_LABEL\"",
            &typed,
        )?;
        match done.stdout.lines().map(str::trim).rfind(|line| line.starts_with("ERROR")) {
            Some(line) if line.contains("PKCS#8 file") => Ok(true),
            Some(line) if line.contains("PIN does not match") => Ok(false),
            line => Err(failed(line.unwrap_or("it said nothing"))),
        }
    }

    fn util(&self, arguments: &[&str]) -> Result<String, Skipped> {
        util(&self.softhsm, self.module(), &self.env(), arguments)
    }
}

/// What a token is to be.
#[derive(Clone, Copy)]
pub struct NewToken<'a> {
    /// Its label.
    pub label: &'a str,
    /// The security officer's PIN.
    pub so_pin: &'a str,
    /// The user PIN.
    pub pin: &'a str,
}

impl NewToken<'_> {
    /// Whether SoftHSM would take them.
    pub fn check(&self) -> Result<(), Skipped> {
        for (what, text, shortest, longest) in
            [("label", self.label, 1, 32), ("SO PIN", self.so_pin, 4, 255), ("PIN", self.pin, 4, 255)]
        {
            if !(shortest..=longest).contains(&text.len()) || text.chars().any(char::is_control) {
                let why =
                    format!("the {what} must have {shortest} to {longest} bytes and no control character");
                return Err(Skipped::new(why, format!("give another {what}")));
            }
        }
        // A label is filled up with spaces: those at its end are none of its own.
        if self.label.trim() != self.label {
            return Err(Skipped::new("the label begins or ends with a space", "give another label"));
        }
        Ok(())
    }
}

/// Runs `softhsm2-util` on any module.
pub(crate) fn util(
    softhsm: &SoftHsm,
    module: &Path,
    env: &BTreeMap<String, String>,
    arguments: &[&str],
) -> Result<String, Skipped> {
    let mut command = softhsm.command();
    command.envs(env).arg("--module").arg(module).args(arguments);
    if let Some(path) = joined_library_path(softhsm, env) {
        command.env("LD_LIBRARY_PATH", path);
    }
    let done = process::run(&mut command, LIMIT).map_err(|why| failed(&why))?;
    if done.status.success() { Ok(done.stdout) } else { Err(failed(done.last_line())) }
}

/// Makes a token in a free slot of any module.
pub(crate) fn initialise(
    softhsm: &SoftHsm,
    module: &Path,
    env: &BTreeMap<String, String>,
    new: &NewToken<'_>,
) -> Result<(), Skipped> {
    new.check()?;
    let typed = [new.so_pin, new.so_pin, new.pin, new.pin].map(|line| line.to_owned() + "\n").concat();
    let tool = Typed { softhsm, module, env, label: new.label };
    let done = tool.run("--init-token --free --label \"$SOFTHSM_LABEL\"", &typed)?;
    // What was typed may be echoed before the tool turns that off: only its own lines are shown.
    let said = done.stdout.lines().map(str::trim).rfind(|line| line.starts_with("ERROR"));
    if done.status.success() { Ok(()) } else { Err(failed(said.unwrap_or("it said nothing"))) }
}

/// The tool on any module, with PINs. It takes them as arguments, which everybody on the machine can read, or from a
/// terminal: so it gets one, from `script`.
struct Typed<'a> {
    softhsm: &'a SoftHsm,
    module: &'a Path,
    env: &'a BTreeMap<String, String>,
    label: &'a str,
}

impl Typed<'_> {
    /// Runs it with arguments for the shell, in which `$SOFTHSM_LABEL` is the label.
    fn run(&self, arguments: &str, typed: &str) -> Result<Finished, Skipped> {
        let mut command = Command::new("script");
        let line = format!("exec \"$SOFTHSM_UTIL\" --module \"$SOFTHSM_MODULE\" {arguments}");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        // `script` itself needs none of the libraries, and takes the user's shell.
        command.envs(self.env).env("SHELL", "/bin/sh").env("SOFTHSM_UTIL", self.softhsm.util());
        command.env("SOFTHSM_MODULE", self.module).env("SOFTHSM_LABEL", self.label);
        if let Some(path) = joined_library_path(self.softhsm, self.env) {
            command.env("LD_LIBRARY_PATH", path);
        }
        process::run_with_input(&mut command, typed.as_bytes(), LIMIT).map_err(|why| failed(&why))
    }
}

fn joined_library_path(softhsm: &SoftHsm, env: &BTreeMap<String, String>) -> Option<String> {
    let both = [env.get("LD_LIBRARY_PATH").cloned(), softhsm.library_path()];
    let both: Vec<String> = both.into_iter().flatten().collect();
    (!both.is_empty()).then(|| both.join(":"))
}

fn failed(why: &str) -> Skipped {
    Skipped::new(format!("softhsm2-util: {why}"), REMEDY)
}

const LIMIT: Duration = Duration::from_secs(60);

/// Finds the serials in what `--show-slots` prints: in each slot, `Serial number:` stands before `Label:`.
fn serials_in(slots: &str, label: &str) -> Vec<String> {
    let (mut found, mut serial) = (Vec::new(), None);
    for line in slots.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim() {
            "Serial number" => serial = Some(value.trim().to_owned()),
            "Label" if value.trim() == label => found.extend(serial.take()),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_in_one_folder_have_their_own_serials() {
        let softhsm = match SoftHsm::find_or_fetch() {
            Ok(softhsm) => softhsm,
            Err(skipped) => {
                assert!(std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(), "{skipped}");
                println!("SKIPPED: {skipped}");
                return;
            }
        };
        let dir = std::env::temp_dir().join(format!("softhsm-token-{}", std::process::id()));
        let folder = softhsm.folder(&dir).unwrap();
        let one = folder.init_token("one", "12345678", "1234").unwrap();
        let two = folder.init_token("two", "12345678", "5678").unwrap();
        let right = ["1234", "5678"].map(|pin| folder.accepts("one", pin).unwrap());
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(right, [true, false]);
        assert_eq!(one.serial.len(), 16);
        assert_ne!(one.serial, two.serial);
        assert_eq!(folder.env().get("SOFTHSM2_CONF"), Some(&dir.join("softhsm2.conf").display().to_string()));
    }

    #[test]
    fn the_serial_of_a_label_is_read_from_its_own_slot() {
        let slots = "Slot 1\n Token info:\n  Serial number:  aa11 \n  Initialized: yes\n  Label: one  \n\
                     Slot 2\n  Serial number: bb22\n  Label: two\n";
        assert_eq!(serials_in(slots, "two"), ["bb22"]);
        assert_eq!(serials_in(&slots.repeat(2), "one"), ["aa11", "aa11"]);
        assert!(serials_in(slots, "three").is_empty());
    }
}
