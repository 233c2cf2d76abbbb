//! JSON text that we write: small trees, and the layout they take in a document.

use crate::json::write_string;

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    /// Members in the order in which they are written; one a line where the document has lines.
    Lines(Vec<(String, Self)>),
    /// Members on one line.
    Inline(Vec<(String, Self)>),
    /// Items, one a line where the document has lines.
    List(Vec<Self>),
    /// Items on one line.
    Row(Vec<Self>),
    Text(String),
    Number(u64),
    Bool(bool),
    /// JSON text that was read and is written as it stands.
    Raw(String),
}

impl Json {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn inline<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Inline(named(members))
    }

    pub(super) fn lines<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Lines(named(members))
    }

    /// A row of texts.
    pub(super) fn texts<I: IntoIterator<Item = S>, S: ToString>(items: I) -> Self {
        Self::Row(items.into_iter().map(|s| Self::Text(s.to_string())).collect())
    }

    /// Writes the value as it stands in a line whose indentation is `indent`.
    pub(super) fn write(&self, out: &mut Vec<u8>, style: &Style, indent: &str) {
        match self {
            Self::Lines(members) => block(out, style, indent, "{}", members, member),
            Self::List(items) => block(out, style, indent, "[]", items, |out, style, indent, item| {
                item.write(out, style, indent);
            }),
            Self::Inline(members) => row(out, style, "{}", members, |out, m| member(out, style, indent, m)),
            Self::Row(items) => row(out, style, "[]", items, |out, item| item.write(out, style, indent)),
            Self::Text(text) => write_string(out, text),
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

/// How a document separates its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Style {
    /// Between a member's name and its value.
    pub(super) colon: String,
    /// Between items on one line.
    pub(super) comma: String,
    /// What one level adds to the indentation; none in a document without lines.
    pub(super) unit: Option<String>,
}

impl Style {
    /// The layout of documents that we begin.
    pub(super) fn fresh() -> Self {
        Self { colon: ": ".into(), comma: ", ".into(), unit: Some(" ".into()) }
    }

    /// The layout of a document that was read, judged by its beginning.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut rest = bytes.iter().copied().skip_while(|b| *b != b'{').skip(1);
        let space: Vec<u8> = rest.by_ref().take_while(|b| b.is_ascii_whitespace()).collect();
        // The first name is `signatures`, `signed` or `_type`: no quote hides in it.
        let spaced = rest.skip_while(|b| *b != b':').nth(1).is_some_and(|b| b.is_ascii_whitespace());
        let newline = space.iter().rposition(|b| *b == b'\n');
        let unit = newline.and_then(|at| space.get(at + 1..)).filter(|unit| unit.len() <= 16);
        let unit = unit.map(|unit| String::from_utf8_lossy(unit).into_owned());
        Self {
            colon: if spaced { ": " } else { ":" }.into(),
            comma: if spaced { ", " } else { "," }.into(),
            unit,
        }
    }
}

fn named<const N: usize>(members: [(&str, Json); N]) -> Vec<(String, Json)> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn member(out: &mut Vec<u8>, style: &Style, indent: &str, (name, value): &(String, Json)) {
    write_string(out, name);
    out.extend_from_slice(style.colon.as_bytes());
    value.write(out, style, indent);
}

/// One item a line, where the document has lines.
fn block<T>(
    out: &mut Vec<u8>,
    style: &Style,
    indent: &str,
    brackets: &str,
    items: &[T],
    each: impl Fn(&mut Vec<u8>, &Style, &str, &T),
) {
    let Some(unit) = style.unit.as_deref().filter(|_| !items.is_empty()) else {
        return row(out, style, brackets, items, |out, item| each(out, style, indent, item));
    };
    let (open, close) = brackets.split_at(1);
    let inner = format!("{indent}{unit}");
    out.extend_from_slice(open.as_bytes());
    for (i, item) in items.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\n" } else { b",\n" });
        out.extend_from_slice(inner.as_bytes());
        each(out, style, &inner, item);
    }
    out.extend_from_slice(b"\n");
    out.extend_from_slice(indent.as_bytes());
    out.extend_from_slice(close.as_bytes());
}

fn row<T>(out: &mut Vec<u8>, style: &Style, brackets: &str, items: &[T], each: impl Fn(&mut Vec<u8>, &T)) {
    let (open, close) = brackets.split_at(1);
    out.extend_from_slice(open.as_bytes());
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(style.comma.as_bytes());
        }
        each(out, item);
    }
    out.extend_from_slice(close.as_bytes());
}
