//! The keys of one token, and those that it does not show any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::pkcs11::Pkcs11Token;
use backend::{StoredKey, TokenState};
use policy::Reason;
use tokio::task::JoinHandle;
use tuf::key::PublicKey;

use super::{Slot, lock};
use crate::config::TokenKind;
use crate::refusal::Refusal;

/// How long a list of keys may take before the last known one is given, and the token counts as silent.
const DEADLINE: Duration = Duration::from_secs(5);

/// So long whoever wants to see keys waits for a token that has shown its own before.
const SHORTLY: Duration = Duration::from_secs(1);

/// So long a signature waits for the list of a token whose last one is known, and everybody for that of a silent one.
const PATIENCE: Duration = Duration::from_millis(10);

/// For so long a list of keys is new enough to choose a key from that is then asked for a signature.
const RECENT: Duration = Duration::from_secs(1);

/// What is known of the keys of a token.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    keys: Vec<StoredKey>,
    lost: Vec<StoredKey>,
    /// When the token showed them; none when something may have changed since.
    shown: Option<Instant>,
    /// Of a card, which time that it came they were read.
    since: Option<u64>,
    /// Those are all that it had then.
    whole: bool,
    /// It kept somebody waiting in vain, and has not answered since.
    silent: bool,
    /// Which names are those of keys that are missing while others have their labels, for people.
    replaced: Vec<String>,
}

/// The keys of a token.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Those that are on it.
    pub keys: Vec<StoredKey>,
    /// Those that were, and are gone though nobody removed them here.
    pub lost: Vec<StoredKey>,
    /// It has no others.
    pub whole: bool,
    /// Read just now; otherwise the last known ones, because the token does not answer.
    pub answered: bool,
}

impl Known {
    /// The token shows these keys now; unless they are `all` that it has, it may have others that it has shown before.
    fn see(&mut self, shown: Vec<StoredKey>, all: bool) {
        let is_shown = |key: &StoredKey| shown.iter().any(|other| other.public == key.public);
        let mut hidden: Vec<_> = self.keys.drain(..).filter(|key| !is_shown(key)).collect();
        self.lost.retain(|key| !is_shown(key));
        self.keys = shown;
        self.shown = Some(Instant::now());
        self.whole = all;
        self.silent = false;
        if all {
            self.lost.append(&mut hidden);
        } else {
            self.keys.append(&mut hidden);
        }
    }

    fn forget(&mut self, key: &PublicKey) {
        self.keys.retain(|known| known.public != *key);
        self.lost.retain(|known| known.public != *key);
        self.shown = None;
    }

    /// No key is missed: one that is may have come back.
    fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }

    fn listing(&self) -> Listing {
        let (keys, lost) = (self.keys.clone(), self.lost.clone());
        Listing { keys, lost, whole: self.whole, answered: true }
    }
}

impl Slot {
    /// Its keys, where they are had at once: the file store and tokens of shares hold their public halves in memory, and what another
    /// unlocked token has shown just now is enough to choose from, since it has the last word when it signs.
    pub(in crate::tokens) fn keys_at_hand(&self, to_sign: bool) -> Option<Listing> {
        let state = self.backend.state();
        if !matches!(self.config.kind, TokenKind::File | TokenKind::Shares { .. }) {
            let known = lock(&self.known_keys);
            let recent = known.shown.is_some_and(|shown| shown.elapsed() < RECENT);
            // Whoever asks for it at this moment waits for it.
            let asked = known.shown.is_some() && self.lists.available_permits() == 0;
            let enough =
                to_sign && (recent || asked) && self.is_current(&known) && state == TokenState::Unlocked;
            return enough.then(|| known.listing());
        }
        if matches!(state, TokenState::Failed | TokenState::Absent) {
            return None;
        }
        let shown = self.backend.keys().ok()?;
        let mut known = lock(&self.known_keys);
        known.see(shown, state == TokenState::Unlocked && self.backend.state() == state);
        // It holds their public halves in memory, locked too.
        Some(Listing { whole: true, ..known.listing() })
    }

    /// Its keys; the last known ones when the token does not answer in time. One that hangs keeps people waiting once, and
    /// not again before it has answered: their commands may be about other tokens. `shortly`: the last known ones will do.
    pub async fn keys(self: &Arc<Self>, shortly: bool) -> Listing {
        let last = |answered| {
            let known = lock(&self.known_keys).listing();
            Listing { answered, whole: known.whole && answered, ..known }
        };
        let silent = lock(&self.known_keys).silent;
        if silent && self.lists.available_permits() == 0 {
            return last(false);
        }
        let slot = Arc::clone(self);
        // What comes is noted, whoever still waits for it.
        let asked = tokio::spawn(async move { slot.ask_for_keys().await });
        let limit = if silent { PATIENCE } else { self.patience(shortly) };
        let answered = tokio::time::timeout(limit, asked).await;
        if answered.is_err() && limit >= DEADLINE {
            // Whoever is told nothing of its keys is told why, also where the list's own time ends a moment later.
            lock(&self.known_keys).silent = true;
        }
        last(matches!(answered, Ok(Ok(true))))
    }

    /// How long a list may take of a token that has answered so far.
    fn patience(&self, shortly: bool) -> Duration {
        if shortly && lock(&self.known_keys).shown.is_some() {
            return SHORTLY;
        }
        match self.is_heard_of() {
            true => DEADLINE,
            // It has not said a word since the start: whoever comes later than that does not wait for its first one.
            false => DEADLINE.saturating_sub(self.opened.elapsed()).max(PATIENCE),
        }
    }

    /// Whether it gave its keys; not in time, it counts as silent until it gives them.
    async fn ask_for_keys(&self) -> bool {
        let mut call = std::pin::pin!(self.list());
        let listed = match tokio::time::timeout(DEADLINE, call.as_mut()).await {
            Ok(listed) => listed,
            Err(_) => {
                lock(&self.known_keys).silent = true;
                call.await
            }
        };
        match listed {
            Ok((keys, all, since)) => {
                // One of these may be a key that it has and that is not seen.
                let odd = self.odd_objects().is_some();
                let mut known = lock(&self.known_keys);
                known.see(keys, all);
                known.whole &= !odd;
                known.since = since;
                true
            }
            Err(error) => {
                if error.reason == Reason::TokenSwapped {
                    let mut known = lock(&self.known_keys);
                    (known.silent, known.shown) = (false, None);
                }
                tracing::debug!(token = self.name(), %error, "keys could not be listed");
                false
            }
        }
    }

    /// The keys that the token shows; whether those are all that it has, as it was unlocked meanwhile, or is a card; and which
    /// time that this came they were read.
    async fn list(&self) -> Result<(Vec<StoredKey>, bool, Option<u64>), Refusal> {
        // Not in the queue: a list must not wait behind a touch.
        let place = Arc::clone(&self.lists).acquire_owned().await.map_err(Refusal::internal)?;
        let (backend, card, token) = (Arc::clone(&self.backend), self.card(), self.pkcs11.clone());
        let work = move || {
            let _place = place;
            let shows_all = || match backend.state() {
                TokenState::Unlocked => true,
                // What lies on a card anybody may see.
                TokenState::Locked | TokenState::Blocked => card.is_some(),
                TokenState::Absent | TokenState::Failed => false,
            };
            let before = shows_all();
            let keys = backend.keys()?;
            let of = token.map(|token| token.last_seen());
            let since = card.as_ref().and_then(|card| card.keys_since());
            Ok((of, keys, before && shows_all() && (card.is_none() || since.is_some()), since))
        };
        let listed = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
        let (of, keys, all, since) = listed.map_err(|error| self.refusal(&error))?;
        // One that is unlocked has accepted its PIN.
        if !all {
            self.recall_bound().await?;
            if let Some(refusal) = of.and_then(|card| self.not_ours(&card)) {
                return Err(refusal);
            }
        }
        Ok((keys, all, since))
    }

    /// The list that is under way; the last one of a token that is there and does not give it at once: one that is slow or
    /// hangs must not hold up signatures of others. It has the last word when it signs.
    pub(in crate::tokens) async fn last_shown_unless(&self, asked: JoinHandle<Listing>) -> Listing {
        let last = || {
            let known = lock(&self.known_keys);
            let there = matches!(self.backend.state(), TokenState::Unlocked | TokenState::Locked);
            (there && known.shown.is_some() && self.is_current(&known)).then(|| known.listing())
        };
        if last().is_none() {
            return asked.await.unwrap_or_default();
        }
        let mut asked = asked;
        match tokio::time::timeout(PATIENCE, &mut asked).await {
            Ok(listing) => listing.unwrap_or_default(),
            // It goes on, and is noted when it comes.
            Err(_) => match last() {
                Some(listing) => listing,
                None => asked.await.unwrap_or_default(),
            },
        }
    }

    /// Whether no key is missed, and what is known is of this card as it is now: somebody else may have had it since. Other
    /// tokens have the last word when they sign.
    fn is_current(&self, known: &Known) -> bool {
        let of_this_card = |card: Arc<Pkcs11Token>| {
            let since = card.keys_since();
            since.is_some() && since == known.since
        };
        known.is_whole() && self.card().is_none_or(of_this_card)
    }

    /// Which card a device is whose keys were listed, as far as it says: where the configuration names its serial number, that
    /// alone.
    pub(in crate::tokens) fn card_id(&self) -> Option<String> {
        let card = self.pkcs11.as_ref()?.last_seen();
        let by_serial = self.names_serial() && !card.has_no_serial();
        Some(if by_serial { format!("serial {:?}", card.serial) } else { self.counter.identity(&card) })
    }

    /// Keys are missing, and others have their labels.
    pub(in crate::tokens) fn miss(&self, replaced: Vec<String>) {
        let mut known = lock(&self.known_keys);
        if known.replaced == replaced {
            return;
        }
        for told in &replaced {
            tracing::warn!(token = self.name(), "{told}");
        }
        known.replaced = replaced;
    }

    /// See [`Self::miss`]; while the token is there.
    pub(super) fn replaced_keys(&self) -> Vec<String> {
        lock(&self.known_keys).replaced.clone()
    }

    /// Whether it did not answer when it was asked for its keys.
    pub(super) fn is_silent(&self) -> bool {
        lock(&self.known_keys).silent
    }

    /// What is wrong with objects of the token, of which some may be keys that are not seen.
    pub(in crate::tokens) fn odd_objects(&self) -> Option<String> {
        self.pkcs11.as_ref().filter(|token| !token.is_card()).and_then(|token| token.odd_objects())
    }

    /// Something was asked of the token that may have changed its keys.
    pub(in crate::tokens) fn may_have_changed(&self) {
        lock(&self.known_keys).shown = None;
    }

    /// A key that was removed on purpose is not missed.
    pub fn forget(&self, key: &PublicKey) {
        lock(&self.known_keys).forget(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> StoredKey {
        let public = PublicKey::from_ed25519(
            ed25519_dalek::SigningKey::from_bytes(&[number; 32]).verifying_key().to_bytes(),
        );
        StoredKey {
            name: format!("key-{number}").parse().unwrap(),
            public: public.unwrap(),
            origin: backend::Origin::Generated,
            place: None,
        }
    }

    #[test]
    fn a_key_that_an_unlocked_token_does_not_show_any_more_is_lost_until_it_comes_back() {
        let mut known = Known::default();
        known.see(vec![key(1), key(2)], true);
        known.see(vec![key(2)], true);
        assert_eq!((&known.keys, &known.lost), (&vec![key(2)], &vec![key(1)]));
        known.see(vec![key(1), key(2)], false);
        assert_eq!((known.keys.len(), known.lost.len()), (2, 0));
    }

    #[test]
    fn a_silent_token_is_heard_again_when_it_shows_its_keys() {
        let mut known = Known { silent: true, ..Known::default() };
        known.see(vec![key(1)], true);
        assert!(!known.silent);
    }

    #[test]
    fn a_locked_token_may_hide_keys_and_a_removed_key_is_forgotten() {
        let mut known = Known::default();
        known.see(vec![key(1), key(2)], true);
        known.see(vec![], false);
        assert_eq!((known.keys.len(), known.lost.len()), (2, 0));
        known.forget(&key(1).public);
        known.see(vec![key(2)], true);
        assert_eq!((known.keys.len(), known.lost.len()), (1, 0));
    }
}
