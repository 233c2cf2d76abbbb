//! Why a key of ours cannot sign now, and what to do about it.

use super::ours::{Ours, asks};
use crate::commands::token::unblocking;
use crate::error::{Failure, reason};

impl Ours {
    /// Why a key cannot sign now.
    pub(super) fn unusable(&self, token: &str, key: &str) -> Failure {
        if let Some(failure) = self.barred(key) {
            return failure.clone();
        }
        if let Some(failure) = self.refusal(token) {
            return failure.clone().detail("key", key);
        }
        let found = self.token(token);
        let state = found.map_or("absent", |token| token.state.as_str());
        let problem = found.and_then(|token| token.problem.clone());
        let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        let failure = match state {
            "locked" => Failure::new(
                reason::TOKEN_LOCKED,
                format!("token {token}, which holds {key}, is locked{problem}"),
            )
            .remedy(match self.is_at_last_try(token) {
                true => {
                    format!(
                        "make sure of the PIN, then at a terminal: tufctl token unlock {token} --last-try"
                    )
                }
                false if found.is_some_and(|token| token.unlocks_itself) => {
                    "it is unlocked again by itself: sign again".to_owned()
                }
                false => format!("tufctl token unlock {token}"),
            }),
            "blocked" => Failure::new(
                reason::PIN_BLOCKED,
                format!("token {token}, which holds {key}, is blocked{problem}"),
            )
            .remedy(found.map(unblocking).unwrap_or_default()),
            _ if found.is_some_and(|token| token.in_use) => Failure::new(
                reason::TOKEN_BUSY,
                format!("token {token}, which holds {key}, cannot be used now{problem}"),
            )
            .remedy("sign again when the other program is done with it"),
            // What helps is told with what is wrong.
            "failed" if found.is_some_and(|token| token.untrusted) => Failure::new(
                reason::TOKEN_UNTRUSTED,
                format!("token {token}, which holds {key}, does not work{problem}"),
            )
            .remedy(format!("if you changed its module, then: tufctl token trust {token}")),
            "failed" => Failure::new(
                reason::TOKEN_FAILED,
                format!("token {token}, which holds {key}, does not work{problem}"),
            )
            .remedy(match found.is_some_and(asks) {
                true => format!("tufctl token list tells more; then: tufctl token unlock {token}"),
                false => "tufctl token list tells more; the agent tries it again by itself".to_owned(),
            }),
            _ => Failure::new(
                reason::TOKEN_ABSENT,
                format!("token {token}, which holds {key}, is not there{problem}"),
            )
            .remedy(if self.is_card(token) {
                "insert it, then sign again"
            } else {
                "insert it, or bring its folder back"
            }),
        };
        failure.detail("token", token).detail("key", key).detail("state", state)
    }
}
