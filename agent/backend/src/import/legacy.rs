//! OpenSSL's old encryption of PEM files: `Proc-Type: 4,ENCRYPTED`.
//!
//! Weak (one round of MD5 makes the key), and still what old tools wrote; read here, never written.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use md5::{Digest as _, Md5};
use secmem::SecretBytes;
use zeroize::Zeroizing;

use super::ImportError;

/// What the headers of a block say about its encryption.
pub(super) struct Encryption {
    /// Bytes of the AES key: 16, 24 or 32.
    key_len: usize,
    iv: [u8; 16],
}

impl Encryption {
    /// `None` when the block is not encrypted.
    pub(super) fn from_headers(headers: &[(&str, &str)]) -> Result<Option<Self>, ImportError> {
        let value = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        match value("Proc-Type").map(|v| v.replace(' ', "")) {
            None => return Ok(None),
            Some(kind) if kind == "4,ENCRYPTED" => {}
            Some(_) => return Err(ImportError::Damaged),
        }
        let (cipher, iv) = value("DEK-Info").and_then(|v| v.split_once(',')).ok_or(ImportError::Damaged)?;
        let key_len = match cipher.trim() {
            "AES-128-CBC" => 16,
            "AES-192-CBC" => 24,
            "AES-256-CBC" => 32,
            other => return Err(ImportError::UnsupportedEncryption { what: format!("it uses {other:?}") }),
        };
        let mut bytes = [0; 16];
        hex::decode_to_slice(iv.trim(), &mut bytes).map_err(|_| ImportError::Damaged)?;
        Ok(Some(Self { key_len, iv: bytes }))
    }

    pub(super) fn decrypt(
        &self,
        cipher_text: &[u8],
        passphrase: &SecretBytes,
    ) -> Result<Zeroizing<Vec<u8>>, ImportError> {
        let key = self.key(passphrase);
        let mut buffer = Zeroizing::new(cipher_text.to_vec());
        let plain = match self.key_len {
            16 => cbc::Decryptor::<aes::Aes128>::new_from_slices(&key, &self.iv)
                .ok()
                .and_then(|c| c.decrypt_padded::<Pkcs7>(&mut buffer).ok()),
            24 => cbc::Decryptor::<aes::Aes192>::new_from_slices(&key, &self.iv)
                .ok()
                .and_then(|c| c.decrypt_padded::<Pkcs7>(&mut buffer).ok()),
            _ => cbc::Decryptor::<aes::Aes256>::new_from_slices(&key, &self.iv)
                .ok()
                .and_then(|c| c.decrypt_padded::<Pkcs7>(&mut buffer).ok()),
        };
        let len = plain.ok_or(ImportError::PassphraseWrong)?.len();
        buffer.truncate(len);
        Ok(buffer)
    }

    /// `EVP_BytesToKey` with MD5, one round; the salt is the first half of the IV.
    fn key(&self, passphrase: &SecretBytes) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(Vec::with_capacity(self.key_len + 16));
        while key.len() < self.key_len {
            let mut hash = Md5::new();
            hash.update(key.get(key.len().saturating_sub(16)..).unwrap_or_default());
            hash.update(passphrase.reveal_secret_bytes());
            hash.update(self.iv.first_chunk::<8>().unwrap_or(&[0; 8]));
            key.extend_from_slice(&hash.finalize());
        }
        key.truncate(self.key_len);
        key
    }
}
