//! Changes to a JSON document, made by splicing: what no change names is copied byte for byte.

use std::collections::BTreeMap;
use std::ops::Range;

use super::text::{Json, Style, member};
use crate::json::{Document, Value};

/// What becomes of one member or item.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Set(Json),
    Remove,
    Object(ObjectPatch),
    Array(ArrayPatch),
}

/// Changes to an object: members that it has are changed in place, others come at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectPatch {
    changes: BTreeMap<String, Change>,
}

impl ObjectPatch {
    pub(super) fn set(&mut self, name: impl Into<String>, value: Json) {
        self.changes.insert(name.into(), Change::Set(value));
    }

    pub(super) fn remove(&mut self, name: impl Into<String>) {
        self.changes.insert(name.into(), Change::Remove);
    }

    /// Changes a member within, if the patch changes anything.
    pub(super) fn within(&mut self, name: impl Into<String>, patch: Self) {
        if !patch.changes.is_empty() {
            self.changes.insert(name.into(), Change::Object(patch));
        }
    }

    pub(super) fn within_array(&mut self, name: impl Into<String>, patch: ArrayPatch) {
        if !(patch.changes.is_empty() && patch.appended.is_empty()) {
            self.changes.insert(name.into(), Change::Array(patch));
        }
    }
}

/// Changes to an array, by the index that items have in the document as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrayPatch {
    pub(super) changes: BTreeMap<usize, Change>,
    pub(super) appended: Vec<Json>,
}

/// The text of a document with `patch` applied to its outermost object.
pub(super) fn apply(document: &Document, patch: &ObjectPatch) -> Vec<u8> {
    let bytes: &[u8] = document.bytes();
    let mut splicer =
        Splicer { bytes, style: Style::of(bytes), out: Vec::with_capacity(bytes.len() + 1024), at: 0 };
    splicer.object(document.root(), patch);
    splicer.copy_to(bytes.len());
    splicer.out
}

struct Splicer<'b> {
    bytes: &'b [u8],
    style: Style,
    out: Vec<u8>,
    /// Everything before this is written or left out.
    at: usize,
}

/// Where a container stands while its entries are walked.
struct Walk {
    /// Of the container, its brackets included.
    span: Range<usize>,
    /// Length of the output when only the opening bracket was written, once something was removed.
    mark: Option<usize>,
    /// End of the entry before the last one, where its separator begins.
    before_last: Option<usize>,
    /// End of the last entry that was seen, at first of the opening bracket.
    end: usize,
    kept: bool,
    seen: usize,
}

impl Walk {
    fn new(span: Range<usize>) -> Self {
        Self { end: span.start + 1, span, mark: None, before_last: None, kept: false, seen: 0 }
    }
}

impl Splicer<'_> {
    fn object(&mut self, object: Value<'_>, patch: &ObjectPatch) {
        let mut left: BTreeMap<&[u8], (&str, &Change)> =
            patch.changes.iter().map(|(name, change)| (name.as_bytes(), (name.as_str(), change))).collect();
        let mut walk = Walk::new(object.span());
        for (name, value) in object.members() {
            let change = if left.is_empty() { None } else { left.remove(name.decoded().as_ref()) };
            self.entry(&mut walk, value, change.map(|(_, change)| change));
        }
        let added = added(left.into_values().collect());
        if added.is_empty() || walk.seen > 0 {
            self.append(&walk, &added, member);
        } else {
            self.set(object, &Json::Lines(added));
        }
    }

    fn array(&mut self, array: Value<'_>, patch: &ArrayPatch) {
        let mut walk = Walk::new(array.span());
        for (index, value) in array.items().enumerate() {
            self.entry(&mut walk, value, patch.changes.get(&index));
        }
        if patch.appended.is_empty() || walk.seen > 0 {
            self.append(&walk, &patch.appended, |out, style, indent, item| item.write(out, style, indent));
        } else {
            self.set(array, &Json::List(patch.appended.clone()));
        }
    }

    /// One member or item: copied, changed or left out with the comma before it.
    fn entry(&mut self, walk: &mut Walk, value: Value<'_>, change: Option<&Change>) {
        let span = value.span();
        if matches!(change, Some(Change::Remove)) {
            if walk.kept {
                self.copy_to(walk.end);
            } else if walk.seen == 0 {
                self.copy_to(walk.end);
                walk.mark = Some(self.out.len());
                self.copy_to(self.after_separator(walk.end));
            }
            self.at = span.end;
        } else {
            if !walk.kept && walk.seen > 0 {
                self.at = self.after_separator(walk.end);
            }
            walk.kept = true;
            match change {
                Some(Change::Set(json)) => self.set(value, json),
                Some(Change::Object(patch)) => self.object(value, patch),
                Some(Change::Array(patch)) => self.array(value, patch),
                Some(Change::Remove) | None => {}
            }
        }
        walk.before_last = Some(walk.end).filter(|_| walk.seen > 0);
        walk.end = span.end;
        walk.seen += 1;
    }

    /// Ends a container that had entries, or has none to add.
    fn append<T>(&mut self, walk: &Walk, added: &[T], each: impl Fn(&mut Vec<u8>, &Style, &str, &T)) {
        if added.is_empty() {
            if let (false, Some(mark)) = (walk.kept, walk.mark) {
                self.out.truncate(mark);
                self.at = walk.span.end.saturating_sub(1);
            }
            return;
        }
        self.copy_to(walk.end);
        let separator = self.separator(walk);
        let indent = separator.rsplit_once('\n').map_or("", |(_, indent)| indent);
        for (i, item) in added.iter().enumerate() {
            if walk.kept || i > 0 {
                self.out.extend_from_slice(separator.as_bytes());
            }
            each(&mut self.out, &self.style, indent, item);
        }
    }

    /// What stands between two entries of a container that has at least one.
    fn separator(&self, walk: &Walk) -> String {
        let first = walk.span.start + 1;
        let between = match walk.before_last {
            Some(end) => self.bytes.get(end..self.after_separator(end)),
            None => self.bytes.get(first..self.after_separator(first)),
        };
        let text = String::from_utf8_lossy(between.unwrap_or_default());
        match walk.before_last {
            // What others put there is not repeated without end.
            _ if text.len() > MOST_SPACE => self.style.comma.clone(),
            Some(_) => text.into_owned(),
            None if text.contains('\n') => format!(",{text}"),
            None => self.style.comma.clone(),
        }
    }

    fn set(&mut self, value: Value<'_>, json: &Json) {
        let span = value.span();
        self.copy_to(span.start);
        let indent = self.indent_at(span.start);
        json.write(&mut self.out, &self.style, &indent);
        self.at = span.end;
    }

    /// The indentation of the line that holds a position; nothing in a document without lines.
    fn indent_at(&self, position: usize) -> String {
        if self.style.unit.is_none() {
            return String::new();
        }
        let before = self.bytes.get(..position).unwrap_or_default();
        let line = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        let space = before.iter().skip(line).take_while(|b| matches!(b, b' ' | b'\t'));
        space.map(|b| char::from(*b)).collect()
    }

    /// The first position from `from` that is neither white space nor a comma.
    fn after_separator(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let skipped = rest.iter().take_while(|b| b.is_ascii_whitespace() || **b == b',').count();
        from + skipped
    }

    fn copy_to(&mut self, to: usize) {
        if let Some(text) = self.bytes.get(self.at..to) {
            self.out.extend_from_slice(text);
            self.at = to;
        }
    }
}

/// Longest space between two entries that is taken over, in bytes.
const MOST_SPACE: usize = 64;

/// The members that changes to an object without them bring about.
fn added(changes: Vec<(&str, &Change)>) -> Vec<(String, Json)> {
    let value = |change: &Change| match change {
        Change::Set(json) => Some(json.clone()),
        Change::Remove => None,
        Change::Object(patch) => {
            let inner = patch.changes.iter().map(|(name, change)| (name.as_str(), change));
            Some(Json::Lines(added(inner.collect())))
        }
        Change::Array(patch) => Some(Json::List(patch.appended.clone())),
    };
    changes.into_iter().filter_map(|(name, change)| Some((name.to_owned(), value(change)?))).collect()
}
