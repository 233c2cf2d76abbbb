//! One signature by a card, in one transaction: what its key wants is seen to first, so that a refusal can mean one thing.

use secmem::SecretBytes;
use tuf::key::{PublicKey, RsaHash, Scheme};

use super::apdu::{Fault, Session, Status};
use super::piv::SlotKey;
use super::{CardHost, Held};
use crate::card::{PinPolicy, Touch};
use crate::host::codec::{Curve, ecdsa_from_der};
use crate::host::line::Line;
use crate::host::login::not_traced;
use crate::host::protocol::{HostError, HostErrorKind};

impl CardHost {
    /// Signs by the private key of `public`: `data` is a digest for ECDSA, and the whole message otherwise. `pin` is for a
    /// key that wants it for each signature, and whether it was presented is given; that the card may wait for a touch is said
    /// before. ECDSA gives r || s.
    pub(super) fn sign(
        &mut self,
        public: &PublicKey,
        scheme: Scheme,
        pin: Option<&[u8]>,
        data: &[u8],
        line: &Line<'_>,
    ) -> Result<(Vec<u8>, bool), HostError> {
        let input = input(public, scheme, data)?;
        if pin.is_some() {
            not_traced()?;
        }
        let mut accepted = false;
        let signed = self.with_card(|session, host| {
            let key = host.key_of(session, public)?;
            let presented = host.may_sign(session, &key, pin, line)?;
            accepted |= presented;
            if key.facts.touch != Touch::Never {
                line.asked();
            }
            let (raw, status) = session.sign(&key, &input)?;
            if status == Status::NOT_THERE && session.slot(key.facts.slot)?.is_some() {
                // It says itself that the slot is not empty.
                return Err(status.refused("signing"));
            }
            if status != Status::DONE {
                return Err(match refused(&key, status) {
                    // That the PIN was accepted before the wait for the touch is not to be read from it.
                    Fault::Host(error)
                        if error.kind == HostErrorKind::TouchTimeout && pin.is_some() && !presented =>
                    {
                        HostError { kind: HostErrorKind::Device, ..error }.into()
                    }
                    refused => refused,
                });
            }
            let curve = match scheme {
                Scheme::EcdsaP256 => Curve::P256,
                Scheme::EcdsaP384 => Curve::P384,
                _ => return Ok((raw.to_vec(), presented)),
            };
            let bad =
                || HostError::new(HostErrorKind::Device, "the card gave something that is no signature");
            Ok((ecdsa_from_der(curve, &raw).ok_or_else(bad)?, presented))
        });
        signed.map_err(|error| if accepted { error.accepted() } else { error })
    }
}

impl Held<'_> {
    /// The PIN is verified, where the key wants it; whether the one that was given was presented for that.
    fn may_sign(
        &mut self,
        session: &Session<'_>,
        key: &SlotKey,
        pin: Option<&[u8]>,
        line: &Line<'_>,
    ) -> Result<bool, Fault> {
        match (key.facts.pin, pin) {
            // A PIN that comes with them is not presented: wrong, it would cost a try for nothing.
            (PinPolicy::Never, _) => Ok(false),
            (PinPolicy::Once, _) => self.verified(session, line).map(|()| false),
            (PinPolicy::Always, Some(pin)) => {
                self.present(session, pin, false)?;
                if self.pin.is_none() {
                    // One entry does: it is the one that unlocks the card, too.
                    *self.pin = Some(SecretBytes::copy_from(pin));
                }
                Ok(true)
            }
            (PinPolicy::Always, None) => {
                let message = "the key takes the PIN anew for each signature";
                Err(HostError::new(HostErrorKind::PinEachUse, message).into())
            }
        }
    }
}

/// What a refusal means of a card that had the PIN in this very transaction: only a touch can be missing.
fn refused(key: &SlotKey, status: Status) -> Fault {
    match status {
        Status::NOT_ALLOWED if key.facts.touch != Touch::Never => {
            HostError::new(HostErrorKind::TouchTimeout, "nobody touched it").into()
        }
        Status::NOT_THERE => HostError::new(HostErrorKind::KeyNotFound, "the slot is empty").into(),
        status => status.refused("signing"),
    }
}

/// What the card is given to sign.
fn input(public: &PublicKey, scheme: Scheme, data: &[u8]) -> Result<Vec<u8>, HostError> {
    let cannot = |why: String| Err(HostError::new(HostErrorKind::Unsupported, why));
    match scheme {
        Scheme::EcdsaP256 if data.len() == 32 => Ok(data.to_vec()),
        Scheme::EcdsaP384 if data.len() == 48 => Ok(data.to_vec()),
        Scheme::EcdsaP256 | Scheme::EcdsaP384 => {
            let message = format!("a digest of {} bytes does not belong to {scheme}", data.len());
            Err(HostError::new(HostErrorKind::Protocol, message))
        }
        // It is sent to the card as a whole, for Ed25519 hashes it twice.
        Scheme::Ed25519 if data.len() > ED25519_MOST => cannot(format!(
            "a YubiKey signs at most {ED25519_MOST} bytes with Ed25519, and this file has {}: give the role a key of type \
             ecdsa-p256",
            data.len()
        )),
        Scheme::Ed25519 => Ok(data.to_vec()),
        Scheme::RsaPkcs1(hash) => pkcs1(hash, data, modulus_len(public)?),
        Scheme::RsaPss(hash) => pss(hash, data, modulus_len(public)?),
        scheme => cannot(format!("a YubiKey does not sign as {scheme}")),
    }
}

fn modulus_len(public: &PublicKey) -> Result<usize, HostError> {
    let parts = public.rsa_parts();
    let len = parts.map(|(modulus, _)| modulus.len()).filter(|len| matches!(len, 256 | 384 | 512));
    len.ok_or_else(|| {
        HostError::new(HostErrorKind::Unsupported, "that RSA key is of no length that YubiKeys have")
    })
}

/// EMSA-PKCS1-v1_5 (RFC 8017, 9.2).
fn pkcs1(hash: RsaHash, message: &[u8], len: usize) -> Result<Vec<u8>, HostError> {
    let info = [hash.digest_info(), &hash.digest(message)].concat();
    let padding = len.checked_sub(info.len() + 3).filter(|padding| *padding >= 8).ok_or_else(too_short)?;
    Ok([&[0, 1], vec![0xff; padding].as_slice(), &[0], &info].concat())
}

/// EMSA-PSS (RFC 8017, 9.1), for a modulus that begins with its top bit: the block's own top bit is then zero.
fn pss(hash: RsaHash, message: &[u8], len: usize) -> Result<Vec<u8>, HostError> {
    let mut salt = vec![0; usize::from(hash.salt())];
    getrandom::fill(&mut salt).map_err(|error| {
        HostError::new(HostErrorKind::Device, format!("the system gives no random numbers: {error}"))
    })?;
    let seed = hash.digest(&[&[0; 8], hash.digest(message).as_slice(), &salt].concat());
    let masked = len.checked_sub(seed.len() + 1).ok_or_else(too_short)?;
    let zeros = masked.checked_sub(salt.len() + 1).ok_or_else(too_short)?;
    let data = [vec![0; zeros].as_slice(), &[1], &salt].concat();
    // MGF1.
    let mut mask = Vec::with_capacity(masked);
    for counter in 0_u32.. {
        if mask.len() >= masked {
            break;
        }
        mask.extend(hash.digest(&[seed.as_slice(), &counter.to_be_bytes()].concat()));
    }
    let mut block: Vec<u8> = data.iter().zip(&mask).map(|(data, mask)| data ^ mask).collect();
    if let Some(first) = block.first_mut() {
        *first &= 0x7f;
    }
    Ok([block.as_slice(), &seed, &[0xbc]].concat())
}

fn too_short() -> HostError {
    HostError::new(HostErrorKind::Unsupported, "the RSA key is too short for that scheme")
}

/// What fits into a card's buffer beside the template around it.
const ED25519_MOST: usize = 3000;
