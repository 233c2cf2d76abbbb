//! How it names curves, and signs.

use super::{Facts, Finding, Found, push};

pub(super) fn curves(facts: &Facts, found: &mut Found) {
    for (name, curve) in &facts.curves {
        if curve.accepted.is_empty() {
            continue;
        }
        if curve.refused.contains_key("oid") {
            let seen =
                format!("{name}: CKA_EC_PARAMS is taken as {}, not as an OID", curve.accepted.join(", "));
            push(
                found,
                "curve-by-name",
                seen,
                "the standard allows both since version 3.0",
                "makes keys with the name that is taken",
            );
        }
        let odd: Vec<String> = curve
            .returned
            .iter()
            .filter(|(_, returned)| *returned != "oid")
            .map(|(form, returned)| format!("{returned} for {form}"))
            .collect();
        if !odd.is_empty() {
            let seen = format!("{name}: CKA_EC_PARAMS reads as {}", odd.join(", "));
            push(
                found,
                "curve-reads-as",
                seen,
                "the same curve is written in more than one way",
                "reads OID and names, and refuses the rest",
            );
        }
        match curve.point.as_deref() {
            Some("raw") => push(
                found,
                "point-raw",
                format!(
                    "{name}: CKA_EC_POINT is {} bytes, without an OCTET STRING around it",
                    curve.point_len
                ),
                "the standard wants it wrapped",
                "reads both, by length",
            ),
            Some("wrapped") | None => {}
            Some(other) => push(
                found,
                "point-odd",
                format!("{name}: CKA_EC_POINT is {other} ({} bytes)", curve.point_len),
                "the public key cannot be read from it",
                "does not use such keys",
            ),
        }
        if curve.plain_key_type.is_yes() {
            push(
                found,
                "ed25519-as-ec",
                "Ed25519 keys can be made as CKK_EC",
                "other programs may have made keys of that type",
                "makes CKK_EC_EDWARDS keys",
            );
        }
        if name.starts_with("ecdsa") && curve.signs.is_yes() && curve.hash_and_sign.is_no() {
            let seen = format!("{name}: {}", curve.hash_and_sign.why_not());
            push(
                found,
                "digest-only",
                seen,
                "it signs digests and hashes nothing itself",
                "hashes, and has the digest signed",
            );
        }
        if curve.signs_in_der || curve.hash_and_sign_in_der {
            push(
                found,
                "ecdsa-in-der",
                format!("{name}: signatures come in DER"),
                "PKCS#11 says r || s, and other programs expect that",
                "reads them so, now that it was measured",
            );
        }
        if name.starts_with("ecdsa") && curve.hash_and_sign.is_yes() && curve.signs.is_no() {
            let seen = format!("{name}: {}", curve.signs.why_not());
            push(found, "hash-and-sign-only", seen, "it signs no digests", "gives it the whole message");
        }
    }
}

pub(super) fn digests(facts: &Facts, found: &mut Found) {
    let wrong: Vec<String> =
        facts.digest_lengths.iter().flatten().filter(|len| **len != 32).map(u32::to_string).collect();
    if !wrong.is_empty() {
        let seen = format!("under P-256 it signs \"digests\" of {} bytes", wrong.join(", "));
        push(
            found,
            "digest-length-unchecked",
            seen,
            "a caller's mistake becomes a signature of something else",
            "gives digests of the right length alone, and verifies each signature",
        );
    }
}

pub(super) fn eddsa(facts: &Facts, found: &mut Found) {
    if let Finding::No(why) = &facts.eddsa.heeds_parameters {
        push(
            found,
            "eddsa-parameters-ignored",
            why.clone(),
            "who asks for another variant is not told that it was not made",
            "asks for pure Ed25519 alone, which is what TUF means",
        );
    }
    if let Finding::No(why) = &facts.eddsa.multi_part {
        push(
            found,
            "eddsa-one-shot",
            format!("C_SignUpdate: {why}"),
            "a message is signed in one call or not at all",
            "gives each message whole, in one call",
        );
    }
    if let Some(why) = &facts.eddsa.too_long {
        let seen = format!("messages up to {} bytes, then {why}", facts.eddsa.longest.unwrap_or(0));
        push(
            found,
            "eddsa-short-messages",
            seen,
            "large metadata cannot be signed by Ed25519 keys of this token",
            "is told by the token and says so; use P-256 for large roles",
        );
    }
}

pub(super) fn rsa(facts: &Facts, found: &mut Found) {
    let Some(rsa) = &facts.rsa else { return };
    if rsa.pss_whole.is_yes() && facts.lists("CKM_SHA256_RSA_PKCS_PSS") == Some(false) {
        push(
            found,
            "pss-unlisted",
            "CKM_SHA256_RSA_PKCS_PSS signs and is not listed",
            "the list of mechanisms is not whole",
            "tries, whatever is listed",
        );
    }
    if rsa.pss_whole.is_no() && rsa.pss_digest.is_yes() {
        push(
            found,
            "pss-digest-only",
            rsa.pss_whole.why_not(),
            "it signs digests by PSS and hashes nothing itself",
            "hashes, and has the digest signed",
        );
    }
    if rsa.pss_whole.is_no() && rsa.pss_digest.is_no() && rsa.generate.is_yes() {
        push(
            found,
            "no-pss",
            rsa.pss_whole.why_not(),
            "RSA keys of this token sign by PKCS#1 v1.5 alone",
            "refuses roles whose metadata names PSS for such a key",
        );
    }
}
