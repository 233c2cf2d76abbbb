//! The keys on a token: public objects, and the private object of each (FAULTS D4, D5).
//!
//! Smart cards keep a certificate in place of the public object, and HSMs nothing where the private key was written there
//! alone. Whose such a lone private key is, it says itself (CKA_PUBLIC_KEY_INFO, PKCS#11 v2.40), or a certificate with its
//! CKA_ID does. Invariant: all that is read here is a claim; that a private key belongs to a public one is shown by the
//! signature, which is verified.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use tuf::key::PublicKey;

use super::attributes::attributes;
use super::certificates;
use super::codec::{Curve, curve_from_params, public_key_from_point};
use super::faults::{Action, Fault, action};
use super::find::{Odd, find};
use super::live::{Found, Live};
use super::protocol::{HostError, HostErrorKind, WireKey};
use super::unfit::{self, Unfit};
use crate::Origin;

/// A key object, public or private, as far as its attributes can be read.
#[derive(Clone, Debug)]
pub(crate) struct KeyObject {
    pub(crate) handle: ObjectHandle,
    pub(crate) label: String,
    id: Vec<u8>,
    key_type: KeyType,
    /// From CKA_MODULUS and CKA_PUBLIC_EXPONENT, or CKA_EC_PARAMS and CKA_EC_POINT. A private object has
    /// them sometimes.
    pub(crate) public: Option<PublicKey>,
    curve: Option<Curve>,
    local: Option<bool>,
    never_extractable: Option<bool>,
    /// CKA_ALWAYS_AUTHENTICATE.
    pub(super) always: bool,
    /// Of such an object all is what the certificate says.
    is_certificate: bool,
    /// Why it is of no use, as far as it says what it is.
    pub(crate) unfit: Option<String>,
}

/// Lists the keys. Logged in, only those whose private object is there; otherwise all public objects
/// and certificates that the token shows, because private ones cannot be seen. What is wrong with others is told beside.
pub(crate) fn list(pkcs11: &Pkcs11, live: &mut Live) -> Result<Listed, Fault> {
    let logged_in = live.logged_in;
    let session = live.work(pkcs11)?;
    let ring = if logged_in { Ring::read(session)? } else { Ring::read_public(session)? };
    let mut keys = BTreeMap::new();
    for object in ring.publics.iter().chain(&ring.certificates).chain(&ring.privates) {
        let Some(public) = &object.public else { continue };
        let private = ring.privates.iter().find(|private| ring.belongs(private, object));
        if private.is_some() || !logged_in {
            let origin = private.unwrap_or(object).origin();
            let public_hex = hex::encode(public.spki_der());
            keys.entry(public.clone()).or_insert(WireKey {
                label: object.label.clone(),
                public: public_hex,
                origin,
                place: None,
            });
        }
    }
    let (odd, unfit) = (ring.odd.told(), ring.odd.unfit.told());
    Ok(Listed { keys: keys.into_values().collect(), odd, unfit })
}

/// What lies on a token.
pub(crate) struct Listed {
    pub(crate) keys: Vec<WireKey>,
    /// See [`Odd::told`].
    pub(crate) odd: Option<String>,
    /// See [`super::unfit::Unfit::told`].
    pub(crate) unfit: Option<String>,
}

/// What is wrong with objects of the token, by the words of [`Odd::told`], and which keys cannot be used.
pub(super) fn what_is_odd(session: &Session) -> Result<(Option<String>, Option<String>), Error> {
    let odd = Ring::read(session)?.odd;
    Ok((odd.told(), odd.unfit.told()))
}

/// The one private object of `key` (SPKI, DER). Its public object names the CKA_ID; type, and modulus or curve,
/// must fit. More than one that fits is refused, never guessed.
pub(crate) fn private_of(pkcs11: &Pkcs11, live: &mut Live, key: &[u8]) -> Result<Found, Fault> {
    live.need_login()?;
    // First the session: with another one, nothing is known.
    live.work(pkcs11)?;
    if let Some(found) = live.known(key) {
        return Ok(found.clone());
    }
    let public = PublicKey::from_spki_der(key)
        .map_err(|_| HostError::new(HostErrorKind::Protocol, "the request lacks a public key"))?;
    let (_, privates) = objects_of(live.work(pkcs11)?, &public)?;
    let one = match privates.as_slice() {
        [] => Err(HostError::new(HostErrorKind::KeyNotFound, "no private key on the token belongs to it")),
        [one] => Ok(one),
        several => Err(HostError::new(
            HostErrorKind::Ambiguous,
            format!("{} private keys on the token could be meant, with the same id and type", several.len()),
        )),
    }?;
    let found = Found { der: key.to_vec(), handle: one.handle, always: one.always };
    live.remember(found.clone());
    Ok(found)
}

/// All public objects of `key`, and the private objects that fit one of them, or a certificate of it.
pub(crate) fn objects_of(
    session: &Session,
    key: &PublicKey,
) -> Result<(Vec<KeyObject>, Vec<KeyObject>), Error> {
    let is_key = |object: &&KeyObject| object.public.as_ref() == Some(key);
    let ring = Ring::read(session)?;
    let told = || ring.publics.iter().chain(&ring.certificates).filter(is_key);
    let fits = |private: &&KeyObject| is_key(private) || told().any(|object| ring.belongs(private, object));
    let privates: Vec<_> = ring.privates.iter().filter(fits).cloned().collect();
    let publics = ring.publics.iter().filter(is_key).cloned().collect();
    match ring.odd.why() {
        // It may be the very one that could not be read.
        Some(error) if privates.is_empty() => Err(error),
        _ => Ok((publics, privates)),
    }
}

/// How many public keys a private one may be that of, by objects and certificates.
pub(crate) fn fitting(session: &Session, private: &KeyObject) -> Result<usize, Error> {
    let mut ring = Ring::read(session)?;
    ring.read_certificates(session)?;
    let told = ring.publics.iter().chain(&ring.certificates);
    let keys: BTreeSet<_> = told
        .filter(|object| private.may_belong_to(object))
        .filter_map(|object| object.public.as_ref())
        .collect();
    Ok(keys.len())
}

/// Whether a key of the token has this name. A public half that has lost its private one signs nothing, and keeps no name.
pub(crate) fn is_named(session: &Session, name: &str) -> Result<bool, Error> {
    let ring = Ring::read(session)?;
    let is_key = |public: &KeyObject| {
        let same = |private: &KeyObject| private.public.is_some() && private.public == public.public;
        ring.privates.iter().any(|private| same(private) || ring.belongs(private, public))
    };
    let mut publics = ring.publics.iter().filter(|object| object.label == name);
    Ok(ring.privates.iter().any(|object| object.label == name) || publics.any(is_key))
}

/// What a token has of keys.
struct Ring {
    publics: Vec<KeyObject>,
    /// Read where there is a private key that nothing else tells of, or none can be seen.
    certificates: Vec<KeyObject>,
    privates: Vec<KeyObject>,
    odd: Odd,
}

impl Ring {
    /// Without a login.
    fn read_public(session: &Session) -> Result<Self, Error> {
        let Objects { objects: publics, odd } = read_objects(session, ObjectClass::PUBLIC_KEY)?;
        let mut ring = Self { publics, certificates: Vec::new(), privates: Vec::new(), odd };
        ring.read_certificates(session)?;
        ring.of_now()
    }

    fn read(session: &Session) -> Result<Self, Error> {
        let Objects { objects: publics, mut odd } = read_objects(session, ObjectClass::PUBLIC_KEY)?;
        let Objects { objects: privates, odd: more } = read_objects(session, ObjectClass::PRIVATE_KEY)?;
        odd.add(more);
        let mut ring = Self { publics, certificates: Vec::new(), privates, odd };
        let lone: Vec<usize> =
            (0..).zip(&ring.privates).filter(|(_, it)| ring.is_lone(it)).map(|(at, _)| at).collect();
        for at in lone {
            if let Some(private) = ring.privates.get_mut(at) {
                private.public = info_of(session, private.handle)?;
            }
        }
        if ring.privates.iter().any(|private| ring.is_lone(private)) {
            ring.read_certificates(session)?;
        }
        ring.of_now()
    }

    fn read_certificates(&mut self, session: &Session) -> Result<(), Error> {
        let Objects { objects, odd } = read_all(session, ObjectClass::CERTIFICATE, certificates::read)?;
        self.certificates = objects;
        self.odd.add(odd);
        Ok(())
    }

    /// Where no handle at all is worth anything, it is not the objects that are odd.
    fn of_now(self) -> Result<Self, Error> {
        let none = self.publics.is_empty() && self.privates.is_empty() && self.certificates.is_empty();
        match none && self.odd.stale().is_some() {
            true => self.odd.why().map_or(Err(Error::InvalidValue), Err),
            false => Ok(self),
        }
    }

    /// Whether neither it nor a public object says which public key is that of a private one.
    fn is_lone(&self, private: &KeyObject) -> bool {
        let told = |object: &KeyObject| object.public.is_some() && private.may_belong_to(object);
        private.public.is_none() && !self.publics.iter().any(told)
    }

    /// Whether a private key may be that of `object`. A certificate has a word where nothing else has: it may be of a key that
    /// was there before.
    fn belongs(&self, private: &KeyObject, object: &KeyObject) -> bool {
        private.may_belong_to(object) && (!object.is_certificate || self.is_lone(private))
    }
}

/// CKA_PUBLIC_KEY_INFO of a private key; none where the module does not know it, or has written nothing of ours there.
fn info_of(session: &Session, private: ObjectHandle) -> Result<Option<PublicKey>, Error> {
    let told = match attributes(session, private, &[AttributeType::PublicKeyInfo]) {
        Err(error) if is_of_one_object(&error) => return Ok(None),
        told => told?,
    };
    Ok(told.iter().find_map(|attribute| match attribute {
        Attribute::PublicKeyInfo(info) => PublicKey::from_spki_der(info).ok(),
        _ => None,
    }))
}

/// The objects of a class.
pub(crate) struct Objects {
    pub(crate) objects: Vec<KeyObject>,
    odd: Odd,
}

/// Reads all objects of a class that are keys of a type we know. One that cannot be read is left out: it must not hide
/// the others. Where the reason is not the object, but the session, the device or the login, nothing that was read counts.
pub(crate) fn read_objects(session: &Session, class: ObjectClass) -> Result<Objects, Error> {
    let unfit = RefCell::new(Unfit::default());
    let read = |session: &Session, handle| {
        Ok(match read_of(session, handle, Some(class))? {
            Read::Key(key) => {
                // Of a private half others say what it is.
                if let Some(why) = key.unfit.clone().filter(|_| class == ObjectClass::PUBLIC_KEY) {
                    unfit.borrow_mut().note(key.id.clone(), key.label.clone(), why);
                }
                Some(*key)
            }
            Read::Unfit { id, label, why } => {
                unfit.borrow_mut().note(id, label, why);
                None
            }
            Read::Other => None,
        })
    };
    let mut read = read_all(session, class, read)?;
    read.odd.unfit.add(unfit.into_inner());
    Ok(read)
}

fn read_all(
    session: &Session,
    class: ObjectClass,
    read: impl Fn(&Session, ObjectHandle) -> Result<Option<KeyObject>, Error>,
) -> Result<Objects, Error> {
    let mut objects = Vec::new();
    let (found, mut odd) = find(session, &[Attribute::Class(class), Attribute::Token(true)])?;
    for handle in found {
        let read = || read(session, handle);
        let told = match read() {
            // Once may be by chance.
            Err(error) if is_stale(&error) => read(),
            told => told,
        };
        match told {
            Ok(object) => objects.extend(object),
            Err(error) if is_of_one_object(&error) => odd.add_unread(handle, error),
            Err(error) => return Err(error),
        }
    }
    Ok(Objects { objects, odd })
}

/// Whether an error of C_GetAttributeValue says nothing of other objects.
pub(super) fn is_of_one_object(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else { return true };
    action(error) == Action::Unsupported
        || is_stale(error)
        || matches!(
            code,
            RvError::GeneralError
                | RvError::FunctionFailed
                | RvError::ArgumentsBad
                | RvError::AttributeSensitive
                | RvError::BufferTooSmall
        )
}

/// What is said of a handle that names nothing.
pub(super) const fn is_stale(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid, _))
}

/// `None` for a key of another type.
pub(crate) fn read_object(session: &Session, handle: ObjectHandle) -> Result<Option<KeyObject>, Error> {
    Ok(match read_of(session, handle, None)? {
        Read::Key(key) => Some(*key),
        Read::Unfit { .. } | Read::Other => None,
    })
}

/// What an object is.
enum Read {
    Key(Box<KeyObject>),
    /// A key of a type that is none of ours.
    Unfit {
        id: Vec<u8>,
        label: String,
        why: String,
    },
    /// Of another class than was searched for.
    Other,
}

/// The same, and for an object of another class: not each module looks at what is searched for.
fn read_of(session: &Session, handle: ObjectHandle, class: Option<ObjectClass>) -> Result<Read, Error> {
    let common = [
        AttributeType::Class,
        AttributeType::KeyType,
        AttributeType::Id,
        AttributeType::Label,
        AttributeType::Local,
        AttributeType::NeverExtractable,
        AttributeType::AlwaysAuthenticate,
    ];
    let mut found = attributes(session, handle, &common)?;
    if is_other_class(&found, class) {
        return Ok(Read::Other);
    }
    let key_type = found.iter().find_map(|a| if let Attribute::KeyType(t) = a { Some(*t) } else { None });
    let more: &[AttributeType] = match key_type {
        Some(KeyType::RSA) => &[AttributeType::Modulus, AttributeType::PublicExponent],
        Some(KeyType::EC | KeyType::EC_EDWARDS) => &[AttributeType::EcParams, AttributeType::EcPoint],
        _ => &[],
    };
    let Some(key_type) = key_type.filter(|_| !more.is_empty()) else {
        let why = unfit::other(key_type);
        // The other half of it has the same words.
        let KeyObject { id, label, .. } = KeyObject::from_attributes(handle, KeyType::RSA, found);
        return Ok(Read::Unfit { id, label, why });
    };
    found.extend(attributes(session, handle, more)?);
    Ok(Read::Key(Box::new(KeyObject::from_attributes(handle, key_type, found))))
}

/// Whether an object says that it is of another class than this.
pub(super) fn is_other_class(told: &[Attribute], class: Option<ObjectClass>) -> bool {
    let is_other = |attribute: &Attribute| matches!((attribute, class), (Attribute::Class(own), Some(class)) if *own != class);
    told.iter().any(is_other)
}

impl KeyObject {
    fn from_attributes(handle: ObjectHandle, key_type: KeyType, attributes: Vec<Attribute>) -> Self {
        let mut object = Self {
            handle,
            label: String::new(),
            id: Vec::new(),
            key_type,
            public: None,
            curve: None,
            local: None,
            never_extractable: None,
            always: false,
            is_certificate: false,
            unfit: None,
        };
        let (mut modulus, mut exponent) = (Vec::new(), Vec::new());
        let (mut params, mut point) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::Id(id) => object.id = id,
                Attribute::Label(label) => object.label = String::from_utf8_lossy(&label).into_owned(),
                Attribute::Local(local) => object.local = Some(local),
                Attribute::NeverExtractable(never) => object.never_extractable = Some(never),
                Attribute::AlwaysAuthenticate(always) => object.always = always,
                Attribute::EcParams(bytes) => params = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                Attribute::Modulus(bytes) => modulus = bytes,
                Attribute::PublicExponent(bytes) => exponent = bytes,
                _ => {}
            }
        }
        object.curve = curve_from_params(&params);
        object.public = match object.curve {
            Some(curve) => public_key_from_point(curve, &point),
            None if !modulus.is_empty() => PublicKey::from_rsa(&modulus, &exponent).ok(),
            None => None,
        };
        object.unfit = match object.curve {
            _ if object.public.is_some() => None,
            None if !params.is_empty() => Some(unfit::curve(&params)),
            None if !modulus.is_empty() => Some(unfit::rsa(&modulus)),
            Some(_) if !point.is_empty() => Some("an EC key whose point is none of its curve".to_owned()),
            _ => None,
        };
        object
    }

    /// What a certificate says of the key with its CKA_ID; none of a key of a type that no token makes for us.
    pub(super) fn of_certificate(
        handle: ObjectHandle,
        id: Vec<u8>,
        label: String,
        key: PublicKey,
    ) -> Option<Self> {
        let (key_type, curve) = match key.key_type() {
            tuf::key::KeyType::Ed25519 => (KeyType::EC_EDWARDS, Some(Curve::Ed25519)),
            tuf::key::KeyType::EcdsaP256 => (KeyType::EC, Some(Curve::P256)),
            tuf::key::KeyType::EcdsaP384 => (KeyType::EC, Some(Curve::P384)),
            tuf::key::KeyType::Rsa2048 | tuf::key::KeyType::Rsa3072 | tuf::key::KeyType::Rsa4096 => {
                (KeyType::RSA, None)
            }
            _ => return None,
        };
        let object = Self::from_attributes(handle, key_type, Vec::new());
        Some(Self { label, id, curve, public: Some(key), is_certificate: true, ..object })
    }

    /// Whether this private object can be that of a public object: same CKA_ID and type, and nothing
    /// that can be read differs. What it really is, the verified signature says.
    fn may_belong_to(&self, public: &Self) -> bool {
        let agree = match (&self.public, &public.public) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        let curves = match (self.curve, public.curve) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        self.id == public.id && self.key_type == public.key_type && agree && curves
    }

    /// NSS says false to CKA_LOCAL always, but a key that could never leave was made there.
    fn origin(&self) -> Origin {
        match (self.local, self.never_extractable) {
            (Some(true), _) | (_, Some(true)) => Origin::Generated,
            (Some(false), Some(false)) => Origin::Imported,
            _ => Origin::Unknown,
        }
    }

    pub(crate) fn wire(&self) -> Option<WireKey> {
        let public = hex::encode(self.public.as_ref()?.spki_der());
        Some(WireKey { label: self.label.clone(), public, origin: self.origin(), place: None })
    }
}
