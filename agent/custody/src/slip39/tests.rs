mod many;
mod oracle;

use super::sharing::{Fault, recovered};
use super::*;
use crate::share::{Share, ShareError};
use secmem::SecretBytes;

/// Why mnemonics give no secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Share(ShareError),
    Set(Fault),
}

/// What another tool would say: the secret of these mnemonics.
pub(super) fn secret_of(mnemonics: &[String], passphrase: &str) -> Result<Vec<u8>, Refused> {
    let shares: Result<Vec<_>, _> = mnemonics.iter().map(|text| Share::parse(text.as_bytes())).collect();
    let shares = shares.map_err(Refused::Share)?;
    let parts: Vec<_> = shares.iter().map(Share::part).collect();
    let encrypted = recovered(&parts).map_err(Refused::Set)?;
    let passphrase = SecretBytes::copy_from(passphrase.as_bytes());
    Ok(cipher::decrypt(&encrypted, parts[0].header.common, &passphrase).get().to_vec())
}

#[test]
fn the_official_vectors_give_their_secrets_or_are_refused() {
    type Vector = (String, Vec<String>, String, String);
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../tests/vectors.json")).unwrap();
    assert_eq!(vectors.len(), 45);
    let mut good = 0;
    for (name, mnemonics, secret, _) in vectors {
        let found = secret_of(&mnemonics, "TREZOR");
        if secret.is_empty() {
            assert!(found.is_err(), "{name}");
        } else {
            assert_eq!(found.map(hex::encode), Ok(secret), "{name}");
            good += 1;
        }
        // Read whole, a share writes itself as it was.
        for text in &mnemonics {
            if let Ok(share) = Share::parse(text.as_bytes()) {
                assert_eq!(share.words().unwrap().reveal_secret_bytes(), text.as_bytes(), "{name}");
            }
        }
    }
    assert_eq!(good, 15);
}
