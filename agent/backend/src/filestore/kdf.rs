//! From the passphrase to a key: Argon2id (RFC 9106), with a floor and a cap.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use secmem::SecretBytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

/// What one guess at the passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cost {
    /// Memory in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over the memory.
    pub(crate) passes: u32,
    /// Lanes.
    pub(crate) lanes: u32,
}

/// Why no key could be derived.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KdfError {
    /// Refused before any memory is taken.
    #[error(
        "it asks for {} KiB of memory, {} passes and {} lanes to unlock it, more than any store of this program",
        .0.memory_kib, .0.passes, .0.lanes
    )]
    TooCostly(Cost),
    #[error("its key derivation parameters make no sense")]
    Parameters,
    #[error("there is not enough memory to check the passphrase ({0} KiB)")]
    Memory(u32),
}

/// What new and changed passphrases are written with, and the least that may ever be written; what others made for less
/// is sealed anew at the next unlock:
/// 64 MiB, 3 passes, 1 lane (above the second recommendation of RFC 9106, section 4, for one lane).
pub(crate) const FLOOR: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// The most that is accepted when reading, so that a hostile file cannot take the machine's memory.
pub(crate) const CAP: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

impl Cost {
    /// Refuses what no store of this program asks for.
    pub(crate) fn check(self) -> Result<(), KdfError> {
        if self.memory_kib > CAP.memory_kib || self.passes > CAP.passes || self.lanes > CAP.lanes {
            return Err(KdfError::TooCostly(self));
        }
        self.params().map(drop)
    }

    /// Whether a guess costs less than with what is written here.
    pub(crate) fn is_below_floor(self) -> bool {
        let work = |cost: Self| u64::from(cost.memory_kib).saturating_mul(cost.passes.into());
        self.memory_kib < FLOOR.memory_kib || work(self) < work(FLOOR)
    }

    fn params(self) -> Result<Params, KdfError> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_LEN)).map_err(|_| KdfError::Parameters)
    }
}

/// Derives 32 bytes. Blocks for about a tenth of a second at [`FLOOR`].
pub(crate) fn derive(passphrase: &SecretBytes, salt: &[u8], cost: Cost) -> Result<SecretBytes, KdfError> {
    cost.check()?;
    let params = cost.params()?;
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(params.block_count()).map_err(|_| KdfError::Memory(cost.memory_kib))?;
    memory.resize(params.block_count(), Block::default());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let key = SecretBytes::try_with_len(KEY_LEN, |out| {
        argon
            .hash_password_into_with_memory(passphrase.reveal_secret_bytes(), salt, out, &mut memory)
            .map_err(|_| KdfError::Parameters)
    });
    // The first blocks follow from the passphrase alone.
    for block in &mut memory {
        block.zeroize();
    }
    key
}

const KEY_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_cost_is_refused_before_memory_is_taken() {
        let passphrase = SecretBytes::copy_from(b"x");
        for hostile in [
            Cost { memory_kib: u32::MAX, ..FLOOR },
            Cost { memory_kib: CAP.memory_kib + 1, ..FLOOR },
            Cost { passes: 17, ..FLOOR },
            Cost { lanes: 17, ..FLOOR },
        ] {
            assert_eq!(derive(&passphrase, &[0; 16], hostile).unwrap_err(), KdfError::TooCostly(hostile));
        }
        let senseless = Cost { memory_kib: 0, passes: 0, lanes: 0 };
        assert_eq!(derive(&passphrase, &[0; 16], senseless).unwrap_err(), KdfError::Parameters);
        assert_eq!(derive(&passphrase, &[], FLOOR).unwrap_err(), KdfError::Parameters);
    }

    #[test]
    fn the_same_passphrase_and_salt_give_the_same_key() {
        let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        let key = |p: &[u8], salt: u8| {
            derive(&SecretBytes::copy_from(p), &[salt; 16], cost).unwrap().reveal_secret_bytes().to_vec()
        };
        assert_eq!(key(b"a", 1), key(b"a", 1));
        assert_ne!(key(b"a", 1), key(b"b", 1));
        assert_ne!(key(b"a", 1), key(b"a", 2));
    }
}
