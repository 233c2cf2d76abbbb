//! Work on secrets that must leave nothing behind: on a stack of our own.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{io, mem, ptr};

use crate::pages::Pages;

/// Why a closure gave no result on a locked stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The system gave no thread.
    #[error(
        "the system gave no thread for work on a secret (error {errno}); try again when fewer are running"
    )]
    NoThread {
        /// What it said.
        errno: i32,
    },
    /// The closure panicked; what it said is not kept.
    #[error("the work on a secret failed inside and was wiped away")]
    Panicked,
}

/// Runs `work` on one thread whose stack is made of pages as those of a secret: locked against swapping, left out of
/// core dumps, wiped in forked children, between guard pages. When the thread is gone the whole stack is zeroized and
/// unmapped, whether `work` returned or panicked. The caller waits; signals are handled on other threads. Where locking is
/// refused the work is done all the same, and [`crate::unlocked_secrets`] counts it.
///
/// What `work` computes from secrets lies on this stack or in registers. The registers go with the thread, whose state
/// the kernel frees with it; what they were spilled to is this stack, for signals too: they are blocked, and there is no
/// other stack for them. The closure's captures and its result lie on the *caller's* stack: hand secrets in by
/// reference, out in a [`crate::SecretBytes`] only.
///
/// # Errors
/// [`StackError`] when there is no thread to be had, or `work` panicked.
pub fn on_locked_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, StackError> {
    let mut errand = Errand { work: Some(work), result: None };
    run(&mut Pages::new(STACK), &mut errand)?;
    errand.result.ok_or(StackError::Panicked)
}

/// What the thread is handed, and where it leaves its result.
struct Errand<F, T> {
    work: Option<F>,
    result: Option<T>,
}

fn run<F: FnOnce() -> T + Send, T: Send>(
    stack: &mut Pages,
    errand: &mut Errand<F, T>,
) -> Result<(), StackError> {
    let attributes = Attributes::on(stack)?;
    let _blocked = SignalsBlocked::now()?;
    let mut thread = mem::MaybeUninit::<libc::pthread_t>::uninit();
    let argument = ptr::from_mut(errand).cast::<c_void>();
    // SAFETY: the attributes are initialised, `begin` takes exactly what `argument` points to, and both the errand and
    // the stack outlive the thread, which is joined below before either is touched again. `F` and `T` are Send.
    let made = unsafe {
        libc::pthread_create(thread.as_mut_ptr(), &raw const attributes.0, begin::<F, T>, argument)
    };
    checked(made)?;
    // SAFETY: `pthread_create` succeeded, so it has written the thread, which is joined once.
    let joined = unsafe { libc::pthread_join(thread.assume_init(), ptr::null_mut()) };
    if joined != 0 {
        // Cannot be for a thread made a moment ago; were it, the stack would be pulled away from under it.
        std::process::abort();
    }
    Ok(())
}

/// The thread's first function.
extern "C" fn begin<F: FnOnce() -> T + Send, T: Send>(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `run` passes its errand, and does not touch it until this thread was joined.
    let errand = unsafe { &mut *argument.cast::<Errand<F, T>>() };
    if let Some(work) = errand.work.take() {
        // No unwinding past here. The panic's payload is dropped unread: nobody knows what it says.
        errand.result = catch_unwind(AssertUnwindSafe(work)).ok();
    }
    ptr::null_mut()
}

struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn on(stack: &mut Pages) -> Result<Self, StackError> {
        let mut attributes = mem::MaybeUninit::uninit();
        // SAFETY: initialises the memory that it is given.
        checked(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call before.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let (start, len) = (stack.bytes_mut().as_mut_ptr().cast::<c_void>(), stack.bytes().len());
        // SAFETY: whole pages, readable and writable, which belong to `stack` alone. Nothing is written now.
        checked(unsafe { libc::pthread_attr_setstack(&raw mut attributes.0, start, len) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `on`, destroyed once.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

/// All signals blocked in this thread, and so in the one that it makes: a handler would run on the locked stack.
struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    fn now() -> Result<Self, StackError> {
        let mut all = mem::MaybeUninit::uninit();
        let mut before = mem::MaybeUninit::uninit();
        // SAFETY: fills the set that it is given.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: `all` was filled; `before` is written when the call succeeds, which `checked` makes sure of.
        checked(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) })?;
        // SAFETY: written by the call before.
        Ok(Self(unsafe { before.assume_init() }))
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: restores the mask that was read in `now`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

fn checked(code: i32) -> Result<(), StackError> {
    if code == 0 { Ok(()) } else { Err(StackError::NoThread { errno: code }) }
}

impl From<StackError> for io::Error {
    fn from(error: StackError) -> Self {
        Self::other(error)
    }
}

/// Room for elliptic curves and key stretching many times over, also without optimisation; well within the 8 MiB that a process
/// may usually lock.
const STACK: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Residence, SecretBytes};

    #[test]
    fn the_result_comes_back_and_captures_are_borrowed() {
        let secret = SecretBytes::copy_from(b"abc");
        let sum = on_locked_stack(|| secret.reveal_secret_bytes().iter().map(|b| u32::from(*b)).sum::<u32>());
        assert_eq!(sum, Ok(294));
    }

    #[test]
    fn a_panic_is_an_error_and_a_second_try_works() {
        assert_eq!(on_locked_stack(|| panic!("of no interest")).map(|()| 1), Err(StackError::Panicked));
        assert_eq!(on_locked_stack(|| 1), Ok(1));
    }

    #[test]
    fn what_lies_on_the_stack_is_in_pages_that_are_locked_undumped_and_wiped_on_fork() {
        let flags = on_locked_stack(|| {
            let here = 0_u8;
            let address = (&raw const here).addr();
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let mut lines = smaps.lines().skip_while(|line| {
                let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
                let at = |text| usize::from_str_radix(text, 16).ok();
                let range = range.and_then(|(from, to)| Some(at(from)?..at(to)?));
                !range.is_some_and(|range| range.contains(&address))
            });
            lines.find(|line| line.starts_with("VmFlags:")).unwrap().to_owned()
        })
        .unwrap();
        assert!(flags.contains(" dd") && flags.contains(" wf"), "{flags}");
        let locked = Pages::new(STACK).residence() == Residence::Locked;
        assert_eq!(flags.contains(" lo"), locked, "{flags}");
        // Where everything is to be proven this must not be a machine that refuses it.
        assert!(locked || std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(), "required, and refused: mlock");
    }

    #[test]
    fn what_work_leaves_lies_on_the_pages_that_are_wiped_after_a_return_and_after_a_panic() {
        let mark = |at: usize| 0xC5 ^ u8::try_from(at % 64).unwrap();
        let leave = |panics: bool| {
            move || {
                // Long enough that what runs after it overwrites no more than a part.
                let mut canary = [0_u8; 64 * 256];
                for (at, byte) in canary.iter_mut().enumerate() {
                    *byte = mark(at);
                }
                std::hint::black_box(&mut canary);
                assert!(!panics, "with the canary on the stack");
            }
        };
        for panics in [false, true] {
            // The steps of `on_locked_stack`, looked at before the pages are dropped, and so wiped.
            let mut stack = Pages::new(STACK);
            let mut errand = Errand { work: Some(leave(panics)), result: None };
            run(&mut stack, &mut errand).unwrap();
            assert_eq!(errand.result.is_none(), panics);
            let left = stack.bytes().windows(64).any(|w| w.iter().enumerate().all(|(at, b)| *b == mark(at)));
            assert!(left, "the canary should be on the stack (panics: {panics})");
        }
    }

    #[test]
    fn the_callers_signals_are_as_they_were() {
        let blocked = || fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = |status: String| status.lines().find(|l| l.starts_with("SigBlk")).unwrap().to_owned();
        let before = mask(blocked());
        let inside = on_locked_stack(|| mask(blocked())).unwrap();
        assert_eq!(mask(blocked()), before);
        assert_ne!(inside, before);
    }
}
