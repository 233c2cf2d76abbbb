//! What the keys of a repository are called: ours by the agent's name, others by what was noted when they were named.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use tuf::key::{Key, KeyId};
use tuf::role::{RoleKind, RoleName};
use tufagent_proto::v1;

use crate::context::Context;
use crate::error::{Failure, reason};
use crate::keys;
use crate::render::{KeyNames, short_keyid, visible};
use crate::workspace::Workspace;

/// Names for the keyids of all roles; without an agent those alone that were noted.
pub(super) fn key_names(workspace: &Workspace, context: &Context) -> Result<KeyNames, Failure> {
    let ours = match context.agent().and_then(|agent| agent.keys()) {
        Ok(ours) => ours,
        Err(failure) if failure.reason() == reason::UNREACHABLE => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let taken = ours.iter().map(|key| key.name.as_str()).collect();
    names_of(workspace, &taken, &|keyid, key| key_name(&ours, keyid, Some(key)))
}

/// What is given up with a reset, in one sentence that names keys as the agent does.
pub(super) fn given_up(
    workspace: &Workspace,
    role: &RoleName,
    context: &Context,
) -> Result<Option<String>, Failure> {
    let ours = OnceCell::new();
    let called = |keyid: &str| {
        let ours: &Vec<v1::Key> =
            ours.get_or_init(|| context.agent().and_then(|agent| agent.keys()).unwrap_or_default());
        let own = ours.iter().find(|key| key.keyid == keyid);
        own.map_or_else(|| short_keyid(keyid), |key| visible(&key.name).into_owned())
    };
    workspace.given_up(role, &called)
}

/// Names for the keyids of all roles: `ours` names keys of the agent, `taken` holds all its names. A noted name that is
/// one of them belongs to another key, and is not used: it would pass that key off as ours.
pub(super) fn names_of(
    workspace: &Workspace,
    taken: &BTreeSet<&str>,
    ours: &dyn Fn(&KeyId, &Key) -> Option<String>,
) -> Result<KeyNames, Failure> {
    let noted = workspace.key_labels().iter().filter(|(_, name)| !taken.contains(name.as_str()));
    let mut names: KeyNames = noted.map(|(keyid, name)| (keyid.clone(), name.clone())).collect();
    let mut roles = workspace.staged_roles()?;
    roles.extend(workspace.near_delegating()?.iter().cloned());
    roles.push(RoleKind::Root.role());
    roles.sort_unstable();
    roles.dedup();
    for role in roles {
        let metadata = [workspace.published(&role)?, workspace.staged(&role)?];
        for metadata in metadata.iter().flatten() {
            let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref());
            let keys = metadata.as_root().map(|root| &root.keys).or(delegations.map(|d| &d.keys));
            for (keyid, key) in keys.into_iter().flatten() {
                if let Some(name) = ours(keyid, key) {
                    names.insert(keyid.to_string(), name);
                } else if *keyid != key.computed_keyid() {
                    // It was noted of the key that this keyid is the hash of.
                    names.remove(keyid.as_str());
                }
            }
        }
    }
    Ok(names)
}

/// The name of a key among ours: by its public key, since keyids differ between repositories.
pub(super) fn key_name(ours: &[v1::Key], keyid: &KeyId, key: Option<&Key>) -> Option<String> {
    let Some(key) = key else {
        return ours.iter().find(|candidate| candidate.keyid == keyid.as_str()).map(|key| key.name.clone());
    };
    // A keyid may stand over any key object.
    let wanted = key.public_key().ok()?;
    let is_it = |candidate: &&v1::Key| {
        keys::of_agent(candidate).is_ok_and(|k| k.public_key().is_ok_and(|found| found == wanted))
    };
    ours.iter().find(is_it).map(|key| key.name.clone())
}

/// What a key is called on the screen: its name, or the first digits of its keyid.
pub(super) fn called(names: &KeyNames, keyid: &str) -> String {
    names.get(keyid).map_or_else(|| short_keyid(keyid), |name| visible(name).into_owned())
}
