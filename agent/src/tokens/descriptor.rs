//! A secret on a descriptor that the agent was started with.
//!
//! Whoever started the agent may keep the other end of a pipe open for ever: its first line is the secret, and it is
//! waited for so long and no longer. What comes once a line was cut off is never taken for a secret: it would be a wrong
//! one, and cost a try. Nor is what the agent has opened itself, which gets such numbers, too.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use policy::Reason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use secmem::SecretBytes;

use super::pin::{only_line, unreadable};
use crate::config::open_at_once;
use crate::refusal::Refusal;

/// How long a pipe is waited for the first time.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// And each time after that: whoever asks for the token must not wait so long again.
const LATER_WAIT: Duration = Duration::from_millis(100);
/// How often it is looked for its end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// What is known of pipes; a descriptor is the whole process's.
static KNOWN: Mutex<BTreeMap<u32, Known>> = Mutex::new(BTreeMap::new());

/// The descriptors that the process was started with: device and inode of each.
static GIVEN: OnceLock<BTreeMap<u32, (u64, u64)>> = OnceLock::new();

/// Notes which descriptors this process was started with. Must run before it opens anything.
pub(crate) fn note_given() {
    GIVEN.get_or_init(|| {
        let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
        let named = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let numbers: Vec<u32> = named.collect();
        // The folder's own is closed by now.
        numbers
            .into_iter()
            .filter_map(|fd| Some((fd, identity(&std::fs::metadata(place(fd)).ok()?))))
            .collect()
    });
}

fn place(fd: u32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was waited for, or has given a line already.
    Silent,
    /// A part of a line came, and not the rest.
    CutOff,
}

/// Reads it, through `/proc`: it is opened anew, never closed twice. Blocks.
///
/// # Errors
/// `SECRET_FILE`.
pub(super) fn fetch(fd: u32, max: usize) -> Result<SecretBytes, Refusal> {
    let path = place(fd);
    let given = GIVEN.get().and_then(|given| given.get(&fd));
    let Some(given) = given else { return Err(not_given(fd)) };
    let mut file = open_at_once(&path).map_err(|error| unreadable(&path, &error))?;
    let meta = file.metadata().map_err(|error| unreadable(&path, &error))?;
    if identity(&meta) != *given {
        return Err(not_given(fd));
    }
    let kind = meta.file_type();
    if kind.is_file() {
        let read = SecretBytes::read_to_end(&mut file, max);
        return only_line(&path, read.map_err(|error| unreadable(&path, &error))?);
    }
    if !kind.is_fifo() {
        let message = format!("descriptor {fd} is neither a file nor a pipe");
        return Err(Refusal::new(Reason::SecretFile, message).remedy(start_with(fd)));
    }
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&fd).copied();
    let wait = match known {
        None => FIRST_WAIT,
        Some(Known::Silent) => LATER_WAIT,
        Some(Known::CutOff) => return Err(cut_off(fd)),
    };
    let mut line = Line { file, end: Instant::now().checked_add(wait), begun: false, done: false };
    let secret = SecretBytes::read_to_end(&mut line, max);
    match secret {
        Ok(secret) if secret.is_empty() => Err(used_up(fd)),
        Ok(secret) => {
            // Whoever asks for the next one must not wait long.
            KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(fd, Known::Silent);
            only_line(&path, secret)
        }
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let known = if line.begun { Known::CutOff } else { Known::Silent };
            KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(fd, known);
            Err(if line.begun { cut_off(fd) } else { silent(fd) })
        }
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// Whether what it gives once is gone then: of a pipe, not of a file.
pub(super) fn gives_once(fd: u32) -> bool {
    !std::fs::metadata(place(fd)).is_ok_and(|file| file.is_file())
}

fn used_up(fd: u32) -> Refusal {
    let message = format!("nothing more comes on descriptor {fd}: the other end of its pipe is closed");
    Refusal::new(Reason::SecretFile, message)
        .remedy(format!("{}, then: tufctl token unlock NAME", start_with(fd)))
}

fn not_given(fd: u32) -> Refusal {
    let message = format!("descriptor {fd} was not given to the agent when it was started");
    Refusal::new(Reason::SecretFile, message).remedy(start_with(fd))
}

fn start_with(fd: u32) -> String {
    format!("start the agent with the PIN on that descriptor, such as {fd}<pin.txt")
}

fn silent(fd: u32) -> Refusal {
    let message = format!(
        "nothing has come on descriptor {fd}, and whoever holds the other end of the pipe has not closed it"
    );
    Refusal::new(Reason::SecretFile, message)
        .remedy("write the secret and a newline into that pipe, then: tufctl token unlock NAME")
}

fn cut_off(fd: u32) -> Refusal {
    let message = format!(
        "a part of a line has come on descriptor {fd}, and its end not within {} s: it is not used",
        FIRST_WAIT.as_secs()
    );
    Refusal::new(Reason::SecretFile, message)
        .remedy("start the agent again with the whole secret and a newline, or the end of the pipe, on that descriptor")
}

/// The first line of a pipe, to its newline or to the pipe's end.
struct Line {
    file: File,
    end: Option<Instant>,
    /// Something has come.
    begun: bool,
    done: bool,
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        loop {
            match self.file.read(buf) {
                // An end is told where the pipe is read, and not each time where it is waited for.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(error),
                Ok(read) => {
                    let came = buf.get(..read).unwrap_or_default();
                    let newline = came.iter().position(|byte| *byte == b'\n');
                    self.begun |= read > 0;
                    self.done = read == 0 || newline.is_some();
                    return Ok(newline.map_or(read, |at| at.saturating_add(1)));
                }
            }
        }
    }
}

impl Line {
    fn wait(&self) -> io::Result<()> {
        if self.end.is_none_or(|end| Instant::now() >= end) {
            return Err(ErrorKind::TimedOut.into());
        }
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
