//! Accepting: the peer is judged before its first byte is read, and a connection has a place or none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use policy::{Caller, Decision, DoorRules};

use super::peer::groups;
use super::{Connection, ConnectionInfo, Peer};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 256;
/// A peer must have said its HTTP/2 preface by then.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The preface (24 bytes) and the header of the first frame (9).
const HANDSHAKE_BYTES: usize = 33;
/// No group.
const NONE: u32 = u32::MAX;

/// Who may connect beside this user; shared, so that a reload can change it.
#[derive(Debug, Clone)]
pub struct Admission {
    own_uid: u32,
    group: Arc<AtomicU32>,
}

impl Admission {
    /// This user, and the members of the group.
    #[must_use]
    pub fn new(group: Option<u32>) -> Self {
        let own_uid = rustix::process::geteuid().as_raw();
        Self { own_uid, group: Arc::new(AtomicU32::new(group.unwrap_or(NONE))) }
    }

    /// Another group from now on.
    pub fn set_group(&self, group: Option<u32>) {
        self.group.store(group.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Whether this caller may ask; checked at the door and again before a signature leaves.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        let group = self.group.load(Ordering::Relaxed);
        let admitted = if group == NONE { Vec::new() } else { vec![group] };
        // Groups are looked up only where they matter: it costs a read of /proc.
        let gids = if admitted.is_empty() { Vec::new() } else { groups(peer) };
        let rules = DoorRules { own_uid: self.own_uid, groups: admitted };
        policy::admit(&rules, &Caller { uid: peer.uid, gids }) == Decision::Allow
    }
}

/// The stream of admitted connections.
pub struct Incoming<F> {
    listener: UnixListener,
    admission: Admission,
    places: Arc<Semaphore>,
    /// Told of each peer that was turned away.
    turned_away: F,
}

impl<F: Fn(&Peer) + Unpin> Incoming<F> {
    /// Accepts from the listener.
    pub fn new(listener: UnixListener, admission: Admission, turned_away: F) -> Self {
        Self { listener, admission, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), turned_away }
    }

    /// Judges one connection; dropping it closes it without having read from it.
    fn admit(&self, stream: UnixStream) -> Option<Conn> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(limit = MAX_CONNECTIONS, "too many connections, the newest is dropped");
            return None;
        };
        let connection = match Connection::new(&stream, place) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "a peer without credentials is dropped");
                return None;
            }
        };
        if !self.admission.admits(connection.peer()) {
            (self.turned_away)(connection.peer());
            return None;
        }
        let deadline = Some(Box::pin(tokio::time::sleep(HANDSHAKE)));
        Some(Conn { stream, connection: Arc::new(connection), read: 0, deadline })
    }
}

impl<F: Fn(&Peer) + Unpin> Stream for Incoming<F> {
    type Item = io::Result<Conn>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((stream, _))) => {
                    if let Some(conn) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(conn)));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

/// One admitted connection.
pub struct Conn {
    stream: UnixStream,
    connection: Arc<Connection>,
    read: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Connected for Conn {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        ConnectionInfo(Arc::clone(&self.connection))
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no HTTP/2 preface")));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.deadline.is_some() {
            this.read = this.read.saturating_add(buf.filled().len().saturating_sub(before));
            if this.read >= HANDSHAKE_BYTES {
                this.deadline = None;
            }
        }
        polled
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
