//! What a module is good for: a verdict for each use, from the facts alone.

use super::facts::{CurveFacts, Facts, Finding, OriginFacts};
use crate::host::doctor::Probe;

/// Whether a module is good for a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It is in part, or it is not known: the reason says which.
    Limited,
}

impl Verdict {
    /// The word used in JSON and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Limited => "limited",
        }
    }
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people.
    pub why: String,
}

/// All uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uses {
    /// Ed25519 keys.
    pub ed25519: Use,
    /// P-256 keys.
    pub ecdsa_p256: Use,
    /// P-384 keys.
    pub ecdsa_p384: Use,
    /// RSA keys of 3072 bits, by PSS.
    pub rsa_pss_3072: Use,
    /// Signing with nobody there.
    pub unattended: Use,
    /// Keys of a root, made in a ceremony.
    pub root_ceremony: Use,
}

impl Uses {
    /// With the names that they have in JSON.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Use); 6] {
        [
            ("ed25519", &self.ed25519),
            ("ecdsa-p256", &self.ecdsa_p256),
            ("ecdsa-p384", &self.ecdsa_p384),
            ("rsa-pss-3072", &self.rsa_pss_3072),
            ("unattended", &self.unattended),
            ("root_ceremony", &self.root_ceremony),
        ]
    }
}

/// Judges the facts.
#[must_use]
pub fn uses(facts: &Facts) -> Uses {
    let ed25519 = ed25519(facts);
    let ecdsa_p256 = ecdsa(facts, "ecdsa-p256", Probe::P256, "CKM_ECDSA_SHA256");
    let ecdsa_p384 = ecdsa(facts, "ecdsa-p384", Probe::P384, "CKM_ECDSA_SHA384");
    let rsa_pss_3072 = rsa(facts);
    let best = [&ed25519, &ecdsa_p256, &ecdsa_p384, &rsa_pss_3072];
    let any = |verdict| best.iter().any(|one| one.verdict == verdict);
    let signs = match (any(Verdict::Yes), any(Verdict::Limited)) {
        (true, _) => Verdict::Yes,
        (false, true) => Verdict::Limited,
        (false, false) => Verdict::No,
    };
    let unattended = unattended(facts, signs);
    let root_ceremony = root_ceremony(facts, signs);
    Uses { ed25519, ecdsa_p256, ecdsa_p384, rsa_pss_3072, unattended, root_ceremony }
}

fn say(verdict: Verdict, why: impl Into<String>) -> Use {
    Use { verdict, why: why.into() }
}

/// What can be said of keys that were not tried.
fn untried(facts: &Facts, probe: Probe, needed: &[&str]) -> Use {
    let missing: Vec<&str> = needed.iter().copied().filter(|name| facts.lists(name) == Some(false)).collect();
    // Its own reason; without one, that of what comes first, such as that there was no PIN.
    let own = facts.not_measured.iter().find(|missing| missing.is_of(probe.name()));
    let because = match (own, facts.not_measured.first()) {
        (Some(own), _) => format!("not measured: {}", own.why),
        (None, Some(first)) => format!("not tried: {}", first.why),
        (None, None) => "not tried: it was not measured".to_owned(),
    };
    match missing.as_slice() {
        [] => say(Verdict::Limited, because),
        names => {
            say(Verdict::Limited, format!("the module does not list {}; {because}", names.join(" and ")))
        }
    }
}

fn curve<'a>(facts: &'a Facts, name: &str) -> Option<&'a CurveFacts> {
    facts.curves.get(name)
}

/// Where no key of the curve was made: refused by the OID, or not known.
fn no_key(facts: &Facts, curve: &CurveFacts, probe: Probe, needed: &[&str]) -> Option<Use> {
    curve.accepted.is_empty().then(|| match curve.refused.get("oid") {
        Some(why) => say(Verdict::No, format!("no such key can be made: {why}")),
        None => untried(facts, probe, needed),
    })
}

fn ed25519(facts: &Facts) -> Use {
    let needed = ["CKM_EC_EDWARDS_KEY_PAIR_GEN", "CKM_EDDSA"];
    let Some(curve) = curve(facts, "ed25519") else { return untried(facts, Probe::Ed25519, &needed) };
    if let Some(no) = no_key(facts, curve, Probe::Ed25519, &needed) {
        return no;
    }
    match (&curve.signs, &facts.eddsa.too_long) {
        (Finding::Yes, None) => say(Verdict::Yes, "makes keys and signs whole messages"),
        (Finding::Yes, Some(answer)) => say(
            Verdict::Limited,
            format!(
                "signs messages up to {} bytes: {answer} for longer ones, and metadata is signed whole",
                facts.eddsa.longest.unwrap_or(0)
            ),
        ),
        (Finding::No(why), _) => say(Verdict::No, format!("makes keys and does not sign with them: {why}")),
        (Finding::Unknown, _) => untried(facts, Probe::Ed25519, &["CKM_EDDSA"]),
    }
}

fn ecdsa(facts: &Facts, name: &str, probe: Probe, whole: &str) -> Use {
    let needed = ["CKM_EC_KEY_PAIR_GEN", "CKM_ECDSA"];
    let Some(curve) = curve(facts, name) else { return untried(facts, probe, &needed) };
    if let Some(no) = no_key(facts, curve, probe, &needed) {
        return no;
    }
    match (&curve.signs, &curve.hash_and_sign) {
        (Finding::Yes, Finding::Yes) => {
            say(Verdict::Yes, "signs digests, and messages that it hashes itself")
        }
        (Finding::Yes, _) => say(Verdict::Yes, "signs digests; the agent hashes"),
        (_, Finding::Yes) => say(Verdict::Yes, format!("signs messages that it hashes itself ({whole})")),
        (Finding::No(why), Finding::No(_)) => {
            say(Verdict::No, format!("makes keys and does not sign with them: {why}"))
        }
        (Finding::Unknown, _) | (_, Finding::Unknown) => untried(facts, probe, &["CKM_ECDSA"]),
    }
}

fn rsa(facts: &Facts) -> Use {
    let Some(rsa) = &facts.rsa else {
        return untried(facts, Probe::Rsa, &["CKM_RSA_PKCS_KEY_PAIR_GEN", "CKM_SHA256_RSA_PKCS_PSS"]);
    };
    if let Finding::No(why) = &rsa.generate {
        return say(Verdict::No, format!("no such key can be made: {why}"));
    }
    match (&rsa.pss_whole, &rsa.pss_digest) {
        (Finding::Yes, _) => say(Verdict::Yes, "signs messages that it hashes itself"),
        (_, Finding::Yes) => say(Verdict::Yes, "signs digests; the agent hashes"),
        (Finding::Unknown, _) | (_, Finding::Unknown) => {
            untried(facts, Probe::Rsa, &["CKM_SHA256_RSA_PKCS_PSS"])
        }
        (Finding::No(why), _) if rsa.pkcs1_whole.is_yes() || rsa.pkcs1_digest.is_yes() => {
            say(Verdict::No, format!("signs by PKCS#1 v1.5 alone, PSS is refused: {why}"))
        }
        (Finding::No(why), _) => say(Verdict::No, format!("PSS is refused: {why}")),
    }
}

fn unattended(facts: &Facts, signs: Verdict) -> Use {
    let Some(token) = &facts.token else {
        return say(Verdict::Limited, "the token says nothing about itself");
    };
    if token.pin_pad {
        return say(Verdict::No, "its PIN is typed at the device itself (CKF_PROTECTED_AUTHENTICATION_PATH)");
    }
    if token.pin_locked {
        return say(Verdict::No, "its PIN is locked");
    }
    match signs {
        Verdict::No => return say(Verdict::No, "it signs with no key that TUF knows"),
        Verdict::Limited => return say(Verdict::Limited, "whether it signs was not measured to the end"),
        Verdict::Yes => {}
    }
    if let Some(trouble) = facts.troubles.first() {
        let why = format!(
            "its helper {} at a probe ({}) and needs a login after each restart",
            trouble.how, trouble.probe
        );
        return say(Verdict::Limited, why);
    }
    if facts.sessions.as_ref().is_some_and(|sessions| sessions.refused.is_some() && sessions.opened < 2) {
        return say(Verdict::Limited, "it has a single session, which other programs may hold");
    }
    if !token.login_required {
        return say(
            Verdict::Yes,
            "it wants no login (CKF_LOGIN_REQUIRED is not set), with pin = \"none\": so does whoever else reaches it",
        );
    }
    if facts.generated.as_ref().is_some_and(|made| made.always_authenticate == Some(true)) {
        let why = "each signature takes the PIN anew (CKA_ALWAYS_AUTHENTICATE): from a file, descriptor or credential";
        return say(Verdict::Yes, why);
    }
    say(Verdict::Yes, "one login lasts, with the PIN from a file, descriptor or credential")
}

fn root_ceremony(facts: &Facts, signs: Verdict) -> Use {
    match signs {
        Verdict::No => return say(Verdict::No, "it signs with no key that TUF knows"),
        Verdict::Limited => return say(Verdict::Limited, "whether it signs was not measured to the end"),
        Verdict::Yes => {}
    }
    let Some(made) = &facts.generated else {
        return say(Verdict::Limited, "what it says of the origin of keys was not measured");
    };
    if made.readable.is_yes() {
        return say(
            Verdict::No,
            "it gives out the private half of a key that is sensitive and not extractable",
        );
    }
    if made.extractable == Some(true) || made.sensitive == Some(false) {
        return say(Verdict::No, "keys that are made there are not kept there, by its own words");
    }
    let believed = facts.imported.as_ref().is_some_and(OriginFacts::claims_to_be_made_there);
    if believed {
        return say(Verdict::Limited, "it says of a key that was brought in that it was made there");
    }
    let mut limits = Vec::new();
    if !made.claims_to_be_made_there() {
        limits
            .push("its attributes do not tell where a key was made, so a role that demands it refuses them");
    }
    if made.copyable != Some(false) {
        limits.push("it does not say that keys cannot be copied");
    }
    if facts.token.as_ref().is_some_and(|token| !token.hardware) {
        limits.push("it is software by its own words: who can read its files has the keys");
    }
    match limits.as_slice() {
        [] => say(Verdict::Yes, "keys are made there and never leave, and it says so"),
        limits => say(Verdict::Limited, limits.join("; ")),
    }
}

impl OriginFacts {
    /// LOCAL, NEVER_EXTRACTABLE and ALWAYS_SENSITIVE (FAULTS D9).
    #[must_use]
    pub fn claims_to_be_made_there(&self) -> bool {
        self.local == Some(true)
            && self.never_extractable == Some(true)
            && self.always_sensitive == Some(true)
    }
}
