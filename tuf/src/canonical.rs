//! Canonical JSON in the OLPC form that TUF signs (specification 4.1).
//!
//! Members sorted by code point, no space, `"` and `\` escaped and nothing else: control characters go out raw, so the
//! result need not be valid JSON.

use crate::json::{Kind, Value};

/// The canonical form of `value`.
pub fn canonical(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.raw().len());
    write(&mut out, value);
    out
}

/// Appends the canonical form; the recursion is bounded by [`crate::json::MAX_DEPTH`].
fn write(out: &mut Vec<u8>, value: Value<'_>) {
    if value.is_canonical() {
        // The whole subtree stands there as it has to be: most published metadata ends here at once.
        out.extend_from_slice(value.raw());
        return;
    }
    match value.kind() {
        Kind::Object if value.is_sorted() => write_members(out, value.members()),
        Kind::Object => {
            let mut members: Vec<_> = value.members().map(|pair| (pair.0.decoded(), pair)).collect();
            members.sort_unstable_by(|one, two| one.0.cmp(&two.0));
            write_members(out, members.into_iter().map(|(_, pair)| pair));
        }
        Kind::Array => {
            out.push(b'[');
            for (index, item) in value.items().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Kind::String => write_string(out, &value.decoded()),
        Kind::Null | Kind::Bool | Kind::Integer => out.extend_from_slice(value.raw()),
    }
}

fn write_members<'d>(out: &mut Vec<u8>, members: impl Iterator<Item = (Value<'d>, Value<'d>)>) {
    out.push(b'{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, name);
        out.push(b':');
        write(out, value);
    }
    out.push(b'}');
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
