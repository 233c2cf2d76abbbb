//! Small signatures, several under way, for callers that must not block (see [`crate::host::lane`]).
//!
//! Whoever waits for one reads what has come, for itself and for the others. No thread stands in between. A signature whose
//! helper ends under it is told as failed, and never asked for again.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use tuf::key::{PublicKey, Scheme};
use tuf::preimage::Signable;

use super::Pkcs11Token;
use super::bounded;
use super::helper::Helper;
use super::link::Shared;
use super::signing::{released, taken};
use super::trouble::{Ended, backend_error};
use crate::doctor::{Form, Hints, How};
use crate::host::lane::{self, Ask, TOLD_MAX, Told};
use crate::host::protocol::HostError;
use crate::signature::PinUse;
use crate::{BackendError, UnverifiedSignature};

/// Kept until the signature that was begun has come, also when nobody waits for it any more.
pub type Place = Box<dyn Any + Send>;

/// What became of the wish to sign at once.
pub enum Begun {
    /// The token has it.
    UnderWay(UnderWay),
    /// The token cannot be used now.
    Refused(BackendError),
    /// It is nothing for this way: [`crate::Backend::sign`] is there for it.
    NotThisWay,
}

/// The agent's end of one helper's lane.
pub struct Lane {
    socket: OwnedFd,
    waiting: Mutex<Waiting>,
    attended: AtomicBool,
    /// What its helper died of, once that was noted.
    died_of: OnceLock<String>,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    entries: BTreeMap<u64, Entry>,
    ended: bool,
    buf: Vec<u8>,
}

/// A signature that was asked for.
struct Entry {
    outcome: Option<Result<Vec<u8>, Failure>>,
    waker: Option<Waker>,
    /// Nobody waits for it any more.
    abandoned: bool,
    _place: Place,
}

enum Failure {
    Host(HostError),
    Lost(Ended),
}

impl Lane {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: Mutex::default(), attended: AtomicBool::new(false), died_of: OnceLock::new() }
    }

    /// True for the first who asks: it sees to it that [`Lane::receive`] is called when there is something to be read.
    pub fn attend(&self) -> bool {
        !self.attended.swap(true, Ordering::Relaxed)
    }

    /// Reads what has come. False: the helper has ended; [`Pkcs11Token::lane_ended`] is to be called.
    pub fn receive(&self) -> bool {
        let mut waiting = self.waiting();
        // Kept from one time to the next: it is looked often whether something has come.
        let mut buf = std::mem::take(&mut waiting.buf);
        buf.resize(TOLD_MAX, 0);
        while !waiting.ended {
            match lane::receive(&self.socket, &mut buf) {
                Err(Errno::AGAIN) => break,
                // A helper that talks nonsense is of no more use than one that died.
                Ok([]) | Err(_) => waiting.ended = true,
                Ok(message) => match Told::decode(message) {
                    Some(told) => waiting.tell(told),
                    None => waiting.ended = true,
                },
            }
        }
        waiting.buf = buf;
        !waiting.ended
    }

    /// Whether something was asked for that has not come.
    pub(super) fn is_signing(&self) -> bool {
        let _ = self.receive();
        self.waiting().entries.values().any(|entry| entry.outcome.is_none())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, key: &PublicKey, scheme: Scheme, data: &[u8], place: Place) -> Option<u64> {
        let mut waiting = self.waiting();
        if waiting.ended {
            return None;
        }
        let id = waiting.last_id.wrapping_add(1);
        let scheme = scheme.to_string();
        let message = Ask { id, scheme: &scheme, key: key.spki_der(), data }.encode()?;
        // Noted first: it is sent while nobody else can read.
        lane::send(&self.socket, &message, false).ok()?;
        waiting.last_id = id;
        let entry = Entry { outcome: None, waker: None, abandoned: false, _place: place };
        waiting.entries.insert(id, entry);
        Some(id)
    }

    /// Notes what its helper died of. Whoever waits here is told that, though the next helper may have unlocked the token
    /// before they are.
    pub(super) fn died_of(&self, how: &str) {
        // The first is the cause.
        let _ = self.died_of.set(how.to_owned());
    }

    /// All that is under way has failed so.
    fn fail(&self, ended: &Ended) {
        let mut waiting = self.waiting();
        waiting.ended = true;
        for id in waiting.entries.keys().copied().collect::<Vec<_>>() {
            waiting.settle(id, Err(Failure::Lost(ended.clone())));
        }
    }
}

impl Waiting {
    fn tell(&mut self, told: Told) {
        match self.entries.get(&told.id) {
            Some(entry) if entry.outcome.is_none() => {
                self.settle(told.id, told.outcome.map_err(|error| Failure::Host(bounded::error(error))));
            }
            // An answer to a question that was not asked.
            _ => self.ended = true,
        }
    }

    fn settle(&mut self, id: u64, outcome: Result<Vec<u8>, Failure>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.abandoned {
            self.entries.remove(&id);
            return;
        }
        entry.outcome.get_or_insert(outcome);
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
    }
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.socket.as_raw_fd())
    }
}

/// A signature that the token has been asked for. It is not believed yet.
pub struct UnderWay {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    id: u64,
    scheme: Scheme,
    /// [`super::seen::Seen::locks`] when it was asked for.
    locks: u64,
}

impl UnderWay {
    /// The lane on which it comes.
    #[must_use]
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Whether nothing else is under way, so that its answer is the next.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.lane.waiting().entries.len() == 1
    }

    fn finish(&self, outcome: Result<Vec<u8>, Failure>) -> Result<UnverifiedSignature, BackendError> {
        let overtaken = self.shared.with_seen(|seen| seen.locks) != self.locks;
        match outcome {
            // A `lock` came meanwhile: nothing leaves after it.
            _ if overtaken => Err(BackendError::LockedMeanwhile),
            Ok(raw) => released((self.scheme, Form::Fixed), &raw, PinUse::Looked),
            Err(Failure::Host(error)) => {
                self.shared.note_error(&error);
                Err(backend_error(error))
            }
            Err(Failure::Lost(ended)) => Err(ended.into()),
        }
    }
}

impl Future for UnderWay {
    type Output = Result<UnverifiedSignature, BackendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What has ended is told of by whoever attends to the lane.
        let _ = self.lane.receive();
        let outcome = {
            let mut waiting = self.lane.waiting();
            let Some(entry) = waiting.entries.get_mut(&self.id) else {
                return Poll::Ready(Err(BackendError::Locked));
            };
            match entry.outcome.take() {
                Some(outcome) => {
                    waiting.entries.remove(&self.id);
                    outcome
                }
                None => {
                    if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        entry.waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready(self.finish(outcome))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut waiting = self.lane.waiting();
        let Some(entry) = waiting.entries.get_mut(&self.id) else { return };
        match entry.outcome {
            Some(_) => drop(waiting.entries.remove(&self.id)),
            // Its place is given up when its answer comes.
            None => entry.abandoned = true,
        }
    }
}

impl Pkcs11Token {
    /// Asks the token for a signature and does not wait for it.
    pub fn begin_signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        place: Place,
    ) -> Begun {
        // A card may wait for a touch.
        if !scheme.fits(key.key_type()) || self.is_card() {
            return Begun::NotThisWay;
        }
        let locks = match self.need_unlocked() {
            Ok(unlocked) => unlocked.locks,
            Err(error) => return Begun::Refused(error),
        };
        // What the module was measured to want otherwise, or not to do, is for the call that says so.
        let hints = self.shared.with_seen(|seen| seen.hints());
        let usual =
            |hints: Arc<Hints>| hints.how(scheme) == Ok(How::InOrder) && hints.form(scheme) == Form::Fixed;
        if !hints.is_ok_and(usual) {
            return Begun::NotThisWay;
        }
        let Some(lane) = self.shared.lane() else { return Begun::NotThisWay };
        match lane.ask(key, scheme, &taken(scheme, How::InOrder, &what), place) {
            Some(id) => {
                Begun::UnderWay(UnderWay { shared: Arc::clone(&self.shared), lane, id, scheme, locks })
            }
            None => Begun::NotThisWay,
        }
    }

    /// The helper at the other end of the lane has ended: notes that, starts the next one when that may be, and tells
    /// whoever waits. Blocks.
    pub fn lane_ended(&self, lane: &Arc<Lane>) {
        let shared = &self.shared;
        let ended = {
            let mut link = shared.link();
            let same = |helper: &Helper| Arc::ptr_eq(helper.lane(), lane);
            match link.helper.as_mut().filter(|helper| same(helper)).map(Helper::how_it_ended) {
                Some(how) => shared.lost(&mut link, "signing", &how),
                None => match lane.died_of.get() {
                    Some(how) => Shared::ended(&link, how, true),
                    None => shared.lost_login(&link),
                },
            }
        };
        lane.fail(&ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> (Lane, OwnedFd) {
        let (ours, theirs) = lane::pair().unwrap();
        (Lane::new(ours), theirs)
    }

    fn key() -> PublicKey {
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        PublicKey::from_ed25519(key.verifying_key().to_bytes()).unwrap()
    }

    fn ask(lane: &Lane, place: Place) -> u64 {
        lane.ask(&key(), Scheme::Ed25519, b"data", place).unwrap()
    }

    #[test]
    fn an_answer_reaches_its_question_and_gives_up_its_place() {
        let (lane, theirs) = lane();
        let place = Arc::new(());
        let (first, second) =
            (ask(&lane, Box::new(Arc::clone(&place))), ask(&lane, Box::new(Arc::clone(&place))));
        lane::send(&theirs, &Told { id: second, outcome: Ok(vec![2]) }.encode(), true).unwrap();
        assert!(lane.receive());
        assert!(lane.waiting().entries[&first].outcome.is_none());
        assert!(matches!(&lane.waiting().entries[&second].outcome, Some(Ok(raw)) if *raw == [2]));
        lane.waiting().entries.get_mut(&first).unwrap().abandoned = true;
        assert_eq!(Arc::strong_count(&place), 3, "it is still being made");
        lane::send(&theirs, &Told { id: first, outcome: Ok(vec![1]) }.encode(), true).unwrap();
        assert!(lane.receive());
        assert_eq!(Arc::strong_count(&place), 2);
    }

    #[test]
    fn a_helper_that_answers_what_was_not_asked_or_twice_or_garbage_is_done_with() {
        let told = |id| Told { id, outcome: Ok(vec![1]) }.encode();
        for bad in [told(77), vec![0xff; 20], vec![1], vec![0; TOLD_MAX + 1]] {
            let (lane, theirs) = lane();
            ask(&lane, Box::new(()));
            lane::send(&theirs, &bad, true).unwrap();
            assert!(!lane.receive());
            assert!(lane.ask(&key(), Scheme::Ed25519, b"data", Box::new(())).is_none());
        }
        let (lane, theirs) = lane();
        let id = ask(&lane, Box::new(()));
        (0..2).for_each(|_| lane::send(&theirs, &told(id), true).unwrap());
        assert!(!lane.receive());
    }

    #[test]
    fn the_end_of_the_helper_fails_all_that_is_under_way() {
        let (lane, theirs) = lane();
        let id = ask(&lane, Box::new(()));
        drop(theirs);
        assert!(!lane.receive());
        let ended = Ended { why: "gone".to_owned(), again_in: None, login: true, remedy: None };
        lane.fail(&ended);
        assert!(matches!(lane.waiting().entries[&id].outcome, Some(Err(Failure::Lost(_)))));
        assert!(lane.attend() && !lane.attend());
    }
}
