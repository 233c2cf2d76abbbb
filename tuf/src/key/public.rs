//! Public keys: what identifies a key whatever the metadata calls it.

use super::{Key, KeyError, KeyType, RsaHash, Scheme, ed25519, ed25519::Challenge};
use crate::{digest::Sha256Digest, json};
use p256::pkcs8::{
    EncodePublicKey, LineEnding,
    spki::{self, ObjectIdentifier, SubjectPublicKeyInfoRef},
};
use rsa::{BoxedUint, RsaPublicKey, pkcs1, traits::PublicKeyParts as _};
use sha2::{
    Digest as _,
    digest::{FixedOutputReset, const_oid::AssociatedOid},
};
use signature::{Keypair as _, Verifier as _};
use std::{cmp::Ordering, fmt, hash, sync::Arc};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

/// What stands before the 32 bytes in every SubjectPublicKeyInfo of Ed25519 (RFC 8410).
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// RSA keys outside these sizes in bits are refused: shorter ones are weak, longer ones cost an attacker's victim time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key: algorithm and material, in one normal form, so that equality means "the same key" whatever text or
/// keyid the metadata gives it. Ordered, compared and hashed by its SubjectPublicKeyInfo in DER.
#[derive(Clone)]
pub struct PublicKey {
    material: Material,
    spki: Arc<[u8]>,
}

#[derive(Clone)]
enum Material {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    Rsa(Arc<RsaPublicKey>),
    MlDsa44(Arc<MlDsa<ml_dsa::MlDsa44>>),
    MlDsa65(Arc<MlDsa<ml_dsa::MlDsa65>>),
    MlDsa87(Arc<MlDsa<ml_dsa::MlDsa87>>),
}

type MlDsa<P> = ml_dsa::VerifyingKey<P>;

impl PublicKey {
    /// An Ed25519 key from its 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Material`] when they are no point, an encoding that is not the only one of its point, or a point of
    /// small order, with which anything verifies.
    pub fn from_ed25519(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .map_err(|_| KeyError::material("the 32 bytes are no Ed25519 point"))?;
        if key.is_weak() || key.to_edwards().compress().to_bytes() != bytes {
            return Err(KeyError::material("a weak or non-canonical Ed25519 point"));
        }
        let spki: Vec<u8> = ED25519_SPKI.iter().chain(&bytes).copied().collect();
        Ok(Self { material: Material::Ed25519(key), spki: spki.into() })
    }

    /// A P-256 key from its SEC1 point, compressed or not.
    ///
    /// # Errors
    /// [`KeyError::Material`] when it is no point of the curve.
    pub fn from_p256_sec1(point: &[u8]) -> Result<Self, KeyError> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
            .map_err(|_| KeyError::material("not a point of P-256"))?;
        Ok(Self { spki: der(key.to_public_key_der())?, material: Material::P256(key) })
    }

    /// A P-384 key from its SEC1 point, compressed or not.
    ///
    /// # Errors
    /// [`KeyError::Material`] when it is no point of the curve.
    pub fn from_p384_sec1(point: &[u8]) -> Result<Self, KeyError> {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point)
            .map_err(|_| KeyError::material("not a point of P-384"))?;
        Ok(Self { spki: der(key.to_public_key_der())?, material: Material::P384(key) })
    }

    /// A P-521 key from its SEC1 point, compressed or not.
    ///
    /// # Errors
    /// [`KeyError::Material`] when it is no point of the curve.
    pub fn from_p521_sec1(point: &[u8]) -> Result<Self, KeyError> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point)
            .map_err(|_| KeyError::material("not a point of P-521"))?;
        Ok(Self { spki: der(key.to_public_key_der())?, material: Material::P521(key) })
    }

    /// An RSA key from modulus and exponent, big-endian.
    ///
    /// # Errors
    /// [`KeyError::Material`] when the modulus has less than 2048 or more than 8192 bits, or they make no key.
    pub fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        // Leading zeros are DER's business; anything longer is refused before any arithmetic.
        let trim = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|b| **b == 0).count();
            bytes.get(zeros..).unwrap_or_default().to_vec()
        };
        let (n, e) = (trim(n), trim(e));
        if n.len() > RSA_BITS.end() / 8 || e.len() > 4 {
            return Err(KeyError::material(
                "an RSA key of more than 8192 bits or with an exponent beyond 2^32",
            ));
        }
        let (n, e) = (BoxedUint::from_be_slice_vartime(&n), BoxedUint::from_be_slice_vartime(&e));
        let key = RsaPublicKey::new_with_size_limits(n, e, RSA_BITS)
            .map_err(|_| KeyError::material("modulus and exponent make no RSA key of 2048 bits or more"))?;
        Ok(Self { spki: der(key.to_public_key_der())?, material: Material::Rsa(Arc::new(key)) })
    }

    /// A key from a SubjectPublicKeyInfo in PEM, whatever its line ends and line width.
    ///
    /// # Errors
    /// [`KeyError::Material`] when it is no such thing.
    pub fn from_spki_pem(text: &str) -> Result<Self, KeyError> {
        let not = "not a PEM text between BEGIN and END PUBLIC KEY";
        Self::from_spki_der(from_pem(text, (BEGIN, END), not)?.as_bytes())
    }

    /// An RSA key from an RSAPublicKey (RFC 8017, A.1.1) in PEM, likewise.
    ///
    /// # Errors
    /// [`KeyError::Material`] when it is no such thing, or a key that [`PublicKey::from_rsa`] refuses.
    pub fn from_pkcs1_pem(text: &str) -> Result<Self, KeyError> {
        let not = "not a PEM text between BEGIN and END RSA PUBLIC KEY";
        Self::from_pkcs1_der(from_pem(text, (BEGIN_PKCS1, END_PKCS1), not)?.as_bytes())
    }

    fn from_pkcs1_der(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = pkcs1::RsaPublicKeyRef::try_from(bytes)
            .map_err(|_| KeyError::material("not an RSA public key in DER"))?;
        Self::from_rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
    }

    /// A key from a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`KeyError::Material`] when it is no such thing, or of an algorithm that this crate does not know.
    pub fn from_spki_der(bytes: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::try_from(bytes)
            .map_err(|_| KeyError::material("not a SubjectPublicKeyInfo in DER"))?;
        let bits = info.subject_public_key.as_bytes().unwrap_or_default();
        let curve = || info.algorithm.parameters_oid().ok();
        match info.algorithm.oid {
            ED25519 => {
                let bytes = <[u8; 32]>::try_from(bits).ok().filter(|_| info.algorithm.parameters.is_none());
                Self::from_ed25519(bytes.ok_or(KeyError::material("not an Ed25519 key of 32 bytes"))?)
            }
            EC if curve() == Some(P256) => Self::from_p256_sec1(bits),
            EC if curve() == Some(P384) => Self::from_p384_sec1(bits),
            EC if curve() == Some(P521) => Self::from_p521_sec1(bits),
            ML_DSA_44 => ml_dsa(info, Material::MlDsa44),
            ML_DSA_65 => ml_dsa(info, Material::MlDsa65),
            ML_DSA_87 => ml_dsa(info, Material::MlDsa87),
            RSA => Self::from_pkcs1_der(bits),
            _ => Err(KeyError::material("a key of an algorithm or curve that is not supported")),
        }
    }

    /// The kind of key.
    pub fn key_type(&self) -> KeyType {
        match &self.material {
            Material::Ed25519(_) => KeyType::Ed25519,
            Material::P256(_) => KeyType::EcdsaP256,
            Material::P384(_) => KeyType::EcdsaP384,
            Material::P521(_) => KeyType::EcdsaP521,
            Material::MlDsa44(_) => KeyType::MlDsa44,
            Material::MlDsa65(_) => KeyType::MlDsa65,
            Material::MlDsa87(_) => KeyType::MlDsa87,
            Material::Rsa(key) => match key.n().bits_vartime() {
                0..3072 => KeyType::Rsa2048,
                3072..4096 => KeyType::Rsa3072,
                _ => KeyType::Rsa4096,
            },
        }
    }

    /// Its type as people are told it: an RSA key that was made elsewhere by its own number of bits.
    pub fn type_name(&self) -> String {
        match &self.material {
            Material::Rsa(key) => format!("rsa-{}", key.n().bits_vartime()),
            _ => self.key_type().to_string(),
        }
    }

    /// The SubjectPublicKeyInfo in PEM: line feeds, 64 columns, a line feed at the end.
    pub fn spki_pem(&self) -> String {
        let document = spki::Document::try_from(&*self.spki);
        let pem = document.and_then(|document| document.to_pem("PUBLIC KEY", LineEnding::LF));
        // It was written as DER when the key was made, so PEM of it cannot fail.
        pem.unwrap_or_default()
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of [`PublicKey::spki_der`].
    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.spki)
    }

    /// The key object as this crate writes it: hexadecimal for Ed25519, PEM for the others.
    pub fn to_key(&self) -> Key {
        let scheme = self.key_type().default_scheme();
        let (keytype, scheme) = (scheme.keytype(), scheme.name());
        let public = match &self.material {
            Material::Ed25519(key) => hex::encode(key.as_bytes()),
            _ => self.spki_pem(),
        };
        let mut text = Vec::new();
        text.extend_from_slice(b"{\"keytype\":");
        json::write_string(&mut text, keytype);
        text.extend_from_slice(b",\"keyval\":{\"public\":");
        json::write_string(&mut text, &public);
        text.extend_from_slice(b"},\"scheme\":");
        json::write_string(&mut text, scheme);
        text.push(b'}');
        Key::made(self.clone(), text, keytype, scheme, public)
    }

    /// The key of ML-DSA that a seed makes (FIPS 204); `None` for another type.
    pub(crate) fn of_ml_dsa_seed(kind: KeyType, seed: [u8; 32]) -> Option<Self> {
        fn made<P: ml_dsa::MlDsaParams>(
            seed: [u8; 32],
            material: fn(Arc<MlDsa<P>>) -> Material,
        ) -> Option<PublicKey>
        where
            MlDsa<P>: EncodePublicKey,
        {
            let key = ml_dsa::SigningKey::<P>::from_seed(&seed.into()).verifying_key();
            let spki = der(key.to_public_key_der()).ok()?;
            Some(PublicKey { spki, material: material(Arc::new(key)) })
        }
        match kind {
            KeyType::MlDsa44 => made(seed, Material::MlDsa44),
            KeyType::MlDsa65 => made(seed, Material::MlDsa65),
            KeyType::MlDsa87 => made(seed, Material::MlDsa87),
            _ => None,
        }
    }

    /// Verifies `signature` over `message` by the default scheme of the key's type; see [`PublicKey::verify_by`].
    ///
    /// # Errors
    /// [`KeyError::Signature`] when it does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.verify_by(self.key_type().default_scheme(), message, signature)
    }

    /// Verifies `signature` over `message` by `scheme`: Ed25519 strictly, ECDSA in DER, RSA-PSS with any salt length,
    /// ML-DSA as TAP 21 has it.
    ///
    /// # Errors
    /// [`KeyError::Signature`] when it does not verify, or the scheme is not one of this type of key.
    pub fn verify_by(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        if !scheme.fits(self.key_type()) {
            return Err(KeyError::Signature);
        }
        let good = match &self.material {
            Material::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .and_then(|signature| ed25519::verify(key, message, &signature)),
            Material::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .and_then(|signature| verify_p256(key, message, &signature)),
            Material::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify(message, &signature)),
            Material::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify(message, &signature)),
            Material::Rsa(key) => return verify_rsa(key, scheme, message, signature),
            Material::MlDsa44(key) => verify_ml_dsa(key, message, signature),
            Material::MlDsa65(key) => verify_ml_dsa(key, message, signature),
            Material::MlDsa87(key) => verify_ml_dsa(key, message, signature),
        };
        good.map_err(|_| KeyError::Signature)
    }

    /// As [`PublicKey::verify_by`], of a text that was hashed before.
    pub(crate) fn verify_foreseen(
        &self,
        scheme: Scheme,
        foreseen: &Challenge,
        signature: &[u8],
    ) -> Result<(), KeyError> {
        let good = foreseen.is_of(self, signature) && scheme.fits(self.key_type());
        let read = ed25519_dalek::Signature::from_slice(signature).ok().filter(|_| good);
        read.and_then(|read| foreseen.check(&read).ok()).ok_or(KeyError::Signature)
    }

    /// The key as its kind writes it raw: the 32 bytes of Ed25519, the uncompressed SEC1 point; `None` for others.
    pub fn raw(&self) -> Option<Vec<u8>> {
        match &self.material {
            Material::Ed25519(key) => Some(key.as_bytes().to_vec()),
            Material::P256(key) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
            Material::P384(key) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
            Material::P521(key) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
            Material::Rsa(_) | Material::MlDsa44(_) | Material::MlDsa65(_) | Material::MlDsa87(_) => None,
        }
    }

    pub(super) fn ed25519(&self) -> Option<&ed25519_dalek::VerifyingKey> {
        match &self.material {
            Material::Ed25519(key) => Some(key),
            _ => None,
        }
    }

    /// Modulus and exponent, big-endian without leading zeros; `None` for other keys.
    pub fn rsa_parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.material {
            Material::Rsa(key) => Some((
                key.n().to_be_bytes_trimmed_vartime().into_vec(),
                key.e().to_be_bytes_trimmed_vartime().into_vec(),
            )),
            _ => None,
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.spki.cmp(&other.spki)
    }
}

impl hash::Hash for PublicKey {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.spki.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.key_type(), self.fingerprint())
    }
}

pub(super) const BEGIN_PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----";
const END_PKCS1: &str = "-----END RSA PUBLIC KEY-----";
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// The DER between the two lines, whatever its line ends and line width.
fn from_pem(text: &str, (begin, end): (&str, &str), not: &'static str) -> Result<spki::Document, KeyError> {
    if text.len() > 1 << 15 {
        return Err(KeyError::material("the PEM text is too long for a public key"));
    }
    let body = text.trim().strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
    let body = body.ok_or(KeyError::material(not))?;
    let body: Vec<char> = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let lines: Vec<String> = body.chunks(64).map(|line| line.iter().collect()).collect();
    let text = format!("{begin}\n{}\n{end}\n", lines.join("\n"));
    let (_, document) = spki::Document::from_pem(&text)
        .map_err(|_| KeyError::material("the PEM text holds no valid base64 of DER"))?;
    Ok(document)
}

fn der(document: spki::Result<spki::Document>) -> Result<Arc<[u8]>, KeyError> {
    let document = document.map_err(|_| KeyError::material("the key cannot be written as DER"))?;
    Ok(document.as_bytes().into())
}

fn ml_dsa<'i, P: ml_dsa::MlDsaParams>(
    info: SubjectPublicKeyInfoRef<'i>,
    material: impl FnOnce(Arc<MlDsa<P>>) -> Material,
) -> Result<PublicKey, KeyError>
where
    MlDsa<P>: TryFrom<SubjectPublicKeyInfoRef<'i>> + EncodePublicKey,
{
    let key = MlDsa::<P>::try_from(info).map_err(|_| KeyError::material("not an ML-DSA public key"))?;
    Ok(PublicKey { spki: der(key.to_public_key_der())?, material: material(Arc::new(key)) })
}

/// What ML-DSA signs in the place of `message` (TAP 21): `tuf`, the version of the scheme as a byte, and the SHA-512 of the message.
fn ml_dsa_payload(message: &[u8]) -> Vec<u8> {
    [b"tuf\x01".as_slice(), &sha2::Sha512::digest(message)].concat()
}

/// By ring, which takes a third of the time; what is a key and what a signature, `p256` has said before.
fn verify_p256(
    key: &p256::ecdsa::VerifyingKey,
    message: &[u8],
    signature: &p256::ecdsa::Signature,
) -> Result<(), signature::Error> {
    let point = key.to_sec1_point(false);
    let key =
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point.as_bytes());
    key.verify(message, &signature.to_bytes()).map_err(|_| signature::Error::new())
}

fn verify_ml_dsa<P: ml_dsa::MlDsaParams>(
    key: &MlDsa<P>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), signature::Error> {
    let signature = ml_dsa::Signature::<P>::try_from(signature)?;
    key.verify(&ml_dsa_payload(message), &signature)
}

fn verify_rsa(key: &RsaPublicKey, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
    let (Scheme::RsaPss(hash) | Scheme::RsaPkcs1(hash)) = scheme else { return Err(KeyError::Signature) };
    let pkcs1 = matches!(scheme, Scheme::RsaPkcs1(_));
    let good = match hash {
        RsaHash::Sha224 => verify_rsa_by::<sha2::Sha224>(key, pkcs1, message, signature),
        RsaHash::Sha256 => verify_rsa_by::<sha2::Sha256>(key, pkcs1, message, signature),
        RsaHash::Sha384 => verify_rsa_by::<sha2::Sha384>(key, pkcs1, message, signature),
        RsaHash::Sha512 => verify_rsa_by::<sha2::Sha512>(key, pkcs1, message, signature),
    };
    good.map_err(|_| KeyError::Signature)
}

fn verify_rsa_by<D: sha2::Digest + FixedOutputReset + AssociatedOid>(
    key: &RsaPublicKey,
    pkcs1: bool,
    message: &[u8],
    signature: &[u8],
) -> Result<(), signature::Error> {
    let key = key.clone();
    if pkcs1 {
        let signature = rsa::pkcs1v15::Signature::try_from(signature)?;
        return rsa::pkcs1v15::VerifyingKey::<D>::new(key).verify(message, &signature);
    }
    let signature = rsa::pss::Signature::try_from(signature)?;
    rsa::pss::VerifyingKey::<D>::new_with_auto_salt_len(key).verify(message, &signature)
}
