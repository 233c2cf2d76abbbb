//! Handing shares out: each is sealed for its custodian, and nobody else is given it.

use custody::{NewShare, SignedManifest};
use tufagent_proto::v1::HandedShare;
use tufagent_proto::v1::handed_share::Share as Handed;

use super::age;
use super::refusals;
use super::terms::{Wanted, Way};
use crate::refusal::Refusal;
use crate::seal;

/// Seals all shares of a set; blocks, for a second with each passphrase. The shares are wiped as they go.
pub(super) fn seal_all(
    manifest: &SignedManifest,
    shares: Vec<NewShare>,
    wanted: &Wanted,
) -> Result<Vec<HandedShare>, Refusal> {
    let set = manifest.digest();
    shares
        .into_iter()
        .map(|NewShare { custodian, share }| {
            let way = wanted
                .way(&custodian)
                .ok_or_else(|| Refusal::internal("a share belongs to nobody who was named"))?;
            let words = share.words().map_err(|error| refusals::memory(&error))?;
            let sealed = match way {
                Way::Age(recipient) => Handed::AgeFile(age::seal(&words, recipient)?),
                Way::Words => {
                    let purpose = format!("share:{set}:{custodian}");
                    Handed::Words(seal::seal_to(&wanted.reply_key, &words, &purpose)?)
                }
            };
            Ok(HandedShare {
                custodian: custodian.to_string(),
                fingerprint: share.fingerprint().map_err(|error| refusals::memory(&error))?.to_string(),
                share: Some(sealed),
            })
        })
        .collect()
}
