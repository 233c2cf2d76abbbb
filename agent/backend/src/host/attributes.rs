//! Attributes of an object, no longer than attributes are.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectHandle};
use cryptoki::session::Session;

/// As `get_attributes`, which takes as much memory as the module says that an attribute is long: that is asked for first.
///
/// # Errors
/// [`Error::InvalidValue`] for an object with an attribute that is longer than any.
pub(crate) fn attributes(
    session: &Session,
    object: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<Vec<Attribute>, Error> {
    let told = session.get_attribute_info(object, wanted)?;
    if told.iter().any(|info| matches!(info, AttributeInfo::Available(length) if *length > LONGEST)) {
        return Err(Error::InvalidValue);
    }
    // An empty one of fixed size is none: it says neither yes nor no.
    let is_told = |(kind, info): &(&AttributeType, AttributeInfo)| {
        !(is_flag(**kind) && matches!(info, AttributeInfo::Available(0)))
    };
    let asked: Vec<AttributeType> = wanted.iter().zip(told).filter(is_told).map(|(kind, _)| *kind).collect();
    match session.get_attributes(object, &asked) {
        Err(error) if !matches!(error, Error::Pkcs11(..)) && asked.iter().any(|kind| is_flag(*kind)) => {
            one_by_one(session, object, &asked)
        }
        told => told,
    }
}

/// A flag that is neither true nor false counts as not told.
fn one_by_one(
    session: &Session,
    object: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<Vec<Attribute>, Error> {
    let mut all = Vec::new();
    for kind in wanted {
        match session.get_attributes(object, &[*kind]) {
            Ok(told) => all.extend(told),
            Err(error) if !matches!(error, Error::Pkcs11(..)) && is_flag(*kind) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

const fn is_flag(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::AlwaysAuthenticate
            | AttributeType::AlwaysSensitive
            | AttributeType::Copyable
            | AttributeType::Extractable
            | AttributeType::Local
            | AttributeType::NeverExtractable
            | AttributeType::Sensitive
            | AttributeType::Token
    )
}

/// No attribute that is read here is longer: labels and ids have some bytes, the modulus of RSA-8192 has 1024.
const LONGEST: usize = 64 << 10;
