//! The key files of securesystemslib: JSON, plain or in its own encryption.
//!
//! The encrypted form is `salt@@@@iterations@@@@hmac@@@@iv@@@@ciphertext`, all but the count in hex:
//! PBKDF2-HMAC-SHA256 makes 32 bytes, which key both AES-256-CTR and the HMAC-SHA256 over the
//! ciphertext (securesystemslib up to 0.31, `keys.py`).

use std::borrow::Cow;

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secmem::SecretBytes;
use serde::Deserialize;
use sha2::Sha256;
use tuf::key::PublicKey;
use zeroize::{Zeroize as _, Zeroizing};

use super::{ImportError, pem};
use crate::software::SoftwareKey;

/// What stands between the parts of the encrypted form.
pub(super) const SEPARATOR: &str = "@@@@";

#[derive(Deserialize)]
struct KeyObject<'a> {
    keytype: &'a str,
    #[serde(borrow)]
    keyval: KeyValue<'a>,
}

#[derive(Deserialize)]
struct KeyValue<'a> {
    #[serde(borrow, default)]
    public: Cow<'a, str>,
    #[serde(borrow, default)]
    private: Cow<'a, str>,
}

/// Reads `{"keytype", "keyval": {"public", "private"}}`.
pub(super) fn parse(text: &str, passphrase: Option<&SecretBytes>) -> Result<SoftwareKey, ImportError> {
    let object: KeyObject<'_> = serde_json::from_str(text).map_err(|e| {
        // Not the error's text: it may quote what it found.
        ImportError::not_a_key(
            &format!("it is JSON, but no key (line {}, column {})", e.line(), e.column()),
            REMEDY,
        )
    })?;
    if object.keyval.private.is_empty() {
        return Err(ImportError::not_a_key(
            "it is the public half of a key",
            "give the file with the private key",
        ));
    }
    let key = private_key(&object, passphrase);
    wipe(object.keyval.private);
    key
}

/// Reads the encrypted form, which holds the JSON of [`parse`].
pub(super) fn parse_encrypted(
    text: &str,
    passphrase: Option<&SecretBytes>,
) -> Result<SoftwareKey, ImportError> {
    let mut parts = text.split(SEPARATOR).map(str::trim);
    let mut next = || parts.next().ok_or(ImportError::Damaged);
    let unhex = |part: &str| hex::decode(part).map_err(|_| ImportError::Damaged);
    let salt = unhex(next()?)?;
    let rounds: u32 = next()?.parse().map_err(|_| ImportError::Damaged)?;
    let (mac, iv, mut buffer) = (unhex(next()?)?, unhex(next()?)?, Zeroizing::new(unhex(next()?)?));
    if parts.next().is_some() {
        return Err(ImportError::Damaged);
    }
    if rounds == 0 || rounds > ROUNDS_MAX {
        let what = format!("it asks for {rounds} rounds of PBKDF2");
        return Err(ImportError::UnsupportedEncryption { what });
    }
    let passphrase = passphrase.ok_or(ImportError::PassphraseNeeded)?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.reveal_secret_bytes(), &salt, rounds, &mut *key);
    let mut check = Hmac::<Sha256>::new_from_slice(&*key).map_err(|_| ImportError::Damaged)?;
    check.update(&buffer);
    check.verify_slice(&mac).map_err(|_| ImportError::PassphraseWrong)?;
    let mut cipher =
        ctr::Ctr128BE::<aes::Aes256>::new_from_slices(&*key, &iv).map_err(|_| ImportError::Damaged)?;
    cipher.apply_keystream(&mut buffer);
    parse(std::str::from_utf8(&buffer).map_err(|_| ImportError::Damaged)?, None)
}

fn private_key(object: &KeyObject<'_>, passphrase: Option<&SecretBytes>) -> Result<SoftwareKey, ImportError> {
    let KeyValue { public, private } = &object.keyval;
    if object.keytype != "ed25519" {
        // RSA and ECDSA keys stand in it as PEM.
        let key = pem::parse(private, passphrase)?;
        let stated = PublicKey::from_spki_pem(public).map_err(|_| ImportError::Damaged)?;
        return if stated == *key.public() { Ok(key) } else { Err(ImportError::Damaged) };
    }
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(private.as_bytes(), &mut *seed).map_err(|_| ImportError::Damaged)?;
    let key = SoftwareKey::from_ed25519_seed(&*seed)?;
    let stated = key.public().raw().map(hex::encode);
    if stated.is_some_and(|hex| hex.eq_ignore_ascii_case(public)) {
        Ok(key)
    } else {
        Err(ImportError::Damaged)
    }
}

/// A text with escapes was copied when it was read.
fn wipe(text: Cow<'_, str>) {
    if let Cow::Owned(mut owned) = text {
        owned.zeroize();
    }
}

const REMEDY: &str = "give a PEM file, or a key file of securesystemslib with \"keytype\" and \"keyval\"";
const ROUNDS_MAX: u32 = 20_000_000;
