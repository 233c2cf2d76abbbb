//! One token: its backend, its queue, and for how long it stays unlocked.

mod bound;
mod card;
mod count;
mod doctor;
mod identity;
mod listing;
mod module;
mod open;
mod person;
mod possession;
mod puk;
mod refusals;
mod signing;
mod since;
mod source;
mod unlock;
mod usable;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backend::filestore::FileStore;
use backend::pkcs11::{Loaded, Pkcs11Token};
use backend::{Backend, BackendError, TokenState};
use policy::Reason;
use tokio::sync::{Semaphore, watch};
use tufagent_proto::v1::Token;

pub use self::count::Logins;
pub use self::listing::Listing;
pub use self::person::{Purpose, Typed};
pub use self::puk::PukAct;
pub use self::signing::Turn;
pub use self::since::Since;
pub use self::unlock::{Attempt, Shown};

use self::count::{Again, Counter};
use self::identity::shown_as;
use self::listing::Known;
use self::source::{SourceTrouble, Sourcing};
use super::Places;
use super::delays::Delays;
use crate::awake;
use crate::clock;
use crate::config::{TokenConfig, TokenKind};
use crate::refusal::Refusal;
use crate::split::SplitStore;

/// A token in software signs within this time.
const BLINK: Duration = Duration::from_micros(400);

/// The two clocks are read one after the other; a machine that was suspended slept longer than that.
const NAP: Duration = Duration::from_secs(1);

/// What takes a while. Its type is not known to whoever waits: the compiler takes minutes over futures within futures otherwise.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// A configured token.
pub struct Slot {
    config: TokenConfig,
    backend: Arc<dyn Backend>,
    opened: Instant,
    /// The same, for what only such a token can do.
    pkcs11: Option<Arc<Pkcs11Token>>,
    file: Option<Arc<FileStore>>,
    splits: Option<Arc<SplitStore>>,
    /// Calls that use the token wait here, first come, first served.
    queue: Arc<Semaphore>,
    /// Small signatures of a token with a helper wait here.
    lane: Arc<Semaphore>,
    /// It was seen to sign fast.
    swift: AtomicBool,
    /// Unlocks of the file store wait here: a wrong passphrase's delay must not keep signatures waiting.
    unlocks: Arc<Semaphore>,
    /// One measuring at a time.
    examined: Arc<Semaphore>,
    /// Held while a person is asked by pinentry: one dialogue at a time.
    asking: tokio::sync::Mutex<()>,
    /// One list of keys at a time: of a token that hangs, one thread does.
    lists: Arc<Semaphore>,
    lease: Mutex<Lease>,
    /// Counts how often somebody said `lock`; changes while the lease is held.
    said: watch::Sender<u64>,
    /// Counts how often it was locked, for whoever waits for a signature.
    locked: watch::Sender<u64>,
    known_keys: Mutex<Known>,
    places: Places,
    sourcing: Mutex<Arc<Sourcing>>,
    /// Our own count of wrong PINs.
    counter: Arc<Counter>,
    /// What wrong ones cost each user.
    delays: Mutex<Delays>,
    /// The module that stands in the journal.
    journalled: Mutex<Option<Arc<Loaded>>>,
}

/// A backend that was just opened.
pub(super) enum Opened {
    File(Arc<FileStore>),
    Pkcs11(Arc<Pkcs11Token>),
    Shares(Arc<SplitStore>),
}

#[derive(Debug, Default)]
struct Lease {
    /// Boot time at which the token locks itself.
    until: Option<Duration>,
    /// How long the machine had slept when it was unlocked.
    slept: Duration,
    /// Somebody said `lock`: it stays so until somebody says `unlock`.
    held: bool,
    /// It was unlocked by an attempt that went well; otherwise nobody is to find it unlocked.
    granted: bool,
    /// Attempts that are under way, from before the token is asked until what comes of them is noted here.
    under_way: usize,
    /// Those of them that a person makes: nobody knows of what.
    typed: usize,
    /// Why the configured secret was of no use.
    source: Option<SourceTrouble>,
    /// The last refusal to unlock itself that is in the log: each change of its state is a reason to try.
    logged: Option<String>,
}

impl Lease {
    /// Why it has ended, if it has.
    fn is_over(&self, boot: impl Fn() -> Duration, slept: impl Fn() -> Duration) -> Option<&'static str> {
        let until = self.until?;
        if boot() >= until {
            return Some("its time was over");
        }
        (slept() > self.slept.saturating_add(NAP)).then_some("the machine was suspended")
    }
}

impl Slot {
    pub(super) fn new(config: TokenConfig, opened: Opened, places: Places) -> Self {
        let (mut pkcs11, mut file, mut splits) = (None, None, None);
        let backend: Arc<dyn Backend> = match opened {
            Opened::File(store) => file.insert(store).clone(),
            Opened::Pkcs11(token) => pkcs11.insert(token).clone(),
            Opened::Shares(store) => splits.insert(store).clone(),
        };
        // A device does one thing at a time; the file store works on as many cores as there are.
        let at_once = match config.kind {
            TokenKind::File | TokenKind::Shares { .. } => 4,
            TokenKind::Pkcs11(_) | TokenKind::Yubikey(_) => 1,
        };
        let queue = Arc::new(Semaphore::new(at_once));
        let unlocks = match config.kind {
            TokenKind::File | TokenKind::Shares { .. } => Arc::new(Semaphore::new(1)),
            TokenKind::Pkcs11(_) | TokenKind::Yubikey(_) => Arc::clone(&queue),
        };
        let lane = Arc::new(Semaphore::new(signing::on_lane(&config)));
        let counter = Arc::new(Counter::new(Arc::clone(&places.ledger), &config));
        if let Some(token) = &pkcs11 {
            token.count_by(Box::new(Again(Arc::clone(&counter))));
        }
        Self {
            config,
            backend,
            opened: Instant::now(),
            pkcs11,
            file,
            splits,
            queue,
            lane,
            swift: AtomicBool::new(false),
            unlocks,
            examined: Arc::new(Semaphore::new(1)),
            asking: tokio::sync::Mutex::default(),
            lists: Arc::new(Semaphore::new(1)),
            lease: Mutex::default(),
            said: watch::Sender::default(),
            locked: watch::Sender::default(),
            known_keys: Mutex::default(),
            places,
            sourcing: Mutex::default(),
            counter,
            delays: Mutex::default(),
            journalled: Mutex::default(),
        }
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &TokenConfig {
        &self.config
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The YubiKey, if that is what it is.
    #[must_use]
    pub fn card(&self) -> Option<Arc<Pkcs11Token>> {
        self.pkcs11.clone().filter(|token| token.is_card())
    }

    /// Whether it is a YubiKey.
    #[must_use]
    pub fn is_card(&self) -> bool {
        self.pkcs11.as_ref().is_some_and(|token| token.is_card())
    }

    /// The file store, if that is what it is: for backups.
    #[must_use]
    pub fn file_store(&self) -> Option<Arc<FileStore>> {
        self.file.clone()
    }

    /// The records of split keys, if that is what it holds.
    #[must_use]
    pub fn split_store(&self) -> Option<Arc<SplitStore>> {
        self.splits.clone()
    }

    /// Whether its keys are split among people.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.splits.is_some()
    }

    /// What it can be used for now; at once.
    #[must_use]
    pub fn state(&self) -> TokenState {
        self.lapse();
        self.backend.state()
    }

    /// All that is known about it; at once, never behind a touch, a PIN or a hung module.
    #[must_use]
    pub fn describe(&self) -> Token {
        self.lapse();
        let info = self.backend.info();
        // Nothing is said of the source while it is not needed, unless its PIN was changed since.
        let matters = matches!(info.state, TokenState::Locked | TokenState::Unlocked);
        let source = lock(&self.lease).source.clone().filter(|_| matters);
        let unlocks_itself = self.surely_unlocks_itself() && source.is_none();
        let counted = self.count_problem().filter(|_| info.state == TokenState::Locked);
        // How the login was lost is no answer to why it is not made again.
        let problem = self
            .stranger_problem()
            .or_else(|| source.map(|trouble| trouble.why))
            .or(info.problem)
            .or_else(|| self.unheard_of())
            .or_else(|| self.says_it_is_open())
            .or(counted);
        let locks_in_seconds = match (info.state, lock(&self.lease).until) {
            (TokenState::Unlocked, Some(until)) => {
                Some(until.saturating_sub(clock::boot()).as_secs().saturating_add(1))
            }
            _ => None,
        };
        Token {
            name: info.name.to_string(),
            kind: info.kind.as_str().to_owned(),
            state: info.state.as_str().to_owned(),
            serial: self.shown_serial(info.serial),
            label: info.label,
            pin_tries_left: info.pin_tries_left,
            helper_pid: info.helper_pid,
            confined: info.confined,
            unconfined: info.unconfined,
            measured: info.measured.map(str::to_owned),
            problem,
            fresh: info.fresh,
            warnings: match info.state {
                TokenState::Absent | TokenState::Failed => info.warnings,
                _ => info.warnings.into_iter().chain(self.replaced_keys()).collect(),
            },
            in_use: info.in_use,
            puk_blocked: info.puk_blocked,
            locks_in_seconds,
            pin_source: self.config.pin.name().to_owned(),
            secret_word: info.kind.secret_word().to_owned(),
            locks: self.now().number(),
            unlocks_itself,
            silent: self.is_silent(),
            untrusted: self.is_untrusted(),
            swapped: self.stranger().is_some(),
            pins_wrong: self.pkcs11.is_some().then(|| lock(&self.counter.seen).wrong),
        }
    }

    /// The serial number as people are shown it.
    fn shown_serial(&self, serial: Option<String>) -> Option<String> {
        let there = !matches!(self.backend.state(), TokenState::Absent | TokenState::Failed);
        let card = self.pkcs11.as_ref().filter(|_| there).map(|token| token.last_seen());
        card.map(|card| shown_as(&card)).filter(|shown| !shown.is_empty()).or(serial)
    }

    /// Runs a call that uses the token, in its turn, on a thread that may block.
    ///
    /// # Errors
    /// What the backend gives, with the token's name.
    pub async fn run<T, F>(&self, call: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Backend) -> Result<T, BackendError> + Send + 'static,
    {
        let done = self.run_in(&self.queue, call).await;
        self.may_have_changed();
        done
    }

    async fn run_in<T, F>(&self, queue: &Arc<Semaphore>, call: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Backend) -> Result<T, BackendError> + Send + 'static,
    {
        self.run_blinking(queue, Duration::ZERO, call).await
    }

    /// The answer may come so soon, within `blink`, that whoever waits for it stays awake.
    async fn run_blinking<T, F>(&self, queue: &Arc<Semaphore>, blink: Duration, call: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Backend) -> Result<T, BackendError> + Send + 'static,
    {
        let place = Arc::clone(queue).acquire_owned().await.map_err(Refusal::internal)?;
        // Its time may have run out in the queue.
        self.lapse();
        let backend = Arc::clone(&self.backend);
        let work = move || {
            // The call keeps its place until it ends, also when nobody waits for it any more.
            let _place = place;
            call(backend.as_ref())
        };
        let mut working = std::pin::pin!(tokio::task::spawn_blocking(work));
        let done = match awake::within(blink, working.as_mut()).await {
            Some(done) => done,
            None => working.await,
        };
        done.map_err(Refusal::internal)?.map_err(|error| {
            let refusal = self.refusal(&error);
            self.note_presented_again(&refusal);
            refusal
        })
    }

    /// Whether a token of this configuration takes its place: one of its name, or the one file store.
    pub(super) fn replaced_by(&self, config: &TokenConfig) -> bool {
        self.config.name == config.name
            || (self.config.kind == TokenKind::File && config.kind == TokenKind::File)
    }

    /// Takes over from the token that it replaces that somebody said `lock`, and who has to wait.
    pub(super) fn stay_locked_as(&self, old: &Self) {
        let held = lock(&old.lease).held;
        lock(&self.lease).held = held;
        // A question that was put before the reload counts on.
        self.said.send_replace(old.now().number());
        let delays = lock(&old.delays).clone();
        *lock(&self.delays) = delays;
        self.take_source_over(old);
    }

    /// Calls `listener` whenever the state of a device changes by itself.
    pub(super) fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        if let Some(token) = &self.pkcs11 {
            token.on_change(move |_| listener());
        }
    }

    /// What a YubiKey says of itself.
    ///
    /// # Errors
    /// `UNSUPPORTED` for another token; otherwise what the card gives.
    pub async fn card_facts(&self) -> Result<backend::card::CardFacts, Refusal> {
        let token = self.need_card()?;
        self.run_in(&self.queue, move |_| token.card_facts()).await
    }

    fn need_card(&self) -> Result<Arc<Pkcs11Token>, Refusal> {
        let name = self.name();
        self.card().ok_or_else(|| {
            Refusal::new(Reason::Unsupported, format!("token {name} is no YubiKey"))
                .remedy("name a token of kind yubikey")
                .detail("token", name)
        })
    }

    /// Forgets the secret now; holds until somebody unlocks. Waits for nobody, not even for a free thread.
    pub fn lock(&self) {
        let mut lease = lock(&self.lease);
        lease.held = true;
        lease.until = None;
        lease.granted = false;
        self.said.send_modify(|said| *said = said.wrapping_add(1));
        self.backend.lock();
        self.locked.send_modify(|locked| *locked = locked.wrapping_add(1));
    }

    /// Locks itself when its time is over, or when the machine has slept. Cheap; called before every use and by the
    /// registry's timer.
    pub(super) fn lapse(&self) {
        let mut lease = lock(&self.lease);
        let over = lease.is_over(clock::boot, clock::slept);
        let Some(why) = over.or_else(|| self.is_unlocked_by_nobody(&mut lease)) else { return };
        lease.until = None;
        lease.granted = false;
        self.backend.lock();
        self.locked.send_modify(|locked| *locked = locked.wrapping_add(1));
        tracing::info!(token = self.name(), "locked: {why}");
    }

    /// Whether a device is unlocked though no attempt says so: one that failed as far as was told may have unlocked it all
    /// the same, and it would stay so without an end and without a word in the journal.
    fn is_unlocked_by_nobody(&self, lease: &mut Lease) -> Option<&'static str> {
        if self.pkcs11.is_none() || lease.under_way > 0 {
            return None;
        }
        if self.backend.state() != TokenState::Unlocked {
            lease.granted = false;
            return None;
        }
        (!lease.granted).then_some("no attempt to unlock it went well")
    }

    /// How long until it locks itself.
    pub(super) fn time_left(&self) -> Option<Duration> {
        lock(&self.lease).until.map(|until| until.saturating_sub(clock::boot()))
    }

    /// The agent ends: no touch is waited for any more.
    pub(super) fn stop_waiting(&self) {
        if let Some(token) = self.card() {
            token.stop_waiting();
        }
    }

    /// Ends what the token runs; blocks.
    pub(super) fn shutdown(&self) {
        self.backend.shutdown();
    }
}

/// Nothing panics while a lock is held; were it so, the value is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
