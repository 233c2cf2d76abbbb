//! A card and its reader: what a test holds in hand.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::attest::{Lies, Root};
use crate::faults::{Fault, Faults};
use crate::link;
use crate::session::Session;
use crate::state::{Counters, State};

/// A virtual YubiKey in a reader, which is a slot of a `pcscd` with vpcd from [`Card::plug_into`] on.
///
/// It is in the reader from the beginning. Clones hold the same one. It ends with the process.
#[derive(Clone)]
pub struct Card {
    pub(crate) reader: Arc<Reader>,
}

/// The reader, with or without a card in it.
pub(crate) struct Reader {
    inner: Mutex<Inner>,
    /// Anything in `inner` changed.
    changed: Condvar,
}

/// All that a lock holds.
pub(crate) struct Inner {
    /// A card that is out keeps what it is.
    pub(crate) state: State,
    pub(crate) inserted: bool,
    pub(crate) session: Session,
    pub(crate) faults: Faults,
    pub(crate) lies: Lies,
    pub(crate) touch: Touch,
    pub(crate) delay: Duration,
    pub(crate) keep_in: Option<PathBuf>,
    /// vpcd's port.
    pub(crate) port: Option<u16>,
    /// How often the card got a port: only the last one's thread goes on.
    pub(crate) turn: u64,
    /// The connection through which the card is asked; none when it is out.
    pub(crate) stream: Option<TcpStream>,
    /// vpcd did not hang up yet.
    pub(crate) linked: bool,
    pub(crate) seen: Seen,
    pub(crate) log: VecDeque<Entry>,
    pub(crate) apdus: u64,
    pub(crate) listeners: Vec<std::sync::mpsc::Sender<&'static str>>,
}

/// What touching needs.
#[derive(Debug)]
pub(crate) struct Touch {
    /// Each wait is answered at once.
    pub(crate) auto: bool,
    pub(crate) limit: Duration,
    /// A command waits now.
    pub(crate) waits: bool,
    /// Somebody touched since it began to wait.
    pub(crate) came: bool,
    /// How often a command began to wait.
    pub(crate) asked: u64,
}

/// What can be told of pcscd from what it asks: it looks whether there is a card a few times a second.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// The card was given power since it was put in.
    pub(crate) powered: bool,
    /// How often pcscd asked for the card since it was put in, or got power: then the second time it has told its clients.
    pub(crate) asked: u32,
}

impl Seen {
    /// Whether clients find the card. One that pcscd did not miss gets no power anew.
    pub(crate) fn by_clients(self) -> bool {
        self.asked >= if self.powered { 2 } else { 3 }
    }
}

/// A command that came, and the status word that it got (0 where no answer went out).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Instruction.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Status word.
    pub sw: u16,
}

/// A card that has power, in the middle of a command.
pub(crate) struct Powered<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) session: &'a mut Session,
    pub(crate) lies: &'a Lies,
}

/// A private key waits so long for a touch.
const TOUCH_LIMIT: Duration = Duration::from_secs(15);
const COMES_WITHIN: Duration = Duration::from_secs(120);
const LOG_LEN: usize = 10_000;

impl Card {
    /// A new card with the factory's PIN `123456`, certified by [`Root::shared`].
    #[must_use]
    pub fn new(serial: u32, firmware: [u8; 3]) -> Self {
        Self::with_state(State::new(serial, firmware, Root::shared()))
    }

    /// A card that there was already.
    #[must_use]
    pub fn with_state(state: State) -> Self {
        let touch = Touch { auto: false, limit: TOUCH_LIMIT, waits: false, came: false, asked: 0 };
        let inner = Inner {
            state,
            inserted: true,
            session: Session::default(),
            faults: Faults::default(),
            lies: Lies::default(),
            touch,
            delay: Duration::ZERO,
            keep_in: None,
            port: None,
            turn: 0,
            stream: None,
            linked: false,
            seen: Seen::default(),
            log: VecDeque::new(),
            apdus: 0,
            listeners: Vec::new(),
        };
        Self { reader: Arc::new(Reader { inner: Mutex::new(inner), changed: Condvar::new() }) }
    }

    /// The reader is from now on the slot of a pcscd at this port of this machine, whether that runs already or not.
    pub fn plug_into(&self, port: u16) {
        link::serve(&self.reader, None, port);
    }

    /// The same in a network of pcscd's own, where somebody [`serve`](crate::dial::serve)s at this socket.
    pub fn plug_in_through(&self, dialer: &Path, port: u16) {
        link::serve(&self.reader, Some(dialer.to_path_buf()), port);
    }

    /// Touches the card. Nothing happens where nothing waits for it.
    pub fn touch(&self) {
        self.reader.change(|inner| inner.touch.came = inner.touch.waits);
    }

    /// Touches it whenever it waits, or no longer.
    pub fn touch_always(&self, always: bool) {
        self.reader.change(|inner| inner.touch.auto = always);
    }

    /// How long it waits for a touch.
    pub fn touch_within(&self, limit: Duration) {
        self.reader.change(|inner| inner.touch.limit = limit);
    }

    /// Waits until it waits for a touch.
    #[track_caller]
    pub fn until_it_waits_for_a_touch(&self) {
        self.until("it does not ask for a touch", |inner| inner.touch.waits);
    }

    /// Whether it waits for a touch now.
    #[must_use]
    pub fn waits_for_a_touch(&self) -> bool {
        self.reader.lock().touch.waits
    }

    /// How often it waited for a touch.
    #[must_use]
    pub fn touches_asked(&self) -> u64 {
        self.reader.lock().touch.asked
    }

    /// Pulls it out.
    pub fn remove(&self) {
        self.reader.change(Inner::remove);
    }

    /// It has no PIN verified any more, as when another program selects an application anew.
    pub fn forget_its_pin(&self) {
        self.reader.change(|inner| inner.session.verified(false));
    }

    /// Puts it in again, once pcscd misses it.
    pub fn insert(&self) {
        self.reader.change(Inner::insert);
    }

    /// Pulls it out, waits until pcscd misses it, and puts another one in; this one comes back.
    #[must_use = "the card that was in the reader"]
    pub fn swap(&self, other: State) -> State {
        self.remove();
        self.until_gone();
        self.reader.change(|inner| {
            let old = std::mem::replace(&mut inner.state, other);
            inner.insert();
            old
        })
    }

    /// Whether it is in its reader.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.reader.lock().inserted
    }

    /// Waits until pcscd has seen the card, so that a client finds it.
    #[track_caller]
    pub fn until_seen(&self) {
        self.until("pcscd does not see it", |inner| inner.seen.by_clients());
    }

    /// Waits until pcscd has seen that the reader is empty.
    #[track_caller]
    pub fn until_gone(&self) {
        self.until("pcscd does not miss it", |inner| !inner.linked);
    }

    /// Lets something go wrong at the `nth` command from now (1 is the next).
    pub fn fail(&self, nth: u64, fault: Fault) {
        self.reader.change(|inner| inner.faults.plan(nth, None, fault));
    }

    /// Lets something go wrong at the `nth` command from now with an instruction.
    pub fn fail_at(&self, ins: u8, nth: u64, fault: Fault) {
        self.reader.change(|inner| inner.faults.plan(nth, Some(ins), fault));
    }

    /// How many faults did not come yet.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.reader.lock().faults.left()
    }

    /// How many commands came, GET RESPONSE and parts of long ones among them.
    #[must_use]
    pub fn apdus(&self) -> u64 {
        self.reader.lock().apdus
    }

    /// The last commands, the newest last.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.reader.lock().log.iter().copied().collect()
    }

    /// What was done to the card that is in the reader (or was).
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.reader.lock().state.counters
    }

    /// The tries that its PIN and its PUK have left.
    #[must_use]
    pub fn tries_left(&self) -> (u8, u8) {
        let inner = self.reader.lock();
        (inner.state.pin.left, inner.state.puk.left)
    }

    /// All that it keeps, as it is now.
    #[must_use]
    pub fn state(&self) -> State {
        self.reader.lock().state.clone()
    }

    /// The certificate of its attestation key, DER.
    #[must_use]
    pub fn attestation_certificate(&self) -> Option<Vec<u8>> {
        let inner = self.reader.lock();
        let object = inner.state.objects.get(&crate::state::ATTESTATION_OBJECT)?;
        crate::attest::certificate_in(object).map(<[u8]>::to_vec)
    }

    /// Waits for something to be so.
    #[track_caller]
    #[allow(clippy::panic, reason = "so a test fails")]
    fn until(&self, why: &str, is_so: impl Fn(&Inner) -> bool) {
        if !self.reader.wait_until(COMES_WITHIN, is_so) {
            let log: Vec<_> = self.log().into_iter().rev().take(10).collect();
            panic!("{why} within {} s; the last commands, newest first: {log:x?}", COMES_WITHIN.as_secs());
        }
    }
}

impl Reader {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes whoever waits for it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Whether it was so before the limit.
    pub(crate) fn wait_until(&self, limit: Duration, is_so: impl Fn(&Inner) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut inner = self.lock();
        loop {
            if is_so(&inner) {
                return true;
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else { return false };
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inner {
    pub(crate) fn remove(&mut self) {
        if std::mem::take(&mut self.inserted) {
            self.tell("removed");
            self.cut();
        }
    }

    pub(crate) fn insert(&mut self) {
        if !std::mem::replace(&mut self.inserted, true) {
            self.tell("inserted");
        }
    }

    /// Breaks the connection.
    pub(crate) fn cut(&mut self) {
        self.session = Session::default();
        self.seen = Seen::default();
        if let Some(stream) = self.stream.take() {
            // The other side may have ended it already. Ours goes on listening for that.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Tells those who listen for what happens.
    pub(crate) fn tell(&mut self, event: &'static str) {
        self.listeners.retain(|listener| listener.send(event).is_ok());
    }

    pub(crate) fn record(&mut self, entry: Entry) {
        self.apdus = self.apdus.saturating_add(1);
        self.log.push_back(entry);
        if self.log.len() > LOG_LEN {
            self.log.pop_front();
        }
    }
}
