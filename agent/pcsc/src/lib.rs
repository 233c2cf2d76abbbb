//! Smart cards through pcsc-lite, whose library is loaded when a card is first asked for.
//!
//! Duty: the few calls of PC/SC that a YubiKey needs, safe and with errors that say what is wrong. The program builds
//! without pcsc-lite's headers and runs without its library and daemon. Trust: libpcsclite keeps to its documented
//! interface. Invariants: a card is never reset by this side, whatever ends: handles and transactions leave the card
//! as it is.
#![deny(unsafe_code)]

#[allow(unsafe_code)] // Calling a C library. Each block says why it is sound.
mod library;

use std::ffi::{CStr, CString};
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
            0x8010_0016 | 0x8010_002F => Self::NoAnswer,
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

    /// Connects to the card in a reader, sharing it with others.
    ///
    /// # Errors
    /// [`Error::NoCard`], [`Error::Held`] and others.
    pub fn connect(&self, reader: &CStr) -> Result<Card, Error> {
        let (library, context) = (self.library, self.handle);
        let handle = once_powered(|| library.connect(context, reader))?;
        Ok(Card { library, context, reader: reader.to_owned(), handle })
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
    /// Of the connection that it was found by, and in which reader. Once that has ended the library refuses it.
    context: library::Handle,
    reader: CString,
    handle: library::Handle,
}

impl Card {
    /// Takes the card until the transaction is dropped. Waits for other programs' transactions. Where another program
    /// has reset the card it is taken up again; the flag says so.
    ///
    /// # Errors
    /// [`Error::NoCard`], [`Error::NoService`] and others.
    pub fn transaction(&mut self) -> Result<(Transaction<'_>, bool), Error> {
        let mut reset = false;
        // A second reset may come while the first one is taken note of.
        for _ in 0..RESETS {
            match self.library.begin(self.handle) {
                Ok(()) => return Ok((Transaction { card: self }, reset)),
                Err(Error::Reset | Error::Unpowered) => {
                    reset = true;
                    self.take_up()?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Reset)
    }

    /// By a new handle: after SCardReconnect pcscd goes on to take the card for one without power, and refuses it to every
    /// program but this one.
    fn take_up(&mut self) -> Result<(), Error> {
        self.library.disconnect(self.handle);
        self.handle = once_powered(|| self.library.connect(self.context, &self.reader))?;
        Ok(())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.library.disconnect(self.handle);
    }
}

/// While it lives no other program talks to the card.
#[derive(Debug)]
pub struct Transaction<'a> {
    card: &'a mut Card,
}

impl Transaction<'_> {
    /// Sends one command and gives its answer, with the status word at its end.
    ///
    /// # Errors
    /// [`Error::NoCard`] and others.
    pub fn transmit<'b>(&self, command: &[u8], answer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let len = self.card.library.transmit(self.card.handle, command, answer)?;
        answer.get(..len).ok_or(Error::Other(0))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.card.library.end(self.card.handle);
    }
}

const RESETS: usize = 4;
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
