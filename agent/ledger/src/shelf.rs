//! What nobody waits for: it joins the next commit, whoever makes it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{IntentId, Outcome};

/// Something that joins the next commit, and the one after if that fails.
pub(crate) enum Later {
    Outcome(IntentId, Outcome),
    Event(String, Value),
}

/// How long something may wait for a commit to join.
const LINGER: Duration = Duration::from_millis(100);
/// How long it waits after a commit that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often the thread looks in vain before it waits to be told.
const LOOKS: u32 = 10;
/// The most that is kept while commits fail.
const MOST: usize = 8192;

/// The items, oldest first.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Shelved>);

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shelved {
    items: VecDeque<Later>,
    /// When they shall be written even if nobody asks for anything.
    due: Option<Instant>,
    /// The thread looks again soon by itself: so often it still will.
    looks: u32,
}

impl Shelf {
    /// Adds something. True: the thread must be told of it.
    pub(crate) fn put(&self, item: Later) -> bool {
        let mut shelf = self.lock();
        if shelf.items.len() >= MOST {
            tracing::error!("too many entries wait for the journal: the oldest is lost");
            shelf.items.pop_front();
        }
        shelf.items.push_back(item);
        shelf.due.get_or_insert_with(|| Instant::now() + LINGER);
        let told = shelf.looks == 0;
        shelf.looks = LOOKS;
        told
    }

    /// Takes all of it, for a commit.
    pub(crate) fn take(&self) -> VecDeque<Later> {
        let mut shelf = self.lock();
        shelf.due = None;
        std::mem::take(&mut shelf.items)
    }

    /// After a commit that failed.
    pub(crate) fn give_back(&self, mut items: VecDeque<Later>) {
        let mut shelf = self.lock();
        items.append(&mut shelf.items);
        shelf.due = (!items.is_empty()).then(|| Instant::now() + RETRY);
        shelf.items = items;
    }

    /// Whether something must not wait any longer; at the end, nothing may.
    pub(crate) fn is_due(&self, end: bool) -> bool {
        let shelf = self.lock();
        !shelf.items.is_empty() && (end || shelf.due.is_some_and(|due| due <= Instant::now()))
    }

    /// How long the thread may sleep; none: until it is told.
    pub(crate) fn nap(&self) -> Option<Duration> {
        let mut shelf = self.lock();
        match shelf.due {
            Some(due) => Some(due.saturating_duration_since(Instant::now())),
            // Others make commits too and take what was due: telling the thread each time would cost more than its looks.
            None if shelf.looks > 0 => {
                shelf.looks -= 1;
                (shelf.looks > 0).then_some(LINGER)
            }
            None => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
