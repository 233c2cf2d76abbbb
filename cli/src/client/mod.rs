//! The agent, as commands see it: one connection, one blocking call each request.
//!
//! The runtime is made with the connection, so that commands which need no agent never pay for it. The
//! connection is dialled once and never again behind the caller's back: the sealing key lives and dies with it.

mod calls;
mod cards;
mod collecting;
mod seal;
mod shares;
mod signing;
mod socket;
mod tokens;
mod upload;

pub(crate) use self::collecting::{Collecting, News};
pub(crate) use self::seal::ReplyKey;
pub(crate) use self::shares::{Round, seal_for};
pub(crate) use self::signing::{ReadCall, SignCall, SignCalls, SignStep, Turn};
pub(crate) use self::socket::resolve as resolve_socket;
pub(crate) use self::upload::WireFile;

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::{Failure, reason};
use crate::interrupt;
use crate::render::Screen;

/// A connection to the agent.
pub(crate) struct Agent {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    /// The public key to seal secrets to, once the agent has made it for this connection.
    seal_key: Mutex<Option<Vec<u8>>>,
    /// The socket's path, for messages.
    path: PathBuf,
}

impl Agent {
    /// Connects to the socket at `path`. From here on Ctrl-C ends the process with a failure on `screen`.
    ///
    /// # Errors
    /// `UNREACHABLE` (exit 7) when nothing answers there.
    pub(crate) fn connect(path: &Path, screen: Screen) -> Result<Self, Failure> {
        let stream = connect(path).map_err(|e| unreachable(path, &e))?;
        stream.set_nonblocking(true).map_err(|e| unreachable(path, &e))?;
        // One worker: the connection must live on while a person reads a question.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot start a runtime: {e}")))?;
        let dialled =
            runtime.block_on(async { tokio::time::timeout(Patience::Short.limit(), dial(stream)).await });
        let channel = dialled.map_err(|_| silent(path, Patience::Short))?.map_err(|e| {
            Failure::new(
                reason::UNREACHABLE,
                format!("what listens at {} closed the connection at once: {e}", path.display()),
            )
            .remedy(TURNED_AWAY)
        })?;
        runtime.spawn(interrupt::until_interrupted(screen));
        Ok(Self { runtime, channel, seal_key: Mutex::new(None), path: path.to_owned() })
    }

    /// Waits for the answer to a question that the agent answers from what it has in hand.
    fn ask<T>(&self, call: impl Future<Output = Answer<T>>) -> Result<T, Failure> {
        self.answer(Patience::Short, call)
    }

    /// Waits for work: keys made, files verified, tokens opened.
    fn wait<T>(&self, call: impl Future<Output = Answer<T>>) -> Result<T, Failure> {
        self.answer(Patience::Long, call)
    }

    fn answer<T>(&self, patience: Patience, call: impl Future<Output = Answer<T>>) -> Result<T, Failure> {
        self.within(patience, async { call.await.map(tonic::Response::into_inner) })
    }

    /// The next message of a call that is under way; it may wait for people.
    fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, Failure> {
        self.within(Patience::Long, stream.message())
    }

    fn within<T>(
        &self,
        patience: Patience,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<T, Failure> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(patience.limit(), call).await });
        Ok(answer.map_err(|_| silent(&self.path, patience))??)
    }
}

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

/// For how long an answer is waited for. An agent that hangs whole is found out sooner, as it answers no ping either.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// For what takes an agent milliseconds.
    Short,
    /// For what a slow token, a long journal or a person at a prompt may take; the agent itself ends most of it sooner.
    Long,
}

impl Patience {
    fn limit(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(10),
            Self::Long => Duration::from_secs(15 * 60),
        }
    }
}

/// Connects, and does not wait for ever where the queue of a listener that hangs is full.
fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Patience::Short.limit()))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Speaks HTTP/2 over a stream that is already connected; a second dial fails.
async fn dial(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(stream));
    Endpoint::from_static("http://tuf-agent.local")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move {
                let stream = taken.ok_or_else(|| std::io::Error::other("the connection is gone"))?;
                tokio::net::UnixStream::from_std(stream).map(TokioIo::new)
            }
        }))
        .await
}

fn unreachable(path: &Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let shown = path.display();
    let why = match error.kind() {
        ErrorKind::NotFound => format!("no agent runs: there is no socket at {shown}"),
        ErrorKind::ConnectionRefused => format!("no agent runs: nobody listens at {shown}"),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => return silent(path, Patience::Short),
        ErrorKind::PermissionDenied => format!("the agent at {shown} is not yours: permission denied"),
        _ => format!("cannot reach the agent at {shown}: {error}"),
    };
    Failure::new(reason::UNREACHABLE, why)
        .remedy("start it with `systemctl --user start tuf-agent` or `tuf-agent`, or name its socket with --socket")
        .detail("socket", shown.to_string())
}

/// An agent that does not answer.
fn silent(path: &Path, patience: Patience) -> Failure {
    let seconds = patience.limit().as_secs();
    let why = format!("the agent at {} does not answer (waited {seconds} s)", path.display());
    Failure::new(reason::UNREACHABLE, why)
        .remedy("look into its log and start it anew: systemctl --user restart tuf-agent")
        .detail("socket", path.display().to_string())
}

/// While an answer is awaited, an agent that is alive answers a ping, whatever it is busy with.
const PING_EVERY: Duration = Duration::from_secs(5);
const PONG_WITHIN: Duration = Duration::from_secs(15);
/// What to do about an agent that hangs up, which has no way to say why.
pub(crate) const TURNED_AWAY: &str = "it was ended, serves too many at once or is another user's: try again, then look into its log; \
     or name another socket with --socket";
/// Answers may hold a difference with a thousand names.
const MOST_MESSAGE: usize = 64 << 20;
