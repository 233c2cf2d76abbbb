//! For how long a role is valid of which nothing was signed or seen yet. Its length is on record by the word of whoever
//! registered it; one that is longer than is usual is shown with the first version, like all that is unusual, and later
//! versions go by it (DESIGN section 4, rule 3).

use tuf::role::RoleName;

use crate::refusal::Refusal;
use crate::repositories::{Record, days_of, default_days};
use crate::state::AppState;

/// What is said of it, where it is longer.
pub(super) async fn first(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
) -> Result<Option<String>, Refusal> {
    let (days, usual) = (days_of(record, role), default_days(role.kind()));
    if days <= usual || agent.ledger().watermark(record.id, role.clone()).await?.newest().is_some() {
        return Ok(None);
    }
    Ok(Some(format!(
        "{role} of {} is new, and it and its later versions may be valid for {days} days, where {usual} are usual",
        record.name
    )))
}
