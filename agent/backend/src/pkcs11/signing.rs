//! One signature by the helper, in the form that metadata wants.

use std::borrow::Cow;
use std::time::Duration;

use secmem::SecretBytes;
use tuf::key::{PublicKey, Scheme};
use tuf::preimage::Signable;

use super::Pkcs11Token;
use crate::doctor::How;
use crate::host::protocol::Request;
use crate::host::{Curve, ecdsa_to_der};
use crate::{BackendError, UnverifiedSignature};

impl Pkcs11Token {
    /// A signature in the form that metadata wants; with a PIN, for a key that takes one each time.
    pub(super) fn signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        pin: Option<&SecretBytes>,
    ) -> Result<UnverifiedSignature, BackendError> {
        if !scheme.fits(key.key_type()) {
            let what = format!("sign as {scheme} with a {} key", key.key_type());
            return Err(BackendError::Unsupported { what });
        }
        let hints = self.shared.seen().hints()?;
        let how = hints.how(scheme).map_err(|what| BackendError::MeasuredUnable { what })?;
        let data = taken(scheme, how, &what);
        let pin = pin.map(SecretBytes::reveal_secret_bytes);
        let request = Request::Sign {
            public: hex::encode(key.spki_der()),
            scheme: scheme.to_string(),
            pin_len: pin.map(<[u8]>::len),
            how,
            login_before: hints.login_before(),
        };
        let megabytes = u32::try_from(data.len() >> 20).unwrap_or(u32::MAX);
        let limit =
            self.shared.config.deadline.saturating_add(Duration::from_secs(1).saturating_mul(megabytes));
        let tail = [pin.unwrap_or_default(), &*data];
        let locks = self.need_unlocked()?.locks;
        let (_, raw) = self.call_unlocked("signing", &request, &tail, limit)?;
        // A touch takes its time, and so does a large file: nothing leaves after a `lock` that came meanwhile.
        if self.shared.with_seen(|seen| seen.locks) != locks {
            return Err(BackendError::Locked);
        }
        released(scheme, &raw)
    }
}

/// What a token takes for `what`: a digest for ECDSA, unless it hashes itself, all of it otherwise.
pub(super) fn taken<'a>(scheme: Scheme, how: How, what: &'a Signable<'_>) -> Cow<'a, [u8]> {
    match scheme {
        _ if how == How::Whole => Cow::Borrowed(what.bytes()),
        Scheme::EcdsaP256 => Cow::Owned(what.sha256().as_bytes().to_vec()),
        Scheme::EcdsaP384 => Cow::Owned(what.sha384().to_vec()),
        _ => Cow::Borrowed(what.bytes()),
    }
}

/// A token's signature in the form that metadata wants.
pub(super) fn released(scheme: Scheme, raw: &[u8]) -> Result<UnverifiedSignature, BackendError> {
    let der = |curve| ecdsa_to_der(curve, raw).ok_or(BackendError::BadSignature);
    Ok(UnverifiedSignature::new(match scheme {
        Scheme::EcdsaP256 => der(Curve::P256)?,
        Scheme::EcdsaP384 => der(Curve::P384)?,
        _ => raw.to_vec(),
    }))
}
