//! What follows from the facts for making keys and signatures. Without facts everything is tried in order.

use serde::{Deserialize, Serialize};
use tuf::key::{KeyType, RsaHash, Scheme};

use super::facts::{CurveFacts, Facts, TokenFacts};

/// What a module wants for a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// What is right for most, and the next where the module says that it lacks it: digests for ECDSA, messages for the
    /// rest.
    #[default]
    InOrder,
    /// The whole message: the module hashes.
    Whole,
    /// The digest.
    Digest,
}

/// How a module writes ECDSA signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// r || s, as PKCS#11 says (v3.0, section 2.3.1).
    #[default]
    Fixed,
    /// In DER, as was measured.
    Der,
}

/// What was measured, as far as it changes what the agent does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    facts: Facts,
}

impl Hints {
    pub(crate) fn of(facts: Facts) -> Self {
        Self { facts }
    }

    /// The token that was measured, in its own words.
    pub(crate) const fn token(&self) -> Option<&TokenFacts> {
        self.facts.token.as_ref()
    }

    /// How to sign by `scheme`. What was not measured is done as if nothing were known.
    ///
    /// # Errors
    /// What was measured to be impossible, in words that end "the token cannot …".
    pub(crate) fn how(&self, scheme: Scheme) -> Result<How, String> {
        let cannot = |why: &str| format!("sign as {scheme}; it was measured so (token doctor): {why}");
        match scheme {
            Scheme::EcdsaP256 | Scheme::EcdsaP384 => {
                let name = if scheme == Scheme::EcdsaP256 { KeyType::EcdsaP256 } else { KeyType::EcdsaP384 };
                let Some(curve) = self.curve(name) else { return Ok(How::InOrder) };
                let whole = curve.signs.is_cannot() && curve.hash_and_sign.is_yes();
                Ok(if whole { How::Whole } else { How::InOrder })
            }
            Scheme::RsaPss(RsaHash::Sha256) => {
                let Some(rsa) = &self.facts.rsa else { return Ok(How::InOrder) };
                match (rsa.pss_whole.is_cannot(), rsa.pss_digest.is_cannot()) {
                    (true, true) => Err(cannot(rsa.pss_whole.why_not())),
                    (true, false) => Ok(How::Digest),
                    (false, _) => Ok(How::InOrder),
                }
            }
            Scheme::RsaPkcs1(RsaHash::Sha256) => {
                let Some(rsa) = &self.facts.rsa else { return Ok(How::InOrder) };
                match (rsa.pkcs1_whole.is_cannot(), rsa.pkcs1_digest.is_cannot()) {
                    (true, true) => Err(cannot(rsa.pkcs1_whole.why_not())),
                    (true, false) => Ok(How::Digest),
                    (false, _) => Ok(How::InOrder),
                }
            }
            _ => Ok(How::InOrder),
        }
    }

    /// How a signature by `scheme` is written. It is never told by the look of one: what was not measured is as PKCS#11 says.
    pub(crate) fn form(&self, scheme: Scheme) -> Form {
        let kind = match scheme {
            Scheme::EcdsaP256 => KeyType::EcdsaP256,
            Scheme::EcdsaP384 => KeyType::EcdsaP384,
            _ => return Form::Fixed,
        };
        let Some(curve) = self.curve(kind) else { return Form::Fixed };
        let in_der = match self.how(scheme) {
            Ok(How::Whole) => curve.hash_and_sign_in_der,
            _ => curve.signs_in_der,
        };
        if in_der { Form::Der } else { Form::Fixed }
    }

    /// The name by which a curve is taken that is not taken by its OID.
    pub(crate) fn curve_name(&self, kind: KeyType) -> Option<String> {
        let curve = self.curve(kind)?;
        let not_by_oid = curve.refused.contains_key("oid");
        if not_by_oid { curve.accepted.first().cloned() } else { None }
    }

    /// A key that takes the PIN for each signature takes it by a login before C_SignInit, and by none within.
    pub(crate) fn login_before(&self) -> bool {
        self.facts
            .always
            .as_ref()
            .is_some_and(|always| always.fresh_login.is_yes() && !always.context_digest.is_yes())
    }

    fn curve(&self, kind: KeyType) -> Option<&CurveFacts> {
        self.facts.curves.get(kind.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{AlwaysFacts, Finding, RsaFacts};

    fn no() -> Finding {
        Finding::No("C_SignInit gave CKR_MECHANISM_INVALID".to_owned())
    }

    #[test]
    fn without_facts_everything_is_tried_in_order() {
        let hints = Hints::default();
        for scheme in Scheme::ALL {
            assert_eq!(hints.how(scheme), Ok(How::InOrder));
            assert_eq!(hints.form(scheme), Form::Fixed);
        }
        assert_eq!(hints.curve_name(KeyType::EcdsaP256), None);
        assert!(!hints.login_before());
    }

    #[test]
    fn what_was_measured_chooses_the_way() {
        let mut facts = Facts::default();
        let whole = CurveFacts {
            accepted: vec!["prime256v1".to_owned()],
            refused: [("oid".to_owned(), "C_GenerateKeyPair gave CKR_CURVE_NOT_SUPPORTED".to_owned())].into(),
            signs: no(),
            hash_and_sign: Finding::Yes,
            hash_and_sign_in_der: true,
            ..CurveFacts::default()
        };
        facts.curves.insert("ecdsa-p256".to_owned(), whole);
        let both = CurveFacts {
            accepted: vec!["oid".to_owned(), "secp384r1".to_owned()],
            signs: Finding::Yes,
            hash_and_sign: Finding::Yes,
            hash_and_sign_in_der: true,
            ..CurveFacts::default()
        };
        facts.curves.insert("ecdsa-p384".to_owned(), both);
        let rsa = RsaFacts {
            pss_whole: no(),
            pss_digest: no(),
            pkcs1_whole: no(),
            pkcs1_digest: Finding::Yes,
            ..RsaFacts::default()
        };
        facts.rsa = Some(rsa);
        facts.always =
            Some(AlwaysFacts { context_digest: no(), fresh_login: Finding::Yes, ..AlwaysFacts::default() });
        let hints = Hints::of(facts);
        assert_eq!(hints.how(Scheme::EcdsaP256), Ok(How::Whole));
        assert_eq!(hints.how(Scheme::EcdsaP384), Ok(How::InOrder));
        assert_eq!(hints.how(Scheme::RsaPkcs1(RsaHash::Sha256)), Ok(How::Digest));
        assert!(hints.how(Scheme::RsaPss(RsaHash::Sha256)).unwrap_err().contains("CKR_MECHANISM_INVALID"));
        // Another hash was not measured.
        assert_eq!(hints.how(Scheme::RsaPss(RsaHash::Sha512)), Ok(How::InOrder));
        assert_eq!(hints.form(Scheme::EcdsaP256), Form::Der, "that of the way that is taken");
        assert_eq!(hints.form(Scheme::EcdsaP384), Form::Fixed);
        assert_eq!(hints.form(Scheme::Ed25519), Form::Fixed);
        assert_eq!(hints.curve_name(KeyType::EcdsaP256).as_deref(), Some("prime256v1"));
        assert_eq!(hints.curve_name(KeyType::EcdsaP384), None);
        assert!(hints.login_before());
    }

    #[test]
    fn what_an_earlier_version_kept_of_a_passing_error_refuses_nothing() {
        let pss = Scheme::RsaPss(RsaHash::Sha256);
        let kept = |whole: &str, digest: &str| {
            let no = |why: &str| Finding::No(format!("C_Sign gave {why}"));
            let rsa = RsaFacts { pss_whole: no(whole), pss_digest: no(digest), ..RsaFacts::default() };
            Hints::of(Facts { rsa: Some(rsa), ..Facts::default() }).how(pss)
        };
        for passing in ["CKR_DEVICE_ERROR", "CKR_HOST_MEMORY", "CKR_DEVICE_REMOVED", "CKR_USER_NOT_LOGGED_IN"]
        {
            assert_eq!(kept(passing, passing), Ok(How::InOrder), "{passing}");
            assert_eq!(kept("CKR_MECHANISM_INVALID", passing), Ok(How::Digest), "{passing}");
        }
        assert!(kept("CKR_MECHANISM_INVALID", "CKR_MECHANISM_INVALID").is_err());
    }
}
