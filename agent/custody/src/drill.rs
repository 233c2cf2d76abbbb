//! The record of a drill: that a set worked, when, and who took part.

use tuf::digest::Sha256Digest;
use tuf::json::{Document, Kind, Value};
use tuf::key::SignatureBytes;
use tuf::preimage::Statement;
use tuf::time::UtcTime;

use crate::manifest::{Fields, ManifestError, SignedManifest, SignedText, check_sort, fields};
use crate::terms::CustodianName;

/// The record of a drill, signed by the key that came together. Never metadata: it is signed as a statement.
#[derive(Clone)]
pub struct Drill {
    manifest: Sha256Digest,
    at: UtcTime,
    custodians: Vec<CustodianName>,
    text: SignedText,
}

impl Drill {
    /// Reads a record of a drill with this set, and verifies its signature.
    ///
    /// # Errors
    /// [`ManifestError`], also when it is of another set.
    pub fn parse(bytes: &[u8], manifest: &SignedManifest) -> Result<Self, ManifestError> {
        let document = Document::parse(bytes, SignedManifest::MAX_BYTES)?;
        let body = document.root().get(SignedText::DRILL.0).ok_or(ManifestError::Sort { what: WHAT })?;
        check_sort(body, TYPE, WHAT)?;
        let of = Fields { path: SignedText::DRILL.0 };
        let [_, _, set_id, digest, keyid, at, custodians] = fields(body, of.path, MEMBERS)?;
        let same = |wanted: String| move |text: &str| (text == wanted).then_some(());
        of.text(set_id, "set_id", same(manifest.set_id().to_string()))?;
        of.text(digest, "manifest", same(manifest.digest().to_string()))?;
        of.text(keyid, "keyid", same(manifest.keyid().to_string()))?;
        if custodians.kind() != Kind::Array || custodians.len() > manifest.members().len() {
            return Err(of.wrong("custodians"));
        }
        let name = |value: Value<'_>| of.text(value, "custodians", |text| text.parse().ok());
        Ok(Self {
            manifest: manifest.digest(),
            at: of.text(at, "at", |text| text.parse().ok())?,
            custodians: custodians.items().map(name).collect::<Result<_, _>>()?,
            text: SignedText::verified(&document, SignedText::DRILL, manifest.public_key())?,
        })
    }

    pub(crate) fn make(
        manifest: &SignedManifest,
        at: UtcTime,
        custodians: &[CustodianName],
        sign: impl FnOnce(&Statement) -> Option<SignatureBytes>,
    ) -> Option<Self> {
        // Names have no character that JSON escapes.
        let names: Vec<_> = custodians.iter().map(|name| format!(r#""{name}""#)).collect();
        let body = format!(
            r#"{{"type":"{TYPE}","version":1,"set_id":"{}","manifest":"{}","keyid":"{}","at":"{at}","custodians":[{}]}}"#,
            manifest.set_id(),
            manifest.digest(),
            manifest.keyid(),
            names.join(","),
        );
        let text = SignedText::make(SignedText::DRILL, &body, sign)?;
        Self::parse(text.json().as_bytes(), manifest).ok()
    }

    /// The record as JSON: indented, a line feed at the end.
    pub fn to_json(&self) -> &str {
        self.text.json()
    }

    /// The digest of the set's manifest.
    pub const fn manifest_digest(&self) -> Sha256Digest {
        self.manifest
    }

    /// When it was.
    pub const fn at(&self) -> UtcTime {
        self.at
    }

    /// Who gave a share.
    pub fn custodians(&self) -> &[CustodianName] {
        &self.custodians
    }

    /// The key's signature.
    pub const fn signature(&self) -> &SignatureBytes {
        self.text.signature()
    }
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drill({}, {} shares)", self.at, self.custodians.len())
    }
}

const TYPE: &str = "tuf-agent-share-drill";
const WHAT: &str = "the record of a drill with a set of shares";
const MEMBERS: [&str; 7] = ["type", "version", "set_id", "manifest", "keyid", "at", "custodians"];
