//! Smart cards through pcsc-lite, whose library is loaded when a card is first asked for.
//!
//! Duty: the few calls of PC/SC that a YubiKey needs, safe and with errors that say what is wrong. The program builds
//! without pcsc-lite's headers and runs without its library and daemon. Trust: libpcsclite keeps to its documented
//! interface. Invariants: a card is never reset by this side, whatever ends: handles and transactions leave the card
//! as it is; nobody waits for another program's transaction longer than was said.
#![deny(unsafe_code)]

#[allow(unsafe_code)] // Calling a C library. Each block says why it is sound.
mod library;
mod patience;

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use library::Library;

/// Why a card could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library is not there, or is not what it should be.
    #[error("libpcsclite cannot be loaded: {0}")]
    NoLibrary(String),
    /// The daemon does not run, or has ended.
    #[error("pcscd, the smart card service, does not answer")]
    NoService,
    /// There is no reader, or this one is gone.
    #[error("the reader is not there")]
    NoReader,
    /// No card is in the reader, or it was pulled.
    #[error("the card is not there")]
    NoCard,
    /// Another program has switched the card off. Nothing was sent to it.
    #[error("the card has no power, as after a program that switched it off")]
    Unpowered,
    /// Another program has reset the card since it was last asked. Nothing was sent to it.
    #[error("another program has reset the card")]
    Reset,
    /// Another program holds the card for itself alone.
    #[error("another program holds the card for itself alone")]
    Held,
    /// Another program is within a transaction, and was not done with it in time. Nothing was sent to the card.
    #[error("another program is in the middle of using the card")]
    Busy,
    /// The card was asked, and did not answer.
    #[error("the card gave no answer, as when it is pulled out")]
    NoAnswer,
    /// Anything else, by its number.
    #[error("pcsc-lite's error {0:#010x}")]
    Other(u32),
}

impl Error {
    fn of(code: u32) -> Self {
        match code {
            0x8010_001D | 0x8010_001E | 0x8010_0003 | 0x8010_0018 | 0x8010_0001 => Self::NoService,
            0x8010_0009 | 0x8010_0017 | 0x8010_002E => Self::NoReader,
            0x8010_000C | 0x8010_0066 | 0x8010_0069 | 0x8010_0010 => Self::NoCard,
            0x8010_0067 => Self::Unpowered,
            0x8010_0068 => Self::Reset,
            0x8010_000B => Self::Held,
            // The last one is what is left of a request when the service ends under it.
            0x8010_0016 | 0x8010_002F | 0x8010_0013 => Self::NoAnswer,
            code => Self::Other(code),
        }
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Context {
    library: &'static Library,
    handle: library::Handle,
}

impl Context {
    /// Connects to the daemon that `PCSCLITE_CSOCK_NAME` names, or the system's.
    ///
    /// # Errors
    /// [`Error::NoLibrary`], [`Error::NoService`].
    pub fn establish() -> Result<Self, Error> {
        let library = library::get()?;
        Ok(Self { library, handle: library.establish()? })
    }

    /// The readers that are there.
    ///
    /// # Errors
    /// [`Error::NoService`].
    pub fn readers(&self) -> Result<Vec<CString>, Error> {
        match self.library.readers(self.handle) {
            Err(Error::NoReader) => Ok(Vec::new()),
            found => found,
        }
    }

    /// Counts cards that came into and left a reader. None: no card is in it now. The card is not asked for that.
    ///
    /// # Errors
    /// [`Error::NoReader`], [`Error::NoService`].
    pub fn presence(&self, reader: &CStr) -> Result<Option<u16>, Error> {
        self.library.presence(self.handle, reader)
    }

    /// The card in a reader, to be shared with others. It is not asked yet.
    #[must_use]
    pub fn card(&self, reader: &CStr) -> Card {
        Card { library: self.library, reader: reader.to_owned(), open: Arc::default() }
    }
}

/// A program that has ended may have switched the card off, as ykman does: pcscd refuses it for a moment, and switches it on
/// again for whoever asks then.
fn once_powered<T>(ask: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let end = Instant::now() + POWERED_WITHIN;
    loop {
        match ask() {
            Err(Error::Unpowered) if Instant::now() < end => std::thread::sleep(POWERED_SOON),
            done => return done,
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.library.release(self.handle);
    }
}

/// A card that is shared with other programs.
#[derive(Debug)]
pub struct Card {
    library: &'static Library,
    reader: CString,
    /// Kept while the card is: pcscd may switch off a card to which nobody has a handle.
    open: Arc<Mutex<Option<Open>>>,
}

impl Card {
    /// Takes the card until the transaction is dropped. Where another program has reset the card it is taken up again; the
    /// flag says so. Other programs' transactions are waited for no longer than `limit`.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Held`], [`Error::NoCard`], [`Error::NoService`] and others.
    pub fn transaction(&mut self, limit: Duration) -> Result<(Transaction<'_>, bool), Error> {
        let (library, reader) = (self.library, self.reader.clone());
        let home = Arc::downgrade(&self.open);
        let job = move || {
            // From an attempt before this one that came too late, too.
            let open = home.upgrade().and_then(|home| patience::lock(&home).take());
            let (open, reset) = begin(library, &reader, open)?;
            Ok(Begun { open, home, reset })
        };
        let Begun { open, reset, .. } = patience::within(&self.reader, limit, job)??;
        let card = open.card;
        *patience::lock(&self.open) = Some(open);
        Ok((Transaction { library, card, _card: PhantomData }, reset))
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let open = patience::lock(&self.open).take();
        if let Some(open) = open {
            // There are services that give no handle back while another program uses the card.
            let _ = patience::within(&self.reader, GIVEN_BACK_WITHIN, move || drop(open));
        }
    }
}

/// A handle by a connection of its own: whoever waits with it for other programs keeps nobody from looking into readers.
#[derive(Debug)]
struct Open {
    library: &'static Library,
    context: library::Handle,
    card: library::Handle,
}

impl Open {
    fn new(library: &'static Library, reader: &CStr) -> Result<Self, Error> {
        let context = library.establish()?;
        match once_powered(|| library.connect(context, reader)) {
            Ok(card) => Ok(Self { library, context, card }),
            Err(error) => {
                library.release(context);
                Err(error)
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.library.disconnect(self.card);
        self.library.release(self.context);
    }
}

/// A card that is ours alone, if only for as long as somebody wants it.
struct Begun {
    open: Open,
    home: Weak<Mutex<Option<Open>>>,
    reset: bool,
}

impl patience::GiveUp for Result<Begun, Error> {
    fn give_up(self) {
        let Ok(Begun { open, home, .. }) = self else { return };
        open.library.end(open.card);
        if let Some(home) = home.upgrade() {
            *patience::lock(&home) = Some(open);
        }
    }
}

fn begin(library: &'static Library, reader: &CStr, open: Option<Open>) -> Result<(Open, bool), Error> {
    let mut reset = false;
    let mut open = open.map_or_else(|| Open::new(library, reader), Ok)?;
    // A second reset may come while the first one is taken note of.
    for _ in 0..RESETS {
        match library.begin(open.card) {
            Ok(()) => return Ok((open, reset)),
            Err(Error::Reset | Error::Unpowered) => {
                reset = true;
                // By a new handle: after SCardReconnect pcscd goes on to take the card for one without power, and refuses
                // it to every program but this one.
                drop(open);
                open = Open::new(library, reader)?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Reset)
}

/// While it lives no other program talks to the card.
#[derive(Debug)]
pub struct Transaction<'a> {
    library: &'static Library,
    card: library::Handle,
    _card: PhantomData<&'a mut Card>,
}

impl Transaction<'_> {
    /// Sends one command and gives its answer, with the status word at its end.
    ///
    /// # Errors
    /// [`Error::NoCard`] and others.
    pub fn transmit<'b>(&self, command: &[u8], answer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let len = self.library.transmit(self.card, command, answer)?;
        answer.get(..len).ok_or(Error::Other(0))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.library.end(self.card);
    }
}

const RESETS: usize = 4;
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);
const POWERED_WITHIN: Duration = Duration::from_secs(5);
const POWERED_SOON: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_card_without_power_is_asked_again_and_any_other_answer_counts() {
        let asked = Cell::new(0);
        let powered = once_powered(|| {
            asked.set(asked.get() + 1);
            if asked.get() < 3 { Err(Error::of(0x8010_0067)) } else { Ok(asked.get()) }
        });
        assert_eq!(powered, Ok(3));
        assert_eq!(once_powered(|| Err::<(), _>(Error::of(0x8010_000C))), Err(Error::NoCard));
    }
}
