//! Collections: shares that are brought together for exactly one content.
//!
//! Each has a key of its own, to which shares are sealed with its name and the digest of all that whoever gives one is shown:
//! a share that was sealed for one collection, purpose or content is of no use to another. What was given lies in locked memory, and is wiped at the
//! deadline, with the call that opened it, when its token is locked, and when it was used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use custody::{Collected, CustodianRef, Share, SignedManifest};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tuf::digest::Sha256Digest;
use tuf::time::UtcTime;
use tufagent_proto::v1;

use super::refusals;
use super::store::SplitStore;
use crate::clock;
use crate::door::Peer;
use crate::limits;
use crate::refusal::Refusal;
use crate::seal::SealKey;

/// How long is slept at most: the runtime's clock stops in suspend, and the boot clock does not.
const NAP: Duration = Duration::from_secs(5);

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
}

impl Subject {
    /// What is no metadata.
    pub(super) fn of(purpose: Purpose, sha256: Sha256Digest, terms_json: String) -> Self {
        let (repository, role, difference_json) = Default::default();
        Self { purpose, sha256, repository, role, version: 0, difference_json, terms_json }
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
    /// The same, for people.
    deadline: UtcTime,
    /// None when it has ended.
    shares: Mutex<Option<Shares>>,
    changes: watch::Sender<u64>,
    locks: watch::Receiver<u64>,
}

/// What was given. Not shown by `Debug`.
struct Shares(Collected);

impl std::fmt::Debug for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shares(..)")
    }
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
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("custodians", &self.custodians).finish_non_exhaustive()
    }
}

/// Holds a collection open; it ends, and all that was given is wiped, with this.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    all: &'a Collections,
    collection: Arc<Collection>,
}

/// Which key, by which set.
pub(crate) struct Which<'a> {
    pub(crate) key: &'a str,
    pub(crate) token: &'a str,
    pub(crate) manifest: &'a SignedManifest,
    pub(crate) store: &'a SplitStore,
}

impl Collections {
    /// Opens one for this caller.
    ///
    /// # Errors
    /// `LIMIT` when too many are open.
    pub(crate) fn open(
        &self,
        which: &Which<'_>,
        subject: Subject,
        opener: &Peer,
    ) -> Result<Open<'_>, Refusal> {
        let mut all = lock(&self.0);
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
        let wait = i64::try_from(limits::COLLECT.as_secs()).unwrap_or(i64::MAX);
        let collection = Arc::new(Collection {
            id: hex::encode(id),
            key: which.key.to_owned(),
            token: which.token.to_owned(),
            subject,
            manifest: which.manifest.clone(),
            opener: opener.clone(),
            seal,
            until: clock::boot().saturating_add(limits::COLLECT),
            deadline: UtcTime::from_unix(clock::now().unix().saturating_add(wait)),
            shares: Mutex::new(Some(Shares(Collected::new(which.manifest)))),
            changes: watch::Sender::new(0),
            locks: which.store.locks(),
        });
        all.push(Arc::clone(&collection));
        Ok(Open { all: self, collection })
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
    /// As it travels.
    pub(crate) fn describe(&self) -> v1::Collection {
        let shares = lock(&self.shares);
        let names =
            |of: &mut dyn Iterator<Item = &CustodianRef>| of.map(ToString::to_string).collect::<Vec<_>>();
        let (have, given, missing) = match shares.as_ref() {
            Some(Shares(collected)) => {
                (collected.have(), names(&mut collected.given()), names(&mut collected.missing().iter()))
            }
            None => (0, Vec::new(), Vec::new()),
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let Subject { purpose, sha256, repository, role, version, difference_json, terms_json } =
            &self.subject;
        v1::Collection {
            id: self.id.clone(),
            key: self.key.clone(),
            token: self.token.clone(),
            purpose: purpose.as_str().to_owned(),
            public_key: self.seal.public_key().unwrap_or_default(),
            deadline: self.deadline.to_string(),
            manifest: self.manifest.to_json().as_bytes().to_vec(),
            have: count(have),
            need: count(self.manifest.need()),
            given,
            missing,
            sha256: sha256.to_string(),
            repository: repository.clone(),
            role: role.clone(),
            version: *version,
            difference_json: difference_json.clone(),
            opened_by: opened_by(&self.opener),
            terms_json: terms_json.clone(),
        }
    }

    /// Takes one share; gives whose it is. Blocks for a moment.
    ///
    /// # Errors
    /// `SHARE_INVALID`: then nothing has changed, and the share is wiped. `SHARES_MISSING` when the collection has ended.
    pub(crate) fn give(&self, words: &SecretBytes) -> Result<CustodianRef, Refusal> {
        let share =
            Share::parse(words.reveal_secret_bytes()).map_err(|error| refusals::unreadable(&error))?;
        let mut shares = lock(&self.shares);
        let Some(Shares(collected)) = shares.as_mut().filter(|_| !self.is_over()) else {
            return Err(refusals::ended());
        };
        if collected.complete() {
            return Err(refusals::enough());
        }
        let custodian =
            collected.offer(share).map_err(|error| refusals::share(&error, &self.manifest, &self.key))?;
        drop(shares);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        Ok(custodian)
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

    fn is_over(&self) -> bool {
        clock::boot() >= self.until
    }

    /// What the journal keeps of it.
    fn json(&self) -> Value {
        let Subject { purpose, sha256, repository, role, version, .. } = &self.subject;
        let mut body = json!({
            "collection": self.id,
            "key": self.key,
            "token": self.token,
            "set": self.manifest.digest().to_string(),
            "for": purpose.as_str(),
            "sha256": sha256.to_string(),
        });
        if let (Purpose::Sign, Some(members)) = (purpose, body.as_object_mut()) {
            members.insert("repository".to_owned(), json!(repository));
            members.insert("role".to_owned(), json!(role));
            members.insert("version".to_owned(), json!(version));
        }
        body
    }
}

impl Open<'_> {
    /// Waits until enough shares were given; `tell` is told of the beginning and of each. Ends early when `gone` does.
    ///
    /// # Errors
    /// `SHARES_MISSING` at the deadline, `TOKEN_LOCKED`, `CANCELLED`; all that was given is wiped then.
    pub(crate) async fn gather<T, G>(
        self,
        tell: impl Fn(v1::Collection) -> T,
        gone: impl Fn() -> G,
    ) -> Result<Gathered, Refusal>
    where
        T: Future<Output = Result<(), Refusal>>,
        G: Future<Output = Refusal>,
    {
        let collection = &self.collection;
        let (mut changes, mut locks) = (collection.changes.subscribe(), collection.locks.clone());
        locks.mark_unchanged();
        loop {
            changes.mark_unchanged();
            if let Some(gathered) = self.take_if_complete() {
                tell(collection.describe_complete(&gathered)).await?;
                return Ok(gathered);
            }
            tell(collection.describe()).await?;
            tokio::select! {
                _ = changes.changed() => {}
                _ = locks.changed() => return Err(refusals::locked(&collection.token)),
                refusal = gone() => return Err(refusal),
                () = collection.over() => return Err(refusals::too_late(&collection.describe())),
            }
        }
    }

    fn take_if_complete(&self) -> Option<Gathered> {
        let mut shares = lock(&self.collection.shares);
        let Shares(collected) = shares.take_if(|Shares(collected)| collected.complete())?;
        Some(Gathered {
            custodians: collected.given().map(ToString::to_string).collect(),
            collected,
            set: self.collection.manifest.digest(),
            id: self.collection.id.clone(),
        })
    }

    /// What the journal keeps of it.
    pub(crate) fn json(&self) -> Value {
        self.collection.json()
    }
}

impl Collection {
    async fn over(&self) {
        loop {
            let left = self.until.saturating_sub(clock::boot());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(NAP)).await;
        }
    }

    fn describe_complete(&self, gathered: &Gathered) -> v1::Collection {
        let have = u32::try_from(gathered.custodians.len()).unwrap_or(u32::MAX);
        v1::Collection { have, given: gathered.custodians.clone(), ..self.describe() }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.all.0).retain(|one| !Arc::ptr_eq(one, &self.collection));
        // Wiped now, whoever still holds the collection.
        drop(lock(&self.collection.shares).take());
    }
}

/// Who opened it, for people.
fn opened_by(peer: &Peer) -> String {
    match &peer.exe {
        Some(exe) => format!("uid {}, {exe}", peer.uid),
        None => format!("uid {}", peer.uid),
    }
}

/// What an ended collection leaves in the journal.
pub(crate) fn ended_json(body: &Value, refusal: &Refusal) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.insert("why".to_owned(), refusal.journal_json());
    }
    body
}

/// The same, with who gave a share.
pub(crate) fn gathered_json(body: &Value, custodians: &[String]) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.insert("custodians".to_owned(), json!(custodians));
    }
    body
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
