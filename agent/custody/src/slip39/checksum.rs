//! RS1024, the checksum of mnemonics: a Reed-Solomon code over GF(1024), by shifts and masks.

use std::hint::black_box;

/// How many words the checksum has.
pub(crate) const WORDS: usize = 3;

/// The checksum of `words`, for a set of this sort.
pub(crate) fn checksum(extendable: bool, words: &[u16]) -> [u16; WORDS] {
    let state = polymod(extendable, words.iter().copied().chain([0; WORDS])) ^ 1;
    [20, 10, 0].map(|shift| low_bits(state >> shift))
}

/// Whether `words`, the checksum at their end, are right.
pub(crate) fn is_right(extendable: bool, words: &[u16]) -> bool {
    polymod(extendable, words.iter().copied()) == 1
}

fn polymod(extendable: bool, words: impl Iterator<Item = u16>) -> u32 {
    let domain: &[u8] = if extendable { b"shamir_extendable" } else { b"shamir" };
    let mut state = 1_u32;
    for word in domain.iter().map(|byte| u16::from(*byte)).chain(words) {
        let high = state >> 20;
        state = (state & 0xF_FFFF) << 10 ^ u32::from(word);
        for (bit, generator) in GENERATORS.iter().enumerate() {
            state ^= generator & black_box(high >> bit & 1).wrapping_neg();
        }
    }
    state
}

fn low_bits(state: u32) -> u16 {
    u16::try_from(state & 0x3FF).unwrap_or_default()
}

const GENERATORS: [u32; 10] = [
    0x00E0_E040,
    0x01C1_C080,
    0x0383_8100,
    0x0707_0200,
    0x0E0E_0009,
    0x1C0C_2412,
    0x3808_6C24,
    0x3090_FC48,
    0x21B1_F890,
    0x03F3_F120,
];
