//! For how long roles are valid: a longer length is confirmed by itself, and the agent journals it (DESIGN section 4,
//! rule 3).

use std::collections::BTreeMap;

use tuf::role::RoleName;

use super::staging::Staging;
use crate::error::Failure;
use crate::prompt::confirm;
use crate::render::visible;

impl Staging<'_> {
    /// Changes the recorded length of these roles. What becomes longer than it was is asked for first.
    pub(super) fn set_length(&mut self, roles: &[RoleName], days: u32) -> Result<(), Failure> {
        let Some(name) = self.facts.name().map(ToOwned::to_owned) else { return Ok(()) };
        let before: Vec<u32> = roles.iter().map(|role| self.facts.days(role)).collect();
        let mut longer: BTreeMap<u32, Vec<&RoleName>> = BTreeMap::new();
        for (role, from) in roles.iter().zip(&before).filter(|(_, from)| **from < days) {
            if !self.facts.is_new(role) {
                longer.entry(*from).or_default().push(role);
            }
        }
        for (from, roles) in &longer {
            let (roles, name) = (named(roles), visible(&name));
            confirm(
                &format!("Let {roles} of {name} be valid for {days} days from now on, in place of {from}?"),
                self.yes,
            )?;
        }
        for (role, from) in roles.iter().zip(before) {
            let record = self.context.agent()?.set_expiry(&name, role.as_str(), (from, days))?;
            self.facts.record = Some(record);
        }
        Ok(())
    }
}

/// A few by their names; of many (bins) the first and their number.
fn named(roles: &[&RoleName]) -> String {
    match roles {
        [first, more @ ..] if more.len() >= MOST_NAMED => {
            format!("{} and {} more roles", visible(first.as_str()), more.len())
        }
        few => few.iter().map(|role| visible(role.as_str())).collect::<Vec<_>>().join(", "),
    }
}

/// So many roles, or more, are told by their number.
const MOST_NAMED: usize = 4;
