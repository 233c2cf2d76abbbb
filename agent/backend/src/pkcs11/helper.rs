//! One helper process, seen from the agent: started by exec, called with deadlines, killed when it
//! does not answer.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::bounded;
use super::group::Group;
use super::lane::Lane;
use super::meanwhile::Listener;
use super::place::{Module, Place};
use super::said;
use super::trouble::traced;
use crate::BackendError;
use crate::host::confine::Confinement;
use crate::host::protocol::{self, Caps, HostError, Reply, Request, WireError};
use crate::traced::tracer;

/// A helper that runs. Dropping it kills it, and what its module has started.
pub(crate) struct Helper {
    child: Child,
    group: Arc<Group>,
    stream: UnixStream,
    lane: Arc<Lane>,
    last_id: u64,
    /// The slot of its module that it is asking.
    asks: Option<u64>,
}

/// Why a call gave nothing.
pub(crate) enum CallError {
    /// The helper answered that it could not.
    Host(HostError),
    /// The helper is of no use any more: dead, late, or talking nonsense. Says what it did.
    Broken(String),
}

impl Helper {
    /// Starts `exe host-token NAME` with the environment of the configuration and the locale, and
    /// nothing else. `on_end` is called, on a thread of its own, when the process has closed its stderr.
    pub(crate) fn start(
        exe: &Path,
        config: &Place,
        on_end: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut command = Command::new(exe);
        command.arg0("tuf-agent").arg("host-token").arg(config.name.as_str());
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| is_locale(name))).envs(&config.env);
        command.current_dir("/").process_group(0);
        // The sockets are standard input and output, so that no other child of the agent can inherit them; the helper
        // moves them away at once.
        let (lane, their_lane) = crate::host::lane::pair()?;
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(their_lane))
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (stderr, group) = (child.stderr.take(), Arc::new(Group::of(&child)));
        let ends = Arc::clone(&group);
        let helper = Self { child, group, stream, lane: Arc::new(Lane::new(lane)), last_id: 0, asks: None };
        // A child of it would keep its end of the connections open, and stderr.
        let thread = std::thread::Builder::new().name("helper-end".to_owned());
        thread.spawn(move || ends.end_with_leader())?;
        if let Some(stderr) = stderr {
            let name = config.name.to_string();
            std::thread::Builder::new().name("helper-log".to_owned()).spawn(move || {
                said::log_lines(&name, stderr);
                on_end();
            })?;
        }
        Ok(helper)
    }

    /// Where it takes small signatures.
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// In which slot of its module it is, where that does not come back.
    pub(crate) const fn hangs_in(&self) -> Option<u64> {
        self.asks
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Before a secret is sent to it: nobody traces it, and so could read along.
    pub(crate) fn not_traced(&self) -> Result<(), BackendError> {
        let seen = match tracer(&self.pid().to_string()) {
            Ok(None) => return Ok(()),
            Ok(Some(tracer)) => {
                format!("process {tracer} traces the token's helper, and would see the secret")
            }
            Err(error) => format!("whether the token's helper is traced cannot be seen: {error}"),
        };
        Err(traced(seen))
    }

    /// How it ended, when it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.group.has_ended().then(|| self.child.try_wait().ok().flatten()).flatten()
    }

    /// One request and its answer, both within `limit`.
    pub(crate) fn call(
        &mut self,
        request: &Request,
        tail: &[&[u8]],
        limit: Duration,
    ) -> Result<(Reply, Zeroizing<Vec<u8>>), CallError> {
        self.call_aloud(request, tail, limit, &())
    }

    /// The same; `listener` hears what the helper says before it answers.
    pub(crate) fn call_aloud(
        &mut self,
        request: &Request,
        tail: &[&[u8]],
        limit: Duration,
        listener: &dyn Listener,
    ) -> Result<(Reply, Zeroizing<Vec<u8>>), CallError> {
        self.last_id = self.last_id.wrapping_add(1);
        let deadline = Instant::now().checked_add(limit);
        protocol::write_frame(&self.stream, self.last_id, request, tail, deadline)
            .map_err(|error| self.broken(error, limit))?;
        loop {
            let frame = protocol::read_frame(&self.stream, Caps::REPLY, deadline)
                .map_err(|error| self.broken(error, limit))?;
            if frame.id != self.last_id {
                return Err(CallError::Broken("answered a question that was not asked".to_owned()));
            }
            match bounded::reply(&frame.head) {
                Ok(Reply::AsksSlot { slot }) => self.asks = slot,
                Ok(Reply::Asked) => listener.asked(),
                Ok(Reply::Presents) => {
                    let word = Request::Present { counted: listener.presents() };
                    protocol::write_frame(&self.stream, self.last_id, &word, &[], deadline)
                        .map_err(|error| self.broken(error, limit))?;
                }
                Ok(Reply::Presented { accepted }) => listener.presented(accepted),
                Ok(Reply::Error(error)) => return Err(CallError::Host(error)),
                Ok(reply) => return Ok((reply, frame.tail)),
                Err(error) => return Err(self.broken(error, limit)),
            }
        }
    }

    /// Has it confine itself to what the entry of the module that it opened allows: what it is kept from. That is told
    /// before the module runs, which cannot say so itself.
    pub(crate) fn confine(&mut self, module: &Module, limit: Duration) -> Result<Confinement, CallError> {
        match self.call(&Request::Confine(module.limits.clone()), &[], limit)?.0 {
            Reply::Confined(confinement) => Ok(confinement),
            _ => Err(CallError::Broken(NONSENSE.to_owned())),
        }
    }

    /// Has it load the module then: the module's name for itself.
    pub(crate) fn load(&mut self, limit: Duration) -> Result<String, CallError> {
        match self.call(&Request::Load, &[], limit)?.0 {
            Reply::Loaded { library } => Ok(library),
            _ => Err(CallError::Broken(NONSENSE.to_owned())),
        }
    }

    /// Lets it finish what it does, log out and end its module (C_Finalize), for a moment.
    pub(crate) fn stop(mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let end = Instant::now() + GRACE;
        while self.ended().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// It has closed its end of a connection.
    pub(crate) fn how_it_ended(&mut self) -> String {
        // Its end is seen on the socket a moment before it can be waited for.
        let end = Instant::now() + GRACE;
        while self.ended().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ended().map_or_else(|| "hung up".to_owned(), |status| format!("died ({status})"))
    }

    fn broken(&mut self, error: WireError, limit: Duration) -> CallError {
        CallError::Broken(match error {
            WireError::Deadline => format!("did not answer within {} s and was killed", limit.as_secs_f32()),
            WireError::Closed => self.how_it_ended(),
            other => format!("failed: {other}"),
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.group.has_ended() {
            self.group.end();
            let _ = self.child.kill();
            while !self.group.has_ended() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let _ = self.child.wait();
    }
}

fn is_locale(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_"))
}

pub(super) const NONSENSE: &str = "gave an answer that does not belong to the question";
const GRACE: Duration = Duration::from_secs(1);
