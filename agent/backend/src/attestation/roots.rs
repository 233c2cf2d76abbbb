//! Who is trusted to say what a YubiKey is.

use super::certificate::Certificate;

/// Yubico's roots for PIV: the first for firmware before 5.7.4, the second from there on.
const YUBICO_ROOTS: [&str; 2] = [
    include_str!("roots/yubico-piv-root-ca-263751.pem"),
    include_str!("roots/yubico-attestation-root-1.pem"),
];
/// What stands between the second root and the devices: the branches for PIV alone, for other applications of a
/// YubiKey attest by keys of the same root.
const YUBICO_INTERMEDIATES: &str = include_str!("roots/yubico-piv-intermediates.pem");

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// More certificates than this are not read from one file.
const MOST: usize = 64;

/// The roots, and the intermediates that devices do not carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
}

/// Why a file of roots is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RootsError(String);

impl Roots {
    /// Those of Yubico.
    #[must_use]
    pub fn yubico() -> Self {
        let mut roots = Self::default();
        for text in YUBICO_ROOTS.into_iter().chain([YUBICO_INTERMEDIATES]) {
            // Held to be readable by a test; an unreadable one would be a root less, never one more.
            let _ = roots.add_pem(text);
        }
        roots
    }

    /// Adds the certificates of a PEM text: those that signed themselves are trusted, the others help on the way.
    ///
    /// # Errors
    /// [`RootsError`], and nothing was added.
    pub fn add_pem(&mut self, text: &str) -> Result<(), RootsError> {
        let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some(start) = rest.find(BEGIN) {
            let number = roots.len().saturating_add(intermediates.len()).saturating_add(1);
            let of = |why: String| RootsError(format!("certificate {number} in it: {why}"));
            let (block, after) = block(rest.get(start..).unwrap_or_default())
                .ok_or_else(|| of("it does not end".to_owned()))?;
            rest = after;
            let (_, bytes) = der::pem::decode_vec(block.as_bytes()).map_err(|error| of(error.to_string()))?;
            let certificate = Certificate::parse(&bytes).map_err(of)?;
            if certificate.is_self_issued() {
                certificate.verify(&certificate).map_err(|error| of(error.to_string()))?;
                certificate.may_sign(0).map_err(|error| of(error.to_string()))?;
                roots.push(certificate);
            } else {
                intermediates.push(certificate);
            }
            if number > MOST {
                return Err(RootsError(format!("there are more than {MOST} certificates in it")));
            }
        }
        if roots.is_empty() && intermediates.is_empty() {
            return Err(RootsError("there is no certificate in PEM in it".to_owned()));
        }
        self.roots.append(&mut roots);
        self.intermediates.append(&mut intermediates);
        Ok(())
    }

    pub(super) fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    pub(super) fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// The names of those that are trusted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.roots.iter().map(Certificate::subject).collect()
    }
}

/// From `BEGIN` to the line of `END`, and what comes after.
fn block(text: &str) -> Option<(&str, &str)> {
    let end = text.find(END)?.checked_add(END.len())?;
    text.split_at_checked(end)
}
