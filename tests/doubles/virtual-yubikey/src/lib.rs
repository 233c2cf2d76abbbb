//! A virtual YubiKey: the PIV application of firmware 5.4 or 5.7, behind a reader that a real `pcscd` with Debian's
//! vpcd drives.
//!
//! A [`Card`] lives in the test's process, or in the program `virtual-yubikey` that takes its orders from a socket
//! (see [`control`]). What the card keeps is its [`State`], which can go into another reader. Its attestations come from a
//! [`Root`], whose certificate a test gives to whoever is to believe them.
//!
//! It is no mock of a library: it answers commands (ISO 7816-4, and NIST SP 800-73 with the maker's own instructions) as
//! the real one does, so that `ykman` and OpenSC work with it. What it does not have: key agreement, X25519, secure
//! messaging, biometrics, RSA of 1024 bits.
#![forbid(unsafe_code)]

mod apdu;
mod applets;
mod attest;
mod card;
pub mod control;
pub mod dial;
mod faults;
mod key;
mod link;
mod mgm;
mod piv;
mod random;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod tlv;

pub use attest::Root;
pub use card::{Card, Entry};
pub use faults::Fault;
pub use state::{Counters, State};
