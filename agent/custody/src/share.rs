//! One custodian's share.

use std::fmt;

use secmem::{SecretBytes, StackError, on_locked_stack};
use sha2::{Digest as _, Sha256};
use tuf::digest::Sha256Digest;

use crate::slip39::mnemonic;
use crate::slip39::sharing::Part;
use crate::slip39::text::{self, Spelled, TEXT_MAX};
use crate::slip39::{Header, SECRET_MAX, Value};

/// A share that was read and whose checksum is right. Its value lies in locked memory.
///
/// It cannot be copied:
/// ```compile_fail,E0277
/// fn copied<T: Clone>(_: &T) {}
/// # fn of(share: tufagent_custody::Share) {
/// copied(&share);
/// # }
/// ```
/// nor shown:
/// ```compile_fail,E0277
/// # fn of(share: tufagent_custody::Share) {
/// println!("{share}");
/// # }
/// ```
/// nor serialized:
/// ```compile_fail,E0277
/// # fn of(share: tufagent_custody::Share) {
/// serde_json::to_string(&share);
/// # }
/// ```
/// nor compared with `==`, which takes longer the more is right:
/// ```compile_fail,E0369
/// # fn of(share: tufagent_custody::Share) {
/// let same = share == share;
/// # }
/// ```
/// Its debug text tells nothing, not even of which set it is:
/// ```
/// # fn of(share: tufagent_custody::Share) {
/// assert_eq!(format!("{share:?}"), "Share(..)");
/// # }
/// ```
pub struct Share {
    header: Header,
    /// [`SECRET_MAX`] bytes, those beyond `len` zero.
    value: SecretBytes,
    len: usize,
}

impl Share {
    /// Reads a mnemonic: its words in any case with any white space between them.
    ///
    /// # Errors
    /// [`ShareError`]: what is wrong, and with which word. It never holds a word.
    pub fn parse(text: &[u8]) -> Result<Self, ShareError> {
        Self::read(text, Spelled::read)
    }

    /// Reads a mnemonic as people copy it from a sheet: each word, or its first four letters, with its number before it or
    /// without, and with points, commas or quotes between. None of it is guessed at.
    ///
    /// # Errors
    /// As [`Share::parse`].
    pub fn parse_copied(text: &[u8]) -> Result<Self, ShareError> {
        Self::read(text, Spelled::read_copied)
    }

    fn read(text: &[u8], spell: fn(&[u8]) -> Spelled) -> Result<Self, ShareError> {
        if text.len() > TEXT_MAX {
            return Err(ShareError::TooLong { max: TEXT_MAX });
        }
        on_locked_stack(|| {
            let spelled = spell(text);
            let indices = spelled.looked_up(spelled.count());
            let indices = indices.map_err(|at| ShareError::UnknownWord { position: at + 1 })?;
            if mnemonic::value_len(spelled.count()).is_none() {
                return Err(ShareError::WordCount { found: spelled.count() });
            }
            let (header, value) = mnemonic::decoded(&indices)?;
            Ok(Self::new(header, &value))
        })?
    }

    pub(crate) fn new(header: Header, value: &Value) -> Self {
        Self { header, value: SecretBytes::copy_from(&value.bytes), len: value.len }
    }

    /// The mnemonic: lower case, one space between two words, nothing at the end.
    ///
    /// # Errors
    /// [`StackError`] when there is no thread for the work.
    pub fn words(&self) -> Result<SecretBytes, StackError> {
        on_locked_stack(|| self.written())
    }

    /// What a manifest knows the share by: the SHA-256 of the line `tuf-agent-share-fingerprint-v1` and the mnemonic. See the
    /// crate's head for why it may be known to all.
    ///
    /// # Errors
    /// [`StackError`] when there is no thread for the work.
    pub fn fingerprint(&self) -> Result<Sha256Digest, StackError> {
        on_locked_stack(|| self.fingerprint_here())
    }

    /// As [`Share::words`], on a stack that is locked already.
    pub(crate) fn written(&self) -> SecretBytes {
        text::written(&mnemonic::encoded(self.header, &Value { bytes: *self.value(), len: self.len }))
    }

    /// As [`Share::fingerprint`], on a stack that is locked already.
    pub(crate) fn fingerprint_here(&self) -> Sha256Digest {
        let hash = Sha256::new_with_prefix(FINGERPRINT).chain_update(self.written().reveal_secret_bytes());
        Sha256Digest::from_bytes(hash.finalize().into())
    }

    pub(crate) fn part(&self) -> Part<'_> {
        Part { header: self.header, value: self.value(), len: self.len }
    }

    pub(crate) const fn header(&self) -> Header {
        self.header
    }

    fn value(&self) -> &[u8; SECRET_MAX] {
        self.value.reveal_secret_bytes().first_chunk().unwrap_or(&[0; SECRET_MAX])
    }

    /// How many words the mnemonic has: 33 for a key, fewer for shorter secrets of other tools.
    pub fn word_count(&self) -> usize {
        mnemonic::word_count(self.len)
    }

    /// What SLIP-0039 calls the identifier: 15 random bits that the shares of one set have in common.
    pub const fn identifier(&self) -> u16 {
        self.header.common.identifier
    }

    /// Whether the set is extendable: whether other sets of the same secret have the same encryption of it.
    pub const fn extendable(&self) -> bool {
        self.header.common.extendable
    }

    /// How long the secret's passphrase is stretched.
    pub const fn iteration_exponent(&self) -> IterationExponent {
        IterationExponent(self.header.common.exponent)
    }

    /// How many groups are needed.
    pub const fn group_threshold(&self) -> u8 {
        self.header.common.group_threshold
    }

    /// How many groups there are.
    pub const fn group_count(&self) -> u8 {
        self.header.common.group_count
    }

    /// The group that the share is of, from 0.
    pub const fn group_index(&self) -> u8 {
        self.header.group_index
    }

    /// Whose share in its group it is, from 0.
    pub const fn member_index(&self) -> u8 {
        self.header.member_index
    }

    /// How many shares of its group are needed.
    pub const fn member_threshold(&self) -> u8 {
        self.header.member_threshold
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// How long a passphrase is stretched: 10,000 iterations of PBKDF2, doubled as often as this says.
///
/// SLIP-0039 allows 15, minutes of work that any share could ask of whoever reads it. At [`IterationExponent::MAX`], 2,560,000
/// iterations, it is seconds. Nothing is lost by the cap: the sets that are read here were made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IterationExponent(pub(crate) u8);

impl IterationExponent {
    /// The largest one.
    pub const MAX: u8 = 8;

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for IterationExponent {
    /// 20,000 iterations. The keys that are split are random, and need no stretching where there is no passphrase.
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for IterationExponent {
    type Error = ShareError;

    fn try_from(exponent: u8) -> Result<Self, ShareError> {
        if exponent > Self::MAX {
            return Err(ShareError::IterationExponent { found: exponent, max: Self::MAX });
        }
        Ok(Self(exponent))
    }
}

/// What is wrong with a share, alone. Holds no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// Longer than any mnemonic.
    #[error("the text is longer than {max} bytes, and a share has 33 words at most; give the words alone")]
    TooLong {
        /// The most bytes that are read.
        max: usize,
    },
    /// A word that is not in the list.
    #[error(
        "word {position} is not a word of any share (all words are in SLIP-0039's list); compare it with the sheet"
    )]
    UnknownWord {
        /// Which word, from 1.
        position: usize,
    },
    /// No mnemonic has so many words.
    #[error("{} words; a share of a key has 33: look for one that is left out or there twice", counted(*found))]
    WordCount {
        /// How many there are; 34 for more than 33.
        found: usize,
    },
    /// All are words, but not these together.
    #[error("the checksum is wrong: a word is another one than on the sheet, or two are in the wrong order")]
    Checksum,
    /// Bits that must be zero are not.
    #[error("the words are no share: bits between them are set that must not be; no tool has written this")]
    Padding,
    /// Groups that cannot be.
    #[error(
        "the words are no share: they name more groups than they say there are; no tool has written this"
    )]
    Groups,
    /// A share that asks for more work than is done here.
    #[error(
        "the share asks for 10,000 iterations doubled {found} times, and no more than {max} are done here"
    )]
    IterationExponent {
        /// What the share says.
        found: u8,
        /// The most.
        max: u8,
    },
    /// There was no thread with a locked stack.
    #[error(transparent)]
    Stack(#[from] StackError),
}

fn counted(words: usize) -> String {
    if words > text::WORDS_MAX { format!("more than {}", text::WORDS_MAX) } else { words.to_string() }
}

const FINGERPRINT: &[u8] = b"tuf-agent-share-fingerprint-v1\n";

#[cfg(test)]
mod tests;
