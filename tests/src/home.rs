//! One person on one machine.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use lying_pkcs11::Desk;
use serde_json::Value;
use softhsm::TokenFolder;

use crate::agent::Agent;
use crate::binaries::binary;
use crate::clock::Shift;
use crate::outcome::{self, Outcome};
use crate::published::Published;

/// The file store's passphrase in every test; a canary that no log and no output may hold.
pub const PASSPHRASE: &str = "canary horse battery 5b1f0c";
/// The user PIN of SoftHSM tokens; a canary too.
pub const PIN: &str = "canary-pin-93d7";

/// Private XDG folders and a working folder, removed at the end. Clones share them.
#[derive(Clone)]
pub struct Home {
    inner: Arc<Inner>,
}

struct Inner {
    dir: tempfile::TempDir,
    canaries: Mutex<Vec<String>>,
    time: Mutex<Option<Shift>>,
}

impl Home {
    /// A new home: nothing in it, no agent.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tuf-agent-test-").tempdir().expect("a temporary folder");
        for name in ["config", "state", "run", "work", "home"] {
            fs::DirBuilder::new().mode(0o700).create(dir.path().join(name)).unwrap();
        }
        let canaries = vec![PASSPHRASE.to_owned(), PIN.to_owned()];
        Self { inner: Arc::new(Inner { dir, canaries: Mutex::new(canaries), time: Mutex::default() }) }
    }

    /// A home whose agent runs, with the file store's passphrase set and the store unlocked.
    pub fn unlocked() -> (Self, Agent) {
        let home = Self::new();
        let agent = home.start();
        home.unlock_file_store();
        (home, agent)
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.inner.dir.path()
    }

    /// A path in the working folder, where `tufctl` runs.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir().join("work").join(name)
    }

    /// The agent's state folder.
    pub fn state(&self) -> PathBuf {
        self.dir().join("state").join("tuf-agent")
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("run").join("tuf-agent").join("agent.sock")
    }

    /// The agent's log.
    pub fn log(&self) -> PathBuf {
        self.dir().join("agent.log")
    }

    /// Writes a file into the working folder, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a secret file, 0600, into the working folder; its content becomes a canary.
    pub fn secret(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        self.inner.canaries.lock().unwrap().push(content.trim_end().to_owned());
        path
    }

    /// Writes the agent's configuration.
    pub fn config(&self, toml: &str) {
        let dir = self.dir().join("config").join("tuf-agent");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).unwrap();
        fs::write(dir.join("config.toml"), toml).unwrap();
    }

    /// A `[[token]]` table for a SoftHSM token with a given label, asking for its PIN.
    pub fn softhsm_table(name: &str, label: &str, folder: &TokenFolder) -> String {
        folder.table(name, label)
    }

    /// The same behind the module that lies. What it is to do is said at [`Self::lying_desk`].
    pub fn lying_table(&self, name: &str, label: &str, folder: &TokenFolder) -> String {
        self.lie_before(name, folder.module(), &Self::softhsm_table(name, label, folder))
    }

    /// The table of a token with the module that lies before its own, `real`.
    pub fn lie_before(&self, name: &str, real: &Path, table: &str) -> String {
        let lying = lying_pkcs11::module().expect("liblying_pkcs11.so lies beside the test program");
        let desk = self.lying_desk(name);
        let folder = format!("{:?}", desk.folder());
        let desk: Vec<_> = desk.env(real).iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
        table
            .replace(&real.display().to_string(), &lying.display().to_string())
            .replace("env = {", &format!("env = {{ {},", desk.join(", ")))
            .replace("paths = [", &format!("paths = [{folder}, "))
    }

    /// The desk of the lying module of a token.
    pub fn lying_desk(&self, name: &str) -> Desk {
        let folder = self.dir().join(format!("lies-{name}"));
        fs::create_dir_all(&folder).unwrap();
        Desk::new(&folder)
    }

    /// Starts the agent and waits until it is ready.
    pub fn start(&self) -> Agent {
        Agent::start(self, Command::new(binary("tuf-agent")))
    }

    /// Starts the agent through another program, such as `strace … tuf-agent`.
    pub fn start_through(&self, command: Command) -> Agent {
        Agent::start(self, command)
    }

    /// Sets or gives the file store's passphrase.
    pub fn unlock_file_store(&self) {
        self.secret("passphrase", PASSPHRASE);
        self.run("token unlock file --pin-file passphrase").done();
    }

    /// Makes a key in the file store and returns what `key generate --json` said.
    pub fn key(&self, name: &str, kind: &str) -> Value {
        self.run(&format!("key generate {name} --token file --type {kind} --json")).done().json()
    }

    /// Makes Ed25519 keys in the file store.
    pub fn keys(&self, names: &[&str]) {
        for name in names {
            self.key(name, "ed25519");
        }
    }

    /// What `token list` tells of a token.
    #[track_caller]
    pub fn token(&self, name: &str) -> Value {
        let list = self.run("token list --json").done().json();
        list["tokens"].as_array().unwrap().iter().find(|token| token["name"] == name).unwrap().clone()
    }

    /// What the journal holds of one kind.
    #[track_caller]
    pub fn journalled(&self, kind: &str) -> Vec<Value> {
        let journal = self.run("audit list --json").done().json();
        let entries = journal["entries"].as_array().unwrap().clone();
        entries.into_iter().filter(|entry| entry["kind"] == kind).collect()
    }

    /// A repository `repo`: root with a key `root`, all else with a key `online`; nothing signed yet.
    pub fn small_repository(&self) {
        self.keys(&["root", "online"]);
        self.run(
            "repo init repo --name app --root root --root-threshold 1 --targets online --targets-threshold 1 \
             --snapshot online --timestamp online",
        )
        .done();
    }

    /// [`Self::small_repository`], with one target `app.txt`, published.
    pub fn published_repository(&self) -> Published {
        self.small_repository();
        self.write("app.txt", "hello\n");
        self.run("target add repo app.txt").done();
        let signed = self.run("sign repo --yes --json").done().json();
        assert_eq!(signed["published"], true, "{signed}");
        self.published("repo")
    }

    /// A published folder of the working folder.
    pub fn published(&self, name: &str) -> Published {
        Published::at(self.path(name))
    }

    /// Runs `tufctl` in the working folder with arguments split at spaces.
    #[track_caller]
    pub fn run(&self, arguments: &str) -> Outcome {
        self.run_list(&arguments.split_ascii_whitespace().collect::<Vec<_>>())
    }

    /// Runs `tufctl` with these very arguments.
    #[track_caller]
    pub fn run_list(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        let mut command = Command::new(binary("tufctl"));
        self.environment(&mut command);
        let outcome = outcome::run(command.args(arguments));
        for canary in self.inner.canaries.lock().unwrap().iter() {
            let told = outcome.stdout.contains(canary) || outcome.stderr.contains(canary);
            assert!(!told, "{} printed a secret", outcome.command);
        }
        outcome
    }

    /// Runs a request that must be refused; returns the error object that `--json` printed.
    #[track_caller]
    pub fn refused(&self, arguments: &str, code: i32, reason: &str) -> Value {
        self.run(&format!("{arguments} --json")).refused(code, reason)
    }

    /// Gives a command this home's environment and no other.
    pub fn environment(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8").env("HOME", self.dir().join("home"));
        command.env("XDG_CONFIG_HOME", self.dir().join("config"));
        command.env("XDG_STATE_HOME", self.dir().join("state"));
        command.env("XDG_RUNTIME_DIR", self.dir().join("run"));
        command.current_dir(self.path(""));
        if let Some(time) = &*self.inner.time.lock().unwrap() {
            time.apply(command);
        }
    }

    /// Lets all that is run from here on live at another time, or again now; agents that run already stay where they are.
    pub fn live_at(&self, time: Option<&Shift>) {
        *self.inner.time.lock().unwrap() = time.cloned();
    }

    /// Fails when a secret of this home is in the file.
    #[track_caller]
    pub fn assert_no_secret_in(&self, file: &Path) {
        let Ok(bytes) = fs::read(file) else { return };
        for canary in self.inner.canaries.lock().unwrap().iter() {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}
