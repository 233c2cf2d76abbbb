//! Points, parameters and signatures between PKCS#11's forms and ours (FAULTS D5, D6).
//!
//! Modules differ: a point is raw or wrapped in an OCTET STRING, a curve is an OID or a name.
//! All four are read, everything else is refused. Nothing here asks a token.

use tuf::key::PublicKey;

/// A curve that TUF keys use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    Ed25519,
    P256,
    P384,
}

impl Curve {
    /// CKA_EC_PARAMS as we write them: the OID in DER.
    pub(crate) const fn oid(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &[0x06, 0x03, 0x2b, 0x65, 0x70],
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        }
    }

    /// CKA_EC_PARAMS as a PrintableString, for modules that know no OID of the curve.
    pub(crate) const fn printable(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => b"\x13\x0cedwards25519",
            Self::P256 => b"\x13\x09secp256r1",
            Self::P384 => b"\x13\x09secp384r1",
        }
    }

    /// Length of the two numbers of an ECDSA signature, in bytes each.
    pub(crate) const fn scalar_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Ed25519 => &["edwards25519", "ed25519", "id-ed25519"],
            Self::P256 => &["secp256r1", "prime256v1", "p-256", "nistp256"],
            Self::P384 => &["secp384r1", "p-384", "nistp384"],
        }
    }
}

/// Reads CKA_EC_PARAMS: an OID, or the curve's name as PrintableString or UTF8String.
pub(crate) fn curve_from_params(params: &[u8]) -> Option<Curve> {
    let all = [Curve::Ed25519, Curve::P256, Curve::P384];
    if let Some(curve) = all.into_iter().find(|curve| curve.oid() == params) {
        return Some(curve);
    }
    let name = match params {
        [0x13 | 0x0c, len, name @ ..] if usize::from(*len) == name.len() => name,
        _ => return None,
    };
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    all.into_iter().find(|curve| curve.names().contains(&name.as_str()))
}

/// Reads CKA_EC_POINT, raw or wrapped, as a public key of `curve`. `None` when it is neither, or
/// not a point of the curve.
pub(crate) fn public_key_from_point(curve: Curve, point: &[u8]) -> Option<PublicKey> {
    match curve {
        Curve::Ed25519 => PublicKey::from_ed25519(ed25519_point(point)?).ok(),
        Curve::P256 => PublicKey::from_p256_sec1(weierstrass_point(point, curve)?).ok(),
        Curve::P384 => PublicKey::from_p384_sec1(weierstrass_point(point, curve)?).ok(),
    }
}

/// By length, never by the first byte: a raw Ed25519 point may well begin with 04.
fn ed25519_point(point: &[u8]) -> Option<[u8; 32]> {
    match point {
        [0x04, 0x20, rest @ ..] if rest.len() == 32 => rest.try_into().ok(),
        raw => raw.try_into().ok(),
    }
}

/// The uncompressed or compressed SEC1 point inside. By length too: a raw point of P-256 has 65
/// or 33 bytes, a wrapped one two more.
fn weierstrass_point(point: &[u8], curve: Curve) -> Option<&[u8]> {
    let (full, half) = (1 + 2 * curve.scalar_len(), 1 + curve.scalar_len());
    let raw = match point {
        raw if raw.len() == full || raw.len() == half => raw,
        [0x04, len, raw @ ..] if usize::from(*len) == raw.len() && *len < 0x80 => raw,
        _ => return None,
    };
    match raw {
        [0x04, ..] if raw.len() == full => Some(raw),
        [0x02 | 0x03, ..] if raw.len() == half => Some(raw),
        _ => None,
    }
}

/// CKA_EC_POINT as we write it when importing: wrapped in an OCTET STRING, as the standard says.
/// `None` for more than 127 bytes, which no curve of ours has.
pub(crate) fn wrap_point(raw: &[u8]) -> Option<Vec<u8>> {
    let len = u8::try_from(raw.len()).ok().filter(|len| *len < 0x80)?;
    Some([&[0x04, len], raw].concat())
}

/// Turns the r || s of CKM_ECDSA into DER (RFC 3279 section 2.2.3), as TUF wants it. `None` when
/// the length is not that of the curve, or a number is zero: no signature has that.
pub(crate) fn ecdsa_to_der(curve: Curve, raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() != 2 * curve.scalar_len() {
        return None;
    }
    let (r, s) = raw.split_at_checked(curve.scalar_len())?;
    let body = [integer(r)?, integer(s)?].concat();
    let len = u8::try_from(body.len()).ok().filter(|len| *len < 0x80)?;
    Some([&[0x30, len], body.as_slice()].concat())
}

/// The way back, for tokens that give DER: r || s. `None` for anything else.
pub(crate) fn ecdsa_from_der(curve: Curve, der: &[u8]) -> Option<Vec<u8>> {
    let [0x30, len, body @ ..] = der else { return None };
    if usize::from(*len) != body.len() {
        return None;
    }
    let (r, rest) = fixed(curve, body)?;
    let (s, rest) = fixed(curve, rest)?;
    rest.is_empty().then(|| [r, s].concat())
}

/// An INTEGER at the width of the curve's numbers, and what follows it.
fn fixed(curve: Curve, bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let [0x02, len, rest @ ..] = bytes else { return None };
    let (number, rest) = rest.split_at_checked(usize::from(*len))?;
    let number = number.strip_prefix(&[0]).unwrap_or(number);
    let zeros = curve.scalar_len().checked_sub(number.len())?;
    Some(([vec![0; zeros].as_slice(), number].concat(), rest))
}

/// A positive INTEGER: no leading zeros, but one before a top bit.
fn integer(fixed: &[u8]) -> Option<Vec<u8>> {
    let first = fixed.iter().position(|byte| *byte != 0)?;
    let digits = fixed.get(first..)?;
    let pad: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    let len = u8::try_from(pad.len() + digits.len()).ok().filter(|len| *len < 0x80)?;
    Some([&[0x02, len], pad, digits].concat())
}

#[cfg(test)]
mod wycheproof;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn curves_are_read_as_oid_and_as_name_and_nothing_else() {
        for curve in [Curve::Ed25519, Curve::P256, Curve::P384] {
            assert_eq!(curve_from_params(curve.oid()), Some(curve));
            assert_eq!(curve_from_params(curve.printable()), Some(curve));
        }
        assert_eq!(curve_from_params(b"\x0c\x07ed25519"), Some(Curve::Ed25519));
        for bad in [&b""[..], b"\x06\x03\x2b\x65\x71", b"\x13\x0dedwards25519", b"\x30\x81\xf7", b"\x13"] {
            assert_eq!(curve_from_params(bad), None, "{bad:02x?}");
        }
    }

    #[test]
    fn an_ed25519_point_is_read_by_its_length() {
        let mut raw = *ed25519_dalek::SigningKey::from_bytes(&[3; 32]).verifying_key().as_bytes();
        let key = public_key_from_point(Curve::Ed25519, &raw).unwrap();
        assert_eq!(public_key_from_point(Curve::Ed25519, &wrap_point(&raw).unwrap()), Some(key));
        assert_eq!(public_key_from_point(Curve::Ed25519, &raw[1..]), None);
        raw[0] = 0x04;
        raw[1] = 0x20;
        assert_eq!(ed25519_point(&raw), Some(raw), "a raw point that looks like a wrapped one");
        assert_eq!(ed25519_point(&[0x04; 34]), None);
        assert_eq!(ed25519_point(&[]), None);
    }

    #[test]
    fn points_of_both_nist_curves_are_read_raw_and_wrapped() {
        let p256 = p256::SecretKey::from_slice(&[7; 32]).unwrap().public_key();
        let p384 = p384::SecretKey::from_slice(&[7; 48]).unwrap().public_key();
        for (curve, raw) in
            [(Curve::P256, p256.to_sec1_bytes().to_vec()), (Curve::P384, p384.to_sec1_bytes().to_vec())]
        {
            let key = public_key_from_point(curve, &raw).unwrap();
            let wrapped = wrap_point(&raw).unwrap();
            assert_eq!(public_key_from_point(curve, &wrapped), Some(key));
            assert_eq!(public_key_from_point(curve, &wrapped[..wrapped.len() - 1]), None);
            assert_eq!(public_key_from_point(curve, &[&wrapped[..], &[0]].concat()), None);
            let mut off_curve = raw.clone();
            *off_curve.last_mut().unwrap() ^= 1;
            assert_eq!(public_key_from_point(curve, &off_curve), None);
        }
    }

    #[test]
    fn leading_zeros_go_and_top_bits_get_one() {
        let mut raw = [0; 64];
        raw[31] = 1;
        raw[32] = 0x80;
        let der = ecdsa_to_der(Curve::P256, &raw).unwrap();
        assert_eq!(der[..9], [0x30, 38, 0x02, 1, 1, 0x02, 33, 0, 0x80]);
        assert_eq!(ecdsa_to_der(Curve::P256, &[0; 64]), None);
        assert_eq!(ecdsa_to_der(Curve::P256, &[1; 63]), None);
        assert_eq!(ecdsa_to_der(Curve::P384, &[1; 64]), None);
        assert_eq!(ecdsa_to_der(Curve::P384, &[0xff; 96]).unwrap().len(), 104);
    }

    /// Numbers that encoders get wrong: small ones, ones with a top bit, the largest that there are. An s in the upper half
    /// stays as the token gave it.
    #[test]
    fn numbers_at_the_edges_are_encoded_as_an_independent_encoder_does() {
        let orders = [
            (Curve::P256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550"),
            (
                Curve::P384,
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52972",
            ),
        ];
        for (curve, largest) in orders {
            let largest = hex::decode(largest).unwrap();
            let len = largest.len();
            let mut edges = vec![largest.clone()];
            for (at, byte) in [
                (len - 1, 1),
                (len - 1, 0x7f),
                (len - 1, 0x80),
                (len - 1, 0xff),
                (len / 2, 0x80),
                (0, 0x7f),
                (0, 0x80),
            ] {
                let mut number = vec![0; len];
                number[at] = byte;
                edges.push(number);
            }
            for (r, s) in edges.iter().flat_map(|r| edges.iter().map(move |s| (r, s))) {
                let raw = [r.as_slice(), s].concat();
                let der = match curve {
                    Curve::P256 => {
                        p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der().as_bytes().to_vec()
                    }
                    _ => p384::ecdsa::Signature::from_slice(&raw).unwrap().to_der().as_bytes().to_vec(),
                };
                assert_eq!(ecdsa_to_der(curve, &raw), Some(der.clone()));
                assert_eq!(ecdsa_from_der(curve, &der), Some(raw));
            }
        }
    }

    proptest! {
        #[test]
        fn der_agrees_with_an_independent_encoder(raw in proptest::collection::vec(any::<u8>(), 64), zeros in 0_usize..4) {
            let mut raw = raw;
            raw[..zeros].fill(0);
            raw[32..32 + zeros].fill(0);
            if let Ok(signature) = p256::ecdsa::Signature::from_slice(&raw) {
                let der = signature.to_der().as_bytes().to_vec();
                prop_assert_eq!(ecdsa_to_der(Curve::P256, &raw).unwrap(), der.clone());
                prop_assert_eq!(ecdsa_from_der(Curve::P256, &der).unwrap(), raw);
            }
        }

        #[test]
        fn der_of_p384_agrees_with_an_independent_encoder(raw in proptest::collection::vec(any::<u8>(), 96), zeros in 0_usize..4) {
            let mut raw = raw;
            raw[..zeros].fill(0);
            raw[48..48 + zeros].fill(0);
            if let Ok(signature) = p384::ecdsa::Signature::from_slice(&raw) {
                let der = signature.to_der().as_bytes().to_vec();
                prop_assert_eq!(ecdsa_to_der(Curve::P384, &raw).unwrap(), der.clone());
                prop_assert_eq!(ecdsa_from_der(Curve::P384, &der).unwrap(), raw);
            }
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
            let _ = curve_from_params(&bytes);
            for curve in [Curve::Ed25519, Curve::P256, Curve::P384] {
                let _ = public_key_from_point(curve, &bytes);
                let _ = ecdsa_to_der(curve, &bytes);
                let _ = ecdsa_from_der(curve, &bytes);
            }
        }
    }
}
