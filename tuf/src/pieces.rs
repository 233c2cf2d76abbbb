//! A text as pieces of another one: what two versions of a large file have in common need not be sent again.
//!
//! Finding the pieces is best effort, at a bounded cost: what is not found is new. Putting them together gives the text
//! whatever the two have to do with each other.

use std::ops::Range;

/// A part of the newer text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The same bytes stand here in the older text.
    Old(Range<usize>),
    /// These bytes of the newer text are new.
    New(Range<usize>),
}

/// The newer text, in order and whole, as pieces of the older one and new ones.
#[must_use]
pub fn pieces(old: &[u8], new: &[u8]) -> Vec<Piece> {
    let head = common_prefix(old, new);
    let (old_rest, new_rest) = (tail(old, head), tail(new, head));
    // What follows the last change, however much came or went before it.
    let end = common_suffix(old_rest, new_rest);
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let mut out = Pieces { all: Vec::new(), at: 0 };
    out.old(0..head);
    let (mut i, mut j) = (head, head);
    let mut budget = MOST_COMPARED;
    while i < old_end && j < new_end && out.all.len() < MOST_PIECES {
        let (old_rest, new_rest) = (part(old, i, old_end), part(new, j, new_end));
        let Some((skipped, came)) = next_common(old_rest, new_rest, &mut budget) else { break };
        (i, j) = (i + skipped, j + came);
        let same = common_prefix(part(old, i, old_end), part(new, j, new_end));
        out.new_until(j);
        out.old(i..i + same);
        (i, j) = (i + same, j + same);
    }
    out.new_until(new_end);
    out.old(old_end..old.len());
    out.all
}

struct Pieces {
    all: Vec<Piece>,
    /// Up to where the newer text is told.
    at: usize,
}

impl Pieces {
    fn old(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.at += range.len();
            self.all.push(Piece::Old(range));
        }
    }

    fn new_until(&mut self, end: usize) {
        if end > self.at {
            self.all.push(Piece::New(self.at..end));
            self.at = end;
        }
    }
}

/// After a change: how much of both sides to leave until they go on alike. Looked for nearby first.
fn next_common(old: &[u8], new: &[u8], budget: &mut usize) -> Option<(usize, usize)> {
    for near in NEAR {
        for at in (0..near).step_by(ANCHOR) {
            // Something of the old side comes later on the new side, or the other way round.
            for (from, within, swapped) in [(old, new, false), (new, old, true)] {
                let Some(anchor) = from.get(at..at + ANCHOR) else { continue };
                let within = within.get(..near.min(within.len()))?;
                *budget = budget.checked_sub(within.len())?;
                if let Some(found) = find(within, anchor) {
                    return Some(if swapped { (found, at) } else { (at, found) });
                }
            }
        }
    }
    None
}

fn find(within: &[u8], anchor: &[u8]) -> Option<usize> {
    within.windows(ANCHOR).position(|window| window == anchor)
}

fn part(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from..to).unwrap_or_default()
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

fn common_prefix(one: &[u8], two: &[u8]) -> usize {
    let blocks = one.chunks(BLOCK).zip(two.chunks(BLOCK)).take_while(|(one, two)| one == two);
    let alike = (blocks.count() * BLOCK).min(one.len()).min(two.len());
    let rest = tail(one, alike).iter().zip(tail(two, alike));
    alike + rest.take_while(|(one, two)| one == two).count()
}

fn common_suffix(one: &[u8], two: &[u8]) -> usize {
    let blocks = one.rchunks(BLOCK).zip(two.rchunks(BLOCK)).take_while(|(one, two)| one == two);
    let alike = (blocks.count() * BLOCK).min(one.len()).min(two.len());
    let rest = part(one, 0, one.len() - alike).iter().rev().zip(part(two, 0, two.len() - alike).iter().rev());
    alike + rest.take_while(|(one, two)| one == two).count()
}

/// So many bytes are compared at a time.
const BLOCK: usize = 4096;
/// Texts go on alike where so many bytes are the same.
const ANCHOR: usize = 32;
/// How far is looked.
const NEAR: [usize; 2] = [512, 8192];
/// No more bytes than these are looked through for all changes together.
const MOST_COMPARED: usize = 16 << 20;
/// No more pieces than about these.
const MOST_PIECES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn together(old: &[u8], new: &[u8]) -> Vec<u8> {
        let part = |piece: &Piece| match piece {
            Piece::Old(range) => old[range.clone()].to_vec(),
            Piece::New(range) => new[range.clone()].to_vec(),
        };
        pieces(old, new).iter().flat_map(part).collect()
    }

    fn new_bytes(old: &[u8], new: &[u8]) -> usize {
        let length = |piece: &Piece| if let Piece::New(range) = piece { range.len() } else { 0 };
        pieces(old, new).iter().map(length).sum()
    }

    fn list(entries: impl Iterator<Item = usize>) -> Vec<u8> {
        let entry = |n: usize| format!("\"file-{n:06}\":{{\"length\":{n},\"x\":\"{:064x}\"}},", n * 7919);
        entries.map(entry).collect::<String>().into_bytes()
    }

    #[test]
    fn of_a_few_changes_only_they_are_new() {
        let old = list(0..10_000);
        let mut new = old.clone();
        for at in [17, 100_000, 500_000] {
            new[at] ^= 1;
        }
        assert!(new_bytes(&old, &new) < 300, "{}", new_bytes(&old, &new));
        let scattered = list((0..10_000).filter(|n| n % 2500 != 7).chain(20_000..20_003));
        assert!(new_bytes(&old, &scattered) < 1500, "{}", new_bytes(&old, &scattered));
        // A great many at one place are found by what comes after them.
        let middle = list((0..4000).chain(30_000..31_000).chain(4000..10_000));
        assert!(new_bytes(&old, &middle) < 120_000);
        assert_eq!(together(&old, &middle), middle);
        assert_eq!(pieces(&old, &old), [Piece::Old(0..old.len())]);
        assert_eq!(pieces(&[], &old), [Piece::New(0..old.len())]);
        assert!(pieces(&old, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_pieces_make_the_text(
            old in proptest::collection::vec(0..4_u8, 0..6000),
            edits in proptest::collection::vec((0..6000_usize, 0..200_usize, proptest::collection::vec(0..4_u8, 0..90)), 0..6),
        ) {
            let mut new = old.clone();
            for (at, gone, come) in edits {
                let at = at.min(new.len());
                let end = (at + gone).min(new.len());
                new.splice(at..end, come);
            }
            prop_assert_eq!(together(&old, &new), new);
        }

        #[test]
        fn texts_that_have_nothing_to_do_with_each_other(
            old in proptest::collection::vec(any::<u8>(), 0..5000),
            new in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            prop_assert_eq!(together(&old, &new), new);
        }
    }
}
