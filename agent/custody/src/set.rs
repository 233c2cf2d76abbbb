//! A new set: the key is made or taken, split, checked and gone, in one go on a locked stack.

use secmem::{SecretBytes, StackError, on_locked_stack};
use subtle::ConstantTimeEq as _;
use tuf::preimage::Signable;
use tuf::time::UtcTime;

use crate::collected::RecoverError;
use crate::key::{self, KEY_LEN, SplitKind};
use crate::manifest::{CustodianRef, Facts, SetId, SignedManifest, is_key_name};
use crate::share::{IterationExponent, Share};
use crate::slip39::sharing::{Part, holds, split};
use crate::slip39::text::Spelled;
use crate::slip39::{Header, Value, cipher, mnemonic};
use crate::terms::AgreedTerms;

/// What a set is made with beside its terms.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What people call the key: `[A-Za-z0-9._-]`, 1 to 100 bytes.
    pub key_name: &'a str,
    /// The time now.
    pub made_at: UtcTime,
    /// How long the passphrase is stretched.
    pub exponent: IterationExponent,
    /// SLIP-0039's passphrase for the set, printable ASCII; empty for none. It is needed beside the shares, each time.
    pub passphrase: &'a SecretBytes,
    /// Other sets that were made of the same key and given up: no other set gets their numbers.
    pub used: &'a [Used],
}

/// By what a set and its shares are told from others of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The manifest's number.
    pub sequence: u64,
    /// In the header of each share.
    pub identifier: u16,
}

/// A set that was made and checked, and nothing of the key.
///
/// It is not copied, and with it the shares:
/// ```compile_fail,E0277
/// fn copied<T: Clone>(_: &T) {}
/// # fn of(set: tufagent_custody::NewSet) {
/// copied(&set);
/// # }
/// ```
/// nor serialized:
/// ```compile_fail,E0277
/// # fn of(set: tufagent_custody::NewSet) {
/// serde_json::to_string(&set);
/// # }
/// ```
/// Its debug text holds the manifest, which is public, and of the shares their custodians alone.
#[derive(Debug)]
pub struct NewSet {
    manifest: SignedManifest,
    shares: Vec<NewShare>,
}

/// A share to be handed out, and to whom.
#[derive(Debug)]
pub struct NewShare {
    /// Who gets it.
    pub custodian: CustodianRef,
    /// The share.
    pub share: Share,
}

impl NewSet {
    /// Makes a new key and its first set.
    ///
    /// # Errors
    /// [`SplitError`]; then nothing of the key is left.
    pub fn generate(kind: SplitKind, terms: &AgreedTerms, context: &Context<'_>) -> Result<Self, SplitError> {
        on_locked_stack(|| {
            let secret = key::random(kind).map_err(|_| SplitError::Random)?;
            Self::build(&secret, kind, terms, context, None)
        })?
    }

    /// Splits a key that exists: the 32-byte seed of Ed25519, or the 32-byte big-endian scalar of P-256. `after` is the set
    /// that was made of the same key last, if there was one.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn of_secret(
        secret: &SecretBytes,
        kind: SplitKind,
        terms: &AgreedTerms,
        context: &Context<'_>,
        after: Option<&SignedManifest>,
    ) -> Result<Self, SplitError> {
        if secret.len() != KEY_LEN {
            return Err(SplitError::NotAKey { kind });
        }
        on_locked_stack(|| {
            let secret = Value::of(secret.reveal_secret_bytes());
            Self::build(&secret, kind, terms, context, after)
        })?
    }

    /// The manifest.
    pub const fn manifest(&self) -> &SignedManifest {
        &self.manifest
    }

    /// The shares, in the order of the terms.
    pub fn shares(&self) -> &[NewShare] {
        &self.shares
    }

    /// Both, to hand them out.
    pub fn into_parts(self) -> (SignedManifest, Vec<NewShare>) {
        (self.manifest, self.shares)
    }

    /// Makes the set, on a stack that is locked already.
    pub(crate) fn build(
        secret: &Value,
        kind: SplitKind,
        terms: &AgreedTerms,
        context: &Context<'_>,
        after: Option<&SignedManifest>,
    ) -> Result<Self, SplitError> {
        if !is_key_name(context.key_name) {
            return Err(SplitError::KeyName);
        }
        if !cipher::is_allowed(context.passphrase) {
            return Err(SplitError::Recover(RecoverError::Passphrase));
        }
        let public = key::public_of(kind, secret).ok_or(SplitError::NotAKey { kind })?;
        if after.is_some_and(|before| *before.public_key() != public) {
            return Err(SplitError::OtherKey);
        }
        let random = |_| SplitError::Random;
        let mut used = context.used.to_vec();
        used.extend(after.map(SignedManifest::used));
        let mut facts = Facts {
            set_id: SetId::random().map_err(random)?,
            identifier: identifier(&used).map_err(random)?,
            exponent: context.exponent,
            key_name: context.key_name.to_owned(),
            key: public.to_key(),
            kind,
            terms: terms.terms().clone(),
            fingerprints: Vec::new(),
            made_at: context.made_at,
            sequence: used.iter().map(|set| set.sequence).max().unwrap_or(0).saturating_add(1),
            previous: after.map(SignedManifest::digest),
        };
        let shares = checked_shares(secret, &facts, context.passphrase)?;
        facts.fingerprints = shares.iter().map(Share::fingerprint_here).collect();
        let sign = |statement: &_| key::signed(kind, secret, &public, Signable::Statement(statement));
        let manifest = SignedManifest::make(&facts, sign).ok_or(SplitError::Check)?;
        let custodians = manifest.members().iter().map(|member| member.custodian.clone());
        let shares = custodians.zip(shares).map(|(custodian, share)| NewShare { custodian, share }).collect();
        Ok(Self { manifest, shares })
    }
}

/// The shares of a secret, in the order of the terms, each and all of them checked.
fn checked_shares(secret: &Value, facts: &Facts, passphrase: &SecretBytes) -> Result<Vec<Share>, SplitError> {
    let common = facts.common();
    let encrypted = cipher::encrypt(secret, common, passphrase);
    let mut shares = Vec::new();
    let give = |header: Header, value: &Value| shares.push(Share::new(header, value));
    split(&encrypted, common, &shape(facts), give).map_err(|_| SplitError::Random)?;
    checked(shares, &encrypted, secret, facts, passphrase)
}

/// The shares, where all are there, each reads as it is written, every way of putting them together gives the encrypted
/// secret, and that the secret.
fn checked(
    shares: Vec<Share>,
    encrypted: &Value,
    secret: &Value,
    facts: &Facts,
    passphrase: &SecretBytes,
) -> Result<Vec<Share>, SplitError> {
    let parts: Vec<Part<'_>> = shares.iter().map(Share::part).collect();
    let whole = holds(&parts, encrypted).unwrap_or(false);
    let decrypted = cipher::decrypt(encrypted, facts.common(), passphrase);
    let same = bool::from(decrypted.bytes.ct_eq(&secret.bytes));
    if whole && same && shares.len() == facts.terms.count() && shares.iter().all(reads_back) {
        return Ok(shares);
    }
    Err(SplitError::Check)
}

/// Whether the words of a share give that share.
fn reads_back(share: &Share) -> bool {
    let words = share.written();
    let spelled = Spelled::read(words.reveal_secret_bytes());
    let read = spelled.looked_up(spelled.count()).ok().and_then(|indices| mnemonic::decoded(&indices).ok());
    let part = share.part();
    read.is_some_and(|(header, value)| {
        header == part.header && value.len == part.len && bool::from(value.bytes.ct_eq(part.value))
    })
}

/// Thresholds and counts of the groups.
fn shape(facts: &Facts) -> Vec<(u8, u8)> {
    let groups = facts.terms.group_terms().iter();
    groups.map(|group| (group.threshold, u8::try_from(group.custodians.len()).unwrap_or(u8::MAX))).collect()
}

/// 15 random bits, others than those of the sets before; of so many that few are left, than the last ones'.
fn identifier(used: &[Used]) -> std::io::Result<u16> {
    let mut bytes = [0; 2];
    let last = used.iter().rev().take(MOST_USED);
    loop {
        secmem::fill_random(&mut bytes)?;
        let identifier = u16::from_be_bytes(bytes) & 0x7FFF;
        if last.clone().all(|set| set.identifier != identifier) {
            return Ok(identifier);
        }
    }
}

/// Half of all that there are.
const MOST_USED: usize = 1 << 14;

/// Why there is no new set. Nothing of the key or the shares is left then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// The key could not be put together from the old shares.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The bytes are no such key.
    #[error("the secret is no {kind} key of 32 bytes")]
    NotAKey {
        /// The kind that was asked for.
        kind: SplitKind,
    },
    /// The set before is of another key.
    #[error("the set before is of another key than this one")]
    OtherKey,
    /// A name that no key has.
    #[error("a key's name has 1 to 100 letters, digits, '.', '_' and '-'")]
    KeyName,
    /// The system gave no random numbers.
    #[error("the system's random generator failed")]
    Random,
    /// The new shares did not give the key back, or the manifest could not be signed; they were destroyed.
    #[error(
        "the new shares do not give the key back, and were destroyed; something is wrong with this machine"
    )]
    Check,
}

impl From<StackError> for SplitError {
    fn from(error: StackError) -> Self {
        Self::Recover(error.into())
    }
}

#[cfg(test)]
mod tests;
