//! A reader for the JSON that cargo and tufctl print: no more than that.

use std::collections::BTreeMap;

/// A JSON value. Numbers stay text, since nothing here counts with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// Reads one document. The error says at which byte it ended.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.wrong("trailing bytes")) }
    }

    /// A member of an object; `Null` where there is none.
    pub(crate) fn get(&self, name: &str) -> &Self {
        match self {
            Self::Object(members) => members.get(name).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// The items of a list; none where it is no list.
    pub(crate) fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Result<Json, String> {
        if depth > 64 {
            return Err(self.wrong("nested too deeply"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => Ok(self.number()),
            Some(_) if self.word("null") => Ok(Json::Null),
            Some(_) if self.word("true") => Ok(Json::Bool(true)),
            Some(_) if self.word("false") => Ok(Json::Bool(false)),
            _ => Err(self.wrong("a value was expected")),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json, String> {
        let mut members = BTreeMap::new();
        self.sequence(b'}', |reader| {
            reader.space();
            let name = reader.string()?;
            reader.space();
            if !reader.take(b':') {
                return Err(reader.wrong("a colon was expected"));
            }
            let value = reader.value(depth + 1)?;
            members.insert(name, value);
            Ok(())
        })?;
        Ok(Json::Object(members))
    }

    fn list(&mut self, depth: u32) -> Result<Json, String> {
        let mut items = Vec::new();
        self.sequence(b']', |reader| {
            items.push(reader.value(depth + 1)?);
            Ok(())
        })?;
        Ok(Json::List(items))
    }

    /// The inside of a list or object, from its opening bracket on.
    fn sequence(
        &mut self,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.take(end) {
            return Ok(());
        }
        loop {
            item(self)?;
            self.space();
            if self.take(end) {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.wrong("a comma was expected"));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        if !self.take(b'"') {
            return Err(self.wrong("a string was expected"));
        }
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                Some(b'"') => return String::from_utf8(bytes).map_err(|_| self.wrong("bad UTF-8")),
                Some(b'\\') => self.escape(&mut bytes)?,
                Some(byte) => bytes.push(byte),
                None => return Err(self.wrong("the string has no end")),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        let plain = match self.next() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'u') => {
                // Half of a pair becomes U+FFFD: such text is only ever shown.
                let letter = char::from_u32(self.hex4()?).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.wrong("an unknown escape")),
        };
        bytes.push(plain);
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self.bytes.get(self.at..self.at + 4).and_then(|it| std::str::from_utf8(it).ok());
        let value = digits.and_then(|it| u32::from_str_radix(it, 16).ok());
        self.at += 4;
        value.ok_or_else(|| self.wrong("four hex digits were expected"))
    }

    fn number(&mut self) -> Json {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let digits = self.bytes.get(start..self.at).unwrap_or_default();
        Json::Number(String::from_utf8_lossy(digits).into_owned())
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if found {
            self.at += word.len();
        }
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn wrong(&self, what: &str) -> String {
        format!("JSON, byte {}: {what}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_its_escapes() {
        let read =
            Json::parse(r#" {"a": [1, -2.5e3, "x\"\n\u00e9"], "b": {}, "c": null, "d": true} "#).unwrap();
        assert_eq!(read.get("a").items().len(), 3);
        assert_eq!(read.get("a").items()[2].text(), Some("x\"\né"));
        assert_eq!(read.get("missing"), &Json::Null);
    }

    #[test]
    fn broken_documents_are_refused_with_the_position() {
        for text in ["", "{", "[1,]", "\"abc", "{\"a\" 1}", "nul", "1 2", r#""\u12""#] {
            assert!(Json::parse(text).unwrap_err().starts_with("JSON, byte "), "{text}");
        }
    }
}
