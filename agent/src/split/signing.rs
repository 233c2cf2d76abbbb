//! The one signature of a collection.

use backend::UnverifiedSignature;
use policy::Reason;
use secmem::SecretBytes;
use tuf::digest::Sha256Digest;
use tuf::key::{PublicKey, Scheme, SignatureBytes};
use tuf::metadata::Metadata;
use tuf::preimage::Signable;
use tufagent_proto::v1::SignBegin;

use super::collection::Gathered;
use super::{of_public, refusals};
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::HeldKey;

/// The key of which the caller brings shares: they are used although it may lie somewhere whole.
pub(crate) fn collected_key(state: &AppState, begin: &SignBegin) -> Option<PublicKey> {
    let digest: Sha256Digest = begin.set_sha256.parse().ok().filter(|_| begin.collects)?;
    let key = state.tokens().split_stores().into_iter().find_map(|(_, store)| store.of_set(&digest))?;
    key.public().cloned()
}

/// Whether the caller brings shares, and those of the set that is alive.
///
/// # Errors
/// `SHARES_MISSING`, `SHARE_INVALID`.
pub(crate) fn check_collects(state: &AppState, key: &HeldKey, begin: &SignBegin) -> Result<(), Refusal> {
    let split = of_public(state, &key.stored.public).map(|(_, _, split)| split);
    let Some((split, set)) = split.as_deref().and_then(|split| Some((split, split.alive()?))) else {
        return Err(Refusal::internal("a split key has no set that is alive"));
    };
    let alive = set.manifest.digest().to_string();
    if !begin.set_sha256.is_empty() && begin.set_sha256 != alive {
        let meant = begin.set_sha256.parse().ok().and_then(|digest| split.set(&digest));
        return Err(match meant {
            Some(other) => refusals::dead_or_new(split, other),
            None => refusals::unknown_set(&begin.set_sha256).detail("key", key.name.as_str()),
        });
    }
    if begin.collects {
        return Ok(());
    }
    let missing: Vec<_> = set.manifest.members().iter().map(|member| member.custodian.to_string()).collect();
    Err(refusals::no_collection(&key.name, set.manifest.need(), &begin.role)
        .detail("token", key.slot.name())
        .detail("missing", missing))
}

/// The key is whole for this signature, in locked memory, and gone again; verified before it leaves.
///
/// # Errors
/// `SHARE_INVALID` where the shares do not make the key or another set is alive; `TOKEN_LOCKED` and `TOKEN_ABSENT` where its
/// token was locked or taken away meanwhile; `BAD_SIGNATURE`.
pub(crate) async fn sign(
    state: &AppState,
    key: &HeldKey,
    scheme: Scheme,
    subject: &Metadata,
    gathered: Gathered,
) -> Result<SignatureBytes, Refusal> {
    let (name, public, subject) = (key.name.clone(), key.stored.public.clone(), subject.clone());
    gathered.check(state)?;
    let (mut collected, using) = (gathered.collected, gathered.using);
    let work = move || {
        let preimage = subject.preimage();
        let what = Signable::Metadata(&preimage);
        let passphrase = SecretBytes::with_len(0, |_| {});
        let made = collected.sign(what, &passphrase).map_err(|error| refusals::recover(&error, &name))?;
        drop(collected);
        UnverifiedSignature::new(made.as_bytes().to_vec()).verify(&public, scheme, what).map_err(|error| {
            Refusal::new(Reason::BadSignature, format!("the key {name}: {error}"))
                .remedy("report it; nothing has left")
                .detail("key", name)
        })
    };
    let signature = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)??;
    using.done();
    Ok(signature)
}
