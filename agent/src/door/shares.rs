//! What each caller uses of the agent: connections, calls, bytes.
//!
//! Duty: one caller that floods cannot keep another from its answer. A full house makes room by closing an idle
//! connection of whoever holds the most; calls and bytes over a share are refused with `LIMIT`.
//! Invariants: whatever is taken is given back by dropping what stands for it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::Reason;
use rustix::net::Shutdown;

use super::Peer;
use crate::limits;
use crate::refusal::Refusal;

/// Whose share something is: a process of a user, or all of a user's where the process has no number here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Holder {
    uid: u32,
    pid: Option<i32>,
}

/// The account of all callers.
#[derive(Debug)]
pub struct Shares {
    connections: usize,
    bytes: u64,
    began: Instant,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    seats: HashMap<u64, Seat>,
    calls: HashMap<Holder, usize>,
    bytes: HashMap<Holder, u64>,
    next: u64,
}

/// One connection.
#[derive(Debug)]
struct Seat {
    holder: Holder,
    /// To close it by, whatever its own task is doing.
    socket: OwnedFd,
    opened: Duration,
    /// When a call last began or ended.
    last: Duration,
    calls: HashMap<u64, Arc<Progress>>,
    called: bool,
}

/// How far the answer of one call has come.
#[derive(Debug)]
struct Progress {
    /// Milliseconds of the account's clock since which the client has taken nothing; zero: it has nothing to take.
    stalled: AtomicU64,
    patience: Duration,
}

impl Shares {
    /// For so many connections, and so many bytes of files in calls under way.
    #[must_use]
    pub fn new(connections: usize, bytes: u64) -> Arc<Self> {
        Arc::new(Self { connections, bytes, began: Instant::now(), book: Mutex::default() })
    }

    /// A place for a connection; none when the house is full of connections that are at work.
    pub(super) fn take(self: &Arc<Self>, peer: &Peer, socket: OwnedFd) -> Option<Place> {
        let holder = Holder { uid: peer.uid, pid: peer.pid };
        let now = self.now();
        let mut book = self.book();
        let room =
            book.has_room_for(holder, self.connections) || book.make_room(holder, self.connections, now);
        if !room {
            return None;
        }
        let id = book.next_id();
        let seat = Seat { holder, socket, opened: now, last: now, calls: HashMap::new(), called: false };
        book.seats.insert(id, seat);
        Some(Place { shares: Arc::clone(self), holder, id })
    }

    /// Closes one idle connection, when the process can open no more files.
    pub(super) fn make_room(&self) {
        let now = self.now();
        self.book().evict(now, |_| true);
    }

    /// Closes what is past its deadline; gives how many were closed.
    pub fn sweep(&self) -> usize {
        let now = self.now();
        let book = self.book();
        let overdue = book.seats.values().filter(|seat| seat.is_overdue(now));
        overdue.map(|seat| close(&seat.socket)).count()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it is held; were it so, the counts are still usable.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn next_id(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn connections_of(&self, of: impl Fn(&Holder) -> bool) -> usize {
        self.seats.values().filter(|seat| of(&seat.holder)).count()
    }

    fn has_room_for(&self, holder: Holder, limit: usize) -> bool {
        let (user, process) = shares_of(limit);
        self.seats.len() < limit
            && self.connections_of(|other| other.uid == holder.uid) < user
            && self.connections_of(|other| *other == holder) < process
    }

    /// Over the share of a process or user it is their own connection that goes.
    fn make_room(&mut self, holder: Holder, limit: usize, now: Duration) -> bool {
        let (user, process) = shares_of(limit);
        if self.connections_of(|other| *other == holder) >= process {
            self.evict(now, |other| *other == holder)
        } else if self.connections_of(|other| other.uid == holder.uid) >= user {
            self.evict(now, |other| other.uid == holder.uid)
        } else {
            self.evict(now, |_| true)
        }
    }

    /// Closes an idle connection: of whoever has the most, one without any call first, the longest idle first.
    fn evict(&mut self, now: Duration, of: impl Fn(&Holder) -> bool) -> bool {
        let mut held: HashMap<Holder, usize> = HashMap::new();
        for seat in self.seats.values() {
            *held.entry(seat.holder).or_default() += 1;
        }
        let count = |seat: &Seat| held.get(&seat.holder).copied().unwrap_or(0);
        let spare = |seat: &Seat| {
            let in_use = seat.called && count(seat) == 1 && seat.idle(now) < limits::STILL_USED;
            seat.calls.is_empty() && of(&seat.holder) && !in_use
        };
        let idle = self.seats.iter().filter(|(_, seat)| spare(seat));
        let first = idle.max_by_key(|(_, seat)| (count(seat), !seat.called, seat.idle(now)));
        let Some(id) = first.map(|(id, _)| *id) else { return false };
        if let Some(seat) = self.seats.remove(&id) {
            close(&seat.socket);
        }
        true
    }
}

/// The shares of one user and one process, where so many connections fit.
fn shares_of(limit: usize) -> (usize, usize) {
    let part = |of: usize| (of * limit / limits::CONNECTIONS).max(4);
    (part(limits::CONNECTIONS_OF_USER), part(limits::CONNECTIONS_OF_PROCESS))
}

impl Seat {
    fn idle(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last)
    }

    fn is_overdue(&self, now: Duration) -> bool {
        if self.calls.is_empty() {
            let unused = !self.called && now.saturating_sub(self.opened) > limits::FIRST_CALL;
            return unused || self.idle(now) > limits::IDLE;
        }
        self.calls.values().any(|call| call.is_overdue(now))
    }
}

impl Progress {
    fn is_overdue(&self, now: Duration) -> bool {
        let since = Duration::from_millis(self.stalled.load(Ordering::Relaxed));
        !since.is_zero() && now.saturating_sub(since) > self.patience
    }
}

fn close(socket: &OwnedFd) {
    // Both ends hear of it at once; one that is closed already needs nothing.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    shares: Arc<Shares>,
    holder: Holder,
    id: u64,
}

impl Place {
    /// A place for one more call.
    ///
    /// # Errors
    /// `LIMIT` when the process, its user or all callers together have as many under way as they may.
    pub(crate) fn begin_call(&self, patience: Duration) -> Result<CallPlace, Refusal> {
        let now = self.shares.now();
        let mut book = self.shares.book();
        let of_process = book.calls.get(&self.holder).copied().unwrap_or(0);
        let of_user: usize = book
            .calls
            .iter()
            .filter(|(holder, _)| holder.uid == self.holder.uid)
            .map(|(_, calls)| calls)
            .sum();
        let all: usize = book.calls.values().sum();
        let over = [
            (of_process >= limits::CALLS_OF_PROCESS, "this process", limits::CALLS_OF_PROCESS),
            (of_user >= limits::CALLS_OF_USER, "this user", limits::CALLS_OF_USER),
            (all >= limits::CALLS, "the agent", limits::CALLS),
        ];
        if let Some((_, who, limit)) = over.into_iter().find(|(over, ..)| *over) {
            let message = format!("{who} has {limit} calls under way, which is the limit");
            return Err(Refusal::new(Reason::Limit, message)
                .remedy("wait until some of them have ended, then ask again")
                .detail("limit", limit));
        }
        let id = book.next_id();
        let progress = Arc::new(Progress { stalled: AtomicU64::new(0), patience });
        if let Some(seat) = book.seats.get_mut(&self.id) {
            seat.called = true;
            seat.last = now;
            seat.calls.insert(id, Arc::clone(&progress));
        }
        *book.calls.entry(self.holder).or_default() += 1;
        let (shares, holder, seat) = (Arc::clone(&self.shares), self.holder, self.id);
        Ok(CallPlace { shares, holder, seat, id, progress })
    }

    /// The bytes that one call holds; none yet.
    pub(crate) fn bytes(&self) -> HeldBytes {
        HeldBytes {
            shares: Some(Arc::clone(&self.shares)),
            holder: self.holder,
            free: limits::BYTES_FREE,
            held: 0,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares.book().seats.remove(&self.id);
    }
}

/// A call's place; free again when dropped.
#[derive(Debug)]
pub struct CallPlace {
    shares: Arc<Shares>,
    holder: Holder,
    seat: u64,
    id: u64,
    progress: Arc<Progress>,
}

impl CallPlace {
    /// There is something for the client to take, and it has just taken what was there before.
    pub(crate) fn offers(&self) {
        let now = u64::try_from(self.shares.now().as_millis()).unwrap_or(u64::MAX);
        self.progress.stalled.store(now.max(1), Ordering::Relaxed);
    }

    /// The client has taken all that there is; more is being made.
    pub(crate) fn waits(&self) {
        self.progress.stalled.store(0, Ordering::Relaxed);
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        let now = self.shares.now();
        let mut book = self.shares.book();
        if let Some(seat) = book.seats.get_mut(&self.seat) {
            seat.calls.remove(&self.id);
            seat.last = now;
        }
        give_back(&mut book.calls, self.holder, 1);
    }
}

/// Bytes of files that one call holds; given back when dropped.
#[derive(Debug)]
pub struct HeldBytes {
    /// None: nobody counts.
    shares: Option<Arc<Shares>>,
    holder: Holder,
    free: u64,
    held: u64,
}

impl HeldBytes {
    /// For files that come from no caller.
    #[must_use]
    pub fn uncounted() -> Self {
        Self { shares: None, holder: Holder { uid: 0, pid: None }, free: u64::MAX, held: 0 }
    }

    /// Holds so many bytes more.
    ///
    /// # Errors
    /// `LIMIT` when the process would hold over half of what there is, or its user over three quarters, or nothing is left.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        let counted = bytes.saturating_sub(self.free);
        self.free = self.free.saturating_sub(bytes);
        let Some(shares) = self.shares.as_ref().filter(|_| counted > 0) else { return Ok(()) };
        let mut book = shares.book();
        let own = book.bytes.get(&self.holder).copied().unwrap_or(0).saturating_add(counted);
        let all = book.bytes.values().sum::<u64>().saturating_add(counted);
        let users = book.bytes.iter().filter(|(holder, _)| holder.uid == self.holder.uid);
        let of_user = users.map(|(_, bytes)| *bytes).sum::<u64>().saturating_add(counted);
        let room = shares.bytes;
        if own > room / 2 || of_user > room - room / 4 || all > room {
            let message = "the files of calls under way fill the room that the agent has for them".to_owned();
            return Err(Refusal::new(Reason::Limit, message)
                .remedy("wait until other calls have ended, or sign fewer large roles at once")
                .detail("bytes", shares.bytes));
        }
        book.bytes.insert(self.holder, own);
        self.held = self.held.saturating_add(counted);
        Ok(())
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if let Some(shares) = self.shares.as_ref().filter(|_| self.held > 0) {
            give_back(&mut shares.book().bytes, self.holder, self.held);
        }
    }
}

/// Takes from a holder's count, and forgets a holder that has nothing.
fn give_back<N: Copy + PartialEq + Default + std::ops::Sub<Output = N> + PartialOrd>(
    counts: &mut HashMap<Holder, N>,
    holder: Holder,
    number: N,
) {
    let left = counts.get(&holder).copied().filter(|count| *count > number);
    match left {
        Some(count) => {
            counts.insert(holder, count - number);
        }
        None => {
            counts.remove(&holder);
        }
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
