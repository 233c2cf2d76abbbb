//! What a module has no business to do, tried.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::trace;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    what: What,
    about: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Read,
    Write,
    Run,
    Connect(SocketAddr),
    Abstract,
    Signal(i32),
}

impl Attempt {
    /// The words behind `try`.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let [what, about] = words else { return None };
        let what = match *what {
            "read" => What::Read,
            "write" => What::Write,
            "run" => What::Run,
            "connect" => What::Connect(about.parse().ok()?),
            "abstract" => What::Abstract,
            "signal" => What::Signal(about.parse().ok()?),
            _ => return None,
        };
        Some(Self { what, about: (*about).to_owned() })
    }

    /// Makes it, and writes down how it ended.
    pub(crate) fn make(&self) {
        let ended = match self.done() {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        trace::note('?', self.what.word(), &format!("{ended} {}", self.about));
    }

    fn done(&self) -> io::Result<()> {
        let path = &self.about;
        match self.what {
            What::Read => std::fs::File::open(path).map(drop),
            What::Write => {
                OpenOptions::new().append(true).create(true).open(path)?.write_all(b"by the module\n")
            }
            What::Run => {
                let silent = |command: &mut Command| command.stdout(Stdio::null()).status();
                silent(&mut Command::new(path)).map(drop)
            }
            What::Connect(address) => TcpStream::connect_timeout(&address, PATIENCE).map(drop),
            What::Abstract => {
                UnixStream::connect_addr(&UnixAddr::from_abstract_name(path.as_bytes())?).map(drop)
            }
            What::Signal(process) => {
                // SAFETY: no pointers; signal 0 is only looked at.
                match unsafe { kill(process, 0) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            }
        }
    }
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Run => "run",
            Self::Connect(_) => "connect",
            Self::Abstract => "abstract",
            Self::Signal(_) => "signal",
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

unsafe extern "C" {
    fn kill(process: i32, signal: i32) -> i32;
}
