//! The size limits of stock clients (their defaults): metadata beyond them is valid, and nobody can read it.

use tuf::role::{RoleKind, RoleName};

use crate::render::{size, visible};

/// A sentence for a role's file that nears what stock clients read, from four fifths on.
pub(super) fn warning(role: &RoleName, bytes: u64) -> Option<String> {
    let (most, whose) = match role.kind() {
        RoleKind::Root => (512_000, "python-tuf and tuf-js"),
        RoleKind::Timestamp => (16_384, "python-tuf and tuf-js"),
        RoleKind::Snapshot => (1 << 20, "tough"),
        RoleKind::Targets => (5_000_000, "python-tuf and tuf-js"),
    };
    if bytes.saturating_mul(5) <= most * 4 {
        return None;
    }
    let (role_name, is, most_is) = (visible(role.as_str()), size(bytes), size(most));
    let advice = match role.kind() {
        RoleKind::Targets => "; share its targets out: tufctl delegation add --succinct-bins",
        _ => "",
    };
    Some(if bytes > most {
        format!("{role_name} has {is}, and {whose} refuse more than {most_is}{advice}")
    } else {
        format!("{role_name} has {is}, near the {most_is} beyond which {whose} refuse it{advice}")
    })
}

#[cfg(test)]
mod tests {
    use super::warning;
    use tuf::role::RoleName;

    #[test]
    fn a_role_is_spoken_of_from_four_fifths_of_what_clients_read() {
        let role = |name| RoleName::parse(name).unwrap();
        assert_eq!(warning(&role("root"), 409_600), None);
        assert!(warning(&role("root"), 409_601).unwrap().contains("near"));
        assert!(warning(&role("bin-00"), 5_000_001).unwrap().contains("refuse more than"));
        assert_eq!(warning(&role("timestamp"), 1_000), None);
        assert!(warning(&role("snapshot"), 1_100_000).unwrap().contains("tough"));
    }
}
