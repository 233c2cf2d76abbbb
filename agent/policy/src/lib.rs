//! Rules and facts in, a decision with its reasons out.
//!
//! Duty: say whether this caller may have this signature, who must agree first, or why not. Trust: facts are
//! values that `agent` gathered from its own state and from metadata that it parsed itself, never the caller's
//! word. Invariants: pure (no clock, no file, no state), default deny, and the first rule that is broken decides.
#![forbid(unsafe_code)]

mod decision;
mod door;
mod reason;
mod signing;

pub use decision::{Concern, Decision, Detail, Refusal};
pub use door::{Caller, DoorRules, admit};
pub use reason::{Reason, UnknownReason};
pub use signing::{KeyFact, NameFact, RoleSort, SigningFacts, SigningRules, ThresholdStep, judge};
