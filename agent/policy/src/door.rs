//! Who may ask at all.

use crate::{Decision, Reason, Refusal};

/// Who may speak to the agent: its own user, and members of these groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorRules {
    /// The user that the agent runs as.
    pub own_uid: u32,
    /// Groups that the configuration admits; none unless it says so.
    pub groups: Vec<u32>,
}

/// The peer of a connection, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The peer's effective user.
    pub uid: u32,
    /// The peer's primary and supplementary groups.
    pub gids: Vec<u32>,
}

/// Admits the agent's own user and the configured groups, and nobody else (default deny; root is nobody special).
pub fn admit(rules: &DoorRules, caller: &Caller) -> Decision {
    let member = caller.gids.iter().any(|gid| rules.groups.contains(gid));
    if caller.uid == rules.own_uid || member {
        return Decision::Allow;
    }
    let message = format!("user {} may not speak to the agent of user {}", caller.uid, rules.own_uid);
    let remedy = "run tufctl as the agent's user, or admit a group of yours in the agent's configuration";
    Decision::Refuse(Refusal::new(Reason::Caller, message, remedy).detail("uid", u64::from(caller.uid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_user_and_configured_groups_are_admitted() {
        let cases: [(u32, &[u32], &[u32], bool); 7] = [
            (1000, &[], &[], true),
            (1000, &[5], &[7], true),
            (1001, &[5], &[], false),
            (1001, &[5, 7], &[7], true),
            (1001, &[5, 6], &[7], false),
            (0, &[0], &[], false),
            (0, &[0], &[7], false),
        ];
        for (uid, gids, groups, admitted) in cases {
            let rules = DoorRules { own_uid: 1000, groups: groups.to_vec() };
            let decision = admit(&rules, &Caller { uid, gids: gids.to_vec() });
            assert_eq!(decision == Decision::Allow, admitted, "uid {uid}, groups {gids:?} of {groups:?}");
            if let Decision::Refuse(refusal) = decision {
                assert_eq!(refusal.reason, Reason::Caller);
            }
        }
    }
}
