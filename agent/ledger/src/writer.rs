//! Who owns the database makes the commits: the ledger's thread, or a caller that is alone, without waking the thread.
//! Everything that waits shares one transaction, so one flush.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::head::{Head, HeadFile};
use crate::mirror::Mirror;
use crate::put_off::PutOff;
use crate::shelf::{Later, Shelf};
use crate::tx::{Committed, Position, Tx, Verdict};
use crate::watchful::Seen;
use crate::{Clock, LedgerError, flush, intents};

/// A request; run inside the transaction. What it gives back is run after the commit, with the commit's failure.
pub(crate) type Work = Box<dyn FnOnce(&mut Tx<'_>) -> Finish + Send>;
/// Tells the caller.
pub(crate) type Finish = Box<dyn FnOnce(Option<&LedgerError>) + Send>;

/// What cannot be done within a transaction; it tells the caller itself.
pub(crate) type Aside = Box<dyn FnOnce(&Connection, Position) + Send>;

/// What is sent to the thread.
pub(crate) enum Job {
    /// Somebody waits for it, and it may write.
    Run(Work),
    /// A question about committed state: answered before the next commit, and none is made for it.
    Look(Work),
    /// One that asks nothing of which rows may be put off.
    Glance(Work),
    /// Done between two transactions, on committed state: a copy of the whole.
    Aside(Aside),
    /// Something lies on the shelf that nobody waits for.
    Later,
    /// Look whether anything could be committed now.
    Probe(oneshot::Sender<Result<(), LedgerError>>),
    /// Write what is left and end.
    Stop,
}

/// Of whoever makes the next commit.
pub(crate) struct Writer {
    pub(crate) db: Connection,
    /// The files as they were when they were opened.
    pub(crate) seen: Seen,
    pub(crate) head: HeadFile,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) position: Position,
    /// What the tables do not say yet.
    pub(crate) put_off: PutOff,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) flushes: Arc<AtomicU64>,
    /// Why nothing can be committed, as it was found last.
    pub(crate) trouble: watch::Sender<Option<LedgerError>>,
    pub(crate) mirror: Arc<Mirror>,
    /// Calls under way that may record an intent.
    pub(crate) under_way: Arc<AtomicUsize>,
    /// How long commits take; one that was slow is forgotten after a few.
    pub(crate) takes: Duration,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("position", &self.position).finish_non_exhaustive()
    }
}

/// The writer, while nobody has it; none once the ledger is closed.
pub(crate) type Desk = Mutex<Option<Writer>>;

/// The longest that a request waits for others to share its flush.
const GATHER: Duration = Duration::from_millis(10);
/// It does not wait on when nobody has come for this long.
const GAP: Duration = Duration::from_micros(500);
/// So many that share a flush need not wait for more.
const ENOUGH: usize = 32;
/// The most requests that share a transaction.
const MOST: usize = 512;
/// So many intents are put off at most.
const MOST_PUT_OFF: usize = 256;
/// Where commits take longer, no caller's own thread waits for one: it may have others to serve.
const QUICK: Duration = Duration::from_millis(10);

/// Serves until `Stop`, or until nobody can send any more.
pub(crate) fn serve(desk: &Desk, shelf: &Shelf, jobs: &Receiver<Job>) {
    let mut queue = Queue::default();
    while !queue.stop {
        queue.fill(jobs, shelf);
        // Whoever panicked while it had the writer has left it in a state that nobody knows.
        let Ok(mut desk) = desk.lock() else { return };
        let Some(writer) = desk.as_mut() else { return };
        writer.answer(&mut queue);
        if !queue.works.is_empty() || shelf.is_due(queue.stop) {
            writer.gather(&mut queue, jobs);
            writer.flush(&mut queue);
        }
        if !queue.probes.is_empty() {
            let found = writer.probe();
            queue.probes.drain(..).for_each(|probe| drop(probe.send(found.clone())));
        }
    }
    if let Some(writer) = desk.lock().ok().and_then(|mut desk| desk.take()) {
        writer.close();
    }
}

impl Writer {
    fn answer(&mut self, queue: &mut Queue) {
        if !queue.asides.is_empty() {
            self.settle();
        }
        queue.asides.drain(..).for_each(|aside| aside(&self.db, self.position));
        let mut tx = Tx::looking(&self.db, &*self.clock, self.position);
        queue.glances.drain(..).for_each(|glance| glance(&mut tx)(None));
        if queue.looks.is_empty() {
            return;
        }
        let settles = !self.put_off.is_empty();
        if settles && let Err(error) = self.sound() {
            // The pages that a transaction touches are forgotten when it is undone: files that somebody has cut or written
            // over are saved from memory before that.
            tx = tx.broken_by(error);
            queue.looks.drain(..).for_each(|look| look(&mut tx)(None));
            return;
        }
        if settles {
            // Rows that are put off are there for the questions, and are not written for them.
            tx = Tx::begin(&self.db, &*self.clock, self.position).with(&self.put_off, None);
            if let Err(error) = tx.attempt(|tx| tx.settle().map(Ok)) {
                tracing::warn!(%error, "rows that are put off could not be shown to a question");
                tx = tx.broken_by(error);
            }
        }
        queue.looks.drain(..).for_each(|look| look(&mut tx)(None));
        drop(tx);
        if settles {
            self.undo();
        }
    }

    /// Where many calls are under way, waits a little for half of them to come, so that they share the flush. A call
    /// that is alone, or one of a few, waits for nobody.
    fn gather(&mut self, queue: &mut Queue, jobs: &Receiver<Job>) {
        let began = Instant::now();
        while !queue.stop && queue.works.len() < (self.under_way.load(Ordering::Relaxed) / 2).min(ENOUGH) {
            let left = GATHER.saturating_sub(began.elapsed()).min(GAP);
            match jobs.recv_timeout(left) {
                Ok(job) => queue.put(job),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => queue.stop = true,
            }
            self.answer(queue);
        }
    }

    /// One transaction for all that waits, one flush, then everyone's answer.
    fn flush(&mut self, queue: &mut Queue) {
        let works = std::mem::take(&mut queue.works);
        let idle = works.is_empty();
        let mut finishes: Vec<Finish> = Vec::with_capacity(works.len());
        let failure = self.commit(idle, |tx| finishes.extend(works.into_iter().map(|work| work(tx))));
        finishes.into_iter().for_each(|finish| finish(failure.as_ref()));
    }

    /// One request at once, by a caller that is alone.
    pub(crate) fn at_once<T>(
        &mut self,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T>,
    ) -> Result<T, LedgerError> {
        let mut answer = Err(LedgerError::Closed);
        let failure = self.commit(false, |tx| answer = tx.attempt_lightly(request));
        failure.map_or(answer, Err)
    }

    /// Whether a caller's own thread may wait for a commit.
    pub(crate) fn is_quick(&self) -> bool {
        self.takes < QUICK
    }

    /// Writes the rows that are put off, best effort: they are read back from the journal otherwise.
    fn settle(&mut self) {
        if self.put_off.is_empty() {
            return;
        }
        let mut settled = Ok(());
        let failure = self.commit(true, |tx| settled = tx.attempt(|tx| tx.settle().map(Ok)));
        if let Some(error) = failure.or(settled.err()) {
            tracing::warn!(%error, "rows that are put off could not be written");
        }
    }

    /// One transaction for `work` and for what lies on the shelf. Gives what made it fail. `idle`: nobody waits for it.
    fn commit(&mut self, idle: bool, work: impl FnOnce(&mut Tx<'_>)) -> Option<LedgerError> {
        let began = Instant::now();
        let mut sound = self.sound();
        if sound.is_ok() && !self.seen.has_room() {
            self.make_room();
            sound = self.seen.is_writable();
        }
        let items = self.shelf.take();
        let tx = Tx::begin(&self.db, &*self.clock, self.position);
        let mut tx = tx.with(&self.put_off, Some(&self.mirror));
        for item in &items {
            if let Err(error) = tx.attempt_lightly(|tx| record_later(tx, item)) {
                tracing::warn!(%error, "an entry of the journal could not be written");
            }
        }
        work(&mut tx);
        if tx.has_news() && (idle || self.put_off.puts().len() >= MOST_PUT_OFF) {
            // Best effort: what is not written stays put off.
            if let Err(error) = tx.attempt(|tx| tx.settle().map(Ok)) {
                tracing::warn!(%error, "rows that are put off could not be written");
            }
        }
        let written = sound.is_ok();
        let committed = sound.and_then(|()| tx.commit());
        let failure = committed.as_ref().err().cloned();
        self.tell(failure.as_ref());
        match committed {
            Ok(committed) => {
                self.advance(committed);
                self.wrote();
            }
            Err(error) => {
                tracing::error!(%error, "the ledger could not commit");
                self.undo();
                if written {
                    self.seen.remember_log();
                }
                self.make_room();
                self.shelf.give_back(items);
            }
        }
        self.takes = began.elapsed().max(self.takes * 3 / 4);
        failure
    }

    fn advance(&mut self, Committed { position, touched, fresh }: Committed) {
        if position != self.position {
            flush::committed();
            self.position = position;
            self.flushes.fetch_add(1, Ordering::Relaxed);
            let head = Head { seq: position.seq, hash: position.hash, state: position.sum.digest() };
            // The commit stands. A head that lags is accepted at start, and the next commit writes it again.
            if let Err(error) = self.head.write(&head) {
                tracing::error!(%error, "the journal's head could not be written");
            }
        }
        let before = if fresh.is_settled() || !touched.is_empty() { 0 } else { self.put_off.puts().len() };
        self.put_off.follow(fresh);
        self.mirror.follow(&Tx::looking(&self.db, &*self.clock, self.position), &touched);
        // What was read from the tables lacks what is put off.
        self.mirror.foresee(self.put_off.puts().iter().skip(before));
    }

    pub(crate) fn undo(&self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the ledger could not undo a failed transaction");
        }
    }

    /// Tells those who watch, when it has changed.
    pub(crate) fn tell(&self, trouble: Option<&LedgerError>) {
        self.trouble.send_if_modified(|known| {
            let changed = known.as_ref() != trouble;
            *known = trouble.cloned();
            changed
        });
    }

    fn close(mut self) {
        self.settle();
        self.keep_head();
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(%error, "the ledger could not be closed");
        }
    }
}

/// What waits for the next transaction.
#[derive(Default)]
struct Queue {
    works: Vec<Work>,
    looks: Vec<Work>,
    glances: Vec<Work>,
    asides: Vec<Aside>,
    probes: Vec<oneshot::Sender<Result<(), LedgerError>>>,
    stop: bool,
}

impl Queue {
    /// Waits for something, then takes all that is there.
    fn fill(&mut self, jobs: &Receiver<Job>, shelf: &Shelf) {
        let first = match shelf.nap() {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(nap) => jobs.recv_timeout(nap),
        };
        match first {
            Ok(job) => self.put(job),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => self.stop = true,
        }
        while self.works.len() + self.looks.len() + self.glances.len() < MOST
            && let Ok(job) = jobs.try_recv()
        {
            self.put(job);
        }
    }

    fn put(&mut self, job: Job) {
        match job {
            Job::Run(work) => self.works.push(work),
            Job::Look(look) => self.looks.push(look),
            Job::Glance(glance) => self.glances.push(glance),
            Job::Aside(aside) => self.asides.push(aside),
            Job::Probe(probe) => self.probes.push(probe),
            Job::Stop => self.stop = true,
            Job::Later => {}
        }
    }
}

fn record_later(tx: &mut Tx<'_>, item: &Later) -> Verdict<()> {
    match item {
        Later::Outcome(id, outcome) => intents::record_outcome(tx, *id, outcome),
        Later::Event(kind, body) => tx.append_alone(kind, body.clone()).map(|_| Ok(())),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
