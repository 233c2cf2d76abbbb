//! A few threads that wait for the disk together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use crate::error::Failure;

/// What is done with one item; told of progress, it passes it on.
pub(super) type Work<'w, T> = dyn Fn(&T, &dyn Fn(u64)) -> Result<(), Failure> + Sync + 'w;

/// Does one piece of work for each item on a few threads, until one fails; `tick` is told of progress on this one.
pub(super) fn on_threads<T: Sync>(
    items: &[T],
    work: &Work<'_, T>,
    tick: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let has_failed = || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    std::thread::scope(|scope| {
        let (sender, progress) = mpsc::channel();
        for _ in 0..THREADS.min(items.len()) {
            let sender = sender.clone();
            let (next, failed) = (&next, &failed);
            scope.spawn(move || {
                let tick = |more| {
                    let _ = sender.send(more);
                };
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if has_failed() {
                        break;
                    }
                    if let Err(failure) = work(item, &tick) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                    }
                }
            });
        }
        drop(sender);
        progress.into_iter().for_each(tick);
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Those that flush at the same time share what the disk does for them.
const THREADS: usize = 16;
