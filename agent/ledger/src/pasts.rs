//! What the ledger knows of a key's past.

use tuf::digest::Sha256Digest;
use tuf::key::KeyId;

use crate::tx::Tx;
use crate::{Ledger, LedgerError, RepositoryId, adoption};

impl Ledger {
    /// Whether it is known what this key has signed, as far as a repository is concerned: it was made, imported or restored
    /// here; it is a key of that repository already; or the repository was adopted as it was published, so that its
    /// versions are known whoever signed them. What an adoption that was refused has left tells nothing. Walks over the
    /// journal where the tables say nothing.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn knows_past(
        &self,
        id: RepositoryId,
        fingerprint: Sha256Digest,
        keyid: KeyId,
    ) -> Result<bool, LedgerError> {
        self.read(move |tx| {
            Ok((serves(tx, &id, fingerprint)? && !adoption::is_left(tx, &id)?)
                || journalled(tx, &["key.made", "backup.keys"], &format!("\"{keyid}\""))?
                || journalled(tx, &["restored.adopted"], &format!("\"{id}\""))?
                || adoption::was_whole(tx, &id)?)
        })
        .await
    }
}

/// Whether it has signed for the repository, or is named by what was adopted or published of it.
fn serves(tx: &Tx<'_>, id: &RepositoryId, fingerprint: Sha256Digest) -> Result<bool, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM key_use WHERE fingerprint = ?1 AND repository = ?2)")?;
    Ok(select.query_row((fingerprint.as_bytes(), id.to_string()), |row| row.get(0))?)
}

/// Whether an entry of one of these kinds holds a text.
pub(crate) fn journalled(tx: &Tx<'_>, kinds: &[&str], text: &str) -> Result<bool, LedgerError> {
    journalled_with(tx, kinds, [text, text])
}

/// Whether one holds both of these.
pub(crate) fn journalled_with(
    tx: &Tx<'_>,
    kinds: &[&str],
    [text, more]: [&str; 2],
) -> Result<bool, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM journal WHERE kind = ?1 AND instr(body, ?2) > 0 AND instr(body, ?3) > 0)",
    )?;
    for kind in kinds {
        if select.query_row((kind, text, more), |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}
