//! One certificate, as far as attestation needs it.

use der::asn1::{AnyRef, BitStringRef};
use der::oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode as _, Sequence};
use tuf::key::{PublicKey, RsaHash, Scheme};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierRef;

use super::AttestationError;

/// The longest that is read, bytes; those of YubiKeys have about 900.
const LONGEST: usize = 1 << 13;
/// The longest name that is repeated to people, characters.
const LONGEST_NAME: usize = 80;

/// A certificate with the bytes that its signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    signed: Vec<u8>,
    tbs: TbsCertificate,
    algorithm: ObjectIdentifier,
    signature: Vec<u8>,
}

/// The three parts, the first as it was written.
#[derive(Sequence)]
struct Parts<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl Certificate {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > LONGEST {
            return Err(format!("it has {} bytes", bytes.len()));
        }
        let parts = Parts::from_der(bytes).map_err(|error| format!("no certificate in DER: {error}"))?;
        let signed = parts.tbs.to_der().map_err(|error| error.to_string())?;
        let tbs =
            TbsCertificate::from_der(&signed).map_err(|error| format!("no certificate of X.509: {error}"))?;
        if tbs.signature().oid != parts.algorithm.oid {
            return Err("it names two algorithms for its signature".to_owned());
        }
        let signature = parts.signature.as_bytes().ok_or("its signature is no row of bytes")?.to_vec();
        let certificate = Self { signed, tbs, algorithm: parts.algorithm.oid, signature };
        certificate.check_extensions()?;
        Ok(certificate)
    }

    /// Each at most once (RFC 5280, 4.2), and none that must be understood and is not.
    fn check_extensions(&self) -> Result<(), String> {
        let known = [
            BasicConstraints::OID,
            KeyUsage::OID,
            SubjectKeyIdentifier::OID,
            AuthorityKeyIdentifier::OID,
            CertificatePolicies::OID,
        ];
        let all = self.extensions();
        for (at, extension) in all.iter().enumerate() {
            let oid = extension.extn_id;
            if all.iter().skip(at.saturating_add(1)).any(|other| other.extn_id == oid) {
                return Err(format!("it has the extension {oid} twice"));
            }
            if extension.critical && !known.contains(&oid) {
                return Err(format!("it has the critical extension {oid}, which is not known here"));
            }
        }
        Ok(())
    }

    fn extensions(&self) -> &[Extension] {
        self.tbs.extensions().map_or(&[], Vec::as_slice)
    }

    /// The value of an extension.
    pub(super) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        self.extensions().iter().find(|one| one.extn_id == oid).map(|one| one.extn_value.as_bytes())
    }

    fn decoded<'a, T: Decode<'a, Error = der::Error> + AssociatedOid>(
        &'a self,
    ) -> Option<Result<T, der::Error>> {
        self.extension(T::OID).map(T::from_der)
    }

    /// The key that it certifies; none of a sort that is not supported.
    pub(super) fn public_key(&self) -> Option<PublicKey> {
        let spki = self.tbs.subject_public_key_info().to_der().ok()?;
        PublicKey::from_spki_der(&spki).ok()
    }

    /// Its subject, for people.
    pub(super) fn subject(&self) -> String {
        in_words(self.tbs.subject())
    }

    /// Who signed it, for people.
    pub(super) fn issuer(&self) -> String {
        in_words(self.tbs.issuer())
    }

    /// Its subject's common name, when that is all of the subject.
    pub(super) fn common_name(&self) -> Option<String> {
        let name = self.tbs.subject();
        let only = name.iter().count() == 1;
        name.common_name().ok().flatten().filter(|_| only).map(|name| name.value().into_owned())
    }

    pub(super) fn names_as_issuer(&self, other: &Self) -> bool {
        self.tbs.issuer() == other.tbs.subject()
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.names_as_issuer(self)
    }

    /// Whether it may sign a certificate below which `below` others stand before the last (RFC 5280, 6.1.4).
    pub(super) fn may_sign(&self, below: usize) -> Result<(), AttestationError> {
        let refused = |why| AttestationError::NotAnAuthority { subject: self.subject(), why };
        let constraints = self.decoded::<BasicConstraints>();
        let constraints = constraints
            .ok_or_else(|| refused("it does not say that it is an authority"))?
            .map_err(|_| refused("what it says of its authority cannot be read"))?;
        if !constraints.ca {
            return Err(refused("it says that it is no authority"));
        }
        if constraints.path_len_constraint.is_some_and(|most| usize::from(most) < below) {
            return Err(refused("there are more authorities below it than it allows"));
        }
        match self.decoded::<KeyUsage>() {
            None => Ok(()),
            Some(Ok(usage)) if usage.key_cert_sign() => Ok(()),
            Some(_) => Err(refused("its key is for other uses")),
        }
    }

    /// Whether the key of `issuer` signed it.
    pub(super) fn verify(&self, issuer: &Self) -> Result<(), AttestationError> {
        let subject = self.subject();
        let scheme = scheme(self.algorithm).ok_or_else(|| AttestationError::Algorithm {
            subject: subject.clone(),
            oid: self.algorithm.to_string(),
        })?;
        let broken = || AttestationError::BrokenSignature { subject, issuer: issuer.subject() };
        let key = issuer.public_key().ok_or_else(broken.clone())?;
        key.verify_by(scheme, &self.signed, &self.signature).map_err(|_| broken())
    }
}

/// The algorithms of signatures on certificates (RFC 8017 appendix C, RFC 5758).
fn scheme(oid: ObjectIdentifier) -> Option<Scheme> {
    const KNOWN: [(ObjectIdentifier, Scheme); 5] = [
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), Scheme::RsaPkcs1(RsaHash::Sha256)),
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), Scheme::RsaPkcs1(RsaHash::Sha384)),
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), Scheme::RsaPkcs1(RsaHash::Sha512)),
        (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), Scheme::EcdsaP256),
        (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), Scheme::EcdsaP384),
    ];
    KNOWN.iter().find(|(known, _)| *known == oid).map(|(_, scheme)| *scheme)
}

/// A name goes to terminals and into the journal: one line of plain characters, not too long.
fn in_words(name: &Name) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text = name.to_string();
    let text = text.strip_prefix("CN=").unwrap_or(&text);
    let words: String = text.chars().map(plain).take(LONGEST_NAME).collect();
    if words.is_empty() { "nobody".to_owned() } else { words }
}
