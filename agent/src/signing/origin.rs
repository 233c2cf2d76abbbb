//! What a role demands of its keys: that the token says they were made there and never left it (FAULTS D9).
//!
//! Asked of the token for each signature, and again for the keys that metadata gives to a role that demands it. Keys of
//! other people cannot be asked: what they hold is for them to see to.

use std::collections::BTreeMap;

use backend::Backend;
use policy::Reason;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::signers::Signer;
use crate::config::OriginRule;
use crate::refusal::Refusal;
use crate::repositories::Record;
use crate::state::AppState;
use crate::tokens::HeldKey;

/// # Errors
/// `ORIGIN` for a key of ours that signs for a role that demands more, or is given to one.
pub(super) async fn check(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
    subject: &Metadata,
    signers: &[Signer],
) -> Result<(), Refusal> {
    let origins = agent.origins();
    let demands = |role: &RoleName| demands(&origins, record, role);
    if origins.is_empty() {
        return Ok(());
    }
    if demands(role) {
        for signer in signers {
            let public = &signer.key.stored.public;
            made_here(&signer.key, public)
                .await
                .map_err(|refusal| refused(refusal, &signer.key, record, role))?;
        }
    }
    let given: Vec<_> = given(subject).into_iter().filter(|(role, _)| demands(role)).collect();
    if given.is_empty() {
        return Ok(());
    }
    let held = agent.tokens().keys_to_sign().await;
    for (role, publics) in given {
        for key in held.iter().filter(|key| publics.contains(&key.stored.public)) {
            match made_here(key, &key.stored.public).await {
                Err(refusal) if refusal.reason == Reason::Origin => {
                    return Err(refused(refusal, key, record, &role));
                }
                // Its token cannot be asked now: it is when the key signs.
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

fn demands(origins: &[OriginRule], record: &Record, role: &RoleName) -> bool {
    let of = |rule: &OriginRule| rule.repository.as_deref().is_none_or(|name| name == record.name.as_str());
    origins.iter().any(|rule| rule.role == *role && of(rule))
}

async fn made_here(key: &HeldKey, public: &PublicKey) -> Result<(), Refusal> {
    let public = public.clone();
    key.slot.run(move |backend: &dyn Backend| backend.made_here(&public)).await
}

fn refused(refusal: Refusal, key: &HeldKey, record: &Record, role: &RoleName) -> Refusal {
    if refusal.reason != Reason::Origin {
        return refusal;
    }
    let message = format!(
        "{role} of {} demands keys of a token's own, and {} is none: {}",
        record.name, key.name, refusal.message
    );
    Refusal::new(Reason::Origin, message)
        .remedy(format!(
            "give {role} a key that is made on a token (tufctl key generate NAME --token TOKEN), or take the demand out of \
             the configuration until that has been done"
        ))
        .detail("role", role.to_string())
        .detail("key", key.name.as_str())
        .detail("token", key.slot.name())
}

/// The roles to which this metadata gives keys, with the keys.
fn given(subject: &Metadata) -> Vec<(RoleName, Vec<PublicKey>)> {
    let publics = |keys: &BTreeMap<KeyId, Key>, ids: &mut dyn Iterator<Item = &KeyId>| {
        ids.filter_map(|id| keys.get(id)?.public_key().ok().cloned()).collect::<Vec<_>>()
    };
    if let Some(root) = subject.as_root() {
        return RoleKind::ALL
            .into_iter()
            .map(|kind| (kind.role(), publics(&root.keys, &mut root.role(kind).keyids.iter())))
            .collect();
    }
    let delegations = subject.as_targets().and_then(|targets| targets.delegations.as_ref());
    delegations
        .into_iter()
        .flat_map(|all| {
            all.roles.iter().map(|role| (role.name.clone(), publics(&all.keys, &mut role.keys.keyids.iter())))
        })
        .collect()
}
