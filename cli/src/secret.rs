//! PINs, passphrases and key files on their way to the agent, where they are sealed and wiped.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use custody::SecretBytes;
use zeroize::Zeroizing;

use crate::error::{Failure, reason};
use crate::reading;
use crate::render::typed_path;

/// A secret, in locked memory; wiped when dropped, never shown.
pub(crate) struct Secret(SecretBytes);

impl Secret {
    /// Takes the bytes over.
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(SecretBytes::copy_from(&bytes))
    }

    /// The secret itself, for sealing and for comparing two prompts.
    pub(crate) fn reveal_secret_bytes(&self) -> &[u8] {
        self.0.reveal_secret_bytes()
    }

    /// Reads a PIN or passphrase; a trailing newline in the file is not part of it.
    pub(crate) fn from_pin_file(path: &Path) -> Result<Self, Failure> {
        let bytes = read_private(path, MOST_PIN_BYTES)?.without_trailing_newline();
        if bytes.is_empty() {
            return Err(Failure::new(reason::SECRET_FILE, format!("{} is empty", path.display()))
                .remedy("put what it is for into it (a PIN, a passphrase, a management key), on one line"));
        }
        Ok(Self(bytes))
    }

    /// Reads a private key file, as it is.
    pub(crate) fn from_key_file(path: &Path) -> Result<Self, Failure> {
        read_private(path, MOST_KEY_BYTES).map(Self)
    }
}

/// Reads a file that holds a share, whole. What is not `sealed` must be as private as a PIN file.
pub(crate) fn read_share_file(path: &Path, sealed: impl FnOnce(&[u8]) -> bool) -> Result<Secret, Failure> {
    let (file, found) = open(path)?;
    let bytes = read_all(path, file, MOST_KEY_BYTES)?;
    if !sealed(bytes.reveal_secret_bytes()) {
        check_private(path, found.uid(), found.mode(), is_credential(path))?;
    }
    Ok(Secret(bytes))
}

/// Reads a file that nobody else may read: 0600 or 0400 and our own, or, inside `$CREDENTIALS_DIRECTORY`,
/// also root's own and not readable by others (CONTRACT section 2).
fn read_private(path: &Path, most: usize) -> Result<SecretBytes, Failure> {
    let (file, found) = open(path)?;
    check_private(path, found.uid(), found.mode(), is_credential(path))?;
    read_all(path, file, most)
}

/// Whose a file is and who may read it is asked of the open file, not of its name, so that nobody can swap it in between.
fn open(path: &Path) -> Result<(File, Metadata), Failure> {
    let file = reading::open_named(path).map_err(|e| Failure::io("read", path, &e))?;
    let found = file.metadata().map_err(|e| Failure::io("read", path, &e))?;
    Ok((file, found))
}

fn read_all(path: &Path, mut file: File, most: usize) -> Result<SecretBytes, Failure> {
    let read = SecretBytes::read_to_end(&mut file, most).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => {
            Failure::new(reason::LIMIT, format!("{} holds more than {most} bytes", path.display()))
                .remedy("it is no PIN, passphrase or key file: name the right one")
                .detail("file", path.display().to_string())
        }
        _ => Failure::io("read", path, &e),
    })?;
    // Locked memory is scarce: no more of it than that is kept.
    Ok(SecretBytes::copy_from(read.reveal_secret_bytes()))
}

fn check_private(path: &Path, owner: u32, mode: u32, credential: bool) -> Result<(), Failure> {
    let me = rustix::process::geteuid().as_raw();
    let refused = |why: String, remedy: String| {
        Err(Failure::new(reason::SECRET_FILE, format!("{} {why}", path.display()))
            .remedy(remedy)
            .detail("file", path.display().to_string()))
    };
    if owner != me && !(credential && owner == 0) {
        return refused(
            format!("belongs to user {owner}, not to you (user {me})"),
            "use a file of your own".into(),
        );
    }
    let bits = mode & 0o777;
    let tight = if credential { bits & 0o007 == 0 } else { bits == 0o600 || bits == 0o400 };
    if !tight {
        return refused(
            format!("may be used by others (mode {bits:04o}, must be 0600 or 0400)"),
            format!("chmod 600 {}", typed_path(path)),
        );
    }
    Ok(())
}

/// Whether the file lies in the folder that systemd made for credentials.
fn is_credential(path: &Path) -> bool {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|f| !f.is_empty()) else {
        return false;
    };
    match (std::fs::canonicalize(folder), std::fs::canonicalize(path)) {
        (Ok(folder), Ok(path)) => path.starts_with(folder),
        _ => false,
    }
}

const MOST_PIN_BYTES: usize = 4096;
const MOST_KEY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check_private;

    #[test]
    fn only_0600_and_0400_of_ones_own_will_do() {
        let me = rustix::process::geteuid().as_raw();
        let file = Path::new("pin");
        for (mode, good) in [(0o100_600, true), (0o400, true), (0o644, false), (0o640, false), (0o700, false)]
        {
            assert_eq!(check_private(file, me, mode, false).is_ok(), good, "{mode:o}");
        }
        let refused = check_private(file, me + 1, 0o600, false).unwrap_err();
        assert_eq!((refused.reason(), refused.exit_code()), ("SECRET_FILE", 5));
    }

    #[test]
    fn a_credential_may_be_roots_own_but_not_for_others() {
        let file = Path::new("pin");
        assert!(check_private(file, 0, 0o440, true).is_ok());
        assert!(check_private(file, 0, 0o444, true).is_err());
        assert!(check_private(file, 12_345, 0o400, true).is_err());
    }
}
