//! Help for whoever types a share.

use std::fmt;

use secmem::{SecretBytes, StackError, on_locked_stack};

use crate::share::{Share, ShareError};
use crate::slip39::mnemonic;
use crate::slip39::text::{Spelled, TEXT_MAX};
use crate::slip39::words::{self, LETTERS_MAX, NO_WORD};

/// A word of the list. Shown by [`Word::reveal`] alone.
pub struct Word(SecretBytes);

impl Word {
    /// Its letters.
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(self.0.reveal_secret_bytes()).unwrap_or_default()
    }

    fn new(letters: u64) -> Self {
        let bytes = letters.to_be_bytes();
        let blank = bytes.iter().take_while(|letter| **letter == 0).count();
        Self(SecretBytes::copy_from(bytes.get(blank..).unwrap_or_default()))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Word(..)")
    }
}

/// The one word that begins so, if there is exactly one. Four letters always suffice.
///
/// # Errors
/// [`StackError`] when there is no thread for the work.
pub fn complete_word(prefix: &str) -> Result<Option<Word>, StackError> {
    if prefix.is_empty() || prefix.len() > LETTERS_MAX {
        return Ok(None);
    }
    on_locked_stack(|| {
        let spelled = Spelled::read(prefix.as_bytes());
        let (word, count) = words::beginning_with(spelled.word(0), prefix.len());
        (spelled.count() == 1 && count == 1).then(|| Word::new(word))
    })
}

/// Whether the text is one word of the list.
///
/// # Errors
/// [`StackError`] when there is no thread for the work.
pub fn is_word(text: &str) -> Result<bool, StackError> {
    on_locked_stack(|| {
        let spelled = Spelled::read(text.as_bytes().get(..TEXT_MAX).unwrap_or(text.as_bytes()));
        spelled.count() == 1 && spelled.looked_up(1).is_ok()
    })
}

/// What can be said of a share while it is being typed. Holds no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoFar {
    /// How many whole words there are. A beginning of a word at the end of the text does not count.
    pub words: usize,
    /// Which word, from 1, is none of the list's, nor the beginning of one if it is the last.
    pub unknown: Option<usize>,
    /// The identifier of the set, once two words are there: those of another set can be told from here on.
    pub identifier: Option<u16>,
    /// Group and place in the group, from 0, once four words are there.
    pub member: Option<(u8, u8)>,
    /// Whether the words are a whole share: said whenever they are as many as some share has (20, 22, 23, 25, 27, 28, 30, 31,
    /// 33), so look at it when as many are there as are wanted.
    pub finished: Option<Result<(), ShareError>>,
}

/// Looks at a share that is being typed.
///
/// # Errors
/// [`StackError`] when there is no thread for the work.
pub fn check_so_far(text: &[u8]) -> Result<SoFar, StackError> {
    let text = text.get(..TEXT_MAX).unwrap_or(text);
    let mut found = on_locked_stack(|| so_far(text))?;
    let whole = found.unknown.is_none() && mnemonic::value_len(found.words).is_some();
    found.finished = whole.then(|| Share::parse(text).map(drop));
    Ok(found)
}

fn so_far(text: &[u8]) -> SoFar {
    let spelled = Spelled::read(text);
    let is_open = text.last().is_some_and(|byte| !byte.is_ascii_whitespace());
    let (mut words, mut begun) = (spelled.count(), false);
    if is_open && words > 0 && !bool::from(words::index_of(spelled.word(words - 1)).1) {
        words -= 1;
        begun = is_beginning(spelled.word(words));
    }
    let unknown = match spelled.looked_up(words) {
        Err(at) => Some(at + 1),
        Ok(_) if words < spelled.count() && !begun => Some(words + 1),
        Ok(_) => None,
    };
    let header = |wanted| {
        let indices = spelled.looked_up(words.min(4)).ok().filter(|_| words >= wanted)?;
        Some(mnemonic::header_of(indices.get()))
    };
    let identifier = header(2).map(|header| header.common.identifier);
    let member = header(4).map(|header| (header.group_index, header.member_index));
    SoFar { words, unknown, identifier, member, finished: None }
}

/// Whether some word begins so.
fn is_beginning(letters: u64) -> bool {
    let len = letters.to_be_bytes().iter().filter(|letter| **letter != 0).count();
    letters != NO_WORD && words::beginning_with(letters, len).1 > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: &str = "duckling enlarge academic academic agency result length solution fridge kidney coal piece deal \
                         husband erode duke ajar critical decision keyboard";

    #[test]
    fn a_word_is_completed_once_no_other_begins_so() {
        let completed = |prefix| complete_word(prefix).unwrap().map(|word| word.reveal().to_owned());
        assert_eq!(completed("ac"), None);
        assert_eq!(completed("acad").as_deref(), Some("academic"));
        assert_eq!(completed("ACAD").as_deref(), Some("academic"));
        assert_eq!(completed("zer").as_deref(), Some("zero"));
        for none in ["", " ", "acadx", "acad emi", "é", "academically", "0"] {
            assert_eq!(completed(none), None, "{none}");
        }
        assert!(is_word("Zero").unwrap() && !is_word("zer").unwrap() && !is_word("acid acid").unwrap());
    }

    #[test]
    fn what_is_typed_is_judged_as_it_grows() {
        for end in 0..=SHARE.len() {
            let found = check_so_far(&SHARE.as_bytes()[..end]).unwrap();
            assert_eq!(found.unknown, None, "{end}");
            let whole = SHARE[..end].split(' ').filter(|word| is_word(word).unwrap()).count();
            assert_eq!(found.words, whole, "{end}");
            assert_eq!(found.identifier, (whole >= 2).then_some(7945), "{end}");
            assert_eq!(found.member, (whole >= 4).then_some((0, 0)), "{end}");
            assert_eq!(found.finished, (whole == 20).then_some(Ok(())), "{end}");
        }
    }

    #[test]
    fn a_slip_is_found_where_it_is() {
        let unknown = |text: &str| check_so_far(text.as_bytes()).unwrap().unknown;
        assert_eq!(unknown("duckling enlarged aca"), Some(2));
        assert_eq!(unknown("duckling enlx"), Some(2));
        assert_eq!(unknown("duckling enl "), Some(2));
        assert_eq!(unknown("duckling 1"), Some(2));
        let swapped = SHARE.replacen("length solution", "solution length", 1);
        let found = check_so_far(swapped.as_bytes()).unwrap();
        assert_eq!(found.finished, Some(Err(ShareError::Checksum)));
    }
}
