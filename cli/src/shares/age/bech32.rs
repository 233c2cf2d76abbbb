//! Bech32 (BIP 173), reading alone, for 32 bytes: the form of age's identities.

use zeroize::Zeroizing;

/// The 32 bytes under a human-readable part, which is given in lower case; the whole text is in one case.
pub(super) fn decode(human: &str, text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mixed = text.iter().any(u8::is_ascii_lowercase) && text.iter().any(u8::is_ascii_uppercase);
    let (head, data) = text.split_at_checked(human.len())?;
    if mixed || !head.eq_ignore_ascii_case(human.as_bytes()) {
        return None;
    }
    let data = data.strip_prefix(b"1").filter(|data| data.len() == SYMBOLS + CHECKSUM)?;
    let mut values = Zeroizing::new([0_u8; SYMBOLS + CHECKSUM]);
    for (value, symbol) in values.iter_mut().zip(data) {
        let at = ALPHABET.iter().position(|known| known.eq_ignore_ascii_case(symbol))?;
        *value = u8::try_from(at).ok()?;
    }
    let human = human.as_bytes();
    let expanded = human.iter().map(|c| c >> 5).chain([0]).chain(human.iter().map(|c| c & 31));
    let check = expanded.chain(values.iter().copied()).fold(1, step);
    let mut bytes = Zeroizing::new([0_u8; 32]);
    let left = regroup(values.get(..SYMBOLS)?, &mut bytes);
    (check == 1 && left == 0).then_some(bytes)
}

/// Eight bits from five; gives the bits that are left over, which must be zero.
fn regroup(values: &[u8], bytes: &mut [u8; 32]) -> u32 {
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut out = bytes.iter_mut();
    for value in values {
        held = held << 5 | u32::from(*value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            if let Some(byte) = out.next() {
                *byte = u8::try_from(held >> bits & 0xff).unwrap_or_default();
            }
            held &= (1 << bits) - 1;
        }
    }
    held
}

fn step(check: u32, value: u8) -> u32 {
    let top = check >> 25;
    let mut check = (check & 0x1ff_ffff) << 5 ^ u32::from(value);
    for (bit, generator) in GENERATORS.iter().enumerate() {
        if top >> bit & 1 == 1 {
            check ^= generator;
        }
    }
    check
}

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
/// 32 bytes, five bits each.
const SYMBOLS: usize = 52;
const CHECKSUM: usize = 6;
