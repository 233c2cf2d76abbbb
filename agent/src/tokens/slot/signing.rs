//! Signatures, each in its turn; with the PIN where the key takes one for each.

use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backend::pkcs11::{Asking, Begun, Lane, Pkcs11Token, Spent};
use backend::{Backend, BackendError, TokenState};
use policy::Reason;
use secmem::SecretBytes;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;
use tuf::key::{KeyType, PublicKey, Scheme, SignatureBytes};
use tuf::metadata::Metadata;
use tuf::preimage::Signable;

use super::card::Presenting;
use super::refusals::LOGIN_LOST;
use super::{BLINK, Slot, Typed};
use crate::awake;
use crate::config::{TokenConfig, TokenKind};
use crate::limits;
use crate::refusal::Refusal;

/// What is signed, by which key.
#[derive(Clone)]
struct Order {
    key: PublicKey,
    scheme: Scheme,
    subject: Metadata,
    turn: Arc<Turn>,
}

/// Tells when the token is asked for a signature, which may have waited for others before it: here, or at the card.
#[derive(Debug, Default)]
pub struct Turn(Notify);

impl Turn {
    /// Waits until its turn has come.
    pub async fn come(&self) {
        self.0.notified().await;
    }
}

impl Order {
    /// The backend verifies the signature against this very public key and scheme before it gives it out.
    fn carry_out(&self, backend: &dyn Backend) -> Result<SignatureBytes, BackendError> {
        self.tell_when_asked(backend);
        let preimage = self.subject.preimage();
        backend.sign(&self.key, self.scheme, Signable::Metadata(&preimage))
    }

    /// The same with a PIN for this signature; what that may have cost, too.
    fn carry_out_with(
        &self,
        token: &Pkcs11Token,
        pin: &SecretBytes,
        asking: &Asking,
    ) -> (Spent, Result<SignatureBytes, BackendError>) {
        self.tell_when_asked(token);
        let preimage = self.subject.preimage();
        let what = Signable::Metadata(&preimage);
        let made = match token.make_signature_asking(&self.key, self.scheme, what, (pin, asking)) {
            Ok(made) => made,
            // It waited for that with the PIN accepted.
            Err(error @ BackendError::TouchTimeout) => return (Spent::Accepted, Err(error)),
            Err(BackendError::AfterPin { error }) => return (Spent::Accepted, Err(*error)),
            Err(error) => return (Spent::by(&error), Err(error)),
        };
        let spent = if made.left_the_pin() { Spent::Nothing } else { Spent::Accepted };
        (spent, made.verify(&self.key, self.scheme, what))
    }

    fn tell_when_asked(&self, backend: &dyn Backend) {
        let turn = Arc::clone(&self.turn);
        backend.when_asked(Box::new(move || turn.0.notify_one()));
    }

    /// So small, and a key so fast, that another thread would cost more than it takes.
    fn is_quick(&self) -> bool {
        let fast = matches!(self.key.key_type(), KeyType::Ed25519 | KeyType::EcdsaP256);
        fast && u64::try_from(self.subject.bytes().len()).is_ok_and(|bytes| bytes <= limits::IN_PLACE)
    }
}

impl Slot {
    /// Signs metadata with a key of this token: one of the file store that takes microseconds here, at once.
    ///
    /// # Errors
    /// What the backend gives, with the token's name; `PIN_REQUIRED` for a key that takes the PIN for each signature on a
    /// token whose PIN a person types ([`Slot::sign_typed`]).
    pub async fn sign(
        self: &Arc<Self>,
        key: &PublicKey,
        scheme: Scheme,
        subject: &Metadata,
        turn: &Arc<Turn>,
    ) -> Result<SignatureBytes, Refusal> {
        let order = Order { key: key.clone(), scheme, subject: subject.clone(), turn: Arc::clone(turn) };
        self.until_locked(self.sign_without_person(order)).await
    }

    /// Ends the wait for a signature of a card at once when somebody says `lock`, or its time is over: it may wait for a touch,
    /// and cannot be told that nobody wants that any more. What comes then is thrown away.
    async fn until_locked<T>(
        &self,
        signature: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        if !self.is_card() {
            return signature.await;
        }
        let mut locked = self.locked.subscribe();
        tokio::select! {
            biased;
            signed = signature => signed,
            // The sender lives as long as the slot.
            _ = locked.changed() => Err(self.locked_meanwhile()),
        }
    }

    fn locked_meanwhile(&self) -> Refusal {
        let name = self.name();
        let message = format!(
            "token {name} was locked before its signature came, so there is none: if it is touched now, what it signs is thrown away"
        );
        Refusal::new(Reason::TokenLocked, message)
            .remedy(format!("unlock it: tufctl token unlock {name}"))
            .detail("token", name)
    }

    async fn sign_without_person(self: &Arc<Self>, order: Order) -> Result<SignatureBytes, Refusal> {
        let signed = match self.sign_once(&order).await {
            // Surely nothing was signed. Its PIN needs no person, and is presented again as it is after any other loss.
            Err(refusal)
                if refusal.details.contains_key(LOGIN_LOST) && self.may_unlock_itself().is_some() =>
            {
                tracing::info!(token = self.name(), "unlocked again for a signature: its login was gone");
                self.ensure_usable().await?;
                self.sign_once(&order).await
            }
            signed => signed,
        };
        match signed {
            Err(refusal) if refusal.reason == Reason::PinRequired => self.sign_with_pin(order, refusal).await,
            signed => signed,
        }
    }

    /// A signature by a card, which may need no login, neither begins nor leaves after a `lock`.
    fn unless_locked<T>(&self, sign: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
        if !self.is_card() {
            return sign();
        }
        let since = self.now_unless_held().ok_or(BackendError::Locked)?;
        let signed = sign()?;
        if self.now_unless_held() == Some(since) { Ok(signed) } else { Err(BackendError::LockedMeanwhile) }
    }

    /// Without a PIN for this signature.
    async fn sign_once(self: &Arc<Self>, order: &Order) -> Result<SignatureBytes, Refusal> {
        if self.config.kind == TokenKind::File && order.is_quick() {
            let _place = self.queue.acquire().await.map_err(Refusal::internal)?;
            self.lapse();
            return order.carry_out(self.backend.as_ref()).map_err(|error| self.refusal(&error));
        }
        let at_once = if order.is_quick() { self.sign_on_lane(order).await } else { None };
        match at_once {
            Some(signed) => signed,
            None => {
                let (order, slot) = (order.clone(), Arc::clone(self));
                let work = move |backend: &dyn Backend| slot.unless_locked(|| order.carry_out(backend));
                self.run_blinking(&self.queue, BLINK, work).await
            }
        }
    }

    /// The same with a PIN that a person typed for this signature: it is presented once, and wiped (FAULTS C1, C7).
    ///
    /// # Errors
    /// As [`Slot::unlock`] and [`Slot::sign`].
    pub async fn sign_typed(
        self: &Arc<Self>,
        key: &PublicKey,
        scheme: Scheme,
        subject: &Metadata,
        typed: Typed,
        turn: &Arc<Turn>,
    ) -> Result<SignatureBytes, Refusal> {
        let order = Order { key: key.clone(), scheme, subject: subject.clone(), turn: Arc::clone(turn) };
        let slot = Arc::clone(self);
        let work = async move {
            let Some(token) = slot.pkcs11.clone() else {
                return Err(Refusal::internal("a PIN for a signature of a token without a module"));
            };
            let Typed { secret, attempt } = typed;
            let user = attempt.user;
            slot.not_too_early(user)?;
            let _place = slot.queue.acquire().await.map_err(Refusal::internal)?;
            slot.lapse();
            let since = attempt.since;
            let before = slot.state();
            let _under_way = slot.begin_attempt(true);
            let signed =
                slot.present_to_sign(&token, order, Arc::new(secret), &Presenting::Person(attempt)).await;
            slot.note_delay(user, true, signed.as_ref().err());
            let overtaken = slot.now() != since;
            if overtaken || before == TokenState::Locked && slot.state() == TokenState::Unlocked {
                // It was the PIN that unlocks the card, too; a `lock` that came meanwhile wins, and nothing leaves after it.
                slot.begin_lease(since, slot.lease_of_person())?;
            }
            signed
        };
        // Whoever asked may go away meanwhile: what came of it is still noted.
        let work = tokio::spawn(work);
        self.until_locked(async { work.await.map_err(Refusal::internal)? }).await
    }

    /// By the helper's lane, without a thread that waits. None: it does not go this way.
    async fn sign_on_lane(&self, order: &Order) -> Option<Result<SignatureBytes, Refusal>> {
        let token = self.pkcs11.as_ref()?;
        // A token that is slow, or not known yet, has no more than it makes at once: the next caller may have gone by then.
        let swift = self.swift.load(Ordering::Relaxed);
        let share = if swift { 1 } else { u32::try_from(for_each(&self.config)).ok()? };
        let place = Arc::clone(&self.lane).acquire_many_owned(share).await.ok()?;
        self.lapse();
        let preimage = order.subject.preimage();
        let what = Signable::Metadata(&preimage);
        let began = Instant::now();
        let under_way = match token.begin_signature(&order.key, order.scheme, what, Box::new(place)) {
            Begun::UnderWay(under_way) => under_way,
            Begun::Refused(error) => return Some(Err(self.refusal(&error))),
            Begun::NotThisWay => return None,
        };
        attend(token, under_way.lane());
        let blink = if under_way.is_alone() { BLINK } else { Duration::ZERO };
        let mut under_way = std::pin::pin!(under_way);
        let made = match awake::within(blink, under_way.as_mut()).await {
            Some(made) => made,
            None => under_way.await,
        };
        self.swift.store(began.elapsed() < SWIFT, Ordering::Relaxed);
        let verified = made.and_then(|made| made.verify(&order.key, order.scheme, what));
        Some(verified.map_err(|error| self.refusal(&error)))
    }

    /// The key takes the PIN for this signature (FAULTS C7): it is taken from its source anew, presented once, and kept
    /// nowhere. One that was wrong before is not tried again by itself.
    async fn sign_with_pin(
        self: &Arc<Self>,
        order: Order,
        wanted: Refusal,
    ) -> Result<SignatureBytes, Refusal> {
        let slot = Arc::clone(self);
        // Whoever asked may go away meanwhile: what came of it is still noted.
        let work = async move {
            let Some((token, since)) = slot.pkcs11.clone().zip(slot.may_unlock_itself()) else {
                return Err(wanted);
            };
            let sourcing = slot.sourcing();
            let _alone = sourcing.by_itself.lock().await;
            let source = slot.by_itself_from_source(since).await?;
            let _under_way = slot.begin_attempt(false);
            let _place = slot.queue.acquire().await.map_err(Refusal::internal)?;
            slot.lapse();
            let before = slot.state();
            let signed = slot.present_to_sign(&token, order, source.pin, &source.how).await;
            slot.note_presented(source.content, signed.as_ref().err());
            if signed.is_ok() && before == TokenState::Locked && slot.state() == TokenState::Unlocked {
                slot.begin_lease(since, None)?;
            }
            signed
        };
        tokio::spawn(work).await.map_err(Refusal::internal)?
    }

    /// One signature with this PIN, in its turn: counted first, at the card that is meant.
    async fn present_to_sign(
        &self,
        token: &Arc<Pkcs11Token>,
        order: Order,
        pin: Arc<SecretBytes>,
        how: &Presenting,
    ) -> Result<SignatureBytes, Refusal> {
        let ask = move |token: &Pkcs11Token, asking: &Asking| order.carry_out_with(token, &pin, asking);
        self.ask_card(token, how, ask).await
    }
}

/// Sees to it that the answers of a lane are read, and that its end is noticed.
fn attend(token: &Arc<Pkcs11Token>, lane: &Arc<Lane>) {
    if !lane.attend() {
        return;
    }
    let (token, lane) = (Arc::clone(token), Arc::clone(lane));
    tokio::spawn(async move {
        if let Err(error) = read_on(&lane).await {
            tracing::error!(%error, "the answers of a token's helper cannot be waited for");
        }
        let ended = tokio::task::spawn_blocking(move || token.lane_ended(&lane)).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the end of a token's helper was not noted");
        }
    });
}

/// Until the helper's end.
async fn read_on(lane: &Lane) -> io::Result<()> {
    let socket = StdDatagram::from(lane.as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    // To the runtime, messages that come in their order are datagrams.
    let socket = UnixDatagram::from_std(socket)?;
    loop {
        socket.readable().await?;
        let read = || match lane.receive() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        };
        if socket.try_io(Interest::READABLE, read).is_ok() {
            return Ok(());
        }
    }
}

/// Signatures that a swift token has before it at a time: the next ones lie there when it is ready.
pub(super) fn on_lane(config: &TokenConfig) -> usize {
    at_once(config) * for_each(config)
}

/// The same for each that it makes at once.
fn for_each(config: &TokenConfig) -> usize {
    ON_LANE.div_ceil(at_once(config)).max(2)
}

/// Signatures that a token makes at once.
fn at_once(config: &TokenConfig) -> usize {
    match &config.kind {
        TokenKind::File | TokenKind::Yubikey(_) | TokenKind::Shares { .. } => 1,
        TokenKind::Pkcs11(module) => module.sessions.max(1),
    }
}

/// At least.
const ON_LANE: usize = 8;

/// A token that signs within this time, with others before it, is swift.
const SWIFT: Duration = Duration::from_millis(20);
