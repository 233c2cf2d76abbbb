//! Programs that serve a module. They end with the value that holds them, and with the thread that started them,
//! however that ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Skipped;

const REMEDY: &str = "look into its log, or leave this module out";
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// A command that the kernel ends with the thread that spawned it: a test that dies leaves nothing behind.
    pub(crate) fn command(program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    }

    /// Starts a [`Self::command`], with what it says in `log`.
    pub(crate) fn spawn(mut command: Command, name: &str, log: PathBuf) -> Result<Self, Skipped> {
        let failed = |e: std::io::Error| Skipped::new(format!("{name} does not start: {e}"), REMEDY);
        let output = File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// Waits until it does what it is for.
    pub(crate) fn until(&mut self, mut ready: impl FnMut() -> bool) -> Result<(), Skipped> {
        let end = Instant::now() + READY_WITHIN;
        while !ready() {
            if self.has_ended() {
                return Err(self.failed("ended"));
            }
            if Instant::now() > end {
                return Err(self.failed("is not ready in time"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until it listens at a socket, which lies there a moment before.
    pub(crate) fn until_it_listens_at(&mut self, socket: &Path) -> Result<(), Skipped> {
        // proc(5): with the flag of a socket that accepts; asked so, and not by a connection, which would be its first client.
        let end = format!(" {}", socket.display());
        let listens =
            |line: &str| line.ends_with(&end) && line.split_ascii_whitespace().nth(3) == Some("00010000");
        self.until(|| std::fs::read_to_string("/proc/net/unix").is_ok_and(|table| table.lines().any(listens)))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn failed(&self, how: &str) -> Skipped {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = log.trim().lines().last().unwrap_or("it said nothing").to_owned();
        Skipped::new(format!("{} {how}: {said}", self.name), REMEDY)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_listens_at_is_waited_for() {
        let path = std::env::temp_dir().join(format!("softhsm-listens-{}", std::process::id()));
        let log = path.with_extension("log");
        let mut server = sleeper(&log);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| server.until_it_listens_at(&path));
            thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            waiting.join().unwrap().unwrap();
        });
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(log).unwrap();
    }

    fn sleeper(log: &Path) -> Server {
        let mut command = Server::command(Path::new("sleep"));
        command.arg("600");
        Server::spawn(command, "sleep", log.to_owned()).unwrap()
    }

    fn lives(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn a_server_ends_with_its_value_and_with_the_thread_that_started_it() {
        let log = std::env::temp_dir().join(format!("softhsm-server-{}.log", std::process::id()));
        let held = sleeper(&log);
        let pid = held.child.id();
        assert!(lives(pid));
        drop(held);
        assert!(!lives(pid));
        let pid = thread::scope(|scope| {
            let started = scope.spawn(|| {
                let mut server = sleeper(&log);
                // Only once `setpriv` has become it does the kernel know.
                let name = format!("/proc/{}/comm", server.child.id());
                server.until(|| std::fs::read_to_string(&name).unwrap().trim() == "sleep").unwrap();
                let pid = server.child.id();
                std::mem::forget(server);
                pid
            });
            started.join().unwrap()
        });
        let end = Instant::now() + READY_WITHIN;
        while lives(pid) {
            assert!(Instant::now() < end, "the forgotten server lives on");
            thread::sleep(Duration::from_millis(10));
        }
        std::fs::remove_file(&log).unwrap();
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_last_words() {
        let log = std::env::temp_dir().join(format!("softhsm-ended-{}.log", std::process::id()));
        let mut command = Server::command(Path::new("sh"));
        command.args(["-c", "echo no such device >&2; exit 1"]);
        let mut server = Server::spawn(command, "a server", log.clone()).unwrap();
        let skipped = server.until(|| false).unwrap_err();
        std::fs::remove_file(&log).unwrap();
        assert_eq!(skipped.what, "a server ended: no such device");
    }
}
