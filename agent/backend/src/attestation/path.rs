//! From the attestation of a key to a root that is trusted.

use super::AttestationError;
use super::certificate::Certificate;
use super::roots::Roots;

/// So many authorities may stand between the statement and the root; Yubico's newest chain has three.
const MOST_BETWEEN: usize = 5;
/// So many signatures are verified for one attestation, whatever names a card gives its certificates.
const MOST_CHECKED: usize = 32;

/// Finds the root above `statement`, by way of `authority`, which is the device's own, and the intermediates of `roots`.
pub(super) fn climb<'a>(
    statement: &'a Certificate,
    authority: &'a Certificate,
    roots: &'a Roots,
) -> Result<&'a Certificate, AttestationError> {
    let between = std::iter::once(authority).chain(roots.intermediates()).collect();
    let mut search = Search { between, roots, checked: 0, trouble: None };
    search.from(statement, 0).ok_or_else(|| {
        let trouble = search.trouble.map(|(_, trouble)| trouble);
        trouble.unwrap_or_else(|| AttestationError::UnknownRoot { issuer: statement.issuer() })
    })
}

struct Search<'a> {
    between: Vec<&'a Certificate>,
    roots: &'a Roots,
    checked: usize,
    /// What stopped the way that came highest.
    trouble: Option<(usize, AttestationError)>,
}

impl<'a> Search<'a> {
    /// The root above `below`, under which `count` authorities stand already.
    fn from(&mut self, below: &'a Certificate, count: usize) -> Option<&'a Certificate> {
        let roots = self.roots.roots().iter();
        if let Some(root) =
            roots.filter(|root| below.names_as_issuer(root)).find(|root| self.signed(below, root, count))
        {
            return Some(root);
        }
        let above = |one: &&Certificate| below.names_as_issuer(one) && !one.is_self_issued();
        let above: Vec<_> = self.between.iter().copied().filter(above).collect();
        if above.is_empty() {
            self.stopped(count, AttestationError::UnknownRoot { issuer: below.issuer() });
            return None;
        }
        if count >= MOST_BETWEEN {
            self.stopped(count, AttestationError::TooLong);
            return None;
        }
        above.into_iter().find_map(|authority| {
            self.signed(below, authority, count)
                .then(|| self.from(authority, count.saturating_add(1)))
                .flatten()
        })
    }

    fn signed(&mut self, below: &Certificate, by: &Certificate, count: usize) -> bool {
        self.checked = self.checked.saturating_add(1);
        if self.checked > MOST_CHECKED {
            self.stopped(count, AttestationError::TooLong);
            return false;
        }
        let good = below.verify(by).and_then(|()| by.may_sign(count));
        good.map_err(|trouble| self.stopped(count, trouble)).is_ok()
    }

    fn stopped(&mut self, count: usize, trouble: AttestationError) {
        if self.trouble.as_ref().is_none_or(|(at, _)| *at < count) {
            self.trouble = Some((count, trouble));
        }
    }
}
