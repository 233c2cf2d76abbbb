//! strace: to see the order of calls, and to make them fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use softhsm::Skipped;
use tufagent_tests::{Agent, Home, binary};

/// strace, from the system or the third-party folder.
pub(crate) struct Strace {
    program: PathBuf,
    /// For strace alone, not for the program that it traces.
    libraries: Option<String>,
}

impl Strace {
    /// Finds one that this machine lets trace.
    pub(crate) fn find() -> Result<Self, Skipped> {
        let remedy = "apt-get install strace, and allow ptrace (containers: --cap-add SYS_PTRACE)";
        let fetched = softhsm::third_party_dir()?.join("debs/strace+libunwind8");
        let strace = if fetched.is_dir() {
            let libraries = fs::read_dir(fetched.join("usr/lib")).into_iter().flatten().flatten();
            let libraries: Vec<_> = libraries.map(|it| it.path().display().to_string()).collect();
            Self { program: fetched.join("usr/bin/strace"), libraries: Some(libraries.join(":")) }
        } else {
            Self { program: PathBuf::from("strace"), libraries: None }
        };
        let mut probe = strace.command();
        probe.envs(strace.variables()).args(["-f", "-e", "trace=execve", "true"]);
        let works = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if works.is_ok_and(|it| it.success()) {
            Ok(strace)
        } else {
            Err(Skipped::new("strace does not work", remedy))
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-E", "LD_LIBRARY_PATH"]);
        command
    }

    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        self.libraries.iter().map(|it| ("LD_LIBRARY_PATH", it.as_str())).collect()
    }

    /// Puts strace to every thread of a process that runs, and waits until it is there.
    pub(crate) fn attach(&self, home: &Home, pid: u32, options: &[&str]) -> (Attached, PathBuf) {
        let trace = home.dir().join("trace");
        let options = [&["-f"], options].concat();
        (self.put_to(&trace, pid, &options, || is_traced(pid)), trace)
    }

    /// The same to one thread alone.
    pub(crate) fn attach_to_one(&self, home: &Home, thread: u32, options: &[&str]) -> Attached {
        let status = format!("/proc/{thread}/status");
        self.put_to(&home.dir().join("trace-of-one"), thread, options, || {
            let status = fs::read_to_string(&status).unwrap_or_default();
            status.contains("TracerPid:") && !status.contains("TracerPid:\t0\n")
        })
    }

    fn put_to(&self, trace: &Path, id: u32, options: &[&str], there: impl Fn() -> bool) -> Attached {
        let mut command = self.command();
        command.envs(self.variables()).args(["-y", "-o"]).arg(trace).args(options);
        command.arg("-p").arg(id.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let attached = Attached(command.spawn().expect("strace starts"));
        let end = Instant::now() + Duration::from_secs(30);
        while !there() {
            assert!(Instant::now() < end, "strace does not get at {id}");
            std::thread::sleep(Duration::from_millis(10));
        }
        attached
    }

    /// Starts the agent under strace, which writes one file of calls in order.
    pub(crate) fn start(&self, home: &Home, options: &[&str]) -> (Agent, PathBuf) {
        let trace = home.dir().join("trace");
        let mut command = self.command();
        command.args(["-f", "-y", "-s", "70000", "-o"]).arg(&trace).args(options).arg(binary("tuf-agent"));
        (Agent::start_in_environment(home, command, &self.variables()), trace)
    }
}

/// A strace that was put to a process; taken away when dropped.
pub(crate) struct Attached(Child);

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether every thread of the process has a tracer.
fn is_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut statuses = threads.map(|it| fs::read_to_string(it.path().join("status")).unwrap_or_default());
    statuses.all(|status| !status.contains("TracerPid:\t0\n"))
}
