//! `token doctor`, inside a helper of its own: measures what the module can do and where it is odd.
//!
//! Duty: one probe a request, so that a module which dies or hangs costs one answer. Trust: the PIN that comes with a
//! probe was accepted by this token in this run; it is presented again only while no flag tells of a wrong one.
//! Invariants: keys are made to measure and are gone with the probe; no key that was there before signs anything or
//! is changed; the number of a private key is never read.

mod always;
mod answers;
mod bench;
mod curves;
mod logins;
mod origin;
mod pair;
mod rsa;
mod signing;
mod words;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use serde::{Deserialize, Serialize};

use super::codec::Curve;
use super::faults::Fault;
use super::faults::told;
use super::line::Line;
use super::live::Live;
use super::objects::private_of;
use super::protocol::{HostError, HostErrorKind, Wanted};
use super::token::TokenHost;
use crate::doctor::{Facts, NotMeasured, OriginFacts, Place};
use bench::Bench;

/// One thing to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Probe {
    /// What library, slot and token say about themselves.
    Words,
    /// The mechanisms that are listed.
    Mechanisms,
    /// How many sessions can be open.
    Sessions,
    /// Removes what a run that was killed left.
    Sweep,
    /// Whether the objects that are there can be read.
    Objects,
    /// Whether keys can lie in a session, and whether they can be removed.
    Place,
    /// Ed25519: encodings, signing.
    Ed25519,
    /// P-256: encodings, signing.
    P256,
    /// P-384: encodings, signing.
    P384,
    /// What Ed25519 does with parameters.
    EddsaParameters,
    /// Ed25519 in several parts.
    EddsaParts,
    /// Ed25519 over long messages.
    EddsaLong,
    /// RSA of 3072 bits.
    Rsa,
    /// What is said of a key that was made there.
    Generated,
    /// What is said of a key that was brought in.
    Imported,
    /// Two keys of one label and id.
    Duplicates,
    /// What login and logout do.
    Logins,
    /// A key that demands a login for each signature.
    Always,
    /// Signing with it: context login under CKM_ECDSA.
    AlwaysContextDigest,
    /// Signing with it: context login under CKM_ECDSA_SHA256.
    AlwaysContextHash,
    /// Signing with it: logout and login.
    AlwaysFreshLogin,
    /// Digests of wrong lengths under P-256. Late: a TPM was seen to give up after it.
    DigestLengths,
    /// Removes what is left, and tells what cannot be removed.
    Leave,
}

impl Probe {
    /// In the order in which they are made.
    pub(crate) const ALL: [Self; 23] = [
        Self::Words,
        Self::Mechanisms,
        Self::Sessions,
        Self::Sweep,
        Self::Objects,
        Self::Place,
        Self::P256,
        Self::P384,
        Self::Ed25519,
        Self::EddsaParameters,
        Self::EddsaParts,
        Self::EddsaLong,
        Self::Rsa,
        Self::Generated,
        Self::Imported,
        Self::Duplicates,
        Self::Logins,
        Self::Always,
        Self::AlwaysContextDigest,
        Self::AlwaysContextHash,
        Self::AlwaysFreshLogin,
        Self::DigestLengths,
        Self::Leave,
    ];

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Words => "what it says about itself",
            Self::Mechanisms => "mechanisms",
            Self::Sessions => "number of sessions",
            Self::Sweep => "leftovers of an earlier run",
            Self::Objects => "objects that are there",
            Self::Place => "keys that live in a session",
            Self::Ed25519 => "Ed25519",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::EddsaParameters => "parameters of EdDSA",
            Self::EddsaParts => "EdDSA in several parts",
            Self::EddsaLong => "EdDSA over long messages",
            Self::Rsa => "RSA-3072",
            Self::Generated => "origin of a key that is made there",
            Self::Imported => "origin of a key that is brought in",
            Self::Duplicates => "two keys of one label and id",
            Self::Logins => "what login and logout do",
            Self::Always => "keys that want a login for each signature",
            Self::AlwaysContextDigest => "login for a signature, over a digest",
            Self::AlwaysContextHash => "login for a signature, over a message",
            Self::AlwaysFreshLogin => "login for a signature, by logging in anew",
            Self::DigestLengths => "digests of wrong lengths",
            Self::Leave => "that nothing is left",
        }
    }

    /// Made also where nobody can log in.
    pub(crate) const fn is_public(self) -> bool {
        matches!(self, Self::Words | Self::Mechanisms | Self::Sessions)
    }

    /// Makes keys, so it needs to know where they can lie.
    pub(crate) const fn makes_keys(self) -> bool {
        !self.is_public() && !matches!(self, Self::Sweep | Self::Objects | Self::Place | Self::Leave)
    }

    /// Takes long on some devices.
    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Self::Rsa | Self::Place)
    }
}

/// Why a probe found nothing.
enum Stop {
    /// The module answered so.
    Module(Error),
    /// It was not tried.
    Why(String),
    /// The PIN, which was right before, was refused: it is not presented again.
    Pin(String),
    /// Another token is there.
    Swapped(HostError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

/// What the token says of the private half of `key` (SPKI, DER), asked now.
pub(crate) fn origin_of(pkcs11: &Pkcs11, live: &mut Live, key: &[u8]) -> Result<OriginFacts, Fault> {
    let found = private_of(pkcs11, live, key)?;
    Ok(origin::read(live.work(pkcs11)?, found.handle)?)
}

/// Makes one probe. `pin` is one that this token took, or empty; `line` counts each time that it is presented again. `alone`: the module has so few sessions that the helper
/// keeps none beside.
///
/// # Errors
/// `Swapped` when another token than `meant` is there; `PinIncorrect` when a PIN that was taken before was refused: no further one may follow. The token's own otherwise.
pub(crate) fn run(
    host: &mut TokenHost,
    probe: Probe,
    place: Option<Place>,
    alone: bool,
    (pin, line, meant): (&[u8], &Line<'_>, &Wanted),
) -> Result<Facts, HostError> {
    meant.check(&host.look()?)?;
    let (pkcs11, single, slot) = host.bare(!alone && probe != Probe::Sessions)?;
    let bench =
        Bench::new(&pkcs11, &single, slot, (probe, place.unwrap_or(Place::Session)), (pin, line, meant))?;
    let found = match probe {
        Probe::Words => words::about(&bench),
        Probe::Mechanisms => words::mechanisms(&bench),
        Probe::Sessions => words::sessions(&bench),
        Probe::Sweep => bench.sweep(true),
        Probe::Leave => bench.sweep(false),
        Probe::Objects => bench.objects(),
        Probe::Place => bench.find_place(),
        Probe::P256 => curves::curve(&bench, Curve::P256),
        Probe::P384 => curves::curve(&bench, Curve::P384),
        Probe::Ed25519 => curves::curve(&bench, Curve::Ed25519),
        Probe::DigestLengths => curves::digest_lengths(&bench),
        Probe::EddsaParameters => curves::eddsa_parameters(&bench),
        Probe::EddsaParts => curves::eddsa_parts(&bench),
        Probe::EddsaLong => curves::eddsa_long(&bench),
        Probe::Rsa => rsa::rsa(&bench),
        Probe::Generated => origin::generated(&bench),
        Probe::Imported => origin::imported(&bench),
        Probe::Duplicates => origin::duplicates(&bench),
        Probe::Logins => logins::logins(&bench),
        Probe::Always => always::demands(&bench),
        Probe::AlwaysContextDigest => always::context(&bench, false),
        Probe::AlwaysContextHash => always::context(&bench, true),
        Probe::AlwaysFreshLogin => always::fresh_login(&bench),
    };
    let missing = |why| Facts {
        not_measured: vec![NotMeasured { probe: probe.name().to_owned(), why }],
        ..Facts::default()
    };
    let mut facts = match found {
        Ok(facts) => facts,
        Err(Stop::Module(error)) => missing(told(&error)),
        Err(Stop::Why(why)) => missing(why),
        Err(Stop::Pin(why)) => return Err(HostError::new(HostErrorKind::PinIncorrect, why)),
        Err(Stop::Swapped(error)) => return Err(error),
    };
    facts.not_measured.extend(bench.missed());
    Ok(facts)
}
