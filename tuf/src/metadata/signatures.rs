//! The list of signatures: reading it, and writing it anew without touching what is signed.

use super::{
    Metadata,
    error::{self, Read, each, member, object, parsed, wrong},
};
use crate::{
    json::{self, Value},
    key::KeyId,
    role::RoleKeys,
};
use std::collections::{BTreeMap, BTreeSet};

/// One entry of `signatures`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureEntry {
    /// Who has signed.
    pub keyid: KeyId,
    /// The signature as it stands: hexadecimal, or empty as a place for one to come.
    pub sig: String,
}

impl SignatureEntry {
    /// The signature's bytes; `None` when it is empty or no hexadecimal.
    pub fn signature(&self) -> Option<Vec<u8>> {
        if self.sig.is_empty() { None } else { hex::decode(&self.sig).ok() }
    }
}

/// Reads `signatures`. A keyid that stands there twice spoils the file (4.2.1).
pub(super) fn read(value: Value<'_>) -> Read<Vec<SignatureEntry>> {
    let mut seen = BTreeSet::new();
    let count = value.items().count();
    if count > RoleKeys::MAX {
        return wrong(value, format_args!("{count} signatures, and a file has {} at most", RoleKeys::MAX));
    }
    each(value, |item| {
        let entry = SignatureEntry {
            keyid: member(object(item)?, "keyid", |keyid| parsed(keyid, KeyId::parse))?,
            sig: member(item, "sig", |sig| error::text(sig).map(|text| text.into_owned()))?,
        };
        if !seen.insert(entry.keyid.clone()) {
            return wrong(item, format_args!("keyid {} has signed twice (4.2.1)", entry.keyid));
        }
        Ok(entry)
    })
}

/// The file of `metadata` with other signatures; see [`Metadata::with_signatures`].
pub(super) fn replace(metadata: &Metadata, signatures: &[SignatureEntry]) -> Vec<u8> {
    if metadata.is_signed_part() {
        let mut out = b"{\"signatures\":".to_vec();
        list(&mut out, &Style::compact(), signatures, &BTreeMap::new());
        out.extend_from_slice(b",\"signed\":");
        copy_with_escaped_controls(&mut out, metadata.signed_bytes());
        out.push(b'}');
        return out;
    }
    let Some((before, list, after)) = metadata.around_signatures(signatures) else {
        // A file without the member was never read.
        return metadata.bytes().to_vec();
    };
    [before, &list, after].concat()
}

/// The list of `signatures` as it stands in the file of `metadata` in the place of `old`.
pub(super) fn text(metadata: &Metadata, signatures: &[SignatureEntry], old: Value<'_>) -> Vec<u8> {
    if metadata.signatures() == signatures {
        return old.raw().to_vec();
    }
    let mut out = Vec::new();
    let kept = unchanged(metadata.signatures(), signatures, old);
    list(&mut out, &Style::of(metadata), signatures, &kept);
    out
}

/// Texts of those old entries that say what the new ones say, by keyid.
fn unchanged<'d>(
    old: &[SignatureEntry],
    new: &[SignatureEntry],
    list: Value<'d>,
) -> BTreeMap<String, &'d str> {
    let new: BTreeMap<_, _> = new.iter().map(|entry| (&entry.keyid, &entry.sig)).collect();
    let same = old.iter().zip(list.items()).filter(|(entry, _)| new.get(&entry.keyid) == Some(&&entry.sig));
    same.map(|(entry, item)| (entry.keyid.to_string(), item.raw_str())).collect()
}

/// How a file is spaced: the indentation of its first member, and what follows a colon.
struct Style {
    indent: Option<String>,
    colon: &'static str,
}

impl Style {
    fn compact() -> Self {
        Self { indent: None, colon: ":" }
    }

    /// What the file's outermost object shows.
    fn of(metadata: &Metadata) -> Self {
        let (text, root) = (metadata.bytes(), metadata.document().root());
        let Some((name, value)) = root.members().next() else { return Self::compact() };
        let before = text.get(root.span().start + 1..name.span().start).unwrap_or_default();
        let indent = before.iter().rposition(|b| *b == b'\n').and_then(|at| before.get(at + 1..));
        // An attacker's indentation is not repeated without end.
        let indent = indent
            .filter(|indent| indent.len() <= 16)
            .map(|indent| String::from_utf8_lossy(indent).into_owned());
        let spaced = value.span().start > name.span().end + 1;
        Self { indent, colon: if spaced { ": " } else { ":" } }
    }

    /// A line break and `depth` steps of indentation; nothing in a compact file.
    fn line(&self, out: &mut Vec<u8>, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push(b'\n');
            for _ in 0..depth {
                out.extend_from_slice(indent.as_bytes());
            }
        }
    }
}

fn list(out: &mut Vec<u8>, style: &Style, signatures: &[SignatureEntry], kept: &BTreeMap<String, &str>) {
    out.push(b'[');
    for (index, entry) in signatures.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        style.line(out, 2);
        match kept.get(entry.keyid.as_str()) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => write_entry(out, style, entry),
        }
    }
    if !signatures.is_empty() {
        style.line(out, 1);
    }
    out.push(b']');
}

fn write_entry(out: &mut Vec<u8>, style: &Style, entry: &SignatureEntry) {
    out.push(b'{');
    for (index, (name, text)) in
        [("keyid", entry.keyid.as_str()), ("sig", &entry.sig)].into_iter().enumerate()
    {
        if index > 0 {
            out.push(b',');
        }
        style.line(out, 3);
        json::write_string(out, name);
        out.extend_from_slice(style.colon.as_bytes());
        json::write_string(out, text);
    }
    style.line(out, 2);
    out.push(b'}');
}

/// Canonical JSON has raw control characters inside strings and nowhere else; a file must escape them. Text without
/// any is copied to the byte.
fn copy_with_escaped_controls(out: &mut Vec<u8>, text: &[u8]) {
    // JSON with space between its tokens is no canonical text and was read as it is.
    let raw = json::Document::parse(text, text.len()).is_err();
    for byte in text {
        match byte {
            0..=0x1F if raw => json::write_escaped(out, *byte),
            _ => out.push(*byte),
        }
    }
}
