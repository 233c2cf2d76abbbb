//! What is kept of a split key: the manifests of its sets, who has proven what, and whether a whole copy is left.
//!
//! One file a key, so that what becomes of its sets becomes of all of them at once. No secret is in it. A manifest is
//! signed by its key; the rest has a checksum, which finds damage and no forger: whoever can write here is this user.

use std::collections::BTreeSet;
use std::path::Path;

use backend::folder::corrupt;
use backend::{BackendError, KeyName, Origin, StoredKey};
use custody::{CustodianRef, SignedManifest, Used};
use serde::{Deserialize, Serialize};
use tuf::digest::Sha256Digest;
use tuf::key::PublicKey;
use tuf::time::UtcTime;

/// A key that is split: its sets, from the oldest that is kept to the newest.
#[derive(Debug, Clone)]
pub struct SplitKey {
    /// What people call it here.
    pub name: KeyName,
    /// Where it was made, before it was split.
    pub origin: Origin,
    /// What is left of it whole.
    pub whole: Whole,
    /// Never empty.
    sets: Vec<SplitSet>,
    /// Of sets that stand here no more, were they given up or replaced long ago: no other set gets their numbers.
    used: Vec<Used>,
}

/// Whether the file store had this key when it was split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// It had not, or has it no more.
    Nowhere,
    /// It had, and the last proof takes it away.
    Goes,
    /// It had, and shall keep it.
    Stays,
}

/// One set of shares.
#[derive(Debug, Clone)]
pub struct SplitSet {
    /// What it is worth now.
    pub state: SetState,
    /// Who has which share of it.
    pub manifest: SignedManifest,
    /// Group and member of those who have proven theirs.
    pub confirmed: BTreeSet<(u8, u8)>,
    /// The last drill that went well.
    pub drilled: Option<UtcTime>,
}

/// What a set is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetState {
    /// Not all custodians have proven their shares.
    Proving,
    /// Its shares are taken.
    Alive,
    /// Another set has taken its place. Its shares still make the key, and are refused here.
    Dead,
}

impl SetState {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proving => "proving",
            Self::Alive => "alive",
            Self::Dead => "dead",
        }
    }
}

impl SplitKey {
    /// A key with its first set.
    #[must_use]
    pub fn new(name: KeyName, origin: Origin, whole: Whole, first: SplitSet) -> Self {
        Self { name, origin, whole, sets: vec![first], used: Vec::new() }
    }

    /// Its sets.
    #[must_use]
    pub fn sets(&self) -> &[SplitSet] {
        &self.sets
    }

    /// The set whose shares are taken.
    #[must_use]
    pub fn alive(&self) -> Option<&SplitSet> {
        self.sets.iter().find(|set| set.state == SetState::Alive)
    }

    /// Whether it may be given to roles: a set is alive, and its shares were seen to be there.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        self.alive().is_some_and(SplitSet::is_seen)
    }

    /// The set that waits for its proofs.
    #[must_use]
    pub fn proving(&self) -> Option<&SplitSet> {
        self.sets.iter().find(|set| set.state == SetState::Proving)
    }

    /// The set that this manifest describes.
    #[must_use]
    pub fn set(&self, digest: &Sha256Digest) -> Option<&SplitSet> {
        self.sets.iter().find(|set| set.manifest.digest() == *digest)
    }

    /// The same, to be changed.
    pub fn set_mut(&mut self, digest: &Sha256Digest) -> Option<&mut SplitSet> {
        self.sets.iter_mut().find(|set| set.manifest.digest() == *digest)
    }

    /// The numbers of all sets that were ever made of it here.
    #[must_use]
    pub fn used(&self) -> Vec<Used> {
        let mut used = self.used.clone();
        used.extend(self.sets.iter().map(|set| set.manifest.used()));
        used
    }

    /// Keeps those of its sets that are wanted, and the numbers of the others.
    fn keep(&mut self, mut wanted: impl FnMut(&SplitSet) -> bool) {
        let used = &mut self.used;
        self.sets.retain(|set| {
            let stays = wanted(set);
            if !stays {
                used.push(set.manifest.used());
            }
            stays
        });
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> Option<&PublicKey> {
        self.sets.first().map(|set| set.manifest.public_key())
    }

    /// As a key of a token.
    #[must_use]
    pub fn stored(&self) -> Option<StoredKey> {
        let public = self.public()?.clone();
        Some(StoredKey { name: self.name.clone(), public, origin: self.origin, place: None })
    }

    /// One more set of this key; of those that are dead a few are kept, so that their shares can be named.
    pub fn add(&mut self, set: SplitSet) {
        self.sets.push(set);
        let dead = self.sets.iter().filter(|set| set.state == SetState::Dead).count();
        let mut surplus = dead.saturating_sub(MOST_DEAD);
        self.keep(|set| {
            let goes = surplus > 0 && set.state == SetState::Dead;
            surplus = surplus.saturating_sub(usize::from(goes));
            !goes
        });
    }

    /// The newest set takes the place of the one that is alive.
    pub fn replace(&mut self, digest: &Sha256Digest) {
        for set in &mut self.sets {
            if set.manifest.digest() == *digest {
                set.state = SetState::Alive;
            } else if set.state == SetState::Alive {
                set.state = SetState::Dead;
            }
        }
    }

    /// A set that was made elsewhere is the newest, and takes the place of all others.
    pub fn take_over(&mut self, set: SplitSet) {
        for old in &mut self.sets {
            old.state = SetState::Dead;
        }
        self.add(set);
    }

    /// Without the set that waits for its proofs; none when there is no other.
    #[must_use]
    pub fn without_proving(mut self) -> Option<Self> {
        self.keep(|set| set.state != SetState::Proving);
        Some(self).filter(|key| !key.sets.is_empty())
    }
}

impl SplitSet {
    /// A set that nobody has proven anything of.
    #[must_use]
    pub fn new(state: SetState, manifest: SignedManifest) -> Self {
        Self { state, manifest, confirmed: BTreeSet::new(), drilled: None }
    }

    /// Takes note of a proof; false when it was there already.
    pub fn confirm(&mut self, custodian: &CustodianRef) -> bool {
        self.confirmed.insert((custodian.group, custodian.member))
    }

    /// Those who have proven their shares, and those who have not.
    #[must_use]
    pub fn proofs(&self) -> (Vec<&CustodianRef>, Vec<&CustodianRef>) {
        let all = self.manifest.members().iter().map(|member| &member.custodian);
        all.partition(|one| self.confirmed.contains(&(one.group, one.member)))
    }

    /// Whether this agent has seen that its shares are there: all of them, or enough in a drill. Of one whose manifest was
    /// imported it has not.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.is_proven() || self.drilled.is_some()
    }

    /// Whether all have.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proofs().1.is_empty()
    }
}

/// How many sets that were replaced are remembered.
const MOST_DEAD: usize = 8;

/// The first line of the file, before the checksum of the rest.
const HEADER: &str = "tuf-agent split key";
const VERSION: u64 = 1;

/// The file behind its first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    key: String,
    origin: Origin,
    whole: Whole,
    sets: Vec<BodySet>,
    /// Number and identifier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    used: Vec<(u64, u16)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodySet {
    state: SetState,
    confirmed: Vec<(u8, u8)>,
    drilled: Option<String>,
    /// `set.json`, byte by byte.
    manifest: String,
}

impl SplitKey {
    /// The file.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, BackendError> {
        let of_set = |set: &SplitSet| BodySet {
            state: set.state,
            confirmed: set.confirmed.iter().copied().collect(),
            drilled: set.drilled.map(|at| at.to_string()),
            manifest: set.manifest.to_json().to_owned(),
        };
        let sets = self.sets.iter().map(of_set).collect();
        let used = self.used.iter().map(|set| (set.sequence, set.identifier)).collect();
        let body = Body { key: self.name.to_string(), origin: self.origin, whole: self.whole, sets, used };
        let body = serde_json::to_string_pretty(&body).map_err(|error| BackendError::Failed {
            why: format!("the record of a split key cannot be written: {error}"),
            remedy: "report it".to_owned(),
        })?;
        let sum = Sha256Digest::of(body.as_bytes());
        Ok(format!("{HEADER} {VERSION} {sum}\n{body}").into_bytes())
    }

    /// Reads the file of this name, and believes nothing of it that does not hold.
    pub(super) fn parse(path: &Path, name: &str, bytes: &[u8]) -> Result<Self, BackendError> {
        let refuse = |why: &str| corrupt(path, why.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("it is no text"))?;
        let (first, body) = text.split_once('\n').ok_or_else(|| refuse("it is cut off"))?;
        let rest = first.strip_prefix(HEADER).ok_or_else(|| refuse("it is no record of a split key"))?;
        let (version, sum) =
            rest.trim_start().split_once(' ').ok_or_else(|| refuse("its first line is damaged"))?;
        match version.parse() {
            Ok(VERSION) => {}
            Ok(found) if found > VERSION => {
                return Err(BackendError::NewerFormat { path: path.to_owned(), found, supported: VERSION });
            }
            _ => return Err(refuse("its first line is damaged")),
        }
        if Sha256Digest::of(body.as_bytes()).to_string() != sum {
            return Err(refuse("it is damaged: its checksum does not fit"));
        }
        let body: Body =
            serde_json::from_str(body).map_err(|e| corrupt(path, format!("it cannot be read: {e}")))?;
        Self::from_body(body, name).map_err(|why| corrupt(path, why))
    }

    fn from_body(body: Body, name: &str) -> Result<Self, String> {
        if body.key != name {
            return Err(format!("it is of the key {}: files were exchanged", body.key));
        }
        let name = name.parse().map_err(|e| format!("its name cannot be used: {e}"))?;
        let sets = body.sets.into_iter().map(read_set).collect::<Result<Vec<_>, _>>()?;
        let used = body.used.into_iter().map(|(sequence, identifier)| Used { sequence, identifier });
        let key = Self { name, origin: body.origin, whole: body.whole, sets, used: used.collect() };
        let Some(public) = key.public() else { return Err("it has no set".to_owned()) };
        if key.sets.iter().any(|set| set.manifest.public_key() != public) {
            return Err("its sets are of different keys".to_owned());
        }
        let many = |state| key.sets.iter().filter(|set| set.state == state).count() > 1;
        if many(SetState::Alive) || many(SetState::Proving) {
            return Err("two of its sets claim to be the one".to_owned());
        }
        let digests: BTreeSet<_> = key.sets.iter().map(|set| set.manifest.digest()).collect();
        if digests.len() != key.sets.len() {
            return Err("one set stands in it twice".to_owned());
        }
        Ok(key)
    }
}

fn read_set(set: BodySet) -> Result<SplitSet, String> {
    let manifest =
        SignedManifest::parse(set.manifest.as_bytes()).map_err(|e| format!("a manifest in it: {e}"))?;
    let drilled = set.drilled.map(|text| text.parse::<UtcTime>()).transpose();
    Ok(SplitSet {
        state: set.state,
        confirmed: set.confirmed.into_iter().collect(),
        drilled: drilled.map_err(|_| "the time of a drill cannot be read".to_owned())?,
        manifest,
    })
}
