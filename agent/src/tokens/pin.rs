//! Where a PIN comes from when no person types it.
//!
//! Trust: a secret that others could have read or written is not believed. It goes from the file straight
//! into locked memory; no message repeats any of it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use policy::Reason;
use secmem::SecretBytes;
use tuf::word;

#[cfg(feature = "secret-service")]
use super::secret_service;
use super::{descriptor, keyring};
use crate::config::{PinSource, open_at_once};
use crate::refusal::Refusal;

/// No PIN or passphrase is longer, bytes.
const MAX_PIN: usize = 4096;

/// Fetches the secret; blocks.
///
/// # Errors
/// `PIN_REQUIRED` for a prompt, `SECRET_FILE` for a file that others can read, `IO` for one that cannot be read.
pub(super) fn fetch(source: &PinSource, credentials: Option<&Path>) -> Result<SecretBytes, Refusal> {
    let path = match source {
        PinSource::Nothing => {
            return Err(Refusal::new(Reason::Usage, "this token has no secret that unlocks it")
                .remedy("end a lock: tufctl token unlock NAME"));
        }
        PinSource::Unwanted => {
            return Err(Refusal::new(
                Reason::PinRequired,
                "this token is configured as one that wants no PIN (pin = \"none\")",
            )
            .remedy("name in its entry of the configuration where its PIN comes from, then: tufctl token unlock NAME"));
        }
        PinSource::Prompt => {
            return Err(Refusal::new(Reason::PinRequired, "this token's secret is typed by a person")
                .remedy("unlock it: tufctl token unlock NAME"));
        }
        PinSource::Pinentry(_) => {
            return Err(Refusal::new(Reason::PinRequired, "this token's secret is asked for by pinentry")
                .remedy("unlock it: tufctl token unlock NAME"));
        }
        PinSource::Keyring(name) => return keyring::fetch(name, MAX_PIN),
        PinSource::SecretService(attributes) => return from_secret_service(attributes, &source.place()),
        PinSource::File(path) => path.clone(),
        PinSource::Fd(fd) => return descriptor::fetch(*fd, MAX_PIN),
        PinSource::Credential(name) => match credentials {
            Some(folder) => folder.join(name),
            None => {
                return Err(Refusal::new(
                    Reason::SecretFile,
                    format!("the credential {name} was not given: CREDENTIALS_DIRECTORY is not set"),
                )
                .remedy("start the agent by its unit, with LoadCredential="));
            }
        },
    };
    let mut file = open_at_once(&path).map_err(|error| unreadable(&path, &error))?;
    let meta = file.metadata().map_err(|error| unreadable(&path, &error))?;
    check_mode(&path, &meta, credentials)?;
    read(&path, &mut file)
}

#[cfg(feature = "secret-service")]
fn from_secret_service(attributes: &BTreeMap<String, String>, place: &str) -> Result<SecretBytes, Refusal> {
    secret_service::fetch(attributes, place, MAX_PIN)
}

#[cfg(not(feature = "secret-service"))]
fn from_secret_service(_: &BTreeMap<String, String>, place: &str) -> Result<SecretBytes, Refusal> {
    let message = format!("{place} cannot be asked for: this tuf-agent was built without that");
    Err(Refusal::new(Reason::SecretFile, message).remedy("build it with its feature secret-service"))
}

/// Mode and owner of the open file (CONTRACT section 2).
fn check_mode(path: &Path, meta: &Metadata, credentials: Option<&Path>) -> Result<(), Refusal> {
    let own = rustix::process::geteuid().as_raw();
    let mode = meta.mode() & 0o7777;
    let is_credential = credentials.is_some_and(|folder| path.starts_with(folder) && !has_dots(path));
    let owner_fits = meta.uid() == own || (is_credential && meta.uid() == 0);
    // A service manager may grant by ACL, whose mask shows as the group's bits: others must have none.
    let mode_fits = matches!(mode, 0o600 | 0o400) || (is_credential && mode & 0o7027 == 0);
    if !meta.is_file() {
        return Err(Refusal::new(Reason::SecretFile, format!("{} is not a file", path.display()))
            .remedy("name a regular file of mode 0600"));
    }
    if owner_fits && mode_fits {
        return Ok(());
    }
    let why = format!(
        "{} is not private: it has mode {mode:04o} and belongs to uid {}",
        path.display(),
        meta.uid()
    );
    Err(Refusal::new(Reason::SecretFile, why).remedy(format!(
        "chmod 600 {0} and make it uid {own}'s own; change the secret if others may have read it",
        word::path(path)
    )))
}

fn has_dots(path: &Path) -> bool {
    path.components().any(|part| part == std::path::Component::ParentDir)
}

/// A trailing newline is not part of it.
fn read(path: &Path, file: &mut impl Read) -> Result<SecretBytes, Refusal> {
    let secret = SecretBytes::read_to_end(file, MAX_PIN).map_err(|error| unreadable(path, &error))?;
    only_line(path, secret)
}

/// The same, of what was read.
pub(super) fn only_line(path: &Path, secret: SecretBytes) -> Result<SecretBytes, Refusal> {
    let secret = secret.without_trailing_newline();
    if secret.reveal_secret_bytes().is_empty() {
        return Err(Refusal::new(Reason::SecretFile, format!("{} is empty", path.display()))
            .remedy("write the secret into it"));
    }
    Ok(secret)
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::new(Reason::SecretFile, format!("{} cannot be read: {error}", path.display()))
        .remedy("check the pin of this token in the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    fn file(mode: u32, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_private_file_gives_its_line_without_the_newline() {
        for mode in [0o600, 0o400] {
            let (_folder, path) = file(mode, "1234\n");
            let secret = fetch(&PinSource::File(path), None).unwrap();
            assert_eq!(secret.reveal_secret_bytes(), b"1234");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_without_its_text() {
        for mode in [0o644, 0o640, 0o660, 0o700, 0o604] {
            let (_folder, path) = file(mode, "1234\n");
            let refusal = fetch(&PinSource::File(path), None).unwrap_err();
            assert_eq!(refusal.reason, Reason::SecretFile, "{mode:o}");
            assert!(!refusal.message.contains("1234\n"));
        }
    }

    #[test]
    fn a_credential_lies_in_its_folder_and_its_group_bits_may_be_an_acl_mask() {
        let (folder, path) = file(0o440, "1234");
        let source = PinSource::Credential("pin".into());
        assert!(fetch(&source, Some(folder.path())).is_ok());
        assert!(fetch(&source, None).unwrap_err().message.contains("CREDENTIALS_DIRECTORY"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        assert!(fetch(&source, Some(folder.path())).is_err());
    }

    #[test]
    fn an_empty_file_is_no_secret() {
        let (_folder, path) = file(0o600, "\n");
        assert!(fetch(&PinSource::File(path), None).unwrap_err().message.contains("empty"));
    }
}
