//! Encrypted PKCS#8: PBES2 (RFC 8018) with PBKDF2 or scrypt (RFC 7914).

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Reader as _, SliceReader};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::spki::AlgorithmIdentifierRef;
use secmem::SecretBytes;

use super::ImportError;
use crate::software::SoftwareKey;

/// Decrypts and reads an `EncryptedPrivateKeyInfo`.
pub(super) fn decrypt(der: &[u8], passphrase: Option<&SecretBytes>) -> Result<SoftwareKey, ImportError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| malformed(der))?;
    check_cost(&info.encryption_algorithm)?;
    let passphrase = passphrase.ok_or(ImportError::PassphraseNeeded)?;
    let plain = info.decrypt(passphrase.reveal_secret_bytes()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
            ImportError::PassphraseWrong
        }
        other => ImportError::UnsupportedEncryption { what: other.to_string() },
    })?;
    // One wrong passphrase in 256 leaves a padding that looks right over bytes that are no key.
    SoftwareKey::from_pkcs8(plain.as_bytes()).map_err(|error| match error.into() {
        ImportError::Damaged => ImportError::PassphraseWrong,
        other => other,
    })
}

/// A hostile file must not take the machine: at most 1 GiB for scrypt, counted over all its lanes, and 20 million rounds
/// of PBKDF2. Parameters that RFC 7914 and RFC 8018 do not have are refused here too: not every library survives them.
fn check_cost(scheme: &EncryptionScheme) -> Result<(), ImportError> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err(unsupported("it uses PBES1, which is too weak to be read"));
    };
    let (sensible, affordable) = match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => (pbkdf2.iteration_count > 0, pbkdf2.iteration_count <= PBKDF2_ROUNDS_MAX),
        Kdf::Scrypt(scrypt) => {
            let (blocks, lanes) = (u64::from(scrypt.block_size), u64::from(scrypt.parallelization));
            let memory = (blocks.checked_mul(128))
                .and_then(|block| block.checked_mul(scrypt.cost_parameter))
                .and_then(|lane| lane.checked_mul(lanes));
            let cost = scrypt.cost_parameter;
            let sensible = cost > 1 && cost.is_power_of_two() && blocks > 0 && lanes > 0;
            (sensible, memory.is_some_and(|bytes| bytes <= SCRYPT_MEMORY_MAX))
        }
        _ => return Err(unsupported("its key derivation is unknown")),
    };
    match (sensible, affordable) {
        (false, _) => Err(unsupported("the parameters of its key derivation make no sense")),
        (true, false) => Err(unsupported("its key derivation asks for too much memory or time")),
        (true, true) => Ok(()),
    }
}

/// Why the outer structure was not read: another scheme than PBES2 with AES, or no such structure.
fn malformed(der: &[u8]) -> ImportError {
    let algorithm = SliceReader::new(der).and_then(|mut reader| {
        reader.sequence(|inner| {
            let algorithm: AlgorithmIdentifierRef<'_> = inner.decode()?;
            let _cipher_text: &OctetStringRef = inner.decode()?;
            Ok::<_, pkcs8::der::Error>(algorithm.oid)
        })
    });
    match algorithm {
        Ok(oid) => unsupported(&format!("the algorithm {oid} or one of its parameters is unknown")),
        Err(_) => ImportError::Damaged,
    }
}

fn unsupported(what: &str) -> ImportError {
    ImportError::UnsupportedEncryption { what: what.to_owned() }
}

const PBKDF2_ROUNDS_MAX: u32 = 20_000_000;
const SCRYPT_MEMORY_MAX: u64 = 1 << 30;
