//! A long file under a passphrase: a clear header line, then pieces sealed one by one, so that no size needs memory.
//!
//! Line 1 is a JSON object that begins with `format` and `version`. Its `check` tells a wrong passphrase from damage, and its
//! `sum` a damaged line; version 1 had neither. Then come pieces of 1 MiB, the last one shorter or
//! empty, each as XChaCha20-Poly1305 ciphertext with its tag, under a key that Argon2id makes of the passphrase. The
//! associated data of each is line 1. A nonce is 15 random bytes of the header, the piece's number (64 bits, big-endian)
//! and a byte that is 1 for the last piece alone, so that pieces cannot change places and none can be missing.

use std::io::{self, BufRead as _, BufReader, Read, Write};

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use secmem::SecretBytes;
use serde::{Deserialize, Serialize};
use tuf::digest::Sha256Digest;

use crate::filestore::kdf::{self, Cost, KdfError};

/// Why such a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedFileError {
    /// It is something else.
    #[error("it is not a backup of tuf-agent")]
    Foreign,
    /// A later program has written it.
    #[error("it is a backup in the newer format {0}")]
    Newer(u64),
    /// Another passphrase; in version 1 the first piece may be damaged instead.
    #[error("the passphrase is wrong{}", if *.certain { "" } else { ", or the first piece of it is damaged" })]
    Passphrase {
        /// It can be nothing else.
        certain: bool,
    },
    /// The first line does not fit.
    #[error("its first line is damaged")]
    DamagedLine,
    /// A piece does not fit, although the passphrase is right.
    #[error("{}", damaged(*.0))]
    Damaged(u64),
    /// The key derivation that it asks for is refused.
    #[error("{0}")]
    Derivation(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Seals what is written to it; [`Sealer::finish`] must come last.
pub struct Sealer<W> {
    out: W,
    pieces: Pieces,
    open: Vec<u8>,
}

/// Reads what a [`Sealer`] has written.
pub struct Opener<R> {
    from: BufReader<R>,
    pieces: Pieces,
    open: Vec<u8>,
    at: usize,
    ended: bool,
}

/// What both sides count.
struct Pieces {
    cipher: XChaCha20Poly1305,
    header: Vec<u8>,
    prefix: [u8; PREFIX],
    number: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u64,
    kdf: String,
    cost: Cost,
    salt: String,
    nonce: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
}

impl Header {
    /// Over all that the key depends on.
    fn computed_sum(&self) -> String {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let check = self.check.as_deref().unwrap_or_default();
        let text = format!("{} {memory_kib} {passes} {lanes} {} {} {check}", self.kdf, self.salt, self.nonce);
        Sha256Digest::of(text.as_bytes()).to_string()
    }
}

#[derive(Deserialize)]
struct Beginning {
    format: String,
    version: u64,
}

impl<W: Write> Sealer<W> {
    /// Writes the header; blocks for a tenth of a second.
    ///
    /// # Errors
    /// `Derivation` or `Io`.
    pub fn new(out: W, passphrase: &SecretBytes) -> Result<Self, SealedFileError> {
        Self::in_version(VERSION, out, passphrase)
    }

    fn in_version(version: u64, mut out: W, passphrase: &SecretBytes) -> Result<Self, SealedFileError> {
        let (mut salt, mut prefix) = ([0; 16], [0; PREFIX]);
        getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut prefix)).map_err(io::Error::other)?;
        let cipher = cipher(passphrase, &salt, kdf::FLOOR)?;
        let mut header = Header {
            format: FORMAT.to_owned(),
            version,
            kdf: KDF.to_owned(),
            cost: kdf::FLOOR,
            salt: hex::encode(salt),
            nonce: hex::encode(prefix),
            check: None,
            sum: None,
        };
        if version > 1 {
            header.check = Some(hex::encode(check_of(&cipher, &prefix)?));
            header.sum = Some(header.computed_sum());
        }
        let mut line = serde_json::to_vec(&header).map_err(io::Error::other)?;
        line.push(b'\n');
        out.write_all(&line)?;
        let pieces = Pieces { cipher, header: line, prefix, number: 0 };
        Ok(Self { out, pieces, open: Vec::with_capacity(PIECE) })
    }

    /// Seals the last piece and gives the writer back.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<W, SealedFileError> {
        self.seal(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.pieces.next(last)?;
        let tag = self
            .pieces
            .cipher
            .encrypt_inout_detached(&nonce, &self.pieces.header, self.open.as_mut_slice().into())
            .map_err(|_| io::Error::other("a piece could not be sealed"))?;
        self.out.write_all(&self.open)?;
        self.out.write_all(tag.as_slice())?;
        self.open.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.len() == PIECE {
            self.seal(false)?;
        }
        let room = PIECE.saturating_sub(self.open.len()).min(bytes.len());
        self.open.extend_from_slice(bytes.get(..room).unwrap_or_default());
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<R: Read> Opener<R> {
    /// Reads the header and the first piece.
    ///
    /// # Errors
    /// `Foreign`, `Newer`, `DamagedLine`, `Passphrase`, `Damaged`, `Derivation`, `Io`.
    pub fn new(from: R, passphrase: &SecretBytes) -> Result<Self, SealedFileError> {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        let mut line = Vec::new();
        (&mut from).take(HEADER_MAX).read_until(b'\n', &mut line)?;
        let beginning: Beginning = serde_json::from_slice(&line).map_err(|_| SealedFileError::Foreign)?;
        if beginning.format != FORMAT || line.last() != Some(&b'\n') {
            return Err(SealedFileError::Foreign);
        }
        if beginning.version > VERSION {
            return Err(SealedFileError::Newer(beginning.version));
        }
        let header: Header = serde_json::from_slice(&line).map_err(|_| SealedFileError::DamagedLine)?;
        let (mut salt, mut prefix) = ([0; 16], [0; PREFIX]);
        let read = hex::decode_to_slice(&header.salt, &mut salt)
            .and_then(|()| hex::decode_to_slice(&header.nonce, &mut prefix));
        let has_sum = header.sum.as_ref().is_some_and(|sum| *sum == header.computed_sum());
        if header.kdf != KDF || read.is_err() || (header.version > 1 && !has_sum) {
            return Err(SealedFileError::DamagedLine);
        }
        let cipher = cipher(passphrase, &salt, header.cost)?;
        let certain = header.version > 1;
        if certain && header.check != Some(hex::encode(check_of(&cipher, &prefix)?)) {
            return Err(SealedFileError::Passphrase { certain });
        }
        let pieces = Pieces { cipher, header: line, prefix, number: 0 };
        let mut opener = Self { from, pieces, open: Vec::new(), at: 0, ended: false };
        opener.fill().map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData if certain => SealedFileError::Damaged(1),
            io::ErrorKind::InvalidData => SealedFileError::Passphrase { certain },
            _ => SealedFileError::Io(e),
        })?;
        Ok(opener)
    }

    /// Opens the next piece.
    fn fill(&mut self) -> io::Result<()> {
        self.open.clear();
        self.at = 0;
        let whole = u64::try_from(PIECE + TAG).unwrap_or(u64::MAX);
        (&mut self.from).take(whole).read_to_end(&mut self.open)?;
        self.ended = self.from.fill_buf()?.is_empty();
        let nonce = self.pieces.next(self.ended)?;
        let number = self.pieces.number;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, damaged(number));
        let length = self.open.len().checked_sub(TAG).ok_or_else(damaged)?;
        let tag = Tag::try_from(self.open.get(length..).unwrap_or_default()).map_err(|_| damaged())?;
        self.open.truncate(length);
        self.pieces
            .cipher
            .decrypt_inout_detached(&nonce, &self.pieces.header, self.open.as_mut_slice().into(), &tag)
            .map_err(|_| damaged())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.open.len() && !self.ended {
            self.fill()?;
        }
        let rest = self.open.get(self.at..).unwrap_or_default();
        let count = rest.len().min(out.len());
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at = self.at.saturating_add(count);
        Ok(count)
    }
}

impl Pieces {
    fn next(&mut self, last: bool) -> io::Result<XNonce> {
        let nonce = nonce(&self.prefix, self.number, u8::from(last));
        self.number = self.number.checked_add(1).ok_or_else(|| io::Error::other("it is too long"))?;
        Ok(nonce)
    }
}

fn cipher(passphrase: &SecretBytes, salt: &[u8], cost: Cost) -> Result<XChaCha20Poly1305, SealedFileError> {
    let key = kdf::derive(passphrase, salt, cost);
    let key = key.map_err(|e: KdfError| SealedFileError::Derivation(e.to_string()))?;
    XChaCha20Poly1305::new_from_slice(key.reveal_secret_bytes())
        .map_err(|_| SealedFileError::Derivation("the key has a wrong length".to_owned()))
}

/// What tells whether the key is the right one: the tag of nothing, under a nonce that no piece has.
fn check_of(cipher: &XChaCha20Poly1305, prefix: &[u8; PREFIX]) -> io::Result<Tag> {
    cipher
        .encrypt_inout_detached(&nonce(prefix, u64::MAX, CHECK), b"", (&mut [][..]).into())
        .map_err(|_| io::Error::other("the key could not be tried"))
}

fn nonce(prefix: &[u8; PREFIX], number: u64, end: u8) -> XNonce {
    let mut nonce = [0; PREFIX + 9];
    let parts = prefix.iter().copied().chain(number.to_be_bytes()).chain([end]);
    nonce.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    XNonce::from(nonce)
}

fn damaged(piece: u64) -> String {
    format!("the passphrase is right, and the file is damaged or cut off at piece {piece} (of 1 MiB each)")
}

/// The last byte of the nonce of `check`: pieces have 0 or 1.
const CHECK: u8 = 2;

const FORMAT: &str = "tuf-agent backup";
const VERSION: u64 = 2;
const KDF: &str = "argon2id";
const PREFIX: usize = 15;
const PIECE: usize = 1 << 20;
const TAG: usize = 16;
/// A header line has about 250 bytes.
const HEADER_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &str) -> SecretBytes {
        SecretBytes::copy_from(text.as_bytes())
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), &pass("right")).unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<Vec<u8>, SealedFileError> {
        let mut plain = Vec::new();
        Opener::new(bytes, &pass("right"))?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_comes_out_whatever_its_length() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            let plain: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let file = sealed(&plain);
            assert!(plain.len() < 64 || !file.windows(64).any(|window| window == &plain[..64]));
            assert_eq!(opened(&file).unwrap(), plain, "{length}");
        }
    }

    #[test]
    fn a_wrong_passphrase_another_file_and_a_newer_one_are_told_apart() {
        let file = sealed(b"x");
        let wrong = Opener::new(file.as_slice(), &pass("wrong"));
        assert!(matches!(wrong, Err(SealedFileError::Passphrase { certain: true })));
        for other in [&b""[..], b"{}", b"{\"format\":\"else\",\"version\":1}\n", &[0; 300]] {
            assert!(matches!(opened(other), Err(SealedFileError::Foreign)), "{other:?}");
        }
        let text =
            String::from_utf8_lossy(&file[..file.iter().position(|b| *b == b'\n').unwrap() + 1]).into_owned();
        let newer = text.replace("\"version\":2", "\"version\":3");
        assert!(matches!(opened(newer.as_bytes()), Err(SealedFileError::Newer(3))));
        let costly = text.replace("\"memory_kib\":65536", "\"memory_kib\":4000000000");
        assert!(matches!(opened(costly.as_bytes()), Err(SealedFileError::DamagedLine)));
        let mut header: Header = serde_json::from_str(&costly).unwrap();
        header.sum = Some(header.computed_sum());
        let costly = format!("{}\n", serde_json::to_string(&header).unwrap());
        assert!(matches!(opened(costly.as_bytes()), Err(SealedFileError::Derivation(_))));
    }

    #[test]
    fn damage_is_told_from_a_wrong_passphrase_and_says_where_it_is() {
        let file = sealed(&vec![7; 2 * PIECE + 5]);
        let body = file.iter().position(|b| *b == b'\n').unwrap() + 1;
        let said = |bytes: &[u8]| opened(bytes).unwrap_err().to_string();
        for (at, piece) in [(body, 1), (body + PIECE + TAG, 2), (file.len() - 1, 3)] {
            let mut bytes = file.clone();
            bytes[at] ^= 1;
            assert!(
                said(&bytes).contains(&format!(
                    "the passphrase is right, and the file is damaged or cut off at piece {piece}"
                )),
                "{at}: {}",
                said(&bytes)
            );
        }
        for (length, piece) in [(body, 1), (body + PIECE + TAG, 1), (file.len() - 1, 3)] {
            assert!(
                said(&file[..length]).contains(&format!("at piece {piece}")),
                "{length}: {}",
                said(&file[..length])
            );
        }
        for name in ["salt", "nonce", "check", "sum"] {
            let mut bytes = file.clone();
            let at = String::from_utf8_lossy(&file[..body]).find(&format!("\"{name}\":\"")).unwrap()
                + name.len()
                + 5;
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert!(matches!(opened(&bytes), Err(SealedFileError::DamagedLine)), "{name}");
        }
    }

    #[test]
    fn a_file_of_version_1_is_read() {
        let mut sealer = Sealer::in_version(1, Vec::new(), &pass("right")).unwrap();
        sealer.write_all(&vec![7; PIECE + 5]).unwrap();
        let file = sealer.finish().unwrap();
        let header = String::from_utf8_lossy(&file[..300]).into_owned();
        assert!(header.contains("\"version\":1,") && !header.contains("check"), "{header}");
        assert_eq!(opened(&file).unwrap(), vec![7; PIECE + 5]);
        let wrong = Opener::new(file.as_slice(), &pass("wrong"));
        assert!(matches!(wrong, Err(SealedFileError::Passphrase { certain: false })));
        let mut bytes = file.clone();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(opened(&bytes).unwrap_err().to_string().contains("at piece 2"));
    }

    #[test]
    fn every_cut_and_every_exchange_is_found() {
        let file = sealed(&vec![7; PIECE + 5]);
        let header = file.iter().position(|b| *b == b'\n').unwrap() + 1;
        for length in [header, header + 5, header + PIECE + TAG, file.len() - 1] {
            assert!(opened(&file[..length]).is_err(), "cut to {length}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(opened(&longer).is_err());
        for at in (0..file.len()).step_by(70_001).chain([3, header, file.len() - 1]) {
            let mut bytes = file.clone();
            bytes[at] ^= 1;
            assert!(opened(&bytes).is_err(), "byte {at}");
        }
        let twice = sealed(&vec![7; 2 * PIECE + 1]);
        let (head, body) = twice.split_at(twice.iter().position(|b| *b == b'\n').unwrap() + 1);
        let (one, rest) = body.split_at(PIECE + TAG);
        let (two, end) = rest.split_at(PIECE + TAG);
        assert!(opened(&[head, two, one, end].concat()).is_err(), "pieces changed places");
        assert!(opened(&[head, one, end].concat()).is_err(), "a piece is missing");
    }
}
