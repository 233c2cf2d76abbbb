//! The inner loop: finding the end of plain text inside a string.

/// How many bytes from the beginning are neither a quote, a backslash nor a control character. Eight at a time: text
/// is nearly all of a metadata file.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Marks the lowest zero byte of a word exactly; higher marks may be wrong, and are not used.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut run = 0;
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero(word ^ (ONES * 0x22));
        let backslash = zero(word ^ (ONES * 0x5C));
        let control = zero(word & (ONES * 0xE0));
        let marks = quote | backslash | control;
        if marks != 0 {
            return run + usize::try_from(marks.trailing_zeros() / 8).unwrap_or(0);
        }
        run += 8;
    }
    run + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1F)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::plain_run;

    #[test]
    fn plain_text_ends_at_the_same_byte_whether_taken_by_eight_or_one() {
        for stop in 0..=255_u8 {
            for at in 0..20 {
                // 0x21 and 0x5d lie one beside a quote and a backslash, 0x80 and 0xff have the highest bit.
                let mut bytes: Vec<u8> =
                    [0x21, 0x5d, 0x80, 0xff, 0x20, 0x7f].into_iter().cycle().take(24).collect();
                bytes[at] = stop;
                let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1F)).unwrap_or(24);
                assert_eq!(plain_run(&bytes), slow, "{stop:02x} at {at}");
            }
        }
    }
}
