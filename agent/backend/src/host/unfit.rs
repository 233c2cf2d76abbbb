//! Keys that lie on a token and that TUF cannot use: not listed, and told (FAULTS D5).

use std::collections::BTreeMap;

use cryptoki::object::KeyType;

/// Keys of a token that cannot be used here, each once: by CKA_ID and label, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unfit(BTreeMap<(Vec<u8>, String), String>);

impl Unfit {
    /// A half of such a key.
    pub(super) fn note(&mut self, id: Vec<u8>, label: String, why: String) {
        self.0.entry((id, label)).or_insert(why);
    }

    pub(super) fn add(&mut self, other: Self) {
        for (key, why) in other.0 {
            self.0.entry(key).or_insert(why);
        }
    }

    /// For people; none where there is none.
    pub(crate) fn told(&self) -> Option<String> {
        let count = self.0.len();
        let keys = match count {
            0 => return None,
            1 => "1 key of it is not listed, as it cannot be used".to_owned(),
            count => format!("{count} keys of it are not listed, as they cannot be used"),
        };
        let named: Vec<_> = self
            .0
            .iter()
            .take(MOST_NAMED)
            .map(|((_, label), why)| {
                let label: String = label.chars().take(LONGEST).collect();
                format!("{label:?} is {why}")
            })
            .collect();
        let more = count.saturating_sub(MOST_NAMED);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        Some(format!("{keys}: {}{more}", named.join("; ")))
    }
}

/// What an elliptic curve is that is none of ours, by CKA_EC_PARAMS (X9.62: a name, or all numbers of the curve).
pub(super) fn curve(params: &[u8]) -> String {
    match params {
        [0x30, ..] => "an EC key with explicit parameters, where only named curves are taken: make a key of P-256 or P-384 by its name"
            .to_owned(),
        [0x06, ..] => format!("an EC key of a curve that TUF has not (OID {})", hex::encode(params)),
        [0x13 | 0x0c, _, name @ ..] => {
            format!("an EC key of a curve that TUF has not ({:?})", String::from_utf8_lossy(name))
        }
        _ => "an EC key whose parameters cannot be read".to_owned(),
    }
}

/// The same of an RSA key.
pub(super) fn rsa(modulus: &[u8]) -> String {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first =
        modulus.get(zeros).map_or(0, |byte| (1..=8).rev().find(|bit| byte >> (bit - 1) != 0).unwrap_or(0));
    let bytes = modulus.len().saturating_sub(zeros).saturating_sub(1);
    let bits = bytes.saturating_mul(8).saturating_add(first);
    format!("an RSA key of {bits} bits, where 2048 to 8192 are taken, and an exponent up to 2^32")
}

/// The same of one of another type.
pub(super) fn other(kind: Option<KeyType>) -> String {
    match kind {
        Some(kind) => format!("a key of type {kind}, which TUF has not"),
        None => "a key that does not say of which type it is".to_owned(),
    }
}

const MOST_NAMED: usize = 4;
const LONGEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_used_are_counted_once_and_told_with_the_reason() {
        let mut unfit = Unfit::default();
        assert_eq!(unfit.told(), None);
        unfit.note(vec![1], "old".to_owned(), curve(&[0x30, 0x81]));
        unfit.note(vec![1], "old".to_owned(), curve(&[0x30, 0x81]));
        let told = unfit.told().unwrap();
        assert!(told.contains("1 key") && told.contains("\"old\" is an EC key with explicit"), "{told}");
        for number in 2..8 {
            unfit.note(vec![number], format!("k{number}\n"), rsa(&[1; 128]));
        }
        let told = unfit.told().unwrap();
        assert!(told.contains("7 keys") && told.contains("and 3 more") && !told.contains('\n'), "{told}");
        assert!(told.contains("1017 bits"), "{told}");
    }

    #[test]
    fn a_curve_that_is_none_of_ours_is_called_what_it_is() {
        // secp256k1 by its OID, and by name.
        assert!(curve(&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]).contains("06052b8104000a"));
        assert!(curve(b"\x13\x09secp256k1").contains("secp256k1"));
        assert!(curve(&[]).contains("cannot be read"));
        assert!(rsa(&[]).contains(" 0 bits") && rsa(&[0, 0x80, 0]).contains(" 16 bits"));
        assert!(other(Some(KeyType::DSA)).contains("DSA"));
    }
}
