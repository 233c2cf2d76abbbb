//! The card's orders, one a line, with one line in answer: `ok …` or `error …`.
//!
//! | order | |
//! | --- | --- |
//! | `touch` | touches; nothing happens where nothing waits |
//! | `touch-auto on\|off` | touches whenever it waits |
//! | `touch-timeout-ms N` | how long it waits for a touch (15,000) |
//! | `delay-ms N` | each command takes so long |
//! | `fail-next SW …` | the next commands get these status words |
//! | `fail-apdu N FAULT` | the N-th command from now; `FAULT` is a status word, `after SW` (when all is done), `answer HEX`, `slow MS` (before it is done), `close` (a reset), `remove`, `remove after` |
//! | `fail-ins INS N FAULT` | the N-th command from now with this instruction |
//! | `remove-at N [after]` | pulled out at the N-th command from now; when it is done, before it answers |
//! | `forgive` | what was to go wrong goes well |
//! | `attest serial N`, `firmware A.B.C`, `policy PIN TOUCH`, `key`, `signer`, `expired`, `bare`, `truth` | what attestations say |
//! | `remove`, `insert`, `insert FILE`, `swap FILE` | out, in, another card |
//! | `wipe` | a new card with the same serial and firmware |
//! | `persist FILE` | what the card keeps is kept in this file from now on |
//! | `status` | `inserted= serial= firmware= pin-tries= puk-tries= verifies= authentications= signatures= apdus= touch-waits= waiting= faults= seen=` |
//! | `log` | the last commands: `INS:P1:P2:SW …` |
//! | `events` | from now on a line for each `touch-wait`, `touch-ok`, `touch-timeout`, `inserted`, `removed` |
//! | `quit` | the program ends |

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::card::{Card, Inner};
use crate::faults::Fault;
use crate::state::State;
use crate::{Root, attest::Lies};

/// Takes orders at a socket until `quit`.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(card: &Card, root: &Root, socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let (quit, quits) = mpsc::channel();
    let (card, root) = (card.clone(), root.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (card, root, quit) = (card.clone(), root.clone(), quit.clone());
            thread::spawn(move || {
                // Whoever gives orders may go at any time.
                if let Ok(true) = orders(&card, &root, stream) {
                    let _ = quit.send(());
                }
            });
        }
    });
    // The sender lives as long as the thread that accepts.
    let _ = quits.recv();
    std::fs::remove_file(socket)
}

/// Whether the last order was to quit.
fn orders(card: &Card, root: &Root, mut stream: UnixStream) -> io::Result<bool> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        match line?.trim() {
            "quit" => {
                writeln!(stream, "ok")?;
                return Ok(true);
            }
            "events" => {
                let (sender, events) = mpsc::channel();
                card.reader.change(|inner| inner.listeners.push(sender));
                writeln!(stream, "ok")?;
                for event in events {
                    writeln!(stream, "{event}")?;
                }
            }
            line => match card.order(line, root) {
                Ok(told) => writeln!(stream, "{}", format!("ok {told}").trim_end())?,
                Err(why) => writeln!(stream, "error {why}")?,
            },
        }
    }
    Ok(false)
}

impl Card {
    /// One order of the table.
    ///
    /// # Errors
    /// Why it was not done, one sentence.
    pub fn order(&self, line: &str, root: &Root) -> Result<String, String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let unknown = || format!("no such order: {line}");
        let number = |text: &str| text.parse::<u64>().map_err(|_| unknown());
        let done = |()| String::new();
        match *words.as_slice() {
            ["touch"] => self.touch(),
            ["touch-auto", how @ ("on" | "off")] => self.touch_always(how == "on"),
            ["touch-timeout-ms", ms] => self.touch_within(Duration::from_millis(number(ms)?)),
            ["delay-ms", ms] => {
                let delay = Duration::from_millis(number(ms)?);
                self.reader.change(|inner| inner.delay = delay);
            }
            ["fail-next", ref words @ ..] if !words.is_empty() => {
                let faults: Result<Vec<_>, _> = words.iter().map(|word| Fault::parse(&[word])).collect();
                faults?.into_iter().zip(1..).for_each(|(fault, nth)| self.fail(nth, fault));
            }
            ["fail-apdu", nth, ref fault @ ..] => self.fail(number(nth)?, Fault::parse(fault)?),
            ["fail-ins", ins, nth, ref fault @ ..] => {
                let ins = u8::from_str_radix(ins, 16).map_err(|_| unknown())?;
                self.fail_at(ins, number(nth)?, Fault::parse(fault)?);
            }
            ["remove-at", nth] => self.fail(number(nth)?, Fault::Remove),
            ["remove-at", nth, "after"] => self.fail(number(nth)?, Fault::RemoveAfter),
            ["forgive"] => self.reader.change(|inner| inner.faults.clear()),
            ["attest", ref words @ ..] => return self.lie(words).ok_or_else(unknown).map(done),
            ["remove"] => self.remove(),
            ["insert"] => self.insert(),
            ["insert", file] => {
                let state = State::read(Path::new(file))?;
                self.replace(state, true);
            }
            ["swap", file] => drop(self.swap(State::read(Path::new(file))?)),
            ["wipe"] => {
                let state = self.state();
                self.replace(State::new(state.serial, state.firmware, root), false);
            }
            ["persist", file] => {
                self.state().write(Path::new(file))?;
                self.reader.change(|inner| inner.keep_in = Some(file.into()));
            }
            ["status"] => return Ok(status(&self.reader.lock())),
            ["log"] => return Ok(self.told_log()),
            _ => return Err(unknown()),
        }
        Ok(String::new())
    }

    /// What attestations say from now on; `None` for a lie that there is not.
    fn lie(&self, words: &[&str]) -> Option<()> {
        let mut lies = Lies::default();
        match *words {
            ["truth"] => {}
            ["serial", serial] => lies.serial = Some(serial.parse().ok()?),
            ["firmware", version] => lies.firmware = Some(firmware(version)?),
            ["policy", pin, touch] => lies.policy = Some([pin.parse().ok()?, touch.parse().ok()?]),
            ["key"] => lies.other_key = true,
            ["signer"] => lies.other_signer = true,
            ["expired"] => lies.expired = true,
            ["bare"] => lies.bare = true,
            _ => return None,
        }
        self.reader.change(|inner| inner.lies = lies);
        Some(())
    }

    fn replace(&self, state: State, insert: bool) {
        self.reader.change(|inner| {
            inner.cut();
            inner.state = state;
            if insert {
                inner.insert();
            }
        });
    }

    fn told_log(&self) -> String {
        let entries = self.log().into_iter();
        let told = entries.map(|it| format!("{:02x}:{:02x}:{:02x}:{:04x}", it.ins, it.p1, it.p2, it.sw));
        told.collect::<Vec<_>>().join(" ")
    }
}

/// `5.7.1`
#[must_use]
pub fn firmware(text: &str) -> Option<[u8; 3]> {
    let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

fn status(inner: &Inner) -> String {
    let state = &inner.state;
    let [major, minor, patch] = state.firmware;
    format!(
        "inserted={} serial={} firmware={major}.{minor}.{patch} pin-tries={} puk-tries={} verifies={} \
         authentications={} signatures={} apdus={} touch-waits={} waiting={} faults={} seen={}",
        u8::from(inner.inserted),
        state.serial,
        state.pin.left,
        state.puk.left,
        state.counters.verifies,
        state.counters.authentications,
        state.counters.signatures,
        inner.apdus,
        inner.touch.asked,
        u8::from(inner.touch.waits),
        inner.faults.left(),
        u8::from(inner.seen.by_clients()),
    )
}
