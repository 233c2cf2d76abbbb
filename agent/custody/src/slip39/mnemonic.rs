//! A mnemonic's words as header and value: which bits mean what.

use super::text::Indices;
use super::{Common, Header, Value, checksum};
use crate::share::ShareError;

/// Words before the value: identifier, extendable, exponent; groups, member.
const BEFORE: usize = 4;

/// Words beside the value.
const BESIDE: usize = BEFORE + checksum::WORDS;

/// Bits of a word.
const BITS: usize = 10;

/// Reads words whose number [`value_len`] knows.
///
/// # Errors
/// A wrong checksum first, since nothing else means anything then.
pub(crate) fn decoded(indices: &Indices) -> Result<(Header, Value), ShareError> {
    let words = indices.get();
    let len = value_len(words.len()).ok_or(ShareError::WordCount { found: words.len() })?;
    let header = header_of(words);
    if !checksum::is_right(header.common.extendable, words) {
        return Err(ShareError::Checksum);
    }
    let last = words.len().saturating_sub(checksum::WORDS);
    let value_words = words.get(BEFORE..last).unwrap_or_default();
    let padding = (BITS * value_words.len()).saturating_sub(8 * len);
    if value_words.first().is_some_and(|first| first >> (BITS - padding) != 0) {
        return Err(ShareError::Padding);
    }
    let mut value = Value::zero(len);
    for (at, byte) in value.get_mut().iter_mut().enumerate() {
        let bit = padding + 8 * at;
        let (word, offset) = (bit / BITS, bit % BITS);
        // 20 bits, of which 8 are wanted.
        let pair = two(value_words, word);
        *byte = low_byte(pair >> (2 * BITS - 8 - offset));
    }
    checked(header).map(|header| (header, value))
}

/// The words of header and value.
pub(crate) fn encoded(header: Header, value: &Value) -> Indices {
    let value_words = word_count(value.len) - BESIDE;
    let padding = BITS * value_words - 8 * value.len;
    let mut indices = Indices { words: [0; super::text::WORDS_MAX], count: value_words + BESIDE };
    let (first, rest) = indices.words.split_at_mut(BEFORE);
    let packed = packed(header);
    for (word, shift) in first.iter_mut().zip([30, 20, 10, 0]) {
        *word = low_word(packed >> shift);
    }
    for (at, word) in rest.iter_mut().take(value_words).enumerate() {
        for bit in BITS * at..BITS * (at + 1) {
            let byte = bit.checked_sub(padding).and_then(|bit| Some((value.get().get(bit / 8)?, bit % 8)));
            *word = *word << 1 | byte.map_or(0, |(byte, bit)| u16::from(byte >> (7 - bit) & 1));
        }
    }
    let (before, after) = indices.words.split_at_mut(BEFORE + value_words);
    let sum = checksum::checksum(header.common.extendable, before);
    after.iter_mut().zip(sum).for_each(|(word, sum)| *word = sum);
    indices
}

/// The bytes of the value of a mnemonic with so many words; `None` where none has so many.
pub(crate) fn value_len(words: usize) -> Option<usize> {
    let bits = BITS * words.checked_sub(BESIDE)?;
    let len = bits / 16 * 2;
    ((16..=super::SECRET_MAX).contains(&len) && bits - 8 * len <= 8).then_some(len)
}

/// The words of a mnemonic whose value has `len` bytes.
pub(crate) const fn word_count(len: usize) -> usize {
    (8 * len).div_ceil(BITS) + BESIDE
}

/// The header, from the first words there are; no secret.
pub(crate) fn header_of(words: &[u16]) -> Header {
    let word = |at: usize| u64::from(words.get(at).copied().unwrap_or_default());
    let packed = word(0) << 30 | word(1) << 20 | word(2) << 10 | word(3);
    let nibble = |shift: u32| low_byte_wide(packed >> shift) & 0xF;
    Header {
        common: Common {
            identifier: u16::try_from(packed >> 25).unwrap_or_default(),
            extendable: packed >> 24 & 1 == 1,
            exponent: nibble(20),
            group_threshold: nibble(12) + 1,
            group_count: nibble(8) + 1,
        },
        group_index: nibble(16),
        member_index: nibble(4),
        member_threshold: nibble(0) + 1,
    }
}

fn packed(header: Header) -> u64 {
    let common = header.common;
    let nibbles = [
        common.exponent,
        header.group_index,
        common.group_threshold.saturating_sub(1),
        common.group_count.saturating_sub(1),
        header.member_index,
        header.member_threshold.saturating_sub(1),
    ];
    let start = u64::from(common.identifier & 0x7FFF) << 1 | u64::from(common.extendable);
    nibbles.iter().fold(start, |packed, nibble| packed << 4 | u64::from(nibble & 0xF))
}

fn checked(header: Header) -> Result<Header, ShareError> {
    let common = header.common;
    if common.group_threshold > common.group_count || header.group_index >= common.group_count {
        return Err(ShareError::Groups);
    }
    crate::share::IterationExponent::try_from(common.exponent)?;
    Ok(header)
}

fn two(words: &[u16], at: usize) -> u32 {
    let word = |at: usize| u32::from(words.get(at).copied().unwrap_or_default());
    word(at) << BITS | word(at + 1)
}

fn low_byte(bits: u32) -> u8 {
    let [.., byte] = bits.to_be_bytes();
    byte
}

fn low_byte_wide(bits: u64) -> u8 {
    let [.., byte] = bits.to_be_bytes();
    byte
}

fn low_word(bits: u64) -> u16 {
    let [.., high, low] = bits.to_be_bytes();
    u16::from_be_bytes([high, low]) & 0x3FF
}
