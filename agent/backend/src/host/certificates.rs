//! Certificates on a token, as far as they tell whose a private key is that lies beside them without a public object.
//!
//! Smart cards are made so: a private key and a certificate with its CKA_ID. Nobody is asked whether a certificate is valid,
//! expired or signed by anybody: it names a public key, and each signature is verified by that.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::AnyRef;
use der::{Decode as _, Encode as _, Tagged as _};
use tuf::key::PublicKey;

use super::attributes::attributes;
use super::objects::{KeyObject, is_other_class};

/// `None` for one without a CKA_ID, which belongs to no key, and for one of a key that is none of ours.
pub(super) fn read(session: &Session, handle: ObjectHandle) -> Result<Option<KeyObject>, Error> {
    let wanted = [AttributeType::Class, AttributeType::Id, AttributeType::Label, AttributeType::Value];
    let (mut id, mut label, mut value) = (Vec::new(), String::new(), Vec::new());
    let told = attributes(session, handle, &wanted)?;
    if is_other_class(&told, Some(ObjectClass::CERTIFICATE)) {
        return Ok(None);
    }
    for attribute in told {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
            Attribute::Value(bytes) => value = bytes,
            _ => {}
        }
    }
    let key = public_key(&value).filter(|_| !id.is_empty());
    Ok(key.and_then(|key| KeyObject::of_certificate(handle, id, label, key)))
}

/// The key of a certificate (RFC 5280, 4.1). What else stands there is stepped over, as cards hold certificates with serial
/// numbers, names and dates of which no strict reader makes anything.
fn public_key(certificate: &[u8]) -> Option<PublicKey> {
    // Some cards fill the object up behind it.
    let (whole, _) = AnyRef::from_der_partial(certificate).ok()?;
    let (to_be_signed, _) = AnyRef::from_der_partial(whole.value()).ok()?;
    let mut rest = to_be_signed.value();
    let mut next = || {
        let (item, behind) = AnyRef::from_der_partial(rest).ok()?;
        rest = behind;
        Some(item)
    };
    // The version has a tag of its own, and may be left out. Then: serial number, algorithm, issuer, dates, subject.
    let first = next()?;
    let before = if first.tag().is_context_specific() { 5 } else { 4 };
    for _ in 0..before {
        next()?;
    }
    PublicKey::from_spki_der(&next()?.to_der().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=lab`, and the key that OpenSSL says is in it.
    const CERTIFICATE: &str = "\
        3082017230820117a00302010202147c3ceab49e0da0864cf954feb38702f3286bab92300a06082a8648ce3d040302300e31\
        0c300a06035504030c036c6162301e170d3236313132323232333031325a170d3336313131393232333031325a300e310c30\
        0a06035504030c036c61623059301306072a8648ce3d020106082a8648ce3d03010703420004f39b7806824106de78dff914\
        5f5efe895d483fc315ee3ef41bf0aca7d5471813eb7f823f99d19c6d5765c391e9948629ddf2cd4737a42a9110767076047e\
        ae9da3533051301d0603551d0e041604146185de0cdd0367c693565a6a805feb7f36d1b830301f0603551d23041830168014\
        6185de0cdd0367c693565a6a805feb7f36d1b830300f0603551d130101ff040530030101ff300a06082a8648ce3d04030203\
        49003046022100e4b10350a750dcfc9d10d6dad364130bb3221f423b02e096f8689a8aaff4b602022100a75ddbdc91c4c7ef\
        fbb5488b013a460219c74153d3fd4c37709026438c481b4b";
    const KEY: &str = "\
        3059301306072a8648ce3d020106082a8648ce3d03010703420004f39b7806824106de78dff9145f5efe895d483fc315ee3e\
        f41bf0aca7d5471813eb7f823f99d19c6d5765c391e9948629ddf2cd4737a42a9110767076047eae9d";

    #[test]
    fn the_key_of_a_certificate_is_read_whatever_stands_beside_it() {
        let certificate = hex::decode(CERTIFICATE).unwrap();
        let key = PublicKey::from_spki_der(&hex::decode(KEY).unwrap()).unwrap();
        assert_eq!(public_key(&certificate), Some(key.clone()));
        assert_eq!(public_key(&[&certificate[..], &[0; 40]].concat()), Some(key));
        for cut in 0..certificate.len() {
            assert_eq!(public_key(&certificate[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in Just(hex::decode(CERTIFICATE).unwrap()),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = public_key(&bytes);
        }
    }
}
