//! Watermarks that start anew after a fast-forward attack (DESIGN section 4, rule 3; specification 5.3.11).
//!
//! Clients forget timestamp and snapshot once their keys have changed, so versions may restart then, and only then:
//! nothing that was signed of timestamp, of snapshot and of the role itself may still reach its threshold by the newest
//! root (or by those that delegate). Of what was signed here and never seen complete nobody knows who else has signed
//! it: every key that the role had before counts as a signature, every key that has signed the role here, and, when it
//! was signed under the keys that stand now, all of these. Where a file that the answer rests on is lost, it is no.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Mark, Record, Reset};
use policy::Reason;
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName};
use tuf::time::UtcTime;
use tuf::verify::check_signatures;
use tuf::word;

use super::authority::{delegations, publics};
use super::{Repositories, judge};
use crate::refusal::Refusal;

/// Keys that stand now, with the threshold that they must meet, and who says so.
struct KeysNow {
    keys: BTreeMap<KeyId, Key>,
    role: RoleKeys,
    by: String,
    /// Since when they stand, as far as this agent knows.
    since: UtcTime,
}

impl Repositories {
    /// From where to where the watermark of `role` would go; from nowhere when it was put back before, as by a command that
    /// was cut off, and nothing has come since.
    ///
    /// # Errors
    /// `POLICY` while something that was signed still reaches its threshold; `USAGE` for root; `ROLE_UNKNOWN` without a
    /// mark; `REPOSITORY_INVALID` without a trusted root; `STATE_IO`.
    pub async fn look_at_reset(&self, record: &Record, role: &RoleName) -> Result<Reset, Refusal> {
        if role.kind() == RoleKind::Root {
            return Err(Refusal::new(Reason::Usage, "the watermark of root never starts anew")
                .remedy("roots follow one another without a gap: name timestamp, snapshot or a targets role")
                .detail("role", role.to_string()));
        }
        let reset = self.ledger.look_at_reset(record.id, role.clone()).await?.ok_or_else(|| {
            let message = format!(
                "nothing of {role} in {} was signed or verified, so nothing starts anew",
                record.name
            );
            Refusal::new(Reason::RoleUnknown, message)
                .remedy("name a role of the repository: tufctl repo show DIR")
                .detail("role", role.to_string())
        })?;
        if reset.from.is_none() {
            return Ok(reset);
        }
        for asked in [RoleKind::Timestamp.role(), RoleKind::Snapshot.role(), role.clone()] {
            self.check_void(record, &asked).await?;
        }
        Ok(reset)
    }

    /// Puts the watermark of `role` back; `confirmed` is the digest that [`Self::look_at_reset`] gave.
    ///
    /// # Errors
    /// As [`Self::look_at_reset`]; `CONFIRMATION_MISSING` when it moved meanwhile.
    pub async fn reset_watermark(
        &self,
        record: &Record,
        role: &RoleName,
        confirmed: Sha256Digest,
        caller: Value,
    ) -> Result<Reset, Refusal> {
        self.look_at_reset(record, role).await?;
        let reset = self.ledger.reset_watermark(record.id, role.clone(), confirmed, caller).await;
        reset.map_err(|error| judge::of_repository(record, error))
    }

    /// Whether a role's watermark ever started anew.
    pub(super) async fn was_reset(&self, record: &Record, role: &RoleName) -> Result<bool, Refusal> {
        Ok(self.ledger.resets(record.id).await?.iter().any(|(reset, _)| reset == role))
    }

    /// Refuses while anything of a role that was signed or verified last still reaches its threshold.
    async fn check_void(&self, record: &Record, role: &RoleName) -> Result<(), Refusal> {
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        let seen = watermark.verified.map(|mark| (mark, true));
        let same = |mark: &Mark| watermark.verified.is_some_and(|seen| seen.digest == mark.digest);
        let signed = watermark.signed.filter(|mark| !same(mark)).map(|mark| (mark, false));
        let standing = self.keys_now(record, role).await?;
        if standing.is_empty() {
            let message = format!("nobody delegates to {role} of {} any more", record.name);
            return Err(Refusal::new(Reason::RoleUnknown, message)
                .remedy("put what delegates to it right first: its keys say what counts of it")
                .detail("role", role.to_string()));
        }
        for (mark, complete) in seen.into_iter().chain(signed) {
            let file = match complete {
                true => {
                    let file = self.memory.verified_file(&watermark).await?;
                    Some(file.ok_or_else(|| lost(record, role, mark))?)
                }
                false => None,
            };
            for now in &standing {
                if self.reaches(record, role, mark, file.as_ref(), now).await? {
                    return Err(still_good(record, role, mark, &now.by));
                }
            }
        }
        Ok(())
    }

    /// Who gives the role its keys now: the newest trusted root, or every known parent.
    async fn keys_now(&self, record: &Record, role: &RoleName) -> Result<Vec<KeysNow>, Refusal> {
        let root = self.memory.trusted_root(record).await?;
        let Some(root) = root.as_ref().and_then(|file| Some((file, file.as_root()?))) else {
            return Err(Refusal::new(
                Reason::RepositoryInvalid,
                format!("{} has no trusted root yet", record.name),
            )
            .remedy("publish the repository first"));
        };
        if role.is_top_level() {
            let (file, view) = root;
            let by = format!("root version {}", file.version());
            let since = self.newest_on(record, &RoleKind::Root.role()).await?;
            let (keys, role) = (view.keys.clone(), view.role(role.kind()).clone());
            return Ok(vec![KeysNow { keys, role, by, since }]);
        }
        let mut standing = Vec::new();
        for (name, file) in self.all_parents(record).await? {
            let found =
                delegations(&file).and_then(|all| Some((all.keys.clone(), all.role_keys(role)?.clone())));
            let Some((keys, role)) = found else { continue };
            let since = self.newest_on(record, &name).await?;
            standing.push(KeysNow { keys, role, by: format!("{name} version {}", file.version()), since });
        }
        Ok(standing)
    }

    /// When the newest of a role was signed or verified here; the beginning of time when there is none.
    async fn newest_on(&self, record: &Record, role: &RoleName) -> Result<UtcTime, Refusal> {
        let mark = self.ledger.watermark(record.id, role.clone()).await?.newest();
        Ok(mark.map_or(UtcTime::from_unix(0), |mark| mark.on))
    }

    /// All that delegate; refuses when one may be lost.
    async fn all_parents(&self, record: &Record) -> Result<Vec<(RoleName, Metadata)>, Refusal> {
        let parents = self.known_parents(record, &BTreeSet::new()).await?;
        for (role, watermark) in self.ledger.watermarks(record.id).await? {
            let targets = role.kind() == RoleKind::Targets;
            if let Some(mark) = watermark.newest().filter(|mark| targets && self.memory.is_lost(&mark.digest))
            {
                return Err(lost(record, &role, mark));
            }
        }
        Ok(parents)
    }

    /// Whether what a mark names meets a threshold that stands now: a file that was verified, or what was signed here.
    async fn reaches(
        &self,
        record: &Record,
        role: &RoleName,
        mark: Mark,
        verified: Option<&Metadata>,
        now: &KeysNow,
    ) -> Result<bool, Refusal> {
        if let Some(file) = verified.cloned() {
            let (keys, role) = (now.keys.clone(), now.role.clone());
            // A role may have thousands of keys: not on a thread that serves others.
            let work = move || check_signatures(&file, &keys, &role).met();
            return tokio::task::spawn_blocking(work).await.map_err(Refusal::internal);
        }
        let standing = publics(&now.keys, &now.role);
        let kept = if mark.on > now.since {
            standing.len()
        } else {
            let before = self.earlier_keys(record, role).await?;
            let used: BTreeSet<_> = self.used_keys(record, role).await?;
            standing.iter().filter(|key| before.contains(key) || used.contains(&key.fingerprint())).count()
        };
        Ok(u32::try_from(kept).unwrap_or(u32::MAX) >= now.role.threshold.get())
    }

    /// Fingerprints of the keys that have signed here: a top-level role itself, and of a delegated one whatever its
    /// repository has, since a delegation may come by another name.
    async fn used_keys(&self, record: &Record, role: &RoleName) -> Result<BTreeSet<Sha256Digest>, Refusal> {
        let used = if role.is_top_level() {
            self.ledger.used_keys_of_role(record.id, role.clone()).await?
        } else {
            self.ledger.used_keys(record.id).await?
        };
        Ok(used.into_iter().collect())
    }

    /// Every key that a top-level role had by a root before the newest.
    async fn earlier_keys(&self, record: &Record, role: &RoleName) -> Result<BTreeSet<PublicKey>, Refusal> {
        let mut before = BTreeSet::new();
        if !role.is_top_level() {
            return Ok(before);
        }
        let newest = record.root.map(|(version, _)| version);
        for (version, digest) in self.ledger.roots(record.id).await? {
            if Some(version) == newest {
                continue;
            }
            let mark = Mark { version, digest, on: UtcTime::from_unix(0) };
            let root = self.memory.load(digest).await?;
            let root = root.ok_or_else(|| lost(record, &RoleKind::Root.role(), mark))?;
            if let Some(root) = root.as_root() {
                before.extend(publics(&root.keys, root.role(role.kind())));
            }
        }
        Ok(before)
    }
}

/// Whether something still reaches its threshold cannot be told without what it says.
fn lost(record: &Record, role: &RoleName, mark: Mark) -> Refusal {
    let message = format!(
        "{}: {role} version {} (sha256 {}) is not kept any more, so that nobody can tell what still reaches its threshold",
        record.name, mark.version, mark.digest
    );
    Refusal::new(Reason::StateCorrupt, message)
        .remedy(
            "show this agent the file again (any tufctl command in a folder whose metadata/ has it), or put the folder \
             metadata back into its state from a backup; or go on from the version that stands",
        )
        .detail("repository", record.name.to_string())
        .detail("role", role.to_string())
        .detail("version", mark.version.get())
}

fn still_good(record: &Record, role: &RoleName, mark: Mark, by: &str) -> Refusal {
    let message = format!(
        "{}: {role} version {} (sha256 {}) still reaches its threshold by {by}, so clients that have it would refuse \
         anything below it (specification 5.3.11)",
        record.name, mark.version, mark.digest
    );
    let remedy = if role.is_top_level() {
        format!(
            "give {role} new keys (tufctl root replace-key DIR {role} --old KEY --new KEY), let the root be signed \
             (tufctl sign DIR --role root), then try again; do so for timestamp and snapshot both"
        )
    } else {
        format!(
            "give {role} new keys (tufctl delegation edit DIR {}), sign what delegates to it, then try again",
            word::before(role.as_str(), "--add-key KEY --remove-key KEY")
        )
    };
    Refusal::new(Reason::Policy, message)
        .remedy(remedy)
        .detail("repository", record.name.to_string())
        .detail("role", role.to_string())
        .detail("version", mark.version.get())
        .detail("spec", "5.3.11")
}
