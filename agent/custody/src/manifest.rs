//! The manifest of a set of shares, signed by the key that was split: `set.json`.

mod error;
mod read;
mod signed_text;
mod write;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey, SignatureBytes};
use tuf::time::UtcTime;

pub use error::{ManifestError, ShareRefused};
pub(crate) use read::{check_sort, is_key_name};
pub(crate) use signed_text::{Fields, SignedText, fields};

use crate::key::SplitKind;
use crate::set::Used;
use crate::share::{IterationExponent, Share};
use crate::slip39::Common;
use crate::terms::{CustodianName, Terms, Weakness};

/// A manifest whose signature was verified; there is none without. Cheap to copy: nothing in it is secret.
#[derive(Clone)]
pub struct SignedManifest(Arc<Manifest>);

/// What a manifest says, and its text.
pub(crate) struct Manifest {
    facts: Facts,
    members: Vec<Member>,
    public: PublicKey,
    text: SignedText,
}

/// What is signed.
pub(crate) struct Facts {
    pub(crate) set_id: SetId,
    pub(crate) identifier: u16,
    pub(crate) exponent: IterationExponent,
    pub(crate) key_name: String,
    pub(crate) key: Key,
    pub(crate) kind: SplitKind,
    pub(crate) terms: Terms,
    /// One for each share, in the order of the terms.
    pub(crate) fingerprints: Vec<Sha256Digest>,
    pub(crate) made_at: UtcTime,
    pub(crate) sequence: u64,
    pub(crate) previous: Option<Sha256Digest>,
}

/// One share as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whose it is.
    pub custodian: CustodianRef,
    /// [`Share::fingerprint`] of it.
    pub fingerprint: Sha256Digest,
}

/// A share's place in the set, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustodianRef {
    /// The group, from 0.
    pub group: u8,
    /// The place in the group, from 0.
    pub member: u8,
    /// Who.
    pub name: CustodianName,
}

impl fmt::Display for CustodianRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// 128 random bits that no other set has; SLIP-0039's own identifier has 15. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId([u8; 16]);

impl SetId {
    pub(crate) fn random() -> std::io::Result<Self> {
        let mut id = Self([0; 16]);
        secmem::fill_random(&mut id.0)?;
        Ok(id)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SetId {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        let mut id = Self([0; 16]);
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let read = hex::decode_to_slice(text, &mut id.0).ok().filter(|()| lower);
        read.map(|()| id).ok_or(ManifestError::Member { path: "set_id".to_owned() })
    }
}

impl SignedManifest {
    /// The largest text that is read. The largest set has 256 shares, and half of this.
    pub const MAX_BYTES: usize = 128 << 10;

    /// The version that is written, and the only one that is read.
    pub const VERSION: u64 = 1;

    /// Reads `set.json` and verifies its signature by the public key in it. That this is the key that is meant is for the
    /// caller to know: by the key's name in the agent, or by the repository's root.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let (facts, text) = read::read(bytes)?;
        Ok(Self(Arc::new(Manifest::new(facts, text)?)))
    }

    /// Writes the manifest and has it signed; `sign` gets the statement.
    pub(crate) fn make(
        facts: &Facts,
        sign: impl FnOnce(&tuf::preimage::Statement) -> Option<SignatureBytes>,
    ) -> Option<Self> {
        let text = SignedText::make(SignedText::MANIFEST, &write::written(facts), sign)?;
        // What was written is read back, so that what leaves can be read.
        Self::parse(text.json().as_bytes()).ok()
    }

    /// The text of `set.json`: indented, a line feed at the end.
    pub fn to_json(&self) -> &str {
        self.0.text.json()
    }

    /// The SHA-256 of the canonical form of what is signed (the member `manifest`), whatever the file's spaces and signature.
    pub fn digest(&self) -> Sha256Digest {
        self.0.text.digest()
    }

    /// The set's id.
    pub fn set_id(&self) -> SetId {
        self.0.facts.set_id
    }

    /// The identifier that all its shares begin with.
    pub fn identifier(&self) -> u16 {
        self.0.facts.identifier
    }

    /// How long the passphrase is stretched.
    pub fn exponent(&self) -> IterationExponent {
        self.0.facts.exponent
    }

    /// What people call the key.
    pub fn key_name(&self) -> &str {
        &self.0.facts.key_name
    }

    /// The key object, as metadata holds it.
    pub fn key(&self) -> &Key {
        &self.0.facts.key
    }

    /// Its keyid.
    pub fn keyid(&self) -> KeyId {
        self.0.facts.key.computed_keyid()
    }

    /// The public key itself.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// The kind of key.
    pub fn kind(&self) -> SplitKind {
        self.0.facts.kind
    }

    /// The terms that the set was made by.
    pub fn terms(&self) -> &Terms {
        &self.0.facts.terms
    }

    /// What is unwise about them.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        self.0.facts.terms.weaknesses()
    }

    /// The fewest shares that make the key.
    pub fn need(&self) -> usize {
        self.0.facts.terms.need()
    }

    /// All shares, in the order of the terms.
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// When the set was made.
    pub fn made_at(&self) -> UtcTime {
        self.0.facts.made_at
    }

    /// The number of the set among those of this key, from 1.
    pub fn sequence(&self) -> u64 {
        self.0.facts.sequence
    }

    /// The digest of the manifest before; `None` for the first.
    pub fn previous(&self) -> Option<Sha256Digest> {
        self.0.facts.previous
    }

    /// The key's signature.
    pub fn signature(&self) -> &SignatureBytes {
        self.0.text.signature()
    }

    /// How many words each share has.
    pub fn word_count(&self) -> usize {
        crate::slip39::mnemonic::word_count(crate::key::KEY_LEN)
    }

    /// Whose share this is, by its fingerprint.
    ///
    /// # Errors
    /// [`ShareRefused`] when it is of another set, or of none.
    pub fn who_has(&self, share: &Share) -> Result<CustodianRef, ShareRefused> {
        let fingerprint = share.fingerprint()?;
        if let Some(member) = self.members().iter().find(|member| member.fingerprint == fingerprint) {
            return Ok(member.custodian.clone());
        }
        let header = share.header();
        if header.common != self.common() {
            let (found, wanted) = (share.identifier(), self.identifier());
            return Err(ShareRefused::OtherSet { found, wanted });
        }
        let place = |member: &&Member| {
            (member.custodian.group, member.custodian.member) == (header.group_index, header.member_index)
        };
        let claims = self.members().iter().find(place).map(|member| member.custodian.clone());
        Err(ShareRefused::Forged { claims })
    }

    /// Whether this set replaces `before`: of the same key, with a later number, naming it by its digest.
    ///
    /// # Errors
    /// [`ManifestError::DoesNotFollow`].
    pub fn follows(&self, before: &Self) -> Result<(), ManifestError> {
        let why = if self.public_key() != before.public_key() {
            "it is of another key"
        } else if self.sequence() <= before.sequence() {
            "its number is no later one"
        } else if self.previous() != Some(before.digest()) {
            "it names another set before it"
        } else {
            return Ok(());
        };
        Err(ManifestError::DoesNotFollow { why })
    }

    /// What no other set of this key may have.
    pub fn used(&self) -> Used {
        Used { sequence: self.sequence(), identifier: self.identifier() }
    }

    /// What the headers of all its shares have in common.
    pub(crate) fn common(&self) -> Common {
        self.0.facts.common()
    }
}

impl fmt::Debug for SignedManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedManifest({} no. {})", self.key_name(), self.sequence())
    }
}

impl PartialEq for SignedManifest {
    /// Two manifests are equal if they say the same.
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for SignedManifest {}

impl Manifest {
    fn new(facts: Facts, text: SignedText) -> Result<Self, ManifestError> {
        let public = facts.key.public_key()?.clone();
        let places = facts.terms.group_terms().iter().zip(0_u8..).flat_map(|(terms, group)| {
            let custodian = move |(name, member): (&CustodianName, u8)| CustodianRef {
                group,
                member,
                name: name.clone(),
            };
            terms.custodians.iter().zip(0_u8..).map(custodian)
        });
        let members: Vec<_> = places
            .zip(&facts.fingerprints)
            .map(|(custodian, fingerprint)| Member { custodian, fingerprint: *fingerprint })
            .collect();
        Ok(Self { facts, members, public, text })
    }
}

impl Facts {
    pub(crate) fn common(&self) -> Common {
        let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        Common {
            identifier: self.identifier,
            extendable: true,
            exponent: self.exponent.get(),
            group_threshold: small(self.terms.group_threshold()),
            group_count: small(self.terms.group_terms().len()),
        }
    }
}

#[cfg(test)]
mod tests;
