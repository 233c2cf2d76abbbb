//! Texts that are private keys, by their form alone.

/// Whether the text holds a private key in some tool's armour, whole or its first line: PEM of every kind (PKCS #8, encrypted
/// or not, SEC 1, PKCS #1, OpenSSH, OpenPGP, cosign), SSH2, PuTTY, age, and the old encrypted form of securesystemslib.
pub(super) fn is_armoured(text: &str) -> bool {
    let pem = |(at, _): (usize, &str)| {
        let (before, after) = text.split_at(at);
        let label =
            after.split_once("--").filter(|(label, _)| label.len() < MOST_LABEL && label.contains(PEM_LABEL));
        before.trim_end().ends_with("--") && label.is_some()
    };
    text.match_indices("BEGIN ").any(pem)
        || text.contains(AGE)
        || text.contains(PUTTY)
        || text.matches(OLD_ENCRYPTED).count() == 4
}

/// Whether [`is_armoured`] can be true of any part of the text: looked at first, as most documents say no.
pub(super) fn may_be_armoured(text: &str) -> bool {
    [PEM_LABEL, AGE, PUTTY, OLD_ENCRYPTED].iter().any(|word| text.contains(word))
}

/// Whether the text is the base64 or hexadecimal of a private key in DER or in an armour.
pub(super) fn is_encoded_private_key(text: &str) -> bool {
    encodings(text)
        .iter()
        .any(|bytes| is_private_der(bytes) || std::str::from_utf8(bytes).is_ok_and(is_armoured))
}

/// Whether the raw text of a JSON string, quotes included, can be hexadecimal or base64 at all: looked at first.
pub(super) fn may_be_encoded(raw: &[u8]) -> bool {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=: \n\r\t".contains(byte);
    inner.len() >= 43 && inner.iter().all(letter)
}

/// Whether a member of a key object by this name holds something private.
pub(super) fn says_private(name: &str) -> bool {
    let name: String = name.to_ascii_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    // `d` as in JWK.
    ["private", "secret", "mnemonic", "passphrase", "privkey", "signingkey"]
        .iter()
        .any(|word| name.contains(word))
        || matches!(name.as_str(), "seed" | "priv" | "prv" | "sk" | "d" | "scalar")
}

/// The bytes that a text may stand for, in hexadecimal or base64.
pub(super) fn encodings(text: &str) -> Vec<Vec<u8>> {
    let text = text.trim();
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut digits: String = hex.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    // A number that was written without the zero before it.
    if digits.len() % 2 == 1 {
        digits.insert(0, '0');
    }
    [hex::decode(digits).ok(), base64(text)].into_iter().flatten().collect()
}

/// Base64 of either alphabet, with or without padding; white space is skipped, as in a PEM without its lines.
fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut held) = (0_u32, 0_u8);
    let mut out = Vec::with_capacity(text.len());
    let padded = text.trim_end_matches('=');
    if text.len() - padded.len() > 2 {
        return None;
    }
    for letter in padded.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

/// Whether the bytes are a SEQUENCE of just this length that begins as PKCS #8, SEC 1 or PKCS #1 private keys do: a small
/// version, then an algorithm, a scalar or a large number. No public key, signature or certificate begins so.
fn is_private_der(bytes: &[u8]) -> bool {
    let Some((content, [])) = sequence(bytes) else { return false };
    // No number of one digit follows the version of an RSA key.
    let plain = match content {
        [2, 1, 0 | 1, 0x30 | 4, ..] => true,
        [2, 1, 0, 2, length, ..] => *length > 0x80,
        _ => false,
    };
    // EncryptedPrivateKeyInfo: an algorithm of PKCS #5 or #12, then the bytes.
    let encrypted = sequence(content).is_some_and(|(algorithm, rest)| {
        rest.first() == Some(&4)
            && [&PKCS_5[..], &PKCS_12[..]]
                .iter()
                .any(|oid| algorithm.get(2..).is_some_and(|it| it.starts_with(oid)))
    });
    plain || encrypted
}

/// Content of the SEQUENCE that the bytes begin with, and what follows it.
fn sequence(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [0x30, length, rest @ ..] if *length < 0x80 => (usize::from(*length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

const PEM_LABEL: &str = "PRIVATE KEY";
const MOST_LABEL: usize = 80;
const AGE: &str = "AGE-SECRET-KEY-";
const PUTTY: &str = "PuTTY-User-Key-File-";
/// Between the five parts of a key that securesystemslib has encrypted.
const OLD_ENCRYPTED: &str = "@@@@";
/// 1.2.840.113549.1.5 and 1.2.840.113549.1.12, as OBJECT IDENTIFIERs begin with them.
const PKCS_5: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05];
const PKCS_12: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c];
