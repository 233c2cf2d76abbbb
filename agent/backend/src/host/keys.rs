//! Making, bringing in and destroying keys on the token.

use std::ffi::c_ulong;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType as CkType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use tuf::key::{KeyType, PublicKey, Scheme};
use zeroize::{Zeroize as _, Zeroizing};

use super::codec::{Curve, wrap_point};
use super::faults::Fault;
use super::forms::{Form, next_form};
use super::live::Live;
use super::objects::{fitting, is_named, objects_of, read_object};
use super::possession::{self, Shown};
use super::protocol::{HostError, HostErrorKind, WireKey};
use super::single::SingleSign;
use crate::doctor::How;

/// Makes a key pair: private, sensitive, not extractable, for signing only; its public half stays
/// on the token beside it.
pub(crate) fn generate(
    pkcs11: &Pkcs11,
    live: &mut Live,
    name: &str,
    kind: KeyType,
    curve_name: Option<&str>,
) -> Result<WireKey, Fault> {
    live.need_login()?;
    name_is_free(live.work(pkcs11)?, name)?;
    let shape = Shape::of(kind)?;
    let known_by_name = curve_name.and_then(printable);
    let (mut form, mut first) = (Form::whole(shape.is_curve() && known_by_name.is_none()), None);
    let (public, private) = loop {
        // Of its own for each attempt: whatever one that failed has left, no other key is taken for it.
        let names = Names::new(name)?;
        let (mechanism, more) = shape.wanted(form, known_by_name.as_deref());
        let (mut public, private) = (public_template(&names, &more), private_template(&names, form));
        public.retain(|attribute| form.verify || !matches!(attribute, Attribute::Verify(_)));
        match live.work(pkcs11)?.generate_key_pair(&mechanism, &public, &private) {
            Ok(pair) => break pair,
            Err(error) => form = next_form(pkcs11, live, (form, &names.id), error, &mut first)?,
        }
    };
    let session = live.work(pkcs11)?;
    // Half a key is worse than none: it would hold the name and sign nothing.
    let why;
    let made = match read_object(session, public) {
        Ok(object) => {
            why = object.as_ref().and_then(|object| object.unfit.clone());
            object.and_then(|object| object.wire())
        }
        Err(error) => {
            // As far as the session still goes; what is told is the first error.
            let _ = destroy(session, &[public, private]);
            return Err(error.into());
        }
    };
    match made {
        Some(key) if key_type_of(&key) == Some(kind) => Ok(key),
        _ => {
            destroy(session, &[public, private])?;
            let what = why.map(|why| format!(": it is {why}")).unwrap_or_default();
            let message = format!(
                "the token made a key whose public half cannot be used{what}; it was destroyed again"
            );
            Err(HostError::new(HostErrorKind::Unsupported, message).into())
        }
    }
}

/// Stores a private key that was made elsewhere. `secret` is the Ed25519 seed, the big-endian scalar,
/// or PKCS#1 DER.
pub(crate) fn import(
    pkcs11: &Pkcs11,
    live: &mut Live,
    name: &str,
    key: &PublicKey,
    secret: &[u8],
) -> Result<WireKey, Fault> {
    live.need_login()?;
    let session = live.work(pkcs11)?;
    name_is_free(session, name)?;
    let (publics, privates) = objects_of(session, key)?;
    if let Some(there) = publics.first().or(privates.first()) {
        return Err(HostError::new(HostErrorKind::Duplicate, there.label.clone()).into());
    }
    let (kind, public_part, private_part) = match Shape::of(key.key_type())? {
        Shape::Ec(curve) => ec_parts(curve, key, secret)?,
        Shape::Rsa(_) => rsa_parts(secret)?,
    };
    let created = create_private(pkcs11, live, name, (kind, &private_part));
    private_part.into_iter().for_each(wipe);
    let (names, private) = created?;
    let mut public = public_template(&names, &public_part);
    public.extend([Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(kind)]);
    let session = live.work(pkcs11)?;
    let stored =
        session.create_object(&public).and_then(|public| read_object(session, private).map(|o| (public, o)));
    match stored {
        Ok((public, Some(object))) => {
            let mut wire = read_object(session, public)?.and_then(|public| public.wire());
            if let (Some(wire), Some(private)) = (wire.as_mut(), object.wire()) {
                wire.origin = private.origin;
            }
            if let Some(wire) = wire.filter(|wire| wire.public == hex::encode(key.spki_der())) {
                return Ok(WireKey { origin: crate::Origin::Imported, ..wire });
            }
            destroy(session, &[public, private])?;
            Err(HostError::new(
                HostErrorKind::Unsupported,
                "the token keeps another public key than it was given",
            )
            .into())
        }
        Ok((public, None)) => {
            destroy(session, &[public, private])?;
            Err(HostError::new(HostErrorKind::Unsupported, "the token keeps it as a key of another type")
                .into())
        }
        // Both halves go, also one whose answer was lost.
        Err(error) => {
            let form = Form { verify: false, no_copies: false, ..Form::whole(false) };
            next_form(pkcs11, live, (form, &names.id), error, &mut None)?;
            Err(HostError::new(HostErrorKind::Unsupported, "the public half of a key").into())
        }
    }
}

/// The private half, and how it is named.
fn create_private(
    pkcs11: &Pkcs11,
    live: &mut Live,
    name: &str,
    (kind, parts): (CkType, &[Attribute]),
) -> Result<(Names, ObjectHandle), Fault> {
    // It has no CKA_VERIFY, and its curve is what the file says.
    let (mut form, mut first) = (Form { verify: false, ..Form::whole(false) }, None);
    loop {
        let names = Names::new(name)?;
        let mut private = private_template(&names, form);
        private.extend([Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(kind)]);
        private.extend(parts.iter().cloned());
        let created = live.work(pkcs11).and_then(|session| session.create_object(&private));
        private.into_iter().for_each(wipe);
        match created {
            Ok(handle) => return Ok((names, handle)),
            Err(error) => form = next_form(pkcs11, live, (form, &names.id), error, &mut first)?,
        }
    }
}

/// Destroys both objects of `key`: the private one first, so that what is left can never sign. Whoever reaches a token without
/// its PIN can put a public object on it with the CKA_ID of another key: where the private one does not sign as that of `key`,
/// the public one goes alone. `proof` says how it is to sign; none: the key was made here just now. False: the private one stays.
pub(crate) fn remove(
    pkcs11: &Pkcs11,
    live: &mut Live,
    key: &PublicKey,
    proof: Option<(&SingleSign, Scheme, How)>,
) -> Result<bool, Fault> {
    live.need_login()?;
    live.forget_found();
    let session = live.work(pkcs11)?;
    let (publics, privates) = objects_of(session, key)?;
    let private = match privates.as_slice() {
        [] => return Err(HostError::new(HostErrorKind::KeyNotFound, "no private key belongs to it").into()),
        [one] => one,
        several => {
            let n = several.len();
            let message = format!("{n} private keys on the token could be meant, with the same id and type");
            return Err(HostError::new(HostErrorKind::Ambiguous, message).into());
        }
    };
    let publics: Vec<ObjectHandle> = publics.iter().map(|object| object.handle).collect();
    let proven = match proof {
        None => true,
        Some((single, scheme, how)) => match possession::shown(single, session, key, private, (scheme, how))?
        {
            Shown::Its => true,
            Shown::NotIts => false,
            // It says itself whose it is, which nobody writes without the PIN.
            Shown::Nothing if private.public.as_ref() == Some(key) => true,
            Shown::Nothing if fitting(session, private)? > 1 => {
                let message = "the private key on the token could be meant by more than one public key with its id and type, and \
                               does not sign to show by which";
                return Err(HostError::new(HostErrorKind::Ambiguous, message).into());
            }
            Shown::Nothing => false,
        },
    };
    match (proven, publics.is_empty()) {
        (true, _) => destroy(session, &[&[private.handle], publics.as_slice()].concat())?,
        (false, false) => destroy(session, &publics)?,
        (false, true) => {
            let message =
                "no private key belongs to it: the one that a certificate says it is signs as another";
            return Err(HostError::new(HostErrorKind::KeyNotFound, message).into());
        }
    }
    Ok(proven)
}

/// CKA_LABEL and CKA_ID of a new pair.
struct Names {
    label: Vec<u8>,
    id: Vec<u8>,
}

impl Names {
    /// The id is drawn at random: one computed from the public point would have to be written
    /// after the pair is made, on both halves, and not every token lets that be done.
    fn new(label: &str) -> Result<Self, HostError> {
        let mut id = vec![0; ID_LEN];
        getrandom::fill(&mut id).map_err(|e| {
            HostError::new(HostErrorKind::Device, format!("the system gives no random bytes: {e}"))
        })?;
        Ok(Self { label: label.as_bytes().to_vec(), id })
    }
}

enum Shape {
    Ec(Curve),
    Rsa(c_ulong),
}

impl Shape {
    fn of(kind: KeyType) -> Result<Self, HostError> {
        Ok(match kind {
            KeyType::Ed25519 => Self::Ec(Curve::Ed25519),
            KeyType::EcdsaP256 => Self::Ec(Curve::P256),
            KeyType::EcdsaP384 => Self::Ec(Curve::P384),
            KeyType::Rsa2048 => Self::Rsa(2048),
            KeyType::Rsa3072 => Self::Rsa(3072),
            KeyType::Rsa4096 => Self::Rsa(4096),
            KeyType::EcdsaP521 | KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => {
                let what = format!("{kind} keys are verified here, and not made or kept");
                return Err(HostError::new(HostErrorKind::Unsupported, what));
            }
        })
    }

    const fn is_curve(&self) -> bool {
        matches!(self, Self::Ec(_))
    }

    /// By which mechanism it is made, and what the public half says of it. `name`: the module was measured to know its
    /// curves so alone.
    fn wanted(&self, form: Form, name: Option<&[u8]>) -> (Mechanism<'static>, Vec<Attribute>) {
        match self {
            Self::Rsa(bits) => (
                Mechanism::RsaPkcsKeyPairGen,
                vec![Attribute::ModulusBits((*bits).into()), Attribute::PublicExponent(EXPONENT.to_vec())],
            ),
            Self::Ec(curve) => {
                let mechanism = match curve {
                    Curve::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
                    Curve::P256 | Curve::P384 => Mechanism::EccKeyPairGen,
                };
                let oid = if form.by_name { curve.printable() } else { curve.oid() };
                (mechanism, vec![Attribute::EcParams(name.unwrap_or(oid).to_vec())])
            }
        }
    }
}

/// A curve's name as PrintableString.
fn printable(name: &str) -> Option<Vec<u8>> {
    let len = u8::try_from(name.len()).ok().filter(|len| *len < 0x80)?;
    Some([&[0x13, len], name.as_bytes()].concat())
}

/// Whether the error may come from what was asked for, in the codes that modules were seen to give.
pub(super) fn template_is_refused(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::CurveNotSupported
                | RvError::AttributeValueInvalid
                | RvError::TemplateInconsistent
                | RvError::GeneralError
                | RvError::DomainParamsInvalid,
            _
        )
    )
}

fn public_template(names: &Names, more: &[Attribute]) -> Vec<Attribute> {
    let mut template = public_key(true, &names.label, &names.id);
    template.extend_from_slice(more);
    template
}

/// What the public half of a signing key is; `on_token`: it stays there when the session ends.
pub(super) fn public_key(on_token: bool, label: &[u8], id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Token(on_token),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Label(label.to_vec()),
        Attribute::Id(id.to_vec()),
    ]
}

/// What a private key is that signs, does nothing else, and never leaves. A key that may do more is another one to some
/// modules: an RSA key of tpm2-pkcs11 that may decrypt signs, one that may not does not.
pub(super) fn private_key(on_token: bool, label: &[u8], id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Token(on_token),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Label(label.to_vec()),
        Attribute::Id(id.to_vec()),
    ]
}

fn private_template(names: &Names, form: Form) -> Vec<Attribute> {
    let mut template = private_key(true, &names.label, &names.id);
    if form.no_copies {
        template.push(Attribute::Copyable(false));
    }
    template
}

/// The private numbers of a key that was brought in do not stay in memory.
fn wipe(attribute: Attribute) {
    match attribute {
        Attribute::Value(mut number)
        | Attribute::PrivateExponent(mut number)
        | Attribute::Prime1(mut number)
        | Attribute::Prime2(mut number)
        | Attribute::Exponent1(mut number)
        | Attribute::Exponent2(mut number)
        | Attribute::Coefficient(mut number) => number.zeroize(),
        _ => {}
    }
}

type Parts = (CkType, Vec<Attribute>, Vec<Attribute>);

fn ec_parts(curve: Curve, key: &PublicKey, scalar: &[u8]) -> Result<Parts, HostError> {
    let kind = match curve {
        Curve::Ed25519 => CkType::EC_EDWARDS,
        Curve::P256 | Curve::P384 => CkType::EC,
    };
    let point = key
        .raw()
        .and_then(|raw| wrap_point(&raw))
        .ok_or_else(|| HostError::new(HostErrorKind::Protocol, "a key without a point"))?;
    let params = Attribute::EcParams(curve.oid().to_vec());
    let public = vec![params.clone(), Attribute::EcPoint(point)];
    Ok((kind, public, vec![params, Attribute::Value(scalar.to_vec())]))
}

fn rsa_parts(pkcs1: &[u8]) -> Result<Parts, HostError> {
    let broken = |what: &str| HostError::new(HostErrorKind::Protocol, format!("not an RSA key: {what}"));
    let mut key = rsa::RsaPrivateKey::from_pkcs1_der(pkcs1).map_err(|e| broken(&e.to_string()))?;
    key.precompute().map_err(|e| broken(&e.to_string()))?;
    let modulus = Attribute::Modulus(key.n_bytes().to_vec());
    let exponent = Attribute::PublicExponent(key.e_bytes().to_vec());
    let secret = |number: &rsa::BoxedUint| Zeroizing::new(number.to_be_bytes_trimmed_vartime()).to_vec();
    let [p, q] = key.primes() else { return Err(broken("it has not two primes")) };
    let numbers = (key.dp(), key.dq(), key.crt_coefficient());
    let (Some(dp), Some(dq), Some(qinv)) = numbers else { return Err(broken("no CRT numbers")) };
    let private = vec![
        modulus.clone(),
        exponent.clone(),
        Attribute::PrivateExponent(secret(key.d())),
        Attribute::Prime1(secret(p)),
        Attribute::Prime2(secret(q)),
        Attribute::Exponent1(secret(dp)),
        Attribute::Exponent2(secret(dq)),
        Attribute::Coefficient(secret(&qinv)),
    ];
    Ok((CkType::RSA, vec![modulus, exponent], private))
}

fn name_is_free(session: &Session, name: &str) -> Result<(), Fault> {
    match is_named(session, name)? {
        true => Err(HostError::new(HostErrorKind::NameTaken, name).into()),
        false => Ok(()),
    }
}

fn destroy(session: &Session, handles: &[ObjectHandle]) -> Result<(), Error> {
    handles.iter().try_for_each(|handle| session.destroy_object(*handle))
}

fn key_type_of(key: &WireKey) -> Option<KeyType> {
    let der = hex::decode(&key.public).ok()?;
    Some(PublicKey::from_spki_der(&der).ok()?.key_type())
}

const EXPONENT: [u8; 3] = [1, 0, 1];
const ID_LEN: usize = 20;
