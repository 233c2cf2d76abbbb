//! Curves: how they are written, what they sign (FAULTS D5, D6).

use std::cell::Cell;

use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType};
use cryptoki::session::Session;
use sha2::{Digest, Sha256, Sha384};
use tuf::key::PublicKey;

use super::Stop;
use super::answers::cannot;
use super::bench::{Bench, MESSAGE, generates};
use super::pair::Pair;
use crate::doctor::{CurveFacts, EddsaFacts, Facts, Finding};
use crate::host::attributes::attributes;
use crate::host::codec::{Curve, curve_from_params, ecdsa_from_der, ecdsa_to_der};
use crate::host::faults::told;

/// Encodings, and signatures over digest and message.
pub(super) fn curve(bench: &Bench<'_>, curve: Curve) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let mut facts = CurveFacts::default();
    for (form, params) in forms(curve) {
        match bench.pair(&session, &generates(curve), &[Attribute::EcParams(params)], &[]) {
            // A key is made without the other forms, whatever is said of them.
            Err(error) if form != "oid" => drop(facts.refused.insert(form, told(&error))),
            Err(error) => {
                if let Finding::No(why) = bench.refused("a key pair", &error, &[]) {
                    facts.refused.insert(form, why);
                }
            }
            Ok(pair) => {
                let first = facts.accepted.is_empty();
                facts.accepted.push(form.clone());
                read(&session, &pair, &form, first, &mut facts)?;
                if first {
                    sign(bench, &session, &pair, curve, &mut facts)?;
                }
            }
        }
    }
    if curve == Curve::Ed25519 {
        let params = [Attribute::EcParams(curve.oid().to_vec()), Attribute::KeyType(KeyType::EC)];
        let plain = bench.pair(&session, &Mechanism::EccKeyPairGen, &params, &[]);
        facts.plain_key_type = match plain {
            Ok(_) => Finding::Yes,
            Err(error) => Finding::No(told(&error)),
        };
    }
    Ok(Facts { curves: [(name(curve).to_owned(), facts)].into(), ..Facts::default() })
}

/// What a new pair shows of its curve.
fn read(
    session: &Session,
    pair: &Pair<'_>,
    form: &str,
    first: bool,
    facts: &mut CurveFacts,
) -> Result<(), Stop> {
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    for attribute in attributes(session, pair.public(), &wanted)? {
        match attribute {
            Attribute::EcParams(params) => {
                facts.returned.insert(form.to_owned(), describe_params(&params));
            }
            Attribute::EcPoint(point) if first => {
                facts.point = Some(describe_point(&point).to_owned());
                facts.point_len = u32::try_from(point.len()).unwrap_or(u32::MAX);
            }
            _ => {}
        }
    }
    if first {
        let private = attributes(session, pair.private(), &[AttributeType::EcPoint])?;
        let shown = private.iter().any(|a| matches!(a, Attribute::EcPoint(point) if !point.is_empty()));
        facts.point_on_private = if shown { Finding::Yes } else { Finding::No("absent".to_owned()) };
    }
    Ok(())
}

fn sign(
    bench: &Bench<'_>,
    session: &Session,
    pair: &Pair<'_>,
    curve: Curve,
    facts: &mut CurveFacts,
) -> Result<(), Stop> {
    let key = pair.key()?;
    if curve == Curve::Ed25519 {
        let signed = bench.sign(session, &pure(), pair, MESSAGE);
        facts.signs =
            bench.judged("CKM_EDDSA", signed, |signature| key.verify(MESSAGE, signature).is_ok())?;
        return Ok(());
    }
    let (digest, whole) = match curve {
        Curve::P384 => (Sha384::digest(MESSAGE).to_vec(), Mechanism::EcdsaSha384),
        _ => (Sha256::digest(MESSAGE).to_vec(), Mechanism::EcdsaSha256),
    };
    let in_der = Cell::new(false);
    let good = |raw: &[u8]| {
        in_der.set(verifies_in_der(&key, curve, raw));
        in_der.get() || verifies(&key, curve, raw)
    };
    facts.signs = bench.judged("CKM_ECDSA", bench.sign(session, &Mechanism::Ecdsa, pair, &digest), good)?;
    facts.signs_in_der = in_der.take();
    facts.hash_and_sign = bench.judged("hash-and-sign", bench.sign(session, &whole, pair, MESSAGE), good)?;
    facts.hash_and_sign_in_der = in_der.take();
    Ok(())
}

/// The same of DER, as we read it.
fn verifies_in_der(key: &PublicKey, curve: Curve, der: &[u8]) -> bool {
    ecdsa_from_der(curve, der).is_some_and(|raw| verifies(key, curve, &raw))
}

/// Whether r || s is a signature of [`MESSAGE`].
pub(super) fn verifies(key: &PublicKey, curve: Curve, raw: &[u8]) -> bool {
    ecdsa_to_der(curve, raw).is_some_and(|der| key.verify(MESSAGE, &der).is_ok())
}

/// Which lengths are signed as a digest under P-256. The agent gives 32 and no other.
pub(super) fn digest_lengths(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let pair = bench.curve_pair(&session, Curve::P256, &[])?;
    let mut taken = Vec::new();
    for length in [32_u8, 20, 33, 64] {
        let data = vec![0x5a; usize::from(length)];
        match bench.sign(&session, &Mechanism::Ecdsa, &pair, &data) {
            Ok(_) => taken.push(u32::from(length)),
            Err(Stop::Module(error)) => drop(bench.refused(&format!("{length} bytes"), &error, &[])),
            Err(stop) => return Err(stop),
        }
    }
    Ok(Facts { digest_lengths: Some(taken), ..Facts::default() })
}

/// Asks for Ed25519ph, and looks whether what comes is a pure signature all the same.
pub(super) fn eddsa_parameters(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let pair = bench.curve_pair(&session, Curve::Ed25519, &[])?;
    let key = pair.key()?;
    let prehashed = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519ph(&[])));
    let heeds_parameters = match bench.sign(&session, &prehashed, &pair, MESSAGE) {
        Ok(signature) if key.verify(MESSAGE, &signature).is_ok() => {
            Finding::No("asked for Ed25519ph it gives a pure signature".to_owned())
        }
        Ok(_) => Finding::Yes,
        // Refusing what it cannot do is heeding it.
        Err(Stop::Module(error)) if cannot(&error) => Finding::Yes,
        Err(stop) => return Err(stop),
    };
    Ok(Facts { eddsa: EddsaFacts { heeds_parameters, ..EddsaFacts::default() }, ..Facts::default() })
}

/// C_SignUpdate and C_SignFinal.
pub(super) fn eddsa_parts(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let home = bench.session()?;
    let pair = bench.curve_pair(&home, Curve::Ed25519, &[])?;
    let key = pair.key()?;
    let parts = || -> Result<Vec<u8>, Stop> {
        let (start, end) = MESSAGE.split_at(MESSAGE.len() / 2);
        let session = bench.begin(&home, &pure(), &pair)?;
        session.sign_update(start)?;
        session.sign_update(end)?;
        Ok(session.sign_final()?)
    };
    let verifies = |signature: &[u8]| key.verify(MESSAGE, signature).is_ok();
    // What was begun is of one part.
    let one_part = [RvError::OperationNotInitialized];
    let multi_part = bench.judged_by("C_SignUpdate", parts(), verifies, &one_part)?;
    Ok(Facts { eddsa: EddsaFacts { multi_part, ..EddsaFacts::default() }, ..Facts::default() })
}

/// Metadata is signed whole: longer and longer messages.
pub(super) fn eddsa_long(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let pair = bench.curve_pair(&session, Curve::Ed25519, &[])?;
    let key = pair.key()?;
    let mut eddsa = EddsaFacts::default();
    let of_length = |length: usize| {
        let message = vec![0x5a; length];
        let signed = bench.sign(&session, &pure(), &pair, &message);
        signed.map(|signature| key.verify(&message, &signature).is_ok())
    };
    for length in LONG {
        let mut signed = of_length(length);
        // Devices say of a long message whatever they like. That it was the length shows where a short one is signed, and the
        // long one then fails again.
        if let Err(Stop::Module(error)) = &signed
            && !cannot(error)
            && of_length(MESSAGE.len())?
        {
            signed = of_length(length);
        }
        match signed {
            Ok(true) => {
                eddsa.longest = u64::try_from(length).ok();
                continue;
            }
            Ok(false) => eddsa.too_long = Some("a signature that does not verify".to_owned()),
            Err(Stop::Module(error)) => eddsa.too_long = Some(told(&error)),
            Err(stop) => return Err(stop),
        }
        break;
    }
    Ok(Facts { eddsa, ..Facts::default() })
}

/// The forms in which a curve is written, and what each is in CKA_EC_PARAMS.
fn forms(curve: Curve) -> Vec<(String, Vec<u8>)> {
    let names: &[&str] = match curve {
        Curve::Ed25519 => &["edwards25519", "id-Ed25519", "Ed25519"],
        Curve::P256 => &["secp256r1", "prime256v1"],
        Curve::P384 => &["secp384r1"],
    };
    let named = |name: &&str| {
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        ((*name).to_owned(), [&[0x13, length], name.as_bytes()].concat())
    };
    std::iter::once(("oid".to_owned(), curve.oid().to_vec())).chain(names.iter().map(named)).collect()
}

fn describe_params(params: &[u8]) -> String {
    match params {
        [0x06, ..] if curve_from_params(params).is_some() => "oid".to_owned(),
        [0x13 | 0x0c, _, name @ ..] => String::from_utf8_lossy(name).into_owned(),
        [0x30, ..] => "explicit parameters".to_owned(),
        [] => "nothing".to_owned(),
        other => format!("0x{}", hex::encode(other.get(..other.len().min(16)).unwrap_or_default())),
    }
}

/// By length, as the codec does: 32, 65 or 97 bytes are a bare point, two more are an OCTET STRING.
fn describe_point(point: &[u8]) -> &'static str {
    match (point.len(), point) {
        (32 | 65 | 97, _) => "raw",
        (34 | 67 | 99, [0x04, ..]) => "wrapped",
        (0, _) => "nothing",
        _ => "something else",
    }
}

pub(super) const fn name(curve: Curve) -> &'static str {
    match curve {
        Curve::Ed25519 => "ed25519",
        Curve::P256 => "ecdsa-p256",
        Curve::P384 => "ecdsa-p384",
    }
}

fn pure() -> Mechanism<'static> {
    Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure))
}

/// A message of a small role, a large one, and one larger than most.
const LONG: [usize; 3] = [4_000, 300_000, 4 << 20];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_parameters_are_told_apart_by_what_they_are() {
        for curve in [Curve::Ed25519, Curve::P256, Curve::P384] {
            for (form, params) in forms(curve) {
                assert_eq!(describe_params(&params), form);
            }
        }
        assert_eq!(describe_params(&[0x30, 0x81, 0xf7]), "explicit parameters");
        assert_eq!(describe_params(&[0x06, 0x01, 0x01]), "0x060101");
        // A bare Ed25519 point may well begin with 04.
        assert_eq!(describe_point(&[0x04; 32]), "raw");
        assert_eq!(describe_point(&[&[0x04, 0x20][..], &[7; 32]].concat()), "wrapped");
        assert_eq!(describe_point(&[0x04; 65]), "raw");
        assert_eq!(describe_point(&[0x30; 67]), "something else");
    }
}
