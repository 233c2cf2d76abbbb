use super::{Publics, private_key_in};
use crate::{
    json::Document,
    key::{KeyType, PublicKey},
};
use crypto_bigint::{BoxedUint, ConcatenatingMul as _, Gcd as _, Limb, NonZero};
use rsa::{
    pkcs8::DecodePrivateKey as _,
    signature::Signer as _,
    traits::{PrivateKeyParts as _, PublicKeyParts as _},
};
use serde_json::{Value, json};

fn document(value: &Value) -> Document {
    Document::parse(value.to_string().as_bytes(), 1 << 20).unwrap()
}

/// What is found with the key objects of the document itself.
fn found(value: &Value) -> Option<String> {
    let document = document(value);
    let mut publics = Publics::default();
    publics.add_objects(document.root());
    private_key_in(document.root(), &publics)
}

fn key(seed: u8) -> Value {
    let public = hex::encode(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

#[test]
fn private_parts_of_key_objects_are_found_by_their_names() {
    for (value, place) in [
        (json!({"keyval": {"public": "00", "private": "11"}}), "/keyval/private"),
        (json!({"keyval": {"public": "00"}, "private_key": ["11"]}), "/private_key/0"),
        (json!({"keyval": {"public": "00"}, "x-private": {"of": {"mine": "11"}}}), "/x-private/of/mine"),
        (json!({"keyval": {"public": "00", "seed": "11"}}), "/keyval/seed"),
        (json!({"keyval": {"public": "00"}, "jwk": {"d": "11"}}), "/jwk/d"),
        (json!({"keyval": {"public": "00"}, "Signing-Key": "11"}), "/Signing-Key"),
        (json!({"keyval": {"public": "00", "sk": vec![1; 32]}}), "/keyval/sk"),
    ] {
        assert_eq!(found(&value).as_deref(), Some(place), "{value}");
    }
    for value in [
        json!({"keyval": {"public": "00", "private": ""}}),
        json!({"keyval": {"public": "-----BEGIN PUBLIC KEY-----\n"}, "x-private": null}),
        json!({"targets": {"private/secret.bin": {"length": 1, "custom": {"private": "no key object"}}}}),
        json!({"note": "how to BEGIN with a PRIVATE KEY -- or without"}),
    ] {
        assert_eq!(found(&value), None, "{value}");
    }
}

#[test]
fn every_armour_is_found_wherever_it_stands() {
    let armours = [
        "-----BEGIN PRIVATE KEY-----\nAA",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA",
        "-----BEGIN EC PRIVATE KEY-----\\nAA",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n",
        "text before -----BEGIN PRIVATE KEY----- AA",
        "PuTTY-User-Key-File-3: ssh-ed25519\n",
        "AGE-SECRET-KEY-1QQQQQQQQQQ",
        "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1DNENBUUF3QlFZREsyVndCQ0lFSUE9PQ==",
        "00@@@@100000@@@@00@@@@00@@@@00",
    ];
    for armour in armours {
        for (value, place) in [
            (
                json!({"signed": {"targets": {"a": {"custom": {"note": [armour]}}}}}),
                "/signed/targets/a/custom/note/0",
            ),
            (json!({"signed": {}, "debug": armour}), "/debug"),
            (json!({"signatures": [{"sig": "", "x/y~z": armour}]}), "/signatures/0/x~1y~0z"),
            // The place of a name that is a secret is what holds it.
            (json!({"signed": {armour: 1}}), "/signed"),
        ] {
            assert_eq!(found(&value).as_deref(), Some(place), "{value}");
        }
        if armour.starts_with("LS0t") {
            continue;
        }
        let embedded = json!({"config": json!({"key": armour}).to_string()});
        assert!(found(&embedded).is_some(), "{embedded}");
    }
    // Written in JSON's own escapes.
    let text = r#"{"x": "-----\u0042EGIN P\u0052IVATE KEY-----"}"#;
    let document = Document::parse(text.as_bytes(), 1000).unwrap();
    assert_eq!(private_key_in(document.root(), &Publics::default()).as_deref(), Some("/x"));
}

#[test]
fn private_keys_in_der_are_found_and_public_keys_certificates_and_signatures_are_not() {
    let pkcs8 = "302e020100300506032b657004220420".to_owned() + &"01".repeat(32);
    let sec1 = "30310201010420".to_owned() + &"01".repeat(32) + "a00a06082a8648ce3d030107";
    let pkcs1 = "30818a020100028181".to_owned() + &"01".repeat(129) + "010101";
    let encrypted = "301e300b06092a864886f70d01050d040f".to_owned() + &"01".repeat(15);
    for der in [pkcs8, sec1, pkcs1, encrypted] {
        assert_eq!(found(&json!({"x": der})).as_deref(), Some("/x"), "{der}");
    }
    let spki = "302a300506032b6570032100".to_owned() + &"01".repeat(32);
    let signature = "3044022001".to_owned() + &"01".repeat(31) + "0220" + &"01".repeat(32);
    for der in [spki, signature] {
        assert_eq!(found(&json!({"x": der})), None, "{der}");
    }
}

#[test]
fn what_makes_a_public_key_is_found_under_any_name_and_in_any_writing() {
    let seed = [7; 32];
    let base64 = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let public = key(7)["keyval"]["public"].as_str().unwrap().to_owned();
    for text in [
        hex::encode(seed),
        hex::encode_upper(seed),
        format!("0x{}", hex::encode(seed)),
        format!("{}{public}", hex::encode(seed)),
        vec!["07"; 32].join(":"),
        base64.to_owned(),
        format!("{base64}="),
    ] {
        let value = json!({"keys": {"k": key(7)}, "custom": {"build": text}});
        assert_eq!(found(&value).as_deref(), Some("/custom/build"), "{value}");
        let value = json!({"keys": {"k": key(7)}, "custom": {text: 1}});
        assert_eq!(found(&value).as_deref(), Some("/custom"), "{value}");
    }
    assert_eq!(found(&json!({"k": key(7), "n": seed})).as_deref(), Some("/n"));
    for harmless in [json!("ab".repeat(32)), json!(public), json!(vec![8; 32])] {
        assert_eq!(found(&json!({"k": key(7), "n": harmless})), None);
    }
    // Of another document's key nothing is known here.
    assert_eq!(found(&json!({"k": key(8), "n": seed})), None);
}

#[test]
fn scalars_of_ecdsa_keys_are_found() {
    let p256 = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = hex::encode(p256.verifying_key().to_sec1_point(false).as_bytes());
    let scheme = "ecdsa-sha2-nistp256";
    let object =
        json!({"keytype": scheme, "scheme": scheme, "keyval": {"public": point, "x": hex::encode([7; 32])}});
    assert_eq!(found(&object).as_deref(), Some("/keyval/x"));
    let p384 = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let point = hex::encode(p384.verifying_key().to_sec1_point(false).as_bytes());
    let scheme = "ecdsa-sha2-nistp384";
    let object = json!({"k": {"keytype": scheme, "scheme": scheme, "keyval": {"public": point}}, "x": hex::encode([7; 48])});
    assert_eq!(found(&object).as_deref(), Some("/x"));
}

#[test]
fn scalars_of_p521_and_seeds_of_ml_dsa_are_found() {
    let scalar = [&[0; 1][..], &[7; 65]].concat();
    let p521 = p521::ecdsa::SigningKey::from_slice(&scalar).unwrap();
    let point = hex::encode(p521.verifying_key().to_sec1_point(false).as_bytes());
    let scheme = "ecdsa-sha2-nistp521";
    let object = json!({"keytype": scheme, "scheme": scheme, "keyval": {"public": point}});
    assert_eq!(found(&json!({"k": object, "x": hex::encode(&scalar)})).as_deref(), Some("/x"));
    assert_eq!(found(&json!({"k": object, "x": scalar})).as_deref(), Some("/x"));
    assert_eq!(found(&json!({"k": object, "x": hex::encode([7; 66])})), None);
    for kind in [KeyType::MlDsa44, KeyType::MlDsa65, KeyType::MlDsa87] {
        let object: Value =
            serde_json::from_str(PublicKey::of_ml_dsa_seed(kind, [7; 32]).unwrap().to_key().json()).unwrap();
        assert_eq!(found(&json!({"k": object, "x": hex::encode([7; 32])})).as_deref(), Some("/x"), "{kind}");
        assert_eq!(found(&json!({"k": object, "x": hex::encode([8; 32])})), None, "{kind}");
    }
}

#[test]
fn secret_numbers_of_rsa_are_found() {
    let key = rsa::RsaPrivateKey::from_pkcs8_pem(include_str!("../../tests/vectors/rsa-2048.pem")).unwrap();
    let public =
        PublicKey::from_rsa(&key.n().to_be_bytes_trimmed_vartime(), &key.e().to_be_bytes_trimmed_vartime());
    let object: Value = serde_json::from_str(public.unwrap().to_key().json()).unwrap();
    let with = |number: &[u8]| json!({"k": object, "custom": {"x": hex::encode(number)}});
    let d = key.d().to_be_bytes_trimmed_vartime();
    assert_eq!(found(&with(&d)).as_deref(), Some("/custom/x"));
    // An odd number of digits.
    let odd = json!({"k": object, "x": format!("0{}", hex::encode(&d))});
    assert_eq!(found(&odd).as_deref(), Some("/x"));
    for prime in key.primes() {
        assert_eq!(found(&with(&prime.to_be_bytes_trimmed_vartime())).as_deref(), Some("/custom/x"));
    }
    // By one prime.
    for exponent in [key.dp(), key.dq()] {
        let exponent = exponent.unwrap().to_be_bytes_trimmed_vartime();
        assert_eq!(found(&with(&exponent)).as_deref(), Some("/custom/x"));
    }
    // The modulus itself, one and zero are secret to nobody.
    let n = key.n().to_be_bytes_trimmed_vartime();
    let mut one = vec![0; 128];
    for harmless in [&n[..], &[7; 256], &[7; 128], &one.clone()] {
        assert_eq!(found(&with(harmless)), None);
    }
    one[127] = 1;
    assert_eq!(found(&with(&one)), None);
    // Signatures are as long as the exponent.
    let many: Vec<String> = (0..200_u8).map(|number| hex::encode([number; 256])).collect();
    assert_eq!(found(&json!({"many": many, "then": with(&d)})).as_deref(), Some("/then/custom/x"));
    // What only a power tells is tried so often, and no more.
    let many: Vec<String> = (1..131_u8).map(|number| hex::encode([number; 128])).collect();
    let dp = key.dp().unwrap().to_be_bytes_trimmed_vartime();
    let few = json!({"many": many[..128], "then": with(&dp)});
    let (few, enough) = (json!({"many": many[..126], "then": few["then"]}), few);
    assert_eq!(found(&few).as_deref(), Some("/then/custom/x"), "63 odd ones before it");
    assert_eq!(found(&enough), None, "64 of them");
}

/// A key whose primes, less one, have a factor of 51 bits in common.
fn kindred_key() -> (BoxedUint, BoxedUint) {
    let of = |hex: &str| BoxedUint::from_be_slice_vartime(&hex::decode(hex).unwrap());
    (
        of(
            "e7110266f068d1dbbb8740fffe03c7eb68889ba6923694379f6ad8321e7a41169abc007a0f60bb6f03e81259dd6ae695c2d7\
            85b730321f1e46513111e53a51936763d51e3047dcff52235bf796c5f9e6bef89ff6280576357953de229974a2eb356e1607\
            0bcf41818b66664cc0485509432c2204ed9b1736ecddcf6500376683",
        ),
        of(
            "e507a85c58c14a06f8d6c704e218d7496011b661e0c0b44a25f346df8239084c3d5b8b5e352eac50dfa9799021a9cce48df5\
            cb26290a05779a89b31d31229235ad56bcc40dfbed86eb7be25eee93aab2fe414b21851c4b72d6e35df2e8989c0d6df1dc1f\
            5d1b610b70be0431d7944ca5134a506ca70cce3da83239106530a9c1",
        ),
    )
}

#[test]
fn private_exponents_of_every_making_are_found() {
    const E: u64 = 65_537;
    let from_pem =
        rsa::RsaPrivateKey::from_pkcs8_pem(include_str!("../../tests/vectors/rsa-2048.pem")).unwrap();
    let of_pem =
        |at: usize| BoxedUint::from_be_slice_vartime(&from_pem.primes()[at].to_be_bytes_trimmed_vartime());
    for (p, q) in [(of_pem(0), of_pem(1)), kindred_key()] {
        let [p1, q1] = [&p, &q].map(|prime| prime.wrapping_sub(BoxedUint::one()));
        let (n, phi) = (p.concatenating_mul(&q), p1.concatenating_mul(&q1));
        let common = p1.gcd_vartime(&q1);
        let lambda = phi.div_rem_vartime(common.as_nz_vartime().unwrap()).0;
        let e = NonZero::new(Limb::from(E)).unwrap();
        // (1 + kλ)/e, for the k that makes it a whole number.
        let exponent = |order: &BoxedUint| {
            let step = u64::from(order.rem_limb(e));
            let k = (0..E).find(|k| (1 + k * step) % E == 0).unwrap();
            let whole = order.concatenating_mul(BoxedUint::from(k)).wrapping_add(BoxedUint::one());
            whole.div_rem_limb(e).0
        };
        let public =
            PublicKey::from_rsa(&n.to_be_bytes_trimmed_vartime(), &BoxedUint::from(E).to_be_bytes()).unwrap();
        let object: Value = serde_json::from_str(public.to_key().json()).unwrap();
        let larger = exponent(&lambda).wrapping_add(&lambda);
        for d in [exponent(&phi), exponent(&lambda), larger] {
            let bytes = d.to_be_bytes_trimmed_vartime();
            // Where φ is much longer than λ, so is n.
            if bytes.len() + 8 < n.to_be_bytes_trimmed_vartime().len() {
                continue;
            }
            let value = json!({"k": object, "x": hex::encode(&bytes)});
            assert_eq!(found(&value).as_deref(), Some("/x"));
            let mut other = bytes.to_vec();
            other[200] ^= 1;
            assert_eq!(found(&json!({"k": object, "x": hex::encode(&other)})), None);
        }
    }
}

#[test]
fn signatures_use_up_no_tries_of_what_is_as_long_by_another_key() {
    let key = rsa::RsaPrivateKey::from_pkcs8_pem(include_str!("../../tests/vectors/rsa-2048.pem")).unwrap();
    let public =
        PublicKey::from_rsa(&key.n().to_be_bytes_trimmed_vartime(), &key.e().to_be_bytes_trimmed_vartime());
    let small: Value = serde_json::from_str(public.unwrap().to_key().json()).unwrap();
    // The primes of this one would be as long as those signatures.
    let (p, q) = kindred_key();
    let product = p.concatenating_mul(&q);
    let square = product.concatenating_mul(&product);
    let large = PublicKey::from_rsa(&square.to_be_bytes_trimmed_vartime(), &[1, 0, 1]).unwrap();
    let large: Value = serde_json::from_str(large.to_key().json()).unwrap();
    let framed = rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new(key.clone());
    let signed = (0..140_u8).map(|number| {
        let sig = Box::<[u8]>::from(framed.sign(&[number]));
        json!({"keyid": "", "sig": hex::encode(sig)})
    });
    let signed: Vec<Value> = signed.collect();
    let dp = hex::encode(key.dp().unwrap().to_be_bytes_trimmed_vartime());
    let whole = |list: &str| json!({list: signed, "signed": {"k": [small, large], "x": dp}});
    assert_eq!(found(&whole("signatures")).as_deref(), Some("/signed/x"));
    assert_eq!(found(&whole("others")), None, "64 powers, and no more");
    // One that is no signature is tried there, too.
    let secret = json!({"signatures": [{"keyid": "", "sig": dp}], "k": small});
    assert_eq!(found(&secret).as_deref(), Some("/signatures/0/sig"));
    // PSS leaves nothing as it stands but the last byte.
    let mut publics = Publics::default();
    publics.add_objects(document(&small).root());
    let n = BoxedUint::from_be_slice_vartime(&key.n().to_be_bytes_trimmed_vartime());
    let d = BoxedUint::from_be_slice_vartime(&key.d().to_be_bytes_trimmed_vartime());
    for last in [0xbc, 0xbb] {
        let message = [&[7; 255][..], &[last]].concat();
        let sig = BoxedUint::from_be_slice_vartime(&message).pow_mod(&d, n.as_odd_vartime().unwrap());
        assert_eq!(publics.have_signed(&sig.to_be_bytes()), last == 0xbc);
    }
}

/// As `%x` writes a number.
fn number(bytes: &[u8]) -> String {
    hex::encode(bytes).trim_start_matches('0').to_owned()
}

#[test]
fn numbers_are_found_without_the_zeros_before_them() {
    // A half byte is missing, a whole one, one and a half, two, three.
    for zeros in [&[0x07][..], &[0], &[0, 7], &[0, 0], &[0, 0, 0]] {
        let of = |length: usize| [zeros, &vec![7; length - zeros.len()]].concat();
        let seed = of(32);
        let ed25519 =
            ed25519_dalek::SigningKey::from_bytes(&seed.clone().try_into().unwrap()).verifying_key();
        let both = [&seed[..], ed25519.as_bytes()].concat();
        let ed25519 = PublicKey::from_ed25519(ed25519.to_bytes()).unwrap();
        let p256 = p256::ecdsa::SigningKey::from_slice(&of(32)).unwrap();
        let p256 = p256.verifying_key().to_sec1_point(false);
        let p384 = p384::ecdsa::SigningKey::from_slice(&of(48)).unwrap();
        let p384 = p384.verifying_key().to_sec1_point(false);
        let p521_scalar = [&[0][..], &of(65)].concat();
        let p521 = p521::ecdsa::SigningKey::from_slice(&p521_scalar).unwrap();
        let p521 = p521.verifying_key().to_sec1_point(false);
        for (public, secret) in [
            (ed25519.clone(), seed.clone()),
            (ed25519, both),
            (PublicKey::of_ml_dsa_seed(KeyType::MlDsa65, seed.clone().try_into().unwrap()).unwrap(), seed),
            (PublicKey::from_p256_sec1(p256.as_bytes()).unwrap(), of(32)),
            (PublicKey::from_p384_sec1(p384.as_bytes()).unwrap(), of(48)),
            (PublicKey::from_p521_sec1(p521.as_bytes()).unwrap(), p521_scalar),
        ] {
            let object: Value = serde_json::from_str(public.to_key().json()).unwrap();
            for text in [number(&secret), format!("0x{}", number(&secret)), hex::encode(&secret)] {
                let value = json!({"k": object, "custom": {"x": text}});
                // Of P-521 the number has a byte less, and may lack three.
                if text.len() + 6 < 2 * secret.len() {
                    continue;
                }
                assert_eq!(found(&value).as_deref(), Some("/custom/x"), "{value}");
            }
            let other = json!({"k": object, "custom": {"x": number(&secret[..secret.len() - 1])}});
            assert_eq!(found(&other), None, "{other}");
        }
    }
}

#[test]
fn digests_of_listed_files_are_not_taken_for_seeds_and_others_are_tried_up_to_a_number() {
    let seed = hex::encode([7; 32]);
    let entry = json!({"hashes": {"sha256": seed}, "length": 1});
    let whole = |entry: &Value| json!({"signed": {"targets": {"a": entry}, "k": key(7)}});
    assert_eq!(found(&whole(&entry)), None);
    let elsewhere = json!({"custom": {"hashes": {"sha256": seed}}});
    assert!(found(&whole(&elsewhere)).is_some());
    let digests: Vec<String> =
        (2000..7000_u16).map(|number| hex::encode([number.to_be_bytes(); 16].concat())).collect();
    assert_eq!(found(&json!({"many": digests, "then": seed, "k": key(7)})), None);
    let object = {
        let mut object = key(7);
        object["x"] = json!(seed);
        object
    };
    assert!(found(&json!({"many": digests, "then": object})).is_some(), "inside a key object all are tried");
}
