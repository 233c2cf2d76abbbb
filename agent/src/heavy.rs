//! Work on metadata: what takes a while never on a thread that serves others, and large work in a few places only, so that small
//! requests find a processor.

use std::sync::LazyLock;

use tokio::sync::Semaphore;

use crate::limits::{IN_PLACE, IN_PLACE_AT_ONCE, SMALL_WORK};
use crate::refusal::Refusal;

/// Half of the processors, at least one.
static LARGE: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    Semaphore::new((processors / 2).max(1))
});

/// Does work on so many bytes, or such as takes as long: a few at once, where it is; otherwise first come, first served where
/// they are many.
///
/// # Errors
/// `INTERNAL` when the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    bytes: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if bytes <= IN_PLACE {
        if bytes > IN_PLACE_AT_ONCE {
            // A call may bring many of them: others have their turn between them.
            tokio::task::yield_now().await;
        }
        return Ok(work());
    }
    let place = if bytes > SMALL_WORK { LARGE.acquire().await.ok() } else { None };
    let work = move || {
        // The work keeps its place until it ends, also when nobody waits for it any more.
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)
}

/// The bytes of all these.
pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a [u8]>) -> u64 {
    all.fold(0, |sum, bytes| sum.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}
