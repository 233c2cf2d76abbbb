//! A person who is asked by the agent itself, through the pinentry program: a PIN, or yes or no.
//!
//! Duty: one dialogue at a time, by the Assuan protocol (lines of at most 1000 bytes; `OK`, `ERR`, `D`) over pipes.
//! Trust: the program that the configuration names sees what is typed; it gets no environment but what it needs to
//! find the person. Invariants: what was typed goes from the pipe into locked memory and into no message; whatever
//! ends the dialogue but an answer is no answer.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use policy::Reason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process_group};
use secmem::SecretBytes;
use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// What the person is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Dialogue {
    /// Lines of text.
    pub(super) text: String,
    /// The terminal of whoever caused it; none where there is none, or where it is not to be used.
    pub(super) terminal: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The person said no.
    Cancelled,
    /// Nobody answered in time.
    Timeout,
    /// The program has no screen and no terminal.
    Nowhere,
    /// The caller went away.
    Unwanted,
    /// The program did something else.
    Broken(String),
}

/// Ends a dialogue when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Unwanted(Arc<AtomicBool>);

impl Unwanted {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for a secret; blocks. None: nothing was typed.
pub(super) fn ask(
    program: &Path,
    word: &str,
    dialogue: &Dialogue,
    unwanted: &AtomicBool,
) -> Result<Option<SecretBytes>, NoAnswer> {
    let mut talk = Talk::begin(program, dialogue, unwanted)?;
    talk.say("SETPROMPT", &format!("{word}:"))?;
    talk.send("GETPIN")?;
    let mut secret = None;
    loop {
        let line = talk.line()?;
        match line.strip_prefix(b"D ") {
            Some(data) if secret.is_none() => secret = Some(unescaped(data)),
            Some(_) => return Err(NoAnswer::Broken("it answered in several pieces".to_owned())),
            None => match Answer::read(&line)? {
                Answer::Ok => return Ok(secret.filter(|secret| !secret.is_empty())),
                Answer::Other => {}
            },
        }
    }
}

/// Asks for yes or no; blocks.
pub(super) fn confirm(
    program: &Path,
    dialogue: &Dialogue,
    verb: &str,
    unwanted: &AtomicBool,
) -> Result<(), NoAnswer> {
    let mut talk = Talk::begin(program, dialogue, unwanted)?;
    talk.say("SETOK", verb)?;
    talk.say("SETCANCEL", &format!("Do not {}", verb.to_lowercase()))?;
    talk.send("CONFIRM")?;
    talk.until_ok()
}

impl NoAnswer {
    /// As a refusal; `asked` is what was wanted, such as "the PIN of token hsm".
    pub(super) fn refusal(&self, asked: &str, program: &Path, reason: Reason) -> Refusal {
        let told = |why: &str, remedy: String| {
            Refusal::new(reason, format!("{asked} was asked for by pinentry: {why}")).remedy(remedy)
        };
        match self {
            Self::Cancelled => {
                let said = "the person there said no, so nothing was presented or signed";
                told(said, "ask again when you are ready".to_owned()).detail("cancelled", true)
            }
            Self::Timeout => told("nobody answered in time", "ask again when somebody is there".to_owned()),
            Self::Nowhere => told(
                "there is no screen and no terminal to ask at",
                "ask from a terminal, or start the agent in the desktop's session".to_owned(),
            ),
            Self::Unwanted => Refusal::new(Reason::Cancelled, format!("{asked}: the caller has gone")),
            Self::Broken(how) => told(
                how,
                format!("try {} by itself, or name another pinentry in the configuration", program.display()),
            ),
        }
    }
}

/// A pinentry that runs; it ends with this.
struct Talk<'a> {
    child: Child,
    /// It leads a group of its own.
    leads: bool,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read and belongs to the next line; full size at once, since a buffer that grows leaves copies.
    read: Zeroizing<Vec<u8>>,
    end: Instant,
    unwanted: &'a AtomicBool,
}

impl<'a> Talk<'a> {
    fn begin(program: &Path, dialogue: &Dialogue, unwanted: &'a AtomicBool) -> Result<Self, NoAnswer> {
        let shown: Vec<(OsString, OsString)> =
            std::env::vars_os().filter(|(name, _)| is_needed(name)).collect();
        let display = shown.iter().any(|(name, _)| name == "DISPLAY" || name == "WAYLAND_DISPLAY");
        let own = std::env::var_os("GPG_TTY").map(PathBuf::from);
        let terminal = dialogue.terminal.clone().or(own);
        if !display && terminal.is_none() {
            return Err(NoAnswer::Nowhere);
        }
        let mut command = Command::new(program);
        command.env_clear().envs(shown).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // What it starts ends with it.
        let leads = !terminal.as_deref().is_some_and(is_of_own_session);
        if leads {
            command.process_group(0);
        }
        let cannot = |how: String| NoAnswer::Broken(format!("{} {how}", program.display()));
        let mut child = command.spawn().map_err(|error| cannot(format!("cannot be started: {error}")))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| cannot("has no pipes".to_owned()))?;
        let end = Instant::now().checked_add(PATIENCE).ok_or(NoAnswer::Timeout)?;
        let read = Zeroizing::new(Vec::with_capacity(LONGEST));
        let mut talk = Self { child, leads, input, output, read, end, unwanted };
        talk.until_ok()?;
        if let Some(terminal) = terminal {
            talk.option("ttyname", &terminal.display().to_string())?;
            talk.option("ttytype", &std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned()))?;
        }
        talk.option("lc-ctype", &std::env::var("LC_CTYPE").unwrap_or_else(|_| "C.UTF-8".to_owned()))?;
        talk.optional(&format!("SETTIMEOUT {}", PATIENCE.as_secs()))?;
        talk.say("SETTITLE", "tuf-agent")?;
        talk.say("SETDESC", &dialogue.text)?;
        Ok(talk)
    }

    fn say(&mut self, command: &str, text: &str) -> Result<(), NoAnswer> {
        let text = escaped(text).ok_or_else(too_long)?;
        self.send(&format!("{command} {text}"))?;
        self.until_ok()
    }

    /// Old programs know not every option; what they do not know they do without.
    fn option(&mut self, name: &str, value: &str) -> Result<(), NoAnswer> {
        let value = escaped(value).ok_or_else(too_long)?;
        self.optional(&format!("OPTION {name}={value}"))
    }

    fn optional(&mut self, line: &str) -> Result<(), NoAnswer> {
        self.send(line)?;
        loop {
            let line = self.line()?;
            if line.starts_with(b"OK") || line.starts_with(b"ERR ") {
                return Ok(());
            }
        }
    }

    fn send(&mut self, line: &str) -> Result<(), NoAnswer> {
        let written = self.input.write_all(line.as_bytes()).and_then(|()| self.input.write_all(b"\n"));
        written.map_err(|_| NoAnswer::Broken("it ended without an answer".to_owned()))
    }

    fn until_ok(&mut self) -> Result<(), NoAnswer> {
        loop {
            let line = self.line()?;
            if matches!(Answer::read(&line)?, Answer::Ok) {
                return Ok(());
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = Zeroizing::new(self.read.get(..end).unwrap_or_default().to_vec());
                let rest =
                    Zeroizing::new(self.read.get(end.saturating_add(1)..).unwrap_or_default().to_vec());
                self.read.iter_mut().for_each(|byte| *byte = 0);
                self.read.clear();
                self.read.extend_from_slice(&rest);
                return Ok(line);
            }
            if self.read.len() >= LONGEST {
                return Err(NoAnswer::Broken("it says more than fits".to_owned()));
            }
            self.wait()?;
            let mut piece = Zeroizing::new([0; 512]);
            let room = LONGEST.saturating_sub(self.read.len()).min(piece.len());
            let buffer = piece.get_mut(..room).unwrap_or_default();
            match rustix::io::read(&self.output, buffer) {
                Ok(0) => return Err(NoAnswer::Broken("it ended without an answer".to_owned())),
                Ok(count) => self.read.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(NoAnswer::Broken(format!("it cannot be read: {error}"))),
            }
        }
    }

    /// Until there is something to read, time is over, or nobody waits any more.
    fn wait(&self) -> Result<(), NoAnswer> {
        loop {
            if self.unwanted.load(Ordering::Relaxed) {
                return Err(NoAnswer::Unwanted);
            }
            // It has a moment more than it was told, to say by itself that time is over.
            if Instant::now() > self.end + GRACE {
                return Err(NoAnswer::Timeout);
            }
            let mut fds = [PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(NoAnswer::Broken(format!("it cannot be waited for: {error}"))),
            }
        }
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        let _ = self.input.write_all(b"BYE\n");
        // It was not waited for, so the number is its own.
        let leader = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(leader) = leader.filter(|_| self.leads) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum Answer {
    Ok,
    /// A comment, a status, an inquiry.
    Other,
}

impl Answer {
    fn read(line: &[u8]) -> Result<Self, NoAnswer> {
        if line == b"OK" || line.starts_with(b"OK ") {
            return Ok(Self::Ok);
        }
        let Some(error) = line.strip_prefix(b"ERR ") else { return Ok(Self::Other) };
        let text = String::from_utf8_lossy(error).into_owned();
        let code = text.split(' ').next().and_then(|code| code.parse::<u32>().ok());
        // The low 16 bits are the code of libgpg-error, the rest says who found it; 0: nobody knows who. What a person
        // says is GPG_ERR_CANCELED, GPG_ERR_NOT_CONFIRMED and GPG_ERR_FULLY_CANCELED.
        Err(match code.map(|code| code & 0xffff) {
            Some(99 | 114 | 198) => NoAnswer::Cancelled,
            Some(62) => NoAnswer::Timeout,
            _ => NoAnswer::Broken(format!("it said: {}", text.escape_debug())),
        })
    }
}

/// Nobody says yes to what was not shown whole.
fn too_long() -> NoAnswer {
    NoAnswer::Broken("what has to be shown is longer than it can show".to_owned())
}

/// For a line of Assuan: one line, with `%` for what is none. None where it does not fit.
fn escaped(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars() {
        let piece = match c {
            '%' | '\n' | '\r' => format!("%{:02X}", u32::from(c)),
            c if c.is_control() => c.escape_debug().to_string(),
            c => c.to_string(),
        };
        if out.len().saturating_add(piece.len()) > MOST_SHOWN {
            return None;
        }
        out.push_str(&piece);
    }
    Some(out)
}

fn unescaped(data: &[u8]) -> SecretBytes {
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut plain = Zeroizing::new(Vec::with_capacity(data.len()));
    let mut at = 0_usize;
    while let Some(byte) = data.get(at) {
        let code = (digit(data.get(at.saturating_add(1))), digit(data.get(at.saturating_add(2))));
        match (byte, code) {
            (b'%', (Some(high), Some(low))) => {
                plain.push(high << 4 | low);
                at = at.saturating_add(3);
            }
            (byte, _) => {
                plain.push(*byte);
                at = at.saturating_add(1);
            }
        }
    }
    SecretBytes::copy_from(&plain)
}

/// Whether it is the terminal that the agent itself was started at: who is there of another group than the one in front is
/// stopped when it reads.
fn is_of_own_session(terminal: &Path) -> bool {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(terminal, flags, Mode::empty());
    let session = opened.and_then(rustix::termios::tcgetsid);
    session.is_ok_and(|session| rustix::process::getsid(None) == Ok(session))
}

/// What a pinentry needs to find screen and words.
fn is_needed(name: &std::ffi::OsStr) -> bool {
    const NEEDED: [&str; 9] = [
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "XDG_SESSION_TYPE",
        "DBUS_SESSION_BUS_ADDRESS",
        "HOME",
        "PATH",
        "LANG",
    ];
    name.to_str().is_some_and(|name| NEEDED.contains(&name) || name.starts_with("LC_"))
}

/// So long a person may take.
const PATIENCE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(2);
/// The longest line that is read; a PIN of 1024 bytes fits, each as `%XX`.
const LONGEST: usize = 4096;
/// Assuan's lines have 1000 bytes, the command among them.
pub(super) const MOST_SHOWN: usize = 960;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_line_that_fits_and_what_was_typed_comes_back() {
        assert_eq!(escaped("100 %\nsure\u{7}").as_deref(), Some("100 %25%0Asure\\u{7}"));
        assert_eq!(escaped(&"\n".repeat(MOST_SHOWN / 3)).map(|shown| shown.len()), Some(MOST_SHOWN));
        assert_eq!(escaped(&"x".repeat(MOST_SHOWN + 1)), None, "a digest at its end must not be cut off");
        assert_eq!(unescaped(b"12%2534 %C3%B6%0").reveal_secret_bytes(), "12%34 \u{f6}%0".as_bytes());
    }

    #[test]
    fn what_a_pinentry_says_is_told_apart() {
        let said = |line: &str| Answer::read(line.as_bytes()).err();
        assert_eq!(said("OK"), None);
        assert_eq!(said("# comment"), None);
        assert_eq!(said("ERR 83886179 Operation cancelled <Pinentry>"), Some(NoAnswer::Cancelled));
        assert_eq!(said("ERR 83886194 not confirmed"), Some(NoAnswer::Cancelled));
        assert_eq!(said("ERR 83886278 closed"), Some(NoAnswer::Cancelled));
        assert_eq!(said("ERR 99 of no source"), Some(NoAnswer::Cancelled));
        for broken in ["ERR 100 Operation cancelled", "ERR 65635x", "ERR cancelled", "ERR 83886081 general"] {
            assert!(matches!(said(broken), Some(NoAnswer::Broken(_))), "{broken}");
        }
        assert_eq!(said("ERR 83886142 Timeout <Pinentry>"), Some(NoAnswer::Timeout));
        assert!(matches!(said("ERR 32872 No such device or address"), Some(NoAnswer::Broken(_))));
    }
}
