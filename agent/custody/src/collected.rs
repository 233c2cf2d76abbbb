//! The shares of one set as they come together, and what is done once they are enough.

use std::fmt;

use secmem::{SecretBytes, StackError, on_locked_stack};
use tuf::key::SignatureBytes;
use tuf::preimage::Signable;
use tuf::time::UtcTime;

use crate::drill::Drill;
use crate::key;
use crate::manifest::{CustodianRef, ShareRefused, SignedManifest};
use crate::set::{Context, NewSet, SplitError};
use crate::share::Share;
use crate::slip39::sharing::{Part, recovered};
use crate::slip39::{Value, cipher};
use crate::terms::{AgreedTerms, CustodianName};

/// Shares that the manifest knows, each once. They lie in locked memory until the key was used once, or this is dropped.
///
/// It is not copied, and with it the shares:
/// ```compile_fail,E0277
/// fn copied<T: Clone>(_: &T) {}
/// # fn of(shares: tufagent_custody::Collected) {
/// copied(&shares);
/// # }
/// ```
/// nor serialized:
/// ```compile_fail,E0277
/// # fn of(shares: tufagent_custody::Collected) {
/// serde_json::to_string(&shares);
/// # }
/// ```
/// Its debug text says how many there are, and nothing of them.
pub struct Collected {
    manifest: SignedManifest,
    shares: Vec<(CustodianRef, Share)>,
}

impl Collected {
    /// None yet, of this set.
    pub fn new(manifest: &SignedManifest) -> Self {
        Self { manifest: manifest.clone(), shares: Vec::new() }
    }

    /// The set's manifest.
    pub const fn manifest(&self) -> &SignedManifest {
        &self.manifest
    }

    /// Takes a share, and says whose it is.
    ///
    /// # Errors
    /// [`ShareRefused`]: the share is wiped, and nothing else changes.
    pub fn offer(&mut self, share: Share) -> Result<CustodianRef, ShareRefused> {
        let custodian = self.manifest.who_has(&share)?;
        if self.has(&custodian) {
            return Err(ShareRefused::Duplicate { custodian });
        }
        self.shares.push((custodian.clone(), share));
        Ok(custodian)
    }

    /// Whose shares there are, in the order in which they came.
    pub fn given(&self) -> impl Iterator<Item = &CustodianRef> {
        self.shares.iter().map(|(custodian, _)| custodian)
    }

    /// How many shares count: with so many more as lack of [`Self::need`], by the easiest way from here, the key can be made.
    /// Of a group that has enough, or is not on that way, no further share counts.
    pub fn have(&self) -> usize {
        self.need().saturating_sub(self.lacking())
    }

    /// The fewest that could be enough.
    pub fn need(&self) -> usize {
        self.manifest.need()
    }

    /// Whether they make the key.
    pub fn complete(&self) -> bool {
        self.lacking() == 0
    }

    /// The fewest shares that would still make the key.
    fn lacking(&self) -> usize {
        let groups = self.progress();
        let mut lacking: Vec<usize> =
            groups.iter().map(|group| group.need.saturating_sub(group.have)).collect();
        lacking.sort_unstable();
        lacking.iter().take(self.manifest.terms().group_threshold()).sum()
    }

    /// Who could still give a share that helps; nobody when the shares are enough.
    pub fn missing(&self) -> Vec<CustodianRef> {
        if self.complete() {
            return Vec::new();
        }
        let open = self.progress().into_iter().filter(|group| group.have < group.need);
        open.flat_map(|group| group.missing).collect()
    }

    /// How far each group is, in the order of the terms.
    pub fn progress(&self) -> Vec<GroupProgress> {
        let groups = self.manifest.terms().group_terms().iter().zip(0_u8..);
        let progress = groups.map(|(terms, group)| {
            let members = self.manifest.members().iter().map(|member| &member.custodian);
            let (given, missing): (Vec<_>, Vec<_>) =
                members.filter(|custodian| custodian.group == group).partition(|one| self.has(one));
            GroupProgress {
                name: terms.name.clone(),
                have: given.len(),
                need: terms.threshold.into(),
                missing: missing.into_iter().cloned().collect(),
            }
        });
        progress.collect()
    }

    /// Puts the key together, signs, and wipes the key and all shares: one collection, one signature. After an error the
    /// shares are still there, for a passphrase that was mistyped.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn sign(
        &mut self,
        signable: Signable<'_>,
        passphrase: &SecretBytes,
    ) -> Result<SignatureBytes, RecoverError> {
        let signature = self.with_key(passphrase, |secret, manifest| {
            let signature = key::signed(manifest.kind(), secret, manifest.public_key(), signable);
            signature.ok_or(RecoverError::Signing)
        })?;
        self.shares.clear();
        Ok(signature)
    }

    /// Puts the key together and makes the next set of it; `context` is that of the new one. All shares here are wiped then;
    /// after an error they are still there. What the custodians hold of this set still makes the key.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn resplit(
        &mut self,
        passphrase: &SecretBytes,
        terms: &AgreedTerms,
        context: &Context<'_>,
    ) -> Result<NewSet, SplitError> {
        let set = self.with_key(passphrase, |secret, manifest| {
            NewSet::build(secret, manifest.kind(), terms, context, Some(manifest))
        })?;
        self.shares.clear();
        Ok(set)
    }

    /// A rehearsal: all that [`Collected::sign`] does, with a statement that is never metadata.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn prove(&mut self, at: UtcTime, passphrase: &SecretBytes) -> Result<Drill, RecoverError> {
        let names: Vec<CustodianName> = self.given().map(|custodian| custodian.name.clone()).collect();
        let drill = self.with_key(passphrase, |secret, manifest| {
            let sign = |statement: &_| {
                let signable = Signable::Statement(statement);
                key::signed(manifest.kind(), secret, manifest.public_key(), signable)
            };
            Drill::make(manifest, at, &names, sign).ok_or(RecoverError::Signing)
        })?;
        self.shares.clear();
        Ok(drill)
    }

    fn has(&self, custodian: &CustodianRef) -> bool {
        let place = |one: &CustodianRef| (one.group, one.member);
        self.given().any(|given| place(given) == place(custodian))
    }

    /// The one place where a key is whole again: on a locked stack, for as long as `work` takes.
    fn with_key<T: Send, E: From<RecoverError> + Send>(
        &self,
        passphrase: &SecretBytes,
        work: impl FnOnce(&Value, &SignedManifest) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if !self.complete() {
            return Err(RecoverError::Incomplete { have: self.have(), need: self.need() }.into());
        }
        if !cipher::is_allowed(passphrase) {
            return Err(RecoverError::Passphrase.into());
        }
        let outcome = on_locked_stack(|| {
            let parts: Vec<Part<'_>> = self.shares.iter().map(|(_, share)| share.part()).collect();
            let encrypted = recovered(&parts).map_err(|_| RecoverError::Damaged)?;
            let secret = cipher::decrypt(&encrypted, self.manifest.common(), passphrase);
            let public = key::public_of(self.manifest.kind(), &secret);
            if public.as_ref() != Some(self.manifest.public_key()) {
                return Err(RecoverError::WrongKey.into());
            }
            work(&secret, &self.manifest)
        });
        outcome.map_err(RecoverError::from)?
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collected({} of {} shares)", self.have(), self.need())
    }
}

/// How far a group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupProgress {
    /// What people call it.
    pub name: CustodianName,
    /// How many shares of it there are.
    pub have: usize,
    /// How many complete it.
    pub need: usize,
    /// Who has not given theirs.
    pub missing: Vec<CustodianRef>,
}

/// Why a key could not be put together and used. Nothing of it is left then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Too few shares.
    #[error("{have} of {need} shares are there")]
    Incomplete {
        /// How many there are.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// The shares are right and another key comes out.
    #[error(
        "the passphrase of the set is wrong: the shares are right, and make another key than the manifest's"
    )]
    WrongKey,
    /// The shares are those of the manifest and do not fit each other.
    #[error("the shares do not fit each other, though the manifest knows each; the set was made wrongly")]
    Damaged,
    /// A passphrase that SLIP-0039 does not allow.
    #[error("the passphrase of a set is printable ASCII: letters without accents, digits, signs and spaces")]
    Passphrase,
    /// The signature could not be made, or did not verify.
    #[error(
        "the key was put together, and its signature does not verify; something is wrong with this machine"
    )]
    Signing,
    /// There was no thread with a locked stack.
    #[error(transparent)]
    Stack(#[from] StackError),
}

#[cfg(test)]
mod tests;
