//! One YubiKey, inside the helper.

use super::Answer;
use super::protocol::{HostError, HostErrorKind, Request};

/// The card of one serial number.
pub(crate) struct CardHost {
    serial: u32,
    token: String,
}

impl CardHost {
    pub(crate) const fn new(serial: u32, token: String) -> Self {
        Self { serial, token }
    }

    pub(crate) fn answer(&mut self, _request: Request, _tail: &[u8]) -> Answer {
        let message = format!("token {}: no card with serial {}", self.token, self.serial);
        Err(HostError::new(HostErrorKind::Absent, message).remedy("insert it").tries_left(None))
    }

    pub(crate) fn close(&mut self) {}
}
