//! Accepting: the peer is judged before its first byte is read, and a connection has a place or none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use policy::{Caller, Decision, DoorRules};

use super::peer::groups;
use super::{Connection, ConnectionInfo, Peer, Shares};
use crate::limits::{HANDSHAKE, HANDSHAKE_BYTES};

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
    shares: Arc<Shares>,
    /// Told of each peer that was turned away, and why.
    turned_away: F,
    /// Until when nothing is accepted, after the system had no room for one more.
    pause: Option<Pin<Box<Sleep>>>,
    /// How many came in since everybody else had a turn.
    burst: u8,
}

/// Why a peer was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its user may not connect.
    Stranger,
    /// It, or its user, or all together have as many connections at work as they may.
    TooMany,
}

impl<F: Fn(&Peer, TurnedAway) + Unpin> Incoming<F> {
    /// Accepts from the listener.
    pub fn new(listener: UnixListener, admission: Admission, shares: Arc<Shares>, turned_away: F) -> Self {
        Self { listener, admission, shares, turned_away, pause: None, burst: 0 }
    }

    /// Judges one connection; dropping it closes it without having read from it.
    fn admit(&self, stream: UnixStream) -> Option<Conn> {
        let admitted = Peer::of(&stream).and_then(|peer| {
            if !self.admission.admits(&peer) {
                (self.turned_away)(&peer, TurnedAway::Stranger);
                return Ok(None);
            }
            let connection = Connection::new(&stream, peer.clone(), &self.shares)?;
            if connection.is_none() {
                (self.turned_away)(&peer, TurnedAway::TooMany);
            }
            Ok(connection)
        });
        let connection = match admitted {
            Ok(connection) => connection?,
            Err(error) => {
                tracing::debug!(%error, "a peer without credentials, or for which no file is left, is dropped");
                return None;
            }
        };
        let deadline = Some(Box::pin(tokio::time::sleep(HANDSHAKE)));
        Some(Conn { stream, connection: Arc::new(connection), read: 0, deadline })
    }

    /// After a failure that would only repeat itself: room is made, and the next look comes a little later.
    fn hold_on(&mut self, error: &io::Error) {
        tracing::warn!(%error, "a connection could not be accepted: idle ones make room");
        self.shares.make_room();
        self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
    }
}

/// So many connections come in before everybody else has had a turn.
const BURST: u8 = 8;

/// How long nothing is accepted after the system had no room for one more.
const PAUSE: Duration = Duration::from_millis(100);

impl<F: Fn(&Peer, TurnedAway) + Unpin> Stream for Incoming<F> {
    type Item = io::Result<Conn>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            if self.burst >= BURST {
                // Callers that are here already get their turn before more come in.
                self.burst = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.burst = self.burst.saturating_add(1);
            match self.listener.poll_accept(cx) {
                Poll::Pending => {
                    self.burst = 0;
                    return Poll::Pending;
                }
                Poll::Ready(Ok((stream, _))) => {
                    if let Some(conn) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(conn)));
                    }
                }
                // The peer was faster; there is nothing to wait for.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // The door was closed.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(error)) => self.hold_on(&error),
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
