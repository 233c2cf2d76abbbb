//! What attributes say of a key that was made there and of one that was brought in (FAULTS D9).

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroize as _;

use super::Stop;
use super::answers::{cannot, telling};
use super::bench::Bench;
use super::pair::Pair;
use crate::doctor::{Facts, Finding, OriginFacts};
use crate::host::attributes::attributes;
use crate::host::codec::Curve;
use crate::host::faults::told;

/// A key that is made with CKA_COPYABLE false, where that is taken.
pub(super) fn generated(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let fixed = any_pair(bench, &session, &[Attribute::Copyable(false)]).or_else(|error| {
        // Modules refuse what they do not know by codes that say little (NSS: CKR_GENERAL_ERROR), each time.
        if cannot(&error) { Err(error) } else { any_pair(bench, &session, &[Attribute::Copyable(false)]) }
    });
    let (takes_copyable, pair) = match fixed {
        Ok(pair) => (Finding::Yes, pair),
        Err(error) => (Finding::No(told(&error)), any_pair(bench, &session, &[])?),
    };
    let mut facts = read(&session, pair.private())?;
    facts.always_authenticate = Some(pair.always);
    facts.can_be_copied = match (&takes_copyable, facts.copyable) {
        (Finding::Yes, Some(false)) => copied(bench, &session, pair.private()),
        _ => Finding::Unknown,
    };
    facts.takes_copyable = takes_copyable;
    Ok(Facts { generated: Some(facts), ..Facts::default() })
}

/// Only where nothing stays of it: the copy lies in the session, or is removed at once.
fn copied(bench: &Bench<'_>, session: &Session, key: ObjectHandle) -> Finding {
    let lies = Attribute::Token(bench.place == crate::doctor::Place::Token);
    let copy = session.copy_object(key, &[lies]);
    if let Ok(copy) = copy {
        let _ = session.destroy_object(copy);
    }
    bench.tried("a copy", &copy)
}

/// A P-256 key that was made here, for this probe alone.
pub(super) fn imported(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let mut scalar = vec![0; 32];
    getrandom::fill(&mut scalar).map_err(|e| Stop::Why(format!("the system gives no random bytes: {e}")))?;
    // Below the order of the curve.
    if let Some(first) = scalar.first_mut() {
        *first = 0x5a;
    }
    let mut template = bench.private_template();
    template.extend([
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::EcParams(Curve::P256.oid().to_vec()),
        Attribute::Value(scalar.clone()),
    ]);
    let made = session.create_object(&template);
    scalar.zeroize();
    if let Some(Attribute::Value(number)) = template.last_mut() {
        number.zeroize();
    }
    let import = bench.tried("C_CreateObject", &made);
    let imported = match made {
        Err(_) => None,
        Ok(handle) => {
            let facts = read(&session, handle);
            session.destroy_object(handle)?;
            Some(facts?)
        }
    };
    Ok(Facts { import, imported, ..Facts::default() })
}

/// Two public keys of one label and id: what is found by label alone is not one key.
pub(super) fn duplicates(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let _first = any_pair(bench, &session, &[])?;
    let second = any_pair(bench, &session, &[]);
    Ok(Facts { duplicates: bench.tried("the second key", &second), ..Facts::default() })
}

fn any_pair<'s>(bench: &Bench<'_>, session: &'s Session, private: &[Attribute]) -> Result<Pair<'s>, Error> {
    bench
        .curve_pair(session, Curve::P256, private)
        .or_else(|error| {
            bench.curve_pair(session, Curve::Ed25519, private).map_err(|again| telling(error, again))
        })
        .or_else(|error| {
            let public = [Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
            bench
                .pair(session, &Mechanism::RsaPkcsKeyPairGen, &public, private)
                .map_err(|again| telling(error, again))
        })
}

pub(super) fn read(session: &Session, private: ObjectHandle) -> Result<OriginFacts, Error> {
    let mut facts = OriginFacts::default();
    // One by one: a module that does not know one of them may say nothing of all.
    for wanted in [
        AttributeType::Local,
        AttributeType::NeverExtractable,
        AttributeType::AlwaysSensitive,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Copyable,
    ] {
        for attribute in known(session, private, wanted)? {
            match attribute {
                Attribute::Local(it) => facts.local = Some(it),
                Attribute::NeverExtractable(it) => facts.never_extractable = Some(it),
                Attribute::AlwaysSensitive(it) => facts.always_sensitive = Some(it),
                Attribute::Sensitive(it) => facts.sensitive = Some(it),
                Attribute::Extractable(it) => facts.extractable = Some(it),
                Attribute::Copyable(it) => facts.copyable = Some(it),
                _ => {}
            }
        }
    }
    facts.readable = readable(session, private)?;
    Ok(facts)
}

/// What it says of one attribute; nothing where it does not know it, whatever it calls that, each time it is asked.
fn known(session: &Session, private: ObjectHandle, wanted: AttributeType) -> Result<Vec<Attribute>, Error> {
    let ask = || attributes(session, private, &[wanted]);
    match ask().or_else(|_| ask()) {
        Err(error) if cannot(&error) || says_little(&error) => Ok(Vec::new()),
        told => told,
    }
}

fn says_little(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, _) | Error::InvalidValue)
}

/// Whether the private number would be given. Only its length is asked for, so that it is nowhere if it is.
fn readable(session: &Session, private: ObjectHandle) -> Result<Finding, Error> {
    let mut why = "withheld";
    for number in [AttributeType::Value, AttributeType::PrivateExponent] {
        match session.get_attribute_info(private, &[number])?.first() {
            Some(AttributeInfo::Available(length)) if *length > 0 => return Ok(Finding::Yes),
            Some(AttributeInfo::Sensitive) => why = "withheld as sensitive",
            _ => {}
        }
    }
    Ok(Finding::No(why.to_owned()))
}
