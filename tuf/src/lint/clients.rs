//! The stock clients: their limits, and which keys they read.

use crate::{
    key::{Key, RsaHash, Scheme},
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
        let old_point = key.keytype() == key.scheme() && !key.public_text().trim().starts_with("-----");
        let Some(scheme) = Scheme::of_names(key.keytype(), key.scheme()) else {
            // tuf-js notices when it comes to verify; the others when they read the file.
            return if self == Self::TufJs { Reads::NotTheKey } else { Reads::NotTheFile };
        };
        match (self, scheme) {
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

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
