//! What was signed by keys to which a caller's word alone gave the role.
//!
//! Targets metadata does not name its role: what a key signs as one role counts as every other that it serves now, or is
//! given later. That two roles of one key go each by its own count is for those who delegate to say. A parent that was only sent
//! says nothing: a caller could invent as many roles as it wants contents of one version (DESIGN section 4, rule 3). So
//! such a key signs above all that it has signed before; what it signs is remembered until it is verified, or signed
//! again by a key of the role, and the key's other roles go on above it.

use std::collections::{BTreeMap, BTreeSet};

use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};

use crate::intents::{self, View};
use crate::listings::{self, Listing};
use crate::marks;
use crate::records::column_text;
use crate::tx::Tx;
use crate::{Given, Intent, IntentKey, Ledger, LedgerError, RepositoryId, Watermark};

impl Ledger {
    /// The roles of which the newest that was signed here was signed on a caller's word alone, with its version.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn unfounded(&self, id: RepositoryId) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        match self.mirror.listed(id, Listing::Unfounded, BTreeMap::clone) {
            Some(listed) => Ok(listed),
            None => self.glance(move |tx| listings::listed(tx, &id, Listing::Unfounded)).await,
        }
    }
}

impl Watermark {
    /// The newest that says who may sign others, where what was signed as `unfounded` is a caller's word alone.
    #[must_use]
    pub fn newest_founded(&self, unfounded: Option<Version>) -> Option<crate::Mark> {
        let signed = self.signed.filter(|mark| unfounded != Some(mark.version));
        Self { signed, ..*self }.newest()
    }
}

/// Whether [`against`] or [`note`] may have something to say: then the tables are asked.
pub(crate) fn may_matter(view: &impl View, intent: &Intent) -> Result<bool, LedgerError> {
    if !matches!(intent.role.kind(), RoleKind::Targets | RoleKind::Root) {
        return Ok(false);
    }
    let all_founded = intent.keys.iter().all(is_founded);
    Ok(!all_founded || view.has_listed(&intent.repository, Listing::Unfounded)?)
}

fn is_founded(key: &IntentKey) -> bool {
    matches!(key.given, Given::Founded { .. })
}

/// Why the keys must not sign this beside what they have signed as other roles.
pub(crate) fn against(tx: &Tx<'_>, intent: &Intent) -> Result<Option<LedgerError>, LedgerError> {
    if intent.role.kind() != RoleKind::Targets || !may_matter(tx, intent)? {
        return Ok(None);
    }
    let open = open_roles(tx, &intent.repository)?;
    for key in &intent.keys {
        let mut others = signed_roles(tx, &intent.repository, key.fingerprint)?;
        if let Given::Founded { also } = &key.given {
            others.retain(|role| open.contains(role) && !also.contains(role));
        }
        others.retain(|role| role.kind() == RoleKind::Targets && *role != intent.role);
        if key.given == Given::Unrooted {
            continue;
        }
        for other in others {
            let watermark = marks::read(tx, &intent.repository, &other)?;
            let Some(violation) = intents::against(intent, &other, &watermark) else { continue };
            let marked = watermark.newest().map(|mark| mark.version);
            return Ok(Some(match (&key.given, marked) {
                (Given::Unfounded, Some(marked)) => LedgerError::Unfounded {
                    key: key.name.clone(),
                    role: intent.role.clone(),
                    version: intent.version,
                    marked_role: other,
                    marked,
                },
                _ => violation,
            }));
        }
    }
    Ok(None)
}

/// Takes note of what an intent means, before the mark of its role is raised.
pub(crate) fn note(tx: &mut Tx<'_>, intent: &Intent) -> Result<(), LedgerError> {
    if !may_matter(tx, intent)? {
        return Ok(());
    }
    let (repository, role) = (&intent.repository, &intent.role);
    if intent.keys.iter().any(is_founded) {
        return settle(tx, repository, role, intent.version);
    }
    let known = marks::read(tx, repository, role)?.newest();
    // One signature more under what stands already takes nothing from it.
    if known.is_some_and(|mark| (mark.version, mark.digest) == (intent.version, intent.digest)) {
        return Ok(());
    }
    listings::set_listed(tx, repository, Listing::Unfounded, role, Some(intent.version))
}

/// What stands at this version, or above what is remembered, is more than a word.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    version: Version,
) -> Result<(), LedgerError> {
    match listings::listed_at(tx, repository, Listing::Unfounded, role)? {
        Some(listed) if listed <= version => {
            listings::set_listed(tx, repository, Listing::Unfounded, role, None)
        }
        _ => Ok(()),
    }
}

/// The roles of which something unfounded is remembered that still stands.
fn open_roles(tx: &Tx<'_>, repository: &RepositoryId) -> Result<BTreeSet<RoleName>, LedgerError> {
    Ok(listings::listed(tx, repository, Listing::Unfounded)?.into_keys().collect())
}

/// The roles that a key has signed here.
fn signed_roles(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    fingerprint: Sha256Digest,
) -> Result<BTreeSet<RoleName>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT role FROM key_use WHERE fingerprint = ?1 AND repository = ?2 AND signed")?;
    let rows =
        select.query_map((fingerprint.as_bytes(), repository.to_string()), |row| column_text(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
