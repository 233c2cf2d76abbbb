//! What a module has no business to do, tried.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kernel;
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
    Udp(SocketAddr),
    Mptcp(SocketAddr),
    FastOpen(SocketAddr),
    Mode,
    Owner,
    Times,
    Xattr,
    Keyring(kernel::Keyring),
    Call(kernel::Call),
    Thread,
    Fork,
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
            "udp" => What::Udp(about.parse().ok()?),
            "mptcp" => What::Mptcp(about.parse().ok()?),
            "fastopen" => What::FastOpen(about.parse().ok()?),
            "mode" => What::Mode,
            "owner" => What::Owner,
            "times" => What::Times,
            "xattr" => What::Xattr,
            "keyring" => What::Keyring(kernel::Keyring::parse(about)?),
            "call" => What::Call(kernel::Call::parse(about)?),
            "thread" => What::Thread,
            "fork" => What::Fork,
            _ => return None,
        };
        Some(Self { what, about: (*about).to_owned() })
    }

    /// Makes it, and writes down how it ended.
    pub(crate) fn make(&self) {
        let about = match self.what {
            What::Fork => kernel::fork().map(|child| child.to_string()),
            _ => self.done().map(|()| self.about.clone()),
        };
        let told = match about {
            Ok(about) => format!("ok {about}"),
            Err(error) => format!("{:?} {}", error.kind(), self.about),
        };
        trace::note('?', self.what.word(), &told);
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
            What::Signal(process) => kernel::signal(process),
            What::Udp(address) => UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", address).map(drop),
            What::Mptcp(address) => kernel::mptcp(address),
            What::FastOpen(address) => kernel::fast_open(address),
            What::Mode => kernel::mode(path),
            What::Owner => kernel::owner(path),
            What::Times => kernel::times(path),
            What::Xattr => kernel::xattr(path),
            What::Keyring(how) => how.ask(),
            What::Call(call) => call.make(),
            // Not waited for: while a module is loaded no thread can end.
            What::Thread => std::thread::Builder::new().spawn(|| ()).map(drop),
            What::Fork => Ok(()),
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
            Self::Udp(_) => "udp",
            Self::Mptcp(_) => "mptcp",
            Self::FastOpen(_) => "fastopen",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Times => "times",
            Self::Xattr => "xattr",
            Self::Keyring(_) => "keyring",
            Self::Call(_) => "call",
            Self::Thread => "thread",
            Self::Fork => "fork",
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
