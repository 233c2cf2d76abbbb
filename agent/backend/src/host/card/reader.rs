//! Finding the one card among all readers, by its serial number, and losing it again.
//!
//! Others use the same reader and perhaps the same card: each card that comes is asked for its serial number once, one that
//! has the PIV application selected without selecting it anew, and never again before it was pulled.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Duration;

use pcsc::{Card, Context, Error};

use super::apdu::{Fault, Session};
use crate::host::protocol::{HostError, HostErrorKind};

/// All readers, and the card, once it was found.
#[derive(Default)]
pub(super) struct Readers {
    // The handle first: it is given up before its connection.
    open: Option<Card>,
    found: Option<(CString, u16)>,
    known: BTreeMap<CString, Seen>,
    context: Option<Context>,
}

/// What is known of the card that came into a reader as the so-manieth.
struct Seen {
    count: u16,
    found: Option<Identity>,
    asked: u32,
}

/// Which YubiKey it is.
#[derive(Clone, Copy)]
struct Identity {
    serial: u32,
    version: [u8; 3],
}

/// Whether the card is there.
pub(super) enum Presence {
    /// It has been there since it was last looked for.
    Still,
    /// It has come, or has come anew: what was known of it is no more.
    New,
}

impl Readers {
    /// Looks whether the card with this serial number is there; it is not asked when it has not moved.
    pub(super) fn look(&mut self, serial: u32) -> Result<Presence, HostError> {
        match self.look_once(serial) {
            // The service was started anew: all is to be found again.
            Err(Fault::Pcsc(Error::NoService)) => {
                self.forget();
                self.look_once(serial).map_err(told)
            }
            found => found.map_err(told),
        }
    }

    fn look_once(&mut self, serial: u32) -> Result<Presence, Fault> {
        let context = match self.context.take() {
            Some(context) => self.context.insert(context),
            None => self.context.insert(Context::establish()?),
        };
        if let Some((reader, count)) = &self.found {
            match context.presence(reader) {
                Ok(Some(now)) if now == *count => return Ok(Presence::Still),
                Ok(_) | Err(Error::NoReader) => {
                    self.open = None;
                    self.found = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (mut matching, mut others, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for reader in context.readers()? {
            let count = match context.presence(&reader) {
                Ok(Some(count)) => count,
                Ok(None) | Err(Error::NoReader) => {
                    self.known.remove(&reader);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let seen = self.known.entry(reader.clone()).or_insert(Seen { count, found: None, asked: 0 });
            if seen.count != count {
                *seen = Seen { count, found: None, asked: 0 };
            }
            if seen.found.is_none() && seen.asked < MOST_ASKED {
                match identify(context, &reader) {
                    Ok(found) => {
                        seen.found = found;
                        seen.asked = seen.asked.saturating_add(1);
                    }
                    Err(Fault::Pcsc(error @ Error::NoService)) => return Err(error.into()),
                    Err(Fault::Pcsc(Error::Held | Error::Busy)) => {
                        held.push(reader.to_string_lossy().into_owned())
                    }
                    // A card that answers nonsense keeps nobody from the others.
                    Err(_) => seen.asked = seen.asked.saturating_add(1),
                }
            }
            match seen.found {
                Some(is) if is.serial == serial && is.version < OLDEST => return Err(too_old(is).into()),
                Some(is) if is.serial == serial => matching.push((reader, count)),
                Some(is) => others.push(is.serial.to_string()),
                None => {}
            }
        }
        if matching.len() > 1 {
            return Err(ambiguous(serial, &matching).into());
        }
        self.found = matching.pop();
        match self.found {
            Some(_) => Ok(Presence::New),
            None if held.is_empty() => Err(absent(serial, &others).into()),
            None => Err(unseen(serial, &held).into()),
        }
    }

    /// The card, for as long as the transaction; other programs' are waited for no longer than `patience`. Whether another
    /// program was seen to have reset it meanwhile; what else one did to it shows when its PIN is asked for.
    pub(super) fn session(&mut self, serial: u32, patience: Duration) -> Result<(Session<'_>, bool), Fault> {
        let (Some(context), Some((reader, _))) = (&self.context, &self.found) else {
            return Err(Error::NoCard.into());
        };
        let card = self.open.get_or_insert_with(|| context.card(reader));
        let (transaction, reset) = card.transaction(patience)?;
        let session = Session::new(transaction);
        // Another program may have selected another application.
        let mut found = session.serial()?;
        for _ in 0..SELECTED_WITHIN {
            if found.is_none() && session.select()? {
                found = session.serial()?;
            }
        }
        match found {
            Some(found) if found == serial => Ok((session, reset)),
            // It came into the reader just now.
            Some(found) => {
                let message = format!("serial {found} is there, and serial {serial} is meant");
                Err(HostError::new(HostErrorKind::Swapped, message).into())
            }
            None => {
                let message =
                    "the card does not open its PIV application, or does not tell its serial number";
                Err(HostError::new(HostErrorKind::Device, message)
                    .remedy("take the YubiKey out and insert it again")
                    .into())
            }
        }
    }

    /// Lets others have the card. It keeps what it knows.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Which card is in a reader; none where it is no YubiKey with PIV.
fn identify(context: &Context, reader: &CString) -> Result<Option<Identity>, Fault> {
    let mut card = context.card(reader);
    let (transaction, _) = card.transaction(IDENTIFIED_WITHIN)?;
    let session = Session::new(transaction);
    let mut serial = session.serial()?;
    if serial.is_none() {
        if !session.select()? {
            return Ok(None);
        }
        serial = session.serial()?;
    }
    let version = session.version()?;
    if serial.is_none() && version < SERIAL_SINCE {
        serial = session.old_serial()?;
        session.select()?;
    }
    Ok(serial.map(|serial| Identity { serial, version }))
}

fn too_old(card: Identity) -> HostError {
    let Identity { serial, version: [major, minor, patch] } = card;
    let [oldest, second, _] = OLDEST;
    let message = format!(
        "the YubiKey with serial number {serial} has firmware {major}.{minor}.{patch}, and the agent works with \
         {oldest}.{second} and later: older ones do not tell which keys they hold"
    );
    HostError::new(HostErrorKind::Reader, message)
        .remedy("use a newer YubiKey: its firmware cannot be replaced")
}

/// One of them is not what it says (FAULTS 22).
fn ambiguous(serial: u32, readers: &[(CString, u16)]) -> HostError {
    let names: Vec<_> = readers.iter().map(|(reader, _)| reader.to_string_lossy()).collect();
    let message = format!(
        "{} cards say that they have serial number {serial}, in {}: none of them is used",
        readers.len(),
        names.join(" and ")
    );
    HostError::new(HostErrorKind::Reader, message).remedy("leave the right one in, and take the others out")
}

fn absent(serial: u32, others: &[String]) -> HostError {
    let mut message = format!("no YubiKey with serial number {serial}");
    if !others.is_empty() {
        message.push_str(&format!("; there is one with {}", others.join(", ")));
    }
    HostError::new(HostErrorKind::Absent, message)
}

/// It may well be the one in such a reader: that it is not there is more than anybody knows.
fn unseen(serial: u32, held: &[String]) -> HostError {
    let message = format!(
        "another program, or a touch that is waited for, holds the card in {}, so it cannot be asked whether it is the YubiKey \
         with serial number {serial}{}",
        held.join(", "),
        suspects()
    );
    HostError::new(HostErrorKind::Held, message).remedy(UNSEEN)
}

/// What PC/SC said, for people.
pub(super) fn told(fault: Fault) -> HostError {
    let error = match fault {
        Fault::Host(error) => return error,
        Fault::Pcsc(error) => error,
    };
    let (kind, remedy) = match &error {
        Error::NoLibrary(_) => (
            HostErrorKind::Reader,
            "install pcsc-lite's library and service (on Debian: apt install pcscd libpcsclite1)",
        ),
        Error::NoService => {
            (HostErrorKind::Reader, "start it (systemctl start pcscd.socket), and look at its log")
        }
        Error::NoReader | Error::NoCard => (HostErrorKind::Absent, "insert the YubiKey"),
        Error::Held => (HostErrorKind::Busy, HELD),
        Error::Busy => (HostErrorKind::Busy, BUSY),
        _ => (HostErrorKind::Device, "look at the reader; take the YubiKey out and insert it again"),
    };
    let suspects = if matches!(error, Error::Held | Error::Busy) { suspects() } else { String::new() };
    HostError::new(kind, format!("{error}{suspects}")).remedy(remedy)
}

/// Programs that run and are known to hold cards for themselves.
fn suspects() -> String {
    let mut running = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Some(known) = SUSPECTS.iter().find(|known| **known == name.trim_end())
            && !running.contains(known)
        {
            running.push(*known);
        }
    }
    if running.is_empty() { String::new() } else { format!("; it may be {}", running.join(", ")) }
}

/// Another program may have taken it away in between.
const SELECTED_WITHIN: u32 = 2;
/// The first firmware that tells what is in its slots.
const OLDEST: [u8; 3] = [5, 3, 0];
/// The first one whose PIV application tells its serial number.
const SERIAL_SINCE: [u8; 3] = [5, 0, 0];
const SUSPECTS: &[&str] =
    &["scdaemon", "ykman", "yubico-piv-tool", "yubikey-agent", "yubioath", "pkcs11-tool", "ssh-pkcs11-help"];
const HELD: &str = "end the other program, or have it share the card (for gpg: `pcsc-shared` in scdaemon.conf, then \
                    gpgconf --kill scdaemon)";
const BUSY: &str = "repeat the command when the other program is done with it, or end that (gpg's: gpgconf --kill scdaemon; \
                    also ssh-agent, ykman and browsers use cards)";
const UNSEEN: &str = "repeat the command when the other program is done with it, or end that, or have it share the card (for gpg: \
                      `pcsc-shared` in scdaemon.conf, then gpgconf --kill scdaemon); the agent goes on by itself then";
/// A reader whose card somebody uses is looked into again later.
const IDENTIFIED_WITHIN: Duration = Duration::from_secs(2);
/// A card that has just come may not answer at once; one that never does is let alone then.
const MOST_ASKED: u32 = 3;
