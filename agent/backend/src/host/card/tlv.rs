//! Tag, length, value, as the PIV application writes it (SP 800-73). Nothing here asks a card.

/// One of them, with a tag of one byte or the two of `7F49`.
pub(super) fn tlv(tag: &[u8], value: &[u8]) -> Vec<u8> {
    let mut all = tag.to_vec();
    match value.len() {
        len @ 0..=0x7f => all.extend(len.to_be_bytes().last()),
        len @ 0x80..=0xff => {
            all.push(0x81);
            all.extend(len.to_be_bytes().last());
        }
        len => {
            all.push(0x82);
            all.extend(len.to_be_bytes().iter().skip(size_of::<usize>() - 2));
        }
    }
    all.extend_from_slice(value);
    all
}

/// The first one, and what follows it. `None` when it is cut short, or of a form that no card writes.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let tag_len = if bytes.first()? & 0x1f == 0x1f { 2 } else { 1 };
    let (tag, rest) = bytes.split_at_checked(tag_len)?;
    let (len, rest) = match rest {
        [len @ 0..=0x7f, rest @ ..] => (usize::from(*len), rest),
        [0x81, len, rest @ ..] => (usize::from(*len), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((tag, value, rest))
}

/// The value of the first one with this tag.
pub(super) fn value_of<'a>(tag: &[u8], mut bytes: &'a [u8]) -> Option<&'a [u8]> {
    while let Some((found, value, rest)) = first(bytes) {
        if found == tag {
            return Some(value);
        }
        bytes = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_whatever_its_length() {
        for len in [0, 1, 127, 128, 255, 256, 3000] {
            let value = vec![7; len];
            let bytes = [tlv(&[0x01], &[9]), tlv(&[0x7f, 0x49], &value)].concat();
            assert_eq!(value_of(&[0x7f, 0x49], &bytes), Some(value.as_slice()), "{len}");
        }
        assert_eq!(tlv(&[0x53], &[0; 300])[..4], [0x53, 0x82, 1, 44]);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let _ = value_of(&[0x7c], &bytes);
        }
    }
}
