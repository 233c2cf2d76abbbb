//! Watermarks that start anew after a fast-forward attack (DESIGN section 4, rule 3; specification 5.3.11).
//!
//! Clients forget timestamp and snapshot once their keys have changed, so versions may restart then, and only then:
//! nothing that was signed of timestamp, of snapshot and of the role itself may still reach its threshold by the newest
//! root (or by those that delegate). Of what was signed here and never seen complete nobody knows who else has signed
//! it: every key that the role had before counts as a signature.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Mark, Record, Reset};
use policy::Reason;
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName};
use tuf::verify::check_signatures;

use super::authority::{delegations, publics};
use super::{Repositories, judge};
use crate::refusal::Refusal;

/// Keys that stand now, with the threshold that they must meet, and who says so.
struct KeysNow {
    keys: BTreeMap<KeyId, Key>,
    role: RoleKeys,
    by: String,
}

impl Repositories {
    /// From where to where the watermark of `role` would go.
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
        for asked in [RoleKind::Timestamp.role(), RoleKind::Snapshot.role(), role.clone()] {
            self.check_void(record, &asked).await?;
        }
        self.ledger.look_at_reset(record.id, role.clone()).await?.ok_or_else(|| {
            let message = format!(
                "nothing of {role} in {} was signed or verified, so nothing starts anew",
                record.name
            );
            Refusal::new(Reason::RoleUnknown, message)
                .remedy("name a role of the repository: tufctl repo show DIR")
                .detail("role", role.to_string())
        })
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
        for (mark, complete) in seen.into_iter().chain(signed) {
            for now in &standing {
                if self.reaches(record, role, mark, complete, now).await? {
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
            return Ok(vec![KeysNow { keys: view.keys.clone(), role: view.role(role.kind()).clone(), by }]);
        }
        let parents = self.known_parents(record, &BTreeSet::new()).await?;
        let standing = parents.iter().filter_map(|(name, file)| {
            let all = delegations(file)?;
            let role = all.role_keys(role)?.clone();
            Some(KeysNow { keys: all.keys.clone(), role, by: format!("{name} version {}", file.version()) })
        });
        Ok(standing.collect())
    }

    /// Whether what a mark names meets a threshold that stands now.
    async fn reaches(
        &self,
        record: &Record,
        role: &RoleName,
        mark: Mark,
        complete: bool,
        now: &KeysNow,
    ) -> Result<bool, Refusal> {
        let file = if complete { self.memory.load(mark.digest).await? } else { None };
        if let Some(file) = file {
            let (keys, role) = (now.keys.clone(), now.role.clone());
            // A role may have thousands of keys: not on a thread that serves others.
            let work = move || check_signatures(&file, &keys, &role).met();
            return tokio::task::spawn_blocking(work).await.map_err(Refusal::internal);
        }
        let before = self.earlier_keys(record, role).await?;
        let kept = publics(&now.keys, &now.role).iter().filter(|key| before.contains(key)).count();
        Ok(u32::try_from(kept).unwrap_or(u32::MAX) >= now.role.threshold.get())
    }

    /// Every key that a top-level role had by a root before the newest; all that have signed here for a delegated one.
    async fn earlier_keys(&self, record: &Record, role: &RoleName) -> Result<BTreeSet<PublicKey>, Refusal> {
        let mut before = BTreeSet::new();
        if !role.is_top_level() {
            let used = self.ledger.used_keys(record.id).await?;
            for (_, parent) in self.known_parents(record, &BTreeSet::new()).await? {
                let all = delegations(&parent).and_then(|all| Some((all, all.role_keys(role)?)));
                let keys = all.map(|(all, keys)| publics(&all.keys, keys)).unwrap_or_default();
                before.extend(keys.into_iter().filter(|key| used.contains(&key.fingerprint())));
            }
            return Ok(before);
        }
        let newest = record.root.map(|(version, _)| version);
        for (version, digest) in self.ledger.roots(record.id).await? {
            let root = if Some(version) == newest { None } else { self.memory.load(digest).await? };
            if let Some(root) = root.as_ref().and_then(Metadata::as_root) {
                before.extend(publics(&root.keys, root.role(role.kind())));
            }
        }
        Ok(before)
    }
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
            "give {role} new keys (tufctl delegation edit DIR {role} --add-key KEY --remove-key KEY), sign what \
             delegates to it, then try again"
        )
    };
    Refusal::new(Reason::Policy, message)
        .remedy(remedy)
        .detail("repository", record.name.to_string())
        .detail("role", role.to_string())
        .detail("version", mark.version.get())
        .detail("spec", "5.3.11")
}
