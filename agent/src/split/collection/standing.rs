//! How a collection stands: on the wire, and in the journal.

use custody::{Collected, CustodianRef};
use serde_json::{Value, json};
use tufagent_proto::v1;

use super::{Collection, Purpose, Shares, Subject, lock};
use crate::door::Peer;
use crate::refusal::Refusal;

/// Who has given, and who could; no share is in it.
pub(super) struct Standing {
    pub(super) given: Vec<String>,
    have: usize,
    missing: Vec<String>,
    groups: Vec<v1::GroupProgress>,
}

impl Standing {
    pub(super) fn of(collected: &Collected) -> Self {
        // One group, or each of them one person: any so many shares are enough.
        let is_plain = collected.manifest().terms().is_plain();
        let progress = if is_plain { Vec::new() } else { collected.progress() };
        Self {
            given: collected.given().map(ToString::to_string).collect(),
            have: collected.have(),
            missing: names(&collected.missing()),
            groups: progress
                .iter()
                .map(|group| v1::GroupProgress {
                    name: group.name.to_string(),
                    have: count(group.have),
                    need: count(group.need),
                    missing: names(&group.missing),
                })
                .collect(),
        }
    }
}

impl Collection {
    /// As it travels.
    pub(crate) fn describe(&self) -> v1::Collection {
        match &*lock(&self.shares) {
            Shares::Open(collected) => self.told(&Standing::of(collected)),
            Shares::Enough(standing) | Shares::Ended(standing) => self.told(standing),
        }
    }

    pub(super) fn told(&self, standing: &Standing) -> v1::Collection {
        let Subject {
            purpose,
            sha256,
            repository,
            role,
            version,
            difference_json,
            terms_json,
            warnings,
            root,
        } = &self.subject;
        let (root_version, root_sha256) =
            root.map(|(version, digest)| (version.get(), digest.to_string())).unwrap_or_default();
        v1::Collection {
            id: self.id.clone(),
            key: self.key.clone(),
            token: self.token.clone(),
            purpose: purpose.as_str().to_owned(),
            public_key: self.seal.public_key().unwrap_or_default(),
            deadline: self.deadline.to_string(),
            manifest: self.manifest.to_json().as_bytes().to_vec(),
            have: count(standing.have),
            need: count(self.manifest.need()),
            given: standing.given.clone(),
            missing: standing.missing.clone(),
            sha256: sha256.to_string(),
            repository: repository.clone(),
            role: role.clone(),
            version: *version,
            difference_json: difference_json.clone(),
            opened_by: opened_by(&self.opener),
            terms_json: terms_json.clone(),
            opened: self.opened.to_string(),
            groups: standing.groups.clone(),
            warnings: warnings.clone(),
            root_version,
            root_sha256,
        }
    }

    /// What the journal keeps of it.
    pub(super) fn json(&self) -> Value {
        let Subject { purpose, sha256, repository, role, version, .. } = &self.subject;
        let mut body = json!({
            "collection": self.id,
            "key": self.key,
            "token": self.token,
            "set": self.manifest.digest().to_string(),
            "for": purpose.as_str(),
            "sha256": sha256.to_string(),
        });
        if let (Purpose::Sign, Some(members)) = (purpose, body.as_object_mut()) {
            members.insert("repository".to_owned(), json!(repository));
            members.insert("role".to_owned(), json!(role));
            members.insert("version".to_owned(), json!(version));
        }
        body
    }
}

/// Who opened it, for people.
fn opened_by(peer: &Peer) -> String {
    match &peer.exe {
        Some(exe) => format!("uid {}, {exe}", peer.uid),
        None => format!("uid {}", peer.uid),
    }
}

/// What an ended collection leaves in the journal.
pub(crate) fn ended_json(body: &Value, refusal: &Refusal) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.insert("why".to_owned(), refusal.journal_json());
    }
    body
}

/// The same, with who gave a share.
pub(crate) fn gathered_json(body: &Value, custodians: &[String]) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.insert("custodians".to_owned(), json!(custodians));
    }
    body
}

fn names(of: &[CustodianRef]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
