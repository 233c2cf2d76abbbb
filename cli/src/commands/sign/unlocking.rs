//! Locked tokens that a person unlocks: as few as the roles' thresholds need, and others where one is not to be had.

use std::collections::BTreeSet;

use tuf::key::KeyId;
use tuf::role::RoleName;
use tufagent_proto::v1;

use super::Session;
use super::ours::Candidate;
use crate::commands::token::{described, looked_at, unlock_for_use};
use crate::error::Failure;
use crate::prompt::Terminal;
use crate::render::visible;

/// Signatures that a threshold lacks beside those of keys that are ready.
pub(super) struct Need {
    count: usize,
    /// Tokens of keys that could give one, a token for each key.
    locked: Vec<String>,
}

impl Need {
    /// Those that are asked for first.
    pub(super) fn first(&self) -> impl Iterator<Item = &String> {
        self.locked.iter().take(self.count)
    }
}

impl Session<'_> {
    /// Asks for the secrets of those locked tokens without which a role does not reach its threshold. Where one is not
    /// given, or is wrong, others are asked for that will do without it; unless keys were named. Gives whether one was
    /// unlocked.
    pub(super) fn unlock_for(&mut self, roles: &[RoleName]) -> Result<bool, Failure> {
        if Terminal::open().is_none() {
            return Ok(false);
        }
        let mut any = false;
        self.choose_copies(roles)?;
        for role in roles {
            let mut asked = BTreeSet::new();
            // Asked anew each time: every answer tells who else is needed.
            while let Some(token) = self.next_locked(role, &asked)? {
                self.foresee(role, &token)?;
                let token = match self.look_once_more(&token) {
                    Ok(token) => token,
                    Err(failure) => {
                        self.pass_over(role, &token, failure)?;
                        asked.insert(token.name);
                        continue;
                    }
                };
                if !self.ours.locked(&token.name) {
                    any |= self.ours.ready(&token.name);
                    asked.insert(token.name);
                    continue;
                }
                self.context.screen.show(self.need_of(&token, roles)?);
                match unlock_for_use(self.agent, &token) {
                    Ok(unlocked) => {
                        self.ours.update(unlocked);
                        any = true;
                    }
                    Err(failure) => self.pass_over(role, &token, failure)?,
                }
                asked.insert(token.name);
            }
        }
        Ok(any)
    }

    /// A YubiKey may have been pulled out a moment ago, and another program may have spent tries: nobody is asked for the PIN
    /// of what is not there, and the prompt says what is left.
    ///
    /// # Errors
    /// `TOKEN_ABSENT`, `TOKEN_BUSY`.
    fn look_once_more(&mut self, token: &v1::Token) -> Result<v1::Token, Failure> {
        let now = looked_at(self.agent, token.clone())?;
        self.ours.update(now.clone());
        Ok(now)
    }

    /// What its secret is asked for: which key of it is to sign what (FAULTS C5).
    fn need_of(&self, token: &v1::Token, roles: &[RoleName]) -> Result<String, Failure> {
        let mut signs = Vec::new();
        for role in roles {
            let of_it = self.candidates(role)?.into_iter().filter(|key| key.token == token.name);
            for key in of_it {
                let (key, name) = (visible(&key.name), visible(role.as_str()));
                let what = match self.workspace.staged(role)? {
                    Some(staged) => {
                        format!("{name} version {} (sha256 {})", staged.version(), staged.digest())
                    }
                    None => format!("{name}, which is made when the others are signed"),
                };
                signs.push(format!("  {key}, to sign {what}"));
            }
        }
        let repository = visible(&self.record.name);
        let mut lines = vec![format!("{} is needed for {repository}:", described(token))];
        let more = signs.len().saturating_sub(MOST_SAID);
        lines.extend(signs.into_iter().take(MOST_SAID));
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        Ok(lines.join("\n"))
    }

    /// A locked token without which a role does not reach some threshold.
    fn next_locked(&self, role: &RoleName, asked: &BTreeSet<String>) -> Result<Option<v1::Token>, Failure> {
        let needs = self.needs(role)?;
        let mut tokens: BTreeSet<&String> = BTreeSet::new();
        for need in &needs {
            tokens.extend(need.first());
        }
        let next = tokens.into_iter().find(|name| self.ours.locked(name) && !asked.contains(*name));
        Ok(next.and_then(|name| self.ours.token(name)).cloned())
    }

    /// A person did not unlock this token: others of the role may do. One that was pulled out while its PIN was typed is one
    /// that is not there, and is asked for again as such.
    fn pass_over(&mut self, role: &RoleName, token: &v1::Token, failure: Failure) -> Result<(), Failure> {
        let is_named_unasked = self.selection.names_keys() && !self.invites();
        if !is_named_unasked && self.was_pulled(token, &failure) {
            self.context.screen.warn_once(failure.message());
            return Ok(());
        }
        if self.selection.names_keys() || failure.exit_code() != 5 {
            return Err(failure);
        }
        self.ours.pass_over(&token.name, failure.clone());
        if self.needs(role)?.iter().any(|need| need.count > need.locked.len()) {
            return Err(failure);
        }
        self.context.screen.warn(format!("{}; going on without {}", failure.message(), visible(&token.name)));
        Ok(())
    }

    /// What a role lacks beside the keys that are ready, and the locked tokens that could give it, for each threshold.
    pub(super) fn needs(&self, role: &RoleName) -> Result<Vec<Need>, Failure> {
        let usable = |key: &Candidate| {
            !self.ours.split(&key.token) && (self.ours.can_sign(key) || self.ours.locked(&key.token))
        };
        let keys: Vec<Candidate> = self.candidates(role)?.into_iter().filter(usable).collect();
        let is_ready = |key: &&Candidate| self.ours.can_sign(key);
        let tokens_of = |keys: Vec<&Candidate>| keys.into_iter().map(|key| key.token.clone()).collect();
        if self.selection.names_keys() {
            let locked: Vec<String> = tokens_of(keys.iter().filter(|key| !is_ready(key)).collect());
            return Ok(vec![Need { count: locked.len(), locked }]);
        }
        let state = self.workspace.signatures(role)?;
        let mut lacking: Vec<(u32, Vec<KeyId>)> =
            state.wanted().map(|part| (part.lacking(), part.missing.clone())).collect();
        if state.parts.is_empty() {
            // Snapshot and timestamp may not be made yet: then all of their threshold is missing.
            let all = self.workspace.authorities(role)?.into_iter();
            lacking.extend(all.map(|one| (one.role.threshold.get(), one.role.keyids)));
        }
        let need = |(lacking, keyids): (u32, Vec<KeyId>)| {
            let of_it = keys.iter().filter(|key| keyids.contains(&key.keyid));
            let (ready, locked): (Vec<_>, Vec<_>) = of_it.partition(is_ready);
            let count = usize::try_from(lacking).unwrap_or(usize::MAX).saturating_sub(ready.len());
            Need { count, locked: tokens_of(locked) }
        };
        Ok(lacking.into_iter().map(need).collect())
    }
}

/// Delegated roles come by the thousand.
const MOST_SAID: usize = 6;
