//! The agent's configuration with one more token. The agent itself says whether it takes it, before anything is made.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use softhsm::quoted;

use super::Options;

/// The file as it is, and the text that is to stand in it.
pub(super) struct Draft {
    path: PathBuf,
    text: String,
    is_there: bool,
}

impl Draft {
    /// Adds `table` to what the file holds, unless it is there, and has the agent judge it.
    pub(super) fn new(path: &Path, table: &str, name: &str, agent: &Agent) -> Result<Self, String> {
        let before = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let is_there = holds(&before, table);
        if !is_there && names(&before, name) {
            let path = path.display();
            return Err(format!(
                "{path} names another token {name}: remove it there, or choose another --name"
            ));
        }
        let gap = match before.as_str() {
            "" => "",
            text if text.ends_with("\n\n") => "",
            text if text.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        let text = if is_there { before.clone() } else { format!("{before}{gap}{table}") };
        if let Err(why) = agent.accepts(&text)? {
            let path = path.display();
            return Err(match agent.accepts(&before)? {
                Err(why) => format!("{path} is left alone, since the agent refuses it as it is: {why}"),
                Ok(()) => format!(
                    "the agent would refuse this token, so nothing was made: {why}; --name, --pin and --unlock-for say it \
                     otherwise"
                ),
            });
        }
        Ok(Self { path: path.to_owned(), text, is_there })
    }

    /// Puts it in force, and says so.
    pub(super) fn write(&self, name: &str) -> Result<String, String> {
        let shown = self.path.display();
        if self.is_there {
            return Ok(format!("{shown} names it already"));
        }
        self.replace().map_err(|e| format!("{shown}: {e}"))?;
        Ok(format!("{shown} names it as {name}"))
    }

    /// Beside the old file and over it: the agent may read it at any time.
    fn replace(&self) -> std::io::Result<()> {
        // What a link names is replaced, not the link.
        let path = match self.path.canonicalize() {
            Err(e) if e.kind() == ErrorKind::NotFound => self.path.clone(),
            found => found?,
        };
        let fresh = path.with_extension("toml.new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// Also without the lines that confine it, as they were left out before: it is the same token.
fn holds(before: &str, table: &str) -> bool {
    let limits = |line: &&str| line.starts_with("paths = ") || line.starts_with("network = ");
    let open: String = table.split_inclusive('\n').filter(|line| !limits(line)).collect();
    before.contains(table) || before.contains(&open)
}

fn names(before: &str, name: &str) -> bool {
    let line = format!("name = {}", quoted(name));
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    before.lines().any(|there| squeezed(there) == line)
}

/// The `tuf-agent` that knows what a configuration may say.
pub(super) struct Agent(PathBuf);

impl Agent {
    /// The one that was named, the one beside this program, or that of `PATH`.
    pub(super) fn find(options: &Options) -> Result<Self, String> {
        if let Some(named) = &options.agent {
            return Ok(Self(named.clone()));
        }
        let beside = std::env::current_exe().ok().map(|program| program.with_file_name(AGENT));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join(AGENT)).collect::<Vec<_>>();
        let found = beside.into_iter().chain(on_path).find(|program| program.is_file());
        found.map(Self).ok_or_else(|| {
            format!("{AGENT}, which checks the configuration, is neither beside this program nor on PATH: give --agent")
        })
    }

    /// Whether it would take this text; otherwise its sentence.
    fn accepts(&self, text: &str) -> Result<Result<(), String>, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{} --check: {why}", self.0.display());
        let mut command = Command::new(&self.0);
        command.args(["--check", "--config", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| failed(&e))?;
        if let Some(mut pipe) = child.stdin.take() {
            // An agent that ends without a look at it says why itself.
            let _ = pipe.write_all(text.as_bytes());
        }
        let done = child.wait_with_output().map_err(|e| failed(&e))?;
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.trim().lines().last().unwrap_or("it said nothing");
        match done.status.code() {
            Some(0) => Ok(Ok(())),
            Some(1) => Ok(Err(said.to_owned())),
            _ => Err(failed(&said)),
        }
    }
}

const AGENT: &str = "tuf-agent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_there_with_and_without_its_limits_and_a_name_is_found_however_it_is_spaced() {
        let table = "[[token]]\nname = \"a\"\npaths = [\"/x\"]\nnetwork = false\n";
        assert!(holds(&format!("# mine\n{table}"), table));
        assert!(holds("[[token]]\nname = \"a\"\n", table));
        assert!(!holds("[[token]]\nname = \"b\"\n", table));
        assert!(names("[[token]]\n name  = \"a\"", "a") && !names("name = \"ab\"", "a"));
    }
}
