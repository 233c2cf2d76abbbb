//! `cargo xtask demo`: from nothing to a signed, published, verified repository.

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use softhsm::SoftHsm;

use crate::build::{self, Profile};
use crate::shell;

const PASSPHRASE: &str = "correct horse battery staple";
const PIN: &str = "123456";
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The folders of the demo, and how to run `tufctl` in them.
struct Stage {
    dir: PathBuf,
    binaries: PathBuf,
}

/// Builds, plays, and says where everything lies. Nothing runs afterwards, however it ends.
pub(crate) fn demo() -> Result<(), String> {
    let third_party = softhsm::third_party_dir().map_err(|e| e.to_string())?;
    let softhsm = SoftHsm::find_or_fetch_in(&third_party).map_err(|e| format!("SKIPPED: {e}"))?;
    let binaries = build::binaries(Profile::Dev)?;
    let stage = Stage::new(binaries)?;
    stage.configure(&softhsm)?;
    let agent = stage.start_agent()?;
    let played = stage.play();
    drop(agent);
    match &played {
        Ok(()) => stage.say_how_to_go_on(),
        Err(_) => eprintln!("\nwhat there is so far lies in {}", stage.dir.display()),
    }
    played
}

impl Stage {
    fn new(binaries: PathBuf) -> Result<Self, String> {
        let made = shell::output(Command::new("mktemp").args(["-d", "-t", "tuf-agent-demo-XXXXXX"]))?;
        let stage = Self { dir: PathBuf::from(made.trim()), binaries };
        for name in ["config/tuf-agent", "state", "run", "work"] {
            let folder = stage.dir.join(name);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        Ok(stage)
    }

    fn configure(&self, softhsm: &SoftHsm) -> Result<(), String> {
        let folder = softhsm.folder(&self.dir.join("softhsm")).map_err(|e| e.to_string())?;
        folder.init_token("demo", "87654321", PIN).map_err(|e| e.to_string())?;
        self.write("config/tuf-agent/config.toml", &folder.table("hsm", "demo"))?;
        self.write("work/passphrase", PASSPHRASE)?;
        self.write("work/pin", PIN)?;
        self.write("work/notes.txt", "What is new in this release.\n")
    }

    /// Writes a file that only its owner can read.
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.dir.join(name);
        let file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The story.
    fn play(&self) -> Result<(), String> {
        let binaries = self.binaries.display();
        title("An agent runs, with a file store and a SoftHSM token");
        self.tufctl("token unlock file --pin-file passphrase")?;
        self.tufctl("token unlock hsm --pin-file pin")?;
        self.tufctl("status")?;
        title("Keys: two for root on disk, one on the token, and the daily ones on the token");
        self.tufctl("key generate root-a --token file --type ed25519")?;
        self.tufctl("key generate root-b --token file --type ecdsa-p256")?;
        self.tufctl("key generate root-c --token hsm --type ecdsa-p256")?;
        self.tufctl("key generate online --token hsm --type ed25519")?;
        self.tufctl("key generate docs --token file --type ed25519")?;
        self.tufctl("key list")?;
        title("A repository whose root needs two of three keys");
        self.tufctl(
            "repo init repo --name demo --root root-a,root-b,root-c --root-threshold 2 \
             --targets online --snapshot online --timestamp online",
        )?;
        self.tufctl(&format!("target add repo {binaries}/tuf-agent {binaries}/tufctl --path bin/"))?;
        self.tufctl("delegation add repo docs --key docs --threshold 1 --paths docs/*")?;
        self.tufctl("target add repo notes.txt --path docs/ --role docs")?;
        title("What will be signed");
        self.tufctl("repo show repo")?;
        self.tufctl("diff repo")?;
        title("Sign, publish, verify");
        self.tufctl("sign repo --yes")?;
        self.tufctl("repo show repo")?;
        self.tufctl("verify repo --root repo/metadata/1.root.json")?;
        self.tufctl("audit verify")
    }

    /// Shows the command, runs it with our own streams, and fails when it fails.
    fn tufctl(&self, arguments: &str) -> Result<(), String> {
        println!("\n$ tufctl {}", arguments.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
        let mut command = Command::new(self.binaries.join("tufctl"));
        self.environment(command.args(arguments.split_ascii_whitespace()));
        let status =
            command.stdin(Stdio::null()).status().map_err(|e| format!("tufctl cannot be run: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("tufctl {arguments}: {status}")) }
    }

    fn environment(&self, command: &mut Command) {
        for (name, folder) in self.variables() {
            command.env(name, folder);
        }
        command.env_remove("TUF_AGENT_SOCK").current_dir(self.dir.join("work"));
    }

    fn variables(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("XDG_CONFIG_HOME", self.dir.join("config")),
            ("XDG_STATE_HOME", self.dir.join("state")),
            ("XDG_RUNTIME_DIR", self.dir.join("run")),
        ]
    }

    fn start_agent(&self) -> Result<Guarded, String> {
        let log = self.dir.join("agent.log");
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "sh"]).arg(self.binaries.join("tuf-agent"));
        if shell::is_root() {
            command.arg("--allow-root");
        }
        let file = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let errors = file.try_clone().map_err(|e| e.to_string())?;
        // Its own group: Ctrl-C is ours, and our end closes the pipe that the shell waits at.
        command.stdin(Stdio::piped()).stdout(file).stderr(errors).process_group(0);
        self.environment(&mut command);
        let child = command.spawn().map_err(|e| format!("tuf-agent cannot be started: {e}"))?;
        let mut agent = Guarded { child };
        self.wait_until_ready(&mut agent, &log)?;
        Ok(agent)
    }

    fn wait_until_ready(&self, agent: &mut Guarded, log: &Path) -> Result<(), String> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            let mut status = Command::new(self.binaries.join("tufctl"));
            self.environment(status.args(["status", "--json"]));
            if shell::output(&mut status).is_ok() {
                return Ok(());
            }
            let ended = agent.child.try_wait().map_err(|e| e.to_string())?.is_some();
            if ended || Instant::now() > end {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("the agent is not ready; {} says:\n{said}", log.display()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn say_how_to_go_on(&self) {
        let (dir, binaries) = (self.dir.display(), self.binaries.display());
        let root = if shell::is_root() { " --allow-root" } else { "" };
        println!("\nEverything lies in {dir}:");
        println!("  work/repo            the repository: metadata/ and targets/ are what clients fetch");
        println!("  work/passphrase, pin the secrets of this demo; config/, state/, softhsm/, agent.log");
        println!("\nThe agent has ended. To go on by hand:\n\n  cd {dir}/work");
        for (name, folder) in self.variables() {
            println!("  export {name}={}", folder.display());
        }
        println!("  export PATH={binaries}:$PATH");
        println!("  tuf-agent{root} 2>../agent.log &");
        println!(
            "  tufctl token unlock file --pin-file passphrase && tufctl token unlock hsm --pin-file pin"
        );
        println!("  tufctl target add repo /etc/hostname && tufctl sign repo");
        println!("\nTo throw it away: rm -r {dir}");
    }
}

/// Runs the agent until it ends or our end of standard input is closed, as it is when we are killed.
const WATCH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
agent=$!
{ cat <&3 >/dev/null; kill -TERM $agent 2>/dev/null; } &
wait $agent
"#;

/// The watched agent; dropping it ends the agent and waits for that.
struct Guarded {
    child: Child,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // There is nothing to do about a failure to wait: the pipe is closed, so the agent ends.
        let _ = self.child.wait();
    }
}

fn title(text: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{bold}{text}{plain}");
}
