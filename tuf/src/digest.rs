//! SHA-256 digests as values.

use sha2::{Digest as _, digest::DynDigest};
use std::{fmt, str::FromStr};

/// A SHA-256 digest; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest that something else has computed.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        lower_hex(text).map(Self).ok_or(DigestError { bytes: 32 })
    }
}

/// A digest in the making of one of the algorithms that stock clients know beside SHA-256 and SHA-512: the specification
/// leaves open which (4.4), and python-tuf writes whatever its `hashlib` has. Whoever checks files checks all of them, as
/// python-tuf and tuf-js do.
pub struct OtherHasher(Box<dyn DynDigest>);

impl OtherHasher {
    /// By the name that metadata gives the algorithm; `None` for one that is not known.
    pub fn new(algorithm: &str) -> Option<Self> {
        Some(Self(match algorithm {
            "md5" => Box::new(md5::Md5::default()),
            "sha1" => Box::new(sha1::Sha1::default()),
            "sha224" => Box::new(sha2::Sha224::default()),
            "sha384" => Box::new(sha2::Sha384::default()),
            "sha512-224" | "sha512_224" => Box::new(sha2::Sha512_224::default()),
            "sha512-256" | "sha512_256" => Box::new(sha2::Sha512_256::default()),
            "sha3-224" | "sha3_224" => Box::new(sha3::Sha3_224::default()),
            "sha3-256" | "sha3_256" => Box::new(sha3::Sha3_256::default()),
            "sha3-384" | "sha3_384" => Box::new(sha3::Sha3_384::default()),
            "sha3-512" | "sha3_512" => Box::new(sha3::Sha3_512::default()),
            "blake2b" | "blake2b512" | "blake2b-512" => Box::new(blake2::Blake2b512::default()),
            "blake2b-256" => Box::new(blake2::Blake2b256::default()),
            "blake2s" | "blake2s256" | "blake2s-256" => Box::new(blake2::Blake2s256::default()),
            _ => return None,
        }))
    }

    /// Whether a digest of this algorithm alone says which file is meant: it is known, and has 256 bits or more, since
    /// whoever finds two files of one digest can have either of them signed. MD5 and SHA-1 never count.
    pub fn counts(algorithm: &str) -> bool {
        Self::new(algorithm).is_some_and(|hasher| hasher.0.output_size() >= 32)
    }

    /// Whether tuf-js knows it, which asks OpenSSL for it by its name there (run).
    pub fn is_known_to_openssl(algorithm: &str) -> bool {
        let named_otherwise =
            algorithm.contains('_') || matches!(algorithm, "blake2b" | "blake2s" | "blake2b-256");
        Self::new(algorithm).is_some() && !named_otherwise
    }

    /// Takes more of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest in lower-case hexadecimal, as metadata writes it.
    pub fn hex(self) -> String {
        hex::encode(self.0.finalize())
    }
}

impl fmt::Debug for OtherHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtherHasher")
    }
}

/// The text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: it must be {} lower-case hexadecimal digits", bytes * 2)]
pub struct DigestError {
    bytes: usize,
}

/// Lower-case hexadecimal. A signature names a few dozen digests on its way: this takes a fraction of the time of writing
/// them letter by letter.
pub(crate) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; 64];
    for part in bytes.chunks(32) {
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(part) {
            *pair = [digit(byte >> 4), digit(byte & 0xF)];
        }
        let text = text.get(..part.len() * 2).and_then(|text| std::str::from_utf8(text).ok());
        f.write_str(text.unwrap_or_default())?;
    }
    Ok(())
}

/// The lower-case hexadecimal digit of a value below 16.
const fn digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

/// Exactly `N` bytes from lower-case hexadecimal.
///
/// A large role has 100,000 of them, each read more than once: this loop takes a tenth of the time of one that gives an
/// error with its place.
pub(crate) fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut wrong = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (nibble(*high), nibble(*low));
        wrong |= high | low;
        *byte = high << 4 | (low & 0xF);
    }
    (wrong <= 0xF).then_some(bytes)
}

/// The value of a lower-case hexadecimal digit; above 15 for anything else.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 0xFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_algorithms_are_those_of_hashlib_by_every_name_and_weak_ones_do_not_count() {
        // hashlib.new(NAME, b"abc") of Python 3.11.
        let known = [
            ("md5", "900150983cd24fb0", false),
            ("sha1", "a9993e364706816a", false),
            ("sha224", "23097d223405d822", false),
            ("sha384", "cb00753f45a35e8b", true),
            ("sha512-224", "4634270f707b6a54", false),
            ("sha512_256", "53048e2681941ef9", true),
            ("sha3-224", "e642824c3f8cf24a", false),
            ("sha3_256", "3a985da74fe225b2", true),
            ("sha3-384", "ec01498288516fc9", true),
            ("sha3_512", "b751850b1a57168a", true),
            ("blake2b", "ba80a53f981c4d0d", true),
            ("blake2b-256", "bddd813c63423972", true),
            ("blake2s", "508c5e8c327c14e2", true),
        ];
        for (name, begins, counts) in known {
            let mut hasher = OtherHasher::new(name).unwrap();
            hasher.update(b"abc");
            assert!(hasher.hex().starts_with(begins), "{name}");
            assert_eq!(OtherHasher::counts(name), counts, "{name}");
        }
        for unknown in ["shake_128", "SHA384", "blake3", ""] {
            assert!(OtherHasher::new(unknown).is_none() && !OtherHasher::counts(unknown), "{unknown}");
        }
    }

    #[test]
    fn a_digest_reads_back_what_it_writes_and_refuses_upper_case() {
        let digest = Sha256Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert!(text.to_uppercase().parse::<Sha256Digest>().is_err());
        assert!(text[1..].parse::<Sha256Digest>().is_err());
        for first in [0, 32, 64, 96, 128, 160, 192, 224] {
            let bytes = std::array::from_fn(|at| first + u8::try_from(at).unwrap());
            assert_eq!(Sha256Digest::from_bytes(bytes).to_string(), hex::encode(bytes));
        }
        for wrong in ['g', '/', ':', '`', 'A', ' ', '\u{e9}'] {
            for at in [0, 1, 62, 63] {
                let mut other: Vec<char> = text.chars().collect();
                other[at] = wrong;
                assert!(other.iter().collect::<String>().parse::<Sha256Digest>().is_err(), "{wrong} at {at}");
            }
        }
    }
}
