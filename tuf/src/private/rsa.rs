//! Secret numbers of RSA: a private exponent, a prime, or the exponent by one prime.
//!
//! Signatures are as long as exponents, and a power of that size takes milliseconds: it is worked out for the few numbers
//! only that nothing cheaper rules out.

use crate::key::PublicKey;
use crypto_bigint::{BoxedUint, ConcatenatingMul as _, Gcd, NonZero, U256};

/// An RSA key whose private half is looked for.
#[derive(Clone, Debug)]
pub(super) struct Rsa {
    /// The modulus as it is written, without zeros before it.
    written: Vec<u8>,
    modulus: BoxedUint,
    exponent: BoxedUint,
}

impl Rsa {
    pub(super) fn of(key: &PublicKey) -> Option<Self> {
        let (written, exponent) = key.rsa_parts()?;
        let of = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes);
        Some(Self { modulus: of(&written), exponent: of(&exponent), written })
    }

    /// Whether so many bytes can be the private exponent, a prime or an exponent by one.
    pub(super) fn may_be_of(&self, length: usize) -> bool {
        self.is_exponent(length) || self.is_prime(length)
    }

    /// A private exponent may be some bits shorter than the modulus.
    fn is_exponent(&self, length: usize) -> bool {
        let width = self.written.len();
        (width.saturating_sub(8)..=width.saturating_add(1)).contains(&length)
    }

    /// Primes have half of the bits, and so have the exponents by them.
    fn is_prime(&self, length: usize) -> bool {
        super::made::is_as_wide(length, self.written.len().div_ceil(2))
    }

    /// Whether these bytes are a prime or the private exponent.
    pub(super) fn is_broken_by(&self, bytes: &[u8]) -> bool {
        let number = BoxedUint::from_be_slice_vartime(bytes);
        let divides = |by: &NonZero<BoxedUint>| self.modulus.rem_vartime::<BoxedUint>(by).is_zero().into();
        let is_divisor = self.is_prime(bytes.len())
            && number > BoxedUint::one()
            && number.as_nz_vartime().is_some_and(divides);
        is_divisor
            || self.is_exponent(bytes.len())
                && self.is_tame()
                && is_odd(bytes)
                && self.may_take_back(&number)
                && self.power(&number).is_some_and(|power| power == self.two())
    }

    /// Whether only a power tells if these bytes are an exponent.
    pub(super) fn needs_power(&self, bytes: &[u8]) -> bool {
        // What is one modulo an even number, times an odd one, is odd.
        is_odd(bytes) && (self.is_prime(bytes.len()) || self.is_exponent(bytes.len()) && !self.is_tame())
    }

    /// Whether these bytes take back what the public exponent does, by the modulus or by one prime.
    pub(super) fn is_undone_by(&self, bytes: &[u8]) -> bool {
        let Some(back) = self.power(&BoxedUint::from_be_slice_vartime(bytes)) else { return false };
        let two = self.two();
        // By one prime alone: that prime divides the difference.
        back == two
            || self.is_prime(bytes.len())
                && back > two
                && back.wrapping_sub(&two).gcd_vartime(&self.modulus) > BoxedUint::one()
    }

    /// Whether these bytes have the form of a signature by this key: with the frame of PKCS #1 v1.5 before the digest, or the
    /// last byte of PSS (RFC 8017, sections 9.1.1 and 9.2).
    pub(super) fn has_signed(&self, bytes: &[u8]) -> bool {
        let number = BoxedUint::from_be_slice_vartime(bytes);
        let Some(odd) = self.modulus.as_odd_vartime() else { return false };
        if bytes.len() != self.written.len() || number >= self.modulus {
            return false;
        }
        let message = self.in_width(&number.pow_mod(&self.exponent, odd));
        message.starts_with(&[0, 1, 0xff]) || message.ends_with(&[0xbc])
    }

    /// Whether the filter of [`Self::may_take_back`] holds for this key, as it does for all that are in use.
    fn is_tame(&self) -> bool {
        self.exponent.bits_vartime() <= 64 && self.written.len() >= 192
    }

    /// Whether a number may be the private exponent; hardly any other number may.
    ///
    /// With e·d = 1 + k·φ/g, where g divides both primes less one, and n - φ about as long as a prime, (e·d - 1)/n lies next
    /// to k/g. Divided by each other as Euclid does it, modulus and remainder then come down to almost nothing at once, where
    /// those of another number go down by a few bits each time. All g below 2^60 are seen so.
    fn may_take_back(&self, number: &BoxedUint) -> bool {
        let Some(modulus) = self.modulus.as_nz_vartime() else { return false };
        let rest = self.exponent.concatenating_mul(number).wrapping_sub(BoxedUint::one());
        let rest = self.in_width(&rest.rem_vartime::<BoxedUint>(modulus));
        let top = |bytes: &[u8]| bytes.get(..32).map(U256::from_be_slice);
        let (Some(mut before), Some(mut rest)) = (top(&self.written), top(&rest)) else { return true };
        while rest.bits_vartime() > 184 {
            let Some(by) = NonZero::new(rest).into_option() else { break };
            (before, rest) = (rest, before.rem_vartime(&by));
        }
        rest.bits_vartime() <= 136
    }

    /// 2 to the power of the public exponent and of `number`.
    fn power(&self, number: &BoxedUint) -> Option<BoxedUint> {
        let odd = self.modulus.as_odd_vartime()?;
        Some(self.two().pow_mod(number, odd).pow_mod(&self.exponent, odd))
    }

    /// As wide as the modulus.
    fn two(&self) -> BoxedUint {
        let mut two = vec![0; self.written.len()];
        two.last_mut().into_iter().for_each(|byte| *byte = 2);
        BoxedUint::from_be_slice_vartime(&two)
    }

    /// A number below the modulus in as many bytes.
    fn in_width(&self, number: &BoxedUint) -> Vec<u8> {
        let digits = number.to_be_bytes_trimmed_vartime();
        let mut bytes = vec![0; self.written.len().saturating_sub(digits.len())];
        bytes.extend_from_slice(&digits);
        bytes
    }
}

fn is_odd(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|last| last % 2 == 1)
}
