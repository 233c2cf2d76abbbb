//! The tokens that the configuration names, and what they can do now.
//!
//! Duty: one queue a token, the lifetime of an unlock, secrets from files and credentials.
//! Invariants: a `lock` holds until an `unlock`; a configured secret that was wrong is not tried again by
//! itself; asking for the state of a token waits for its first word after the start, a few seconds at most,
//! and never again.

mod attest;
mod delays;
pub(crate) mod descriptor;
mod keyring;
mod keys;
mod names;
mod open;
mod pin;
mod pinentry;
mod proofs;
#[cfg(feature = "secret-service")]
mod secret_service;
mod slot;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use ledger::Ledger;
use policy::Reason;
use tokio::sync::Notify;
use tufagent_proto::v1::Token;

pub use attest::Attested;
pub(crate) use delays::Delays;
pub use keys::HeldKey;
pub(crate) use keys::key_name;
pub use proofs::Proofs;
pub use slot::{Attempt, Listing, Logins, PukAct, Purpose, Shown, Since, Slot, Turn, Typed};

use crate::config::TokenConfig;
use crate::refusal::Refusal;
use crate::split::{SplitStore, SplitStores};

const SHORTEST_NAP: Duration = Duration::from_millis(10);
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// How often it is looked whether a call still uses a token that a reload took away.
const RETIRING: Duration = Duration::from_millis(100);

/// All tokens.
pub struct Tokens {
    slots: RwLock<Vec<Arc<Slot>>>,
    /// Taken away by a reload, while a call that began before still uses them.
    retired: Mutex<Vec<Weak<Slot>>>,
    places: Places,
    /// Key names are one name space: whoever makes a key holds this while looking and making.
    naming: tokio::sync::Mutex<()>,
    /// Which key has which name.
    names: names::Names,
    /// Rung when a token was unlocked, or a device came or went by itself.
    changed: Arc<Notify>,
}

/// Where tokens find their things.
#[derive(Debug, Clone)]
pub struct Places {
    /// Counts attempts at cards.
    pub ledger: Arc<Ledger>,
    /// The agent's state folder.
    pub state: PathBuf,
    /// The service manager's credentials.
    pub credentials: Option<PathBuf>,
    /// This program, which hosts tokens as `host-token`.
    pub program: PathBuf,
    /// The records of split keys, over all reloads.
    pub splits: Arc<SplitStores>,
    /// Keys that have signed, over all reloads.
    pub proofs: Arc<Proofs>,
    /// Cards to which PINs are presented, over all reloads.
    pub logins: Arc<Logins>,
}

impl Tokens {
    /// Opens every configured token; nothing is asked of a device yet.
    ///
    /// # Errors
    /// When a token's state on disk cannot be trusted.
    pub fn open(configs: &[TokenConfig], places: Places) -> Result<Self, Refusal> {
        let changed = Arc::new(Notify::new());
        let open = |config| open_and_watch(config, &places, &changed);
        let slots = configs.iter().map(open).collect::<Result<_, _>>()?;
        let naming = tokio::sync::Mutex::new(());
        let names = names::Names::open(&places.state)?;
        Ok(Self { slots: RwLock::new(slots), retired: Mutex::default(), places, naming, changed, names })
    }

    /// All tokens, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tokens that a reload took away, as long as a call uses them.
    #[must_use]
    pub fn retired(&self) -> Vec<Arc<Slot>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|slot| slot.strong_count() > 0);
        retired.iter().filter_map(Weak::upgrade).collect()
    }

    /// The token of this name; with an empty name the only one there is.
    ///
    /// # Errors
    /// `TOKEN_UNKNOWN`, or `USAGE` when it had to be named.
    pub fn get(&self, name: &str) -> Result<Arc<Slot>, Refusal> {
        let all = self.all();
        let names = || all.iter().map(|slot| slot.name().to_owned()).collect::<Vec<_>>().join(", ");
        if !name.is_empty() {
            return all.iter().find(|slot| slot.name() == name).cloned().ok_or_else(|| {
                Refusal::new(Reason::TokenUnknown, format!("there is no token named {name:?}"))
                    .remedy(format!("the tokens are: {}", names()))
                    .detail("token", name)
            });
        }
        match all.as_slice() {
            [only] => Ok(Arc::clone(only)),
            [] => Err(Refusal::new(Reason::TokenUnknown, "no token is configured")
                .remedy("add a [[token]] to the configuration")),
            _ => Err(Refusal::new(Reason::Usage, "there is more than one token, so it must be named")
                .remedy(format!("add --token with one of: {}", names()))),
        }
    }

    /// All that is known of every token. Whoever asks right after the start, as a build machine does, is not told that a
    /// token is absent which nobody has looked at yet.
    pub async fn describe(&self) -> Vec<Token> {
        let all = self.all();
        for slot in &all {
            slot.first_look_after_start().await;
            slot.refresh_source().await;
            if let Err(error) = slot.recall_bound().await {
                tracing::debug!(token = slot.name(), %error, "which card it means is not known");
            }
        }
        all.iter().map(|slot| slot.describe()).collect()
    }

    /// Opens what a new configuration adds. Tokens that it leaves as they are keep their state; nothing changes yet.
    ///
    /// # Errors
    /// When a new token cannot be opened, or its module cannot be loaded. What its devices are like is no fault of the
    /// configuration: one that is not there may come, and of several that fit one may go.
    pub async fn prepare(&self, configs: &[TokenConfig]) -> Result<Prepared, Refusal> {
        let old = self.all();
        let mut new = Prepared { slots: Vec::with_capacity(configs.len()), opened: Vec::new() };
        for config in configs {
            if let Some(slot) = old.iter().find(|slot| slot.config() == config) {
                new.slots.push(Arc::clone(slot));
                continue;
            }
            let slot = open_and_watch(config, &self.places, &self.changed)?;
            new.slots.push(Arc::clone(&slot));
            new.opened.push(slot);
        }
        for slot in &new.opened {
            // What is heard of it later is told with the token: a module that hangs does not keep the others from a change.
            slot.first_look_after_start().await;
            if let Some(refusal) = slot.misconfigured() {
                return Err(refusal);
            }
        }
        Ok(new)
    }

    /// Switches to what was prepared.
    pub fn switch(&self, mut new: Prepared) {
        let old = self.all();
        for slot in new.opened.drain(..) {
            if let Some(problem) = slot.failure() {
                tracing::warn!(token = slot.name(), "the token does not work: {problem}");
            }
            if let Some(replaced) = old.iter().find(|old| old.replaced_by(slot.config())) {
                slot.stay_locked_as(replaced);
            }
        }
        let slots = std::mem::take(&mut new.slots);
        let gone: Vec<_> =
            old.into_iter().filter(|slot| !slots.iter().any(|kept| Arc::ptr_eq(kept, slot))).collect();
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = slots;
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(gone.iter().map(Arc::downgrade));
        gone.iter().filter_map(|slot| slot.split_store()).for_each(|store| store.leave());
        gone.into_iter().for_each(retire);
        // Whoever watches the tokens lets go of those that are gone.
        self.changed.notify_one();
    }

    /// Reads in the background what was counted of each card before.
    pub fn recall_counts(&self) {
        for slot in self.all() {
            tokio::spawn(async move { slot.recall_count().await });
        }
    }

    /// Unlocks in the background what is locked and needs no person.
    pub fn unlock_unattended(&self) {
        for slot in self.all().into_iter().filter(|slot| slot.config().pin.is_unattended()) {
            tokio::spawn(async move {
                if slot.waits_for_its_source().await
                    && let Err(refusal) = slot.ensure_usable().await
                    && slot.is_news(&refusal)
                {
                    tracing::warn!(
                        token = slot.name(),
                        remedy = refusal.remedy,
                        "not unlocked by itself: {refusal}"
                    );
                }
            });
        }
    }

    /// Tokens that hold split keys, with the records of those.
    #[must_use]
    pub fn split_stores(&self) -> Vec<(Arc<Slot>, Arc<SplitStore>)> {
        self.all().into_iter().filter_map(|slot| slot.split_store().map(|store| (slot, store))).collect()
    }

    /// Says that a token was unlocked, so that the timer looks again.
    pub fn note_unlocked(&self) {
        self.changed.notify_one();
    }

    /// Locks tokens whose time is over, and unlocks those that came back and need no person; never ends.
    pub async fn watch(&self) {
        loop {
            let slots = self.all();
            slots.iter().for_each(|slot| slot.lapse());
            let nap = async {
                match slots.iter().filter_map(|slot| slot.time_left()).min() {
                    // The runtime's clock stops in suspend and the boot clock does not: look again soon.
                    Some(left) => tokio::time::sleep(left.clamp(SHORTEST_NAP, LONGEST_NAP)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = nap => {}
                () = self.changed.notified() => {
                    // A reload may have taken in others since the nap began.
                    self.all().iter().for_each(|slot| slot.journal_module());
                    self.unlock_unattended();
                }
            }
        }
    }

    /// Held while a key is given its name.
    pub(crate) async fn hold_names(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.naming.lock().await
    }

    /// The agent ends: nobody is kept waiting for a touch. At once.
    pub fn stop_waiting(&self) {
        self.all().iter().chain(&self.retired()).for_each(|slot| slot.stop_waiting());
    }

    /// Ends all tokens, at the same time: one whose module hangs holds up no other. Blocks.
    pub fn shutdown(&self) {
        let (all, retired) = (self.all(), self.retired());
        std::thread::scope(|scope| {
            for slot in all.iter().chain(&retired) {
                scope.spawn(|| slot.shutdown());
            }
        });
    }
}

/// Tokens of a configuration that is not in use yet; what was opened for it ends with it.
pub struct Prepared {
    slots: Vec<Arc<Slot>>,
    opened: Vec<Arc<Slot>>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        shut_down(std::mem::take(&mut self.opened));
    }
}

/// Ends a token when the last call that began with it has ended.
fn retire(slot: Arc<Slot>) {
    tokio::spawn(async move {
        while Arc::strong_count(&slot) > 1 {
            tokio::time::sleep(RETIRING).await;
        }
        shut_down(vec![slot]);
    });
}

/// Ends tokens that nobody uses.
fn shut_down(slots: Vec<Arc<Slot>>) {
    for slot in slots {
        tokio::task::spawn_blocking(move || slot.shutdown());
    }
}

fn open_and_watch(
    config: &TokenConfig,
    places: &Places,
    changed: &Arc<Notify>,
) -> Result<Arc<Slot>, Refusal> {
    let slot = open::slot(config, places)?;
    let changed = Arc::clone(changed);
    slot.on_change(move || changed.notify_one());
    Ok(slot)
}
