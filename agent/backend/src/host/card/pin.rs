//! The PIN and the PUK at the card: one entry is one attempt, and nothing is tried that could block it unsaid (DESIGN
//! section 4, rule 5; FAULTS C1, C3, C5).

use secmem::SecretBytes;

use super::apdu::{Fault, Session, Status};
use super::piv::Tries;
use super::{Answer, CardHost, Held};
use crate::host::line::Line;
use crate::host::login::not_traced;
use crate::host::plain;
use crate::host::protocol::{HostError, HostErrorKind, Reply, TokenStatus};

impl CardHost {
    /// One VERIFY, or none.
    pub(super) fn login(&mut self, pin: &[u8], last_try: bool, serial: Option<&str>) -> Answer {
        self.is_meant(serial)?;
        not_traced()?;
        // What was accepted before counts for nothing once another one is tried.
        self.pin = None;
        self.with_card(|session, host| {
            host.present(session, pin, last_try)?;
            *host.pin = Some(SecretBytes::copy_from(pin));
            // It is accepted, whatever comes after that.
            if let Ok(tries) = session.pin_tries() {
                host.note_tries(tries);
            }
            Ok(())
        })?;
        plain(Reply::Status(TokenStatus { logged_in: true, proven: true, ..self.status.clone() }))
    }

    pub(super) fn logout(&mut self) {
        if self.pin.take().is_some() {
            self.make_forget();
        }
        self.readers.close();
    }

    /// The card forgets the PIN, too: one that another program uses, when that is done. One that is gone has done so.
    pub(super) fn make_forget(&mut self) {
        let done = self.with_card(|session, _| session.select());
        self.to_forget = done.is_err_and(|error| error.kind == HostErrorKind::Busy);
    }

    pub(super) fn change_pin(
        &mut self,
        old: &[u8],
        new: &[u8],
        last_try: bool,
        serial: Option<&str>,
    ) -> Answer {
        self.is_meant(serial)?;
        not_traced()?;
        // What is none would cost a try.
        is_pin("PIN", old)?;
        is_pin("PIN", new)?;
        self.with_card(|session, host| {
            let before = host.may_try(session, last_try)?;
            let status = session.change_pin(old, new).map_err(unclear)?;
            // Whatever it was: the next use asks for it again.
            let stood = host.pin.take().is_some();
            host.judge(session, status, before)?;
            if stood {
                *host.pin = Some(SecretBytes::copy_from(new));
            }
            // The new PIN is in force, whatever comes after that.
            let _ = host.look_at_tries(session);
            Ok(())
        })?;
        plain(Reply::Done)
    }

    pub(super) fn change_puk(
        &mut self,
        (old, new): (&[u8], &[u8]),
        last_try: bool,
        serial: Option<&str>,
    ) -> Answer {
        self.is_meant(serial)?;
        not_traced()?;
        is_pin("PUK", old)?;
        is_pin("PUK", new)?;
        self.with_card(|session, host| {
            let before = host.may_try_puk(session, last_try)?;
            let status = session.change_puk(old, new).map_err(unclear)?;
            host.judge_puk(session, status, before)
        })?;
        plain(Reply::Done)
    }

    pub(super) fn unblock(
        &mut self,
        (puk, pin): (&[u8], &[u8]),
        last_try: bool,
        serial: Option<&str>,
    ) -> Answer {
        self.is_meant(serial)?;
        not_traced()?;
        is_pin("PUK", puk)?;
        is_pin("PIN", pin)?;
        self.with_card(|session, host| {
            let before = host.may_try_puk(session, last_try)?;
            let status = session.unblock(puk, pin).map_err(unclear)?;
            host.judge_puk(session, status, before)?;
            *host.pin = None;
            let _ = host.look_at_tries(session);
            Ok(())
        })?;
        plain(Reply::Done)
    }

    pub(super) fn is_meant(&self, serial: Option<&str>) -> Result<(), HostError> {
        let own = self.serial.to_string();
        match serial {
            Some(serial) if serial != own => {
                let message = format!("the PIN is for serial {serial:?}, and serial {own:?} is there");
                Err(HostError::new(HostErrorKind::Swapped, message))
            }
            _ => Ok(()),
        }
    }
}

impl Held<'_> {
    pub(super) fn note_tries(&mut self, tries: Option<Tries>) {
        // Of an old card whose PIN is verified nothing new is known.
        let Some(tries) = tries else { return };
        self.status.tries_left = Some(tries.left);
        self.status.tries_gone = tries.total.map(|total| total.saturating_sub(tries.left));
        self.status.count_low = tries.total.is_some_and(|total| tries.left < total);
        self.status.final_try = tries.left == 1;
        self.status.blocked = tries.left == 0;
    }

    /// The tries that the PIN has now; where it has none, whether the PUK has any.
    pub(super) fn look_at_tries(&mut self, session: &Session<'_>) -> Result<Option<Tries>, Fault> {
        let tries = session.pin_tries()?;
        self.note_tries(tries);
        self.status.puk_blocked =
            self.status.blocked && session.puk_tries()?.is_some_and(|puk| puk.left == 0);
        Ok(tries)
    }

    /// The tries before an attempt, when there may be one.
    fn may_try(&mut self, session: &Session<'_>, last_try: bool) -> Result<Option<Tries>, HostError> {
        let tries = self.look_at_tries(session).map_err(super::told)?;
        match tries.map(|tries| tries.left) {
            Some(0) => Err(self.blocked().unasked()),
            Some(1) if !last_try => {
                Err(HostError::new(HostErrorKind::FinalTry, "the card says that one try is left"))
            }
            _ => Ok(tries),
        }
    }

    /// The tries of the PUK before an attempt, when there may be one. They were looked at before, but another program may have
    /// taken some since.
    fn may_try_puk(&mut self, session: &Session<'_>, last_try: bool) -> Result<Option<Tries>, Fault> {
        let tries = session.puk_tries()?;
        match tries.map(|tries| tries.left) {
            Some(0) => Err(self.blocked_puk(session).unasked().into()),
            None | Some(1) if !last_try => {
                Err(HostError::new(HostErrorKind::PukFinalTry, "the PUK may have one try left").into())
            }
            _ => Ok(tries),
        }
    }

    /// One attempt with a PIN that a person or a source gave.
    pub(super) fn present(&mut self, session: &Session<'_>, pin: &[u8], last_try: bool) -> Result<(), Fault> {
        // A shorter one is none, and would cost a try.
        is_pin("PIN", pin)?;
        let before = self.may_try(session, last_try)?;
        let status = session.verify(pin).map_err(unclear)?;
        self.judge(session, status, before)
    }

    /// What came of an attempt. The card was asked: what is neither a yes nor a count of tries that bears a no out does not
    /// say what that has cost, and is never told as if it had not been asked. Whoever presents PINs by himself does not
    /// present this one again.
    fn judge(&mut self, session: &Session<'_>, status: Status, before: Option<Tries>) -> Result<(), Fault> {
        if status == Status::DONE {
            // With that it has all its tries again.
            self.note_tries(
                before.and_then(|before| before.total.map(|total| Tries { left: total, ..before })),
            );
            return Ok(());
        }
        // Its word on a refusal is believed as far as its tries bear it out, "blocked" no less than "wrong".
        let read = session.pin_tries().ok().flatten().map(|tries| tries.left);
        let after = read.or(status.tries());
        if let Some(left) = after {
            self.note_tries(Some(Tries { left, ..before.unwrap_or_default() }));
        }
        let (Some(_), Some(after)) = (status.tries(), after) else {
            return Err(unreadable("PIN", status).tries_left(after).into());
        };
        if before.is_some_and(|before| before.left == after) {
            let message = "the card refused the PIN and counted no try, as after a fault of the reader";
            return Err(HostError::new(HostErrorKind::PinUnclear, message)
                .remedy("make sure of the PIN, then unlock it again: tufctl token unlock NAME")
                .into());
        }
        if after == 0 {
            self.status.puk_blocked =
                session.puk_tries().is_ok_and(|puk| puk.is_some_and(|puk| puk.left == 0));
            return Err(self.blocked().into());
        }
        Err(HostError::new(HostErrorKind::PinIncorrect, "the PIN is wrong").tries_left(Some(after)).into())
    }

    /// What came of an attempt with the PUK; as with the PIN, one that was not counted was none.
    fn judge_puk(
        &mut self,
        session: &Session<'_>,
        status: Status,
        before: Option<Tries>,
    ) -> Result<(), Fault> {
        if status == Status::DONE {
            return Ok(());
        }
        let Some(told) = status.tries() else { return Err(unreadable("PUK", status).into()) };
        let left = session.puk_tries().ok().flatten().map_or(told, |tries| tries.left);
        if before.is_some_and(|before| before.left == left && left > 0) {
            let message = "the card refused the PUK and counted no try, as after a fault of the reader";
            return Err(HostError::new(HostErrorKind::Device, message).remedy("try it again").into());
        }
        if left > 0 {
            let wrong = HostError::new(HostErrorKind::PukIncorrect, "the PUK is wrong");
            return Err(wrong.tries_left(Some(left)).into());
        }
        Err(self.blocked_puk(session).into())
    }

    /// The PUK has no try left.
    fn blocked_puk(&mut self, session: &Session<'_>) -> HostError {
        // What is left to do depends on the PIN.
        let _ = self.look_at_tries(session);
        match self.status.blocked {
            true => self.blocked(),
            false => HostError::new(HostErrorKind::PukLocked, "the card says that its PUK is blocked"),
        }
    }

    /// The PIN has no try left.
    fn blocked(&self) -> HostError {
        match self.status.puk_blocked {
            true => HostError::new(
                HostErrorKind::BothLocked,
                "the card says that its PIN and its PUK are blocked",
            ),
            false => HostError::new(HostErrorKind::PinLocked, "the card says that its PIN is blocked"),
        }
    }

    /// Sees that the PIN is verified in this transaction. A card that has forgotten it (another program reset it, or used
    /// another application) gets the one that it accepted, once, and only while all tries are left. The agent counts that
    /// before it is done.
    pub(super) fn verified(&mut self, session: &Session<'_>, line: &Line<'_>) -> Result<(), Fault> {
        let lost = |message: &str| HostError::new(HostErrorKind::NotLoggedIn, message);
        if self.pin.is_none() {
            return Err(lost("the card is locked").into());
        }
        // An answer that says nothing about the PIN costs nothing of it.
        if session.pin_verified()? {
            return Ok(());
        }
        let tries = session.pin_tries()?;
        self.note_tries(tries);
        not_traced()?;
        // From here on it is kept only when the card takes it.
        let Some(pin) = self.pin.take() else { return Err(lost("the card is locked").into()) };
        if tries.is_none_or(|tries| tries.total != Some(tries.left)) {
            return Err(lost("the card forgot the PIN, and not all of its tries are left").into());
        }
        if !line.may_present() {
            return Err(lost("the card forgot the PIN, and could not be given it again").into());
        }
        let status = session.verify(pin.reveal_secret_bytes()).map_err(unclear)?;
        let Err(refused) = self.judge(session, status, tries) else {
            line.presented(true);
            *self.pin = Some(pin);
            return Ok(());
        };
        if session
            .pin_tries()
            .is_ok_and(|after| after.map(|after| after.left) == tries.map(|tries| tries.left))
        {
            line.presented(false);
        }
        Err(match refused {
            Fault::Host(error) if error.kind == HostErrorKind::PinIncorrect => {
                Fault::Host(HostError { kind: HostErrorKind::PinChanged, ..error })
            }
            refused => refused,
        })
    }
}

/// A PIN or PUK of the form that cards take.
fn is_pin(word: &str, typed: &[u8]) -> Result<(), HostError> {
    match typed.len() {
        6..=8 if typed.iter().all(|byte| *byte != 0xff) => Ok(()),
        _ => Err(HostError::new(
            HostErrorKind::PinRefused,
            format!("a YubiKey's {word} has six to eight characters"),
        )),
    }
}

/// The card was asked, and says neither that it is right nor how many tries are left.
fn unreadable(word: &str, status: Status) -> HostError {
    let message = format!("it was asked, and answered {:04X} to the {word}", status.0);
    HostError::new(HostErrorKind::PinUnclear, message)
}

/// Where the PIN was sent and no answer came, as from a card that was pulled.
fn unclear(fault: Fault) -> Fault {
    match fault {
        Fault::Pcsc(error) => {
            let message = format!("it was asked, and then: {error}");
            HostError::new(HostErrorKind::PinUnclear, message).into()
        }
        fault => fault,
    }
}
