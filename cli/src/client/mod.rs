//! The agent, as commands see it: one connection, one blocking call each request.
//!
//! The runtime is made with the connection, so that commands which need no agent never pay for it. The
//! connection is dialled once and never again behind the caller's back: the sealing key lives and dies with it.

mod calls;
mod seal;
mod signing;
mod socket;
mod upload;

pub(crate) use self::signing::{SignCall, SignStep};
pub(crate) use self::socket::resolve as resolve_socket;
pub(crate) use self::upload::WireFile;

use std::cell::RefCell;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::{Failure, reason};
use crate::render::Screen;

/// A connection to the agent.
pub(crate) struct Agent {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    /// The public key to seal secrets to, once the agent has made it for this connection.
    seal_key: RefCell<Option<Vec<u8>>>,
}

impl Agent {
    /// Connects to the socket at `path`. From here on Ctrl-C ends the process with a failure on `screen`.
    ///
    /// # Errors
    /// `UNREACHABLE` (exit 7) when nothing answers there.
    pub(crate) fn connect(path: &Path, screen: Screen) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).map_err(|e| unreachable(path, &e))?;
        stream.set_nonblocking(true).map_err(|e| unreachable(path, &e))?;
        // One worker: the connection must live on while a person reads a question.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot start a runtime: {e}")))?;
        let channel = runtime.block_on(dial(stream)).map_err(|e| {
            Failure::new(
                reason::UNREACHABLE,
                format!("what listens at {} is no tuf-agent: {e}", path.display()),
            )
        })?;
        runtime.spawn(watch_interrupt(screen));
        Ok(Self { runtime, channel, seal_key: RefCell::new(None) })
    }

    /// Waits for an answer.
    fn wait<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Failure> {
        Ok(self.runtime.block_on(call)?.into_inner())
    }
}

/// Ctrl-C: say so and end. The connection closes with the process, and the agent cancels what it was doing; files
/// are written whole or not at all, so there is nothing to clean up.
async fn watch_interrupt(screen: Screen) {
    if tokio::signal::ctrl_c().await.is_ok() {
        let code = screen.finish(Err(
            Failure::cancelled("cancelled").remedy("run it again: what was done so far is kept")
        ));
        std::process::exit(i32::from(code));
    }
}

/// Speaks HTTP/2 over a stream that is already connected; a second dial fails.
async fn dial(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(stream));
    Endpoint::from_static("http://tuf-agent.local")
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
    let path = path.display();
    let why = match error.kind() {
        ErrorKind::NotFound => format!("no agent runs: there is no socket at {path}"),
        ErrorKind::ConnectionRefused => format!("no agent runs: nobody listens at {path}"),
        ErrorKind::PermissionDenied => format!("the agent at {path} is not yours: permission denied"),
        _ => format!("cannot reach the agent at {path}: {error}"),
    };
    Failure::new(reason::UNREACHABLE, why)
        .remedy("start it with `systemctl --user start tuf-agent` or `tuf-agent`, or name its socket with --socket")
        .detail("socket", path.to_string())
}

/// Answers may hold a difference with a thousand names.
const MOST_MESSAGE: usize = 64 << 20;
