//! Edits of a root that was signed already: it keeps its version, since roots follow one another without a gap.

use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName};

use super::staging::{Staging, is_signed};
use crate::error::{Failure, reason};

impl Staging<'_> {
    /// A root that has its threshold could be published by whoever has a copy: another one under its version would split
    /// the clients, and no agent that knows it signs one.
    pub(super) fn refuse_complete_root(&self, role: &RoleName) -> Result<(), Failure> {
        let staged = if role.kind() == RoleKind::Root { self.workspace.staged(role)? } else { None };
        let Some(root) = staged.filter(is_signed) else { return Ok(()) };
        if !self.workspace.signatures(role)?.met {
            return Ok(());
        }
        Err(Failure::new(
            reason::WATERMARK,
            format!("root v{} has all its signatures and only waits to be published", root.version()),
        )
        .remedy("publish it: tufctl sign DIR; then change the next one")
        .detail("role", role.as_str())
        .detail("version", root.version().get())
        .detail("signed_sha256", root.digest().to_string()))
    }

    /// The digest of a staged root that carries signatures.
    pub(super) fn signed_root(&self, role: &RoleName) -> Result<Option<Sha256Digest>, Failure> {
        let root = if role.kind() == RoleKind::Root { self.workspace.staged(role)? } else { None };
        Ok(root.filter(is_signed).map(|root| root.digest()))
    }
}
