//! From text to words and back, in a time that tells the length of the text and the number of its words only.

use secmem::SecretBytes;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _, ConstantTimeGreater as _};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::words::{self, LETTERS_MAX, NO_WORD};

/// The words of the longest mnemonic: 4 before the value, 26 of 32 bytes, 3 of checksum.
pub(crate) const WORDS_MAX: usize = 33;

/// The longest text that is read: far more than [`WORDS_MAX`] words with a line each.
pub(crate) const TEXT_MAX: usize = 4096;

/// The places of a mnemonic's words in the list. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Indices {
    pub(crate) words: [u16; WORDS_MAX],
    pub(crate) count: usize,
}

impl Indices {
    pub(crate) fn get(&self) -> &[u16] {
        self.words.get(..self.count).unwrap_or_default()
    }
}

/// The words of a text, each as a number (see [`words`]). Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Spelled {
    slots: [u64; SLOTS],
    /// At most [`SLOTS`].
    count: u8,
    current: u64,
    begun: u8,
    spoiled: u8,
    /// As people copy it, see [`Spelled::read_copied`].
    copied: u8,
}

/// One more than any mnemonic has.
const SLOTS: usize = WORDS_MAX + 1;

impl Spelled {
    /// Reads a text; the words after the first [`SLOTS`] are not kept.
    pub(crate) fn read(text: &[u8]) -> Self {
        Self::read_as(text, 0)
    }

    /// Reads a text as people copy it from a sheet: digits and marks between words are spaces, so that each word may have
    /// its number before it, and the first four letters stand for a word.
    pub(crate) fn read_copied(text: &[u8]) -> Self {
        Self::read_as(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text), 1)
    }

    fn read_as(text: &[u8], copied: u8) -> Self {
        let mut spelled = Self { slots: [0; SLOTS], count: 0, current: 0, begun: 0, spoiled: 0, copied };
        for byte in text.iter().chain(b" ") {
            spelled.take(*byte);
        }
        spelled
    }

    /// How many there are, [`SLOTS`] at most.
    pub(crate) fn count(&self) -> usize {
        self.count.into()
    }

    /// The word at `at` as a number.
    pub(crate) fn word(&self, at: usize) -> u64 {
        self.slots.get(at).copied().unwrap_or(NO_WORD)
    }

    /// Where the words are in the list; `Err` has the place, from 0, of the first that is not in it.
    pub(crate) fn looked_up(&self, count: usize) -> Result<Indices, usize> {
        let mut indices = Indices { words: [0; WORDS_MAX], count: count.min(WORDS_MAX) };
        let mut first_unknown = u64::MAX;
        for (at, (slot, index)) in (0_u64..).zip(self.slots.iter().take(count).zip(&mut indices.words)) {
            // How it is read is no secret.
            let look_up = if self.copied == 0 { words::index_of } else { words::index_of_short };
            let (found_at, found) = look_up(*slot);
            *index = found_at;
            first_unknown.conditional_assign(&at, !found & first_unknown.ct_eq(&u64::MAX));
        }
        // From here on it is no secret: whoever typed it is told.
        usize::try_from(first_unknown).ok().filter(|at| *at < count).map_or(Ok(indices), Err)
    }

    fn take(&mut self, byte: u8) {
        let is_upper = between(byte, b'A', b'Z');
        let byte = u8::conditional_select(&byte, &(byte | 0x20), is_upper);
        let is_letter = between(byte, b'a', b'z');
        let is_space = byte.ct_eq(&b' ') | byte.ct_eq(&b'\n') | byte.ct_eq(&b'\r') | byte.ct_eq(&b'\t');
        let is_mark = BETWEEN.iter().fold(between(byte, b'0', b'9'), |is, mark| is | byte.ct_eq(mark));
        let is_space = is_space | (is_mark & Choice::from(self.copied));

        let ends = is_space & Choice::from(self.begun);
        let word = u64::conditional_select(&self.current, &NO_WORD, Choice::from(self.spoiled));
        for (at, slot) in (0_u8..).zip(&mut self.slots) {
            slot.conditional_assign(&word, ends & at.ct_eq(&self.count));
        }
        let more = self.count.wrapping_add(1);
        self.count.conditional_assign(&more, ends & SLOTS_U8.ct_gt(&self.count));

        let too_long = is_letter & !(self.current >> 56).ct_eq(&0);
        let longer = self.current << 8 | u64::from(byte);
        self.current.conditional_assign(&longer, is_letter);
        self.spoiled |= (too_long | !(is_letter | is_space)).unwrap_u8();
        self.begun |= (!is_space).unwrap_u8();

        self.current.conditional_assign(&0, is_space);
        self.spoiled.conditional_assign(&0, is_space);
        self.begun.conditional_assign(&0, is_space);
    }
}

#[allow(clippy::as_conversions, clippy::cast_possible_truncation)] // A constant: 34.
const SLOTS_U8: u8 = SLOTS as u8;

/// What stands between words that were copied; the last two are the bytes of a space that does not break.
const BETWEEN: &[u8] = b".,;:()'\"\xc2\xa0";
/// What editors write before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn between(byte: u8, first: u8, last: u8) -> Choice {
    !first.ct_gt(&byte) & !byte.ct_gt(&last)
}

/// The mnemonic: the words with one space between them.
pub(crate) fn written(indices: &Indices) -> SecretBytes {
    // Each word with its first letter in the highest byte, and where it begins in the text.
    let mut places = Zeroizing::new([(0_u64, 0_u16); WORDS_MAX]);
    let mut end = 0_u16;
    for (place, index) in places.iter_mut().zip(indices.get()) {
        let mut letters = words::letters_of(*index);
        let mut length = u16::try_from(LETTERS_MAX).unwrap_or_default();
        for _ in 0..LETTERS_MAX {
            let shorter = (letters >> 56).ct_eq(&0);
            letters.conditional_assign(&(letters << 8), shorter);
            length.conditional_assign(&length.wrapping_sub(1), shorter);
        }
        *place = (letters, end);
        end = end.wrapping_add(length).wrapping_add(1);
    }
    // The length of the whole is known from here on, as it is to all who ever see it written.
    SecretBytes::with_len(usize::from(end).saturating_sub(1), |text| {
        for (at, byte) in (0_u16..).zip(text) {
            *byte = b' ';
            for (letters, start) in places.iter().take(indices.count) {
                for (letter, offset) in letters.to_be_bytes().iter().zip(0_u16..) {
                    let here = at.ct_eq(&start.wrapping_add(offset)) & !letter.ct_eq(&0);
                    byte.conditional_assign(letter, here);
                }
            }
        }
    })
}
