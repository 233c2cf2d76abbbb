//! YubiKeys that are not there: a person at the terminal is asked to insert them, by name and serial number, before
//! anything is signed where nothing could be, and after what was there has signed: one port may serve for all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tuf::role::RoleName;
use tufagent_proto::v1;

use super::Session;
use super::ours::Candidate;
use crate::commands::token::{described, described_device};
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::visible;

impl Session<'_> {
    /// Asks for YubiKeys of ours that are not there, where they alone can give what one of `roles` lacks. False: none is
    /// wanted, or the person goes on without.
    pub(super) fn invite(&mut self, roles: &[RoleName]) -> Result<bool, Failure> {
        let Some(terminal) = Terminal::open().filter(|_| self.invites()) else { return Ok(false) };
        loop {
            let (mut roles_named, mut wanted) = (Vec::new(), BTreeMap::new());
            for role in roles {
                let away = self.away(role)?;
                if !away.is_empty() {
                    roles_named.push(visible(role.as_str()).into_owned());
                    wanted.extend(away);
                }
            }
            if wanted.is_empty() {
                return Ok(false);
            }
            let devices: Vec<_> = wanted.values().map(described).collect();
            let question = format!(
                "{} lacks a signature: insert {} and press Enter, or type no to go on without:",
                roles_named.join(", "),
                devices.join(" or ")
            );
            if !terminal.wait_for_enter(&question)? {
                self.uninvited = true;
                return Ok(false);
            }
            let unseen: Vec<_> = self.ours.never_seen().into_iter().map(|token| token.name).collect();
            if !self.has_come(&wanted)? {
                self.context.screen.show("none of them is there");
                continue;
            }
            self.take_in(&unseen, roles)?;
            let came = |token: &&String| !self.ours.may_come(token) && !self.ours.is_ruled_out(token);
            if wanted.keys().any(|token| came(&token)) {
                return Ok(true);
            }
        }
    }

    /// What has come may hold keys that nobody knew of: those are asked for, and of which have none of these roles it is said.
    fn take_in(&mut self, unseen: &[String], roles: &[RoleName]) -> Result<(), Failure> {
        self.ours.reload(self.agent)?;
        if let Some((public, name, token)) = self.gathering.as_ref().and_then(|brought| brought.split_key()) {
            self.ours.signs_by_shares(public, name, token);
        }
        self.names = self.ours.names(&self.workspace)?;
        for name in unseen {
            let Some(token) = self.ours.token(name).filter(|token| ANSWERS.contains(&token.state.as_str()))
            else {
                continue;
            };
            let mut serves = false;
            for role in roles {
                serves |= self
                    .candidates(role)?
                    .iter()
                    .any(|key| self.ours.copies(key).any(|it| it.token == *name));
            }
            if !serves {
                let roles: Vec<_> = roles.iter().map(|role| visible(role.as_str()).into_owned()).collect();
                self.context.screen.show(format!(
                    "{} has no key that {} lacks",
                    described_device(token),
                    roles.join(" or ")
                ));
                self.ours.rule_out(name);
            }
        }
        Ok(())
    }

    /// Whether a person is asked to insert what is not there. With `--yes` nobody may be looking.
    pub(super) fn invites(&self) -> bool {
        !self.args.yes.yes && !self.uninvited && Terminal::open().is_some()
    }

    /// Whether the failure to unlock a YubiKey is that it was pulled out meanwhile; it is then taken note of as absent.
    pub(super) fn was_pulled(&mut self, token: &v1::Token, failure: &Failure) -> bool {
        if !self.ours.is_card(&token.name) || failure.exit_code() != 5 {
            return false;
        }
        let now = self.agent.token(&token.name).ok();
        let is_gone = |now: &v1::Token| now.state == ABSENT;
        if failure.reason() != reason::TOKEN_ABSENT && !now.as_ref().is_some_and(is_gone) {
            return false;
        }
        // It may be there again by now: that is looked for when it is asked for.
        self.ours.update(v1::Token { state: ABSENT.to_owned(), ..now.unwrap_or_else(|| token.clone()) });
        true
    }

    /// The absent YubiKeys of ours that could sign a role which nothing that is there can sign.
    fn away(&self, role: &RoleName) -> Result<BTreeMap<String, v1::Token>, Failure> {
        if self.workspace.signatures(role)?.met && !self.selection.names_keys() {
            return Ok(BTreeMap::new());
        }
        let keys: Vec<Candidate> = self.candidates(role)?;
        if keys.iter().any(|key| self.ours.is_there(&key.token)) {
            return Ok(BTreeMap::new());
        }
        // Of a key with a backup either card will do.
        let copies = keys.iter().flat_map(|key| self.ours.copies(key));
        let away = copies.filter(|key| self.selection.key(&key.name) && self.ours.may_come(&key.token));
        let mut away: BTreeMap<_, _> =
            away.filter_map(|key| Some((key.token.clone(), self.ours.token(&key.token)?.clone()))).collect();
        if self.lacks_a_key_of_nobody(role)? {
            let unseen = self.ours.never_seen().into_iter().filter(|token| self.ours.may_come(&token.name));
            away.extend(unseen.map(|token| (token.name.clone(), token)));
        }
        Ok(away)
    }

    /// Whether a key that a role waits for lies on no token that anybody has seen: it may be on one that was never there.
    fn lacks_a_key_of_nobody(&self, role: &RoleName) -> Result<bool, Failure> {
        if self.selection.names_keys() {
            return Ok(false);
        }
        let (state, authorities) = (self.workspace.signatures(role)?, self.workspace.authorities(role)?);
        let key_of = |keyid| authorities.iter().find_map(|authority| authority.keys.get(keyid));
        Ok(state.missing.iter().filter_map(key_of).any(|key| self.ours.name_of(key).is_none()))
    }

    /// Whether one of these is there now, as far as the agent sees it within a while.
    fn has_come(&mut self, wanted: &BTreeMap<String, v1::Token>) -> Result<bool, Failure> {
        let end = Instant::now() + SEEN_WITHIN;
        loop {
            self.look_at_tokens()?;
            if wanted.keys().any(|token| !self.ours.may_come(token)) {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(SEEN_SOON);
        }
    }

    /// Takes note of how all tokens are now.
    pub(super) fn look_at_tokens(&mut self) -> Result<(), Failure> {
        for token in self.agent.tokens()? {
            self.ours.update(token);
        }
        Ok(())
    }
}

/// How a token is that has told which keys it holds.
const ANSWERS: [&str; 3] = ["locked", "unlocked", "blocked"];
const ABSENT: &str = "absent";
/// The agent sees a device that comes within five seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(6);
const SEEN_SOON: Duration = Duration::from_millis(100);
