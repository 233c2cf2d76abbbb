//! PINs in the kernel's keyrings (keyrings(7)): keys of type `user`, named by their description.
//!
//! Trust: the kernel lets those read a key who possess it, or whom its permissions name. What it gives goes straight
//! into locked memory.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use policy::Reason;
use secmem::SecretBytes;

use crate::refusal::Refusal;

/// The session's keyring first, then the user's.
const RINGS: [KeyRingIdentifier; 2] = [KeyRingIdentifier::Session, KeyRingIdentifier::User];

/// Reads the key of this description, of at most `most` bytes.
///
/// # Errors
/// `SECRET_FILE` when there is none that may be read.
pub(super) fn fetch(name: &str, most: usize) -> Result<SecretBytes, Refusal> {
    let mut last = KeyError::KeyDoesNotExist;
    for ring in RINGS {
        match read(ring, name, most) {
            Ok(secret) if secret.is_empty() => {
                return Err(refusal(name, "is empty"));
            }
            Ok(secret) => {
                return Ok(secret.without_trailing_newline());
            }
            // What the other ring says of a key that is there counts more.
            Err(KeyError::KeyDoesNotExist) => {}
            Err(error) => last = error,
        }
    }
    Err(refusal(name, &format!("cannot be read: {last:?}")))
}

fn read(ring: KeyRingIdentifier, name: &str, most: usize) -> Result<SecretBytes, KeyError> {
    let key = KeyRing::from_special_id(ring, false)?.search(name)?;
    let mut length = 0;
    let secret = SecretBytes::try_with_len(most, |mut buffer| {
        length = key.read(&mut buffer)?;
        Ok(())
    })?;
    // The kernel tells the whole length, also of what did not fit.
    if length > most { Err(KeyError::InvalidArguments) } else { Ok(secret.shortened_to(length)) }
}

fn refusal(name: &str, how: &str) -> Refusal {
    Refusal::new(Reason::SecretFile, format!("the key {name:?} of the kernel's keyrings {how}"))
        .remedy(format!("put it there: keyctl padd user {name} @u < FILE; the agent must share that keyring"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_users_ring_is_read_and_one_that_is_not_there_is_told() {
        let missing = fetch("tuf-agent-test-nothing", 64).unwrap_err();
        assert_eq!(missing.reason, Reason::SecretFile);
        assert!(missing.message.contains("tuf-agent-test-nothing"), "{missing}");
        let name = format!("tuf-agent-test-{}", std::process::id());
        let ring = KeyRing::from_special_id(KeyRingIdentifier::Process, true);
        let session = KeyRing::from_special_id(KeyRingIdentifier::Session, false);
        let Ok(key) = ring.and(session).and_then(|ring| ring.add_key(&name, b"12%34\n")) else {
            println!("SKIPPED: this machine lets nobody add keys to the kernel's keyrings");
            return;
        };
        let fetched = fetch(&name, 64);
        let long = fetch(&name, 3).map(|_| ());
        key.invalidate().unwrap();
        match fetched {
            Ok(fetched) => {
                assert_eq!(fetched.reveal_secret_bytes(), b"12%34");
                assert!(long.is_err(), "more than fits");
            }
            // Keys of a session that this process does not possess cannot be read.
            Err(refusal) => assert!(refusal.message.contains("cannot be read"), "{refusal}"),
        }
    }
}
