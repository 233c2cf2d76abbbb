//! `pin` of a `[[token]]`: where the secret comes from. Its value is never repeated: somebody may have written the PIN itself.

use std::path::{Path, PathBuf};

use super::PinSource;

/// Reads the value.
///
/// # Errors
/// What would be right.
pub(super) fn read(value: Option<&toml::Value>, pinentry: &Path) -> Result<PinSource, String> {
    const SOURCES: &str = "pin must be \"prompt\", \"pinentry\", \"none\" (for a PKCS#11 token that wants no PIN), { file = \"/path\" }, { fd = 3 }, { credential = \"name\" }, { keyring = \"name\" } or { secret_service = { attribute = \"value\" } }; the PIN itself never stands in the configuration";
    let table = match value {
        None => return Ok(PinSource::Prompt),
        Some(toml::Value::String(word)) => {
            return match word.as_str() {
                "prompt" => Ok(PinSource::Prompt),
                "none" => Ok(PinSource::Unwanted),
                "pinentry" => Ok(PinSource::Pinentry(pinentry.to_owned())),
                _ => Err(SOURCES.to_owned()),
            };
        }
        Some(toml::Value::Table(table)) => table,
        Some(_) => return Err(SOURCES.to_owned()),
    };
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((name, toml::Value::String(path))), None) if name == "file" => absolute_pin_file(path),
        (Some((name, toml::Value::Integer(fd))), None) if name == "fd" => match u32::try_from(*fd) {
            Ok(fd) if (3..65_536).contains(&fd) => Ok(PinSource::Fd(fd)),
            _ => Err("pin = { fd } must be a descriptor from 3 up".to_owned()),
        },
        (Some((name, toml::Value::String(text))), None) if name == "credential" => credential(text),
        (Some((name, toml::Value::String(text))), None) if name == "keyring" => keyring(text),
        (Some((name, toml::Value::Table(attributes))), None) if name == "secret_service" => {
            secret_service(attributes)
        }
        _ => Err(SOURCES.to_owned()),
    }
}

fn absolute_pin_file(path: &str) -> Result<PinSource, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(PinSource::File(path))
    } else {
        Err("pin = { file } must be an absolute path".to_owned())
    }
}

fn credential(name: &str) -> Result<PinSource, String> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err("pin = { credential } must be a plain name inside $CREDENTIALS_DIRECTORY".to_owned());
    }
    Ok(PinSource::Credential(name.to_owned()))
}

fn keyring(name: &str) -> Result<PinSource, String> {
    is_printable(name).then(|| PinSource::Keyring(name.to_owned())).ok_or_else(|| {
        "pin = { keyring } must be the description of a key, without control characters".to_owned()
    })
}

/// None at all would mean any item.
fn secret_service(attributes: &toml::Table) -> Result<PinSource, String> {
    const FORM: &str = "pin = { secret_service } must be the attributes of one item, such as { service = \"tuf-agent\", token = \"hsm\" }";
    if cfg!(not(feature = "secret-service")) {
        return Err(
            "this tuf-agent was built without the Secret Service (its feature secret-service)".to_owned()
        );
    }
    let one = |(name, value): (&String, &toml::Value)| {
        let value = value.as_str().filter(|value| is_printable(value))?;
        is_printable(name).then(|| (name.clone(), value.to_owned()))
    };
    let read: Option<_> = attributes.iter().map(one).collect();
    match (read, attributes.len()) {
        (Some(attributes), 1..=16) => Ok(PinSource::SecretService(attributes)),
        _ => Err(FORM.to_owned()),
    }
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1024 && !text.contains(char::is_control)
}
