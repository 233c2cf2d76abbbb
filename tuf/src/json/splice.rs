//! One value of a document in the place of another, without reading the rest again.

use super::{Document, Error, Text, Value, node::Node, parse};

impl Document {
    /// The document of `bytes`, which are those of this one with `text` in the place of `old`, one of its values. Only `text`
    /// is parsed; indexes after `old` move by the second result.
    ///
    /// # Errors
    /// What is wrong with `text`; its places are counted within it. A document longer than [`super::MAX_BYTES`].
    pub(crate) fn with_value(&self, old: Value<'_>, text: &[u8], bytes: Text) -> Result<(Self, i64), Error> {
        let new = parse::parse(text.into(), text.len(), parse::Strings::Strict)?;
        let span = old.span();
        if bytes.len() > super::MAX_BYTES {
            return Err(Error::at(
                &bytes,
                super::MAX_BYTES,
                super::ErrorKind::TooLong { limit: super::MAX_BYTES },
            ));
        }
        let (first, next) = (old.index(), old.node().next);
        let shift = Shift {
            at: narrow(span.end),
            bytes: signed(text.len()) - signed(span.len()),
            nodes: signed(new.nodes.len()) - (i64::from(next) - i64::from(first)),
            from: next,
        };
        let mut nodes = Vec::with_capacity(self.nodes.len() + new.nodes.len());
        let head = self.nodes.iter().take(super::node::wide(first));
        // What lies around the old value ends behind it; whether it is canonical is not known any more.
        nodes.extend(head.map(|node| {
            let around = node.end >= shift.at;
            let mut moved = shift.of(*node);
            if around {
                moved.unflag_canonical();
            }
            moved
        }));
        let place = Shift { at: 0, bytes: signed(span.start), nodes: i64::from(first), from: 0 };
        nodes.extend(new.nodes.iter().map(|node| place.of(*node)));
        // Behind it everything moves alike.
        let (by, to) = (step(shift.bytes), step(shift.nodes));
        let behind = self.nodes.get(super::node::wide(next)..).unwrap_or_default();
        nodes.extend(behind.iter().map(|node| node.moved(by, to)));
        let (large, depth) = (self.large || new.large, self.depth + new.depth);
        Ok((Self { bytes, nodes, large, depth }, shift.nodes))
    }

    /// Puts `text` in the place of the value `at`, as long as it is and with as many values in it, so that nothing else
    /// moves. False where it is not so, or where others share the text: then nothing has changed.
    pub(crate) fn replace_alike(&mut self, at: u32, text: &[u8]) -> bool {
        let Ok(new) = parse::parse(text.into(), text.len(), parse::Strings::Strict) else { return false };
        let (first, Node { start, end, next, .. }) = (super::node::wide(at), self.value_at(at).node());
        let (span, values) =
            (super::node::wide(start)..super::node::wide(end), first..super::node::wide(next));
        if text.len() != span.len() || new.nodes.len() != values.len() {
            return false;
        }
        let (Some(bytes), Some(nodes)) = (self.bytes.only_owned(), self.nodes.get_mut(values)) else {
            return false;
        };
        let Some(bytes) = bytes.get_mut(span) else { return false };
        bytes.copy_from_slice(text);
        let place = Shift { at: 0, bytes: i64::from(start), nodes: i64::from(at), from: 0 };
        nodes.iter_mut().zip(&new.nodes).for_each(|(node, new)| *node = place.of(*new));
        // Whether what lies around it is canonical is not known any more.
        let around = self.nodes.iter_mut().take(first).filter(|node| node.end >= end);
        around.for_each(Node::unflag_canonical);
        (self.large, self.depth) = (self.large || new.large, self.depth + new.depth);
        true
    }
}

/// By how much places move: bytes from `at` on, indexes from `from` on.
struct Shift {
    at: u32,
    bytes: i64,
    from: u32,
    nodes: i64,
}

impl Shift {
    fn of(&self, node: Node) -> Node {
        let byte = |at: u32| if at >= self.at { moved(at, self.bytes) } else { at };
        let mut out = node;
        (out.start, out.end) = (byte(node.start), byte(node.end));
        out.next = if node.next >= self.from { moved(node.next, self.nodes) } else { node.next };
        out
    }
}

/// A place that is moved; both lie within a document, whose length has 28 bits.
pub(crate) fn moved(at: u32, by: i64) -> u32 {
    u32::try_from(i64::from(at) + by).unwrap_or(u32::MAX)
}

/// By how much a place moves: both lie within a document.
pub(super) fn step(by: i64) -> i32 {
    i32::try_from(by).unwrap_or_default()
}

/// A length or index as a number that may be taken away from another.
pub(super) fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::alike::same;
    use super::super::{Document, Text};

    #[test]
    fn a_spliced_document_is_the_one_that_parsing_gives() {
        for text in [
            r#"{"a":{"x":[1,{"y":2}]},"s":[],"z":{"b":[3,4],"c":"d"}}"#,
            r#" { "z" : {"k":[{}]} , "s" : [ 1 , {"p":"q"} ], "a": [[2]] } "#,
            r#"{"s":"only"}"#,
        ] {
            for new in ["[]", r#"[{"keyid":"k","sig":""},7]"#, r#" {"m" : 1} "#, "\"\""] {
                let old = Document::parse(text.as_bytes(), 1 << 10).unwrap();
                let value = old.root().get("s").unwrap();
                let whole = format!("{}{new}{}", &text[..value.span().start], &text[value.span().end..]);
                let bytes = whole.clone().into_bytes().into();
                let (spliced, by) = old.with_value(value, new.as_bytes(), bytes).unwrap();
                let parsed = Document::parse(whole.as_bytes(), 1 << 10).unwrap();
                assert_eq!(spliced.bytes(), parsed.bytes());
                same(spliced.root(), parsed.root());
                if let Some(z) = old.root().get("z") {
                    let moved = if text.find("\"z\"") > text.find("\"s\"") { by } else { 0 };
                    let z = spliced.value_at(super::moved(z.index(), moved));
                    same(z, parsed.root().get("z").unwrap());
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_is_not_put_in() {
        let old = Document::parse(&b"{\"s\":[]}"[..], 1 << 10).unwrap();
        for text in ["", "[", "[],1", "{\"a\":1,\"a\":2}"] {
            let value = old.root().get("s").unwrap();
            assert!(old.with_value(value, text.as_bytes(), Text::from(b"")).is_err(), "{text}");
        }
    }
}
