//! Keys of unknown past (DESIGN section 4, rule 3): a state folder may have been lost, and its keys put back.
//!
//! What such a key has signed nobody here knows, so it begins no repository of its own accord: one that it signed for
//! before is adopted from its newest published copy, and then its versions are known.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ledger::{Record, RepositoryId, RepositoryName};
use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::key::PublicKey;
use tuf::metadata::Metadata;
use tuf::role::RoleKind;

use super::Repositories;
use super::authority::publics;
use super::observe::named_by;
use crate::refusal::Refusal;

/// Keys whose past is known, by repository: so that it is looked up once.
#[derive(Default)]
pub(super) struct Pasts(Mutex<BTreeSet<(RepositoryId, Sha256Digest)>>);

impl Repositories {
    /// Whether it is known what a key has signed, as far as this repository is concerned.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn knows_past(&self, record: &Record, public: &PublicKey) -> Result<bool, Refusal> {
        let about = (record.id, public.fingerprint());
        if self.pasts.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&about) {
            return Ok(true);
        }
        let keyid = public.to_key().computed_keyid();
        let known = self.ledger.knows_past(record.id, about.1, keyid).await?;
        if known {
            self.pasts.0.lock().unwrap_or_else(PoisonError::into_inner).insert(about);
        }
        Ok(known)
    }
}

impl Repositories {
    /// The other repositories that a key serves, by name.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn users_beside(
        &self,
        record: &Record,
        public: &PublicKey,
    ) -> Result<Vec<RepositoryName>, Refusal> {
        Ok(self.ledger.users_beside(record.id, public.fingerprint()).await?)
    }

    /// The first of these repositories of whose root this is a key.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn rooted_in<'n>(
        &self,
        names: &'n [RepositoryName],
        public: &PublicKey,
    ) -> Result<Option<&'n RepositoryName>, Refusal> {
        for name in names {
            let Some(record) = self.ledger.find_by_name(name).await? else { continue };
            // Clients may hold any root of the chain; the next one may be signed already.
            let roots = self.ledger.roots(record.id).await?;
            let mut digests: Vec<_> = roots.into_iter().map(|(_, digest)| digest).collect();
            digests.extend(
                self.ledger.watermark(record.id, RoleKind::Root.role()).await?.signed.map(|mark| mark.digest),
            );
            for digest in digests {
                let root = self.memory.load(digest).await?;
                let root = root.as_ref().and_then(Metadata::as_root);
                if root.is_some_and(|root| publics(&root.keys, &root.root).contains(public)) {
                    return Ok(Some(name));
                }
            }
        }
        Ok(None)
    }

    /// Takes note of the keys that are named by what was verified before this was noted.
    pub(super) async fn note_named(&self) -> Result<(), Refusal> {
        for record in self.ledger.repositories().await? {
            if record.root.is_none() || self.ledger.knows_named(record.id).await? {
                continue;
            }
            let root = self.memory.trusted_root(&record).await?;
            let parents = self.known_parents(&record, &BTreeSet::new()).await?;
            let named = root.iter().chain(parents.iter().map(|(_, file)| file)).flat_map(named_by).collect();
            self.ledger.note_named(record.id, named).await?;
        }
        Ok(())
    }

    /// What people should know before keys are given to a role of a repository, which may not be there yet: those that
    /// serve another one would be refused when they sign. One sentence each.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn serving_elsewhere(
        &self,
        repository: &str,
        keys: &[(&str, &PublicKey)],
    ) -> Result<Vec<String>, Refusal> {
        let id = match repository.parse() {
            Ok(name) => self.ledger.find_by_name(&name).await?.map(|record| record.id),
            Err(_) => None,
        };
        let fingerprints = keys.iter().map(|(_, public)| public.fingerprint()).collect();
        let elsewhere = self.ledger.keys_elsewhere(id, fingerprints).await?;
        let told = |(fingerprint, other): (Sha256Digest, RepositoryName)| {
            let (key, _) = keys.iter().find(|(_, public)| public.fingerprint() == fingerprint)?;
            Some(format!(
                "the key {key} serves the repository {other}: it signs here only with --shared-key; a key of its own is better"
            ))
        };
        Ok(elsewhere.into_iter().filter_map(told).collect())
    }
}

/// The refusal of a key of the file store whose past is not known.
#[must_use]
pub fn unknown_past(key: &str, record: &Record) -> Refusal {
    let message = format!(
        "the key {key} was put into the file store by other hands: this agent has no record of it, and {} was begun \
         here, so what the key has signed before may be signed again with other content",
        record.name
    );
    Refusal::new(Reason::SharedKey, message)
        .remedy(
            "if it has signed for a repository before, adopt that from its newest published copy (tufctl repo adopt); \
             if this repository may have it as well, say so: tufctl sign DIR --shared-key",
        )
        .detail("key", key)
        .detail("repository", record.name.to_string())
}

/// What a person is told of a token's key whose past is not known: it may have been there long before the agent.
#[must_use]
pub fn unknown_past_of_token(key: &str, token: &str) -> String {
    format!(
        "the key {key} was on token {token} before this agent knew it: what it has signed elsewhere is not known here"
    )
}
