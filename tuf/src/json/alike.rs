//! For tests: whether two documents are the same, whatever ways they were read.

use super::{Kind, Value};

/// Same text, same places in it; what is said to be canonical of the one is so of the other.
pub(super) fn same(one: Value<'_>, two: Value<'_>) {
    for_each_pair(one, two, &|_, _| {});
}

/// The same, with nodes in the same order in memory.
pub(super) fn same_to_the_node(one: Value<'_>, two: Value<'_>) {
    for_each_pair(one, two, &|one, two| assert_eq!(one.index(), two.index()));
}

fn for_each_pair(one: Value<'_>, two: Value<'_>, more: &impl Fn(Value<'_>, Value<'_>)) {
    assert_eq!((one.kind(), one.raw_str(), one.len()), (two.kind(), two.raw_str(), two.len()));
    assert_eq!((one.span(), one.is_sorted()), (two.span(), two.is_sorted()));
    assert!(!one.is_canonical() || two.is_canonical());
    more(one, two);
    match one.kind() {
        Kind::Object => {
            for ((name, one), (other, two)) in one.members().zip(two.members()) {
                for_each_pair(name, other, more);
                for_each_pair(one, two, more);
            }
        }
        Kind::Array => one.items().zip(two.items()).for_each(|(one, two)| for_each_pair(one, two, more)),
        _ => {}
    }
}
