//! `pkcs11:` URIs (RFC 7512), as far as they name a token.

use crate::host::protocol::Wanted;

/// A URI that does not name a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It has another scheme.
    #[error("a PKCS#11 URI begins with \"pkcs11:\"")]
    Scheme,
    /// An attribute without `=`.
    #[error("{0:?} is not an attribute of a PKCS#11 URI (RFC 7512 section 2.3)")]
    Attribute(String),
    /// A broken percent-encoding, or a character that must be encoded so.
    #[error(
        "the value of {0:?} is not encoded as in a PKCS#11 URI: write % as %25, a space as %20 (RFC 7512 section 2.3)"
    )]
    Encoding(String),
    /// An attribute that says nothing about a token, or which the agent does not take.
    #[error("the attribute {0:?} is not taken: name the token by token, serial, manufacturer or model")]
    NotTaken(String),
    /// The same attribute twice.
    #[error("the attribute {0:?} is there twice")]
    Twice(String),
    /// No attribute at all: every token would do.
    #[error("the URI names no token: give token or serial")]
    NamesNothing,
}

/// Whether a token can be named so.
///
/// # Errors
/// What keeps it from naming one.
pub fn check_uri(uri: &str) -> Result<(), UriError> {
    parse(uri).map(drop)
}

/// Whether it names the very token, by its serial number.
#[must_use]
pub fn uri_names_serial(uri: &str) -> bool {
    parse(uri).is_ok_and(|wanted| wanted.serial.is_some())
}

/// Reads the attributes of the path: token (the label), serial, manufacturer, model. A PIN, a module
/// or an object has no place in it: the first is a secret, the others stand in the configuration.
pub(crate) fn parse(uri: &str) -> Result<Wanted, UriError> {
    // RFC 3986 section 3.1: a scheme is the same in upper case.
    let (scheme, rest) = uri.split_once(':').ok_or(UriError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("pkcs11") {
        return Err(UriError::Scheme);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !query.is_empty() {
        return Err(UriError::NotTaken(name_of(query)));
    }
    let mut wanted = Wanted::default();
    for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
        let (name, value) =
            attribute.split_once('=').ok_or_else(|| UriError::Attribute(attribute.to_owned()))?;
        let value = percent_decode(value).ok_or_else(|| UriError::Encoding(name.to_owned()))?;
        let place = match name {
            "token" => &mut wanted.label,
            "serial" => &mut wanted.serial,
            "manufacturer" => &mut wanted.manufacturer,
            "model" => &mut wanted.model,
            _ => return Err(UriError::NotTaken(name.to_owned())),
        };
        if place.replace(value).is_some() {
            return Err(UriError::Twice(name.to_owned()));
        }
    }
    match wanted == Wanted::default() {
        true => Err(UriError::NamesNothing),
        false => Ok(wanted),
    }
}

/// The name alone: the value may be a PIN.
fn name_of(attribute: &str) -> String {
    attribute.split('=').next().unwrap_or_default().to_owned()
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (hex_digit(bytes.next()?)?, hex_digit(bytes.next()?)?);
                out.push(high << 4 | low);
            }
            // RFC 7512 section 2.3: pk11-pchar
            b if b.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&b) => out.push(b),
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attributes_of_a_token_are_read_and_decoded() {
        let wanted =
            parse("pkcs11:token=The%20Software%3B;serial=4a;manufacturer=Snake+Oil,%20Inc.;model=v2")
                .unwrap();
        assert_eq!(wanted.label.as_deref(), Some("The Software;"));
        assert_eq!(wanted.serial.as_deref(), Some("4a"));
        assert_eq!(wanted.manufacturer.as_deref(), Some("Snake+Oil, Inc."));
        assert_eq!(wanted.model.as_deref(), Some("v2"));
        assert_eq!(parse("PKCS11:token=a"), parse("pkcs11:token=a"));
    }

    #[test]
    fn a_serial_is_named_by_its_attribute_and_not_by_a_label_that_looks_so() {
        assert!(uri_names_serial("pkcs11:serial=7;token=a"));
        assert!(!uri_names_serial("pkcs11:token=serial=7"));
        assert!(!uri_names_serial("pkcs11:model=serial=7;token=a"));
    }

    #[test]
    fn what_names_no_token_is_refused() {
        assert_eq!(parse("token=a"), Err(UriError::Scheme));
        assert_eq!(parse("pkcs11:"), Err(UriError::NamesNothing));
        assert_eq!(parse("pkcs11:token"), Err(UriError::Attribute("token".into())));
        assert_eq!(parse("pkcs11:token=a%2"), Err(UriError::Encoding("token".into())));
        assert_eq!(parse("pkcs11:token=a%zz"), Err(UriError::Encoding("token".into())));
        assert_eq!(parse("pkcs11:token=a b"), Err(UriError::Encoding("token".into())));
        assert_eq!(parse("pkcs11:token=a;token=b"), Err(UriError::Twice("token".into())));
        assert_eq!(parse("pkcs11:token=a;object=k"), Err(UriError::NotTaken("object".into())));
    }

    #[test]
    fn a_pin_in_a_uri_is_refused_and_not_repeated_in_the_error() {
        let error = parse("pkcs11:token=a?pin-value=1234").unwrap_err();
        assert_eq!(error, UriError::NotTaken("pin-value".into()));
        assert!(!error.to_string().contains("1234"));
    }
}
