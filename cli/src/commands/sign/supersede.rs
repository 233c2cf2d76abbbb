//! `sign --supersede DIGEST`: another root under a version that was signed and never published.
//!
//! Two roots of one version can both reach their threshold, and clients would then be split between them. So a person at
//! the terminal says it, and `--yes` does not (DESIGN section 4, rule 3); the agent holds the digest against its journal.

use tuf::role::RoleKind;

use super::Session;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::visible;

impl Session<'_> {
    /// Asks the person, when it was asked for.
    pub(super) fn confirm_superseding(&self) -> Result<(), Failure> {
        let Some(digest) = &self.args.supersede else { return Ok(()) };
        let Some(root) = self.workspace.staged(&RoleKind::Root.role())? else {
            return Err(Failure::new(
                reason::USAGE,
                "no root is staged that could stand in the place of another",
            )
            .remedy("other roles take the next version: tufctl bump"));
        };
        let Some(terminal) = Terminal::open() else {
            return Err(Failure::new(
                reason::CONFIRMATION_MISSING,
                "nobody is there to say that a signed root shall be superseded; --yes does not",
            )
            .remedy("run it on a terminal"));
        };
        let (name, version) = (visible(&self.record.name), root.version());
        self.context.screen.show(format!(
            "root v{version} of {name} was signed with other content and not published:\n  \
             signed  sha256 {digest}\n  staged  sha256 {}\n\
             Whoever holds enough signatures on the signed one could still publish it, and clients would be split. \
             Ask all who have it to destroy it.",
            root.digest()
        ));
        if terminal.confirm(&format!("Let the staged root v{version} of {name} take its place?"))? {
            return Ok(());
        }
        Err(Failure::new(reason::CONFIRMATION_MISSING, "you said no; nothing was signed")
            .remedy("publish what was signed, or run it again when you are ready"))
    }
}
