//! One name space of keys over all tokens.

use std::sync::Arc;

use backend::{KeyName, Origin, StoredKey, TokenState};
use policy::Reason;
use tuf::key::PublicKey;
use tufagent_proto::v1::Key;

use super::names::{Missing, Whereabouts};
use super::{Listing, Slot, Tokens};
use crate::refusal::Refusal;
use crate::split::Whole;

/// A key that this agent holds.
#[derive(Clone)]
pub struct HeldKey {
    /// Its name, one of a kind.
    pub name: String,
    /// Where it lies.
    pub slot: Arc<Slot>,
    /// Its public half.
    pub stored: StoredKey,
    /// False when its token is absent or failed, or did not answer, or the key is lost.
    pub available: bool,
    /// It was on its token and is there no more, and nobody removed it through this agent.
    pub lost: bool,
    /// Its token did not answer in time: this is what it showed last.
    pub unanswered: bool,
}

impl HeldKey {
    /// One that its token has shown just now.
    #[must_use]
    pub fn here(slot: Arc<Slot>, stored: StoredKey) -> Self {
        let name = stored.name.to_string();
        Self { name, slot, stored, available: true, lost: false, unanswered: false }
    }

    /// Before its use: the token is ready, or will be once a person was asked, and the key is on it. `asks`: the caller
    /// has a person type a PIN that the key takes for each signature.
    ///
    /// # Errors
    /// As [`Slot::may_become_usable`]; `KEY_NOT_FOUND` for a key that is lost.
    pub async fn ensure_usable(&self, asks: bool) -> Result<(), Refusal> {
        let slot = &self.slot;
        if !(slot.signs_locked(&self.stored) || asks && slot.unlocks_with_signature(&self.stored)) {
            slot.may_become_usable().await?;
        }
        if self.lost { Err(self.gone()) } else { Ok(()) }
    }

    /// What its token said when it was to sign: where that does not have the key, which it is, and that is looked at anew.
    pub(crate) fn missed(&self, refusal: Refusal) -> Refusal {
        if refusal.reason != Reason::KeyNotFound {
            return refusal;
        }
        self.slot.may_have_changed();
        self.gone()
    }

    pub(super) fn gone(&self) -> Refusal {
        let (name, token) = (&self.name, self.slot.name());
        if let Some(odd) = self.slot.odd_objects() {
            // It may be there, and be one of these.
            let message = format!("the key {name} is not seen on token {token}: {odd}");
            return Refusal::new(Reason::KeyNotFound, message)
                .remedy(format!(
                    "look at the objects of the token with its own tool, or at its module, and ask again; what it is that cannot \
                     be read is also told by tufctl token doctor {token}"
                ))
                .detail("key", name.as_str())
                .detail("token", token);
        }
        Refusal::new(Reason::KeyNotFound, format!("the key {name} is on token {token} no more"))
            .remedy(format!(
                "bring it back onto the token from its backup; if it is gone for good, give its roles another key, \
                 then: tufctl key remove {name}"
            ))
            .detail("key", name.as_str())
            .detail("token", token)
    }

    /// As it travels.
    #[must_use]
    pub fn describe(&self) -> Key {
        let key = self.stored.public.to_key();
        Key {
            name: self.name.clone(),
            token: self.slot.name().to_owned(),
            r#type: self.stored.public.type_name(),
            keyid: key.computed_keyid().to_string(),
            tuf_json: key.json().to_owned(),
            available: self.available,
            unanswered: self.unanswered,
            origin: self.stored.origin.as_str().to_owned(),
            slot: self.stored.place.map(|place| place.slot.to_string()).unwrap_or_default(),
            touch: self.stored.place.map(|place| place.touch.as_str().to_owned()).unwrap_or_default(),
            pin_policy: self.stored.place.map(|place| place.pin.as_str().to_owned()).unwrap_or_default(),
            signs_locked: self.available && self.slot.signs_locked(&self.stored),
            // Known to whoever keeps the manifests.
            unproven: Vec::new(),
        }
    }
}

impl Tokens {
    /// All keys of all tokens. A token that does not answer gives the keys it was last known to hold.
    pub async fn keys(&self) -> Vec<HeldKey> {
        self.all_keys(Wanted::Whole).await
    }

    /// The same, for people to see: a token that hangs is told as such, and not waited for longer than they like to.
    pub async fn keys_to_show(&self) -> Vec<HeldKey> {
        self.all_keys(Wanted::ToShow).await
    }

    /// The same, to choose those that are asked for a signature: a list of a moment ago is enough.
    pub async fn keys_to_sign(&self) -> Vec<HeldKey> {
        self.all_keys(Wanted::ToSign).await
    }

    /// The same, where shares of this key are brought: it is the split one that signs, also while there is a whole copy.
    pub(crate) async fn keys_to_collect(&self, public: &PublicKey) -> Vec<HeldKey> {
        let mut listed = self.listed(Wanted::ToSign).await;
        if listed.held.iter().any(|key| key.slot.is_split() && key.stored.public == *public) {
            listed.held.retain(|key| key.slot.file_store().is_none() || key.stored.public != *public);
        }
        self.in_one_name_space(listed)
    }

    async fn all_keys(&self, wanted: Wanted) -> Vec<HeldKey> {
        self.in_one_name_space(self.listed(wanted).await)
    }

    /// What all tokens have, and what they have lost.
    async fn listed(&self, wanted: Wanted) -> Listed {
        let to_sign = wanted == Wanted::ToSign;
        let mut listed = Listed::default();
        // Asked side by side: one slow token does not add up with another.
        let asked: Vec<_> = self
            .all()
            .into_iter()
            .map(|slot| {
                let asking = Arc::clone(&slot);
                let answer = match slot.keys_at_hand(to_sign) {
                    Some(listing) => Asked::AtHand(listing),
                    None => {
                        Asked::Under(tokio::spawn(async move { asking.keys(wanted != Wanted::Whole).await }))
                    }
                };
                (slot, answer)
            })
            .collect();
        for (slot, answer) in asked {
            let listing = match answer {
                Asked::AtHand(listing) => listing,
                Asked::Under(asked) if to_sign => slot.last_shown_unless(asked).await,
                Asked::Under(asked) => asked.await.unwrap_or_default(),
            };
            let there =
                !matches!(slot.state(), TokenState::Absent | TokenState::Failed) && slot.stranger().is_none();
            let (available, unanswered) = (listing.answered && there, !listing.answered && there);
            let held_as = |stored: StoredKey, lost: bool| {
                let (name, slot) = (stored.name.to_string(), Arc::clone(&slot));
                HeldKey { name, slot, stored, available: available && !lost, lost, unanswered }
            };
            listed.at.configured.insert(slot.name().to_owned());
            if listing.whole && there {
                listed.at.whole.insert(slot.name().to_owned());
                listed.at.cards.extend(slot.card_id().map(|card| (slot.name().to_owned(), card)));
            }
            for gone in &listing.lost {
                listed.at.lost.insert((slot.name().to_owned(), gone.public.clone()));
            }
            listed.held.extend(listing.keys.into_iter().map(|stored| held_as(stored, false)));
            listed.lost.extend(listing.lost.into_iter().map(|stored| held_as(stored, true)));
        }
        listed
    }

    /// Each key once, under a name of its own.
    fn in_one_name_space(&self, Listed { mut held, mut lost, at }: Listed) -> Vec<HeldKey> {
        hide_behind_whole_copies(&mut held);
        let missing = self.names.give(&mut held, &mut lost, &at);
        self.tell_missing(&missing, &at);
        lost.extend(missing.iter().filter_map(|missing| self.as_lost(missing, &held)));
        // What took the place of a lost key, or is a copy of it, is what is meant.
        lost.retain(|gone| {
            !held.iter().any(|key| key.name == gone.name || key.stored.public == gone.stored.public)
        });
        for key in lost {
            let is_same = |other: &HeldKey| {
                other.stored.public == key.stored.public && other.slot.name() == key.slot.name()
            };
            if !held.iter().any(is_same) {
                held.push(key);
            }
        }
        held
    }

    /// A key that was on its token in another run of the agent.
    fn as_lost(&self, missing: &Missing, held: &[HeldKey]) -> Option<HeldKey> {
        let slot = &held.iter().find(|key| key.slot.name() == missing.token)?.slot;
        let (name, public) = (missing.name.parse().ok()?, missing.public.clone());
        let stored = StoredKey { name, public, origin: Origin::Unknown, place: None };
        let name = missing.name.clone();
        Some(HeldKey {
            name,
            slot: Arc::clone(slot),
            stored,
            available: false,
            lost: true,
            unanswered: false,
        })
    }

    /// People read of it with the token, and once in the log.
    fn tell_missing(&self, missing: &[Missing], at: &Whereabouts) {
        for slot in self.all().iter().filter(|slot| at.cards.contains_key(slot.name())) {
            let of_it = missing.iter().filter(|missing| missing.token == slot.name());
            slot.miss(of_it.map(Missing::told).collect());
        }
    }

    /// This key was made here, and has its name from now on.
    pub(crate) fn assign_name(&self, key: &HeldKey) {
        self.names.assign(key);
    }

    /// The key was removed on purpose: another one may have its name.
    pub(crate) fn forget_name(&self, key: &HeldKey) {
        self.names.forget(key);
    }

    /// The key of this name.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`.
    pub async fn key(&self, name: &str) -> Result<HeldKey, Refusal> {
        // Where it is known already, nobody waits for another token.
        match self.find(&self.keys_to_sign().await, name) {
            Ok(key) if !key.lost => Ok(key),
            _ => self.find(&self.keys().await, name),
        }
    }

    /// The key of this name among these.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`; it names tokens that are not there, for the key may lie on one of them.
    pub(crate) fn find(&self, keys: &[HeldKey], name: &str) -> Result<HeldKey, Refusal> {
        if let Some(key) = keys.iter().find(|key| key.name == name) {
            return Ok(key.clone());
        }
        // Nobody knows yet what it holds.
        let in_use = |slot: &&Arc<Slot>| slot.is_card() && slot.describe().in_use;
        if let Some(slot) = self.all().iter().find(in_use) {
            let held = slot.unusable();
            let message = format!("there is no key named {name:?} as far as is known: {}", held.message);
            return Err(Refusal::new(held.reason, message)
                .remedy(held.remedy)
                .detail("key", name)
                .detail("token", slot.name()));
        }
        if let Some((slot, stranger)) = self.all().iter().find_map(|slot| Some((slot, slot.stranger()?))) {
            let message = format!("there is no key named {name:?} as far as is known: {}", stranger.message);
            return Err(Refusal::new(Reason::KeyNotFound, message)
                .remedy(format!("see the names with: tufctl key list; {}", stranger.remedy))
                .detail("key", name)
                .detail("token", slot.name()));
        }
        let silent = |slot: &Arc<Slot>| matches!(slot.state(), TokenState::Absent | TokenState::Failed);
        let tokens: Vec<_> =
            self.all().into_iter().filter(silent).map(|slot| slot.name().to_owned()).collect();
        let odd = self.all().into_iter().find_map(|slot| Some((slot.odd_objects()?, slot.name().to_owned())));
        let remedy = if let Some((odd, token)) = odd {
            format!("see the names with: tufctl key list; it may lie on {token} and not be seen: {odd}")
        } else if tokens.is_empty() {
            "see the names with: tufctl key list".to_owned()
        } else {
            format!("it may lie on {}, which does not answer: see tufctl token list", tokens.join(", "))
        };
        Err(Refusal::new(Reason::KeyNotFound, format!("there is no key named {name:?}"))
            .remedy(remedy)
            .detail("key", name))
    }
}

impl Tokens {
    /// One name space for the agent, whichever token.
    ///
    /// # Errors
    /// `NAME_TAKEN`.
    pub(crate) async fn check_free(&self, name: &KeyName) -> Result<(), Refusal> {
        let listed = self.listed(Wanted::Whole).await;
        let away = self.names.reserved_by(name, &listed.at);
        let keys = self.in_one_name_space(listed);
        let Some(other) = keys.iter().find(|key| key.name == name.as_str() && !key.lost) else {
            return match away {
                None => Ok(()),
                Some(token) => Err(taken_by_unseen(name, &token)),
            };
        };
        let message = format!("token {} has a key named {name} already", other.slot.name());
        Err(Refusal::new(Reason::NameTaken, message).remedy(other_name(other)).detail("key", name.as_str()))
    }

    /// One place for a key: of two, nobody could say by which it signs, unless a person has said that it is to have a
    /// backup on `slot`. One that its token has lost may come back. Gives the copies that there are.
    ///
    /// # Errors
    /// `DUPLICATE_KEY`.
    pub(crate) async fn check_new(
        &self,
        public: &PublicKey,
        slot: &Slot,
        backup: bool,
    ) -> Result<Vec<HeldKey>, Refusal> {
        let is_same = |key: &HeldKey| key.stored.public == *public && !key.lost;
        let same: Vec<_> = self.keys().await.into_iter().filter(is_same).collect();
        let refused = |key: &&HeldKey| !backup || key.slot.name() == slot.name() || key.slot.is_split();
        let Some(other) = same.iter().find(refused) else { return Ok(same) };
        let (name, token) = (other.name.as_str(), other.slot.name());
        let message = format!("this very key is on token {token} already, named {name}");
        let or = match other.slot.is_split() || token == slot.name() {
            true => "",
            false => "; or, for a backup on another token, say --duplicate",
        };
        Err(Refusal::new(Reason::DuplicateKey, message)
            .remedy(format!(
                "use the key that is there: {name}; or remove that one first: tufctl key remove {name}{or}"
            ))
            .detail("key", name)
            .detail("token", token))
    }
}

/// # Errors
/// `NAME_INVALID`.
pub(crate) fn key_name(text: &str) -> Result<KeyName, Refusal> {
    KeyName::given(text).map_err(|error| {
        Refusal::new(Reason::NameInvalid, format!("{text:?} cannot be a key's name: {error}")).remedy(
            "use letters, digits, '.', '_' and '-', no '-' at the start, and no .json or .pem at the end",
        )
    })
}

/// What a list of keys is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// To see what is there, and that nothing else is.
    Whole,
    ToShow,
    ToSign,
}

/// What tokens have.
#[derive(Default)]
struct Listed {
    held: Vec<HeldKey>,
    lost: Vec<HeldKey>,
    at: Whereabouts,
}

/// The keys of a token, or the task that asks for them.
enum Asked {
    AtHand(Listing),
    Under(tokio::task::JoinHandle<Listing>),
}

/// A split key of which the file store has a whole copy is that copy, as long as it is there; one that should be gone, as all
/// shares are proven, is none.
fn hide_behind_whole_copies(held: &mut Vec<HeldKey>) {
    if !held.iter().any(|key| key.slot.is_split()) {
        return;
    }
    let condemned: Vec<_> =
        held.iter().filter(|key| is_condemned(key)).map(|key| key.stored.public.clone()).collect();
    held.retain(|key| key.slot.file_store().is_none() || !condemned.contains(&key.stored.public));
    let whole = held.iter().filter(|key| key.slot.file_store().is_some());
    let whole: Vec<_> = whole.map(|key| key.stored.public.clone()).collect();
    held.retain(|key| !key.slot.is_split() || !whole.contains(&key.stored.public));
}

/// Whether this is a split key whose whole copy is to be destroyed.
fn is_condemned(key: &HeldKey) -> bool {
    let split = key.slot.split_store().and_then(|store| store.of_public(&key.stored.public));
    split.is_some_and(|split| split.whole == Whole::Goes && split.alive().is_some())
}

/// A name of a key that may be on its token still, which nobody sees now.
fn taken_by_unseen(name: &KeyName, token: &str) -> Refusal {
    let message = format!(
        "a key of token {token} is named {name}, and the token is not there, or does not show it now"
    );
    Refusal::new(Reason::NameTaken, message)
        .remedy(format!(
            "choose another name; or bring the token back and unlock it (tufctl token unlock {token}): where the key is gone, its \
             name is free then; so it is once the token's entry is taken out of the configuration"
        ))
        .detail("key", name.as_str())
        .detail("token", token)
}

/// What to do where a name is taken. A first set that waits may be one that was never handed out.
fn other_name(taken: &HeldKey) -> String {
    let split = taken.slot.split_store().and_then(|store| store.of_public(&taken.stored.public));
    match split.filter(|split| split.alive().is_none()) {
        Some(split) => format!(
            "choose another name; or give up the set of it, which waits for proofs: tufctl share split {} --abort",
            split.name
        ),
        None => "choose another name".to_owned(),
    }
}
