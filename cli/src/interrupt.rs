//! Signals that end this process: the terminal is put back first, and a collection of shares is ended in order.
//!
//! Without a terminal in use nothing is different from any other program: a timer's `SIGTERM` ends it at once.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::error::Failure;
use crate::render::Screen;

/// What is said when a signal ends this process.
static PARTING: Mutex<Option<(Screen, String)>> = Mutex::new(None);
/// How the terminal was before it was changed, the oldest first.
static CHANGED: Mutex<Vec<Changed>> = Mutex::new(Vec::new());
/// Whoever wants Ctrl-C for itself.
static HELD: Mutex<Option<Arc<Notify>>> = Mutex::new(None);
/// Whether [`until_interrupted`] runs.
static CONNECTED: AtomicBool = AtomicBool::new(false);
/// Whether the signals that end a process are waited for.
static WATCHED: OnceLock<bool> = OnceLock::new();

struct Changed {
    tty: File,
    before: Termios,
    /// What takes from the screen what must not stay on it.
    clear: &'static [u8],
}

/// Notes how the terminal was, for as long as it is otherwise. From now on no signal leaves it so.
pub(crate) struct Noted(bool);

impl Noted {
    /// `before`: the modes that are put back.
    pub(crate) fn new(tty: &File, before: &Termios) -> Self {
        WATCHED.get_or_init(watch_ends);
        let tty = tty.try_clone().ok();
        let noted = tty.map(|tty| lock(&CHANGED).push(Changed { tty, before: before.clone(), clear: b"" }));
        Self(noted.is_some())
    }

    /// Something is on the screen now that must not stay there.
    pub(crate) fn clears(&self, clear: &'static [u8]) {
        if let Some(last) = lock(&CHANGED).last_mut().filter(|_| self.0) {
            last.clear = clear;
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if self.0 {
            lock(&CHANGED).pop();
        }
    }
}

/// Keeps the terminal as it is while something is written to it: after a signal nothing is written any more.
pub(crate) fn writing() -> impl Drop {
    lock(&CHANGED)
}

/// Puts the terminal back. Whoever would write to it now waits for the end of the process.
fn put_back() {
    let changed = lock(&CHANGED);
    for Changed { tty, before, clear } in changed.iter().rev() {
        let _ = (&mut &*tty).write_all(clear);
        let _ = termios::tcsetattr(tty, OptionalActions::Flush, before);
    }
    mem::forget(changed);
}

/// Ends the process by the signals that no key sends while the terminal is in use.
fn watch_ends() -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return false;
    };
    let entered = runtime.enter();
    let listen = |kind| signal(kind).ok();
    let ends =
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()].map(|kind| (kind, listen(kind)));
    let interrupt = listen(SignalKind::interrupt());
    drop(entered);
    let watch = move || {
        let [first, second, third] = ends;
        let which = runtime.block_on(async {
            tokio::select! {
                which = comes(first) => which,
                which = comes(second) => which,
                which = comes(third) => which,
                which = comes((SignalKind::interrupt(), interrupt)) => which,
            }
        });
        put_back();
        if let Some((screen, text)) = lock(&PARTING).as_ref() {
            screen.warn(text);
        }
        // As the shell says it of a program that a signal has ended.
        std::process::exit(which.as_raw_value().saturating_add(128));
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).is_ok()
}

async fn comes((kind, signal): (SignalKind, Option<Signal>)) -> SignalKind {
    let Some(mut signal) = signal else { return std::future::pending().await };
    loop {
        if signal.recv().await.is_none() {
            return std::future::pending().await;
        }
        // With a connection to the agent it is said there what an interrupt ends.
        if kind != SignalKind::interrupt() || !CONNECTED.load(Ordering::SeqCst) {
            return kind;
        }
    }
}

/// Ctrl-C: say so and end. The connection closes with the process, and the agent cancels what it was doing; files
/// are written whole or not at all, so there is nothing to clean up. While a collection is open, the first one ends that.
pub(crate) async fn until_interrupted(screen: Screen) {
    let Ok(mut interrupts) = signal(SignalKind::interrupt()) else { return };
    CONNECTED.store(true, Ordering::SeqCst);
    loop {
        if interrupts.recv().await.is_none() {
            return;
        }
        let held = lock(&HELD).take();
        match held {
            Some(held) => held.notify_one(),
            None => break,
        }
    }
    put_back();
    let parting = lock(&PARTING).take().map(|(_, text)| text);
    let remedy = parting.unwrap_or_else(|| "run it again: what was done so far is kept".to_owned());
    let failure = Failure::cancelled("cancelled").remedy(remedy);
    std::process::exit(i32::from(screen.finish(Err(failure))));
}

/// While this is there, a signal that ends this process is followed by a word of what it leaves behind.
pub(crate) struct Parting;

impl Parting {
    pub(crate) fn begin(screen: Screen, text: String) -> Self {
        *lock(&PARTING) = Some((screen, text));
        Self
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        *lock(&PARTING) = None;
    }
}

/// While this is there, the first Ctrl-C ends nothing but is told here.
pub(crate) struct Hold(Arc<Notify>);

impl Hold {
    pub(crate) fn begin() -> Self {
        let held = Arc::new(Notify::new());
        *lock(&HELD) = Some(Arc::clone(&held));
        Self(held)
    }

    /// Ends when somebody has pressed Ctrl-C.
    pub(crate) async fn interrupted(&self) {
        self.0.notified().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *lock(&HELD) = None;
    }
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
