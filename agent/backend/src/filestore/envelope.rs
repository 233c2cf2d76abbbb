//! The shape of every file of the store: a clear header, sealed bytes, a checksum.
//!
//! Three lines of text, each ended by LF:
//! 1. the header, one JSON object, which begins with `format` and `version`;
//! 2. lowercase hex of the 24-byte nonce and the XChaCha20-Poly1305 ciphertext with its tag, whose
//!    associated data is line 1 exactly as it stands in the file;
//! 3. lowercase hex of the SHA-256 of lines 1 and 2, by which damage shows without the passphrase.

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use secmem::SecretBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// A file of the store, read or to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    header: String,
    nonce: [u8; NONCE],
    /// Ciphertext and tag.
    sealed: Vec<u8>,
}

/// Why bytes are not such a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("it is empty")]
    Empty,
    #[error("it is not a file of the kind {0:?}")]
    Format(&'static str),
    #[error("it is written in the newer format {0}")]
    Newer(u64),
    #[error("it is truncated or damaged: {0}")]
    Damaged(&'static str),
    #[error("its header cannot be read: {0}")]
    Header(String),
    #[error("what is sealed in it does not fit the key or the header: one of them was exchanged or changed")]
    Seal,
    #[error("the system's random generator failed")]
    Random,
}

#[derive(serde::Deserialize)]
struct Beginning {
    format: String,
    version: u64,
}

impl Envelope {
    /// Seals `plain` under the 32-byte `key`, bound to `header`.
    pub(super) fn seal(
        header: &impl Serialize,
        key: &SecretBytes,
        plain: &SecretBytes,
    ) -> Result<Self, EnvelopeError> {
        let header = serde_json::to_string(header).map_err(|e| EnvelopeError::Header(e.to_string()))?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| EnvelopeError::Random)?;
        let cipher = cipher(key)?;
        // Encrypted where the plain text rests, and only then copied out.
        let mut tag = Tag::default();
        let cipher_text = SecretBytes::try_with_len(plain.len(), |buffer| {
            buffer.copy_from_slice(plain.reveal_secret_bytes());
            tag = cipher
                .encrypt_inout_detached(&XNonce::from(nonce), header.as_bytes(), buffer.into())
                .map_err(|_| EnvelopeError::Seal)?;
            Ok(())
        })?;
        let sealed = [cipher_text.reveal_secret_bytes(), tag.as_slice()].concat();
        Ok(Self { header, nonce, sealed })
    }

    /// What is sealed inside.
    pub(super) fn open(&self, key: &SecretBytes) -> Result<SecretBytes, EnvelopeError> {
        let length = self.sealed.len().checked_sub(TAG).ok_or(EnvelopeError::Seal)?;
        let (text, tag) = self.sealed.split_at_checked(length).ok_or(EnvelopeError::Seal)?;
        let tag = Tag::try_from(tag).map_err(|_| EnvelopeError::Seal)?;
        let cipher = cipher(key)?;
        SecretBytes::try_with_len(length, |buffer| {
            buffer.copy_from_slice(text);
            let aad = self.header.as_bytes();
            cipher
                .decrypt_inout_detached(&XNonce::from(self.nonce), aad, buffer.into(), &tag)
                .map_err(|_| EnvelopeError::Seal)
        })
    }

    /// Reads a file of the kind `format`, up to version `supported`.
    pub(super) fn parse(bytes: &[u8], format: &'static str, supported: u64) -> Result<Self, EnvelopeError> {
        if bytes.is_empty() {
            return Err(EnvelopeError::Empty);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| EnvelopeError::Damaged("it is not text"))?;
        let (header, rest) = text.split_once('\n').ok_or(EnvelopeError::Damaged("it has one line"))?;
        // The version is looked at first: a newer one may have another shape from here on.
        let beginning: Beginning =
            serde_json::from_str(header).map_err(|e| EnvelopeError::Header(e.to_string()))?;
        if beginning.format != format {
            return Err(EnvelopeError::Format(format));
        }
        if beginning.version > supported {
            return Err(EnvelopeError::Newer(beginning.version));
        }
        let (sealed, rest) = rest.split_once('\n').ok_or(EnvelopeError::Damaged("it has two lines"))?;
        let checksum = rest.strip_suffix('\n').ok_or(EnvelopeError::Damaged("it does not end in a line"))?;
        if checksum != checksum_of(header, sealed) {
            return Err(EnvelopeError::Damaged("its checksum differs"));
        }
        let sealed = hex::decode(sealed).map_err(|_| EnvelopeError::Damaged("it is not hex"))?;
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(EnvelopeError::Damaged("it has no nonce"))?;
        Ok(Self { header: header.to_owned(), nonce: *nonce, sealed: sealed.to_vec() })
    }

    /// The header as a type; it is believed only after [`Envelope::open`].
    pub(super) fn header<H: DeserializeOwned>(&self) -> Result<H, EnvelopeError> {
        serde_json::from_str(&self.header).map_err(|e| EnvelopeError::Header(e.to_string()))
    }

    /// The file's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let sealed = format!("{}{}", hex::encode(self.nonce), hex::encode(&self.sealed));
        let checksum = checksum_of(&self.header, &sealed);
        format!("{}\n{sealed}\n{checksum}\n", self.header).into_bytes()
    }
}

fn cipher(key: &SecretBytes) -> Result<XChaCha20Poly1305, EnvelopeError> {
    XChaCha20Poly1305::new_from_slice(key.reveal_secret_bytes()).map_err(|_| EnvelopeError::Seal)
}

fn checksum_of(header: &str, sealed: &str) -> String {
    let mut hash = Sha256::new();
    for part in [header, "\n", sealed, "\n"] {
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

const NONCE: usize = 24;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, serde::Deserialize)]
    struct Header {
        format: String,
        version: u64,
        note: String,
    }

    fn sealed() -> (SecretBytes, Envelope) {
        let key = SecretBytes::random(32).unwrap();
        let header = Header { format: "test".into(), version: 1, note: "a".into() };
        let envelope = Envelope::seal(&header, &key, &SecretBytes::copy_from(b"plain")).unwrap();
        (key, envelope)
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_alone() {
        let (key, envelope) = sealed();
        let read = Envelope::parse(&envelope.to_bytes(), "test", 1).unwrap();
        assert_eq!(read, envelope);
        assert_eq!(read.open(&key).unwrap().reveal_secret_bytes(), b"plain");
        assert_eq!(read.header::<Header>().unwrap().note, "a");
        assert!(matches!(read.open(&SecretBytes::random(32).unwrap()), Err(EnvelopeError::Seal)));
    }

    #[test]
    fn a_changed_header_does_not_open_even_with_a_right_checksum() {
        let (key, mut envelope) = sealed();
        envelope.header = envelope.header.replace("\"a\"", "\"b\"");
        let read = Envelope::parse(&envelope.to_bytes(), "test", 1).unwrap();
        assert!(matches!(read.open(&key), Err(EnvelopeError::Seal)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_shows_without_the_key() {
        let bytes = sealed().1.to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Envelope::parse(&changed, "test", 1).is_err(), "byte {at}");
            assert!(Envelope::parse(&bytes[..at], "test", 1).is_err(), "cut at {at}");
        }
        assert!(Envelope::parse(&vec![0; bytes.len()], "test", 1).is_err());
    }

    #[test]
    fn a_newer_version_says_so_whatever_follows() {
        let newer = b"{\"format\":\"test\",\"version\":2}\nanything";
        assert_eq!(Envelope::parse(newer, "test", 1), Err(EnvelopeError::Newer(2)));
    }
}
