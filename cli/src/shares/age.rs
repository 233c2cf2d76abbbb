//! Opens age files (age-encryption.org/v1) that hold one share: X25519 identities and passphrases, one piece of payload.
//!
//! Written here with the house's own generation of cryptography, so that what is opened lies in locked memory from the
//! first byte on. What age can do beside (SSH keys, plug-ins, files of more than 64 KiB) no share needs.

mod bech32;

use base64ct::{Base64, Base64Unpadded, Encoding};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use custody::{SecretBytes, on_locked_stack};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Why a file was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgeError {
    /// No age file of version 1, or a damaged one.
    Header,
    /// It was made for somebody else, or for another passphrase.
    NoKey,
    /// It is under a passphrase, and nobody gave one.
    NoPassphrase,
    /// It is under a passphrase, and all that were given are other ones.
    WrongPassphrase,
    /// Its passphrase is stretched so long that no honest program asks for it.
    Work,
    /// It was opened, and what is in it was changed or is more than a share.
    Payload,
    /// There is no memory to open it in.
    Memory,
}

impl AgeError {
    /// For people; the file's name stands before it.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Header => "is no age file, or a damaged one",
            Self::NoPassphrase => "is under a passphrase, and none was given",
            Self::WrongPassphrase => "is not opened by any passphrase that was given: that is a wrong one",
            Self::NoKey => "is not opened by any identity that was given",
            Self::Work => "asks for more work on its passphrase than any honest file does",
            Self::Payload => "was damaged, or holds something else than one share",
            Self::Memory => "cannot be opened now: the system gives no memory for it",
        }
    }
}

/// The secret half of an age X25519 key pair.
pub(crate) struct Identity(SecretBytes);

impl Identity {
    /// All identities of a file as `age-keygen` writes it; `None` when a line is none, or there are none.
    pub(crate) fn all_of(file: &[u8]) -> Option<Vec<Self>> {
        on_locked_stack(|| Self::read_all(file)).ok().flatten()
    }

    fn read_all(file: &[u8]) -> Option<Vec<Self>> {
        let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        let one = |line| Some(Self(SecretBytes::copy_from(&*bech32::decode("age-secret-key-", line)?)));
        let all: Vec<_> = lines.map(one).collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    /// On a stack that is wiped alone.
    fn shared_with(&self, point: [u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let key = Zeroizing::new(<[u8; 32]>::try_from(self.0.reveal_secret_bytes()).ok()?);
        Some(Zeroizing::new(x25519_dalek::x25519(*key, point)))
    }
}

/// Whether a file begins as age files do.
pub(crate) fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(VERSION) || bytes.starts_with(ARMOR_BEGIN)
}

/// A file whose header was read.
pub(crate) struct AgeFile {
    stanzas: Vec<Stanza>,
    /// Up to and with the three hyphens.
    authenticated: Vec<u8>,
    mac: [u8; 32],
    payload: Vec<u8>,
}

enum Stanza {
    X25519 { ephemeral: [u8; 32], body: [u8; WRAPPED] },
    Scrypt { salt: [u8; 16], log_n: u8, body: [u8; WRAPPED] },
    Other,
}

impl AgeFile {
    /// Reads the header.
    ///
    /// # Errors
    /// [`AgeError::Header`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, AgeError> {
        if bytes.starts_with(ARMOR_BEGIN) {
            return Self::read(&unarmored(bytes).ok_or(AgeError::Header)?).ok_or(AgeError::Header);
        }
        Self::read(bytes).ok_or(AgeError::Header)
    }

    /// Whether it is sealed under a passphrase.
    pub(crate) fn wants_passphrase(&self) -> bool {
        matches!(self.stanzas.as_slice(), [Stanza::Scrypt { .. }])
    }

    /// Opens it with the first identity or passphrase that fits.
    ///
    /// # Errors
    /// [`AgeError`].
    pub(crate) fn open(
        &self,
        identities: &[Identity],
        passphrases: &[&Secret],
    ) -> Result<SecretBytes, AgeError> {
        on_locked_stack(|| self.open_here(identities, passphrases)).map_err(|_| AgeError::Memory)?
    }

    /// On a stack that is wiped: the keys of the file lie there.
    fn open_here(&self, identities: &[Identity], passphrases: &[&Secret]) -> Result<SecretBytes, AgeError> {
        let file_key = match self.stanzas.as_slice() {
            [Stanza::Scrypt { salt, log_n, body }] => by_passphrase((salt, *log_n), body, passphrases)?,
            stanzas => stanzas.iter().find_map(|stanza| by_identity(stanza, identities)),
        };
        let file_key = file_key.ok_or(AgeError::NoKey)?;
        let key = derived(&[], &*file_key, b"header");
        let mut mac = Hmac::<Sha256>::new_from_slice(&*key).map_err(|_| AgeError::Header)?;
        mac.update(&self.authenticated);
        mac.verify_slice(&self.mac).map_err(|_| AgeError::Header)?;
        self.open_payload(&file_key).ok_or(AgeError::Payload)
    }

    fn open_payload(&self, file_key: &[u8; 16]) -> Option<SecretBytes> {
        let (nonce, chunk) = self.payload.split_at_checked(16)?;
        let (sealed, tag) = chunk.split_at_checked(chunk.len().checked_sub(16)?)?;
        if sealed.len() > CHUNK {
            return None;
        }
        let key = derived(nonce, file_key, b"payload");
        let tag = Tag::try_from(tag).ok()?;
        // The first piece is the last: counter 0, flag 1.
        let nonce = Nonce::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        SecretBytes::try_with_len(sealed.len(), |buffer| {
            buffer.copy_from_slice(sealed);
            let cipher = ChaCha20Poly1305::new_from_slice(&*key).map_err(|_| ())?;
            cipher.decrypt_inout_detached(&nonce, b"", buffer.into(), &tag).map_err(|_| ())
        })
        .ok()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(VERSION)?;
        let mut stanzas = Vec::new();
        loop {
            let (line, after) = line(rest)?;
            if let Some(mac) = line.strip_prefix(b"--- ") {
                let end = bytes.len().checked_sub(rest.len())?.checked_add(3)?;
                let (authenticated, mac) = (bytes.get(..end)?.to_vec(), decoded(mac)?);
                return Some(Self { stanzas, authenticated, mac, payload: after.to_vec() });
            }
            let (stanza, after) = stanza(line.strip_prefix(b"-> ")?, after)?;
            stanzas.push(stanza);
            rest = after;
        }
    }
}

/// One stanza, from its arguments on, and what follows it.
fn stanza<'b>(arguments: &[u8], mut rest: &'b [u8]) -> Option<(Stanza, &'b [u8])> {
    let mut body = Vec::new();
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        if line.len() > BODY_LINE {
            return None;
        }
        body.extend_from_slice(line);
        // A line that is not full ends the body.
        if line.len() < BODY_LINE {
            break;
        }
    }
    let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == b' ').collect();
    let stanza = match arguments.as_slice() {
        [b"X25519", ephemeral] => Stanza::X25519 { ephemeral: decoded(ephemeral)?, body: decoded(&body)? },
        [b"scrypt", salt, log_n] => {
            let log_n = std::str::from_utf8(log_n).ok().filter(|text| !text.starts_with(['0', '+']))?;
            Stanza::Scrypt { salt: decoded(salt)?, log_n: log_n.parse().ok()?, body: decoded(&body)? }
        }
        _ => Stanza::Other,
    };
    Some((stanza, rest))
}

fn by_identity(stanza: &Stanza, identities: &[Identity]) -> Option<Zeroizing<[u8; 16]>> {
    let Stanza::X25519 { ephemeral, body } = stanza else { return None };
    identities.iter().find_map(|identity| {
        let shared = identity.shared_with(*ephemeral)?;
        // A point of low order: whoever sent it knows the secret without knowing any key.
        if shared.iter().all(|byte| *byte == 0) {
            return None;
        }
        let mut salt = ephemeral.to_vec();
        salt.extend_from_slice(&*identity.shared_with(x25519_dalek::X25519_BASEPOINT_BYTES)?);
        unwrapped(&derived(&salt, &*shared, b"age-encryption.org/v1/X25519"), body)
    })
}

fn by_passphrase(
    (salt, log_n): (&[u8; 16], u8),
    body: &[u8; WRAPPED],
    passphrases: &[&Secret],
) -> Result<Option<Zeroizing<[u8; 16]>>, AgeError> {
    if log_n > MOST_WORK {
        return Err(AgeError::Work);
    }
    let parameters = scrypt::Params::new(log_n, 8, 1).map_err(|_| AgeError::Header)?;
    let mut all = b"age-encryption.org/v1/scrypt".to_vec();
    all.extend_from_slice(salt);
    for passphrase in passphrases {
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(passphrase.reveal_secret_bytes(), &all, &parameters, &mut *key)
            .map_err(|_| AgeError::Header)?;
        if let Some(file_key) = unwrapped(&key, body) {
            return Ok(Some(file_key));
        }
    }
    Ok(None)
}

/// The file's key, when `key` is the one that it was wrapped with.
fn unwrapped(key: &[u8; 32], body: &[u8; WRAPPED]) -> Option<Zeroizing<[u8; 16]>> {
    let (sealed, tag) = body.split_first_chunk::<16>()?;
    let mut file_key = Zeroizing::new(*sealed);
    let cipher = ChaCha20Poly1305::new_from_slice(key).ok()?;
    let tag = Tag::try_from(tag).ok()?;
    let opened = cipher.decrypt_inout_detached(&Nonce::default(), b"", file_key.as_mut_slice().into(), &tag);
    opened.is_ok().then_some(file_key)
}

fn derived(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    // 32 bytes are never too many.
    let _ = Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut *key);
    key
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..at)?, bytes.get(at.checked_add(1)?..)?))
}

/// Base64 without padding, of exactly this length.
fn decoded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let decoded = Base64Unpadded::decode(text, &mut bytes).ok()?;
    (decoded.len() == N).then_some(bytes)
}

/// The bytes of a file that was made fit for mail.
fn unarmored(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.trim().lines().map(str::trim_end);
    lines.next().filter(|line| line.as_bytes() == ARMOR_BEGIN)?;
    let body: Vec<_> = lines.collect();
    let (last, body) = body.split_last()?;
    if *last != ARMOR_END {
        return None;
    }
    Base64::decode_vec(&body.concat()).ok()
}

const VERSION: &[u8] = b"age-encryption.org/v1\n";
const ARMOR_BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";
/// A wrapped file key: 16 bytes and their tag.
const WRAPPED: usize = 32;
const BODY_LINE: usize = 64;
/// The first piece of a payload holds at most so many bytes.
const CHUNK: usize = 64 * 1024;
/// 4 GiB of memory: as far as age itself goes.
const MOST_WORK: u8 = 22;

#[cfg(test)]
mod tests;
