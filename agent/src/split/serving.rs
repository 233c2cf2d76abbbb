//! What people should know of the roles that a split key serves, or is to serve: it signs by hand alone.

use std::sync::Arc;

use tuf::role::{RoleKind, RoleName};
use tuf::word;
use tufagent_proto::v1;

use super::record::{SplitKey, Whole};
use super::{names, of_public};
use crate::repositories::RoleOfKey;
use crate::state::AppState;
use crate::tokens::HeldKey;

/// What people should know before keys serve snapshot or timestamp, which are signed for whatever is published: those of
/// which people hold the shares sign by hand alone.
pub(crate) async fn by_hand(state: &AppState, role: &RoleName, named: &[String]) -> Vec<String> {
    if !is_online(role) || state.tokens().split_stores().is_empty() {
        return Vec::new();
    }
    let held = state.tokens().keys_to_sign().await;
    let is_split = |name: &&String| {
        held.iter().any(|key| key.name == **name && of_public(state, &key.stored.public).is_some())
    };
    let warning = |name: &String| {
        format!(
            "the key {name} is split: nothing of the repository can be published without its custodians then, who come together for each {role} (tufctl share collect DIR --role {role}); a key that signs by itself is better for {role}"
        )
    };
    named.iter().filter(is_split).map(warning).collect()
}

/// Whether a role is signed anew for whatever is published.
fn is_online(role: &RoleName) -> bool {
    matches!(role.kind(), RoleKind::Snapshot | RoleKind::Timestamp)
}

/// A key as it travels, with the proofs that it waits for.
pub(crate) fn described(state: &AppState, key: &HeldKey) -> v1::Key {
    let split = of_public(state, &key.stored.public).map(|(_, _, split)| split);
    let waiting = split.filter(|split| split.alive().is_none());
    let waits_for =
        |split: Arc<SplitKey>| split.proving().map(|set| names(set.proofs().1)).unwrap_or_default();
    v1::Key { unproven: waiting.map(waits_for).unwrap_or_default(), ..key.describe() }
}

/// What becomes of the roles that a key of the file store serves, when it is split.
pub(super) fn of_roles(key: &SplitKey, serves: &[RoleOfKey]) -> Vec<String> {
    let name = &key.name;
    if serves.is_empty() {
        return Vec::new();
    }
    let mut warnings = vec![format!(
        "until the last proof {name} signs nothing, also not for {}: other keys of these roles sign, as far as there are any; to go back: tufctl share split {}",
        RoleOfKey::list(serves),
        word::before(name.as_str(), "--abort")
    )];
    let online: Vec<_> = serves.iter().filter(|of| is_online(&of.role)).cloned().collect();
    if !online.is_empty() && key.whole != Whole::Stays {
        warnings.push(format!(
            "{name} serves {}: after the last proof nothing of it can be published without custodians, who come together for each snapshot and timestamp; give these roles a key that signs by itself before (tufctl root replace-key), or go back",
            RoleOfKey::list(&online)
        ));
    }
    warnings
}
