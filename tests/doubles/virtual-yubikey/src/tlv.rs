//! Tags, lengths and values (BER): of APDUs and, since DER is the same with the shortest lengths, of certificates.

/// One value with its tag.
pub(crate) fn tlv(tag: u16, value: &[u8]) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    let mut out = if high == 0 { vec![low] } else { vec![high, low] };
    let len = value.len().to_be_bytes();
    match value.len() {
        0..0x80 => out.extend(len.last()),
        _ => {
            let significant: Vec<u8> = len.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            out.extend(significant);
        }
    }
    out.extend_from_slice(value);
    out
}

/// The values that `bytes` are made of; `None` where they are not.
pub(crate) fn values(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (tag, value, rest) = first(bytes)?;
        all.push((tag, value));
        bytes = rest;
    }
    Some(all)
}

/// The value of one tag in `bytes`, which are values one after another.
pub(crate) fn value(bytes: &[u8], tag: u16) -> Option<&[u8]> {
    values(bytes)?.into_iter().find(|(it, _)| *it == tag).map(|(_, value)| value)
}

fn first(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (low, mut rest) = bytes.split_first()?;
    let mut tag = u16::from(*low);
    if low & 0x1f == 0x1f {
        let (next, after) = rest.split_first()?;
        tag = u16::from_be_bytes([*low, *next]);
        rest = after;
    }
    let (len, mut rest) = rest.split_first()?;
    let mut count = usize::from(*len);
    if let Some(bytes_of_len @ 1..=3) = len.checked_sub(0x80) {
        let (long, after) = rest.split_at_checked(usize::from(bytes_of_len))?;
        count = long.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        rest = after;
    } else if *len >= 0x80 {
        return None;
    }
    let (value, rest) = rest.split_at_checked(count)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_length_come_back() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let (one, two) = (vec![7; len], vec![8; 3]);
            let bytes = [tlv(0x53, &one), tlv(0x7f49, &two)].concat();
            assert_eq!(values(&bytes).unwrap(), [(0x53, &one[..]), (0x7f49, &two[..])]);
        }
        assert_eq!(tlv(0x53, &[0; 0x80])[..3], [0x53, 0x81, 0x80]);
        assert_eq!(value(&tlv(1, &[5]), 2), None);
        assert!(values(&[0x53, 2, 0]).is_none() && values(&[0x53, 0x80]).is_none());
    }
}
