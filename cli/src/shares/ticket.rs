//! Tickets: a collection as another machine needs it, and what that machine gives back.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tufagent_proto::v1;

use super::handout::write_new;
use crate::error::{Failure, reason};
use crate::reading;
use crate::secret::read_share_file;

/// What a share is sealed for. It holds no secret; that it is the right one is seen by its digest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    format: String,
    pub(crate) collection: String,
    pub(crate) public_key: String,
    pub(crate) sha256: String,
    pub(crate) purpose: String,
    pub(crate) key: String,
    pub(crate) token: String,
    pub(crate) need: u32,
    pub(crate) repository: String,
    pub(crate) role: String,
    pub(crate) version: u64,
    pub(crate) deadline: String,
    pub(crate) opened_by: String,
    pub(crate) difference: String,
    pub(crate) terms: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) root_version: u64,
    pub(crate) root_sha256: String,
    pub(crate) manifest: String,
}

impl Ticket {
    /// Of a collection that is open.
    pub(crate) fn of(collection: &v1::Collection) -> Self {
        Self {
            format: TICKET.into(),
            collection: collection.id.clone(),
            public_key: hex::encode(&collection.public_key),
            sha256: collection.sha256.clone(),
            purpose: collection.purpose.clone(),
            key: collection.key.clone(),
            token: collection.token.clone(),
            need: collection.need,
            repository: collection.repository.clone(),
            role: collection.role.clone(),
            version: collection.version,
            deadline: collection.deadline.clone(),
            opened_by: collection.opened_by.clone(),
            difference: collection.difference_json.clone(),
            terms: collection.terms_json.clone(),
            warnings: collection.warnings.clone(),
            root_version: collection.root_version,
            root_sha256: collection.root_sha256.clone(),
            manifest: String::from_utf8_lossy(&collection.manifest).into_owned(),
        }
    }

    /// The collection that it speaks of, but for how it stands.
    pub(crate) fn collection(&self) -> Result<v1::Collection, Failure> {
        let public_key = hex::decode(&self.public_key)
            .map_err(|_| Failure::new(reason::USAGE, "the ticket's key cannot be read"))?;
        Ok(v1::Collection {
            id: self.collection.clone(),
            public_key,
            sha256: self.sha256.clone(),
            purpose: self.purpose.clone(),
            key: self.key.clone(),
            token: self.token.clone(),
            need: self.need,
            repository: self.repository.clone(),
            role: self.role.clone(),
            version: self.version,
            deadline: self.deadline.clone(),
            opened_by: self.opened_by.clone(),
            difference_json: self.difference.clone(),
            terms_json: self.terms.clone(),
            warnings: self.warnings.clone(),
            root_version: self.root_version,
            root_sha256: self.root_sha256.clone(),
            manifest: self.manifest.clone().into_bytes(),
            ..v1::Collection::default()
        })
    }

    /// Writes it; no file is replaced.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        write_new(path, &json(self)?)
    }

    /// Reads one.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let read: Self = parse(path, "ticket of a collection")?;
        if read.format == TICKET { Ok(read) } else { Err(no(path, "ticket of a collection")) }
    }
}

/// A share that only the agent of one collection can open.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SealedShare {
    format: String,
    pub(crate) collection: String,
    encapsulated_key: String,
    ciphertext: String,
}

impl SealedShare {
    pub(crate) fn new(collection: &str, sealed: &v1::Sealed) -> Self {
        Self {
            format: SEALED.into(),
            collection: collection.into(),
            encapsulated_key: hex::encode(&sealed.encapsulated_key),
            ciphertext: hex::encode(&sealed.ciphertext),
        }
    }

    /// As it travels.
    pub(crate) fn sealed(&self) -> Result<v1::Sealed, Failure> {
        let decoded = |text| {
            hex::decode(text)
                .map_err(|_| Failure::new(reason::SHARE_INVALID, "the sealed share cannot be read"))
        };
        Ok(v1::Sealed {
            encapsulated_key: decoded(&self.encapsulated_key)?,
            ciphertext: decoded(&self.ciphertext)?,
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        write_new(path, &json(self)?)
    }

    /// The sealed share in a file; `None` when it holds something else, such as a share.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        // It may be a share: read as one, and only as far as it begins like what is looked for.
        let is_json = |bytes: &[u8]| bytes.trim_ascii_start().starts_with(b"{");
        let file = read_share_file(path, is_json).ok()?;
        let bytes = Some(file.reveal_secret_bytes()).filter(|bytes| is_json(bytes))?;
        serde_json::from_slice(bytes).ok().filter(|read: &Self| read.format == SEALED)
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_vec_pretty(value);
    text.map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write JSON: {e}")))
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path, what: &str) -> Result<T, Failure> {
    let read = reading::open_file(path).and_then(|file| reading::read_at_most(file, MOST_BYTES));
    let bytes = read.map_err(|e| Failure::io("read", path, &e))?;
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| no(path, what))
}

fn no(path: &Path, what: &str) -> Failure {
    Failure::new(reason::USAGE, format!("{} is no {what}", path.display()))
        .remedy("name the file that tufctl share collect --ticket has written")
        .detail("file", path.display().to_string())
}

const TICKET: &str = "tuf-agent collection ticket v1";
const SEALED: &str = "tuf-agent sealed share v1";
const MOST_BYTES: u64 = 64 << 20;
