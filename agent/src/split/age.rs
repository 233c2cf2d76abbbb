//! The side of age that encrypts (age-encryption.org/v1): one recipient, a text shorter than one chunk.
//!
//! Written here because the plain text must lie in locked memory alone: it is encrypted in place there, and what leaves
//! that memory is the ciphertext. Custodians open the file with any age.

use base64ct::{Base64Unpadded, Encoding as _};
use bech32::primitives::decode::CheckedHrpstring;
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use secmem::{SecretBytes, fill_random, on_locked_stack};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::refusals;
use crate::refusal::Refusal;

/// Who can open the file.
pub(super) enum Recipient {
    /// Whoever has the identity to this key; with its text.
    X25519([u8; 32], String),
    /// Whoever knows the passphrase.
    Passphrase(SecretBytes),
}

impl Recipient {
    /// Whether what opens the one opens the other.
    pub(super) fn is_opened_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::X25519(one, _), Self::X25519(other, _)) => one == other,
            (Self::Passphrase(one), Self::Passphrase(other)) => {
                one.reveal_secret_bytes() == other.reveal_secret_bytes()
            }
            _ => false,
        }
    }

    /// Whether whoever has the file may find what opens it by trying.
    pub(super) fn is_short(&self) -> bool {
        matches!(self, Self::Passphrase(passphrase) if passphrase.len() < SHORTEST_PASSPHRASE)
    }

    /// `age1…`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "it is no age recipient: that begins with age1 and has 62 characters, as age-keygen prints it"
                .to_owned()
        };
        // An identity is a secret: neither taken nor repeated.
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err("it is an identity, which is secret: give the recipient, which age-keygen -y prints"
                .to_owned());
        }
        let decoded = CheckedHrpstring::new::<bech32::Bech32>(text).map_err(|_| wrong())?;
        if !decoded.hrp().as_str().eq_ignore_ascii_case("age") || text.chars().any(|c| c.is_ascii_uppercase())
        {
            return Err(wrong());
        }
        let bytes: Vec<u8> = decoded.byte_iter().collect();
        let key: [u8; 32] = bytes.try_into().map_err(|_| wrong())?;
        // A point of small order gives everybody the same secret.
        let probe = StaticSecret::from(*random::<32>().map_err(|refusal| refusal.message)?);
        if !probe.diffie_hellman(&PublicKey::from(key)).was_contributory() {
            return Err(wrong());
        }
        Ok(Self::X25519(key, text.to_owned()))
    }

    /// Who it is, for people: `age1…`; none of a passphrase.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::X25519(_, text) => Some(text),
            Self::Passphrase(_) => None,
        }
    }
}

/// Encrypts; blocks, for a second with a passphrase. The keys of the file lie on a stack that is wiped.
pub(super) fn seal(plain: &SecretBytes, to: &Recipient) -> Result<Vec<u8>, Refusal> {
    on_locked_stack(|| seal_with(plain, to, WORK)).map_err(|error| refusals::memory(&error))?
}

fn seal_with(plain: &SecretBytes, to: &Recipient, work: u8) -> Result<Vec<u8>, Refusal> {
    let file_key = random::<16>()?;
    let mut file = String::from("age-encryption.org/v1\n");
    file.push_str(&stanza(&file_key, to, work)?);
    file.push_str("---");
    let mac_key = derive(&*file_key, b"", b"header")?;
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*mac_key).map_err(Refusal::internal)?;
    mac.update(file.as_bytes());
    file.push_str(&format!(" {}\n", Base64Unpadded::encode_string(&mac.finalize().into_bytes())));
    let mut file = file.into_bytes();
    let salt = random::<16>()?;
    file.extend_from_slice(&*salt);
    file.extend(payload(plain, &*derive(&*file_key, &*salt, b"payload")?)?);
    Ok(file)
}

/// The file key, for the recipient alone.
fn stanza(file_key: &[u8; 16], to: &Recipient, work: u8) -> Result<String, Refusal> {
    let encode = Base64Unpadded::encode_string;
    let (arguments, wrapping) = match to {
        Recipient::X25519(key, _) => {
            let ephemeral = StaticSecret::from(*random::<32>()?);
            let (share, theirs) = (PublicKey::from(&ephemeral), PublicKey::from(*key));
            let shared = ephemeral.diffie_hellman(&theirs);
            let salt = [share.as_bytes().as_slice(), key].concat();
            let wrapping = derive(shared.as_bytes(), &salt, b"age-encryption.org/v1/X25519")?;
            (format!("X25519 {}", encode(share.as_bytes())), wrapping)
        }
        Recipient::Passphrase(passphrase) => {
            let salt = random::<16>()?;
            let labelled = [b"age-encryption.org/v1/scrypt".as_slice(), &*salt].concat();
            let params = scrypt::Params::new(work, 8, 1).map_err(Refusal::internal)?;
            let mut wrapping = Zeroizing::new([0; 32]);
            scrypt::scrypt(passphrase.reveal_secret_bytes(), &labelled, &params, &mut *wrapping)
                .map_err(Refusal::internal)?;
            (format!("scrypt {} {work}", encode(&*salt)), wrapping)
        }
    };
    let mut body = Zeroizing::new(*file_key);
    let tag = cipher(&wrapping)
        .encrypt_inout_detached(&Nonce::default(), b"", body.as_mut_slice().into())
        .map_err(|_| Refusal::internal("a file key could not be wrapped"))?;
    Ok(format!("-> {arguments}\n{}\n", encode(&[body.as_slice(), &tag].concat())))
}

/// The one chunk, which is the last; encrypted where it lies.
fn payload(plain: &SecretBytes, key: &[u8; 32]) -> Result<Vec<u8>, Refusal> {
    if plain.is_empty() || plain.len() > CHUNK {
        return Err(Refusal::internal("a share has an impossible length"));
    }
    let mut nonce = [0; 12];
    if let Some(last) = nonce.last_mut() {
        *last = 1;
    }
    let mut sealed = Vec::new();
    let _ = SecretBytes::try_with_len(plain.len(), |buffer| {
        buffer.copy_from_slice(plain.reveal_secret_bytes());
        let tag = cipher(key)
            .encrypt_inout_detached(&Nonce::from(nonce), b"", (&mut *buffer).into())
            .map_err(|_| Refusal::internal("a share could not be encrypted"))?;
        sealed.extend_from_slice(buffer);
        sealed.extend_from_slice(&tag);
        Ok::<(), Refusal>(())
    })?;
    Ok(sealed)
}

fn cipher(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}

fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, Refusal> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut *key).map_err(Refusal::internal)?;
    Ok(key)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Refusal> {
    let mut bytes = Zeroizing::new([0; N]);
    fill_random(&mut *bytes).map_err(Refusal::internal)?;
    Ok(bytes)
}

/// What age itself takes: 2^18, about a second and 256 MiB.
const WORK: u8 = 18;
/// Bytes of a passphrase that is not warned of.
const SHORTEST_PASSPHRASE: usize = 12;
/// The length of a chunk of the payload.
const CHUNK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// What anybody does who opens such a file, step by step (age-encryption.org/v1).
    fn open(file: &[u8], unwrap: impl Fn(&[&str]) -> Zeroizing<[u8; 32]>) -> Vec<u8> {
        let end = file.windows(5).position(|five| five == b"\n--- ").unwrap();
        let header = std::str::from_utf8(&file[..end]).unwrap();
        let lines: Vec<_> = header.lines().collect();
        let [first, stanza, body] = lines[..] else { panic!("{header}") };
        assert_eq!(first, "age-encryption.org/v1");
        let arguments: Vec<_> = stanza.strip_prefix("-> ").unwrap().split(' ').collect();
        let mut body = Base64Unpadded::decode_vec(body).unwrap();
        let tag = chacha20poly1305::Tag::try_from(&body.split_off(16)[..]).unwrap();
        let cipher_of_body = cipher(&unwrap(&arguments));
        cipher_of_body
            .decrypt_inout_detached(&Nonce::default(), b"", body.as_mut_slice().into(), &tag)
            .unwrap();
        let mac_key = derive(&body, b"", b"header").unwrap();
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*mac_key).unwrap();
        mac.update(&file[..end + 4]);
        let rest = &file[end + 5..];
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let given = Base64Unpadded::decode_vec(std::str::from_utf8(&rest[..line]).unwrap()).unwrap();
        mac.verify_slice(&given).unwrap();
        let (salt, sealed) = rest[line + 1..].split_at(16);
        let (text, tag) = sealed.split_at(sealed.len() - 16);
        let mut text = text.to_vec();
        let nonce = Nonce::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let tag = chacha20poly1305::Tag::try_from(tag).unwrap();
        cipher(&derive(&body, salt, b"payload").unwrap())
            .decrypt_inout_detached(&nonce, b"", text.as_mut_slice().into(), &tag)
            .unwrap();
        text
    }

    #[test]
    fn the_one_who_is_meant_opens_it_and_reads_the_text_and_nothing_else() {
        let identity = StaticSecret::from([7; 32]);
        let theirs = PublicKey::from(&identity);
        let hrp = bech32::Hrp::parse("age").unwrap();
        let recipient = bech32::encode::<bech32::Bech32>(hrp, theirs.as_bytes()).unwrap();
        let text = SecretBytes::copy_from(b"academic acid acrobat");
        let file = seal(&text, &Recipient::parse(&recipient).unwrap()).unwrap();
        let opened = open(&file, |arguments| {
            let ["X25519", share] = arguments else { panic!("{arguments:?}") };
            let share: [u8; 32] = Base64Unpadded::decode_vec(share).unwrap().try_into().unwrap();
            let shared = identity.diffie_hellman(&PublicKey::from(share));
            let salt = [share.as_slice(), theirs.as_bytes()].concat();
            derive(shared.as_bytes(), &salt, b"age-encryption.org/v1/X25519").unwrap()
        });
        assert_eq!(opened, b"academic acid acrobat");
    }

    #[test]
    fn a_passphrase_opens_it_as_well() {
        let passphrase = Recipient::Passphrase(SecretBytes::copy_from(b"a b"));
        let file = seal_with(&SecretBytes::copy_from(b"x"), &passphrase, 4).unwrap();
        let opened = open(&file, |arguments| {
            let ["scrypt", salt, "4"] = arguments else { panic!("{arguments:?}") };
            let salt = [b"age-encryption.org/v1/scrypt".to_vec(), Base64Unpadded::decode_vec(salt).unwrap()];
            let params = scrypt::Params::new(4, 8, 1).unwrap();
            let mut key = Zeroizing::new([0; 32]);
            scrypt::scrypt(b"a b", &salt.concat(), &params, &mut *key).unwrap();
            key
        });
        assert_eq!(opened, b"x");
    }

    #[test]
    fn what_is_no_recipient_is_refused_and_an_identity_is_not_repeated() {
        let good = "age1w56rtxng32mmzc4rljcrw69q9kkaygytayzg905p8q3sl6xwva3q7c6epw";
        assert!(Recipient::parse(good).is_ok());
        let identity = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQSEGRQLL";
        let said = Recipient::parse(identity).err().unwrap();
        assert!(said.contains("secret") && !said.contains("QQQQ"), "{said}");
        let zero = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("age").unwrap(), &[0; 32]).unwrap();
        let other = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("bge").unwrap(), &[9; 32]).unwrap();
        let short = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("age").unwrap(), &[9; 31]).unwrap();
        let changed = good.replace("w56", "w57");
        let wrong = ["", "age1", "ssh-ed25519 AAAA", &zero, &other, &short, &changed, &good.to_uppercase()];
        for text in wrong {
            assert!(Recipient::parse(text).is_err(), "{text}");
        }
    }
}
