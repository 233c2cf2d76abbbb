//! Metadata to sign: the next version of something, as a client would hand it in.

use serde_json::{Value, json};
use tuf::metadata::{Limits, Metadata};

/// A role's metadata, version by version.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The name of the role.
    pub(crate) role: String,
    document: Value,
}

impl Subject {
    /// From a published file.
    pub(crate) fn new(role: &str, file: &[u8]) -> Self {
        Self { role: role.to_owned(), document: serde_json::from_slice(file).expect("metadata is JSON") }
    }

    /// The version that it has now.
    pub(crate) fn version(&self) -> u64 {
        self.document["signed"]["version"].as_u64().expect("a version")
    }

    /// Goes on to the next version; its bytes, without signatures, and its digest in lowercase hex.
    pub(crate) fn next(&mut self) -> (Vec<u8>, String) {
        let version = self.version() + 1;
        self.document["signed"]["version"] = json!(version);
        self.document["signatures"] = json!([]);
        let bytes = serde_json::to_vec(&self.document).expect("JSON");
        let digest = parsed(&bytes).digest().to_string();
        (bytes, digest)
    }

    /// The file with a signature.
    pub(crate) fn signed(&mut self, keyid: &str, sig: &str) -> Vec<u8> {
        self.document["signatures"] = json!([{"keyid": keyid, "sig": sig}]);
        serde_json::to_vec(&self.document).expect("JSON")
    }

    /// The canonical `signed`: what a key signs in the end.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        parsed(&serde_json::to_vec(&self.document).expect("JSON")).canonical_signed()
    }
}

fn parsed(bytes: &[u8]) -> Metadata {
    Metadata::parse(bytes, &Limits::agent()).expect("metadata")
}
