//! A page of the terminal of its own, for words that must not stay on it: the alternate screen, without echo and signals.

use crate::error::Failure;
use crate::interrupt;
use crate::prompt::{Hidden, Terminal};

/// The page; cleared and left when dropped.
pub(crate) struct Page<'a> {
    terminal: &'a Terminal,
    /// Put back after the page is left.
    hidden: Hidden<'a>,
}

impl<'a> Page<'a> {
    /// Turns to a new page.
    ///
    /// # Errors
    /// `IO` for a terminal that is gone.
    pub(crate) fn begin(terminal: &'a Terminal) -> Result<Self, Failure> {
        let page = Self { terminal, hidden: terminal.hide()? };
        page.hidden.clears(LEAVE);
        page.write(ENTER)?;
        Ok(page)
    }

    /// Shows these lines in place of what was shown.
    pub(crate) fn draw(&self, lines: &[Line<'_>]) -> Result<(), Failure> {
        let _writing = interrupt::writing();
        self.write(HOME)?;
        for line in lines {
            for part in line {
                self.write(part)?;
            }
            self.write(END_OF_LINE)?;
        }
        self.write(REST)
    }

    /// The next byte that is typed.
    pub(crate) fn key(&self) -> Result<Option<u8>, Failure> {
        self.terminal.byte()
    }

    /// The same; `None` once `changed` says so.
    pub(crate) fn key_unless(&self, changed: impl Fn() -> bool) -> Result<Option<Option<u8>>, Failure> {
        while !self.terminal.has_byte()? {
            if changed() {
                return Ok(None);
            }
        }
        self.key().map(Some)
    }

    /// Written piece by piece, so that no buffer of ours gathers words.
    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.terminal.write_bytes(bytes)
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let _writing = interrupt::writing();
        let _ = self.write(LEAVE);
    }
}

/// The parts of one line.
pub(crate) type Line<'a> = Vec<&'a [u8]>;

/// Cleared on entering and on leaving as well: there are terminals that know no other screen.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[H";
const LEAVE: &[u8] = b"\x1b[2J\x1b[H\x1b[?1049l";
const HOME: &[u8] = b"\x1b[H";
const END_OF_LINE: &[u8] = b"\x1b[K\r\n";
const REST: &[u8] = b"\x1b[J";
