//! Waiting without letting the processor sleep.
//!
//! Waking a processor that sleeps takes longer than most of what a small signature takes. Where the answer to something is
//! about to come, whoever waits for it stays awake for a moment; everything else goes on meanwhile.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::{Duration, Instant};

/// On one processor, whoever stays awake keeps others from what it waits for.
static SEVERAL: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1));

/// What `work` gives, if it does within this time; it may be waited for again.
pub(crate) async fn within<F: Future>(time: Duration, work: Pin<&mut F>) -> Option<F::Output> {
    within_while(time, || true, work).await
}

/// The same, as long as `useful` holds.
pub(crate) async fn within_while<F: Future>(
    time: Duration,
    useful: impl Fn() -> bool,
    mut work: Pin<&mut F>,
) -> Option<F::Output> {
    let began = Instant::now();
    loop {
        let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        match polled {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if !*SEVERAL || !useful() || began.elapsed() >= time => return None,
            Poll::Pending => tokio::task::yield_now().await,
        }
    }
}

/// Stays awake for this time, as long as `useful` holds.
pub(crate) async fn stay(time: Duration, useful: impl Fn() -> bool) {
    let _ = within_while(time, useful, std::pin::pin!(std::future::pending::<()>())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_in_time_is_given_and_what_does_not_can_be_waited_for_again() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut told = std::pin::pin!(told);
        assert!(within(Duration::from_millis(1), told.as_mut()).await.is_none());
        tell.send(7).unwrap();
        assert_eq!(within(Duration::ZERO, told.as_mut()).await, Some(Ok(7)));
    }

    #[tokio::test]
    async fn others_go_on_meanwhile_and_what_is_useless_ends_at_once() {
        let (tell, told) = tokio::sync::oneshot::channel();
        tokio::spawn(async move { tell.send(()) });
        if *SEVERAL {
            assert_eq!(within(Duration::from_secs(10), std::pin::pin!(told)).await, Some(Ok(())));
        }
        let began = Instant::now();
        stay(Duration::from_secs(10), || false).await;
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
