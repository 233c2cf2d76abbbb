//! JSON as TUF allows it, as spans over the bytes that were read.
//!
//! A [`Document`] keeps the text and a flat tape of nodes of 16 bytes (one for each value and member name), not a tree
//! of copies. Integers only (of any size), no duplicate members, at most [`MAX_DEPTH`] levels; every refusal names byte, line and
//! column.

#[cfg(test)]
mod alike;
mod error;
mod near;
mod node;
mod parse;
mod scan;
mod splice;
mod text;

pub(crate) use error::line_and_column;
pub use error::{Error, ErrorKind};
use node::{CANONICAL, ESCAPED, Node, SORTED};
pub(crate) use splice::moved;
use std::{borrow::Cow, cmp::Ordering, ops::Range, sync::Arc};
pub use text::Text;

/// How many objects and arrays may lie inside each other.
pub const MAX_DEPTH: usize = 64;

/// No document is longer than this, whatever limit the caller gives: offsets are 32 bits wide.
pub const MAX_BYTES: usize = (1 << 28) - 1;

/// A JSON text and where everything lies in it.
#[derive(Debug)]
pub struct Document {
    bytes: Text,
    nodes: Vec<Node>,
    /// It holds, or held before a splice, an integer beyond 2^53 - 1.
    large: bool,
    /// No more levels than these lie inside each other.
    depth: usize,
}

impl Document {
    /// Reads `bytes` whole, at most `max_len` of them (and never more than [`MAX_BYTES`]).
    ///
    /// # Errors
    /// Whatever the module's head says is refused, with its place.
    pub fn parse(bytes: impl Into<Text>, max_len: usize) -> Result<Self, Error> {
        parse::parse(bytes.into(), max_len, parse::Strings::Strict)
    }

    /// Like [`Document::parse`], but strings may hold raw control characters, as canonical JSON writes them.
    pub(crate) fn parse_with_raw_controls(bytes: Text, max_len: usize) -> Result<Self, Error> {
        parse::parse(bytes, max_len, parse::Strings::RawControls)
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        self.value_at(0)
    }

    /// The text as it was read.
    pub fn bytes(&self) -> &Text {
        &self.bytes
    }

    /// The value of the node `index` (see [`Value::index`]).
    pub(crate) fn value_at(&self, index: u32) -> Value<'_> {
        Value { document: self, index }
    }

    /// The value after the one of the node `index`: of a member's name, what the member is.
    pub(crate) fn value_after(&self, index: u32) -> Value<'_> {
        self.value_at(self.node(index).next)
    }

    /// Integers beyond 2^53 - 1 inside `value`, as they stand in the text: they are kept digit for digit, and JavaScript
    /// clients read other numbers. Nearly always there are none, and nothing is walked over.
    pub fn large_integers(&self, value: Value<'_>) -> impl Iterator<Item = &str> {
        let inside = if self.large { value.index..value.node().next } else { 0..0 };
        inside
            .map(|index| self.value_at(index))
            .filter(|value| is_large(value.raw()))
            .map(|value| value.raw_str())
    }

    /// Bytes of memory that the tape takes, beside the text itself.
    pub fn tape_bytes(&self) -> usize {
        self.nodes.capacity().saturating_mul(size_of::<Node>())
    }

    fn node(&self, index: u32) -> Node {
        self.nodes.get(node::wide(index)).copied().unwrap_or_default()
    }
}

/// One value of a [`Document`]. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Value<'d> {
    document: &'d Document,
    index: u32,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// An integer of any size
    Integer,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

impl<'d> Value<'d> {
    /// What the value is.
    pub fn kind(self) -> Kind {
        match self.node().kind() {
            node::FALSE | node::TRUE => Kind::Bool,
            node::INTEGER => Kind::Integer,
            node::STRING => Kind::String,
            node::ARRAY => Kind::Array,
            node::OBJECT => Kind::Object,
            _ => Kind::Null,
        }
    }

    /// The member `name` of an object; `None` when there is none or this is no object. Takes a walk over the members.
    pub fn get(self, name: &str) -> Option<Self> {
        let mut members = self.members();
        let bytes = self.document.bytes();
        members
            .find(|(key, _)| decoded(bytes, &key.node()).as_ref() == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Names and values of an object's members, in the order of the text; empty for anything else.
    pub fn members(self) -> Members<'d> {
        Members { inside: self.inside(Kind::Object) }
    }

    /// The items of an array; empty for anything else.
    pub fn items(self) -> Items<'d> {
        Items { inside: self.inside(Kind::Array) }
    }

    /// How many members or items there are.
    pub fn len(self) -> usize {
        let count = self.node().count_usize();
        if count == node::wide(u32::MAX >> 6) { self.items().count() } else { count }
    }

    /// Whether there are no members or items.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The text of a string, unescaped; `None` for anything else.
    pub fn as_str(self) -> Option<Cow<'d, str>> {
        if self.kind() != Kind::String {
            return None;
        }
        Some(match decoded(self.document.bytes(), &self.node()) {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    /// A non-negative integer up to 2^53 - 1; `None` for anything else.
    pub fn as_u64(self) -> Option<u64> {
        self.as_i64().and_then(|number| u64::try_from(number).ok())
    }

    /// An integer between -(2^53 - 1) and 2^53 - 1; `None` for anything else.
    pub fn as_i64(self) -> Option<i64> {
        if self.kind() != Kind::Integer {
            return None;
        }
        self.raw_str().parse().ok().filter(|number: &i64| number.unsigned_abs() <= crate::MAX_INTEGER)
    }

    /// `true` or `false`; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        match self.node().kind() {
            node::TRUE => Some(true),
            node::FALSE => Some(false),
            _ => None,
        }
    }

    /// The bytes of the value as they stand in the text, quotes and brackets included.
    pub fn raw(self) -> &'d [u8] {
        self.document.bytes.get(self.span()).unwrap_or_default()
    }

    /// [`Value::raw`] as text.
    pub fn raw_str(self) -> &'d str {
        std::str::from_utf8(self.raw()).unwrap_or_default()
    }

    /// Where [`Value::raw`] lies in the text.
    pub fn span(self) -> Range<usize> {
        let node = self.node();
        node.start_usize()..node.end_usize()
    }

    /// Line and column of the value's first byte, from 1.
    pub fn line_and_column(self) -> (usize, usize) {
        line_and_column(self.document.bytes(), self.span().start)
    }

    /// The document that the value lies in.
    pub fn document(self) -> &'d Document {
        self.document
    }

    /// Indexes of the names of an object's members in the order of the names.
    pub(crate) fn name_indexes(self) -> Arc<[u32]> {
        let mut names: Vec<u32> = self.members().map(|(name, _)| name.index).collect();
        if !self.is_sorted() {
            names.sort_by_cached_key(|name| self.document.value_at(*name).decoded());
        }
        names.into()
    }

    /// Names this value inside its document.
    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// Whether the text of the value is its canonical form.
    pub(crate) fn is_canonical(self) -> bool {
        self.node().has(CANONICAL)
    }

    /// Whether the member names of the object rise strictly.
    pub(crate) fn is_sorted(self) -> bool {
        self.node().has(SORTED)
    }

    /// The bytes of a string without its quotes, unescaped.
    pub(crate) fn decoded(self) -> Cow<'d, [u8]> {
        decoded(&self.document.bytes, &self.node())
    }

    fn node(self) -> Node {
        self.document.node(self.index)
    }

    fn inside(self, kind: Kind) -> Inside<'d> {
        let node = self.node();
        let end = if self.kind() == kind { node.next } else { 0 };
        Inside { document: self.document, at: self.index.saturating_add(1), end }
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.raw_str())
    }
}

/// Whether the text of a value is that of an integer beyond 2^53 - 1, either way.
fn is_large(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    });
    number.is_some_and(|number| number > crate::MAX_INTEGER)
}

/// The members of an object; see [`Value::members`].
#[derive(Clone)]
pub struct Members<'d> {
    inside: Inside<'d>,
}

impl Members<'_> {
    /// Passes all members before the node `index`.
    pub(crate) fn skip_to(&mut self, index: u32) {
        self.inside.at = self.inside.at.max(index);
    }
}

impl<'d> Iterator for Members<'d> {
    /// Name (always a string) and value.
    type Item = (Value<'d>, Value<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.inside.step()?;
        Some((name, self.inside.step()?))
    }
}

/// The items of an array; see [`Value::items`].
#[derive(Clone)]
pub struct Items<'d> {
    inside: Inside<'d>,
}

impl<'d> Iterator for Items<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        self.inside.step()
    }
}

/// A walk over the nodes directly inside another.
#[derive(Clone)]
struct Inside<'d> {
    document: &'d Document,
    at: u32,
    end: u32,
}

impl<'d> Inside<'d> {
    fn step(&mut self) -> Option<Value<'d>> {
        if self.at >= self.end {
            return None;
        }
        let value = self.document.value_at(self.at);
        self.at = value.node().next;
        Some(value)
    }
}

/// Writes `text` as a JSON string with quotes: `"`, `\` and control characters escaped, everything else as it is.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1F | 0x7F => write_escaped(out, byte),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Writes a control character as `\u00XX`.
pub(crate) fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
}

/// The bytes of the string `node` without its quotes, unescaped.
fn decoded<'b>(bytes: &'b [u8], node: &Node) -> Cow<'b, [u8]> {
    let inner = bytes.get(node.start_usize() + 1..node.end_usize().saturating_sub(1)).unwrap_or_default();
    if node.has(ESCAPED) { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) }
}

/// Order of two strings by code point, which is the order of their UTF-8 bytes.
fn string_order(bytes: &[u8], one: &Node, two: &Node) -> Ordering {
    decoded(bytes, one).cmp(&decoded(bytes, two))
}

/// Unescapes what the parser has checked.
fn unescape(inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|b| *b == b'\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (character, used) = unescape_one(escape);
        let mut buffer = [0; 4];
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        rest = escape.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The character that the escape at the beginning of `text` stands for, and the length of the escape.
fn unescape_one(text: &[u8]) -> (char, usize) {
    match text.get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => {
            let high = text.get(2..6).and_then(hex4).unwrap_or(0xFFFD);
            if !(0xD800..=0xDBFF).contains(&high) {
                return (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
            }
            let low = text.get(8..12).and_then(hex4).unwrap_or(0xDC00);
            let code = 0x1_0000 + ((high & 0x3FF) << 10) + (low & 0x3FF);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        Some(byte) => (char::from(*byte), 2),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Four hexadecimal digits as a number.
fn hex4(digits: &[u8]) -> Option<u32> {
    if digits.len() != 4 {
        return None;
    }
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests;
