//! Keys: keyids, public keys, and the key objects of metadata (specification 4.2.1, 4.2.2, 4.3; TAP 12).

mod ed25519;
mod public;
mod scheme;

use crate::{
    canonical::canonical,
    digest::Sha256Digest,
    json::{self, Value},
};
pub(crate) use ed25519::Challenge;
pub use public::PublicKey;
pub use scheme::{RsaHash, Scheme};
use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

/// A keyid as metadata writes it. It should be the SHA-256 of the canonical key object, and need not be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Takes any text of 1 to 256 bytes without control characters: what stands in other people's metadata.
    ///
    /// # Errors
    /// [`KeyError::KeyId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return Err(KeyError::KeyId { text: text.chars().take(80).collect() });
        }
        Ok(Self(text.into()))
    }

    /// The keyid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Sha256Digest> for KeyId {
    fn from(digest: Sha256Digest) -> Self {
        Self(digest.to_string().into())
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The kinds of key that are verified here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// Ed25519
    Ed25519,
    /// ECDSA on NIST P-256 with SHA-256
    EcdsaP256,
    /// ECDSA on NIST P-384 with SHA-384
    EcdsaP384,
    /// ECDSA on NIST P-521 with SHA-512: other people's keys, made by no token
    EcdsaP521,
    /// RSA of 2048 bits (a foreign key of 2049 to 3071 bits counts here too)
    Rsa2048,
    /// RSA of 3072 bits (3072 to 4095)
    Rsa3072,
    /// RSA of 4096 bits (or more)
    Rsa4096,
    /// ML-DSA-44: other people's keys, made by no token
    MlDsa44,
    /// ML-DSA-65, likewise
    MlDsa65,
    /// ML-DSA-87, likewise
    MlDsa87,
}

impl KeyType {
    /// Those that can be made on tokens, and be named on the command line.
    pub const MADE: [Self; 6] =
        [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// The name on the command line and in records, such as "ecdsa-p256".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcdsaP521 => "ecdsa-p521",
            Self::MlDsa44 => "ml-dsa-44",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlDsa87 => "ml-dsa-87",
        }
    }

    /// How long it takes to verify one signature: about as long as to read so many bytes of metadata.
    pub(crate) const fn verifying_work(self) -> u64 {
        let kib = match self {
            Self::Ed25519 => 4,
            Self::EcdsaP256 => 8,
            Self::Rsa2048 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => 32,
            Self::Rsa3072 => 64,
            Self::EcdsaP384 => 128,
            // Up to 8192 bits.
            Self::Rsa4096 => 256,
            // Milliseconds each.
            Self::EcdsaP521 => 1024,
        };
        kib << 10
    }

    /// The scheme that a key of this type has where no metadata says otherwise: the one that new key objects name.
    pub const fn default_scheme(self) -> Scheme {
        match self {
            Self::Ed25519 => Scheme::Ed25519,
            Self::EcdsaP256 => Scheme::EcdsaP256,
            Self::EcdsaP384 => Scheme::EcdsaP384,
            Self::EcdsaP521 => Scheme::EcdsaP521,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Scheme::RsaPss(RsaHash::Sha256),
            Self::MlDsa44 => Scheme::MlDsa44,
            Self::MlDsa65 => Scheme::MlDsa65,
            Self::MlDsa87 => Scheme::MlDsa87,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyType {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let found = Self::MADE.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| KeyError::UnknownType { name: text.chars().take(80).collect() })
    }
}

/// A key object as it stands in metadata, with all its members, known or not.
#[derive(Clone, Debug)]
pub struct Key {
    json: Arc<str>,
    keytype: Arc<str>,
    scheme: Arc<str>,
    public_text: Arc<str>,
    /// Read at first use: a file may hold many thousand keys of which none is asked for, and points cost time.
    public: OnceLock<Result<PublicKey, KeyError>>,
    keyid: KeyId,
}

impl Key {
    /// Reads a key object. A keytype or scheme that this crate does not know, or key material that it cannot read, is
    /// no error: such a key is kept and cannot verify anything (see [`Key::public_key`]).
    ///
    /// # Errors
    /// [`KeyError::Member`] when `keytype`, `scheme` or `keyval` is missing or has the wrong type.
    pub fn parse(value: Value<'_>) -> Result<Self, KeyError> {
        let text = |of: Option<Value<'_>>, member| {
            of.and_then(Value::as_str).map(Arc::<str>::from).ok_or(KeyError::Member { member })
        };
        let keytype = text(value.get("keytype"), "keytype")?;
        let scheme = text(value.get("scheme"), "scheme")?;
        let keyval = value.get("keyval").filter(|v| v.kind() == json::Kind::Object);
        let keyval = keyval.ok_or(KeyError::Member { member: "keyval" })?;
        // Only what this crate verifies with must have its material in `public`, as text: that of OpenPGP keys, whose
        // keytype may be `rsa`, is an object.
        let public_text = match keyval.get("public") {
            public if Scheme::of_names(&keytype, &scheme).is_some() => text(public, "keyval.public")?,
            public => public.and_then(Value::as_str).map_or_else(|| Arc::from(""), Arc::from),
        };
        let keyid = Sha256Digest::of(&canonical(value)).into();
        Ok(Self {
            json: value.raw_str().into(),
            keytype,
            scheme,
            public_text,
            public: OnceLock::new(),
            keyid,
        })
    }

    /// Reads a key object from its JSON text, at most 64 KiB.
    ///
    /// # Errors
    /// [`KeyError::Json`] and those of [`Key::parse`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, KeyError> {
        let document = json::Document::parse(bytes, 1 << 16)?;
        Self::parse(document.root())
    }

    /// The key object that this crate writes for `public`; `text` is in canonical order.
    fn made(public: PublicKey, text: Vec<u8>, keytype: &str, scheme: &str, public_text: String) -> Self {
        let text = String::from_utf8_lossy(&text);
        let document = json::Document::parse(text.as_bytes(), 1 << 16);
        // Written here a moment ago, so it parses; the digest of nothing could never be taken for a keyid.
        let canonical = document.map(|document| canonical(document.root())).unwrap_or_default();
        Self {
            json: text.as_ref().into(),
            keytype: keytype.into(),
            scheme: scheme.into(),
            public_text: public_text.into(),
            public: OnceLock::from(Ok(public)),
            keyid: Sha256Digest::of(&canonical).into(),
        }
    }

    /// The object's text, as it stands.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The keyid that the object must have: the SHA-256 of its canonical form, every member included.
    pub fn computed_keyid(&self) -> KeyId {
        self.keyid.clone()
    }

    /// The key itself.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for a keytype or scheme that this crate does not know, [`KeyError::Material`] when
    /// `keyval.public` is no such key.
    pub fn public_key(&self) -> Result<&PublicKey, KeyError> {
        let read = || read_public(&self.keytype, self.known_scheme()?, &self.public_text);
        self.public.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// `keytype` as it stands.
    pub fn keytype(&self) -> &str {
        &self.keytype
    }

    /// `scheme` as it stands.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// `keyval.public` as it stands; empty when it is no text, which only a key may have that cannot verify here.
    pub fn public_text(&self) -> &str {
        &self.public_text
    }

    /// How the key signs here: by the scheme that this object names.
    ///
    /// # Errors
    /// Those of [`Key::public_key`].
    pub fn signing_scheme(&self) -> Result<Scheme, KeyError> {
        self.public_key()?;
        self.known_scheme()
    }

    fn known_scheme(&self) -> Result<Scheme, KeyError> {
        Scheme::of_names(&self.keytype, &self.scheme).ok_or_else(|| {
            let short = |text: &str| text.chars().take(80).collect();
            KeyError::Unsupported { keytype: short(&self.keytype), scheme: short(&self.scheme) }
        })
    }

    /// Verifies a signature by the key's scheme over `message`.
    ///
    /// # Errors
    /// Those of [`Key::public_key`], and [`KeyError::Signature`] when it does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.public_key()?.verify_by(self.known_scheme()?, message, signature)
    }
}

impl PartialEq for Key {
    /// Two key objects are equal if they have one canonical form, that is one keyid.
    fn eq(&self, other: &Self) -> bool {
        self.keyid == other.keyid
    }
}

impl Eq for Key {}

/// A signature's bytes as metadata wants them: 64 bytes for Ed25519, DER for ECDSA, the block for RSA and ML-DSA.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SignatureBytes(Vec<u8>);

impl SignatureBytes {
    /// Wraps what a token made.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lower-case hexadecimal, as `sig` holds it.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// What is wrong with a key, a keyid or a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key object is not JSON as TUF allows it.
    #[error("key object: {0}")]
    Json(#[from] json::Error),
    /// A member of the key object is missing or has the wrong type.
    #[error("key object: `{member}` is missing or of the wrong type")]
    Member {
        /// The member.
        member: &'static str,
    },
    /// Not a keyid.
    #[error("{text:?} is no keyid: it must have 1 to 256 bytes and no control characters")]
    KeyId {
        /// The text, shortened.
        text: String,
    },
    /// Not the name of a kind of key.
    #[error(
        "unknown key type {name:?}; known are ed25519, ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096"
    )]
    UnknownType {
        /// The name, shortened.
        name: String,
    },
    /// A keytype or scheme that this crate cannot verify with.
    #[error("keytype {keytype:?} with scheme {scheme:?} is not supported")]
    Unsupported {
        /// The keytype, shortened.
        keytype: String,
        /// The scheme, shortened.
        scheme: String,
    },
    /// The key material is not what the keytype says.
    #[error("not a usable public key: {why}")]
    Material {
        /// Why not.
        why: &'static str,
    },
    /// The signature does not verify.
    #[error("the signature does not verify with this key")]
    Signature,
}

impl KeyError {
    pub(crate) fn material(why: &'static str) -> Self {
        Self::Material { why }
    }
}

/// Whether the material is an RSA key in the armour of PKCS #1, which python-tuf reads as well.
pub(crate) fn is_pkcs1(text: &str) -> bool {
    text.trim_start().starts_with(public::BEGIN_PKCS1)
}

/// Reads `keyval.public` by keytype and scheme (4.2.2 and what older tools wrote).
fn read_public(keytype: &str, scheme: Scheme, text: &str) -> Result<PublicKey, KeyError> {
    if scheme == Scheme::Ed25519 {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| KeyError::material("an ed25519 key is 64 hexadecimal digits"))?;
        return PublicKey::from_ed25519(bytes);
    }
    // Old go-tuf and old Sigstore roots wrote the uncompressed point in hexadecimal, under the old keytypes.
    let point = || hex::decode(text).ok().filter(|point| point.first() == Some(&4));
    if keytype == scheme.name()
        && let Some(point) = point()
    {
        return match scheme {
            Scheme::EcdsaP384 => PublicKey::from_p384_sec1(&point),
            Scheme::EcdsaP521 => PublicKey::from_p521_sec1(&point),
            _ => PublicKey::from_p256_sec1(&point),
        };
    }
    // tuf-js and tough look for the armour at the very first character.
    if text.starts_with(char::is_whitespace) {
        return Err(KeyError::material("white space stands before the PEM"));
    }
    let found =
        if is_pkcs1(text) { PublicKey::from_pkcs1_pem(text)? } else { PublicKey::from_spki_pem(text)? };
    if scheme.fits(found.key_type()) {
        Ok(found)
    } else {
        Err(KeyError::material("the PEM holds a key of another type"))
    }
}

#[cfg(test)]
mod tests;
