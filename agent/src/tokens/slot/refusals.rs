//! Why a token refuses, and what helps, in sentences that name it.

use backend::{BackendError, TokenState};
use policy::Reason;

use super::source::SourceTrouble;
use super::{Slot, lock};
use crate::refusal::Refusal;

/// The detail of a refusal after which nobody knows whether the token counted an attempt.
pub(super) const SPENT: &str = "attempt_unknown";

/// The detail of a refusal to present what the source holds, which the card was not asked with.
pub(super) const HELD_BACK: &str = "not_presented";

/// The detail of a refusal by a token whose login was gone: surely nothing was done.
pub(super) const LOGIN_LOST: &str = "login_lost";

impl Slot {
    /// Why it cannot work as it is configured, as far as that was seen.
    pub(in crate::tokens) fn misconfigured(&self) -> Option<Refusal> {
        let error = self.pkcs11.as_ref()?.misconfigured()?;
        let mut refusal = self.refusal(&error);
        if refusal.reason == Reason::TokenUntrusted {
            refusal.remedy.push_str("; another module is named with its own sha256 in the token's entry");
        }
        Some(refusal)
    }

    /// What is wrong with it, where it does not work.
    pub(in crate::tokens) fn failure(&self) -> Option<String> {
        let info = self.backend.info();
        info.problem.filter(|_| info.state == TokenState::Failed)
    }

    /// Why it does not work, where it does not.
    pub(crate) fn trouble(&self) -> Option<Refusal> {
        matches!(self.state(), TokenState::Failed | TokenState::Absent).then(|| self.unusable())
    }

    /// Whether its module is not to be loaded before a person has said so.
    pub(super) fn is_untrusted(&self) -> bool {
        let trouble = self.pkcs11.as_ref().and_then(|token| token.misconfigured());
        matches!(trouble, Some(BackendError::Untrusted { .. }))
    }

    /// Why it cannot be used, from its state.
    pub(in crate::tokens) fn unusable(&self) -> Refusal {
        // Whoever asks what is told the same: it is a person who decides of a module.
        if let Some(error @ BackendError::Untrusted { .. }) =
            self.pkcs11.as_ref().and_then(|token| token.misconfigured())
        {
            return self.refusal(&error);
        }
        if let Some(stranger) = self.stranger() {
            return stranger;
        }
        let info = self.backend.info();
        if info.state == TokenState::Failed
            && let Some(error) = self.device_trouble()
        {
            return self.refusal(&error);
        }
        let name = self.name();
        let problem = info.problem.map(|p| format!(": {p}")).unwrap_or_default();
        let refusal = match info.state {
            TokenState::Absent => {
                Refusal::new(Reason::TokenAbsent, format!("token {name} is not there{problem}")).remedy(
                    match self.is_card() {
                        true => "insert it; the agent will see it",
                        false => "insert it, or bring its folder or service back; the agent will see it",
                    },
                )
            }
            TokenState::Failed if info.in_use => {
                Refusal::new(Reason::TokenBusy, format!("token {name} cannot be used now{problem}"))
                    .remedy("repeat the command when the other program is done with it, or end that; the agent goes on by itself then")
            }
            TokenState::Failed => {
                let remedy = if self.may_unlock_itself().is_some() {
                    "look at tufctl token list; it is tried again by itself, and unlocked when it works"
                        .to_owned()
                } else {
                    format!("look at tufctl token list, then try: tufctl token unlock {name}")
                };
                Refusal::new(Reason::TokenFailed, format!("token {name} does not work{problem}"))
                    .remedy(remedy)
            }
            TokenState::Blocked => {
                let blocked = if info.puk_blocked { BackendError::BothBlocked } else { BackendError::Blocked };
                match info.puk_blocked {
                    true => self.refusal(&blocked),
                    false => {
                        let message = format!("token {name} is blocked after wrong PINs{problem}");
                        Refusal::new(Reason::PinBlocked, message).remedy(self.refusal(&blocked).remedy)
                    }
                }
            }
            TokenState::Locked | TokenState::Unlocked => match self.source_trouble() {
                Some(SourceTrouble { why, remedy, .. }) => {
                    Refusal::new(Reason::TokenLocked, format!("token {name} is locked: {why}")).remedy(remedy)
                }
                None => {
                    let locked =
                        Refusal::new(Reason::TokenLocked, format!("token {name} is locked{problem}"));
                    match info.pin_tries_left {
                        Some(1) if self.is_card() => {
                            let last = BackendError::LastTry { tries_left: Some(1) };
                            locked.remedy(self.refusal(&last).remedy).detail("tries_left", 1)
                        }
                        _ if self.may_unlock_itself().is_some() => {
                            let remedy = self.remedy_unattended(&BackendError::LoginLost);
                            locked.remedy(remedy.replace("NAME", name))
                        }
                        _ => locked.remedy(format!("unlock it: tufctl token unlock {name}")),
                    }
                }
            },
        };
        refusal.detail("token", name)
    }

    /// What is wrong with its source. By a function of its own: whoever tells it looks at the lease again, which a guard that
    /// lives as long as a `match` would keep shut for ever.
    fn source_trouble(&self) -> Option<SourceTrouble> {
        lock(&self.lease).source.clone()
    }

    /// What is wrong with the devices of its module, which by itself may be all right: that is for a person to put right.
    fn device_trouble(&self) -> Option<BackendError> {
        self.pkcs11.as_ref().filter(|token| !token.is_card())?.device_trouble()
    }

    /// A backend's error, with the token's name in place of "the token" and NAME.
    pub(in crate::tokens) fn refusal(&self, error: &BackendError) -> Refusal {
        let unattended = self.may_unlock_itself().is_some();
        // Nobody has locked it: its helper has just ended, say, and the next one has no login yet.
        let error = match error {
            BackendError::Locked if unattended => &BackendError::LoginLost,
            error => error,
        };
        let reason = error.reason().parse::<Reason>().unwrap_or(Reason::Internal);
        let name = self.name();
        let message = format!("token {name}: {error}");
        let remedy = if unattended { self.remedy_unattended(error) } else { error.remedy() };
        let mut refusal =
            Refusal::new(reason, message).remedy(remedy.replace("NAME", name)).detail("token", name);
        if let BackendError::SecretIncorrect { tries_left: Some(left), .. }
        | BackendError::SecretChanged { tries_left: Some(left) }
        | BackendError::LastTry { tries_left: Some(left) } = error
        {
            refusal = refusal.detail("tries_left", *left);
        }
        if let (BackendError::SecretIncorrect { .. }, Some(open)) = (error, self.says_it_is_open()) {
            refusal.remedy.push_str(&format!("; {open}"));
        }
        if let BackendError::AttemptUnknown { .. } = error {
            refusal = refusal.detail(SPENT, true);
        }
        if let BackendError::LoginLost = error {
            refusal = refusal.detail(LOGIN_LOST, true);
        }
        refusal
    }

    /// Of a token whose PIN the agent has: that it is unlocked by itself is said only where it is so.
    fn remedy_unattended(&self, error: &BackendError) -> String {
        let (by_itself, by_person) = (error.remedy_unattended(), error.remedy());
        match by_itself == by_person || self.surely_unlocks_itself() {
            true => by_itself,
            false => {
                format!("see whether it is unlocked again (tufctl token list); if it is not, {by_person}")
            }
        }
    }

    /// A message about this token without its name, for where the name is said anyway.
    pub(super) fn without_name<'m>(&self, message: &'m str) -> &'m str {
        let rest = message.strip_prefix("token ").and_then(|rest| rest.strip_prefix(self.name()));
        let rest = rest.map(|rest| rest.strip_prefix(" is locked").unwrap_or(rest));
        rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
    }

    pub(super) fn name_it(&self, refusal: Refusal) -> Refusal {
        let name = self.name();
        let mut named = refusal.detail("token", name);
        named.message = format!("token {name}: {}", named.message);
        named.remedy = named.remedy.replace("NAME", name);
        named
    }
}
