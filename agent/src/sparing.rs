//! Work that keeps the ledger's thread from all who sign while it lasts, and may be asked for by anybody in a loop: one at
//! a time, and most of the time none.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::refusal::Refusal;

/// Held for as long as the work lasts, and for the rest after it.
static TURN: Mutex<()> = Mutex::const_new(());
/// After work there is none for so many times as long as it took.
const REST: u32 = 4;
/// Nobody waits longer than this for another's work to be rested from.
const LONGEST: Duration = Duration::from_secs(60);

/// Does the work when it is its turn; to its end, also when nobody waits for it any more.
///
/// # Errors
/// `INTERNAL` when the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Refusal> {
    let turn = TURN.lock().await;
    let work = async move {
        let begun = Instant::now();
        let done = work.await;
        let rest = begun.elapsed().saturating_mul(REST).min(LONGEST);
        tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            drop(turn);
        });
        done
    };
    tokio::spawn(work).await.map_err(Refusal::internal)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_asks_in_a_loop_leaves_most_of_the_time_to_others_also_when_he_does_not_wait() {
        let (tell, begun) = oneshot::channel();
        let (tell_end, ended) = oneshot::channel();
        let hasty = tokio::spawn(run(async move {
            let _ = tell.send(());
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = tell_end.send(Instant::now());
        }));
        begun.await.unwrap();
        hasty.abort();
        let next = run(async { Instant::now() }).await.unwrap();
        let ended = ended.await.expect("it is done to its end");
        assert!(next.duration_since(ended) >= Duration::from_millis(200));
    }
}
