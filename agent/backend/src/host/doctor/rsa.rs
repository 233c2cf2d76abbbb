//! RSA of 3072 bits: which of the four ways to a signature there are.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::Attribute;
use tuf::key::{RsaHash, Scheme};

use super::Stop;
use super::bench::{Bench, MESSAGE};
use crate::doctor::{Facts, RsaFacts};

pub(super) fn rsa(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let public = [Attribute::ModulusBits(3072.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    let made = bench.pair(&session, &Mechanism::RsaPkcsKeyPairGen, &public, &[]);
    let mut facts = RsaFacts { generate: bench.tried("a key pair", &made), ..RsaFacts::default() };
    if let Ok(pair) = made {
        let key = pair.key()?;
        let hash = RsaHash::Sha256;
        let digest = hash.digest(MESSAGE);
        let info = [hash.digest_info(), digest.as_slice()].concat();
        let params = PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: std::ffi::c_ulong::from(hash.salt()).into(),
        };
        let by = |mechanism: &Mechanism<'_>, data: &[u8], scheme: Scheme| {
            let what = mechanism.mechanism_type().to_string();
            bench.judged(&what, bench.sign(&session, mechanism, &pair, data), |signature| {
                key.verify_by(scheme, MESSAGE, signature).is_ok()
            })
        };
        let (pss, pkcs1) = (Scheme::RsaPss(hash), Scheme::RsaPkcs1(hash));
        facts.pss_whole = by(&Mechanism::Sha256RsaPkcsPss(params), MESSAGE, pss)?;
        facts.pss_digest = by(&Mechanism::RsaPkcsPss(params), &digest, pss)?;
        facts.pkcs1_whole = by(&Mechanism::Sha256RsaPkcs, MESSAGE, pkcs1)?;
        facts.pkcs1_digest = by(&Mechanism::RsaPkcs, &info, pkcs1)?;
    }
    Ok(Facts { rsa: Some(facts), ..Facts::default() })
}
