//! The stock clients: their limits, and which keys they read.

use crate::{
    json::{Document, Kind, MAX_BYTES, Value},
    key::{Key, RsaHash, Scheme, is_pkcs1},
    metadata::Limits,
};
use std::fmt;

/// A stock client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// python-tuf's `ngclient`
    PythonTuf,
    /// tuf-js
    TufJs,
    /// tough
    Tough,
}

/// How far a client gets with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// It verifies with it.
    Yes,
    /// It cannot verify with it: the key counts for nothing.
    NotTheKey,
    /// It cannot read the file that the key stands in.
    NotTheFile,
}

impl Client {
    /// All three.
    pub const ALL: [Self; 3] = [Self::PythonTuf, Self::TufJs, Self::Tough];

    /// Its name, as its people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PythonTuf => "python-tuf",
            Self::TufJs => "tuf-js",
            Self::Tough => "tough",
        }
    }

    /// How many bytes of each kind it reads by default.
    pub const fn limits(self) -> Limits {
        match self {
            Self::PythonTuf | Self::TufJs => Limits::stock(),
            Self::Tough => Limits { root: 1 << 20, timestamp: 1 << 20, snapshot: 1 << 20, targets: 10 << 20 },
        }
    }

    /// How many newer roots it takes in one run.
    pub(super) const fn roots(self) -> usize {
        match self {
            Self::PythonTuf | Self::TufJs => 256,
            Self::Tough => 1024,
        }
    }

    /// How many roles it visits in one search; `None`: all.
    pub(super) const fn visits(self) -> Option<usize> {
        match self {
            Self::PythonTuf | Self::TufJs => Some(32),
            Self::Tough => None,
        }
    }

    /// How far it gets with `key`.
    pub(super) fn reads(self, key: &Key) -> Reads {
        if self == Self::TufJs && !has_texts_alone(key) {
            return Reads::NotTheFile;
        }
        let old_point = key.keytype() == key.scheme() && !key.public_text().trim().starts_with("-----");
        let Some(scheme) = Scheme::of_names(key.keytype(), key.scheme()) else {
            // tuf-js notices when it comes to verify, python-tuf with keys of OpenPGP (it may lack gpg); the others when they
            // read the file.
            let later = self == Self::TufJs || self == Self::PythonTuf && key.scheme().starts_with("pgp+");
            return if later { Reads::NotTheKey } else { Reads::NotTheFile };
        };
        match (self, scheme) {
            (Self::TufJs, _) if is_pkcs1(key.public_text()) => Reads::NotTheKey,
            (Self::Tough, _) if is_pkcs1(key.public_text()) => Reads::NotTheFile,
            (_, Scheme::Ed25519 | Scheme::RsaPss(RsaHash::Sha256)) => Reads::Yes,
            (Self::PythonTuf, Scheme::EcdsaP256 | Scheme::EcdsaP384 | Scheme::EcdsaP521) if old_point => {
                Reads::NotTheKey
            }
            (_, Scheme::EcdsaP256) => Reads::Yes,
            (Self::PythonTuf, Scheme::RsaPss(RsaHash::Sha224) | Scheme::RsaPkcs1(RsaHash::Sha224)) => {
                Reads::NotTheFile
            }
            (Self::PythonTuf, _) => Reads::Yes,
            (Self::TufJs, _) => Reads::NotTheKey,
            (Self::Tough, _) => Reads::NotTheFile,
        }
    }
}

/// Whether all members of `keyval` are texts, as tuf-js wants them.
fn has_texts_alone(key: &Key) -> bool {
    let Ok(document) = Document::parse(key.json().as_bytes(), MAX_BYTES) else { return false };
    let is_text = |(_, value): (_, Value<'_>)| value.kind() == Kind::String;
    document.root().get("keyval").is_some_and(|keyval| keyval.members().all(is_text))
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
