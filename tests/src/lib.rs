//! The harness of the scenarios: real binaries, private folders, stock TUF clients.
//!
//! * [`Home`] is one person on one machine: private XDG folders, secrets, a working folder.
//! * [`Agent`] is a running `tuf-agent` of a home; it ends with the value that holds it, and then its log
//!   is searched for every secret that the test made.
//! * [`Outcome`] is what one run of `tufctl` left: exit code, standard output, standard error.
//! * [`cards::CardRoom`] is a pcscd with virtual YubiKeys.
//! * [`web::WebServer`] serves a repository that a test makes, and [`clock`] gives one process another time.
//! * [`memory`] looks for secrets in the memory of a process.
//! * [`oracle`] asks python-tuf and tuf-js about a published folder.
//!
//! A harness says what is wrong by panicking; that is what makes a test fail.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says SKIPPED on standard output"
)]

mod agent;
mod binaries;
pub mod cards;
pub mod clock;
mod home;
pub mod memory;
pub mod oracle;
mod outcome;
pub mod published;
pub mod web;

pub use agent::{Agent, signal};
pub use binaries::binary;
pub use home::{Home, PASSPHRASE, PIN};
pub use outcome::{Outcome, run as run_to_end};
pub use published::Published;

use softhsm::Skipped;

/// What was asked for, or `None` after a loud line; with `TUFAGENT_REQUIRE_ALL` set, missing is failing.
#[track_caller]
pub fn need<T>(thing: Result<T, Skipped>) -> Option<T> {
    match thing {
        Ok(thing) => Some(thing),
        Err(skipped) if std::env::var_os("TUFAGENT_REQUIRE_ALL").is_some() => {
            panic!("required, and missing: {skipped}")
        }
        Err(skipped) => {
            println!("SKIPPED: {skipped}");
            None
        }
    }
}

/// Whether the tests run as root, as in containers.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}
