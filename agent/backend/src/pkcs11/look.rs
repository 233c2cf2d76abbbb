//! Looking for a token that is not there, and for keys that it does not show any more.
//!
//! Modules remember. SoftHSM sees a token or a key that came back only once it is initialised, and others go on with what
//! they knew of the device that was pulled. The module of a helper that serves is left alone; a new helper is started to
//! look, and takes over only when it sees what was missed. It is a fresh process, as after any other start.

use std::time::{Duration, Instant};

use super::helper::{CallError, NONSENSE};
use super::link::{Link, Shared};
use super::{bounded, names};
use crate::host::protocol::{Reply, Request};
use crate::{BackendError, StoredKey, TokenState};

impl Shared {
    /// How the token is, asked of its helper; of one that is absent, of a new helper.
    pub(crate) fn look(&self, link: &mut Link) -> Result<(), BackendError> {
        match self.is_absent() && !self.config.is_card() {
            true if since(link.started) >= SHORTLY => self.look_anew(link),
            _ => self.poll(link),
        }
    }

    /// Somebody asks something of a token that was absent a moment ago: it may have come back.
    pub(super) fn look_if_absent(&self, link: &mut Link) {
        if self.config.is_card() {
            // It sees for itself whether it came back.
            return;
        }
        if self.is_absent() && since(link.started) >= SHORTLY {
            // What it sees is noted, and whoever asks is told.
            let _ = self.look_anew(link);
        }
    }

    fn is_absent(&self) -> bool {
        self.with_seen(|seen| seen.state == Some(TokenState::Absent))
    }

    /// Without a token there is no login that could be lost.
    fn look_anew(&self, link: &mut Link) -> Result<(), BackendError> {
        self.retire(link);
        self.start(link)
    }

    /// Keys are missing: looks for them with a new helper, which takes over where it sees one of them, and gives its list.
    /// The login of the one before is lost with it.
    pub(super) fn look_for_missing(&self, link: &mut Link) -> Option<Vec<StoredKey>> {
        if self.config.is_card() {
            return None;
        }
        let searched = &mut link.searched;
        if since(searched.last) < SEARCH_EVERY || since(searched.found) < TAKE_OVER_EVERY {
            return None;
        }
        searched.last = Some(Instant::now());
        let (mut other, keys, all) = self.other_helper()?;
        let missing = self.seen().missing;
        if !keys.iter().any(|key| missing.contains(&key.public)) {
            if let Some(helper) = other.helper.take() {
                helper.stop();
            }
            return None;
        }
        link.searched.found = Some(Instant::now());
        tracing::info!(token = %self.config.name, "a key came back; the token is opened anew");
        let old = std::mem::replace(&mut link.helper, other.helper.take());
        (link.started, link.locks_done) = (Some(Instant::now()), other.locks_done);
        self.serve_by(link);
        if let Some(old) = old {
            old.stop();
        }
        let _ = self.poll(link);
        self.note(|seen| seen.shown(keys.clone(), all));
        Some(keys)
    }

    /// Reads the keys of a card that has come: somebody else may have had it meanwhile. That needs no PIN, and whoever asks next
    /// waits for it.
    pub(super) fn read_keys_of_arrival(&self, link: &mut Link) {
        let is_new = self.with_seen(|seen| seen.is_there() && !seen.knows_keys());
        let Some(helper) = link.helper.as_mut().filter(|_| is_new && self.config.is_card()) else { return };
        match helper.call(&Request::List, &[], self.config.deadline) {
            Ok((Reply::Keys { keys, all, .. }, _)) => {
                let (keys, _) = bounded::keys(keys, &[], None);
                self.note(|seen| seen.shown(names::stored_keys(keys), all));
            }
            // Another look is taken soon.
            Err(CallError::Host(error)) => self.note_error(&error),
            Ok(_) => drop(self.lost(link, "listing its keys", NONSENSE)),
            Err(CallError::Broken(how)) => drop(self.lost(link, "listing its keys", &how)),
        }
    }

    /// Another helper than the one that serves, and what it lists; none where it does not get so far.
    fn other_helper(&self) -> Option<(Link, Vec<StoredKey>, bool)> {
        let mut other = Link::default();
        self.start_helper(&mut other).and_then(|()| self.load(&mut other)).ok()?;
        let answer = other.helper.as_mut()?.call(&Request::List, &[], self.config.deadline).ok()?;
        let (Reply::Keys { keys, all, .. }, _) = answer else { return None };
        let (keys, _) = bounded::keys(keys, &self.seen().keys, None);
        Some((other, names::stored_keys(keys), all))
    }

    /// What is wrong with objects of the token is told with it, and is in the log as often as it changes.
    pub(super) fn heard_of_objects(&self, odd: Option<String>) {
        let told = odd.clone();
        let is_new = self.note(|seen| {
            let is_new = odd.is_some() && seen.odd_logged != odd;
            if is_new {
                seen.odd_logged.clone_from(&odd);
            }
            seen.odd = odd;
            is_new
        });
        if let Some(odd) = told.filter(|_| is_new) {
            tracing::warn!(token = %self.config.name, "{odd}");
        }
    }

    /// The same of keys that cannot be used.
    pub(super) fn heard_of_unfit(&self, unfit: Option<String>) {
        let before = self.note(|seen| std::mem::replace(&mut seen.unfit, unfit.clone()));
        if let Some(told) = unfit.filter(|told| before.as_ref() != Some(told)) {
            tracing::warn!(token = %self.config.name, "{told}");
        }
    }

    /// When the token is to be looked at again: its removal and its return must show within five seconds.
    pub(super) fn next_look(&self) -> Duration {
        if self.is_absent() && !self.config.is_card() { LOOK_ANEW_EVERY } else { POLL_EVERY }
    }
}

fn since(then: Option<Instant>) -> Duration {
    then.map_or(Duration::MAX, |then| then.elapsed())
}

const POLL_EVERY: Duration = Duration::from_secs(2);
const LOOK_ANEW_EVERY: Duration = Duration::from_secs(3);
/// What a helper that was started so short a time ago says of an absent token is still true.
const SHORTLY: Duration = Duration::from_secs(1);
const SEARCH_EVERY: Duration = Duration::from_secs(3);
/// A helper that takes over is the module initialised again (FAULTS D2).
const TAKE_OVER_EVERY: Duration = Duration::from_secs(30);
