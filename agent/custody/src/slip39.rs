//! SLIP-0039 itself: words, checksum, sharing, encryption. What lies here as arrays lies on a locked stack.

pub(crate) mod checksum;
pub(crate) mod cipher;
pub(crate) mod field;
pub(crate) mod mnemonic;
pub(crate) mod sharing;
pub(crate) mod text;
pub(crate) mod words;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The most bytes of a secret, and of each share's value.
pub(crate) const SECRET_MAX: usize = 32;

/// The most members of a group, and groups of a set.
pub(crate) const COUNT_MAX: usize = 16;

/// A secret or the value of a share: 16 to 32 bytes of an array; those beyond `len` are zero. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Value {
    pub(crate) bytes: [u8; SECRET_MAX],
    pub(crate) len: usize,
}

impl Value {
    pub(crate) const fn zero(len: usize) -> Self {
        Self { bytes: [0; SECRET_MAX], len: if len < SECRET_MAX { len } else { SECRET_MAX } }
    }

    /// The first [`SECRET_MAX`] bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut value = Self::zero(bytes.len());
        value.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        value
    }

    pub(crate) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

/// What a mnemonic says beside its value; no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) common: Common,
    pub(crate) group_index: u8,
    pub(crate) member_index: u8,
    pub(crate) member_threshold: u8,
}

/// What all mnemonics of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// 15 bits.
    pub(crate) identifier: u16,
    pub(crate) extendable: bool,
    /// 4 bits; capped where mnemonics are read.
    pub(crate) exponent: u8,
    pub(crate) group_threshold: u8,
    pub(crate) group_count: u8,
}

#[cfg(test)]
mod tests;
