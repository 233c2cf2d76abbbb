//! Memory for secrets, and a process that keeps them.
//!
//! Duty: [`SecretBytes`] rests in pages of its own: locked against swapping, left out of core dumps,
//! wiped in forked children, between guard pages, zeroized before they are given back.
//! [`on_locked_stack`] runs what computes with one on a stack of such pages.
//! [`harden_process`] keeps other processes of the same user from reading them.
//! Trust: the kernel. Invariants: a secret is not copied, printed or serialized by accident; it is
//! read through one method with a long name. Where locking is refused the secret still works and
//! [`SecretBytes::residence`] and [`unlocked_secrets`] say so: the caller warns.
#![deny(unsafe_code)]

#[allow(unsafe_code)] // Naming descriptors by their numbers.
mod fds;
mod harden;
#[allow(unsafe_code)] // Mapping pages. Each block says why it is sound.
mod pages;
mod secret;
#[allow(unsafe_code)] // A thread on pages of our own.
mod stack;

pub use harden::{HardenError, harden_process};
pub use pages::{Residence, unlocked_secrets};
pub use secret::{SecretBytes, fill_random};
pub use stack::{StackError, on_locked_stack};
