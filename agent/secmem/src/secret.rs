//! Bytes that must not get out by accident.

use std::fmt;
use std::io::{self, Read};

use zeroize::Zeroize;

use crate::pages::{Pages, Residence};

/// A secret: a PIN, a passphrase, a private key.
///
/// It cannot be copied:
/// ```compile_fail,E0599
/// # use tufagent_secmem as secmem;
/// let a = secmem::SecretBytes::take_from(vec![1, 2, 3]);
/// let b = a.clone();
/// ```
/// nor shown:
/// ```compile_fail,E0277
/// # use tufagent_secmem as secmem;
/// let a = secmem::SecretBytes::take_from(vec![1, 2, 3]);
/// println!("{a}");
/// ```
/// nor serialized:
/// ```compile_fail,E0277
/// # use tufagent_secmem as secmem;
/// fn serializable<T: serde::Serialize>(_: &T) {}
/// serializable(&secmem::SecretBytes::take_from(vec![1, 2, 3]));
/// ```
/// nor compared with `==`, which takes longer the more is right:
/// ```compile_fail,E0369
/// # use tufagent_secmem as secmem;
/// let a = secmem::SecretBytes::take_from(vec![1, 2, 3]);
/// let b = a == a;
/// ```
/// nor used as bytes without saying so:
/// ```compile_fail,E0599
/// # use tufagent_secmem as secmem;
/// let a = secmem::SecretBytes::take_from(vec![1, 2, 3]);
/// let b: &[u8] = a.as_ref();
/// ```
/// Its debug text tells nothing, not even how long it is:
/// ```
/// # use tufagent_secmem as secmem;
/// let a = secmem::SecretBytes::take_from(vec![65, 66, 67]);
/// assert_eq!(format!("{a:?}"), "SecretBytes(..)");
/// assert_eq!(a.reveal_secret_bytes(), b"ABC");
/// ```
pub struct SecretBytes {
    pages: Pages,
    len: usize,
}

impl SecretBytes {
    /// Takes the bytes over; the vector's memory is zeroized, its spare capacity too.
    #[must_use]
    pub fn take_from(mut source: Vec<u8>) -> Self {
        let secret = Self::copy_from(&source);
        source.zeroize();
        secret
    }

    /// Copies bytes whose owner zeroizes them.
    #[must_use]
    pub fn copy_from(source: &[u8]) -> Self {
        Self::with_len(source.len(), |buffer| buffer.copy_from_slice(source))
    }

    /// `len` bytes, zero at first, written in place by `fill`.
    #[must_use]
    pub fn with_len(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self { pages: Pages::new(len), len };
        fill(secret.buffer());
        secret
    }

    /// As [`SecretBytes::with_len`], for what can fail.
    ///
    /// # Errors
    /// What `fill` gives.
    pub fn try_with_len<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self { pages: Pages::new(len), len };
        fill(secret.buffer())?;
        Ok(secret)
    }

    /// `len` bytes from the system's random generator.
    ///
    /// # Errors
    /// When the system has none, as a very old kernel.
    pub fn random(len: usize) -> io::Result<Self> {
        Self::try_with_len(len, fill_random)
    }

    /// Reads to the end of `source`, straight into locked memory.
    ///
    /// # Errors
    /// What reading gives, and `InvalidData` when there are more than `max` bytes.
    pub fn read_to_end(source: &mut impl Read, max: usize) -> io::Result<Self> {
        let room = max.saturating_add(1);
        let mut secret = Self { pages: Pages::new(room), len: room };
        let mut filled = 0;
        while let Some(rest) = secret.buffer().get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match source.read(rest) {
                Ok(0) => break,
                Ok(n) => filled = filled.saturating_add(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if filled > max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {max} bytes")));
        }
        secret.len = filled;
        Ok(secret)
    }

    /// Without the newline (LF or CR LF) at its end, if there is one.
    #[must_use]
    pub fn without_trailing_newline(mut self) -> Self {
        let bytes = self.reveal_secret_bytes();
        let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        self.len = line.unwrap_or(bytes).len();
        self
    }

    /// Its first `len` bytes; the rest is wiped with it.
    #[must_use]
    pub fn shortened_to(mut self, len: usize) -> Self {
        self.len = self.len.min(len);
        self
    }

    /// The secret itself. The one way to it: look for this name to find every use.
    #[must_use]
    pub fn reveal_secret_bytes(&self) -> &[u8] {
        self.pages.bytes().get(..self.len).unwrap_or_default()
    }

    /// Changes the secret where it lies: for one that is typed letter by letter.
    pub fn change_secret_bytes(&mut self, change: impl FnOnce(&mut [u8])) {
        change(self.buffer());
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether its pages stay out of swap.
    #[must_use]
    pub const fn residence(&self) -> Residence {
        self.pages.residence()
    }

    fn buffer(&mut self) -> &mut [u8] {
        let len = self.len;
        self.pages.bytes_mut().get_mut(..len).unwrap_or_default()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// Fills `buffer`, which its owner zeroizes, from the system's random generator.
///
/// # Errors
/// When the system has none, as a very old kernel.
pub fn fill_random(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let got = match rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty()) {
            Ok(got) => got,
            Err(rustix::io::Errno::INTR) => 0,
            Err(e) => return Err(e.into()),
        };
        buffer = buffer.get_mut(got..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_keeps_its_bytes_and_empties_are_fine() {
        assert_eq!(SecretBytes::take_from(vec![1, 2, 3]).reveal_secret_bytes(), [1, 2, 3]);
        assert!(SecretBytes::take_from(Vec::new()).is_empty());
        let big = SecretBytes::with_len(100_000, |b| b.fill(9));
        assert!(big.len() == 100_000 && big.reveal_secret_bytes().iter().all(|b| *b == 9));
    }

    #[test]
    fn a_secret_is_changed_where_it_lies() {
        let mut typed = SecretBytes::with_len(3, |_| {});
        let place = typed.reveal_secret_bytes().as_ptr();
        typed.change_secret_bytes(|bytes| bytes.copy_from_slice(b"abc"));
        typed.change_secret_bytes(|bytes| bytes.swap(0, 2));
        assert_eq!((typed.reveal_secret_bytes(), typed.len()), (&b"cba"[..], 3));
        assert_eq!(typed.reveal_secret_bytes().as_ptr(), place);
    }

    #[test]
    fn random_secrets_differ() {
        let (a, b) = (SecretBytes::random(32).unwrap(), SecretBytes::random(32).unwrap());
        assert_ne!(a.reveal_secret_bytes(), b.reveal_secret_bytes());
        assert_eq!(SecretBytes::random(1000).unwrap().len(), 1000);
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let read = |max| SecretBytes::read_to_end(&mut &b"12345678"[..], max);
        assert_eq!(read(8).unwrap().reveal_secret_bytes(), b"12345678");
        assert_eq!(read(7).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(SecretBytes::read_to_end(&mut io::empty(), 0).unwrap().is_empty());
    }

    #[test]
    fn one_trailing_newline_is_cut_off() {
        let trimmed = |s: &str| {
            let secret = SecretBytes::copy_from(s.as_bytes()).without_trailing_newline();
            String::from_utf8(secret.reveal_secret_bytes().to_vec()).unwrap()
        };
        assert_eq!(trimmed("pin\n"), "pin");
        assert_eq!(trimmed("pin\r\n"), "pin");
        assert_eq!(trimmed("pin\n\n"), "pin\n");
        assert_eq!(trimmed("pin\r"), "pin\r");
        assert_eq!(trimmed("pin "), "pin ");
        assert_eq!(trimmed(""), "");
    }

    #[test]
    fn secrets_can_move_between_threads() {
        let secret = SecretBytes::copy_from(b"x");
        let len = std::thread::spawn(move || secret.len()).join().unwrap();
        assert_eq!(len, 1);
    }
}
