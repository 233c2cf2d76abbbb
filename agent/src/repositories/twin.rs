//! Folders that were begun with one and the same root: a repository is its root chain, so they are one, and what is signed in
//! the second would be refused once the root is complete (DESIGN section 4, rule 3).

use ledger::Record;
use policy::Reason;
use tuf::metadata::Metadata;
use tuf::role::RoleKind;

use super::Repositories;
use crate::refusal::Refusal;

impl Repositories {
    /// Before anything is signed for a repository without a trusted root: none of these files is the root of another one.
    ///
    /// # Errors
    /// `REPOSITORY_KNOWN`; `STATE_IO`.
    pub async fn check_is_no_other<'f>(
        &self,
        record: &Record,
        files: impl Iterator<Item = &'f Metadata>,
    ) -> Result<(), Refusal> {
        if record.root.is_some() {
            return Ok(());
        }
        for root in files.filter(|file| file.kind() == RoleKind::Root) {
            if let Some(other) = self.ledger.other_of_root(record.id, root.digest()).await? {
                let message = format!(
                    "what is staged for {} is the root of {other}, to the letter: it is one repository",
                    record.name
                );
                return Err(Refusal::new(Reason::RepositoryKnown, message)
                    .remedy(format!(
                        "go on with {other} in the folder that is its own; for another repository give this one a root of its own \
                         first: tufctl bump DIR root"
                    ))
                    .detail("repository", other.to_string())
                    .detail("role", RoleKind::Root.name()));
            }
        }
        Ok(())
    }
}
