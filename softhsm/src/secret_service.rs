//! gnome-keyring as a Secret Service on a private D-Bus: a real one, for tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Skipped;
use crate::bus::Bus;
use crate::fetched::Fetched;
use crate::server::Server;

const PACKAGES: &[&str] = &["gnome-keyring", "libsecret-tools", "dbus"];
const NAME: &str = "gnome-keyring";
const REMEDY: &str = "look at the logs in its folder";

/// A Secret Service that runs, with one collection, which is unlocked. It ends with this value.
#[derive(Debug)]
pub struct SecretService {
    tool: PathBuf,
    caller: PathBuf,
    env: BTreeMap<String, String>,
    // The last one ends first.
    _service: Server,
    _bus: Bus,
}

impl SecretService {
    /// Brings what is needed to start one.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn fetch_in(third_party: &Path) -> Result<(), Skipped> {
        Fetched::new(third_party, NAME, PACKAGES)?.file("gnome-keyring-daemon").map(drop)
    }

    /// Starts one with its state in `dir`; the system's programs, or those that are fetched into `third_party`.
    ///
    /// # Errors
    /// When it is not there and cannot be fetched, or does not start.
    pub fn start(third_party: &Path, dir: &Path) -> Result<Self, Skipped> {
        let fetched = Fetched::new(third_party, NAME, PACKAGES)?;
        let failed = |e: std::io::Error| Skipped::new(format!("{}: {e}", dir.display()), REMEDY);
        for folder in ["home", "data", "run"] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(folder));
            made.map_err(failed)?;
        }
        let library_path = fetched.library_path();
        let bus = Bus::start(&fetched.file("dbus-daemon")?, library_path.as_deref(), dir)?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut env = BTreeMap::from(
            [
                ("HOME", text(dir.join("home"))),
                ("XDG_DATA_HOME", text(dir.join("data"))),
                ("XDG_RUNTIME_DIR", text(dir.join("run"))),
                ("DBUS_SESSION_BUS_ADDRESS", bus.address().to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        env.extend(library_path.map(|path| ("LD_LIBRARY_PATH".to_owned(), path)));
        // What it reads before it is there: the password of the collection that it makes.
        let password = dir.join("password");
        let mut file = fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&password)
            .map_err(failed)?;
        file.write_all(b"of the collection").map_err(failed)?;
        let mut command = Server::command(Path::new("sh"));
        command.args(["-c", "exec \"$0\" --foreground --components=secrets --unlock < \"$1\""]);
        command.arg(fetched.file("gnome-keyring-daemon")?).arg(&password).envs(&env);
        let mut service = Server::spawn(command, "gnome-keyring-daemon", dir.join("gnome-keyring.log"))?;
        let tool = fetched.file("secret-tool")?;
        let asked = || of(&tool, &env).args(["search", "tuf-agent-asks", "whether-it-is-there"]).output();
        service.until(|| {
            asked().is_ok_and(|said| !String::from_utf8_lossy(&said.stderr).contains("DBus.Error"))
        })?;
        let caller = fetched.file("dbus-send")?;
        let mut running = Self { tool, caller, env, _service: service, _bus: bus };
        running.ready()?;
        Ok(running)
    }

    /// `DBUS_SESSION_BUS_ADDRESS` of whoever is to find it.
    #[must_use]
    pub fn bus(&self) -> &str {
        self.env.get("DBUS_SESSION_BUS_ADDRESS").map_or("", String::as_str)
    }

    /// Stores a secret in the collection, as a person does; again, in the place of the one with the same attributes.
    ///
    /// # Errors
    /// When the service does not take it.
    pub fn store(&self, secret: &str, attributes: &[&str]) -> Result<(), Skipped> {
        let mut tool = of(&self.tool, &self.env);
        tool.args(["store", "--label=of a test"]).args(attributes).stdin(Stdio::piped());
        let told = |e: std::io::Error| Skipped::new(format!("secret-tool store: {e}"), REMEDY);
        let mut child = tool.stdout(Stdio::null()).spawn().map_err(told)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(secret.as_bytes()).map_err(told)?;
        }
        done("store", child.wait().map_err(told)?.success())
    }

    /// Locks the collection. (`secret-tool lock` does so and crashes.)
    ///
    /// # Errors
    /// When the service does not.
    pub fn lock(&self) -> Result<(), Skipped> {
        let mut call = of(&self.caller, &self.env);
        call.args(["--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]);
        call.args([
            "org.freedesktop.Secret.Service.Lock",
            "array:objpath:/org/freedesktop/secrets/collection/login",
        ]);
        done("lock", call.stdout(Stdio::null()).status().is_ok_and(|status| status.success()))
    }

    /// The collection is made after the name on the bus was taken.
    fn ready(&mut self) -> Result<(), Skipped> {
        let probe = ["tuf-agent-asks", "whether-it-works"];
        let mut stored = Err(Skipped::new("nothing was stored", REMEDY));
        let Self { tool, env, _service: service, .. } = self;
        service.until(|| {
            let mut command = of(tool, env);
            command.args(["store", "--label=a probe"]).args(probe).stdin(Stdio::null()).stdout(Stdio::null());
            stored =
                done("store", command.stderr(Stdio::null()).status().is_ok_and(|status| status.success()));
            stored.is_ok()
        })?;
        stored?;
        let cleared = of(&self.tool, &self.env).arg("clear").args(probe).status();
        done("clear", cleared.is_ok_and(|status| status.success()))
    }
}

fn of(tool: &Path, env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(tool);
    command.envs(env);
    command
}

fn done(what: &str, well: bool) -> Result<(), Skipped> {
    well.then_some(())
        .ok_or_else(|| Skipped::new(format!("the Secret Service did not do it: {what}"), REMEDY))
}
