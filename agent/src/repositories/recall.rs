//! What the agent gives back of what it has verified: a client that signs one of many bins need not read who delegates.

use std::collections::BTreeSet;

use ledger::Record;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::Repositories;
use super::authority::delegations;
use crate::limits::{RECALLED, RECALLED_FILES};
use crate::refusal::Refusal;

impl Repositories {
    /// The newest trusted root and the targets roles that a search from the top comes by, parents first, byte by byte as they
    /// were verified last: but for hash bins, and for those of `without`. As many as one answer may hold.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn recalled(
        &self,
        record: &Record,
        without: &BTreeSet<RoleName>,
    ) -> Result<Vec<(RoleName, Metadata)>, Refusal> {
        let Some((_, digest)) = record.root else { return Ok(Vec::new()) };
        let root = self.memory.load(digest).await?.filter(|root| !root.is_signed_part());
        let Some(root) = root else { return Ok(Vec::new()) };
        let mut room = RECALLED.saturating_sub(length(&root));
        let mut found = vec![(RoleKind::Root.role(), root)];
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![RoleKind::Targets.role()]);
        while let Some(role) = waiting.pop().filter(|_| found.len() < RECALLED_FILES) {
            if !seen.insert(role.clone()) {
                continue;
            }
            let watermark = self.ledger.watermark(record.id, role.clone()).await?;
            if watermark.file.is_none_or(|bytes| bytes.length > room) {
                continue;
            }
            let Some(file) = self.memory.verified_file(&watermark).await? else { continue };
            if let Some(all) = delegations(&file) {
                let children = all.roles.iter().map(|child| &child.name).filter(|child| !all.is_bin(child));
                waiting.extend(children.rev().cloned());
            }
            if !without.contains(&role) {
                room = room.saturating_sub(length(&file));
                found.push((role, file));
            }
        }
        Ok(found)
    }
}

fn length(file: &Metadata) -> u64 {
    u64::try_from(file.bytes().len()).unwrap_or(u64::MAX)
}
