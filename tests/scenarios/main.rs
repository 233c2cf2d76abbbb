//! Scenarios: stories told with the real binaries, judged by stock clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod end_to_end;
mod judges;
