//! Which of our keys sign: those that were named, or every key of the role that is here and usable.

use std::collections::{BTreeMap, BTreeSet};

use tuf::key::{Key, KeyId, Scheme};
use tufagent_proto::v1::SignSkipped;

use crate::refusal::Refusal;
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
}

/// The choice.
pub(super) struct Chosen {
    /// In the order of the keys.
    pub(super) signers: Vec<Signer>,
    /// Keys of the role that are ours and cannot be used now.
    pub(super) skipped: Vec<(Signer, Refusal)>,
}

/// Chooses among our keys. Keys that were named are all in `signers`, whether the role has them or not: policy
/// judges that.
///
/// # Errors
/// `KEY_NOT_FOUND`; `TOKEN_LOCKED` and its like when a named key, or every key, cannot be used.
pub(super) async fn choose(
    agent: &AppState,
    named: &[String],
    authority: &BTreeMap<KeyId, Key>,
) -> Result<Chosen, Refusal> {
    let held = agent.tokens().keys_to_sign().await;
    let candidates = if named.is_empty() {
        of_role(held, authority)
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
    let mut chosen = Chosen { signers: Vec::new(), skipped: Vec::new() };
    for signer in candidates {
        // A named key that is not of the role is refused for that, not for its token.
        let usable = if signer.keyids.is_empty() { Ok(()) } else { signer.key.ensure_usable().await };
        match usable {
            Ok(()) => chosen.signers.push(signer),
            Err(refusal) if !named.is_empty() => return Err(refusal.detail("key", signer.key.name)),
            Err(refusal) => chosen.skipped.push((signer, refusal)),
        }
    }
    match (chosen.signers.is_empty(), chosen.skipped.first()) {
        (true, Some((signer, refusal))) => Err(refusal.clone().detail("key", signer.key.name.as_str())),
        _ => Ok(chosen),
    }
}

/// Each public key once, wherever it lies: a usable copy before another.
fn of_role(held: Vec<HeldKey>, authority: &BTreeMap<KeyId, Key>) -> Vec<Signer> {
    let mut signers: Vec<Signer> = Vec::new();
    for signer in held.into_iter().flat_map(|key| with_keyids(key, authority)) {
        if signer.keyids.is_empty() {
            continue;
        }
        let same = |other: &&mut Signer| {
            other.key.stored.public == signer.key.stored.public && other.scheme == signer.scheme
        };
        match signers.iter_mut().find(same) {
            Some(other) if is_ready(&signer) && !is_ready(other) => *other = signer,
            Some(_) => {}
            None => signers.push(signer),
        }
    }
    signers
}

fn is_ready(signer: &Signer) -> bool {
    !signer.key.lost && signer.key.slot.state() == backend::TokenState::Unlocked
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
        Signer { key, scheme, keyids, pin_each_time: false, typed: None }
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
