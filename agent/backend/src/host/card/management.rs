//! The management key: proving it to the card and the card to us, changing it, and where the PIN protects it (CONTRACT
//! section 6). It is no PIN: nothing of it is ever told as one.

use std::time::{Duration, Instant};

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use zeroize::{Zeroize as _, Zeroizing};

use super::apdu::{Data, Fault, Session, Status, nonsense};
use super::piv::{AUTHENTICATE, METADATA, SET_MANAGEMENT_KEY};
use super::tlv::{tlv, value_of};
use crate::host::line::Line;
use crate::host::protocol::{HostError, HostErrorKind};

/// What the card says of its management key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Management {
    pub(super) algorithm: Algorithm,
    /// It is the one of the factory, where the card tells.
    pub(super) factory: Option<bool>,
    /// It is taken only with a touch.
    pub(super) touch: bool,
}

/// How the card checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    TripleDes,
    Aes128,
    Aes192,
    Aes256,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::TripleDes, Self::Aes128, Self::Aes192, Self::Aes256];

    const fn number(self) -> u8 {
        match self {
            Self::TripleDes => 0x03,
            Self::Aes128 => 0x08,
            Self::Aes192 => 0x0a,
            Self::Aes256 => 0x0c,
        }
    }

    const fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    const fn block_len(self) -> usize {
        match self {
            Self::TripleDes => 8,
            _ => 16,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TripleDes => "3des",
            Self::Aes128 => "aes-128",
            Self::Aes192 => "aes-192",
            Self::Aes256 => "aes-256",
        }
    }

    fn encrypt(self, key: &[u8], block: &mut [u8]) -> Option<()> {
        match self {
            Self::TripleDes => encrypt::<des::TdesEde3>(key, block),
            Self::Aes128 => encrypt::<aes::Aes128>(key, block),
            Self::Aes192 => encrypt::<aes::Aes192>(key, block),
            Self::Aes256 => encrypt::<aes::Aes256>(key, block),
        }
    }

    fn decrypt(self, key: &[u8], block: &mut [u8]) -> Option<()> {
        match self {
            Self::TripleDes => decrypt::<des::TdesEde3>(key, block),
            Self::Aes128 => decrypt::<aes::Aes128>(key, block),
            Self::Aes192 => decrypt::<aes::Aes192>(key, block),
            Self::Aes256 => decrypt::<aes::Aes256>(key, block),
        }
    }
}

fn encrypt<C: KeyInit + BlockCipherEncrypt + BlockSizeUser>(key: &[u8], block: &mut [u8]) -> Option<()> {
    C::new_from_slice(key).ok()?.encrypt_block(<&mut Array<u8, C::BlockSize>>::try_from(block).ok()?);
    Some(())
}

fn decrypt<C: KeyInit + BlockCipherDecrypt + BlockSizeUser>(key: &[u8], block: &mut [u8]) -> Option<()> {
    C::new_from_slice(key).ok()?.decrypt_block(<&mut Array<u8, C::BlockSize>>::try_from(block).ok()?);
    Some(())
}

impl Session<'_> {
    /// What the card tells of it; a card older than firmware 5.3 has 3DES and tells nothing.
    pub(super) fn management(&self) -> Result<Management, Fault> {
        let (data, status) = self.command([METADATA, 0, MANAGEMENT], &[])?;
        let number = value_of(&[1], &data).filter(|_| status == Status::DONE);
        let known = Algorithm::ALL.into_iter().find(|algorithm| Some(&[algorithm.number()][..]) == number);
        let factory = value_of(&[5], &data).map(|is| is == [1]);
        let touch = matches!(value_of(&[2], &data), Some([_, policy]) if *policy > NO_TOUCH);
        Ok(Management { algorithm: known.unwrap_or(Algorithm::TripleDes), factory, touch })
    }

    /// Proves `given` to the card, or the key that the PIN protects, which has to be verified, where none is given. The
    /// card is to prove that it knows it, too. That it may wait for a touch is said before.
    pub(super) fn authenticate(&self, given: &[u8], line: &Line<'_>) -> Result<Proven, Fault> {
        let management = self.management()?;
        let taken = |key: &[u8]| Proven { management, key: Zeroizing::new(key.to_vec()) };
        if !given.is_empty() {
            self.prove(management, given, line)?;
            return Ok(taken(given));
        }
        let Kept { now, next } = self.kept()?;
        let (Some(first), then) = (match now {
            Some(now) => (Some(now), next),
            None => (next, None),
        }) else {
            return Err(wrong("the management key is needed").into());
        };
        let proven = match self.prove(management, &first, line) {
            Ok(()) => taken(&first),
            Err(refused) => {
                // A change of it was cut off, and the card may have the new one already.
                let Some(next) = then.as_ref().filter(|_| is_wrong(&refused)) else { return Err(refused) };
                self.prove(management, next, line)?;
                taken(next)
            }
        };
        if then.is_some() {
            self.keep(&proven.key, None)?;
        }
        Ok(proven)
    }

    fn prove(&self, management: Management, key: &[u8], line: &Line<'_>) -> Result<(), Fault> {
        let algorithm = management.algorithm;
        if key.len() != algorithm.key_len() {
            let (name, len) = (algorithm.name(), algorithm.key_len());
            let why = format!(
                "the management key that was given has {} bytes; the card's is one of {name}, with {len}",
                key.len()
            );
            return Err(wrong(why).into());
        }
        let doing = "checking the management key";
        let refused = || wrong("the card did not take the management key that was given");
        let command = [AUTHENTICATE, algorithm.number(), MANAGEMENT];
        let answer = self.done(command, &tlv(&[0x7c], &tlv(&[0x80], &[])), doing)?;
        let witness = value_of(&[0x7c], &answer).and_then(|inner| value_of(&[0x80], inner));
        let mut witness = Zeroizing::new(witness.unwrap_or_default().to_vec());
        algorithm.decrypt(key, &mut witness).ok_or_else(|| nonsense(doing))?;
        let mut challenge = vec![0; algorithm.block_len()];
        random(&mut challenge)?;
        let proof = tlv(&[0x7c], &[tlv(&[0x80], &witness), tlv(&[0x81], &challenge)].concat());
        if management.touch {
            line.asked();
        }
        let asked = Instant::now();
        let (answer, status) = self.command(command, &proof)?;
        match status {
            Status::DONE => {}
            // A wrong key is refused at once.
            Status::NOT_ALLOWED if management.touch && asked.elapsed() >= AT_ONCE => {
                return Err(HostError::new(HostErrorKind::ManagementTouch, "nobody touched it").into());
            }
            Status::NOT_ALLOWED | Status(0x6a80) => return Err(refused().into()),
            status => return Err(status.refused(doing)),
        }
        algorithm.encrypt(key, &mut challenge).ok_or_else(|| nonsense(doing))?;
        let proven = value_of(&[0x7c], &answer).and_then(|inner| value_of(&[0x82], inner));
        if proven == Some(&challenge) {
            return Ok(());
        }
        Err(wrong("the card could not prove that it knows its own management key: do not use it").into())
    }

    /// What lies on the card where the PIN opens it.
    fn kept(&self) -> Result<Kept, Fault> {
        if !self.management_key_is_protected()? {
            return Ok(Kept { now: None, next: None });
        }
        let object = self.object(PRINTED)?.unwrap_or_default();
        let of = |tag: u8| {
            let key = value_of(&[0x88], &object).and_then(|inner| value_of(&[tag], inner));
            key.map(|key| Zeroizing::new(key.to_vec()))
        };
        Ok(Kept { now: of(NOW), next: of(NEXT) })
    }

    pub(super) fn management_key_is_protected(&self) -> Result<bool, Fault> {
        let admin = self.object(ADMIN)?.unwrap_or_default();
        let flags = value_of(&[0x80], &admin).and_then(|inner| value_of(&[0x81], inner));
        Ok(flags.and_then(<[u8]>::first).is_some_and(|flags| flags & PROTECTED != 0))
    }

    /// A new management key, once the old one was proven; an empty one stands for one at random. Protected, it is kept on
    /// the card, where the PIN opens it: beside the old one until it holds, so that wherever this is cut off the card's key
    /// is one of the two.
    pub(super) fn change_management_key(
        &self,
        proven: &Proven,
        new: &[u8],
        protect: bool,
        version: [u8; 3],
    ) -> Result<(), Fault> {
        // AES from firmware 5.4 on, in whose place 3DES stays where the key is as long.
        let aes = version >= [5, 4, 2];
        let usual = if aes { Algorithm::Aes192 } else { Algorithm::TripleDes };
        let by_len =
            |len| Algorithm::ALL.into_iter().skip(usize::from(aes)).find(|known| known.key_len() == len);
        let old = proven.management;
        let algorithm = match new.len() {
            0 if old.algorithm != Algorithm::TripleDes => old.algorithm,
            0 => usual,
            len => by_len(len).filter(|known| aes || *known == Algorithm::TripleDes).ok_or_else(|| {
                wrong(format!("a management key of {len} bytes is none that the card takes"))
            })?,
        };
        let mut key = Zeroizing::new(new.to_vec());
        if key.is_empty() {
            key.resize(algorithm.key_len(), 0);
            random(&mut key)?;
        }
        if protect {
            self.keep(&proven.key, Some(&key))?;
            self.set_flags(|flags| flags | PROTECTED)?;
        }
        let mut data = Zeroizing::new(vec![algorithm.number(), MANAGEMENT]);
        data.push(u8::try_from(key.len()).unwrap_or_default());
        data.reserve_exact(key.len());
        data.extend_from_slice(&key);
        self.done([SET_MANAGEMENT_KEY, 0xff, 0xff], &data, "changing the management key")?;
        if protect {
            self.keep(&key, None)
        } else if self.management_key_is_protected()? {
            self.unprotect()
        } else {
            Ok(())
        }
    }

    /// Writes, where the PIN opens it, the key that the card has, and the one that is about to take its place.
    fn keep(&self, now: &[u8], next: Option<&[u8]>) -> Result<(), Fault> {
        let mut keys = Zeroizing::new(Vec::with_capacity(MOST_KEPT));
        keys.extend_from_slice(&Zeroizing::new(tlv(&[NOW], now)));
        if let Some(next) = next {
            keys.extend_from_slice(&Zeroizing::new(tlv(&[NEXT], next)));
        }
        self.put_object(PRINTED, &Zeroizing::new(tlv(&[0x88], &keys)))
    }

    fn unprotect(&self) -> Result<(), Fault> {
        self.put_object(PRINTED, &[])?;
        self.set_flags(|flags| flags & !PROTECTED)
    }

    /// Changes the flags and keeps what else other tools wrote there.
    fn set_flags(&self, change: impl Fn(u8) -> u8) -> Result<(), Fault> {
        let admin = self.object(ADMIN)?.unwrap_or_default();
        let inner = value_of(&[0x80], &admin).unwrap_or_default();
        let flags = value_of(&[0x81], inner).and_then(<[u8]>::first).copied().unwrap_or_default();
        let mut new = tlv(&[0x81], &[change(flags)]);
        for tag in [0x82, 0x83] {
            if let Some(value) = value_of(&[tag], inner) {
                new.extend(tlv(&[tag], value));
            }
        }
        self.put_object(ADMIN, &tlv(&[0x80], &new))
    }
}

/// A management key that the card took.
pub(super) struct Proven {
    management: Management,
    key: Data,
}

/// Management keys that lie on the card where the PIN opens them.
struct Kept {
    /// The one that it has; where a change was cut off, maybe the one that it had.
    now: Option<Data>,
    /// The one of a change that was cut off.
    next: Option<Data>,
}

/// Whether the card refused the key, and nothing else was amiss.
fn is_wrong(fault: &Fault) -> bool {
    matches!(fault, Fault::Host(error) if error.kind == HostErrorKind::ManagementKey)
}

fn wrong(why: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::ManagementKey, why)
}

fn random(bytes: &mut [u8]) -> Result<(), HostError> {
    getrandom::fill(bytes).map_err(|error| {
        bytes.zeroize();
        HostError::new(HostErrorKind::Device, format!("the system gives no random numbers: {error}"))
    })
}

const AT_ONCE: Duration = Duration::from_secs(1);
/// The touch policy of what wants none.
const NO_TOUCH: u8 = 1;
const MANAGEMENT: u8 = 0x9b;
/// Where Yubico's tools keep what they know of a card, and a management key that the PIN protects.
const ADMIN: [u8; 3] = [0x5f, 0xff, 0x00];
const PRINTED: [u8; 3] = [0x5f, 0xc1, 0x09];
const PROTECTED: u8 = 0x02;
/// In it, the key that Yubico's tools take, too, and beside it one that is about to take its place.
const NOW: u8 = 0x89;
const NEXT: u8 = 0x8b;
/// Two keys of 32 bytes and their tags, so that none is left where a growing buffer was.
const MOST_KEPT: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_opens_what_it_has_sealed_with_a_key_of_its_length_alone() {
        for algorithm in Algorithm::ALL {
            let key = vec![3; algorithm.key_len()];
            let mut block = vec![9; algorithm.block_len()];
            algorithm.encrypt(&key, &mut block).unwrap();
            assert_ne!(block, vec![9; algorithm.block_len()]);
            algorithm.decrypt(&key, &mut block).unwrap();
            assert_eq!(block, vec![9; algorithm.block_len()]);
            assert!(algorithm.encrypt(&[3; 5], &mut block).is_none());
            assert!(algorithm.decrypt(&key, &mut [0; 3]).is_none());
        }
    }
}
