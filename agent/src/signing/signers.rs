//! Which of our keys sign: those that were named, or every key of the role that is here and usable.

use std::collections::{BTreeMap, BTreeSet};

use backend::TokenState;
use policy::Reason;
use tuf::key::{Key, KeyId, Scheme};
use tufagent_proto::v1::{SignBegin, SignSkipped};

use crate::refusal::Refusal;
use crate::split::{self, Gathered};
use crate::state::AppState;
use crate::tokens::{HeldKey, Typed};

/// A key of ours, with the keyids that the metadata gives it (more than one while keyids are being put right) for one
/// scheme: an RSA key that stands there under two schemes is two signers.
pub(super) struct Signer {
    pub(super) key: HeldKey,
    pub(super) scheme: Scheme,
    pub(super) keyids: Vec<KeyId>,
    /// It takes the PIN for each signature, and a person types it.
    pub(super) pin_each_time: bool,
    /// That PIN, for the one signature.
    pub(super) typed: Option<Typed>,
    /// Of a split key: enough shares for the one signature.
    pub(super) gathered: Option<Gathered>,
}

impl Signer {
    fn is_copy_of(&self, other: &Self) -> bool {
        self.key.stored.public == other.key.stored.public && self.scheme == other.scheme
    }
}

/// The choice.
pub(super) struct Chosen {
    /// In the order of the keys.
    pub(super) signers: Vec<Signer>,
    /// Keys of the role that are ours and cannot be used now.
    pub(super) skipped: Vec<(Signer, Refusal)>,
    /// Why the first key that was named cannot sign now, though it is judged whether it might: nobody is to type a PIN for
    /// what is refused then.
    pub(super) locked: Option<Refusal>,
}

/// Chooses among our keys. Keys that were named are all in `signers`, whether the role has them or not: policy
/// judges that.
///
/// # Errors
/// `KEY_NOT_FOUND`; `DUPLICATE_KEY` when every key lies on two tokens and none was named; `TOKEN_LOCKED` and its like when a named key, or every key, cannot be used.
pub(super) async fn choose(
    agent: &AppState,
    begin: &SignBegin,
    authority: &BTreeMap<KeyId, Key>,
) -> Result<Chosen, Refusal> {
    let named = begin.keys.as_slice();
    let held = match split::collected_key(agent, begin) {
        Some(public) => agent.tokens().keys_to_collect(&public).await,
        None => agent.tokens().keys_to_sign().await,
    };
    let mut chosen = Chosen { signers: Vec::new(), skipped: Vec::new(), locked: None };
    let candidates = if named.is_empty() {
        let (alone, twice) = of_role(held, authority);
        chosen.skipped = twice;
        alone
    } else {
        // Named twice, a key signs once.
        let mut before = BTreeSet::new();
        named
            .iter()
            .filter(|name| before.insert(*name))
            .map(|name| Ok(with_keyids(agent.tokens().find(&held, name)?, authority)))
            .collect::<Result<Vec<_>, Refusal>>()?
            .into_iter()
            .flatten()
            .collect()
    };
    for signer in candidates {
        // A named key that is not of the role is refused for that, not for its token.
        let usable = if signer.keyids.is_empty() { Ok(()) } else { usable(agent, begin, &signer.key).await };
        match usable {
            Ok(()) => chosen.signers.push(signer),
            Err(refusal) if !named.is_empty() && refusal.reason == Reason::TokenLocked => {
                chosen.locked.get_or_insert(refusal.detail("key", signer.key.name.as_str()));
                chosen.signers.push(signer);
            }
            Err(refusal) if !named.is_empty() => return Err(refusal.detail("key", signer.key.name)),
            Err(refusal) => chosen.skipped.push((signer, refusal)),
        }
    }
    match (chosen.signers.is_empty(), chosen.skipped.first()) {
        (true, Some((signer, refusal))) => Err(refusal.clone().detail("key", signer.key.name.as_str())),
        _ => Ok(chosen),
    }
}

/// Its token is ready; of a split key a set is alive, and somebody brings enough of them.
async fn usable(agent: &AppState, begin: &SignBegin, key: &HeldKey) -> Result<(), Refusal> {
    split::check_alive(agent, key)?;
    key.ensure_usable(begin.asks).await?;
    if key.slot.is_split() { split::check_collects(agent, key, begin) } else { Ok(()) }
}

/// Keys of the role, and those that lie on two tokens with the reason why they do not sign: which copy is meant a person
/// says, by naming it. None takes the place of another silently (DESIGN section 4, rule 9).
fn of_role(held: Vec<HeldKey>, authority: &BTreeMap<KeyId, Key>) -> (Vec<Signer>, Vec<(Signer, Refusal)>) {
    let mut ours: Vec<Signer> = held.into_iter().flat_map(|key| with_keyids(key, authority)).collect();
    ours.retain(|signer| !signer.keyids.is_empty());
    let (mut alone, mut twice): (Vec<Signer>, Vec<(Signer, Refusal)>) = (Vec::new(), Vec::new());
    for signer in in_readers(ours) {
        if twice.iter().any(|(other, _)| other.is_copy_of(&signer)) {
            continue;
        }
        match alone.iter().position(|other| other.is_copy_of(&signer)) {
            None => alone.push(signer),
            // One token that shows a key twice.
            Some(at) if alone.get(at).is_some_and(|o| o.key.slot.name() == signer.key.slot.name()) => {}
            Some(at) => {
                let first = alone.remove(at);
                let refusal = on_two_tokens(&first.key, &signer.key);
                twice.push((first, refusal));
            }
        }
    }
    (alone, twice)
}

/// Of a key on several YubiKeys those that are in their readers: whichever is there signs. Where none is, the first is asked for.
fn in_readers(ours: Vec<Signer>) -> Vec<Signer> {
    let is_out = |signer: &Signer| signer.key.slot.state() == TokenState::Absent;
    let (cards, mut kept): (Vec<Signer>, Vec<Signer>) =
        ours.into_iter().partition(|signer| signer.key.slot.is_card());
    let (out, there): (Vec<Signer>, Vec<Signer>) = cards.into_iter().partition(is_out);
    kept.extend(there);
    for signer in out {
        if !kept.iter().any(|other| other.key.slot.is_card() && other.is_copy_of(&signer)) {
            kept.push(signer);
        }
    }
    kept
}

fn on_two_tokens(one: &HeldKey, other: &HeldKey) -> Refusal {
    let on = |key: &HeldKey| format!("{} on token {}", key.name, key.slot.name());
    let message = format!("one key is there twice, as {} and as {}: which is meant?", on(one), on(other));
    Refusal::new(Reason::DuplicateKey, message)
        .remedy(format!("name the one that is to sign: --key {} or --key {}", one.name, other.name))
        .detail("key", one.name.as_str())
        .detail("token", one.slot.name())
        .detail("other_key", other.name.as_str())
        .detail("other_token", other.slot.name())
}

/// One signer for each scheme under which the metadata has the key; one without keyids if it does not have it.
fn with_keyids(key: HeldKey, authority: &BTreeMap<KeyId, Key>) -> Vec<Signer> {
    let mut schemes: BTreeMap<Scheme, Vec<KeyId>> = BTreeMap::new();
    for (keyid, entry) in authority {
        if entry.public_key().is_ok_and(|public| *public == key.stored.public)
            && let Ok(scheme) = entry.signing_scheme()
        {
            schemes.entry(scheme).or_default().push(keyid.clone());
        }
    }
    if schemes.is_empty() {
        schemes.insert(key.stored.public.key_type().default_scheme(), Vec::new());
    }
    let signer = |(scheme, keyids)| {
        let key = key.clone();
        Signer { key, scheme, keyids, pin_each_time: false, typed: None, gathered: None }
    };
    schemes.into_iter().map(signer).collect()
}

/// The event for a key that does not sign.
pub(super) fn skipped_event(signer: &Signer, refusal: &Refusal) -> SignSkipped {
    SignSkipped {
        keyid: signer.keyids.first().map(ToString::to_string).unwrap_or_default(),
        key: signer.key.name.clone(),
        token: signer.key.slot.name().to_owned(),
        reason: refusal.reason.to_string(),
        message: refusal.message.clone(),
        remedy: refusal.remedy.clone(),
    }
}
