//! A watermark that no signature stands behind: each time that its content was to be signed, none came of it.
//!
//! The mark stays all the same (DESIGN section 4, rule 3): an intent is durable before the token signs, and whether nothing
//! was made is known from what the agent says of itself afterwards. But a person who did not touch their key is told that,
//! and not that the version "was signed".

use serde_json::Value;
use tuf::role::RoleName;

use crate::tx::Tx;
use crate::{Intent, LedgerError, Mark, RepositoryId, chain};

/// So many entries are looked at, the newest: what is older is taken for signed.
const MOST: u64 = 10_000;

/// The refusal, with what the journal knows of the signatures that are in the way.
pub(crate) fn told(
    tx: &Tx<'_>,
    intent: &Intent,
    mut refusal: LedgerError,
) -> Result<LedgerError, LedgerError> {
    if let LedgerError::Watermark {
        marked_role,
        marked_version,
        marked_digest,
        marked_on,
        published: false,
        unmade,
        ..
    } = &mut refusal
    {
        let mark = Mark { version: *marked_version, digest: *marked_digest, on: *marked_on };
        *unmade = came_to_nothing(tx, &intent.repository, marked_role, &mark)?;
    }
    Ok(refusal)
}

/// Whether every intent of this content, from the one that made the mark on, has ended without a signature.
pub(crate) fn came_to_nothing(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    mark: &Mark,
) -> Result<bool, LedgerError> {
    let (repository, sha256) = (repository.to_string(), mark.digest.to_string());
    let newest = chain::newest(tx.db)?.unwrap_or(0);
    let mut select = tx.db.prepare_cached(
        "SELECT seq, time, kind, body FROM journal \
         WHERE seq > ?1 AND kind IN ('sign.intent', 'sign.outcome') AND instr(body, ?2) > 0 ORDER BY seq",
    )?;
    let mut rows = select.query((chain::number(newest.saturating_sub(MOST))?, &sha256))?;
    let (mut first, mut open) = (None, 0_u64);
    while let Some(row) = rows.next()? {
        let (time, kind, body): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let Ok(body) = serde_json::from_str::<Value>(&body) else { return Ok(false) };
        let is = |name: &str, wanted: &str| body.get(name).and_then(Value::as_str) == Some(wanted);
        if !(is("repository_id", &repository) && is("role", role.as_str()) && is("sha256", &sha256)) {
            continue;
        }
        if kind == "sign.intent" {
            first.get_or_insert(time);
            open = open.saturating_add(1);
        } else if is("outcome", "failed") || is("outcome", "abandoned") {
            open = open.saturating_sub(1);
        } else {
            return Ok(false);
        }
    }
    // The mark's time is that of the first intent: an older one may have ended otherwise.
    Ok(open == 0 && first.and_then(|time| time.parse().ok()) == Some(mark.on))
}
