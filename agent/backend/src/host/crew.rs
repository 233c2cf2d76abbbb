//! Several signatures at once, each in a session and on a thread of its own: for modules that may be used so, as their
//! configuration says (FAULTS 14, D8).
//!
//! The helper's own thread keeps the token. It lends a session and the handle of a key that it has found before, and goes on
//! to the next request. A thread that has made its signature answers by itself and brings the session back. An error it
//! brings back without the session, which it has closed. What follows from that is done as ever, by the helper's own thread,
//! when all are back. So is everything that is no signature: login, logout and keys that take the PIN for each signature
//! meet a module in which nobody else is at work. A thread that the module does not give back keeps them waiting, until the
//! deadline of the agent ends the helper.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::faults::Fault;
use super::lane::{self, Ask, Told};
use super::sign;
use super::single::SingleSign;
use super::token::TokenHost;
use crate::doctor::How;

/// The threads, and what they have in hand.
pub(super) struct Crew {
    orders: Sender<Order>,
    done: Receiver<Done>,
    /// Has a byte for each of `done`; ends when a thread does.
    bell: UnixStream,
    lane: Arc<OwnedFd>,
    at_work: usize,
    failed: Vec<(Vec<u8>, Fault)>,
}

/// A signature to be made.
struct Order {
    /// As it came; it is an [`Ask`].
    message: Vec<u8>,
    key: ObjectHandle,
    session: Session,
}

/// What became of it.
enum Done {
    Told(Session),
    /// The session is of no use any more.
    Failed(Vec<u8>, Fault),
}

/// The agent has gone, or the threads.
#[derive(Debug, thiserror::Error)]
#[error("the threads that sign, or the agent, are gone")]
pub(super) struct Gone;

impl Crew {
    /// So many threads, which answer on `lane`.
    pub(super) fn new(threads: usize, single: &SingleSign, lane: &Arc<OwnedFd>) -> std::io::Result<Self> {
        let (orders, waiting) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        let (bell, ring) = UnixStream::pair()?;
        let (waiting, ring) = (Arc::new(Mutex::new(waiting)), Arc::new(ring));
        for _ in 0..threads {
            let hand = Hand {
                waiting: Arc::clone(&waiting),
                tell: tell.clone(),
                ring: Arc::clone(&ring),
                lane: Arc::clone(lane),
                single: single.clone(),
            };
            std::thread::Builder::new().name("signs".to_owned()).spawn(move || hand.work())?;
        }
        Ok(Self { orders, done, bell, lane: Arc::clone(lane), at_work: 0, failed: Vec::new() })
    }

    /// Has a request answered by one of the threads, as soon as there is a session for it. False: it is nothing for them.
    pub(super) fn give(&mut self, host: &mut TokenHost, message: &[u8]) -> Result<bool, Gone> {
        let Some(ask) = Ask::decode(message) else { return Ok(false) };
        loop {
            if let Some((key, session)) = host.lend(ask.key) {
                self.orders.send(Order { message: message.to_vec(), key, session }).map_err(|_| Gone)?;
                self.at_work += 1;
                return Ok(true);
            }
            if self.at_work == 0 {
                return Ok(false);
            }
            self.take_back(host)?;
        }
    }

    /// Waits for the next one to come back.
    pub(super) fn take_back(&mut self, host: &mut TokenHost) -> Result<(), Gone> {
        self.take_one(host)?;
        if self.failed.is_empty() { Ok(()) } else { self.rest(host) }
    }

    /// Waits until all are back, and sees to what went wrong.
    pub(super) fn rest(&mut self, host: &mut TokenHost) -> Result<(), Gone> {
        while self.at_work > 0 {
            self.take_one(host)?;
        }
        for (message, fault) in std::mem::take(&mut self.failed) {
            let Some(ask) = Ask::decode(&message) else { continue };
            let outcome = match sign::scheme(ask.scheme) {
                Ok(scheme) => host.sign_after(fault, ask.key, scheme, How::InOrder, ask.data),
                Err(error) => Err(error),
            };
            lane::send(&self.lane, &Told { id: ask.id, outcome }.encode(), true).map_err(|_| Gone)?;
        }
        Ok(())
    }

    fn take_one(&mut self, host: &mut TokenHost) -> Result<(), Gone> {
        self.bell.read_exact(&mut [0]).map_err(|_| Gone)?;
        let done = self.done.recv().map_err(|_| Gone)?;
        self.at_work = self.at_work.saturating_sub(1);
        match done {
            Done::Told(session) => host.give_back(Some(session)),
            Done::Failed(message, fault) => {
                host.give_back(None);
                self.failed.push((message, fault));
            }
        }
        Ok(())
    }
}

/// Can be read from when one has come back.
impl AsFd for Crew {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// One thread.
struct Hand {
    waiting: Arc<Mutex<Receiver<Order>>>,
    tell: Sender<Done>,
    ring: Arc<UnixStream>,
    lane: Arc<OwnedFd>,
    single: SingleSign,
}

impl Hand {
    /// Until the helper ends.
    fn work(&self) {
        loop {
            let order = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(order) = order else { return };
            let done = self.make(order);
            if self.tell.send(done).is_err() || (&*self.ring).write_all(&[0]).is_err() {
                return;
            }
        }
    }

    fn make(&self, Order { message, key, session }: Order) -> Done {
        match self.signature(&message, key, &session) {
            Ok((id, signature)) => {
                // An agent that is gone is seen by the helper's own thread.
                let _ = lane::send(&self.lane, &Told { id, outcome: Ok(signature) }.encode(), true);
                Done::Told(session)
            }
            Err(fault) => Done::Failed(message, fault),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        key: ObjectHandle,
        session: &Session,
    ) -> Result<(u64, Vec<u8>), Fault> {
        let ask = Ask::decode(message).ok_or_else(sign::no_request)?;
        let ways = sign::ways(sign::scheme(ask.scheme)?, How::InOrder, ask.data)?;
        let one = |way: &sign::Way<'_>| self.single.sign_whole(session, &way.mechanism, key, &way.data);
        Ok((ask.id, ways.first_that_it_has(one)?))
    }
}

/// Also by a panic: nobody waits then for what never comes back.
impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.ring.shutdown(Shutdown::Both);
    }
}
