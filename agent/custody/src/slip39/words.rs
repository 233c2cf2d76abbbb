//! The English word list of SLIP-0039, read without an index or a branch that tells which word it was.
//!
//! A word is a number: its letters, the last one in the lowest byte, zeros above. Every look-up goes over all 1024 words.

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// How many words there are.
pub(crate) const COUNT: usize = 1024;

/// The longest word's letters.
pub(crate) const LETTERS_MAX: usize = 8;

/// No word: what a text that cannot be one is taken for.
pub(crate) const NO_WORD: u64 = u64::MAX;

/// The place of a word in the list; 0 and false for one that is not in it.
pub(crate) fn index_of(letters: u64) -> (u16, Choice) {
    place(|word| word.ct_eq(&letters))
}

/// The same, where the first four letters stand for a word: no two of the list have the same.
pub(crate) fn index_of_short(letters: u64) -> (u16, Choice) {
    // The lengths of the list's words are no secret: all of them are gone over.
    let head = |word| word >> (8 * letter_count(word).saturating_sub(4));
    place(|word| word.ct_eq(&letters) | head(word).ct_eq(&letters))
}

fn place(is_it: impl Fn(u64) -> Choice) -> (u16, Choice) {
    let (mut index, mut found) = (0, Choice::from(0));
    for (at, word) in (0_u16..).zip(&WORDS) {
        let here = is_it(*word);
        index.conditional_assign(&at, here);
        found |= here;
    }
    (index, found)
}

/// The word at a place.
pub(crate) fn letters_of(index: u16) -> u64 {
    let mut letters = 0;
    for (at, word) in (0_u16..).zip(&WORDS) {
        letters.conditional_assign(word, at.ct_eq(&index));
    }
    letters
}

/// The last word that begins with `prefix`, which has `len` letters, and how many do.
pub(crate) fn beginning_with(prefix: u64, len: usize) -> (u64, u16) {
    let (mut found, mut count) = (0, 0_u16);
    for word in &WORDS {
        // The length of this word of the list, and of what was typed; neither is secret.
        let Some(more) = letter_count(*word).checked_sub(len) else { continue };
        let here = (*word >> (8 * more)).ct_eq(&prefix);
        found.conditional_assign(word, here);
        count += u16::from(here.unwrap_u8());
    }
    (found, count)
}

/// How many letters a word of the list has.
fn letter_count(word: u64) -> usize {
    word.to_be_bytes().iter().filter(|letter| **letter != 0).count()
}

static WORDS: [u64; COUNT] = table(include_bytes!("english.txt"));

/// Reads the list: a word a line.
#[allow(clippy::indexing_slicing)] // When this is built: an index out of bounds would stop the build.
const fn table(text: &[u8]) -> [u64; COUNT] {
    let mut words = [0; COUNT];
    let (mut at, mut word, mut letters) = (0, 0, [0; 8]);
    while at < text.len() {
        if text[at] == b'\n' {
            words[word] = u64::from_be_bytes(letters);
            letters = [0; 8];
            word += 1;
        } else {
            let [_, rest @ ..] = letters;
            let [a, b, c, d, e, f, g] = rest;
            letters = [a, b, c, d, e, f, g, text[at]];
        }
        at += 1;
    }
    assert!(word == COUNT, "the list has 1024 words");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<&'static str> {
        include_str!("english.txt").lines().collect()
    }

    fn letters(word: &str) -> u64 {
        word.bytes().fold(0, |letters, byte| letters << 8 | u64::from(byte))
    }

    #[test]
    fn the_list_is_the_standards_sorted_and_told_apart_by_four_letters() {
        let list = list();
        assert!(list.len() == COUNT && list.is_sorted());
        assert_eq!((list[0], list[1023]), ("academic", "zero"));
        assert!(list.windows(2).all(|pair| pair[0][..4] != pair[1][..4]));
        assert!(list.iter().all(|word| (4..=LETTERS_MAX).contains(&word.len())));
        // Of the list in the standard's own repository.
        let digest = tuf::digest::Sha256Digest::of(include_bytes!("english.txt")).to_string();
        assert_eq!(digest, "bcc4555340332d169718aed8bf31dd9d5248cb7da6e5d355140ef4f1e601eec3");
    }

    #[test]
    fn every_word_is_found_at_its_place_and_by_its_first_four_letters() {
        for (at, word) in (0_u16..).zip(list()) {
            let (index, found) = index_of(letters(word));
            assert!(index == at && bool::from(found));
            assert_eq!(letters_of(at), letters(word));
            for (length, stands) in [(3, false), (4, true), (5, word.len() == 5), (word.len(), true)] {
                let short = word.get(..length).unwrap_or(word);
                let (index, found) = index_of_short(letters(short));
                assert_eq!(bool::from(found), stands || word.len() == 4 && length > 3, "{short} of {word}");
                assert!(!bool::from(found) || index == at, "{short} of {word}");
            }
            assert_eq!(beginning_with(letters(&word[..4]), 4), (letters(word), 1));
        }
        for none in [0, NO_WORD, letters("acidic"), letters("aci")] {
            assert!(!bool::from(index_of(none).1));
        }
        assert_eq!(beginning_with(letters("ac"), 2).1, 7);
    }
}
