//! The management key, and proving by it on both sides.

#[cfg(test)]
use aes::cipher::BlockCipherDecrypt;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use serde::{Deserialize, Serialize};

/// The key of slot 9B.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagementKey {
    pub(crate) algorithm: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) touch: bool,
}

const TDES: u8 = 0x03;
const AES128: u8 = 0x08;
const AES192: u8 = 0x0a;
const AES256: u8 = 0x0c;

impl ManagementKey {
    /// The one that everybody knows: triple DES, and from 5.7 on AES-192.
    pub(crate) fn factory(firmware: [u8; 3]) -> Self {
        let key = [1, 2, 3, 4, 5, 6, 7, 8].repeat(3);
        Self { algorithm: if firmware >= [5, 7, 0] { AES192 } else { TDES }, key, touch: false }
    }

    /// A key of a kind; `None` for another length, or a kind that the firmware has not.
    pub(crate) fn new(algorithm: u8, key: &[u8], touch: bool, firmware: [u8; 3]) -> Option<Self> {
        let len = match algorithm {
            TDES => 24,
            AES128 if firmware >= [5, 4, 2] => 16,
            AES192 if firmware >= [5, 4, 2] => 24,
            AES256 if firmware >= [5, 4, 2] => 32,
            _ => return None,
        };
        (key.len() == len).then(|| Self { algorithm, key: key.to_vec(), touch })
    }

    pub(crate) fn is_factory(&self, firmware: [u8; 3]) -> bool {
        let factory = Self::factory(firmware);
        (self.algorithm, &self.key) == (factory.algorithm, &factory.key)
    }

    /// How long witness and challenge are.
    pub(crate) fn block_len(&self) -> usize {
        if self.algorithm == TDES { 8 } else { 16 }
    }

    /// One block; `None` when it is none.
    pub(crate) fn encrypt(&self, block: &[u8]) -> Option<Vec<u8>> {
        match self.algorithm {
            TDES => encrypt::<des::TdesEde3>(&self.key, block),
            AES128 => encrypt::<aes::Aes128>(&self.key, block),
            AES192 => encrypt::<aes::Aes192>(&self.key, block),
            _ => encrypt::<aes::Aes256>(&self.key, block),
        }
    }

    /// The same back, for whoever proves to the card; tests do.
    #[cfg(test)]
    pub(crate) fn decrypt(&self, block: &[u8]) -> Option<Vec<u8>> {
        match self.algorithm {
            TDES => decrypt::<des::TdesEde3>(&self.key, block),
            AES128 => decrypt::<aes::Aes128>(&self.key, block),
            AES192 => decrypt::<aes::Aes192>(&self.key, block),
            _ => decrypt::<aes::Aes256>(&self.key, block),
        }
    }
}

fn encrypt<C: KeyInit + BlockCipherEncrypt>(key: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    let mut block = Block::<C>::try_from(block).ok()?;
    C::new_from_slice(key).ok()?.encrypt_block(&mut block);
    Some(block.to_vec())
}

#[cfg(test)]
fn decrypt<C: KeyInit + BlockCipherDecrypt>(key: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    let mut block = Block::<C>::try_from(block).ok()?;
    C::new_from_slice(key).ok()?.decrypt_block(&mut block);
    Some(block.to_vec())
}
