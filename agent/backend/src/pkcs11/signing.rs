//! One signature by the helper, in the form that metadata wants.

use std::borrow::Cow;
use std::time::Duration;

use secmem::SecretBytes;
use tuf::key::{PublicKey, Scheme};
use tuf::preimage::Signable;

use super::link::Answer;
use super::{Asking, Pkcs11Token};
use crate::card::PinPolicy;
use crate::doctor::{Form, How};
use crate::host::protocol::{Reply, Request};
use crate::host::{Curve, ecdsa_from_der, ecdsa_to_der};
use crate::signature::PinUse;
use crate::{BackendError, TokenState, UnverifiedSignature};

impl Pkcs11Token {
    /// As [`Backend::make_signature_with_pin`](crate::Backend::make_signature_with_pin), with a PIN that no other token is asked
    /// with than the one that is meant.
    ///
    /// # Errors
    /// As that; [`BackendError::AfterPin`] for what came after the PIN was accepted.
    pub fn make_signature_asking(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        (pin, asking): (&SecretBytes, &Asking),
    ) -> Result<UnverifiedSignature, BackendError> {
        self.signature(key, scheme, what, Some((pin, asking)))
    }

    /// A signature in the form that metadata wants; with a PIN, for a key that takes one each time.
    pub(super) fn signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        pin: Option<(&SecretBytes, &Asking)>,
    ) -> Result<UnverifiedSignature, BackendError> {
        if !scheme.fits(key.key_type()) {
            let what = format!("sign as {scheme} with a {} key", key.key_type());
            return Err(BackendError::Unsupported { what });
        }
        let hints = self.shared.seen().hints()?;
        let how = hints.how(scheme).map_err(|what| BackendError::MeasuredUnable { what })?;
        let data = taken(scheme, how, &what);
        let meant = pin.map(|(_, asking)| asking.meant.clone()).unwrap_or_default();
        let pin = pin.map(|(pin, _)| pin.reveal_secret_bytes());
        let request = Request::Sign {
            public: hex::encode(key.spki_der()),
            scheme: scheme.to_string(),
            pin_len: pin.map(<[u8]>::len),
            how,
            login_before: hints.login_before(),
            meant,
        };
        let megabytes = u32::try_from(data.len() >> 20).unwrap_or(u32::MAX);
        let limit =
            self.shared.config.deadline.saturating_add(Duration::from_secs(1).saturating_mul(megabytes));
        let tail = [pin.unwrap_or_default(), &*data];
        let before =
            if self.signs_locked(key, pin.is_some()) { self.need_there() } else { self.need_unlocked() };
        let locks = before?.locks;
        let (reply, raw) = match self.signs_locked(key, pin.is_some()) {
            true => self.call_locked("signing", &request, &tail, limit, locks),
            false => self.call_unlocked("signing", &request, &tail, limit),
        }?;
        let left = pin.is_some() && reply == Reply::Signature { presented: false };
        let after = |error| match pin.is_some() && !left {
            true => BackendError::AfterPin { error: Box::new(error) },
            false => error,
        };
        // A touch takes its time, and so does a large file: nothing leaves after a `lock` that came meanwhile.
        if self.shared.with_seen(|seen| seen.locks) != locks {
            return Err(after(BackendError::LockedMeanwhile));
        }
        let pin_use = if left { PinUse::Left } else { PinUse::Looked };
        released((scheme, hints.form(scheme)), &raw, pin_use).map_err(after)
    }
}

impl Pkcs11Token {
    /// Whether the card signs with this key though it is locked: a key that takes no PIN, or the one that is given with what
    /// is signed.
    fn signs_locked(&self, key: &PublicKey, with_pin: bool) -> bool {
        let place = self.shared.with_seen(|seen| {
            seen.keys.iter().find(|stored| stored.public == *key).and_then(|stored| stored.place)
        });
        place.is_some_and(|place| match place.pin {
            PinPolicy::Never => true,
            PinPolicy::Always => with_pin,
            PinPolicy::Once => false,
        })
    }

    /// For what needs no login. A PIN that the card takes with it unlocks it, too, which is seen at once.
    fn call_locked(
        &self,
        what: &str,
        request: &Request,
        tail: &[&[u8]],
        limit: Duration,
        locks: u64,
    ) -> Result<Answer, BackendError> {
        let shared = &self.shared;
        let mut link = shared.link();
        shared.ready(&mut link)?;
        shared.finish_lock(&mut link);
        if shared.with_seen(|seen| seen.locks) != locks {
            return Err(BackendError::LockedMeanwhile);
        }
        let answer = shared.call(&mut link, what, request, tail, limit);
        let locked = shared.with_seen(|seen| seen.state == Some(TokenState::Locked));
        if locked && request.presents_pin() {
            // What comes of it is noted.
            let _ = shared.ask_how_it_is(&mut link, &Request::Poll);
        }
        answer
    }
}

/// What a token takes for `what`: a digest for ECDSA, unless it hashes itself, all of it otherwise.
pub(crate) fn taken<'a>(scheme: Scheme, how: How, what: &'a Signable<'_>) -> Cow<'a, [u8]> {
    match scheme {
        _ if how == How::Whole => Cow::Borrowed(what.bytes()),
        Scheme::EcdsaP256 => Cow::Owned(what.sha256().as_bytes().to_vec()),
        Scheme::EcdsaP384 => Cow::Owned(what.sha384().to_vec()),
        _ => Cow::Borrowed(what.bytes()),
    }
}

/// A token's signature in the form that metadata wants.
pub(super) fn released(
    (scheme, form): (Scheme, Form),
    raw: &[u8],
    pin: PinUse,
) -> Result<UnverifiedSignature, BackendError> {
    let der = |curve| match form {
        Form::Fixed => ecdsa_to_der(curve, raw).ok_or(BackendError::BadSignature),
        // Written anew: what some modules call DER has zeros too many or too few.
        Form::Der => ecdsa_from_der(curve, raw)
            .and_then(|fixed| ecdsa_to_der(curve, &fixed))
            .ok_or(BackendError::BadSignature),
    };
    let bytes = match scheme {
        Scheme::EcdsaP256 => der(Curve::P256)?,
        Scheme::EcdsaP384 => der(Curve::P384)?,
        _ => raw.to_vec(),
    };
    Ok(UnverifiedSignature::with_pin(bytes, pin))
}
