//! YubiKeys that are not there: a person at the terminal is asked to insert them, by name and serial number, before
//! anything is signed where nothing could be, and after what was there has signed: one port may serve for all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tuf::role::RoleName;
use tufagent_proto::v1;

use super::Session;
use super::ours::Candidate;
use crate::commands::token::described;
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
            if self.has_come(&wanted)? {
                return Ok(true);
            }
            self.context.screen.show("none of them is there");
        }
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
        Ok(away.filter_map(|key| Some((key.token.clone(), self.ours.token(&key.token)?.clone()))).collect())
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

const ABSENT: &str = "absent";
/// The agent sees a device that comes within five seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(6);
const SEEN_SOON: Duration = Duration::from_millis(100);
