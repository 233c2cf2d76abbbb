//! Where computing is done: small things at once, where they are; large ones on a thread that serves nobody else.

use crate::refusal::Refusal;

/// So many bytes of metadata are looked at within less time than another thread takes to wake.
pub const SMALL: usize = 32 << 10;

/// Does it here when it is about no more than [`SMALL`] bytes, otherwise on a thread that may take its time.
///
/// # Errors
/// `INTERNAL` when that thread ended without a result.
pub async fn sized<T, F>(bytes: usize, work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if bytes <= SMALL {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)
}
