//! The connection with vpcd: two bytes of length, then a byte that says on, off, reset or "your ATR", or a command.
//!
//! vpcd listens, and the card connects: a connection is a card in the slot. (It can be told to connect itself; Debian's
//! does so once and then crashes pcscd.)

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::apdu::{Command, FAILED, NOT_SATISFIED, Parts, Stop, WRONG_LENGTH};
use crate::applets;
use crate::card::{Entry, Powered, Reader, Seen};
use crate::dial::dial;
use crate::faults::Fault;
use crate::piv;
use crate::session::Session;

/// That of a YubiKey 5: with T=1.
const ATR: [u8; 20] = [
    0x3b, 0xfd, 0x13, 0, 0, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62,
    0x69, 0x4b,
];
const ATR_END: [u8; 3] = [0x65, 0x79, 0x40];

const OFF: u8 = 0;
const ON: u8 = 1;
const RESET: u8 = 2;
const ASK_ATR: u8 = 4;

/// Connects to vpcd's port, in the network of whoever serves at `dialer`, while a card is in the reader, as long as the process
/// lives or until it gets another one.
pub(crate) fn serve(reader: &Arc<Reader>, dialer: Option<PathBuf>, port: u16) {
    let turn = reader.change(|inner| {
        inner.port = Some(port);
        inner.turn = inner.turn.wrapping_add(1);
        inner.cut();
        inner.turn
    });
    let reader = Arc::clone(reader);
    thread::spawn(move || {
        while reader.lock().turn == turn {
            if !reader.wait_until(LOOK_AGAIN, |inner| inner.inserted && inner.port == Some(port)) {
                continue;
            }
            let made = match &dialer {
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)),
                Some(dialer) => dial(dialer, port),
            };
            match made {
                // What breaks a connection is the other side, or that the card is pulled out.
                Ok(stream) => drop(connected(stream, &reader)),
                // No pcscd (yet).
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    });
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);

fn connected(mut stream: TcpStream, reader: &Reader) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let handle = stream.try_clone()?;
    reader.change(|inner| {
        inner.session = Session::default();
        inner.seen = Seen::default();
        // It may have been pulled out in between.
        inner.stream = Some(handle).filter(|_| inner.inserted);
        inner.linked = true;
    });
    let ended = converse(&mut stream, reader);
    reader.change(|inner| inner.cut());
    // vpcd notices when it asks the next time, and hangs up.
    let _ = stream.shutdown(Shutdown::Write);
    let mut last = Vec::new();
    // However that ends, it has ended.
    let _ = stream.read_to_end(&mut last);
    if !last.ends_with(&[0, 1, ASK_ATR]) {
        // In the middle of a command vpcd hangs up at once, and pcscd misses the card only when it looks: 0.4 s later. One
        // that is back before then was never away.
        thread::sleep(Duration::from_millis(1200));
    }
    reader.change(|inner| inner.linked = false);
    ended
}

/// Until either side ends it.
fn converse(stream: &mut TcpStream, reader: &Reader) -> io::Result<()> {
    let mut parts = Parts::default();
    while reader.lock().stream.is_some() {
        let message = receive(stream)?;
        let answer = match *message.as_slice() {
            [what @ (OFF | ON | RESET)] => {
                parts = Parts::default();
                reader.change(|inner| {
                    inner.session = Session::default();
                    inner.seen.powered |= what != OFF;
                    inner.seen.asked = 0;
                });
                continue;
            }
            [ASK_ATR] => {
                reader.change(|inner| inner.seen.asked = inner.seen.asked.saturating_add(1));
                Some([&ATR[..], &ATR_END].concat())
            }
            _ => transmitted(&message, &mut parts, reader),
        };
        let Some(answer) = answer else { return Ok(()) };
        send(stream, &answer)?;
    }
    Ok(())
}

/// vpcd writes length and message apart, and holds the second back until the first was acknowledged: at once, please.
fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 2];
    rustix::net::sockopt::set_tcp_quickack(&*stream, true)?;
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    rustix::net::sockopt::set_tcp_quickack(&*stream, true)?;
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let len = u16::try_from(answer.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), answer].concat())
}

/// A command, with what is to go wrong at it; `None` when the connection is to end without an answer.
fn transmitted(message: &[u8], parts: &mut Parts, reader: &Reader) -> Option<Vec<u8>> {
    let Some(command) = Command::parse(message) else { return Some(WRONG_LENGTH.to_be_bytes().to_vec()) };
    let (mut entry, (fault, delay)) = (
        Entry { ins: command.ins, p1: command.p1, p2: command.p2, sw: 0 },
        reader.change(|inner| (inner.faults.at(command.ins), inner.delay)),
    );
    let slow = if let Some(Fault::Slow(slow)) = fault { slow } else { Duration::ZERO };
    if delay + slow > Duration::ZERO {
        thread::sleep(delay + slow);
    }
    let answer = match &fault {
        Some(Fault::Sw(sw)) => Some(sw.to_be_bytes().to_vec()),
        Some(Fault::Answer(answer)) => Some(answer.clone()),
        Some(Fault::Close | Fault::Remove) => None,
        Some(Fault::SwAfter(sw)) => handled(command, parts, reader).map(|_| sw.to_be_bytes().to_vec()),
        Some(Fault::RemoveAfter) => handled(command, parts, reader).and(None),
        Some(Fault::Slow(_)) | None => handled(command, parts, reader),
    };
    if let Some((_, sw)) = answer.as_ref().and_then(|answer| answer.split_last_chunk()) {
        entry.sw = u16::from_be_bytes(*sw);
    }
    reader.change(|inner| {
        inner.record(entry);
        if matches!(fault, Some(Fault::Remove | Fault::RemoveAfter)) {
            inner.remove();
        }
    });
    answer
}

/// `None` when the card was pulled out meanwhile.
fn handled(command: Command, parts: &mut Parts, reader: &Reader) -> Option<Vec<u8>> {
    let command = match parts.whole(command) {
        Ok(command) => command,
        Err(part) => return Some(part),
    };
    loop {
        let (answer, kept) = reader.change(|inner| {
            if !inner.inserted {
                return None;
            }
            let mut card =
                Powered { state: &mut inner.state, session: &mut inner.session, lies: &inner.lies };
            let answer = applets::handle(&mut card, &command);
            let keep = inner.keep_in.as_ref().filter(|_| piv::changes(command.ins));
            Some((answer, keep.map(|file| inner.state.write(file))))
        })?;
        if let Some(Err(why)) = kept {
            // A card that forgets is not what a test asked for.
            let _ = writeln!(io::stderr(), "virtual-yubikey: {why}");
            return Some(FAILED.to_be_bytes().to_vec());
        }
        match answer {
            Ok(data) => {
                reader.change(|inner| inner.session.touched = false);
                return Some(parts.answer(data, command.room));
            }
            Err(Stop::Sw(sw)) => {
                reader.change(|inner| inner.session.touched = false);
                return Some(sw.to_be_bytes().to_vec());
            }
            Err(Stop::Touch) => {
                if !touched(reader)? {
                    return Some(NOT_SATISFIED.to_be_bytes().to_vec());
                }
            }
        }
    }
}

/// Whether somebody touched in time; `None` when the card was pulled out.
fn touched(reader: &Reader) -> Option<bool> {
    let limit = reader.change(|inner| {
        inner.touch.waits = true;
        inner.touch.came = false;
        inner.touch.asked = inner.touch.asked.saturating_add(1);
        inner.tell("touch-wait");
        inner.touch.limit
    });
    let decided =
        reader.wait_until(limit, |inner| inner.touch.came || inner.touch.auto || inner.stream.is_none());
    reader.change(|inner| {
        inner.touch.waits = false;
        inner.stream.as_ref()?;
        inner.tell(if decided { "touch-ok" } else { "touch-timeout" });
        if decided {
            inner.session.touch();
        }
        Some(decided)
    })
}
