//! Signatures against thresholds (specification 4.2.1, 5.3.4, 5.4.2, 5.5.3, 5.6.3).

use crate::{
    key::{Key, KeyError, KeyId, PublicKey},
    metadata::{Canonical, Metadata, SignatureEntry},
    role::RoleKeys,
};
use std::collections::{BTreeMap, BTreeSet};

/// Who has signed, and who could still.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThresholdReport {
    /// Keyids whose signatures count, in the order of the role.
    pub signed_by: Vec<KeyId>,
    /// Keyids of the role that have no signature there (or an empty one), or no key; not those of a key that counts already
    /// under another keyid.
    pub missing: Vec<KeyId>,
    /// How many signatures are needed.
    pub need: u32,
    /// Keyids of the role whose signature is there and does not verify.
    pub invalid: Vec<KeyId>,
    /// Those of them whose key cannot verify anything here, and why.
    pub unusable: Vec<(KeyId, KeyError)>,
    /// Keyids of the role whose signature is good and does not count, as the same public key counts already.
    pub same_key: Vec<KeyId>,
}

impl ThresholdReport {
    /// Whether enough have signed.
    pub fn met(&self) -> bool {
        self.have() >= self.need
    }

    /// How many signatures count.
    pub fn have(&self) -> u32 {
        u32::try_from(self.signed_by.len()).unwrap_or(u32::MAX)
    }
}

/// Checks the signatures of `metadata` by the keys of `role`. Counts distinct keyids of the role with distinct public
/// keys; anything wrong, empty or foreign beside them is reported and harms nothing.
pub fn check_signatures(
    metadata: &Metadata,
    keys: &BTreeMap<KeyId, Key>,
    role: &RoleKeys,
) -> ThresholdReport {
    let message = metadata.lazy_canonical();
    let entries: BTreeMap<_, _> = metadata.signatures().iter().map(|entry| (&entry.keyid, entry)).collect();
    let mut report = ThresholdReport {
        signed_by: Vec::new(),
        missing: Vec::new(),
        need: role.threshold.get(),
        invalid: Vec::new(),
        unusable: Vec::new(),
        same_key: Vec::new(),
    };
    let (mut counted, mut seen) = (BTreeSet::<&PublicKey>::new(), BTreeSet::new());
    for keyid in &role.keyids {
        if !seen.insert(keyid) {
            continue;
        }
        let entry = entries.get(keyid).filter(|entry| !entry.sig.is_empty());
        let list = match (keys.get(keyid), entry) {
            (None, _) | (_, None) => &mut report.missing,
            (Some(key), Some(entry)) => match signer(key, metadata, &message, entry) {
                None => {
                    report.unusable.extend(key.signing_scheme().err().map(|why| (keyid.clone(), why)));
                    &mut report.invalid
                }
                Some(public) if counted.insert(public) => &mut report.signed_by,
                Some(_) => &mut report.same_key,
            },
        };
        list.push(keyid.clone());
    }
    // Whose key counts already, under another keyid, adds nothing by signing again.
    let counts = |keyid: &KeyId| {
        keys.get(keyid).and_then(|key| key.public_key().ok()).is_some_and(|key| counted.contains(key))
    };
    report.missing.retain(|keyid| !counts(keyid));
    report
}

/// How long [`check_signatures`] may take beside the reading of the file: about as long as to read so many bytes. A small file
/// may carry many signatures that are slow to verify, and they need not be good.
pub fn signature_work(metadata: &Metadata, keys: &BTreeMap<KeyId, Key>, role: &RoleKeys) -> u64 {
    let signed: BTreeSet<_> = metadata.signatures().iter().map(|entry| &entry.keyid).collect();
    let own: BTreeSet<_> = role.keyids.iter().filter(|keyid| signed.contains(keyid)).collect();
    let work = own.into_iter().filter_map(|keyid| keys.get(keyid)).map(|key| match key.public_key() {
        Ok(public) => public.key_type().verifying_work(),
        // Nothing is verified by it.
        Err(_) => 0,
    });
    work.fold(0, u64::saturating_add)
}

/// The key that has made the signature; `None` when it does not verify.
fn signer<'k>(
    key: &'k Key,
    metadata: &Metadata,
    message: &Canonical<'_>,
    entry: &SignatureEntry,
) -> Option<&'k PublicKey> {
    let public = key.public_key().ok()?;
    let scheme = key.signing_scheme().ok()?;
    metadata.is_signed_by(public, scheme, &entry.signature()?, message).then_some(public)
}

/// Whether `entry` is a good signature of `key` over `metadata`.
pub fn has_signed(metadata: &Metadata, key: &Key, entry: &SignatureEntry) -> bool {
    signer(key, metadata, &metadata.lazy_canonical(), entry).is_some()
}
