//! The node of the tape: 16 bytes for each value and each member name.

/// Where a value lies and where the next one begins. `meta` holds kind and flags in its low byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// First byte of the value.
    pub(super) start: u32,
    /// One past its last byte.
    pub(super) end: u32,
    /// The node after this value and all that is in it.
    pub(super) next: u32,
    /// Kind (3 bits), flags (3 bits), count of members or items (26 bits, saturating).
    meta: u32,
}

pub(super) const NULL: u32 = 0;
pub(super) const FALSE: u32 = 1;
pub(super) const TRUE: u32 = 2;
pub(super) const INTEGER: u32 = 3;
pub(super) const STRING: u32 = 4;
pub(super) const ARRAY: u32 = 5;
pub(super) const OBJECT: u32 = 6;
const KIND: u32 = 7;
/// The string holds at least one backslash.
pub(super) const ESCAPED: u32 = 1 << 3;
/// The member names rise strictly.
pub(super) const SORTED: u32 = 1 << 4;
/// The text of the value is its canonical form.
pub(super) const CANONICAL: u32 = 1 << 5;
const COUNT_SHIFT: u32 = 6;

impl Default for Node {
    fn default() -> Self {
        Self { start: 0, end: 0, next: u32::MAX, meta: NULL }
    }
}

impl Node {
    pub(super) fn new(start: u32, end: u32, next: u32, flags: u32) -> Self {
        Self { start, end, next, meta: flags }
    }

    pub(super) fn kind(self) -> u32 {
        self.meta & KIND
    }

    /// The same at another place. Places have 28 bits, so nothing wraps; that nobody asks moves several at once.
    pub(super) fn moved(self, bytes: i32, nodes: i32) -> Self {
        Self {
            start: self.start.wrapping_add_signed(bytes),
            end: self.end.wrapping_add_signed(bytes),
            next: self.next.wrapping_add_signed(nodes),
            meta: self.meta,
        }
    }

    /// Takes the promise away that the text is canonical.
    pub(super) fn unflag_canonical(&mut self) {
        self.meta &= !CANONICAL;
    }

    pub(super) fn has(self, flag: u32) -> bool {
        self.meta & flag != 0
    }

    pub(super) fn flag(&mut self, flags: u32) {
        self.meta |= flags;
    }

    /// `count` is below 2^26: a document of 2^28 bytes has at most 2^16 + 2^26 nodes, an object two for each member;
    /// an array may come near, so it saturates.
    pub(super) fn set_count(&mut self, count: u32) {
        self.meta |= count.min(u32::MAX >> COUNT_SHIFT) << COUNT_SHIFT;
    }

    pub(super) fn count_usize(self) -> usize {
        wide(self.meta >> COUNT_SHIFT)
    }

    pub(super) fn start_usize(self) -> usize {
        wide(self.start)
    }

    pub(super) fn end_usize(self) -> usize {
        wide(self.end)
    }
}

/// A 32-bit number as an index; this crate runs where `usize` has at least 32 bits.
pub(super) fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
