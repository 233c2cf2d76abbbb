//! A share that is typed: words are completed from four letters, and judged as soon as they can be.

use custody::{SecretBytes, Share, SignedManifest, Word, check_so_far, complete_word};
use zeroize::Zeroize;

use super::page::{Line, Page};
use crate::error::{Failure, reason};
use crate::prompt::Terminal;

/// What is to be typed.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Any share.
    Any,
    /// A share of this set.
    Of(&'a SignedManifest),
    /// These words, which were shown before.
    Same(&'a [u8]),
}

/// Asks for a share at the terminal. Nothing of it stays on the screen.
///
/// # Errors
/// `USAGE` without a terminal; `CANCELLED` for Ctrl-C and Ctrl-D.
pub(crate) fn type_share(title: &str, wanted: Wanted<'_>) -> Result<Share, Failure> {
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(reason::USAGE, "there is no terminal to type a share at")
            .remedy("name the file that holds it, or run it on a terminal"));
    };
    super::harden();
    let page = Page::begin(&terminal)?;
    let mut next = || Ok(page.key()?.map_or(Stroke::Key(CTRL_C), Stroke::Key));
    // Nothing but a key comes, so nothing makes it needless.
    type_on(&page, title, wanted, String::new(), &mut next)?.ok_or_else(left)
}

/// What happens while a share is typed.
pub(super) enum Stroke {
    /// A key.
    Key(u8),
    /// How the collection stands now.
    News(String),
    /// No share is needed any more.
    Over,
}

/// The same on a page, with `news` below the title; `None` when no share is needed any more.
///
/// # Errors
/// `CANCELLED` for Ctrl-C and Ctrl-D; what `next` ends with.
pub(super) fn type_on(
    page: &Page<'_>,
    title: &str,
    wanted: Wanted<'_>,
    mut news: String,
    next: &mut dyn FnMut() -> Result<Stroke, Failure>,
) -> Result<Option<Share>, Failure> {
    let mut typing = Typing::new(wanted);
    loop {
        typing.draw(page, title, &news)?;
        match next()? {
            Stroke::Key(key) => match typing.take(key) {
                Turn::On => {}
                Turn::Done(share) => return Ok(Some(share)),
                Turn::Leave => return Err(left()),
            },
            Stroke::News(now) => news = now,
            Stroke::Over => return Ok(None),
        }
    }
}

fn left() -> Failure {
    Failure::cancelled("no share was typed")
}

/// What a key led to.
enum Turn {
    On,
    Done(Share),
    Leave,
}

/// What was typed so far.
struct Typing<'a> {
    wanted: Wanted<'a>,
    words: Words,
    /// The word that is being typed: a new one, or, where somebody went back to it, one of `words`.
    at: usize,
    letters: Letters,
    /// The number of a word to go back to.
    number: String,
    shown: bool,
    message: String,
}

impl<'a> Typing<'a> {
    fn new(wanted: Wanted<'a>) -> Self {
        Self {
            wanted,
            words: Words::new(),
            at: 0,
            letters: Letters::new(),
            number: String::new(),
            shown: false,
            message: String::new(),
        }
    }

    fn take(&mut self, key: u8) -> Turn {
        self.shown = key == b'?' && !self.shown;
        match key {
            CTRL_C | CTRL_D => return Turn::Leave,
            b' ' | b'\t' | b'\r' | b'\n' => return self.end_of_word(),
            BACKSPACE | DELETE => self.back(),
            b'0'..=b'9' if self.letters.is_empty() && self.number.len() < 2 => {
                self.number.push(char::from(key))
            }
            b'a'..=b'z' | b'A'..=b'Z' if self.letters.len() < LONGEST => {
                self.number.clear();
                self.message.clear();
                self.letters.push(key.to_ascii_lowercase());
            }
            _ => {}
        }
        Turn::On
    }

    fn back(&mut self) {
        self.message.clear();
        if self.number.pop().is_some() || self.letters.pop() {
            return;
        }
        if self.at == self.words.len() {
            self.words.take_last(&mut self.letters);
        }
        self.at = self.words.len();
    }

    fn end_of_word(&mut self) -> Turn {
        if !self.number.is_empty() {
            let number: usize = std::mem::take(&mut self.number).parse().unwrap_or_default();
            match number.checked_sub(1).filter(|at| *at < self.words.len()) {
                Some(at) => self.at = at,
                None => self.message = "there is no word of that number yet".into(),
            }
            return Turn::On;
        }
        if self.letters.is_empty() {
            return if self.words.len() == WORDS { self.judge() } else { Turn::On };
        }
        if self.words.len() == WORDS && self.at == WORDS {
            self.message =
                format!("there are {WORDS} words already: a number goes back to one, ? shows them");
            self.letters.clear();
            return Turn::On;
        }
        let Some(word) = self.completed() else {
            self.message = match self.letters.len() {
                0..=3 => "several words of the list begin so, or none: type more of it".into(),
                _ => "no word of the list begins so".into(),
            };
            return Turn::On;
        };
        let word = word.reveal().as_bytes();
        if let Wanted::Same(words) = self.wanted
            && words.split(|byte| *byte == b' ').nth(self.at) != Some(word)
        {
            self.message = format!("this is not word {} as it was shown", self.at.saturating_add(1));
            self.letters.clear();
            return Turn::On;
        }
        self.words.put(self.at, word);
        self.letters.clear();
        self.at = self.words.len();
        self.judge()
    }

    /// Looks at what is there: it may be of another set already, or be complete.
    fn judge(&mut self) -> Turn {
        let text = self.text();
        self.message.clear();
        if let (Wanted::Of(manifest), Ok(so_far)) = (self.wanted, check_so_far(text.reveal_secret_bytes())) {
            if so_far.identifier.is_some_and(|found| found != manifest.identifier()) {
                self.message = "these words are of another set: is it the right sheet?".into();
            } else if let Some(place) = so_far.member {
                let mut members = manifest.members().iter().map(|member| &member.custodian);
                if let Some(whose) = members.find(|whose| (whose.group, whose.member) == place) {
                    self.message = format!("the share of {whose}");
                }
            }
        }
        if self.words.len() < WORDS {
            return Turn::On;
        }
        match Share::parse(text.reveal_secret_bytes()) {
            Ok(share) => Turn::Done(share),
            Err(why) => {
                self.message = format!("{why}; ? shows the words, a number goes back to one");
                Turn::On
            }
        }
    }

    /// The one word that begins as what was typed of it.
    fn completed(&self) -> Option<Word> {
        complete_word(std::str::from_utf8(self.letters.typed()).ok()?).ok().flatten()
    }

    /// The words with spaces between them.
    fn text(&self) -> SecretBytes {
        let mut length: usize = 0;
        let text = SecretBytes::with_len(WORDS * (LONGEST + 1), |buffer| {
            let words = self.words.each().flat_map(|word| word.iter().chain(b" "));
            let mut places = buffer.iter_mut();
            for (letter, place) in words.zip(&mut places) {
                *place = *letter;
                length = length.saturating_add(1);
            }
        });
        text.shortened_to(length.saturating_sub(1))
    }

    fn draw(&self, page: &Page<'_>, title: &str, news: &str) -> Result<(), Failure> {
        let completed = self.completed();
        let rest = completed.as_ref().and_then(|word| word.reveal().as_bytes().get(self.letters.len()..));
        let place = format!("word {:>2} of {WORDS}: ", self.at.saturating_add(1).min(WORDS));
        let mut lines: Vec<Line<'_>> = vec![
            vec![title.as_bytes()],
            vec![news.as_bytes()],
            vec![
                place.as_bytes(),
                self.number.as_bytes(),
                self.letters.typed(),
                DIM,
                rest.unwrap_or_default(),
                PLAIN,
            ],
            vec![],
            vec![self.message.as_bytes()],
            vec![],
            vec![HELP.as_bytes()],
        ];
        let numbers: Vec<String> = (1..=WORDS).map(|number| format!("{number:>3} ")).collect();
        if self.shown {
            lines.push(vec![]);
            lines.extend(rows(self.words.each(), &numbers));
        }
        page.draw(&lines)
    }
}

/// The letters of one word, in locked memory: a custodian takes minutes for a share.
struct Letters {
    bytes: SecretBytes,
    count: usize,
}

impl Letters {
    fn new() -> Self {
        Self { bytes: SecretBytes::with_len(LONGEST, |_| {}), count: 0 }
    }

    fn typed(&self) -> &[u8] {
        self.bytes.reveal_secret_bytes().get(..self.count).unwrap_or_default()
    }

    const fn len(&self) -> usize {
        self.count
    }

    const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn push(&mut self, letter: u8) {
        let at = self.count;
        self.bytes.change_secret_bytes(|bytes| {
            if let Some(place) = bytes.get_mut(at) {
                *place = letter;
                self.count = at.saturating_add(1);
            }
        });
    }

    /// Takes the last one away; false when there was none.
    fn pop(&mut self) -> bool {
        let Some(last) = self.count.checked_sub(1) else { return false };
        self.count = last;
        self.bytes.change_secret_bytes(|bytes| bytes.iter_mut().skip(last).for_each(|place| *place = 0));
        true
    }

    fn clear(&mut self) {
        self.count = 0;
        self.bytes.change_secret_bytes(|bytes| bytes.zeroize());
    }
}

/// The words that there are, in locked memory, each in a place of its own that is filled up with zeros.
struct Words {
    bytes: SecretBytes,
    count: usize,
}

impl Words {
    fn new() -> Self {
        Self { bytes: SecretBytes::with_len(WORDS * LONGEST, |_| {}), count: 0 }
    }

    const fn len(&self) -> usize {
        self.count
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let places = self.bytes.reveal_secret_bytes().chunks(LONGEST).take(self.count);
        places.map(|place| place.split(|letter| *letter == 0).next().unwrap_or_default())
    }

    /// In the place of a word, or behind the last.
    fn put(&mut self, at: usize, word: &[u8]) {
        self.bytes.change_secret_bytes(|bytes| {
            if let Some(place) = bytes.chunks_mut(LONGEST).nth(at) {
                place.zeroize();
                place.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
                self.count = self.count.max(at.saturating_add(1));
            }
        });
    }

    /// The last one becomes what is being typed.
    fn take_last(&mut self, letters: &mut Letters) {
        let Some(last) = self.count.checked_sub(1) else { return };
        letters.clear();
        self.each().nth(last).unwrap_or_default().iter().for_each(|letter| letters.push(*letter));
        self.put(last, &[]);
        self.count = last;
    }
}

/// Words in three columns, numbered from the top.
pub(super) fn rows<'w>(words: impl Iterator<Item = &'w [u8]>, numbers: &'w [String]) -> Vec<Line<'w>> {
    let mut rows = vec![Line::new(); WORDS.div_ceil(COLUMNS)];
    let count = rows.len();
    for (at, (word, number)) in words.zip(numbers).enumerate() {
        let end = word.iter().position(|letter| *letter == 0).unwrap_or(word.len());
        if let Some(row) = rows.get_mut(at % count) {
            let pad = PAD.get(end..).unwrap_or_default();
            row.extend([number.as_bytes(), word.get(..end).unwrap_or_default(), pad]);
        }
    }
    rows
}

/// Words of a share of a key.
pub(super) const WORDS: usize = 33;
const COLUMNS: usize = 3;
/// The longest word of the list.
const LONGEST: usize = 8;
const PAD: &[u8] = b"            ";
const DIM: &[u8] = b"\x1b[2m";
const PLAIN: &[u8] = b"\x1b[0m";
const HELP: &str = "four letters are enough · space takes the word · backspace goes back · ? shows what is there · Ctrl-C leaves";
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed, and the words that are there then.
    fn typed(keys: &str) -> (String, String) {
        let mut typing = Typing::new(Wanted::Any);
        for key in keys.bytes() {
            assert!(matches!(typing.take(key), Turn::On));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(typing.text().reveal_secret_bytes()), text(typing.letters.typed()))
    }

    #[test]
    fn words_are_completed_taken_back_and_put_right_where_they_stand() {
        let both = |words: &str, letters: &str| (words.to_owned(), letters.to_owned());
        assert_eq!(typed(""), both("", ""));
        assert_eq!(typed("acad ROMP aci"), both("academic romp", "aci"));
        // Backspace over the space gives the last word back, letter by letter.
        assert_eq!(typed("acad romp \u{7f}\u{7f}"), both("academic", "rom"));
        assert_eq!(
            typed("acad \u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}romp "),
            both("romp", "")
        );
        // A shorter word takes the place of a longer one whole.
        assert_eq!(typed("acad quick 1 romp "), both("romp quick", ""));
        assert_eq!(typed("abcdefghijkl"), both("", "abcdefgh"));
    }
}
