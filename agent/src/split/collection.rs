//! Collections: shares that are brought together for exactly one content.
//!
//! Each has a key of its own, to which shares are sealed with its name and the digest of all that whoever gives one is shown:
//! a share that was sealed for one collection, purpose or content is of no use to another. What was given lies in locked memory, and is wiped at the
//! deadline, with the call that opened it, when its token is locked, and when it was used.

mod open;
mod standing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use custody::{Collected, CustodianRef, Share, SignedManifest};
use policy::Reason;
use secmem::SecretBytes;
use tokio::sync::watch;
use tuf::digest::Sha256Digest;
use tuf::role::Version;
use tuf::time::UtcTime;
use tufagent_proto::v1;

pub use self::open::Gathered;
pub(crate) use self::open::{Open, is_alive};
use self::standing::Standing;
pub(crate) use self::standing::{ended_json, gathered_json};
use super::refusals;
use super::store::{SplitStore, Stop};
use crate::clock;
use crate::door::Peer;
use crate::limits;
use crate::refusal::Refusal;
use crate::seal::SealKey;

/// What shares are collected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// One signature of metadata.
    Sign,
    /// A rehearsal.
    Drill,
    /// Another set of the same key.
    Resplit,
}

impl Purpose {
    /// The word on the wire and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Drill => "drill",
            Self::Resplit => "resplit",
        }
    }
}

/// What the shares are given for, as whoever gives one is shown it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What for.
    pub purpose: Purpose,
    /// The digest that a share is sealed for.
    pub sha256: Sha256Digest,
    /// Of metadata: whose, and what it changes.
    pub repository: String,
    /// Its role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// As `SignInspected` has it.
    pub difference_json: String,
    /// Of a new set: its terms, and which set it replaces.
    pub terms_json: String,
    /// Of metadata: what is unusual about it.
    pub warnings: Vec<String>,
    /// Of metadata: the newest trusted root of its repository.
    pub root: Option<(Version, Sha256Digest)>,
}

impl Subject {
    /// What is no metadata.
    pub(super) fn of(purpose: Purpose, sha256: Sha256Digest, terms_json: String) -> Self {
        let (repository, role, difference_json, warnings) = Default::default();
        Self {
            purpose,
            sha256,
            repository,
            role,
            version: 0,
            difference_json,
            terms_json,
            warnings,
            root: None,
        }
    }
}

/// All that are open.
#[derive(Debug, Default)]
pub struct Collections(Mutex<Vec<Arc<Collection>>>);

/// One of them.
#[derive(Debug)]
pub struct Collection {
    id: String,
    key: String,
    token: String,
    subject: Subject,
    manifest: SignedManifest,
    opener: Peer,
    seal: SealKey,
    /// On the boot clock.
    until: Duration,
    /// How long the machine had slept when it was opened.
    slept: Duration,
    /// From when to when it is open, for people.
    opened: UtcTime,
    deadline: UtcTime,
    shares: Mutex<Shares>,
    at_least: usize,
    changes: watch::Sender<u64>,
    /// What came of it once it had enough.
    outcome: watch::Sender<Outcome>,
    stops: watch::Receiver<Stop>,
    /// Changes with the records of its token: its set may be dead, or forgotten, then.
    records: watch::Receiver<u64>,
}

/// What was given. Not shown by `Debug`.
enum Shares {
    /// More may come.
    Open(Collected),
    /// They were enough, and are in use or were used.
    Enough(Standing),
    /// It has ended before; they are wiped.
    Ended(Standing),
}

impl std::fmt::Debug for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shares(..)")
    }
}

/// What came of the shares once they were enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is being done.
    Open,
    /// The content is signed, the drill has succeeded, the new set is made.
    Done,
    /// Nothing.
    Failed,
}

/// A share that was taken.
#[derive(Debug)]
pub(crate) struct Given {
    /// Whose it is.
    pub(crate) custodian: CustodianRef,
    /// How the collection stands with it.
    pub(crate) collection: v1::Collection,
    /// It is the last one that was needed.
    pub(crate) complete: bool,
}

/// Which key, by which set.
pub(crate) struct Which<'a> {
    pub(crate) key: &'a str,
    pub(crate) token: &'a str,
    pub(crate) manifest: &'a SignedManifest,
    pub(crate) store: &'a SplitStore,
    /// How long it waits for shares.
    pub(crate) patience: Duration,
    /// So many shares are waited for, where fewer would do.
    pub(crate) at_least: usize,
}

impl Collections {
    /// Opens one for this caller.
    ///
    /// # Errors
    /// `LIMIT` when too many are open; `TOKEN_LOCKED`.
    pub(crate) fn open(
        &self,
        which: &Which<'_>,
        subject: Subject,
        opener: &Peer,
    ) -> Result<Open<'_>, Refusal> {
        // Listened to before it is looked at: a lock in between ends it.
        let (stops, records) = (which.store.stops(), which.store.changes());
        if which.store.is_locked() {
            return Err(refusals::stopped(which.token, Stop::Locked));
        }
        let mut all = lock(&self.0);
        // What signs nothing leaves room for what does.
        let is_rehearsal =
            |one: &Arc<Collection>| one.subject.purpose != Purpose::Sign && one.opener.uid == opener.uid;
        let rehearsals = all.iter().filter(|one| is_rehearsal(one)).count();
        if subject.purpose != Purpose::Sign && rehearsals >= limits::REHEARSALS_OF_USER {
            let message = format!("{rehearsals} drills and resplits of this user wait for shares");
            return Err(Refusal::new(Reason::Limit, message)
                .remedy("end one of them, or wait until it is over: tufctl share give lists them")
                .detail("limit", limits::REHEARSALS_OF_USER));
        }
        let of_user = all.iter().filter(|one| one.opener.uid == opener.uid).count();
        if all.len() >= limits::COLLECTIONS || of_user >= limits::COLLECTIONS_OF_USER {
            let message = format!("{} collections of shares are open, {of_user} of this user", all.len());
            return Err(Refusal::new(Reason::Limit, message)
                .remedy("end one of those that are open: tufctl share give lists them")
                .detail("limit", limits::COLLECTIONS_OF_USER));
        }
        let mut id = [0; 16];
        secmem::fill_random(&mut id).map_err(Refusal::internal)?;
        let seal = SealKey::default();
        // Made now, so that it is there whenever the collection is told of.
        seal.public_key()?;
        let (opened, wait) = (clock::now(), i64::try_from(which.patience.as_secs()).unwrap_or(i64::MAX));
        let collection = Arc::new(Collection {
            id: hex::encode(id),
            key: which.key.to_owned(),
            token: which.token.to_owned(),
            subject,
            manifest: which.manifest.clone(),
            opener: opener.clone(),
            seal,
            until: clock::boot().saturating_add(which.patience),
            slept: clock::slept(),
            opened,
            deadline: opened.plus_seconds(wait),
            shares: Mutex::new(Shares::Open(Collected::new(which.manifest))),
            at_least: which.at_least,
            changes: watch::Sender::new(0),
            outcome: watch::Sender::new(Outcome::Open),
            stops,
            records,
        });
        all.push(Arc::clone(&collection));
        Ok(Open::new(self, collection))
    }

    /// Those that this caller may see and give to: their own.
    pub(crate) fn of(&self, peer: &Peer) -> Vec<Arc<Collection>> {
        lock(&self.0).iter().filter(|one| one.opener.uid == peer.uid).cloned().collect()
    }

    /// The one of this name; that of another user is not there.
    ///
    /// # Errors
    /// `SHARES_MISSING`.
    pub(crate) fn find(&self, id: &str, peer: &Peer) -> Result<Arc<Collection>, Refusal> {
        self.of(peer).into_iter().find(|one| one.id == id).ok_or_else(refusals::ended)
    }
}

impl Collection {
    /// Takes one share; blocks for a moment.
    ///
    /// # Errors
    /// `SHARE_INVALID`: then nothing has changed, and the share is wiped. `SHARES_MISSING` when the collection has ended.
    pub(crate) fn give(&self, words: &SecretBytes) -> Result<Given, Refusal> {
        let share =
            Share::parse(words.reveal_secret_bytes()).map_err(|error| refusals::unreadable(&error))?;
        let mut shares = lock(&self.shares);
        let collected = match &mut *shares {
            Shares::Open(collected) if self.has_enough(collected) => return Err(refusals::enough()),
            Shares::Enough(_) => return Err(refusals::enough()),
            Shares::Open(collected) if !self.is_over() => collected,
            Shares::Open(_) | Shares::Ended(_) => return Err(refusals::ended()),
        };
        let custodian =
            collected.offer(share).map_err(|error| refusals::share(&error, &self.manifest, &self.key))?;
        let complete = self.has_enough(collected);
        let collection = self.told(&Standing::of(collected));
        drop(shares);
        self.tell_of_change();
        Ok(Given { custodian, collection, complete })
    }

    /// Its opener wants to wait no longer: what was given is wiped. How it stood.
    ///
    /// # Errors
    /// `SHARES_MISSING` where it has enough, which are used, or has ended.
    pub(crate) fn end(&self) -> Result<v1::Collection, Refusal> {
        let mut shares = lock(&self.shares);
        let standing = match &*shares {
            Shares::Open(collected) if !self.has_enough(collected) => Standing::of(collected),
            Shares::Open(_) | Shares::Enough(_) => return Err(refusals::enough()),
            Shares::Ended(_) => return Err(refusals::ended()),
        };
        let told = self.told(&standing);
        *shares = Shares::Ended(standing);
        drop(shares);
        self.tell_of_change();
        Ok(told)
    }

    /// What comes of shares that are enough, if it is known within this time.
    pub(crate) async fn outcome(&self, within: Duration) -> Outcome {
        let mut outcomes = self.outcome.subscribe();
        let known = outcomes.wait_for(|outcome| *outcome != Outcome::Open);
        tokio::time::timeout(within, known)
            .await
            .map_or(Outcome::Open, |known| known.map_or(Outcome::Open, |known| *known))
    }

    /// Opens what was sealed to this collection.
    ///
    /// # Errors
    /// `USAGE` for what was sealed to another one, or for other content.
    pub(crate) fn open_sealed(&self, sealed: &v1::Sealed) -> Result<SecretBytes, Refusal> {
        // What its custodian was shown, all of it, is what is collected for.
        let bound = Sha256Digest::of(&self.describe().bound());
        self.seal.open(sealed, &format!("collect:{}:{bound}", self.id)).map_err(|refusal| {
            match refusal.reason {
                Reason::Usage => Refusal::new(
                    Reason::Usage,
                    "the share was not sealed to this collection, or not for what it is about",
                )
                .remedy("seal it for the ticket of the collection that is open: tufctl share seal TICKET")
                .detail("collection", self.id.as_str()),
                _ => refusal,
            }
        })
    }

    /// Whether they make the key, and no more of them are waited for.
    fn has_enough(&self, collected: &Collected) -> bool {
        collected.complete() && collected.given().count() >= self.at_least
    }

    /// Why it takes no more shares, if it does not: its time is over, or the machine was suspended, and locked memory is
    /// written to an image of it.
    fn over_by(&self, boot: Duration, slept: Duration) -> Option<&'static str> {
        if boot >= self.until {
            return Some("the collection has waited long enough");
        }
        (slept > self.slept.saturating_add(DOZE)).then_some("the machine was suspended")
    }

    fn is_over(&self) -> bool {
        self.over_by(clock::boot(), clock::slept()).is_some()
    }

    fn tell_of_change(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

/// What the two clocks may differ by with no suspension between.
const DOZE: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
