//! The arithmetic of custody: its very source, so that it is measured without a door in that crate's interface.
#![allow(dead_code, reason = "what is not measured alone is part of what is")]

#[path = "../../../agent/custody/src/slip39/checksum.rs"]
pub(crate) mod checksum;
#[path = "../../../agent/custody/src/slip39/field.rs"]
pub(crate) mod field;
#[path = "../../../agent/custody/src/slip39/text.rs"]
pub(crate) mod text;
#[path = "../../../agent/custody/src/slip39/words.rs"]
pub(crate) mod words;

/// As in custody.
pub(crate) const SECRET_MAX: usize = 32;
