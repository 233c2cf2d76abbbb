//! Which files the agent wants to see.

use std::collections::BTreeMap;

use ledger::Record;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};

use super::Repositories;
use crate::refusal::Refusal;

/// A file, by what is signed in it and by its bytes.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its canonical `signed`.
    pub digest: Sha256Digest,
    /// SHA-256 of its bytes, where they matter: another signature makes another file.
    pub file: Option<Sha256Digest>,
}

impl Repositories {
    /// Whether the agent has not verified this file yet, or does not keep it any more.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn misses(&self, record: &Record, file: &Described) -> Result<bool, Refusal> {
        if file.role.kind() == RoleKind::Root {
            return self.misses_root(record, file).await;
        }
        let watermark = self.ledger.watermark(record.id, file.role.clone()).await?;
        let Some(mark) = watermark.verified else {
            let resets = self.ledger.resets(record.id).await?;
            let void = |(role, mark): &(_, ledger::Mark)| *role == file.role && mark.digest == file.digest;
            return Ok(!resets.iter().any(void));
        };
        if mark.version > file.version {
            return Ok(false);
        }
        if (mark.version, mark.digest) != (file.version, file.digest) {
            return Ok(true);
        }
        // What lies there is read: one that is damaged is shown again before anything is compared with it.
        match file.file {
            None => Ok(self.memory.load(mark.digest).await?.is_none()),
            Some(wanted) if watermark.file.is_none_or(|seen| seen.sha256 != wanted) => Ok(true),
            Some(_) => Ok(self.memory.verified_file(&watermark).await?.is_none()),
        }
    }

    /// Takes note that these files are published, as far as they are the newest that was verified of their roles.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn note_published(&self, record: &Record, files: &[Described]) -> Result<(), Refusal> {
        let mut out = BTreeMap::new();
        for file in files {
            let verified = self.ledger.watermark(record.id, file.role.clone()).await?.verified;
            if verified.is_some_and(|mark| (mark.version, mark.digest) == (file.version, file.digest)) {
                out.insert(file.role.clone(), file.version);
            }
        }
        Ok(self.ledger.note_published(record.id, out).await?)
    }

    async fn misses_root(&self, record: &Record, file: &Described) -> Result<bool, Refusal> {
        let Some((newest, digest)) = record.root else { return Ok(true) };
        if file.version == newest {
            return Ok(file.digest != digest || self.memory.load(digest).await?.is_none());
        }
        let chain = self.ledger.roots(record.id).await?;
        let oldest = chain.first().is_none_or(|(oldest, _)| file.version < *oldest);
        Ok(file.version > newest || oldest)
    }
}
