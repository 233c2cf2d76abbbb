use super::*;
use rsa::{pkcs1::EncodeRsaPublicKey as _, pkcs8::DecodePublicKey as _};
use serde_json::{Value as Json, json};

fn vectors() -> Vec<Json> {
    serde_json::from_str(include_str!("../../tests/vectors/keys.json")).unwrap()
}

fn key_of(value: &Json) -> Key {
    Key::from_json(value.to_string().as_bytes()).unwrap()
}

#[test]
fn keyids_types_and_signatures_are_those_of_securesystemslib() {
    for vector in vectors() {
        let name = &vector["name"];
        let key = key_of(&vector["key"]);
        assert_eq!(key.computed_keyid().as_str(), vector["keyid"], "{name}");
        assert_eq!(key.public_key().unwrap().key_type().name(), vector["type"], "{name}");
        let message = vector["message"].as_str().unwrap().as_bytes();
        let mut signature = hex::decode(vector["sig"].as_str().unwrap()).unwrap();
        assert_eq!(key.verify(message, &signature), Ok(()), "{name}");
        assert_eq!(key.verify(b"other", &signature), Err(KeyError::Signature), "{name}");
        assert!(key.verify(message, &signature[1..]).is_err() && key.verify(message, &[]).is_err(), "{name}");
        *signature.last_mut().unwrap() ^= 1;
        assert_eq!(key.verify(message, &signature), Err(KeyError::Signature), "{name}");
        signature.push(0);
        assert!(key.verify(message, &signature).is_err(), "{name}");
    }
}

#[test]
fn a_signature_counts_by_the_scheme_that_its_key_object_names_and_by_no_other() {
    for vector in vectors() {
        let key = key_of(&vector["key"]);
        let scheme = key.signing_scheme().unwrap();
        let message = vector["message"].as_str().unwrap().as_bytes();
        let signature = hex::decode(vector["sig"].as_str().unwrap()).unwrap();
        for other in Scheme::ALL {
            let verified = key.public_key().unwrap().verify_by(other, message, &signature);
            assert_eq!(verified.is_ok(), other == scheme, "{} by {other}", vector["name"]);
        }
    }
}

#[test]
fn one_public_key_is_equal_to_itself_however_it_is_written() {
    let by_name = |name: &str| {
        let vector = vectors().into_iter().find(|vector| vector["name"] == name).unwrap();
        key_of(&vector["key"])
    };
    let pem = by_name("ecdsa p256 0");
    for other in ["old keytype, PEM", "old keytype, hexadecimal point", "PEM with CRLF and no end"] {
        let other = by_name(other);
        assert_ne!(pem.computed_keyid(), other.computed_keyid());
        assert_eq!(pem.public_key(), other.public_key());
    }
    let (one, two) = (by_name("ed25519"), by_name("ed25519 with members of its own"));
    assert_ne!(one.computed_keyid(), two.computed_keyid());
    assert_eq!(one.public_key(), two.public_key());
}

#[test]
fn a_public_key_writes_itself_as_others_do_and_reads_itself_back() {
    for vector in vectors() {
        let key = key_of(&vector["key"]);
        let public = key.public_key().unwrap();
        assert_eq!(PublicKey::from_spki_pem(&public.spki_pem()).as_ref(), Ok(public));
        assert_eq!(PublicKey::from_spki_der(public.spki_der()).as_ref(), Ok(public));
        let written = public.to_key();
        assert_eq!(written.public_key(), Ok(public));
        assert_eq!(
            Key::from_json(written.json().as_bytes()).unwrap().computed_keyid(),
            written.computed_keyid()
        );
        if let Some(raw) = public.raw() {
            let again = match public.key_type() {
                KeyType::Ed25519 => PublicKey::from_ed25519(raw.try_into().unwrap()),
                KeyType::EcdsaP256 => PublicKey::from_p256_sec1(&raw),
                KeyType::EcdsaP521 => PublicKey::from_p521_sec1(&raw),
                _ => PublicKey::from_p384_sec1(&raw),
            };
            assert_eq!(again.as_ref(), Ok(public));
        }
        if let Some((n, e)) = public.rsa_parts() {
            assert_eq!(PublicKey::from_rsa(&[&[0], &*n].concat(), &e).as_ref(), Ok(public));
        }
        let plain = matches!(
            vector["name"].as_str().unwrap(),
            "ed25519"
                | "ecdsa p256 0"
                | "ecdsa p384"
                | "ecdsa p521 0"
                | "rsa 2048, salt 32"
                | "ml-dsa-44"
                | "ml-dsa-65"
                | "ml-dsa-87"
        );
        if plain {
            assert_eq!(written.computed_keyid().as_str(), vector["keyid"]);
        }
    }
}

#[test]
fn keys_of_unknown_types_are_kept_and_cannot_verify() {
    for value in [
        json!({"keytype": "mldsa", "scheme": "ml-dsa-65", "keyval": {"public": "x"}}),
        json!({"keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": {"identity": "a", "issuer": "b"}}),
        json!({"keytype": "rsa", "scheme": "pgp+rsa-pkcsv1.5", "keyval": {"public": "x"}}),
        json!({"keytype": "rsa", "scheme": "pgp+rsa-pkcsv1.5", "keyval": {"private": "", "public": {"e": "010001", "n": "da"}}}),
        json!({"keytype": "eddsa", "scheme": "pgp+eddsa-ed25519", "keyval": {"public": {"q": "aa"}}}),
        json!({"keytype": "rsa", "scheme": "x", "keyval": {}}),
        json!({"keytype": "rsa", "scheme": "rsassa-pss-sha1", "keyval": {"public": "x"}}),
        json!({"keytype": "ml-dsa", "scheme": "ml-dsa-65/2", "keyval": {"public": "x"}}),
        json!({"keytype": "ed25519", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": "00"}}),
    ] {
        let key = key_of(&value);
        assert!(matches!(key.public_key(), Err(KeyError::Unsupported { .. })));
        assert!(key.verify(b"", b"").is_err());
    }
}

#[test]
fn weak_short_and_foreign_key_material_cannot_verify() {
    let small_order = "0100000000000000000000000000000000000000000000000000000000000000";
    let not_canonical = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
    for public in [small_order, not_canonical, "00", "zz", ""] {
        let key = key_of(&json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}));
        assert!(matches!(key.public_key(), Err(KeyError::Material { .. })), "{public}");
    }
    assert!(PublicKey::from_rsa(&[0xff; 128], &[1, 0, 1]).is_err(), "1024 bits");
    assert!(PublicKey::from_rsa(&[0xff; 1025], &[1, 0, 1]).is_err(), "8200 bits");
    assert!(PublicKey::from_rsa(&[], &[]).is_err() && PublicKey::from_rsa(&[0xff; 256], &[]).is_err());
    assert!(PublicKey::from_p256_sec1(&[4; 65]).is_err() && PublicKey::from_p256_sec1(&[0]).is_err());
    for pem in ["", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "é"]
    {
        assert!(PublicKey::from_spki_pem(pem).is_err());
    }
    let p384 =
        vectors().into_iter().find(|vector| vector["name"] == "ecdsa p384").unwrap()["key"]["keyval"].clone();
    let swapped = key_of(&json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": p384}));
    assert!(swapped.public_key().is_err(), "the scheme must fit the curve");
}

#[test]
fn rsa_keys_in_the_armour_of_pkcs1_are_the_same_keys() {
    let vector = vectors().into_iter().find(|vector| vector["key"]["keytype"] == "rsa").unwrap();
    let key = key_of(&vector["key"]);
    let public = key.public_key().unwrap();
    let read = rsa::RsaPublicKey::from_public_key_der(public.spki_der()).unwrap();
    let pem = read.to_pkcs1_pem(rsa::pkcs8::LineEnding::CRLF).unwrap();
    let mut object = vector["key"].clone();
    object["keyval"]["public"] = json!(pem);
    assert_eq!(key_of(&object).public_key(), Ok(public));
    object["keyval"]["public"] = json!(pem.replace("END RSA", "END"));
    assert!(matches!(key_of(&object).public_key(), Err(KeyError::Material { .. })));
    // Nothing but RSA has that armour.
    let ed25519 = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": pem}});
    assert!(key_of(&ed25519).public_key().is_err());
}

#[test]
fn a_key_object_without_its_members_is_refused() {
    let (without, object) = (json!({}), json!({"public": {"n": "da"}}));
    let rsa = |keyval| json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": keyval}).to_string();
    for text in ["{}", "[]", "{\"keytype\":1}", &rsa(without), &rsa(object)] {
        assert!(matches!(Key::from_json(text.as_bytes()), Err(KeyError::Member { .. })), "{text}");
    }
}

#[test]
fn keyids_of_other_people_may_be_any_text_of_one_line() {
    assert!(KeyId::parse("not a hash").is_ok());
    for bad in ["", "a\n", &"x".repeat(257)] {
        assert!(KeyId::parse(bad).is_err());
    }
}

#[test]
fn key_types_read_back_their_names() {
    for kind in KeyType::MADE {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert!("rsa".parse::<KeyType>().is_err());
}
