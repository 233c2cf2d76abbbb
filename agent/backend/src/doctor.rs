//! What was measured of a PKCS#11 module, and what follows from it.
//!
//! Duty: facts ([`Facts`]), what the module is good for ([`Uses`]), where it is odd and what the agent does about it
//! ([`Quirk`]). Pure: the measuring is the helper's, asked by [`crate::pkcs11::Pkcs11Token::examine`].

mod answers;
mod facts;
mod hints;
mod own;
mod quirks;
mod uses;

pub(crate) use answers::says_cannot;
pub use facts::{
    AlwaysFacts, CurveFacts, EddsaFacts, Facts, Finding, Library, LoginFacts, MechanismFacts, NotMeasured,
    OriginFacts, Place, RsaFacts, SessionFacts, TokenFacts, Told, Trouble,
};
pub(crate) use hints::{Form, Hints, How};
pub use quirks::{Quirk, quirks};
pub use uses::{Use, Uses, Verdict, uses};

use tuf::digest::Sha256Digest;

/// The answer of `token doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Where the module's file really lies.
    pub module: String,
    /// Its SHA-256. What it loads itself is not covered.
    pub sha256: Sha256Digest,
    /// What was measured.
    pub facts: Facts,
    /// The token has refused the PIN once, after it had taken it: somebody has changed it meanwhile, and a try is gone.
    pub pin_refused: bool,
}

impl Diagnosis {
    /// The library's name and version; empty when it gave none.
    #[must_use]
    pub fn library(&self) -> String {
        self.facts
            .library
            .as_ref()
            .map(|library| {
                format!(
                    "{} {} ({}), PKCS#11 {}",
                    library.description, library.version, library.manufacturer, library.cryptoki
                )
            })
            .unwrap_or_default()
    }

    /// What it is good for.
    #[must_use]
    pub fn uses(&self) -> Uses {
        uses(&self.facts)
    }

    /// Where it is odd.
    #[must_use]
    pub fn quirks(&self) -> Vec<Quirk> {
        quirks(&self.facts)
    }
}
