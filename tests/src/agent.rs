//! A running agent.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Home;

const READY_WITHIN: Duration = Duration::from_secs(30);
const COMES_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// A `tuf-agent` of a [`Home`]. Dropping it ends it, and searches its log for secrets.
pub struct Agent {
    home: Home,
    child: Option<Child>,
}

impl Agent {
    pub(crate) fn start(home: &Home, command: Command) -> Self {
        Self::start_in_environment(home, command, &[])
    }

    /// Starts with more variables than a home has, and waits until it is ready.
    pub fn start_in_environment(home: &Home, command: Command, variables: &[(&str, &str)]) -> Self {
        let mut agent = Self::spawn_in_environment(home, command, variables);
        agent.wait_until_ready();
        agent
    }

    /// Starts without waiting: for starts that are to fail.
    pub fn spawn(home: &Home, command: Command) -> Self {
        Self::spawn_in_environment(home, command, &[])
    }

    /// As [`Self::spawn`], with more variables than a home has.
    pub fn spawn_in_environment(home: &Home, mut command: Command, variables: &[(&str, &str)]) -> Self {
        home.environment(&mut command);
        if crate::is_root() {
            command.arg("--allow-root");
        }
        let level = std::env::var("TUFAGENT_TEST_LOG").unwrap_or_else(|_| "info,tuf_agent=debug".to_owned());
        let log = File::options().create(true).append(true).open(home.log()).unwrap();
        command.env("TUF_AGENT_LOG", level).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("tuf-agent starts");
        Self { home: home.clone(), child: Some(child) }
    }

    fn wait_until_ready(&mut self) {
        let end = Instant::now() + READY_WITHIN;
        while self.home.run("status --json").code != 0 {
            if let Some(status) = self.child().try_wait().unwrap() {
                panic!("the agent ended ({status}) before it was ready:\n{}", self.log());
            }
            assert!(Instant::now() < end, "the agent is not ready:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The agent's process id, also when it runs under strace.
    pub fn pid(&self) -> u32 {
        traced(self.child.as_ref().expect("running").id())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap_or_default()
    }

    /// Waits for something that must come; the limit is only there to end a failed run.
    #[track_caller]
    pub fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + COMES_WITHIN;
        while !done() {
            assert!(Instant::now() < end, "it did not come:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait_for(self.child(), ENDS_WITHIN);
        status.unwrap_or_else(|| panic!("the agent does not end:\n{}", self.log()))
    }

    /// Ends it as a service manager does, and returns how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Ends it as a power loss does.
    pub fn kill(mut self) {
        self.child().kill().unwrap();
        self.child().wait().unwrap();
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("running")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end(child);
        }
        if thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", tail(&self.log()));
            return;
        }
        self.home.assert_no_secret_in(&self.home.log());
        for file in files_below(self.home.state()) {
            self.home.assert_no_secret_in(&file);
        }
    }
}

/// The end of a long log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn files_below(dir: PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths.flat_map(|path| if path.is_dir() { files_below(path) } else { vec![path] }).collect()
}

/// Asks it to end, and kills it when it does not.
fn end(mut child: Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    signal(traced(child.id()), "TERM");
    if wait_for(&mut child, ENDS_WITHIN).is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What strace traces, where the process is strace (which passes no signal on); otherwise the process itself.
fn traced(pid: u32) -> u32 {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    if read("comm").trim() != "strace" {
        return pid;
    }
    let children = read(&format!("task/{pid}/children"));
    children.split_whitespace().next().and_then(|child| child.parse().ok()).unwrap_or(pid)
}

fn wait_for(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// `kill -NAME PID`; a process that is gone already is no failure.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}
