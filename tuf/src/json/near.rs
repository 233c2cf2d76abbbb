//! Parsing a text that is mostly that of a document which was read before: what both have in common is not read again.
//!
//! Duty: give exactly what [`Document::parse`] gives. Trust: the text is compared, byte by byte, before anything is taken
//! over; members are taken over whole, from an object that lies at the same place of both, and every rule that spans
//! more than one of them (order, duplicates, depth, number of values) is looked at as if they had been read.

use super::{
    Document, Error, MAX_DEPTH, Text,
    node::{CANONICAL, OBJECT, SORTED, wide},
    parse::{self, Names, Parsed, Parser},
    splice::{signed, step},
};
use crate::pieces::{Piece, pieces};
use std::ops::Range;

/// Members of the new document that were taken over.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The object of the older document that they come from.
    pub(crate) from: u32,
    /// Their nodes in the new one.
    pub(crate) nodes: Range<u32>,
    /// No more levels than these lie around them and in them.
    depth: usize,
}

/// An older document, and which parts of the new text stand in it.
pub(super) struct Guide<'o> {
    old: &'o Document,
    runs: Vec<Run>,
    /// The run that was looked at last.
    at: usize,
    taken: Vec<Taken>,
}

/// Bytes that are the same: from `new` on in the new text, from `old` on in the older one.
struct Run {
    new: usize,
    old: usize,
    length: usize,
}

/// The next member of an object of the older document.
pub(super) struct Place {
    object: usize,
    /// How deep what is taken over may come to lie.
    depth: usize,
    next: usize,
    end: usize,
}

impl Document {
    /// As [`Document::parse`], with the help of an older version of the text that was read by it.
    pub(crate) fn parse_near(
        old: &Self,
        bytes: impl Into<Text>,
        max_len: usize,
    ) -> Result<(Self, Vec<Taken>), Error> {
        let bytes = bytes.into();
        let guide = Guide::new(old, &bytes);
        parse::parse_guided(bytes, max_len, parse::Strings::Strict, Some(guide))
    }
}

impl<'o> Guide<'o> {
    fn new(old: &'o Document, new: &[u8]) -> Self {
        let (mut runs, mut at) = (Vec::new(), 0);
        for piece in pieces(&old.bytes, new) {
            let (Piece::Old(range) | Piece::New(range)) = &piece;
            let length = range.len();
            if let Piece::Old(range) = piece {
                runs.push(Run { new: at, old: range.start, length });
            }
            at += length;
        }
        Self { old, runs, at: 0, taken: Vec::new() }
    }

    /// What was taken over; where anything was, the new document is as deep as the older one may be, and may hold large
    /// integers where that one does.
    pub(super) fn into_taken(self, depth: &mut usize, large: &mut bool) -> Vec<Taken> {
        *large |= self.old.large && !self.taken.is_empty();
        *depth = self.taken.iter().map(|taken| taken.depth).fold(*depth, usize::max);
        self.taken
    }

    /// The run that holds the place `at` of the new text; places only rise.
    fn run(&mut self, at: usize) -> Option<&Run> {
        while self.runs.get(self.at).is_some_and(|run| run.new + run.length <= at) {
            self.at += 1;
        }
        self.runs.get(self.at).filter(|run| run.new <= at)
    }

    /// The object of the older document that begins where the new one does; `depth` levels lie around it.
    pub(super) fn object(&mut self, at: usize, depth: usize) -> Option<Place> {
        // Nothing that is taken over lies deeper than it did.
        if depth + self.old.depth > MAX_DEPTH {
            return None;
        }
        let run = self.run(at)?;
        let start = run.old + (at - run.new);
        let nodes = &self.old.nodes;
        let object = nodes.binary_search_by_key(&start, |node| node.start_usize()).ok()?;
        let node = nodes.get(object).filter(|node| node.kind() == OBJECT)?;
        Some(Place { object, depth: depth + self.old.depth, next: object + 1, end: wide(node.next) })
    }
}

impl Parser<'_> {
    /// Takes over the members that stand here in the older document, as far as they are the same; false where none is.
    pub(super) fn take_members(
        &mut self,
        place: &mut Place,
        names: &mut Names,
        sums: &mut Sums,
    ) -> Parsed<bool> {
        let Some((first, after, last)) = self.same_members(place) else { return Ok(false) };
        let Some(guide) = &mut self.guide else { return Ok(false) };
        let Some(old) = guide.old.nodes.get(first..after) else { return Ok(false) };
        let (Some(head), Some(end)) = (old.first(), guide.old.nodes.get(last.value)) else {
            return Ok(false);
        };
        let object = guide.old.nodes.get(place.object).copied().unwrap_or_default();
        let begin = self.nodes.len();
        if old.len() > self.max_nodes.saturating_sub(begin) {
            // The one that is too many is found by reading.
            return Ok(false);
        }
        let (start, width) = (head.start_usize(), end.end_usize() - head.start_usize());
        let bytes = step(signed(self.at) - signed(start));
        let indexes = step(signed(begin) - signed(first));
        self.nodes.extend(old.iter().map(|node| node.moved(bytes, indexes)));
        guide.taken.push(Taken {
            from: parse::narrow(place.object),
            nodes: parse::narrow(begin)..parse::narrow(self.nodes.len()),
            depth: place.depth,
        });
        if object.has(SORTED) {
            self.check_order(names, begin)?;
            names.last = Some(begin + (last.name - first));
        } else {
            names.sorted = false;
        }
        sums.count += last.members;
        // One separator is counted for each name and value.
        sums.inner += width + 1;
        sums.plain &= object.has(CANONICAL);
        self.at += width;
        place.next = after;
        Ok(true)
    }

    /// The members of the older object from here on whose text, and one byte after it, is the same.
    fn same_members(&mut self, place: &mut Place) -> Option<(usize, usize, Last)> {
        let at = self.at;
        let guide = self.guide.as_mut()?;
        let run = guide.run(at)?;
        let (start, end) = (run.old + (at - run.new), run.old + run.length);
        let nodes = &guide.old.nodes;
        let after = |name: usize| -> Option<(usize, usize)> {
            let value = wide(nodes.get(name)?.next);
            Some((value, wide(nodes.get(value)?.next)))
        };
        while place.next < place.end && nodes.get(place.next)?.start_usize() < start {
            place.next = after(place.next)?.1;
        }
        let first = place.next;
        if first >= place.end || nodes.get(first)?.start_usize() != start {
            return None;
        }
        let (mut next, mut last) = (first, None);
        let mut members = 0;
        while next < place.end {
            let (value, behind) = after(next)?;
            if nodes.get(value)?.end_usize() >= end {
                break;
            }
            members += 1;
            last = Some(Last { name: next, value, members });
            next = behind;
        }
        last.map(|last| (first, next, last))
    }
}

/// The last member that is taken over, and how many they are.
struct Last {
    name: usize,
    value: usize,
    members: u32,
}

/// What is summed up over the members of an object.
pub(super) struct Sums {
    /// How many there are.
    pub(super) count: u32,
    /// All of them are canonical.
    pub(super) plain: bool,
    /// Their bytes, and a separator after each.
    pub(super) inner: usize,
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::super::alike::same_to_the_node;
    use proptest::prelude::*;

    /// Reads `new` with the help of `old`, and says how many nodes were taken over.
    fn near(old: &str, new: &str) -> u32 {
        let Ok(old) = Document::parse(old.as_bytes(), 1 << 20) else { return 0 };
        let (read, near) =
            (Document::parse(new.as_bytes(), 1 << 20), Document::parse_near(&old, new.as_bytes(), 1 << 20));
        match (read, near) {
            (Ok(read), Ok((near, taken))) => {
                same_to_the_node(near.root(), read.root());
                assert_eq!((near.nodes.len(), near.depth >= read.depth), (read.nodes.len(), true));
                taken.iter().map(|taken| taken.nodes.end - taken.nodes.start).sum()
            }
            (Err(read), Err(near)) => {
                assert_eq!(near.to_string(), read.to_string());
                0
            }
            (read, near) => panic!("{new}: {read:?}, {near:?}"),
        }
    }

    fn file(entries: impl Iterator<Item = (usize, usize)>, space: &str) -> String {
        let entry = |(name, value)| format!("\"file-{name:04}\":{space}{{\"length\":{space}{value}}}");
        let entries: Vec<String> = entries.map(entry).collect();
        format!("{{\"s\":[],{space}\"signed\":{space}{{\"targets\":{{{}}},\"v\":1}}}}", entries.join(","))
    }

    #[test]
    fn what_did_not_change_is_taken_over() {
        for space in ["", " ", "\n\t"] {
            let old = file((0..300).map(|n| (n, n)), space);
            let all = 300 * 4;
            assert!(near(&old, &old) >= all);
            let changed = file((0..300).map(|n| (n, if n == 150 { 7777 } else { n })), space);
            assert!(near(&old, &changed) >= all - 12);
            let gone = file((0..300).filter(|n| *n != 17).map(|n| (n, n)), space);
            assert!(near(&old, &gone) >= all - 12);
            let come = file((0..301).map(|n| (n, n)), space);
            assert!(near(&old, &come) >= all - 12);
            let wider = old.replace("[]", "[1,{\"a\":2},\"signed\"]");
            assert!(near(&old, &wider) >= all - 12);
            // Another order, and the same name twice: taken over or not, the rules hold.
            near(&old, &file((150..300).chain(0..150).map(|n| (n, n)), space));
            near(&old, &file((0..300).chain(100..101).map(|n| (n, n)), space));
            near(&file((0..300).rev().map(|n| (n, n)), space), &file((0..301).rev().map(|n| (n, n)), space));
            near(&old, &old.replace("}},\"v\"", "},\"v\""));
        }
    }

    #[test]
    fn nothing_lies_deeper_than_it_may() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let inner = format!("{{\"a\":{{\"b\":{},\"c\":\"{}\"}}}}", deep(60), "x".repeat(100));
        near(&inner, &inner);
        for around in 0..4 {
            let outer = format!("{}{inner}{}", "{\"o\":".repeat(around), "}".repeat(around));
            near(&inner, &outer);
            near(&outer, &inner);
        }
    }

    proptest! {
        #[test]
        fn reading_near_another_text_is_reading(
            values in proptest::collection::vec((0..40_usize, 0..3_usize), 1..40),
            edits in proptest::collection::vec(
                (0..2000_usize, 0..60_usize, "[\\[\\]{}\",:a-c0-9 \\\\]{0,6}"), 0..4),
            space in prop_oneof![Just(""), Just(" ")],
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let old = file(values.into_iter().filter(|(name, _)| seen.insert(*name)), space);
            let mut new = old.clone();
            for (at, gone, come) in edits {
                let at = at.min(new.len());
                let end = (at + gone).min(new.len());
                new.replace_range(at..end, &come);
            }
            near(&old, &new);
        }
    }
}
