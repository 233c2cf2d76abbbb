//! The parser: one pass over the bytes, one node of 16 bytes for each value and member name.

use super::{
    Document, Error, ErrorKind, MAX_BYTES, MAX_DEPTH, Node, Text,
    near::{Guide, Sums, Taken},
    node::{ARRAY, CANONICAL, ESCAPED, FALSE, INTEGER, NULL, OBJECT, SORTED, STRING, TRUE},
    scan::plain_run,
    string_order,
};

/// Whether strings may hold raw control characters, as canonical JSON has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    Strict,
    RawControls,
}

/// Parses `bytes` whole.
pub(super) fn parse(bytes: Text, max_len: usize, strings: Strings) -> Result<Document, Error> {
    parse_guided(bytes, max_len, strings, None).map(|(document, _)| document)
}

/// Parses `bytes` whole, with the help of an older version of them.
pub(super) fn parse_guided(
    bytes: Text,
    max_len: usize,
    strings: Strings,
    guide: Option<Guide<'_>>,
) -> Result<(Document, Vec<Taken>), Error> {
    let limit = max_len.min(MAX_BYTES);
    if bytes.len() > limit {
        return Err(Error::at(&bytes, limit, ErrorKind::TooLong { limit }));
    }
    if let Err(error) = std::str::from_utf8(&bytes) {
        return Err(Error::at(&bytes, error.valid_up_to(), ErrorKind::NotUtf8));
    }
    let max_nodes = NODES_ALWAYS + bytes.len() / 4;
    let nodes = Vec::with_capacity((bytes.len() / 16 + 8).min(1 << 22));
    let mut parser =
        Parser { bytes: &bytes, at: 0, nodes, max_nodes, strings, large: false, depth: 0, guide };
    match parser.document() {
        Ok(()) => {
            let Parser { nodes, mut depth, mut large, guide, .. } = parser;
            let taken = guide.map_or_else(Vec::new, |guide| guide.into_taken(&mut depth, &mut large));
            Ok((Document { bytes, nodes, large, depth }, taken))
        }
        Err(Fault { position, kind }) => Err(Error::at(&bytes, position, kind)),
    }
}

/// Values that any text may hold, however short; above it, one for every four bytes.
const NODES_ALWAYS: usize = 1 << 16;

/// How many digits 2^53 - 1 has.
const DIGITS: usize = 16;

pub(super) struct Parser<'b> {
    bytes: &'b [u8],
    pub(super) at: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) max_nodes: usize,
    strings: Strings,
    /// An integer was there that not every client reads as the same number.
    large: bool,
    /// So many levels lay inside each other so far.
    depth: usize,
    pub(super) guide: Option<Guide<'b>>,
}

/// An error before its line and column are known: they cost a walk, which only the one that gets out should pay.
pub(super) struct Fault {
    position: usize,
    kind: ErrorKind,
}

pub(super) type Parsed<T> = Result<T, Fault>;

impl Parser<'_> {
    fn document(&mut self) -> Parsed<()> {
        self.skip_space();
        self.value(0)?;
        self.skip_space();
        if self.at < self.bytes.len() {
            return self.fault(self.at, ErrorKind::TrailingBytes);
        }
        Ok(())
    }

    /// Parses one value; the recursion is bounded by [`MAX_DEPTH`]. Returns the index of its node.
    fn value(&mut self, depth: usize) -> Parsed<usize> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.literal(b"true", TRUE),
            Some(b'f') => self.literal(b"false", FALSE),
            Some(b'n') => self.literal(b"null", NULL),
            _ => self.unexpected("a value"),
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<usize> {
        let index = self.open(depth, OBJECT)?;
        let mut names = Names { sorted: true, last: None };
        let mut sums = Sums { count: 0, plain: true, inner: 2 };
        let mut place = self.guide.as_mut().and_then(|guide| guide.object(self.at - 1, depth));
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.close(index, 0, SORTED | plain_flag(sums.inner, self.width(index), true));
        }
        loop {
            let taken = match &mut place {
                Some(place) => self.take_members(place, &mut names, &mut sums)?,
                None => false,
            };
            if !taken {
                self.member(depth, &mut names, &mut sums)?;
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.unexpected("',' or '}'"),
            }
            self.skip_space();
        }
        self.at += 1;
        if names.sorted {
            // One separator was counted for each name and value; the last member has no comma.
            let canonical = plain_flag(sums.inner - 1, self.width(index), sums.plain);
            return self.close(index, sums.count, SORTED | canonical);
        }
        self.close(index, sums.count, 0)?;
        self.refuse_duplicates(index)?;
        Ok(index)
    }

    fn member(&mut self, depth: usize, names: &mut Names, sums: &mut Sums) -> Parsed<()> {
        if self.peek() != Some(b'"') {
            return self.unexpected("a member name in quotes");
        }
        let name = self.string()?;
        self.check_order(names, name)?;
        self.skip_space();
        self.expect(b':', "':'")?;
        self.skip_space();
        let value = self.value(depth + 1)?;
        sums.count += 1;
        for part in [name, value] {
            sums.plain &= self.node(part).has(CANONICAL);
            sums.inner += self.width_of(part) + 1;
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Parsed<usize> {
        let index = self.open(depth, ARRAY)?;
        let (mut count, mut plain, mut inner) = (0_u32, true, 2_usize);
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.close(index, count, plain_flag(inner, self.width(index), true));
        }
        loop {
            let item = self.value(depth + 1)?;
            count += 1;
            plain &= self.node(item).has(CANONICAL);
            inner += self.width_of(item) + 1;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.unexpected("',' or ']'"),
            }
            self.skip_space();
        }
        self.at += 1;
        self.close(index, count, plain_flag(inner - 1, self.width(index), plain))
    }

    /// Names that rise strictly are sorted and have no duplicate: one comparison a member decides it for nearly all
    /// files. Equal neighbours are found here, with the place of the second.
    pub(super) fn check_order(&self, names: &mut Names, name: usize) -> Parsed<()> {
        if let Some(last) = names.last
            && names.sorted
        {
            match string_order(self.bytes, &self.node(last), &self.node(name)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return self.duplicate(name),
                std::cmp::Ordering::Greater => names.sorted = false,
            }
        }
        names.last = Some(name);
        Ok(())
    }

    /// Sorts the member names of an object that was not in order; hashing would invite flooding.
    fn refuse_duplicates(&self, object: usize) -> Parsed<()> {
        let end = usize::try_from(self.node(object).next).unwrap_or(usize::MAX);
        let mut names = Vec::with_capacity(self.node(object).count_usize());
        let mut at = object + 1;
        while at < end {
            names.push((super::decoded(self.bytes, &self.node(at)), at));
            at = self.after(self.after(at));
        }
        names.sort_unstable();
        let again = names.windows(2).filter_map(|pair| match pair {
            [(first, _), (second, at)] if first == second => Some(*at),
            _ => None,
        });
        again.min().map_or(Ok(()), |at| self.duplicate(at))
    }

    fn duplicate<T>(&self, name: usize) -> Parsed<T> {
        let node = self.node(name);
        let text = String::from_utf8_lossy(&super::decoded(self.bytes, &node)).chars().take(64).collect();
        self.fault(node.start_usize(), ErrorKind::Duplicate { name: text })
    }

    fn string(&mut self) -> Parsed<usize> {
        let start = self.at;
        self.at += 1;
        let (mut flags, mut canonical) = (0, CANONICAL);
        loop {
            self.at += plain_run(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    flags = ESCAPED;
                    if !self.escape()? {
                        canonical = 0;
                    }
                }
                Some(_) if self.strings == Strings::RawControls => self.at += 1,
                Some(code) => {
                    return self.fault(self.at, ErrorKind::ControlCharacter { code: u32::from(code) });
                }
                None => return self.fault(self.bytes.len(), ErrorKind::UnexpectedEnd),
            }
        }
        self.at += 1;
        self.push(start, STRING | flags | canonical)
    }

    /// Passes one escape; true if canonical JSON writes the character in the same way.
    fn escape(&mut self) -> Parsed<bool> {
        let start = self.at;
        let Some(letter) = self.bytes.get(start + 1) else {
            return self.fault(self.bytes.len(), ErrorKind::UnexpectedEnd);
        };
        self.at += 2;
        match letter {
            b'"' | b'\\' => Ok(true),
            b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(false),
            b'u' => {
                let code = self.four_digits(start)?;
                match code {
                    0xD800..=0xDBFF => self.low_surrogate(start, code).map(|()| false),
                    0xDC00..=0xDFFF => self.fault(start, ErrorKind::LoneSurrogate { code }),
                    _ => Ok(false),
                }
            }
            _ => self.fault(start, ErrorKind::BadEscape),
        }
    }

    fn low_surrogate(&mut self, start: usize, high: u32) -> Parsed<()> {
        let lone = ErrorKind::LoneSurrogate { code: high };
        if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return self.fault(start, lone);
        }
        self.at += 2;
        match self.four_digits(start)? {
            0xDC00..=0xDFFF => Ok(()),
            _ => self.fault(start, lone),
        }
    }

    fn four_digits(&mut self, start: usize) -> Parsed<u32> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        match super::hex4(digits) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.fault(start, ErrorKind::BadEscape),
        }
    }

    fn integer(&mut self) -> Parsed<usize> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let digits = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        let length = self.at - digits;
        match self.peek() {
            _ if length == 0 => return self.unexpected("a digit"),
            Some(b'.') => return self.fault(start, ErrorKind::Float),
            Some(b'e' | b'E') => return self.fault(start, ErrorKind::Exponent),
            _ => {}
        }
        let zero = self.bytes.get(digits) == Some(&b'0');
        if length > 1 && zero {
            return self.fault(start, ErrorKind::LeadingZero);
        }
        if negative && zero {
            return self.fault(start, ErrorKind::NegativeZero);
        }
        self.large |= length >= DIGITS && super::is_large(self.bytes.get(start..self.at).unwrap_or_default());
        self.push(start, INTEGER | CANONICAL)
    }

    fn literal(&mut self, word: &'static [u8], kind: u32) -> Parsed<usize> {
        let start = self.at;
        if self.bytes.get(start..start + word.len()) != Some(word) {
            return self.unexpected("a value");
        }
        self.at += word.len();
        self.push(start, kind | CANONICAL)
    }

    fn open(&mut self, depth: usize, kind: u32) -> Parsed<usize> {
        if depth >= MAX_DEPTH {
            return self.fault(self.at, ErrorKind::TooDeep { limit: MAX_DEPTH });
        }
        let index = self.push(self.at, kind)?;
        self.at += 1;
        self.depth = self.depth.max(depth + 1);
        Ok(index)
    }

    fn close(&mut self, index: usize, count: u32, flags: u32) -> Parsed<usize> {
        let (end, next) = (narrow(self.at), narrow(self.nodes.len()));
        if let Some(node) = self.nodes.get_mut(index) {
            node.end = end;
            node.next = next;
            node.set_count(count);
            node.flag(flags);
        }
        Ok(index)
    }

    /// Adds the node of a value that lies between `start` and here.
    fn push(&mut self, start: usize, flags: u32) -> Parsed<usize> {
        let index = self.nodes.len();
        if index >= self.max_nodes {
            return self.fault(start, ErrorKind::TooManyValues { limit: self.max_nodes });
        }
        self.nodes.push(Node::new(narrow(start), narrow(self.at), narrow(index + 1), flags));
        Ok(index)
    }

    fn node(&self, index: usize) -> Node {
        self.nodes.get(index).copied().unwrap_or_default()
    }

    fn after(&self, index: usize) -> usize {
        usize::try_from(self.node(index).next).unwrap_or(usize::MAX)
    }

    /// Bytes from the beginning of the open node to here.
    fn width(&self, index: usize) -> usize {
        self.at - self.node(index).start_usize()
    }

    fn width_of(&self, index: usize) -> usize {
        let node = self.node(index);
        node.end_usize() - node.start_usize()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Parsed<()> {
        if self.peek() != Some(byte) {
            return self.unexpected(name);
        }
        self.at += 1;
        Ok(())
    }

    fn unexpected<T>(&self, expected: &'static str) -> Parsed<T> {
        let rest = std::str::from_utf8(self.bytes.get(self.at..).unwrap_or_default()).unwrap_or_default();
        match rest.chars().next() {
            Some(found) => self.fault(self.at, ErrorKind::Unexpected { found, expected }),
            None => self.fault(self.at, ErrorKind::UnexpectedEnd),
        }
    }

    fn fault<T>(&self, position: usize, kind: ErrorKind) -> Parsed<T> {
        Err(Fault { position, kind })
    }
}

/// What is known of the member names of the object that is being read.
pub(super) struct Names {
    pub(super) sorted: bool,
    pub(super) last: Option<usize>,
}

/// [`CANONICAL`] if the parts are canonical and nothing but separators lies between them.
fn plain_flag(inner: usize, width: usize, plain: bool) -> u32 {
    if plain && inner == width { CANONICAL } else { 0 }
}

/// The document is at most [`MAX_BYTES`] long, so offsets and indexes always fit.
pub(super) fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
