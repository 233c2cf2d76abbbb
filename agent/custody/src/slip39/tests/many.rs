//! Sets of every small shape and very many random ones, at the level of the encrypted secret: what is stretched around it
//! is the same for all.

use super::super::sharing::{Fault, Part, holds, recovered, split};
use super::super::text::Spelled;
use super::super::{COUNT_MAX, Common, Header, SECRET_MAX, Value, mnemonic, text};

/// A set, and the encrypted secret that it is of.
pub(super) struct Set {
    pub(super) encrypted: Value,
    pub(super) groups: Vec<(u8, u8)>,
    pub(super) threshold: u8,
    pub(super) shares: Vec<(Header, Value)>,
}

impl Set {
    fn new(groups: &[(u8, u8)], threshold: u8, len: usize) -> Self {
        let mut encrypted = Value::zero(len);
        secmem::fill_random(encrypted.get_mut()).unwrap();
        let common = Common {
            identifier: 1234,
            extendable: true,
            exponent: 0,
            group_threshold: threshold,
            group_count: u8::try_from(groups.len()).unwrap(),
        };
        Self::of(encrypted, common, groups)
    }

    pub(super) fn of(encrypted: Value, common: Common, groups: &[(u8, u8)]) -> Self {
        let mut shares = Vec::new();
        let give =
            |header, value: &Value| shares.push((header, Value { bytes: value.bytes, len: value.len }));
        split(&encrypted, common, groups, give).unwrap();
        Self { encrypted, groups: groups.to_vec(), threshold: common.group_threshold, shares }
    }

    fn parts(&self) -> Vec<Part<'_>> {
        self.shares
            .iter()
            .map(|(header, value)| Part { header: *header, value: &value.bytes, len: value.len })
            .collect()
    }

    /// Whether the shares whose bits are set are enough.
    fn is_full(&self, subset: u32) -> bool {
        let mut rest = subset;
        let complete = self.groups.iter().filter(|(threshold, count)| {
            let of_group = rest & ((1 << count) - 1);
            rest >>= count;
            of_group.count_ones() >= u32::from(*threshold)
        });
        complete.count() >= self.threshold.into()
    }

    /// How many subsets there are, all of them recovered or refused as they have to be.
    fn check_every_subset(&self) -> u32 {
        let parts = self.parts();
        let subsets = 1_u32 << parts.len();
        for subset in 0..subsets {
            let chosen: Vec<_> =
                (0..).zip(&parts).filter(|(at, _)| subset >> at & 1 == 1).map(|(_, part)| *part).collect();
            self.check(&chosen, self.is_full(subset));
        }
        subsets
    }

    fn check(&self, parts: &[Part<'_>], full: bool) {
        match recovered(parts) {
            Ok(value) => {
                assert!(full && value.bytes == self.encrypted.bytes && value.len == self.encrypted.len)
            }
            Err(fault) => assert!(!full && fault == Fault::Short, "{fault:?} {:?}", self.groups),
        }
    }
}

/// All groups of up to five: (threshold, count).
fn small_groups() -> Vec<(u8, u8)> {
    let more = (2..=5).flat_map(|count| (2..=count).map(move |threshold| (threshold, count)));
    std::iter::once((1, 1)).chain(more).collect()
}

/// All sets of `count` such groups, but for their order.
fn shapes(count: usize) -> Vec<Vec<(u8, u8)>> {
    let mut shapes = vec![Vec::new()];
    for _ in 0..count {
        let longer = |shape: Vec<(u8, u8)>| {
            let least = shape.last().copied().unwrap_or((0, 0));
            let next = small_groups().into_iter().filter(move |group| *group >= least);
            next.map(move |group| [shape.as_slice(), &[group]].concat())
        };
        shapes = shapes.into_iter().flat_map(longer).collect();
    }
    shapes
}

fn check_every_shape(groups: usize, threshold: u8) -> u32 {
    let lens = [16, 32, 18, 30].into_iter().cycle();
    shapes(groups)
        .iter()
        .zip(lens)
        .map(|(shape, len)| Set::new(shape, threshold, len).check_every_subset())
        .sum()
}

#[test]
fn every_subset_of_every_set_of_up_to_two_groups_of_five_is_recovered_or_refused() {
    let checked = check_every_shape(1, 1) + check_every_shape(2, 1) + check_every_shape(2, 2);
    assert!(checked > 40_000, "{checked}");
    // In the other order, too: the number of a group is in its shares.
    for shape in shapes(2).iter().filter(|shape| shape[0] != shape[1]) {
        for threshold in [1, 2] {
            Set::new(&[shape[1], shape[0]], threshold, 32).check_every_subset();
        }
    }
}

#[test]
fn every_subset_of_every_set_of_one_of_three_groups_of_five_is_recovered_or_refused() {
    assert!(check_every_shape(3, 1) > 1_000_000);
}

#[test]
fn every_subset_of_every_set_of_two_of_three_groups_of_five_is_recovered_or_refused() {
    assert!(check_every_shape(3, 2) > 1_000_000);
}

#[test]
fn every_subset_of_every_set_of_three_of_three_groups_of_five_is_recovered_or_refused() {
    assert!(check_every_shape(3, 3) > 1_000_000);
}

/// Numbers that look random and are the same in each run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn small(&mut self, end: usize) -> u8 {
        u8::try_from(self.below(end)).unwrap()
    }

    fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
        items
    }

    /// A set of up to `groups` groups of up to `members`.
    pub(super) fn set(&mut self, groups: usize, members: usize) -> Set {
        let count = 1 + self.below(groups);
        let group = |_| match 1 + self.small(members) {
            1 => (1, 1),
            count => (2 + self.small(usize::from(count) - 1), count),
        };
        let shape: Vec<_> = (0..count).map(group).collect();
        let threshold = 1 + self.small(count);
        Set::new(&shape, threshold, 16 + 2 * self.below(9))
    }

    /// Just enough shares, in any order: their places among all.
    pub(super) fn quorum(&mut self, set: &Set) -> Vec<usize> {
        let groups = self.shuffled((0_u8..).take(set.groups.len()).collect());
        let mut chosen = Vec::new();
        for group in groups.iter().take(set.threshold.into()) {
            let shares = set.shares.iter().enumerate();
            let of_group = shares.filter(|(_, (header, _))| header.group_index == *group).map(|(at, _)| at);
            let (threshold, _) = set.groups[usize::from(*group)];
            chosen.extend(self.shuffled(of_group.collect()).into_iter().take(threshold.into()));
        }
        self.shuffled(chosen)
    }

    /// Just enough shares are enough, and without any one of them they are not.
    fn check_quorum(&mut self, set: &Set) {
        let parts = set.parts();
        let mut chosen: Vec<_> = self.quorum(set).into_iter().map(|at| parts[at]).collect();
        set.check(&chosen, true);
        let lost = chosen.swap_remove(self.below(chosen.len()));
        set.check(&chosen, false);
        chosen.extend([lost, lost]);
        assert_eq!(recovered(&chosen).map(drop), Err(Fault::Duplicate));
    }
}

#[test]
fn a_hundred_thousand_random_sets_come_back_from_any_quorum_and_from_nothing_less() {
    let mut numbers = Numbers(1);
    for at in 0..100_000 {
        // Most are small, as sets are; one in a hundred is of any size.
        let set = if at % 100 == 0 { numbers.set(COUNT_MAX, COUNT_MAX) } else { numbers.set(3, 5) };
        numbers.check_quorum(&set);
    }
}

#[test]
fn the_check_of_a_new_set_lets_no_changed_share_through() {
    let mut numbers = Numbers(2);
    for _ in 0..300 {
        let mut set = numbers.set(3, 5);
        assert_eq!(holds(&set.parts(), &set.encrypted), Ok(true), "{:?}", set.groups);
        let (share, byte) = (numbers.below(set.shares.len()), numbers.below(set.encrypted.len));
        set.shares[share].1.bytes[byte] ^= 1 << numbers.below(8);
        let found = holds(&set.parts(), &set.encrypted);
        assert!(matches!(found, Ok(false) | Err(Fault::Digest)), "{:?} {found:?}", set.groups);
    }
}

#[test]
fn shares_of_different_sets_are_refused_by_header_or_by_digest() {
    let (one, mut two) = (Set::new(&[(2, 3)], 1, 32), Set::new(&[(2, 3)], 1, 32));
    let mixed = |two: &Set| recovered(&[one.parts()[0], two.parts()[1]]).map(drop);
    assert_eq!(mixed(&two), Err(Fault::Digest));
    two.shares[1].0.common.identifier ^= 1;
    assert_eq!(mixed(&two), Err(Fault::Mixed));
    assert_eq!(recovered(&[]).map(drop), Err(Fault::Short));
    let shorter = Set::new(&[(2, 3)], 1, 16);
    assert_eq!(mixed(&shorter), Err(Fault::Mixed));
    let stricter = Set::new(&[(3, 3)], 1, 32);
    assert_eq!(mixed(&stricter), Err(Fault::Mixed));
}

#[test]
fn random_values_of_every_length_are_written_and_read() {
    for len in (16..=SECRET_MAX).step_by(2) {
        for _ in 0..30 {
            let set = Set::new(&[(2, 3)], 1, len);
            let (header, value) = &set.shares[2];
            let words = text::written(&mnemonic::encoded(*header, value));
            let spelled = Spelled::read(words.reveal_secret_bytes());
            let indices = spelled.looked_up(spelled.count()).unwrap();
            let (read, again) = mnemonic::decoded(&indices).unwrap();
            assert!(read == *header && again.bytes == value.bytes && again.len == len);
        }
    }
}
