//! Sets for tests.

use secmem::SecretBytes;

use crate::{AgreedTerms, Context, IterationExponent, NewSet, Share, SplitKind, Terms, Weak};

/// `threshold` of `count` custodians, c0, c1 and so on, also where that is weak.
pub(crate) fn simple(threshold: usize, count: usize) -> AgreedTerms {
    let custodians = (0..count).map(|at| format!("c{at}").parse().unwrap()).collect();
    Terms::simple(threshold, custodians).unwrap().agreed(Weak::Allowed).unwrap()
}

/// With the least stretching.
pub(crate) fn context(passphrase: &SecretBytes) -> Context<'_> {
    Context {
        key_name: "root-s",
        made_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        exponent: IterationExponent::try_from(0).unwrap(),
        passphrase,
        used: &[],
    }
}

pub(crate) fn no_passphrase() -> SecretBytes {
    SecretBytes::copy_from(b"")
}

pub(crate) fn new_set(kind: SplitKind, terms: &AgreedTerms) -> NewSet {
    NewSet::generate(kind, terms, &context(&no_passphrase())).unwrap()
}

/// The same share again, as its custodian gives it.
pub(crate) fn read_back(share: &Share) -> Share {
    Share::parse(share.words().unwrap().reveal_secret_bytes()).unwrap()
}
