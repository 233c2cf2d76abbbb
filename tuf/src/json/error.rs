//! What is wrong with a JSON text, and where.

/// Why a text was refused, with its place. Lines and columns start at 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct Error {
    /// Offset in bytes from the beginning of the text.
    pub position: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// More bytes than the caller allows.
    #[error("text longer than the {limit} bytes allowed")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// More values than a text of this length may reasonably hold: memory would grow out of proportion.
    #[error("more than {limit} values, too many for a text of this length")]
    TooManyValues {
        /// The limit in values.
        limit: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// The text ends in the middle of a value.
    #[error("unexpected end of the text")]
    UnexpectedEnd,
    /// A character that cannot stand here.
    #[error("unexpected character {found:?}, expected {expected}")]
    Unexpected {
        /// What stands there.
        found: char,
        /// What could stand there.
        expected: &'static str,
    },
    /// Something follows the value.
    #[error("bytes after the end of the value")]
    TrailingBytes,
    /// A member name that the same object already has.
    #[error("duplicate member {name:?}")]
    Duplicate {
        /// The name, shortened to 64 characters.
        name: String,
    },
    /// A number with a fraction.
    #[error("number with a fraction; TUF has integers only")]
    Float,
    /// A number with an exponent.
    #[error("number with an exponent; TUF has integers only")]
    Exponent,
    /// `-0`, which has no canonical form.
    #[error("number -0, which has no canonical form")]
    NegativeZero,
    /// A number that begins with a zero.
    #[error("number with a leading zero")]
    LeadingZero,
    /// Objects and arrays inside each other too often.
    #[error("objects and arrays nested deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// A control character that must be escaped.
    #[error("raw control character U+{code:04X} inside a string")]
    ControlCharacter {
        /// Its code point.
        code: u32,
    },
    /// A backslash that begins no known escape.
    #[error("bad escape in a string")]
    BadEscape,
    /// Half of a surrogate pair.
    #[error("lone surrogate \\u{code:04x} in a string")]
    LoneSurrogate {
        /// The code unit.
        code: u32,
    },
}

impl Error {
    /// The error of `kind` at byte `position` of `text`.
    pub(crate) fn at(text: &[u8], position: usize, kind: ErrorKind) -> Self {
        let (line, column) = line_and_column(text, position);
        Self { position, line, column, kind }
    }
}

/// Line and column (characters), both from 1, of the byte `position`.
pub(crate) fn line_and_column(text: &[u8], position: usize) -> (usize, usize) {
    let before = text.get(..position.min(text.len())).unwrap_or(text);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column =
        before.iter().rev().take_while(|b| **b != b'\n').filter(|b| (**b & 0xC0) != 0x80).count() + 1;
    (line, column)
}
