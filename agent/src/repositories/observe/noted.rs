//! What was verified comes into the ledger.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{FileBytes, Noted, Record, Verified};
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName, Version};

use super::Shown;
use super::adopted::Copied;
use crate::refusal::Refusal;
use crate::repositories::authority::{delegations, publics};
use crate::repositories::{Repositories, judge};

/// What was verified, and is to be noted.
pub(super) struct Found {
    pub(super) seen: Vec<(RoleName, Metadata)>,
    pub(super) signers: Vec<Vec<Sha256Digest>>,
    pub(super) ancestors: Vec<(Version, Sha256Digest)>,
    pub(super) short: BTreeMap<RoleName, Version>,
}

impl Found {
    /// Digests of the roots.
    pub(super) fn roots(&self) -> Vec<Sha256Digest> {
        let seen = self.seen.iter().filter(|(role, _)| role.kind() == RoleKind::Root);
        let older = self.ancestors.iter().map(|(_, digest)| *digest);
        seen.map(|(_, file)| file.digest()).chain(older).collect()
    }
}

impl Repositories {
    /// Takes note of what was found, as it was shown and as the copy was judged. Gives the alarms that were raised.
    pub(super) async fn note(
        &self,
        record: &Record,
        (how, copy): (Shown<'_>, Option<&Copied>),
        judged: Result<(), Refusal>,
        found: Found,
        caller: &Value,
    ) -> Result<Vec<String>, Refusal> {
        let published = !matches!(how, Shown::Staged);
        if let Shown::Whole { adoption, .. } = how
            && !adoption.looked.known
        {
            judged?;
            return self.note_new(adoption, found).await;
        }
        if let Err(refusal) = judged {
            // What was verified is taken note of, even where the copy as a whole is refused; of a repository whose adoption
            // was cut off nothing is.
            if !matches!(how, Shown::Whole { adoption, .. } if adoption.looked.bare) {
                self.note_found(record, published, found).await?;
            }
            return Err(refusal);
        }
        let mut alarms = Vec::new();
        if let (Shown::Whole { consent, .. }, Some(copy)) = (how, copy) {
            if !found.roots().is_empty() {
                let seen = found.seen.iter().map(|(role, file)| (role.clone(), file.version()));
                self.ledger.make_room(record.id, found.roots(), seen.collect(), caller.clone()).await?;
            }
            if consent.acknowledge {
                alarms.extend(self.acknowledge(record, copy, caller).await?);
            }
        }
        if published {
            self.adopt_lengths(record, &found.seen, caller).await?;
        }
        alarms.extend(self.note_found(record, published, found).await?);
        Ok(alarms)
    }

    /// Gives the alarms that were raised.
    pub(super) async fn note_found(
        &self,
        record: &Record,
        published: bool,
        found: Found,
    ) -> Result<Vec<String>, Refusal> {
        self.ledger.add_ancestors(record.id, found.ancestors).await?;
        self.ledger.note_short(record.id, found.short).await?;
        let verified = self.keep_all(record, &found.seen, found.signers).await?;
        Ok(alarms(self.ledger.note_all(record.id, verified, published).await?))
    }

    /// Keeps the texts first: what is noted must be there to be compared with.
    pub(super) async fn keep_all(
        &self,
        record: &Record,
        files: &[(RoleName, Metadata)],
        signers: Vec<Vec<Sha256Digest>>,
    ) -> Result<Vec<Verified>, Refusal> {
        for (role, file) in files {
            self.memory.keep_verified((record.id, role.clone()), file).await?;
        }
        let verified = files.iter().zip(signers).map(|((role, file), signed_by)| Verified {
            signed_by,
            role: role.clone(),
            version: file.version(),
            digest: file.digest(),
            lists: judge::lists(file),
            names: named_by(file),
            file: Some(FileBytes {
                length: u64::try_from(file.bytes().len()).unwrap_or(u64::MAX),
                sha256: file.file_digest(),
            }),
        });
        Ok(verified.collect())
    }
}

/// Fingerprints of the public keys to which metadata gives a role.
pub(in crate::repositories) fn named_by(file: &Metadata) -> Vec<Sha256Digest> {
    let of = |keys: &BTreeMap<KeyId, Key>, role: &RoleKeys| {
        publics(keys, role).into_iter().map(|public| public.fingerprint())
    };
    let mut found = BTreeSet::new();
    if let Some(root) = file.as_root() {
        for kind in RoleKind::ALL {
            found.extend(of(&root.keys, root.role(kind)));
        }
    }
    if let Some(all) = delegations(file) {
        // Thousands of bins have the same keys.
        let ids: BTreeSet<&KeyId> = all.roles.iter().flat_map(|role| &role.keys.keyids).collect();
        let named = ids.into_iter().filter_map(|id| all.keys.get(id)?.public_key().ok());
        found.extend(named.map(PublicKey::fingerprint));
        found.extend(all.succinct.iter().flat_map(|bins| of(&all.keys, &bins.keys)));
    }
    found.into_iter().collect()
}

/// What the alarms among these say.
pub(super) fn alarms(noted: Vec<Noted>) -> Vec<String> {
    let alarm = |noted| if let Noted::Conflict { message, .. } = noted { Some(message) } else { None };
    noted.into_iter().filter_map(alarm).collect()
}
