//! GF(256) with x^8 + x^4 + x^3 + x + 1, by shifts and masks: no table, no branch, no index that depends on a value.

use std::hint::black_box;

use super::SECRET_MAX;
use zeroize::Zeroizing;

/// `a · b`.
pub(crate) fn product(mut a: u8, b: u8) -> u8 {
    let mut sum = 0;
    for bit in 0..8 {
        sum ^= a & mask(b >> bit);
        a = doubled(a);
    }
    sum
}

/// `1 / a`, as `a^254`; 0 for 0.
pub(crate) fn inverse(a: u8) -> u8 {
    // 254 = 2 + 4 + 8 + 16 + 32 + 64 + 128.
    let mut square = product(a, a);
    let mut all = square;
    for _ in 0..6 {
        square = product(square, square);
        all = product(all, square);
    }
    all
}

/// The polynomial through `points` (place, value), at the place `at`. Places are public and differ; values are secret.
pub(crate) fn interpolated<'v>(
    points: impl Iterator<Item = (u8, &'v [u8; SECRET_MAX])> + Clone,
    at: u8,
) -> Zeroizing<[u8; SECRET_MAX]> {
    let mut sum = Zeroizing::new([0; SECRET_MAX]);
    for (place, value) in points.clone() {
        let (mut above, mut below) = (1, 1);
        for (other, _) in points.clone().filter(|(other, _)| *other != place) {
            above = product(above, at ^ other);
            below = product(below, place ^ other);
        }
        add_multiple(&mut sum, value, product(above, inverse(below)));
    }
    sum
}

/// `sum += value · factor`, byte by byte.
fn add_multiple(sum: &mut [u8; SECRET_MAX], value: &[u8; SECRET_MAX], factor: u8) {
    let mut multiple = Zeroizing::new(*value);
    for bit in 0..8 {
        let mask = mask(factor >> bit);
        for (sum, multiple) in sum.iter_mut().zip(multiple.iter_mut()) {
            *sum ^= *multiple & mask;
            *multiple = doubled(*multiple);
        }
    }
}

/// `a · x`.
const fn doubled(a: u8) -> u8 {
    (a << 1) ^ (0x1B & (a >> 7).wrapping_neg())
}

/// All ones when the lowest bit is set. The compiler may not know that there are two cases only, and branch.
fn mask(bits: u8) -> u8 {
    black_box(bits & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one learns it at school.
    fn by_polynomials(a: u8, b: u8) -> u8 {
        let mut long = 0_u16;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                long ^= u16::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if long >> bit & 1 == 1 {
                long ^= 0x11B << (bit - 8);
            }
        }
        u8::try_from(long).unwrap()
    }

    #[test]
    fn every_product_is_that_of_polynomials_and_every_inverse_inverts() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(product(a, b), by_polynomials(a, b), "{a} {b}");
            }
            assert_eq!(product(a, inverse(a)), u8::from(a != 0));
        }
    }

    #[test]
    fn a_polynomial_goes_through_its_points() {
        let values = [[1; 32], [200; 32], [77; 32]];
        let points = [0, 5, 254].into_iter().zip(&values);
        for (place, value) in points.clone() {
            assert_eq!(*interpolated(points.clone(), place), *value);
        }
    }
}
