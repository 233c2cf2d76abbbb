//! What a card keeps only as long as it has power and its applet is selected.

use std::time::{Duration, Instant};

use crate::apdu::{NOT_SATISFIED, Stop};

/// A cached touch lasts so long.
const TOUCH_LASTS: Duration = Duration::from_secs(15);

pub(crate) const PIN_NEVER: u8 = 1;
pub(crate) const PIN_ALWAYS: u8 = 3;
pub(crate) const TOUCH_NEVER: u8 = 1;
pub(crate) const TOUCH_CACHED: u8 = 3;

/// Which application commands go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Applet {
    #[default]
    None,
    Piv,
    Management,
    Otp,
}

/// All that a reset takes away.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) applet: Applet,
    pub(crate) pin_verified: bool,
    /// No private key was used since.
    pub(crate) pin_fresh: bool,
    pub(crate) authenticated: bool,
    /// What the other side has to send back to prove that it knows the management key.
    pub(crate) witness: Option<Vec<u8>>,
    pub(crate) challenge: Option<Vec<u8>>,
    /// Somebody touched for the command that is coming again.
    pub(crate) touched: bool,
    touched_at: Option<Instant>,
}

impl Session {
    /// Another applet is selected: who proved something has to do so again.
    pub(crate) fn select(&mut self, applet: Applet) {
        *self = Self { applet, touched_at: self.touched_at, ..Self::default() };
    }

    pub(crate) fn verified(&mut self, is_right: bool) {
        self.pin_verified = is_right;
        self.pin_fresh = is_right;
    }

    /// Whether the PIN allows a key with this policy.
    pub(crate) fn check_pin(&self, policy: u8) -> Result<(), Stop> {
        let allowed = match policy {
            PIN_NEVER => true,
            PIN_ALWAYS => self.pin_fresh,
            _ => self.pin_verified,
        };
        if allowed { Ok(()) } else { Err(NOT_SATISFIED.into()) }
    }

    /// Whether a touch allows a key with this policy.
    pub(crate) fn check_touch(&self, policy: u8) -> Result<(), Stop> {
        let lasts = policy == TOUCH_CACHED && self.touched_at.is_some_and(|at| at.elapsed() < TOUCH_LASTS);
        if policy <= TOUCH_NEVER || self.touched || lasts { Ok(()) } else { Err(Stop::Touch) }
    }

    /// Somebody touched.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
        self.touched_at = Some(Instant::now());
    }
}
