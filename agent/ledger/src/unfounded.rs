//! What keys have signed as roles that a caller's word alone gave them.
//!
//! Targets metadata does not name its role: what a key signs as one role counts as every other that it serves now, or is
//! given later. That two roles of one key go each by its own count is for those who delegate to say. A parent that was only sent
//! says nothing: a caller could invent as many roles as it wants contents of one version (DESIGN section 4, rule 3). So
//! such a key signs above all that it has signed before; what it signs is remembered until its role is verified with its
//! signature, and the other roles of the key go on above it.

use std::collections::BTreeSet;

use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};

use crate::intents::{self, View};
use crate::marks;
use crate::records::column_text;
use crate::schema::Table;
use crate::tx::Tx;
use crate::{Given, Intent, IntentKey, Ledger, LedgerError, RepositoryId, chain};

/// What one key has signed on a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfounded {
    /// As which role.
    pub role: RoleName,
    /// The key.
    pub fingerprint: Sha256Digest,
    /// The highest version.
    pub version: Version,
}

impl Ledger {
    /// What keys have signed for a repository on a word, by role.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn unfounded(&self, id: RepositoryId) -> Result<Vec<Unfounded>, LedgerError> {
        if self.mirror.judge(|state| state.has_unfounded(&id)) == Some(false) {
            return Ok(Vec::new());
        }
        self.read(move |tx| of_repository(tx, &id)).await
    }

    /// Fingerprints of the keys whose signatures over this content of a role were made here and given out, as far as the
    /// newest entries of the journal tell.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn signers_of(
        &self,
        id: RepositoryId,
        role: RoleName,
        digest: Sha256Digest,
    ) -> Result<BTreeSet<Sha256Digest>, LedgerError> {
        // With the outcomes that wait for the next commit.
        self.read_all(move |tx| signers_of(tx, &id, &role, &digest)).await
    }
}

/// Whether [`against`] or [`note`] may have something to say: then the tables are asked.
pub(crate) fn may_matter(view: &impl View, intent: &Intent) -> Result<bool, LedgerError> {
    if intent.role.kind() != RoleKind::Targets {
        return Ok(false);
    }
    Ok(!intent.keys.iter().all(is_founded) || view.has_unfounded(&intent.repository)?)
}

fn is_founded(key: &IntentKey) -> bool {
    matches!(key.given, Given::Founded { .. })
}

/// Why the keys must not sign this beside what they have signed as other roles.
pub(crate) fn against(tx: &Tx<'_>, intent: &Intent) -> Result<Option<LedgerError>, LedgerError> {
    if !may_matter(tx, intent)? {
        return Ok(None);
    }
    let mut noted = of_repository(tx, &intent.repository)?;
    let own = marks::read(tx, &intent.repository, &intent.role)?.signed;
    // The same once more is nothing new.
    let is_again = own.is_some_and(|mark| (mark.version, mark.digest) == (intent.version, intent.digest));
    noted.retain(|one| one.version >= intent.version && (one.role != intent.role || !is_again));
    for key in &intent.keys {
        let mut noted = noted.iter().filter(|one| one.fingerprint == key.fingerprint);
        let fault = match &key.given {
            Given::Founded { also } => {
                noted.find(|one| one.role != intent.role && !also.contains(&one.role)).map(|one| {
                    let (marked_role, marked) = (one.role.clone(), one.version);
                    let (role, version) = (intent.role.clone(), intent.version);
                    LedgerError::LaidBy { key: key.name.clone(), role, version, marked_role, marked }
                })
            }
            Given::Unfounded => {
                let beside = noted.next().map(|one| (one.role.clone(), one.version));
                let beside = beside.map_or_else(|| in_the_way(tx, intent, key), |found| Ok(Some(found)))?;
                beside.map(|(marked_role, marked)| {
                    let (role, version) = (intent.role.clone(), intent.version);
                    LedgerError::Unfounded { key: key.name.clone(), role, version, marked_role, marked }
                })
            }
        };
        if fault.is_some() {
            return Ok(fault);
        }
    }
    Ok(None)
}

/// Another role of the key with the mark that this intent does not clear.
fn in_the_way(
    tx: &Tx<'_>,
    intent: &Intent,
    key: &IntentKey,
) -> Result<Option<(RoleName, Version)>, LedgerError> {
    for other in roles_of(tx, &intent.repository, key.fingerprint)? {
        if other.kind() != RoleKind::Targets || other == intent.role {
            continue;
        }
        let watermark = marks::read(tx, &intent.repository, &other)?;
        if intents::against(intent, &other, &watermark).is_some() {
            return Ok(watermark.newest().map(|mark| (other, mark.version)));
        }
    }
    Ok(None)
}

/// Takes note of what an intent means.
pub(crate) fn note(tx: &mut Tx<'_>, intent: &Intent) -> Result<(), LedgerError> {
    if !may_matter(tx, intent)? {
        return Ok(());
    }
    for key in intent.keys.iter().filter(|key| !is_founded(key)) {
        raise(tx, &intent.repository, &intent.role, key.fingerprint, intent.version)?;
    }
    Ok(())
}

/// Remembers a version, unless a higher one is.
pub(crate) fn raise(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    fingerprint: Sha256Digest,
    version: Version,
) -> Result<(), LedgerError> {
    let text = repository.to_string();
    let key = (text.as_str(), role.as_str(), fingerprint.as_bytes());
    tx.change(
        Table::Unfounded,
        key,
        "INSERT INTO unfounded (repository, role, fingerprint, version) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET version = max(version, ?4)",
        (key.0, key.1, key.2, chain::number(version.get())?),
    )
}

/// The key is given the role, by what was verified.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    fingerprint: Sha256Digest,
) -> Result<(), LedgerError> {
    let text = repository.to_string();
    let key = (text.as_str(), role.as_str(), fingerprint.as_bytes());
    let noted = "SELECT 1 FROM unfounded WHERE repository = ?1 AND role = ?2 AND fingerprint = ?3";
    if !tx.db.prepare_cached(noted)?.exists(key)? {
        return Ok(());
    }
    let delete = "DELETE FROM unfounded WHERE repository = ?1 AND role = ?2 AND fingerprint = ?3";
    tx.change(Table::Unfounded, key, delete, key)
}

/// All that is remembered of a repository.
pub(crate) fn of_repository(tx: &Tx<'_>, id: &RepositoryId) -> Result<Vec<Unfounded>, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT role, fingerprint, version FROM unfounded WHERE repository = ?1 ORDER BY role, fingerprint",
    )?;
    let rows = select.query_map((id.to_string(),), |row| {
        Ok(Unfounded {
            role: column_text(row, 0)?,
            fingerprint: marks::column_digest(row, 1)?,
            version: marks::column_version(row, 2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The repositories of which anything is remembered.
pub(crate) fn repositories(tx: &Tx<'_>) -> Result<BTreeSet<RepositoryId>, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT DISTINCT repository FROM unfounded")?;
    let rows = select.query_map((), |row| column_text(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The roles that a key has signed, here or in what was adopted or verified.
fn roles_of(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    fingerprint: Sha256Digest,
) -> Result<BTreeSet<RoleName>, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT role FROM key_use WHERE fingerprint = ?1 AND repository = ?2")?;
    let rows =
        select.query_map((fingerprint.as_bytes(), repository.to_string()), |row| column_text(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// So many entries are looked at, the newest.
const MOST: u64 = 10_000;

fn signers_of(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    digest: &Sha256Digest,
) -> Result<BTreeSet<Sha256Digest>, LedgerError> {
    let (repository, sha256) = (repository.to_string(), digest.to_string());
    let newest = chain::newest(tx.db)?.unwrap_or(0);
    let mut select = tx.db.prepare_cached(
        "SELECT body FROM journal WHERE seq > ?1 AND kind = 'sign.outcome' AND instr(body, ?2) > 0",
    )?;
    let mut rows = select.query((chain::number(newest.saturating_sub(MOST))?, &sha256))?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let Ok(body) = serde_json::from_str::<Value>(&row.get::<_, String>(0)?) else { continue };
        let is = |name: &str, wanted: &str| body.get(name).and_then(Value::as_str) == Some(wanted);
        if is("repository_id", &repository)
            && is("role", role.as_str())
            && is("sha256", &sha256)
            && is("outcome", "signed")
        {
            let keys = body.pointer("/about/keys").and_then(Value::as_array).into_iter().flatten();
            found.extend(keys.filter_map(|key| key.as_str()?.parse::<Sha256Digest>().ok()));
        }
    }
    Ok(found)
}
