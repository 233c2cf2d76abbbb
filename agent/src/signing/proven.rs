//! A split key is given to no role before its shares were seen to be there (every custodian has proven theirs; of one whose
//! manifest was imported a drill does, too): one lost share too many would end it.

use tuf::key::PublicKey;
use tuf::metadata::Metadata;
use tuf::role::RoleName;

use super::origin::given;
use crate::refusal::Refusal;
use crate::repositories::Record;
use crate::split;
use crate::state::AppState;

/// Whether the metadata gives a key of ours to a role that did not have it before.
///
/// # Errors
/// `SHARE_UNPROVEN`.
pub(super) async fn check(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
    subject: &Metadata,
) -> Result<(), Refusal> {
    let mut unproven = split::unproven(agent);
    // As long as it is whole in the file store too no share too many can be lost: it signs nothing itself meanwhile, and
    // keeps no other key from signing.
    unproven.retain(|key| !split::lies_whole(agent, key));
    let unread = split::check_readable(agent);
    if unproven.is_empty() && unread.is_ok() {
        return Ok(());
    }
    let gives = |metadata: &Metadata, key: &split::SplitKey| -> Vec<RoleName> {
        let roles = given(metadata, &[]).into_iter();
        let has = |publics: &[PublicKey]| publics.iter().any(|public| key.public() == Some(public));
        roles.filter(|(_, publics)| has(publics)).map(|(role, _)| role).collect()
    };
    let unread = match unread {
        // What it has given to nobody anew needs no record.
        Err(refusal) if !gives_nothing_new(agent, record, role, subject).await? => Err(refusal),
        _ => Ok(()),
    };
    unread?;
    let newest = agent.repositories().newest(record, role, subject).await?.filter(|newest| newest.verified);
    for key in unproven {
        let before = newest.as_ref().map(|newest| gives(&newest.metadata, &key)).unwrap_or_default();
        if let Some(of) = gives(subject, &key).into_iter().find(|of| !before.contains(of)) {
            return Err(split::refuse_unproven(&key).detail("role", of.to_string()));
        }
    }
    Ok(())
}

/// Whether every key has the roles already that the metadata gives it.
async fn gives_nothing_new(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
    subject: &Metadata,
) -> Result<bool, Refusal> {
    let newest = agent.repositories().newest(record, role, subject).await?.filter(|newest| newest.verified);
    let before = newest.map(|newest| given(&newest.metadata, &[])).unwrap_or_default();
    let had = |of: &RoleName, public: &PublicKey| {
        before.iter().any(|(role, publics)| role == of && publics.contains(public))
    };
    Ok(given(subject, &[]).iter().all(|(of, publics)| publics.iter().all(|public| had(of, public))))
}

/// The same of keys that are only named for a role; those that are not there are named by others.
///
/// # Errors
/// `SHARE_UNPROVEN`.
pub(super) async fn may_serve(agent: &AppState, names: &[String]) -> Result<(), Refusal> {
    split::check_readable(agent)?;
    if split::unproven(agent).is_empty() {
        return Ok(());
    }
    let held = agent.tokens().keys_to_sign().await;
    names
        .iter()
        .filter_map(|name| held.iter().find(|key| key.name == *name))
        .try_for_each(|key| split::check_proven(agent, key))
}
