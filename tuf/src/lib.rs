//! TUF (specification 1.0.34) as values: metadata, canonical JSON, keys, thresholds, the client workflow, edits and
//! differences; lint.
//!
//! *Duty*: parse metadata without losing a byte of it, say exactly what a signature covers, and decide what may be
//! trusted. *Trust*: every byte that comes in is hostile. *Invariants*: nothing here reads files, clocks or secrets;
//! numbers are checked integers; only this crate can build a [`preimage::Preimage`], so nobody can ask a token to sign
//! bytes that were not read and understood.
#![forbid(unsafe_code)]

pub mod canonical;
pub mod diff;
pub mod digest;
pub mod edit;
pub mod forms;
pub mod json;
pub mod key;
pub mod lint;
pub mod metadata;
pub mod pieces;
pub mod preimage;
pub mod private;
pub mod role;
pub mod target;
pub mod time;
pub mod trust;
pub mod verify;
pub mod word;

/// The largest integer that metadata may hold, 2^53 - 1: beyond it JavaScript clients read another number.
pub const MAX_INTEGER: u64 = 9_007_199_254_740_991;
