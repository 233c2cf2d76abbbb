//! Roles that wait for others: a key that serves another role signs one only once those who give it that have signed it.

use std::collections::BTreeSet;

use tuf::role::RoleName;

use super::Session;
use super::round::Pending;
use super::unsigned::Unsigned;
use crate::error::{Failure, reason};
use crate::render::visible;

/// The roles that are put aside in this run, by whose children they are and by their keys: the agent need not be asked for each of
/// thousands of bins.
#[derive(Default)]
pub(super) struct Held(BTreeSet<(Vec<RoleName>, Vec<String>)>);

impl Session<'_> {
    /// Puts a role aside that was refused because nothing that counts gives it the key yet, while something above it lacks
    /// signatures; false where it was refused for something else. The others sign, and it is signed in a later run.
    pub(super) fn hold(&mut self, role: &Pending<'_>, failure: &Failure) -> Result<bool, Failure> {
        // Of what gives a key a role the agent says so where the key serves another one.
        if failure.reason() != reason::POLICY || failure.text_detail("also_role").is_none() {
            return Ok(false);
        }
        let waits_for = self.incomplete_above(&role.role)?;
        if waits_for.is_empty() {
            return Ok(false);
        }
        let about = self.about(role)?;
        if self.held.0.insert(about) {
            let (name, above) = (visible(role.role.as_str()), waits_for.join(" and "));
            self.context.screen.warn(format!(
                "{name} is signed once {above} has all signatures: {}",
                visible(failure.message())
            ));
        }
        self.note_held(role, &waits_for, failure.message());
        Ok(true)
    }

    /// Whether a role like it was put aside before, by the same parents and keys; then it is, too.
    pub(super) fn is_held(&mut self, role: &Pending<'_>) -> Result<bool, Failure> {
        if self.held.0.is_empty() || !self.held.0.contains(&self.about(role)?) {
            return Ok(false);
        }
        let waits_for = self.incomplete_above(&role.role)?;
        let message = format!("what delegates to {} lacks signatures", role.role.as_str());
        self.note_held(role, &waits_for, &message);
        Ok(true)
    }

    fn note_held(&mut self, role: &Pending<'_>, waits_for: &[String], message: &str) {
        let remedy =
            format!("signs once {} has all signatures; then run the command again", waits_for.join(" and "));
        let why = Failure::new(reason::POLICY, message).remedy(remedy);
        for key in &role.keys {
            let names = (key.name.as_str(), key.token.as_str());
            self.unsigned.push(Unsigned::unusable((&role.role, role.version), &key.keyid, names, &why));
        }
    }

    fn about(&self, role: &Pending<'_>) -> Result<(Vec<RoleName>, Vec<String>), Failure> {
        let parents = self.workspace.parents(&role.role)?.into_iter().map(|(parent, _)| parent).collect();
        Ok((parents, role.keys.iter().map(|key| key.keyid.to_string()).collect()))
    }

    /// What is staged above a role and short of its threshold; nothing where this run leaves it out itself.
    fn incomplete_above(&self, role: &RoleName) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        for (above, file) in self.workspace.staged_authorities(role)? {
            if self.workspace.signatures(&above)?.met {
                continue;
            }
            if !self.selection.role(&above) {
                return Ok(Vec::new());
            }
            found.push(format!("{} v{}", visible(above.as_str()), file.version()));
        }
        Ok(found)
    }
}
