//! How a set's secret is encrypted before it is split: four Feistel rounds with PBKDF2, by passphrase.

use pbkdf2::pbkdf2_hmac;
use secmem::SecretBytes;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Common, SECRET_MAX, Value};

/// The encrypted secret.
pub(crate) fn encrypt(secret: &Value, common: Common, passphrase: &SecretBytes) -> Value {
    rounds(secret, common, passphrase, [0, 1, 2, 3])
}

/// The secret. Any passphrase gives one: whether it is the right one, only the public key tells.
pub(crate) fn decrypt(encrypted: &Value, common: Common, passphrase: &SecretBytes) -> Value {
    rounds(encrypted, common, passphrase, [3, 2, 1, 0])
}

/// Whether SLIP-0039 allows this passphrase: printable ASCII.
pub(crate) fn is_allowed(passphrase: &SecretBytes) -> bool {
    passphrase.reveal_secret_bytes().iter().fold(true, |fine, byte| fine & (32..=126).contains(byte))
}

fn rounds(text: &Value, common: Common, passphrase: &SecretBytes, order: [u8; 4]) -> Value {
    let half = text.len / 2;
    let (left, right) = text.get().split_at(half);
    let (mut left, mut right) = (Value::of(left), Value::of(right));
    for round in order {
        let pad = round_function(round, &right, common, passphrase);
        left.bytes.iter_mut().zip(pad.iter()).for_each(|(byte, pad)| *byte ^= pad);
        std::mem::swap(&mut left, &mut right);
    }
    let mut out = Value::zero(text.len);
    let joined = right.get().iter().chain(left.get());
    out.get_mut().iter_mut().zip(joined).for_each(|(to, from)| *to = *from);
    out
}

fn round_function(
    round: u8,
    half: &Value,
    common: Common,
    passphrase: &SecretBytes,
) -> Zeroizing<[u8; SECRET_MAX]> {
    let passphrase = passphrase.reveal_secret_bytes();
    let password = SecretBytes::with_len(passphrase.len() + 1, |buffer| {
        buffer.iter_mut().zip([&round].into_iter().chain(passphrase)).for_each(|(to, from)| *to = *from);
    });
    // Extendable sets are salted by nothing of their own, so that all sets of one secret share its encryption.
    let own = common.identifier.to_be_bytes();
    let prefix: &[&[u8]] = if common.extendable { &[] } else { &[b"shamir", &own] };
    let mut salt = Zeroizing::new([0; 8 + SECRET_MAX]);
    let parts = prefix.iter().copied().chain([half.get()]);
    salt.iter_mut().zip(parts.clone().flatten()).for_each(|(to, from)| *to = *from);
    let salt = salt.get(..parts.map(<[u8]>::len).sum()).unwrap_or_default();
    let mut pad = Zeroizing::new([0; SECRET_MAX]);
    let wanted = pad.get_mut(..half.len).unwrap_or_default();
    pbkdf2_hmac::<Sha256>(password.reveal_secret_bytes(), salt, ROUNDS << common.exponent, wanted);
    pad
}

/// A quarter of the 10,000 iterations that an exponent of 0 stands for. At the largest exponent, 15, it fits 32 bits.
const ROUNDS: u32 = 2500;
