//! Who is at the other end of a connection.
//!
//! Trust: the kernel's word alone (SO_PEERCRED at the time of connect, a pid handle, `/proc`).

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use policy::Reason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::shares::{Place, Shares};
use crate::refusal::Refusal;
use crate::seal::SealKey;

/// A caller, as the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Process; none when it lives in another pid namespace.
    pub pid: Option<i32>,
    /// The program, for people; it proves nothing.
    pub exe: Option<String>,
}

impl Peer {
    /// Who connected, by the kernel's word.
    pub(crate) fn of(socket: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let cred = socket.peer_cred()?;
        // Zero: a process of another pid namespace, which has no number here.
        let pid = cred.pid().filter(|pid| *pid > 0);
        Ok(Self { uid: cred.uid(), gid: cred.gid(), pid, exe: pid.and_then(exe_name) })
    }

    /// The terminal that the process sits at, by the kernel's word; none when it has none.
    #[must_use]
    pub fn terminal(&self) -> Option<PathBuf> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        // Behind the name, which may hold anything: state, parent, group, session, terminal (proc(5)).
        let number: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(4)?.parse().ok()?;
        let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
        let path = match major {
            136..=143 => PathBuf::from(format!("/dev/pts/{}", minor + (major - 136) * 256)),
            4 => PathBuf::from(format!("/dev/tty{minor}")),
            _ => return None,
        };
        let device = std::fs::metadata(&path).ok()?;
        (device.rdev() == number && device.uid() == self.uid).then_some(path)
    }

    /// What the journal keeps.
    #[must_use]
    pub fn journal_json(&self) -> Value {
        json!({"uid": self.uid, "gid": self.gid, "pid": self.pid, "exe": self.exe})
    }
}

/// One accepted connection, shared by all its calls.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    /// Never used twice in one run.
    id: u64,
    process: Process,
    seal: SealKey,
    /// Free again when the last user of the connection is gone.
    place: Place,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Connection {
    /// Gives a caller that the kernel knows its place; none when there is no room.
    pub(crate) fn new(
        socket: &tokio::net::UnixStream,
        peer: Peer,
        shares: &Arc<Shares>,
    ) -> std::io::Result<Option<Self>> {
        let process = peer.pid.and_then(Pid::from_raw).map_or(Process::Unknown, Process::open);
        let handle = socket.as_fd().try_clone_to_owned()?;
        let Some(place) = shares.take(&peer, handle) else { return Ok(None) };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Self { peer, id, process, seal: SealKey::default(), place }))
    }

    /// What it may use of the agent.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The caller.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Unique in this run.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The key that secrets are sealed to on this connection.
    #[must_use]
    pub fn seal(&self) -> &SealKey {
        &self.seal
    }

    /// False once the process that connected has ended; asked again before a signature is released.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.process {
            Process::Handle(handle) => {
                let mut fds = [PollFd::new(handle, PollFlags::IN)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                // A pid handle becomes readable when its process ends.
                matches!(poll(&mut fds, Some(&now)), Ok(0))
            }
            Process::Gone => false,
            // The connection itself is the only sign of life then.
            Process::Unknown => true,
        }
    }
}

/// What we hold of the calling process.
#[derive(Debug)]
enum Process {
    Handle(OwnedFd),
    Gone,
    Unknown,
}

impl Process {
    fn open(pid: Pid) -> Self {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Self::Handle(handle),
            Err(rustix::io::Errno::SRCH) => Self::Gone,
            Err(_) => Self::Unknown,
        }
    }
}

/// The connection that a call came on; tonic puts it into the request's extensions.
#[derive(Debug, Clone)]
pub struct ConnectionInfo(pub Arc<Connection>);

/// The connection of a call.
///
/// # Errors
/// `INTERNAL` when the call did not come through the door.
pub fn connection_of<T>(request: &tonic::Request<T>) -> Result<Arc<Connection>, Refusal> {
    request
        .extensions()
        .get::<ConnectionInfo>()
        .map(|info| Arc::clone(&info.0))
        .ok_or_else(|| Refusal::new(Reason::Caller, "the caller of this call is not known"))
}

/// The caller of a call.
///
/// # Errors
/// `CALLER` when the call did not come through the door.
pub fn peer_of<T>(request: &tonic::Request<T>) -> Result<Peer, Refusal> {
    connection_of(request).map(|connection| connection.peer().clone())
}

/// Base name of the program, bounded; control characters are replaced.
fn exe_name(pid: i32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_string_lossy();
    Some(name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
}

/// Primary and supplementary groups of the process.
pub(crate) fn groups(peer: &Peer) -> Vec<u32> {
    let status =
        peer.pid.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default());
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    std::iter::once(peer.gid).chain(line.split_whitespace().filter_map(|group| group.parse().ok())).collect()
}
