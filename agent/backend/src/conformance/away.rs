//! What a backend keeps whose device can be pulled out.

use tuf::preimage::Signable;

use super::{Subject, statement};
use crate::{BackendError, TokenState};

impl Subject<'_> {
    /// After [`Self::run`], for what can be pulled out: `pull` ends when the backend has seen it gone, `put_back` when it has
    /// seen it again.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn what_is_pulled_out_comes_back(&self, pull: impl FnOnce(), put_back: impl FnOnce()) {
        let (before, key, what) = (self.backend.keys().unwrap(), self.first_key(), statement(6));
        let sign = || self.backend.sign(&key, self.scheme_of(&key), Signable::Statement(&what));
        pull();
        assert_eq!(self.backend.state(), TokenState::Absent, "once it was pulled out");
        for outcome in [sign().map(drop), self.backend.unlock(&self.secret)] {
            assert!(matches!(outcome, Err(BackendError::Absent { .. })), "while it is out: {outcome:?}");
        }
        put_back();
        assert_eq!(
            self.backend.state(),
            TokenState::Locked,
            "what it accepted before it was pulled is forgotten"
        );
        assert!(matches!(sign(), Err(BackendError::Locked)), "before it is unlocked again");
        assert_eq!(self.backend.keys().unwrap(), before, "its keys are on it as before");
        self.unlock();
        for key in &before {
            self.sign_and_judge(&key.public, 6).unwrap();
        }
    }
}
