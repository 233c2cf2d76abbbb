//! Stock TUF clients as judges: python-tuf and tuf-js, each in its own process.
//!
//! `cargo xtask test` brings both into the third-party folder. A judge reads the published folder through
//! `file:` addresses and keeps its state in a folder, so that it can be asked again as a client that
//! remembers the version before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use softhsm::Skipped;

use crate::clock::Shift;
use crate::outcome::{self, Outcome};
use crate::published::Published;

/// A stock client, ready to be asked.
#[derive(Debug, Clone)]
pub struct Client {
    name: &'static str,
    program: PathBuf,
    script: PathBuf,
}

/// What a client keeps between two updates.
#[derive(Debug, Clone)]
pub struct Memory {
    dir: PathBuf,
}

impl Memory {
    /// An empty memory in a folder of its own; the first update trusts `1.root.json`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Client {
    /// python-tuf's `ngclient`.
    pub fn python() -> Result<Self, Skipped> {
        let program = softhsm::third_party_dir()?.join("venv/bin/python");
        Self::new("python-tuf", program, "python_tuf_client.py")
    }

    /// tuf-js.
    pub fn js() -> Result<Self, Skipped> {
        let modules = softhsm::third_party_dir()?.join("js/node_modules/tuf-js");
        if !modules.is_dir() {
            return Err(Skipped::new("tuf-js is not there", "cargo xtask test (it wants node and npm)"));
        }
        Self::new("tuf-js", PathBuf::from("node"), "tuf_js_client.js")
    }

    fn new(name: &'static str, program: PathBuf, script: &str) -> Result<Self, Skipped> {
        if program.is_absolute() && !program.exists() {
            return Err(Skipped::new(
                format!("{name} is not there"),
                "cargo xtask test (it wants python3-venv)",
            ));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles").join(script);
        Ok(Self { name, program, script })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Updates from the repository and downloads the targets; `Err` is what the client complained of.
    pub fn update(&self, repo: &Published, memory: &Memory, targets: &[&str]) -> Result<Value, String> {
        self.update_at(None, repo, memory, targets)
    }

    /// As [`Self::update`], at another time.
    pub fn update_at(
        &self,
        time: Option<&Shift>,
        repo: &Published,
        memory: &Memory,
        targets: &[&str],
    ) -> Result<Value, String> {
        fs::create_dir_all(memory.dir()).unwrap();
        let mut command = self.command();
        command.arg(repo.dir()).arg(memory.dir()).args(targets);
        if let Some(time) = time {
            time.apply(&mut command);
        }
        let outcome = outcome::run(&mut command);
        if outcome.code == 0 { Ok(outcome.json()) } else { Err(complaint(&outcome)) }
    }

    /// Asks about many repositories in one process: each with its memory and the targets to download. What the client
    /// complains of, if anything, comes back for each.
    pub fn update_all(&self, cases: &[(&Published, Memory, Vec<String>)]) -> Vec<Option<String>> {
        let cases: Vec<_> =
            cases.iter().map(|(repo, memory, targets)| (repo.dir(), memory.dir(), targets)).collect();
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("cases.json");
        fs::write(&input, serde_json::to_vec(&cases).unwrap()).unwrap();
        let mut command = self.command();
        let outcome = outcome::run(command.arg("--batch").arg(&input));
        assert_eq!(outcome.code, 0, "{outcome}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.script);
        if let Ok(third_party) = softhsm::third_party_dir() {
            command.env("NODE_PATH", third_party.join("js/node_modules"));
        }
        command
    }

    /// The client must accept the repository.
    #[track_caller]
    pub fn accepts(&self, repo: &Published, memory: &Memory, targets: &[&str]) {
        if let Err(why) = self.update(repo, memory, targets) {
            panic!("{} refuses the repository: {why}", self.name);
        }
    }

    /// The client must refuse the repository.
    #[track_caller]
    pub fn refuses(&self, repo: &Published, memory: &Memory, targets: &[&str]) -> String {
        match self.update(repo, memory, targets) {
            Ok(_) => panic!("{} accepts the repository", self.name),
            Err(why) => why,
        }
    }
}

/// The Python of the virtual environment, which needs no variable of its own.
pub fn python() -> Result<PathBuf, Skipped> {
    Client::python().map(|client| client.program)
}

/// Runs a script of `oracles/` in a folder.
pub fn run_python(script: &str, arguments: &[&str], folder: &Path) -> Result<Outcome, Skipped> {
    let client = Client::new("python-tuf", python()?, script)?;
    let mut command = Command::new(&client.program);
    Ok(outcome::run(command.arg(&client.script).args(arguments).current_dir(folder)))
}

/// How many pages of A4 and of Letter each of these HTML files takes in print, by WeasyPrint in one font that is the same
/// everywhere; `{"FILE": {"A4": 1, "Letter": 1}}`.
pub fn printed_pages(files: &[PathBuf], folder: &Path) -> Result<Value, Skipped> {
    let third_party = softhsm::third_party_dir()?;
    let client = Client::new("WeasyPrint", third_party.join("sheets/bin/python"), "pages.py")?;
    // Pango and the font, where the system has not got them.
    let fetched = third_party.join("debs/pango/usr");
    let fonts =
        [Path::new("/usr/share"), &fetched.join("share")].map(|dir| dir.join("fonts/truetype/dejavu"));
    let Some(fonts) = fonts.iter().find(|dir| dir.is_dir()) else {
        return Err(Skipped::new("the font DejaVu is not there", "apt-get install fonts-dejavu-core"));
    };
    let mut command = Command::new(&client.program);
    command.arg(&client.script).arg(fonts).args(files).current_dir(folder);
    command.env("LD_LIBRARY_PATH", fetched.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH)));
    let outcome = outcome::run(&mut command);
    assert_eq!(outcome.code, 0, "{outcome}");
    Ok(outcome.json())
}

/// python-tuf's library half: canonical forms of many documents in one run.
pub fn python_canonical(documents: &[String]) -> Result<Vec<Vec<u8>>, Skipped> {
    let client = Client::new("securesystemslib", python()?, "python_canonical.py")?;
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("documents.json");
    fs::write(&input, serde_json::to_vec(documents).unwrap()).unwrap();
    let outcome = outcome::run(Command::new(&client.program).arg(&client.script).arg(&input));
    assert_eq!(outcome.code, 0, "{outcome}");
    let forms: Vec<String> = serde_json::from_str(&outcome.stdout).unwrap();
    Ok(forms.into_iter().map(String::into_bytes).collect())
}

fn complaint(outcome: &Outcome) -> String {
    // 3 is the scripts' own "refused"; anything else is a fault of the test bed.
    assert_eq!(outcome.code, 3, "{outcome}");
    outcome.stderr.trim().to_owned()
}
