//! A share that is typed: words are completed from four letters, and judged as soon as they can be.

use custody::{Share, SignedManifest, Word, check_so_far, complete_word};
use zeroize::{Zeroize, Zeroizing};

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
    words: Zeroizing<Vec<[u8; LONGEST]>>,
    /// The word that is being typed: a new one, or, where somebody went back to it, one of `words`.
    at: usize,
    letters: Zeroizing<Vec<u8>>,
    /// The number of a word to go back to.
    number: String,
    shown: bool,
    message: String,
}

impl<'a> Typing<'a> {
    fn new(wanted: Wanted<'a>) -> Self {
        Self {
            wanted,
            // Full size at once: a buffer that grows leaves copies behind.
            words: Zeroizing::new(Vec::with_capacity(WORDS)),
            at: 0,
            letters: Zeroizing::new(Vec::with_capacity(LONGEST)),
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
        if self.number.pop().is_some() || self.letters.pop().is_some() {
            return;
        }
        if self.at == self.words.len()
            && let Some(mut word) = self.words.pop()
        {
            self.letters.extend(word.iter().take_while(|letter| **letter != 0));
            word.zeroize();
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
            self.letters.zeroize();
            return Turn::On;
        }
        let mut slot = [0; LONGEST];
        slot.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
        match self.words.get_mut(self.at) {
            Some(place) => *place = slot,
            None => self.words.push(slot),
        }
        slot.zeroize();
        self.letters.zeroize();
        self.at = self.words.len();
        self.judge()
    }

    /// Looks at what is there: it may be of another set already, or be complete.
    fn judge(&mut self) -> Turn {
        let text = self.text();
        self.message.clear();
        if let (Wanted::Of(manifest), Ok(so_far)) = (self.wanted, check_so_far(&text)) {
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
        match Share::parse(&text) {
            Ok(share) => Turn::Done(share),
            Err(why) => {
                self.message = format!("{why}; ? shows the words, a number goes back to one");
                Turn::On
            }
        }
    }

    /// The one word that begins as what was typed of it.
    fn completed(&self) -> Option<Word> {
        complete_word(std::str::from_utf8(&self.letters).ok()?).ok().flatten()
    }

    /// The words with spaces between them.
    fn text(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(WORDS * (LONGEST + 1)));
        for word in self.words.iter() {
            text.extend(word.iter().take_while(|letter| **letter != 0));
            text.push(b' ');
        }
        text.pop();
        text
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
                &self.letters,
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
            lines.extend(rows(self.words.iter().map(<[u8; LONGEST]>::as_slice), &numbers));
        }
        page.draw(&lines)
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
