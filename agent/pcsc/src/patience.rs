//! Calls of PC/SC that wait for other programs, which may hold a card for as long as they like.
//!
//! Such a call cannot be broken off, so it is made on a thread. One that is not done in time is left alone: it lets go of
//! what it gets in the end. Until then nobody else waits for that reader on a further thread.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;

/// What is done with something that came too late.
pub(crate) trait GiveUp {
    fn give_up(self);
}

impl GiveUp for () {
    fn give_up(self) {}
}

/// Readers that a thread still waits for on which nobody waits any more.
static LEFT: Mutex<BTreeSet<CString>> = Mutex::new(BTreeSet::new());
static BACK: Condvar = Condvar::new();

/// Takes a reader off the list again, however that ends.
struct Leaves(CString);

impl Drop for Leaves {
    fn drop(&mut self) {
        lock(&LEFT).remove(&self.0);
        BACK.notify_all();
    }
}

enum Call<T> {
    UnderWay,
    Done(T),
    Left,
}

/// What `job` gives, which is about the card in `reader`.
///
/// # Errors
/// [`Error::Busy`] when it takes longer than `limit`.
pub(crate) fn within<T: GiveUp + Send + 'static>(
    reader: &CStr,
    limit: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let end = Instant::now() + limit;
    let left = lock(&LEFT);
    let (left, _) = BACK
        .wait_timeout_while(left, limit, |left| left.contains(reader))
        .unwrap_or_else(PoisonError::into_inner);
    if left.contains(reader) {
        return Err(Error::Busy);
    }
    drop(left);
    let call = Arc::new((Mutex::new(Call::UnderWay), Condvar::new()));
    let (theirs, name) = (Arc::clone(&call), reader.to_owned());
    let work = move || {
        // Also where it panics.
        let made = catch_unwind(AssertUnwindSafe(job));
        let (call, done) = &*theirs;
        let mut call = lock(call);
        if !matches!(*call, Call::Left) {
            *call = Call::Done(made);
            done.notify_one();
            return;
        }
        drop(call);
        let _leaves = Leaves(name);
        if let Ok(made) = made {
            made.give_up();
        }
    };
    std::thread::Builder::new().name("card".to_owned()).spawn(work).map_err(|_| Error::Busy)?;
    let (call, done) = &*call;
    let left = end.saturating_duration_since(Instant::now());
    let (mut call, _) = done
        .wait_timeout_while(lock(call), left, |call| matches!(call, Call::UnderWay))
        .unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *call, Call::Left) {
        Call::Done(Ok(made)) => Ok(made),
        Call::Done(Err(panic)) => resume_unwind(panic),
        Call::UnderWay | Call::Left => {
            // While it cannot be done yet.
            lock(&LEFT).insert(reader.to_owned());
            Err(Error::Busy)
        }
    }
}

/// Nothing panics while one is held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Late(mpsc::Sender<&'static str>);

    impl GiveUp for Late {
        fn give_up(self) {
            self.0.send("given up").unwrap();
        }
    }

    #[test]
    fn what_comes_too_late_is_given_up_and_nobody_else_waits_beside_it() {
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let late = move || {
            gone.recv().unwrap();
            Late(tell)
        };
        assert!(matches!(within(c"reader", Duration::from_millis(1), late), Err(Error::Busy)));
        assert_eq!(within(c"reader", Duration::from_millis(1), || ()), Err(Error::Busy));
        assert_eq!(within(c"another", Duration::from_secs(60), || ()), Ok(()));
        go.send(()).unwrap();
        assert_eq!(told.recv(), Ok("given up"));
        assert_eq!(within(c"reader", Duration::from_secs(60), || ()), Ok(()));
    }

    #[test]
    fn a_reader_is_free_again_also_after_a_panic_of_what_came_too_late() {
        let (go, gone) = mpsc::channel::<()>();
        let late = move || -> () {
            gone.recv().unwrap();
            panic!("as the library might");
        };
        assert_eq!(within(c"broken", Duration::from_millis(1), late), Err(Error::Busy));
        go.send(()).unwrap();
        assert_eq!(within(c"broken", Duration::from_secs(60), || ()), Ok(()));
    }

    #[test]
    fn a_panic_in_time_is_that_of_whoever_waits() {
        let broken =
            || within(c"breaks", Duration::from_secs(60), || -> () { panic!("as the library might") });
        assert!(catch_unwind(broken).is_err());
        assert_eq!(within(c"breaks", Duration::from_secs(60), || ()), Ok(()));
    }
}
