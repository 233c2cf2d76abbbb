//! Kills an agent before one call by which it changes a file: the first, the second, and so on, counted over all its
//! threads, which strace counts each for itself.
//!
//! What looks on is another program (this test binary, started once more), so that nothing is reaped that the test waits for.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What the other program is told: the process, the number of the call, the folder that counts.
const TOLD: &str = "TUFAGENT_TEST_KILL";

/// Another program that looks on.
pub struct Killer(Child);

impl Killer {
    /// Kills the process before the call of this number that changes something below the folder; none where nobody may
    /// trace another process. `name` is that of the test which calls [`another_program`].
    pub fn put_to(name: &str, pid: u32, at: usize, folder: &Path) -> Option<Self> {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--ignored", "--exact", "--nocapture", name]);
        program.env(TOLD, format!("{pid} {at} {}", folder.display()));
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.as_mut().unwrap());
        let mut line = String::new();
        while !(line.ends_with("LOOKS ON\n") || line.ends_with("MAY NOT\n")) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "what looks on has ended");
        }
        // All that comes after that line comes once the agent has ended.
        assert!(said.buffer().is_empty());
        if line.ends_with("MAY NOT\n") {
            child.wait().unwrap();
            return None;
        }
        Some(Self(child))
    }

    /// The call before which it was killed, once it has ended; none when it was not reached.
    pub fn killed_before(mut self) -> Option<String> {
        let mut said = String::new();
        self.0.stdout.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "{said}");
        said.lines().find_map(|line| line.strip_prefix("KILLED BEFORE ")).map(str::to_owned)
    }
}

/// What the other program does.
#[allow(clippy::print_stdout, reason = "it is how the programs speak")]
pub fn another_program() {
    let told = std::env::var(TOLD).expect("started by a test");
    let mut words = told.splitn(3, ' ');
    let pid = Pid::from_raw(words.next().unwrap().parse().unwrap());
    let at: usize = words.next().unwrap().parse().unwrap();
    let folder = PathBuf::from(words.next().unwrap());
    if !seize(pid) {
        println!("\nMAY NOT");
        return;
    }
    println!("\nLOOKS ON");
    let mut calls = 0;
    while let Some(stopped) = next_stop(pid) {
        if let Stop::Call(thread) = stopped
            && let Some(call) = changes(thread, &folder)
        {
            calls += 1;
            if calls == at {
                kill(pid, Signal::SIGKILL).unwrap();
                println!("KILLED BEFORE {call}");
                return;
            }
        }
        go_on(&stopped);
    }
}

/// A thread that waits for us.
enum Stop {
    /// At the begin or the end of a call.
    Call(Pid),
    /// Where a signal comes.
    Signal(Pid, Signal),
    /// Elsewhere.
    Other(Pid),
}

/// Has every thread of the process stop at each of its calls from now on; false where that is not allowed.
fn seize(pid: Pid) -> bool {
    let options = ptrace::Options::PTRACE_O_TRACECLONE | ptrace::Options::PTRACE_O_TRACESYSGOOD;
    let mut seized = BTreeSet::new();
    loop {
        let folder = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let threads = folder.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
        let new: Vec<i32> = threads.filter(|thread| !seized.contains(thread)).collect();
        if new.is_empty() {
            return true;
        }
        for thread in new {
            match ptrace::seize(Pid::from_raw(thread), options) {
                // It has ended, or was born traced.
                Err(Errno::ESRCH) => {}
                Err(Errno::EPERM) if seized.is_empty() => return false,
                Err(Errno::EPERM) => {}
                Err(error) => panic!("{error}"),
                Ok(()) => {
                    ptrace::interrupt(Pid::from_raw(thread)).unwrap();
                    go_on(&stop_of(Pid::from_raw(thread)).unwrap());
                }
            }
            seized.insert(thread);
        }
    }
}

fn next_stop(pid: Pid) -> Option<Stop> {
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return None,
            Err(error) => panic!("{error}"),
            Ok(WaitStatus::Exited(gone, _) | WaitStatus::Signaled(gone, _, _)) if gone == pid => return None,
            Ok(status) => {
                if let Some(stop) = read(status) {
                    return Some(stop);
                }
            }
        }
    }
}

fn stop_of(thread: Pid) -> Option<Stop> {
    read(waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap())
}

fn read(status: WaitStatus) -> Option<Stop> {
    match status {
        WaitStatus::PtraceSyscall(thread) => Some(Stop::Call(thread)),
        WaitStatus::Stopped(thread, signal) => Some(Stop::Signal(thread, signal)),
        WaitStatus::PtraceEvent(thread, _, _) => Some(Stop::Other(thread)),
        _ => None,
    }
}

/// Up to its next call. What has ended meanwhile is not there to go on.
fn go_on(stop: &Stop) {
    let (thread, signal) = match stop {
        Stop::Call(thread) | Stop::Other(thread) => (*thread, None),
        Stop::Signal(thread, signal) => (*thread, Some(*signal)),
    };
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{error}"),
    }
}

/// The call that a thread is about to make, where it changes a file or a name below this folder.
///
/// Flushes and modes are left out: what a kill leaves is the same before and after them.
fn changes(thread: Pid, folder: &Path) -> Option<String> {
    let (call, arguments) = about_to_call(thread)?;
    let below = || {
        let link = std::fs::read_link(format!("/proc/{thread}/fd/{}", arguments[0])).ok()?;
        link.starts_with(folder).then(|| format!(" {}", link.strip_prefix(folder).unwrap().display()))
    };
    let creates = |flags: u64| flags & u64::try_from(libc::O_CREAT).unwrap() != 0;
    let (name, where_it_is) = match call {
        libc::SYS_write => ("write", below()?),
        libc::SYS_writev => ("writev", below()?),
        libc::SYS_pwrite64 => ("pwrite64", below()?),
        libc::SYS_pwritev => ("pwritev", below()?),
        libc::SYS_ftruncate => ("ftruncate", below()?),
        libc::SYS_fallocate => ("fallocate", below()?),
        libc::SYS_openat if creates(arguments[2]) => ("openat", String::new()),
        libc::SYS_renameat => ("renameat", String::new()),
        libc::SYS_renameat2 => ("renameat2", String::new()),
        libc::SYS_linkat => ("linkat", String::new()),
        libc::SYS_symlinkat => ("symlinkat", String::new()),
        libc::SYS_unlinkat => ("unlinkat", String::new()),
        libc::SYS_mkdirat => ("mkdirat", String::new()),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open if creates(arguments[1]) => ("open", String::new()),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename => ("rename", String::new()),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link => ("link", String::new()),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink => ("unlink", String::new()),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => ("mkdir", String::new()),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rmdir => ("rmdir", String::new()),
        _ => return None,
    };
    Some(format!("{name}{where_it_is}"))
}

/// The number of the call and its arguments; none where it has been made already.
#[cfg(target_arch = "x86_64")]
fn about_to_call(thread: Pid) -> Option<(libc::c_long, [u64; 3])> {
    let registers = ptrace::getregs(thread).ok()?;
    // What the kernel puts there before it makes the call.
    let begins = registers.rax.cast_signed() == -i64::from(libc::ENOSYS);
    begins.then_some((registers.orig_rax.cast_signed(), [registers.rdi, registers.rsi, registers.rdx]))
}

#[cfg(target_arch = "aarch64")]
fn about_to_call(thread: Pid) -> Option<(libc::c_long, [u64; 3])> {
    let registers = ptrace::getregs(thread).ok()?.regs;
    // 0 at the begin of a call, 1 at its end.
    (registers[7] == 0).then_some((registers[8].cast_signed(), [registers[0], registers[1], registers[2]]))
}
