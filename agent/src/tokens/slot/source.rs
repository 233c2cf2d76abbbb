//! Unlocking with a secret that needs no person: from a file, a descriptor or a credential.
//!
//! Invariants: a content that was tried and not accepted is not tried again by itself in this run, and nothing that the
//! source holds in the next, as nothing of a content is kept; one that is seen to change while the agent runs is another. A
//! person who says `unlock` has it tried once more.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use backend::TokenState;
use policy::Reason;
use secmem::SecretBytes;
use sha2::{Digest as _, Sha256};

use super::card::{Presenting, Sourced};
use super::count::Proof;
use super::person::Purpose;
use super::refusals::{HELD_BACK, SPENT};
use super::since::Since;
use super::unlock::{Act, Attempt};
use super::{Later, Slot, lock};
use crate::config::PinSource;
use crate::refusal::Refusal;
use crate::tokens::{descriptor, pin};

/// So many contents that were not accepted are remembered, in this run.
const MOST_REFUSED: usize = 16;

/// Why the configured secret was of no use.
#[derive(Debug, Clone)]
pub(super) struct SourceTrouble {
    /// For people.
    pub(super) why: String,
    /// What to do.
    pub(super) remedy: String,
    /// It could not be read, or not be believed.
    pub(super) unread: bool,
}

/// What the source holds now, and how it may be presented.
pub(super) struct Source {
    pub(super) pin: Arc<SecretBytes>,
    pub(super) content: SecretBytes,
    pub(super) how: Presenting,
}

/// The source of a token, in this run: an entry that a reload changes goes on with it.
#[derive(Default)]
pub(super) struct Sourcing {
    /// Held while the agent unlocks the token by itself: of many that want it unlocked, one tries the secret.
    pub(super) by_itself: tokio::sync::Mutex<()>,
    /// What is known of its contents.
    pub(super) contents: Mutex<Contents>,
    /// What a pipe gave; it can be read only once.
    from_descriptor: Mutex<Option<Arc<SecretBytes>>>,
}

/// What is known of contents of the source, in this run.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Those that were not accepted, the newest last, each with the number of its last refusal.
    refused: Vec<(SecretBytes, u64)>,
    /// Those that were not presented without a person, and may be once more is known of them; what is another one has changed.
    held_back: Vec<SecretBytes>,
    /// Counts refusals.
    refusals: u64,
    /// The one that was, and by which card.
    proven: Option<(SecretBytes, Option<Proof>)>,
    /// The one that was presented last: another one is a new entry by whoever wrote it.
    last: Option<SecretBytes>,
}

impl Contents {
    fn is_refused(&self, content: &SecretBytes) -> bool {
        self.is_refused_since(content, 0)
    }

    /// Whether it was not accepted when so many refusals had been counted already, or later.
    fn is_refused_since(&self, content: &SecretBytes, refusals: u64) -> bool {
        self.refused.iter().any(|(refused, number)| *number >= refusals && same(refused, content))
    }

    /// It was not presented: nobody knows whether it was tried in a run before.
    fn hold_back(&mut self, content: SecretBytes) {
        self.held_back.retain(|held| !same(held, &content));
        if self.held_back.len() >= MOST_REFUSED {
            self.held_back.remove(0);
        }
        self.held_back.push(content);
    }

    /// Whether the source held another one in this run, which was not accepted.
    fn has_changed_to(&self, content: &SecretBytes) -> bool {
        let is_held = self.held_back.iter().any(|held| same(held, content));
        !(is_held || self.refused.is_empty() && self.held_back.is_empty())
    }

    fn proof(&self, content: &SecretBytes) -> Option<Proof> {
        let (proven, proof) = self.proven.as_ref()?;
        let unchanged = self.last.as_ref().is_some_and(|last| same(last, content));
        proof.clone().filter(|_| unchanged && same(proven, content))
    }

    fn refuse(&mut self, content: SecretBytes) {
        if self.proven.as_ref().is_some_and(|(proven, _)| same(proven, &content)) {
            self.proven = None;
        }
        self.last = Some(copy(&content));
        self.spend(content);
    }

    /// It is not to be presented any more.
    fn spend(&mut self, content: SecretBytes) {
        let number = self.refusals;
        self.refusals = number.saturating_add(1);
        self.refused.retain(|(refused, _)| !same(refused, &content));
        if self.refused.len() >= MOST_REFUSED {
            self.refused.remove(0);
        }
        self.refused.push((content, number));
    }

    fn prove(&mut self, content: SecretBytes, proof: Option<Proof>) {
        self.refused.retain(|(refused, _)| !same(refused, &content));
        self.held_back.retain(|held| !same(held, &content));
        self.last = Some(copy(&content));
        self.proven = Some((content, proof));
    }

    /// The token takes another secret from now on.
    fn change(&mut self, old: SecretBytes, new: &SecretBytes) {
        self.proven = None;
        if !same(&old, new) {
            self.spend(old);
        }
        self.refused.retain(|(refused, _)| !same(refused, new));
    }
}

impl Slot {
    /// One attempt with the secret from the configured source, because a person says so; ends a `lock` that a person said.
    /// Pinentry asks at `terminal`, if there is no screen.
    ///
    /// # Errors
    /// `PIN_REQUIRED` when a person has to type it; otherwise as [`Slot::unlock`].
    pub async fn unlock_from_source(
        self: &Arc<Self>,
        attempt: Attempt,
        terminal: Option<PathBuf>,
    ) -> Result<(), Refusal> {
        if let PinSource::Pinentry(program) = &self.config.pin {
            // Nobody is asked for the PIN of a card that is not there: it would be for whichever comes (FAULTS C5).
            if self.state() == TokenState::Absent {
                return Err(self.unusable());
            }
            let _alone = self.asking.lock().await;
            let Attempt { last_try, serial, since, user, caller, .. } = attempt;
            let text = "to unlock it, because you have asked for that".to_owned();
            let purpose = Purpose { text, terminal, user, caller };
            return self.unlock_by_pinentry(program, &purpose, since, last_try, serial).await;
        }
        if self.config.pin == PinSource::Nothing {
            return self.unlock(SecretBytes::with_len(0, |_| {}), attempt).await;
        }
        let (slot, sourcing) = (Arc::clone(self), self.sourcing());
        let refusals = lock(&sourcing.contents).refusals;
        let work = async move {
            let _alone = tokio::select! {
                biased;
                // Whoever has it may wait long for the token.
                () = slot.locked_since(attempt.since) => return slot.unless_locked_since(attempt.since),
                alone = sourcing.by_itself.lock() => alone,
            };
            let attempt = Attempt { from_source: true, ..attempt };
            slot.present_source(attempt.since, Some((attempt, refusals))).await
        };
        tokio::spawn(work).await.map_err(Refusal::internal)?
    }

    /// One attempt with the configured secret; by itself where no person makes it. A person knows of so many refusals.
    pub(super) fn present_source(
        self: &Arc<Self>,
        since: Since,
        person: Option<(Attempt, u64)>,
    ) -> Later<'_, ()> {
        Box::pin(async move {
            // What it waited for may have taken long.
            self.unless_locked_since(since)?;
            let _under_way = self.begin_attempt(person.is_some());
            if self.config.pin == PinSource::Unwanted {
                let serial = person.and_then(|(attempt, _)| attempt.serial);
                return self.enter(since, serial).await;
            }
            let source = match person {
                None => self.by_itself_from_source(since).await?,
                Some((attempt, refusals)) => {
                    let secret = self.fetch_or_note().await?;
                    let content = digest(&secret);
                    // The person spoke before that answer was known, and it was about this very content.
                    if lock(&self.sourcing().contents).is_refused_since(&content, refusals) {
                        return Err(self.unusable());
                    }
                    Source { pin: secret, content, how: Presenting::Person(attempt) }
                }
            };
            let done = self.present(Act::Unlock(source.pin), source.how).await;
            self.note_presented(source.content, done.as_ref().err());
            done?;
            self.begin_lease(since, None)
        })
    }

    /// Its source, whichever entry began with it.
    pub(super) fn sourcing(&self) -> Arc<Sourcing> {
        Arc::clone(&lock(&self.sourcing))
    }

    /// Goes on with the source of the entry that it takes the place of, which may be presenting what it holds at this moment.
    pub(super) fn take_source_over(&self, old: &Self) {
        if self.config.pin == old.config.pin {
            *lock(&self.sourcing) = old.sourcing();
        }
    }

    /// What the source holds, unless that was tried and not accepted.
    pub(super) async fn by_itself_from_source(&self, since: Since) -> Result<Source, Refusal> {
        let secret = self.fetch_or_note().await?;
        let content = digest(&secret);
        let sourcing = self.sourcing();
        let contents = lock(&sourcing.contents);
        if contents.is_refused(&content) {
            drop(contents);
            self.note_spent();
            return Err(self.unusable());
        }
        let proof = contents.proof(&content);
        let how = Presenting::Source(Sourced { since, changed: contents.has_changed_to(&content), proof });
        Ok(Source { pin: secret, content, how })
    }

    /// What became of a content that was presented.
    pub(super) fn note_presented(&self, content: SecretBytes, refused: Option<&Refusal>) {
        match refused {
            None => {
                let proof = lock(&self.counter.seen).accepted.clone();
                lock(&self.sourcing().contents).prove(content, proof);
            }
            Some(refusal) if self.note_source(refusal) => {
                let sourcing = self.sourcing();
                lock(&sourcing.contents).refuse(content);
                // The next line of a pipe may be another one; this one is not presented again.
                *lock(&sourcing.from_descriptor) = None;
            }
            Some(refusal) if refusal.details.contains_key(HELD_BACK) => {
                lock(&self.sourcing().contents).hold_back(content);
            }
            Some(_) => {}
        }
    }

    /// The card was presented again, in the middle of a request, what the source held, and nobody knows what came of that: it
    /// is not presented by itself any more.
    pub(super) fn note_presented_again(&self, refusal: &Refusal) {
        if !refusal.details.contains_key(SPENT) || !lock(&self.counter.seen).from_source {
            return;
        }
        let proven = lock(&self.sourcing().contents).proven.take();
        if let Some((content, _)) = proven {
            self.note_presented(content, Some(refusal));
        }
    }

    /// Remembers why the configured secret was of no use, for whoever finds the token locked. True when it is not to be
    /// tried again: it was presented and was wrong, or may have been.
    fn note_source(&self, refusal: &Refusal) -> bool {
        let (place, again) = (self.config.pin.place(), format!("then: tufctl token unlock {}", self.name()));
        let (spent, why, remedy) = if refusal.reason == Reason::PinIncorrect {
            let word = self.backend.info().kind.secret_word();
            let why = format!("the {word} in {place} is wrong, and is not tried again by itself");
            let correct = match self.config.pin {
                PinSource::Fd(fd) if descriptor::gives_once(fd) => {
                    format!(
                        "write the right one into that pipe, or start the agent again with it on descriptor {fd}"
                    )
                }
                _ => "correct it".to_owned(),
            };
            (true, why, format!("{correct}, {again}"))
        } else if refusal.details.contains_key(SPENT) {
            // Nobody knows what the attempt came to: it may have cost a try.
            let why = format!("{}; it is not tried again by itself", self.without_name(&refusal.message));
            (true, why, refusal.remedy.clone())
        } else if refusal.details.contains_key(HELD_BACK) {
            let why = format!("{}; it is not tried again by itself", self.without_name(&refusal.message));
            (false, why, refusal.remedy.clone())
        } else if matches!(
            refusal.reason,
            Reason::SecretFile | Reason::TokenSwapped | Reason::PinBlocked | Reason::PinRequired
        ) {
            (false, self.without_name(&refusal.message).to_owned(), refusal.remedy.clone())
        } else {
            return false;
        };
        lock(&self.lease).source =
            Some(SourceTrouble { why, remedy, unread: refusal.reason == Reason::SecretFile });
        spent
    }

    /// Whether the log has not said so already, since the token was last unlocked.
    pub(in crate::tokens) fn is_news(&self, refusal: &Refusal) -> bool {
        let text = refusal.to_string();
        let mut lease = lock(&self.lease);
        let news = lease.logged.as_ref() != Some(&text);
        lease.logged = Some(text);
        news
    }

    /// For whoever finds it locked, where nothing else is said: it was unlocked by another secret since.
    fn note_spent(&self) {
        let (word, place) = (self.backend.info().kind.secret_word(), self.config.pin.place());
        let remedy = format!("put the new one there, or: tufctl token unlock {}", self.name());
        let why =
            format!("{place} holds a {word} that was not accepted or is changed, and is not tried by itself");
        lock(&self.lease).source.get_or_insert(SourceTrouble { why, remedy, unread: false });
    }

    /// The secret was changed: what the source holds, if it is the old one, is presented no more. Gives what a person should
    /// know of that.
    pub(super) async fn note_changed(&self, old: SecretBytes, new: &SecretBytes) {
        let (spent, new) = (copy(&old), copy(new));
        lock(&self.sourcing().contents).change(old, &new);
        if !self.config.pin.is_unattended() {
            return;
        }
        // A pipe gave what it gave.
        let Ok(secret) = self.fetch().await else { return };
        if same(&digest(&secret), &spent) {
            let (word, place) = (self.backend.info().kind.secret_word(), self.config.pin.place());
            let why = format!("{place} still holds the old {word}: put the new one there");
            let remedy = format!("put the new one there, or: tufctl token unlock {}", self.name());
            lock(&self.lease).source = Some(SourceTrouble { why, remedy, unread: false });
            self.keep_that_it_is_replaced().await;
        }
    }

    /// After a restart, too, the old secret costs no try, unless somebody has written the file since.
    async fn keep_that_it_is_replaced(&self) {
        let accepted = lock(&self.counter.seen).accepted.clone();
        let (Some(Proof { card, .. }), Some(how)) = (accepted, self.source_stamp().await) else { return };
        let token = self.name().to_owned();
        if let Err(error) = self.places.ledger.note_source_replaced(card, token, how).await {
            tracing::warn!(token = self.name(), "that its PIN was changed is known until the end: {error}");
        }
    }

    /// What is another one once a file was written, replaced or given other attributes, and says nothing of what it holds.
    /// None of other sources: service managers make credentials anew, and the others have no such mark.
    pub(super) async fn source_stamp(&self) -> Option<String> {
        let PinSource::File(path) = self.config.pin.clone() else { return None };
        let meta = tokio::task::spawn_blocking(move || std::fs::metadata(path)).await.ok()?.ok()?;
        Some(format!("{}:{}.{:09}", meta.ino(), meta.ctime(), meta.ctime_nsec()))
    }

    /// What was said of a source that could not be read is looked at again before it is told.
    pub(in crate::tokens) async fn refresh_source(&self) {
        let stale = lock(&self.lease).source.as_ref().is_some_and(|trouble| trouble.unread);
        if !stale || !matches!(self.config.pin, PinSource::File(_) | PinSource::Credential(_)) {
            return;
        }
        match self.fetch().await {
            Ok(_) => _ = lock(&self.lease).source.take_if(|trouble| trouble.unread),
            Err(refusal) => _ = self.note_source(&refusal),
        }
    }

    /// When its secret needs no person and no `lock` holds: for what begins now.
    pub(super) fn may_unlock_itself(&self) -> Option<Since> {
        self.now_unless_held().filter(|_| self.config.pin.is_unattended())
    }

    async fn fetch_or_note(&self) -> Result<Arc<SecretBytes>, Refusal> {
        self.fetch().await.map_err(|refusal| {
            let named = self.name_it(refusal);
            self.note_source(&named);
            named
        })
    }

    async fn fetch(&self) -> Result<Arc<SecretBytes>, Refusal> {
        if let Some(secret) = lock(&self.sourcing().from_descriptor).clone() {
            return Ok(secret);
        }
        let (source, credentials) = (self.config.pin.clone(), self.places.credentials.clone());
        let fetched = tokio::task::spawn_blocking(move || pin::fetch(&source, credentials.as_deref())).await;
        let secret = Arc::new(fetched.map_err(Refusal::internal)??);
        if matches!(self.config.pin, PinSource::Fd(fd) if descriptor::gives_once(fd)) {
            *lock(&self.sourcing().from_descriptor) = Some(Arc::clone(&secret));
        }
        Ok(secret)
    }
}

fn copy(content: &SecretBytes) -> SecretBytes {
    SecretBytes::copy_from(content.reveal_secret_bytes())
}

/// What a content is compared by: the secret itself is not kept for that.
pub(super) fn digest(secret: &SecretBytes) -> SecretBytes {
    SecretBytes::copy_from(&Sha256::digest(secret.reveal_secret_bytes()))
}

fn same(a: &SecretBytes, b: &SecretBytes) -> bool {
    a.reveal_secret_bytes() == b.reveal_secret_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> SecretBytes {
        digest(&SecretBytes::copy_from(text.as_bytes()))
    }

    #[test]
    fn the_first_refusal_wipes_what_was_proven_and_another_content_is_none_of_both() {
        let proof = Proof { card: "serial 1".to_owned(), count_low: false };
        let mut contents = Contents::default();
        contents.prove(content("a"), Some(proof.clone()));
        assert_eq!(contents.proof(&content("a")), Some(proof));
        assert_eq!(contents.proof(&content("b")), None);
        contents.refuse(content("a"));
        assert_eq!(contents.proof(&content("a")), None);
        assert!(contents.is_refused(&content("a")) && !contents.is_refused(&content("b")));
    }

    #[test]
    fn a_content_that_was_held_back_is_no_change_and_may_be_presented_once_more_is_known() {
        let mut contents = Contents::default();
        contents.hold_back(content("a"));
        assert!(!contents.is_refused(&content("a")) && !contents.has_changed_to(&content("a")));
        assert!(contents.has_changed_to(&content("b")));
        contents.refuse(content("b"));
        assert!(!contents.has_changed_to(&content("a")), "it may have been tried in a run before");
    }

    #[test]
    fn a_content_that_is_refused_while_a_person_waits_is_told_from_one_that_was_refused_before() {
        let mut contents = Contents::default();
        contents.refuse(content("a"));
        let spoke = contents.refusals;
        assert!(contents.is_refused(&content("a")) && !contents.is_refused_since(&content("a"), spoke));
        contents.refuse(content("b"));
        assert!(
            contents.is_refused_since(&content("b"), spoke)
                && !contents.is_refused_since(&content("a"), spoke)
        );
        contents.refuse(content("a"));
        assert!(contents.is_refused_since(&content("a"), spoke), "again");
    }

    #[test]
    fn a_content_that_comes_back_after_another_is_a_new_entry_and_one_that_was_changed_is_spent() {
        let proof = Proof { card: "serial 1".to_owned(), count_low: false };
        let mut contents = Contents::default();
        contents.prove(content("a"), Some(proof.clone()));
        contents.refuse(content("b"));
        assert_eq!((contents.proof(&content("a")), contents.is_refused(&content("a"))), (None, false));
        contents.prove(content("a"), Some(proof.clone()));
        assert_eq!(contents.proof(&content("a")), Some(proof));
        contents.change(content("a"), &content("b"));
        assert!(contents.is_refused(&content("a")) && !contents.is_refused(&content("b")));
        assert_eq!(contents.proof(&content("a")), None);
    }
}
