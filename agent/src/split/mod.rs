//! Keys that no one person holds: made or taken here, split at once, brought together for one signature and gone again.
//!
//! Duty: the records of sets and who has proven what; handing shares out, to each custodian only; collecting them for
//! exactly one content. Trust: `custody` alone has a whole key, in locked memory, and gives none out; a share is believed by
//! the manifest, never by who sends it.
//! Invariants: a manifest is durable before a share of it leaves; a key serves no role before every custodian has proven
//! their share; a whole copy in the file store goes last; whatever is interrupted, a complete working set exists. Shares
//! lie in locked memory alone, and end with their collection.

mod adopt;
mod age;
mod collection;
mod confirm;
mod copy;
mod drill;
mod gather;
mod hand_out;
mod make;
mod record;
mod refusals;
mod resplit;
mod serving;
mod signing;
mod store;
mod terms;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use policy::Reason;
use tokio::sync::MutexGuard;
use tuf::digest::Sha256Digest;
use tuf::key::PublicKey;
use tufagent_proto::v1;

pub(crate) use adopt::adopt;
pub use collection::{Collection, Collections, Gathered, Purpose, Subject};
pub(crate) use confirm::{confirm, finish};
pub(crate) use copy::{Copied, WholeCopy, records, take_in, take_whole_copies_away};
pub(crate) use drill::drill;
use gather::gather;
pub(crate) use gather::{end_collection, gather_for, give};
pub(crate) use make::split;
pub use record::{SetState, SplitKey, SplitSet, Whole};
pub(crate) use resplit::{end_resplit, resplit};
pub(crate) use serving::{by_hand, described};
pub(crate) use signing::{check_collects, collected_key, sign};
pub use store::{SplitStore, SplitStores};

use crate::clock;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{Delays, HeldKey, Slot};

/// What all calls about split keys share.
#[derive(Debug)]
pub struct Splits {
    /// Held while a record is looked at and changed.
    changing: tokio::sync::Mutex<()>,
    collections: Collections,
    /// What wrong shares cost each user.
    wrong: Mutex<Delays>,
}

impl Default for Splits {
    fn default() -> Self {
        let wrong = Mutex::new(Delays::at_most(LONGEST_DELAY));
        Self { changing: tokio::sync::Mutex::default(), collections: Collections::default(), wrong }
    }
}

/// Whoever types shares at a ceremony may err more than once.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

impl Splits {
    /// Held while a record is looked at and changed.
    pub(crate) async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Those that are open.
    pub(crate) fn collections(&self) -> &Collections {
        &self.collections
    }

    /// # Errors
    /// `PIN_DELAYED` for a user of whose shares several were wrong: nothing was looked at.
    async fn not_too_early(&self, user: u32) -> Result<(), Refusal> {
        let left = || self.wrong.lock().unwrap_or_else(PoisonError::into_inner).left(user, clock::boot());
        if let Some(short) = left().filter(|left| *left <= PATIENCE) {
            tokio::time::sleep(short.saturating_add(Duration::from_millis(5))).await;
        }
        let Some(left) = left() else { return Ok(()) };
        let seconds = left.as_secs().saturating_add(1);
        let message = format!("several shares were wrong, so the next one is looked at in {seconds} s");
        Err(Refusal::new(Reason::PinDelayed, message)
            .remedy(format!("check the share, then give it again in {seconds} s"))
            .detail("retry_in_seconds", seconds))
    }

    /// What a share means for the next one of this user.
    fn note<T>(&self, user: u32, given: Result<T, Refusal>) -> Result<T, Refusal> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match &given {
            Ok(_) => wrong.right(user),
            Err(refusal) if refusal.reason == Reason::ShareInvalid => wrong.wrong(user, clock::boot()),
            Err(_) => {}
        }
        drop(wrong);
        given
    }
}

/// A delay of at most this is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A set, where its record lies.
struct Found {
    slot: Arc<Slot>,
    store: Arc<SplitStore>,
    key: Arc<SplitKey>,
    digest: Sha256Digest,
}

impl Found {
    /// The set that a caller names by the digest of its manifest.
    ///
    /// # Errors
    /// `SHARE_INVALID` for one that is not known here; the token's own trouble where it has one.
    fn by_digest(state: &AppState, text: &str) -> Result<Self, Refusal> {
        let digest: Sha256Digest = text.parse().map_err(|_| {
            Refusal::new(Reason::Usage, "a set is named by the SHA-256 of its manifest")
                .remedy("see tufctl share list")
        })?;
        let stores = state.tokens().split_stores();
        for (slot, store) in &stores {
            if let Some(key) = store.of_set(&digest) {
                return Ok(Self { slot: Arc::clone(slot), store: Arc::clone(store), key, digest });
            }
        }
        match stores.iter().find_map(|(slot, _)| slot.trouble()) {
            Some(refusal) => Err(refusal),
            None => Err(refusals::unknown_set(text)),
        }
    }

    fn set(&self) -> Result<&SplitSet, Refusal> {
        self.key.set(&self.digest).ok_or_else(|| refusals::unknown_set(&self.digest.to_string()))
    }

    /// The set, if its shares are taken.
    ///
    /// # Errors
    /// `SHARE_UNPROVEN`, and `SHARE_INVALID` for one that was replaced.
    fn alive(&self) -> Result<&SplitSet, Refusal> {
        let set = self.set()?;
        match set.state {
            SetState::Alive => Ok(set),
            SetState::Proving => Err(refusals::unproven(&self.key, set)),
            SetState::Dead => Err(refusals::dead(&self.key, set)),
        }
    }

    /// Writes the key's record, durably.
    async fn put(&self, key: SplitKey) -> Result<(), Refusal> {
        let store = Arc::clone(&self.store);
        self.slot.run(move |_| store.put(key)).await
    }
}

/// A key and its sets, if it is split.
pub(crate) fn of_public(
    state: &AppState,
    public: &PublicKey,
) -> Option<(Arc<Slot>, Arc<SplitStore>, Arc<SplitKey>)> {
    let stores = state.tokens().split_stores();
    stores.into_iter().find_map(|(slot, store)| store.of_public(public).map(|key| (slot, store, key)))
}

/// Before a key signs: of one that is split, wherever it still lies whole, there is a set that is alive.
///
/// # Errors
/// `SHARE_UNPROVEN`.
pub(crate) fn check_alive(state: &AppState, key: &HeldKey) -> Result<(), Refusal> {
    let Some((_, _, split)) = of_public(state, &key.stored.public) else {
        return check_record_of(state, key);
    };
    if split.alive().is_some() { Ok(()) } else { Err(refuse_unproven(&split)) }
}

/// Before a key is given to a role: the shares of one that is split were seen to be there.
///
/// # Errors
/// `SHARE_UNPROVEN`.
pub(crate) fn check_proven(state: &AppState, key: &HeldKey) -> Result<(), Refusal> {
    let Some((_, _, split)) = of_public(state, &key.stored.public) else {
        return check_readable(state);
    };
    if split.may_serve() { Ok(()) } else { Err(refuse_unproven(&split)) }
}

/// Where the records of a token cannot be read nobody knows which keys are split, and which of them are proven.
///
/// # Errors
/// The trouble of that token.
pub(crate) fn check_readable(state: &AppState) -> Result<(), Refusal> {
    let trouble = state.tokens().split_stores().into_iter().find_map(|(slot, _)| slot.trouble());
    trouble.map_or(Ok(()), |refusal| Err(refusal.detail("what", "records of split keys")))
}

/// The same of a key of the file store that has such a record; one without signs on.
///
/// # Errors
/// `SHARE_UNPROVEN`.
fn check_record_of(state: &AppState, key: &HeldKey) -> Result<(), Refusal> {
    if key.slot.file_store().is_none() {
        return Ok(());
    }
    let mut stores = state.tokens().split_stores().into_iter();
    let trouble = stores.find_map(|(slot, store)| slot.trouble().filter(|_| store.may_have(&key.name)));
    let Some(trouble) = trouble else { return Ok(()) };
    let name = &key.name;
    let message = format!(
        "the key {name} was split, and whether its shares are proven is not known: {}",
        trouble.message
    );
    Err(Refusal::new(Reason::ShareUnproven, message).remedy(trouble.remedy).detail("key", name.as_str()))
}

/// Keys that are given to no role yet: nobody has seen that their shares are there.
pub(crate) fn unproven(state: &AppState) -> Vec<Arc<SplitKey>> {
    let stores = state.tokens().split_stores();
    stores.iter().flat_map(|(_, store)| store.all()).filter(|key| !key.may_serve()).collect()
}

/// The refusal of such a key.
pub(crate) fn refuse_unproven(key: &SplitKey) -> Refusal {
    match (key.alive(), key.proving()) {
        (Some(set), _) => refusals::never_seen(key, set),
        (None, Some(set)) => refusals::unproven(key, set),
        (None, None) => Refusal::internal("a split key without a set"),
    }
}

/// Every set of every split key.
pub(crate) fn list(state: &AppState) -> Vec<v1::ShareSet> {
    let mut sets = Vec::new();
    for (slot, store) in state.tokens().split_stores() {
        for key in store.all() {
            sets.extend(key.sets().iter().map(|set| describe(state, &slot, &key, set)));
        }
    }
    sets
}

/// A set, as it travels.
fn describe(state: &AppState, slot: &Slot, key: &SplitKey, set: &SplitSet) -> v1::ShareSet {
    let (confirmed, unconfirmed) = set.proofs();
    v1::ShareSet {
        key: key.name.to_string(),
        token: slot.name().to_owned(),
        state: set.state.as_str().to_owned(),
        manifest: set.manifest.to_json().as_bytes().to_vec(),
        sha256: set.manifest.digest().to_string(),
        confirmed: names(confirmed),
        unconfirmed: names(unconfirmed),
        drilled: set.drilled.map(|at| at.to_string()).unwrap_or_default(),
        whole: lies_whole(state, key),
        kept: key.whole == Whole::Stays,
        seen: set.is_seen(),
    }
}

fn names(of: Vec<&custody::CustodianRef>) -> Vec<String> {
    of.into_iter().map(ToString::to_string).collect()
}

/// Whether the file store has it whole; while that cannot be asked, whether it had.
pub(crate) fn lies_whole(state: &AppState, key: &SplitKey) -> bool {
    let stores = state.tokens().all();
    match (
        stores.iter().find_map(|slot| slot.file_store()).map(|store| backend::Backend::keys(&*store)),
        key.public(),
    ) {
        (Some(Ok(keys)), Some(public)) => keys.iter().any(|stored| stored.public == *public),
        _ => key.whole != Whole::Nowhere,
    }
}

/// What the journal keeps of a set.
fn set_json(key: &SplitKey, set: &SplitSet) -> serde_json::Value {
    serde_json::json!({
        "key": key.name.as_str(),
        "keyid": set.manifest.keyid().to_string(),
        "set": set.manifest.digest().to_string(),
        "sequence": set.manifest.sequence(),
    })
}
