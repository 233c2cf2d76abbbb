//! A collection while it is open: waiting for shares, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use custody::{Collected, SignedManifest};
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tufagent_proto::v1;

use super::super::{of_public, refusals};
use super::standing::Standing;
use super::{Collection, Collections, Outcome, Shares, lock};
use crate::clock;
use crate::refusal::Refusal;
use crate::state::AppState;

/// How long is slept at most: the runtime's clock stops in suspend, and the boot clock does not.
const NAP: Duration = Duration::from_secs(5);

/// Holds a collection open; it ends, and all that was given is wiped, with this.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    all: &'a Collections,
    pub(super) collection: Arc<Collection>,
}

/// Enough shares for one use, and who gave them.
pub struct Gathered {
    /// The shares; wiped with it.
    pub collected: Collected,
    /// Whose they are, in the order in which they came.
    pub custodians: Vec<String>,
    /// The set.
    pub set: Sha256Digest,
    /// The collection.
    pub id: String,
    /// Who gave the last one waits for what comes of them.
    pub(crate) using: Using,
}

impl Gathered {
    /// Looks once more, right before the shares make the key whole: a lock, the end of the token, another set in the place
    /// of this one or the removal of the key may have come while something else was waited for.
    ///
    /// # Errors
    /// `TOKEN_LOCKED`, `TOKEN_ABSENT`, `SHARE_INVALID`.
    pub(crate) fn check(&self, state: &AppState) -> Result<(), Refusal> {
        let collection = &self.using.0;
        if collection.stops.has_changed().unwrap_or(true) {
            return Err(refusals::stopped(&collection.token, *collection.stops.borrow()));
        }
        if let Some(why) = collection.over_by(Duration::ZERO, clock::slept()) {
            return Err(refusals::over(&collection.describe(), why));
        }
        is_alive(state, self.collected.manifest(), &collection.key)
    }
}

/// Whether the set of this key is the one that is alive still.
///
/// # Errors
/// `SHARE_INVALID` for one that another took the place of; `KEY_NOT_FOUND`.
pub(crate) fn is_alive(state: &AppState, manifest: &SignedManifest, key: &str) -> Result<(), Refusal> {
    let digest = manifest.digest();
    let Some((_, _, split)) = of_public(state, manifest.public_key()) else {
        return Err(refusals::forgotten(key));
    };
    if split.alive().is_some_and(|alive| alive.manifest.digest() == digest) {
        return Ok(());
    }
    Err(split.set(&digest).map_or_else(|| refusals::forgotten(key), |set| refusals::dead_or_new(&split, set)))
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("custodians", &self.custodians).finish_non_exhaustive()
    }
}

/// The use of shares that were enough. Dropped, it came to nothing.
pub(crate) struct Using(Arc<Collection>);

impl Using {
    /// What they were given for is done.
    pub(crate) fn done(self) {
        self.0.outcome.send_replace(Outcome::Done);
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        self.0.outcome.send_if_modified(|outcome| {
            let open = *outcome == Outcome::Open;
            if open {
                *outcome = Outcome::Failed;
            }
            open
        });
    }
}

impl<'a> Open<'a> {
    pub(super) const fn new(all: &'a Collections, collection: Arc<Collection>) -> Self {
        Self { all, collection }
    }

    /// Waits until enough shares were given; `tell` is told of the beginning and of each. Ends early when `gone` does, or when
    /// `stands` refuses what the records are now.
    ///
    /// # Errors
    /// `SHARES_MISSING` at the deadline and when its opener ends it, `TOKEN_LOCKED`, `TOKEN_ABSENT`, `CANCELLED`, or what
    /// `stands` refuses; all that was given is wiped then.
    pub(crate) async fn gather<T, G>(
        self,
        tell: impl Fn(v1::Collection) -> T,
        gone: impl Fn() -> G,
        stands: impl Fn() -> Result<(), Refusal>,
    ) -> Result<Gathered, Refusal>
    where
        T: Future<Output = Result<(), Refusal>>,
        G: Future<Output = Refusal>,
    {
        let collection = &self.collection;
        // What came since it was opened counts, too.
        let (mut changes, mut stops) = (collection.changes.subscribe(), collection.stops.clone());
        let mut records = collection.records.clone();
        loop {
            changes.mark_unchanged();
            if let Some(gathered) = self.take_if_complete() {
                tell(collection.describe()).await?;
                return Ok(gathered);
            }
            if collection.was_ended() {
                return Err(refusals::given_up(&collection.describe()));
            }
            // An opener that does not listen keeps nothing from ending.
            let next = async {
                tell(collection.describe()).await?;
                let _ = changes.changed().await;
                Ok::<(), Refusal>(())
            };
            tokio::select! {
                biased;
                _ = stops.changed() => {
                    let stop = *stops.borrow();
                    return Err(refusals::stopped(&collection.token, stop));
                }
                // Of a set that is dead no share is asked any more.
                _ = records.changed() => stands()?,
                refusal = gone() => return Err(refusal),
                told = next => told?,
                why = collection.over() => return Err(refusals::over(&collection.describe(), why)),
            }
        }
    }

    fn take_if_complete(&self) -> Option<Gathered> {
        let mut shares = lock(&self.collection.shares);
        let standing = match &*shares {
            Shares::Open(collected) if self.collection.has_enough(collected) => Standing::of(collected),
            _ => return None,
        };
        let custodians = standing.given.clone();
        let Shares::Open(collected) = std::mem::replace(&mut *shares, Shares::Enough(standing)) else {
            return None;
        };
        let (set, id) = (self.collection.manifest.digest(), self.collection.id.clone());
        Some(Gathered { collected, custodians, set, id, using: Using(Arc::clone(&self.collection)) })
    }

    /// What the journal keeps of it.
    pub(crate) fn json(&self) -> Value {
        self.collection.json()
    }
}

impl Collection {
    /// Waits until it is over; why it is.
    async fn over(&self) -> &'static str {
        loop {
            let now = clock::boot();
            if let Some(why) = self.over_by(now, clock::slept()) {
                return why;
            }
            tokio::time::sleep(self.until.saturating_sub(now).min(NAP)).await;
        }
    }

    fn was_ended(&self) -> bool {
        matches!(&*lock(&self.shares), Shares::Ended(_))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.all.0).retain(|one| !Arc::ptr_eq(one, &self.collection));
        let mut shares = lock(&self.collection.shares);
        if let Shares::Open(collected) = &*shares {
            // Wiped now, whoever still holds the collection.
            let standing = Standing::of(collected);
            *shares = Shares::Ended(standing);
        }
    }
}
