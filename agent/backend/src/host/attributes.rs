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
    session.get_attributes(object, wanted)
}

/// No attribute that is read here is longer: labels and ids have some bytes, the modulus of RSA-8192 has 1024.
const LONGEST: usize = 64 << 10;
