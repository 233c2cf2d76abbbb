//! Questions to the person at the terminal: confirmations and secrets, on `/dev/tty` alone.
//!
//! While a secret is typed the terminal neither echoes nor raises signals: Ctrl-C arrives as a character and
//! the terminal is put back before anything else happens.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{self, LocalModes, OptionalActions, QueueSelector, Termios};
use tokio::net::unix::pipe::Receiver;
use zeroize::Zeroizing;

use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::interrupt::Noted;
use crate::render::visible;
use crate::secret::Secret;

/// The terminal, when a person sits at it.
#[derive(Debug)]
pub(crate) struct Terminal {
    tty: File,
}

impl Terminal {
    /// The terminal of this process; none when it runs from a timer, in CI or with both stdin and stderr redirected.
    pub(crate) fn open() -> Option<Self> {
        if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
            return None;
        }
        let tty = OpenOptions::new().read(true).write(true).open(TTY).ok()?;
        Some(Self { tty })
    }

    /// Asks a question with yes and no; anything but y and yes is no.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, Failure> {
        Ok(is_yes(&self.line(&format!("{question} [y/N] "))?))
    }

    /// Waits until Enter is pressed; false: no was typed before it, or the terminal ended. What is neither is asked about
    /// again: it may have been meant for another question.
    pub(crate) fn wait_for_enter(&self, question: &str) -> Result<bool, Failure> {
        loop {
            let line = self.line(&format!("{question} "))?;
            match line.trim().to_ascii_lowercase().as_str() {
                "" => return Ok(line == "\n"),
                "n" | "no" => return Ok(false),
                _ if is_yes(&line) => return Ok(true),
                _ => self.write("that is neither Enter nor no\n")?,
            }
        }
    }

    /// What is typed after a question, on a line of its own on the screen also when the terminal ends under it.
    fn line(&self, question: &str) -> Result<String, Failure> {
        let line = self.answer(question)?;
        if !line.ends_with('\n') {
            self.write("\n")?;
        }
        Ok(line)
    }

    /// What is typed after a question: what was typed before it was shown is no answer to it.
    fn answer(&self, question: &str) -> Result<String, Failure> {
        termios::tcflush(&self.tty, QueueSelector::IFlush).map_err(|e| broken(&e.into()))?;
        self.write(question)?;
        let mut line = String::new();
        BufReader::new(&self.tty).take(64).read_line(&mut line).map_err(|e| broken(&e))?;
        Ok(line)
    }

    /// Asks for a secret without showing it.
    pub(crate) fn secret(&self, label: &str) -> Result<Secret, Failure> {
        self.write(&format!("{label}: "))?;
        let typed = {
            let _hidden = Hidden::begin(&self.tty)?;
            read_line(&mut (&self.tty))
        };
        self.write("\n")?;
        match typed? {
            Some(bytes) if !bytes.is_empty() => Ok(Secret::new(bytes)),
            Some(_) => {
                Err(Failure::new(reason::PIN_REQUIRED, "nothing was typed")
                    .remedy("run it again, and type it"))
            }
            None => Err(Failure::cancelled("cancelled at the prompt")),
        }
    }

    /// Asks for a new secret, twice.
    pub(crate) fn new_secret(&self, label: &str) -> Result<Secret, Failure> {
        for _ in 0..3 {
            let first = self.secret(&format!("New {label}"))?;
            let second = self.secret("Once more")?;
            if first.reveal_secret_bytes() == second.reveal_secret_bytes() {
                return Ok(first);
            }
            self.write("the two are not the same; again\n")?;
        }
        Err(Failure::new(reason::PIN_REQUIRED, "the two were not the same, three times"))
    }

    /// The keys that are typed here, one by one, beside whatever else the agent's runtime waits for.
    pub(crate) fn keys(&self, agent: &Agent) -> Result<Keys, Failure> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let tty = OpenOptions::new().read(true).custom_flags(flags).open(TTY).map_err(|e| broken(&e))?;
        let keys = agent.in_runtime(|| Receiver::from_file_unchecked(tty));
        Ok(Keys(keys.map_err(|e| broken(&e))?))
    }

    /// Neither echo nor signals until the end of what is given.
    pub(crate) fn hide(&self) -> Result<Hidden<'_>, Failure> {
        Hidden::begin(&self.tty)
    }

    /// Columns and lines, where the terminal tells.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        let size = termios::tcgetwinsize(&self.tty).ok()?;
        Some((size.ws_col, size.ws_row)).filter(|(columns, lines)| *columns > 0 && *lines > 0)
    }

    /// The next byte that is typed; `None` when the terminal hangs up.
    pub(crate) fn byte(&self) -> Result<Option<u8>, Failure> {
        let mut byte = Zeroizing::new([0_u8; 1]);
        let read = (&self.tty).read(&mut *byte).map_err(|e| broken(&e))?;
        Ok(byte.first().copied().filter(|_| read > 0))
    }

    /// Whether something was typed, or the terminal has hung up; after a moment at the latest.
    pub(crate) fn has_byte(&self) -> Result<bool, Failure> {
        let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match poll(&mut [PollFd::new(&self.tty, PollFlags::IN)], Some(&moment)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(broken(&error.into())),
        }
    }

    /// Writes to the terminal as it is.
    pub(crate) fn write_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        (&self.tty).write_all(bytes).map_err(|e| broken(&e))
    }

    /// Takes a question away that nobody needs to answer any more.
    pub(crate) fn clear_line(&self) {
        let _ = self.write("\r\x1b[K");
    }

    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        self.write_bytes(text.as_bytes())
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks before going on. `yes` is the command's `--yes`; without it and without a terminal nothing is done (exit 3).
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    confirm_or(question, yes, "nothing was done")
}

/// The same; after a no it is `undone` that is said, where other things may have been done before.
pub(crate) fn confirm_or(question: &str, yes: bool, undone: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(
            reason::CONFIRMATION_MISSING,
            format!("nobody is there to confirm: {}", question.trim_end_matches('?')),
        )
        .remedy("run it on a terminal, or add --yes"));
    };
    if terminal.confirm(&visible(question))? {
        Ok(())
    } else {
        Err(Failure::new(reason::CONFIRMATION_MISSING, format!("you said no; {undone}"))
            .remedy("run it again when you are ready"))
    }
}

/// Asks for what no `--yes` answers: a person at a terminal, or nothing is done (exit 3).
pub(crate) fn confirm_by_person(question: &str) -> Result<(), Failure> {
    if Terminal::open().is_some() {
        return confirm(question, false);
    }
    let asked = question.trim_end_matches('?');
    Err(Failure::new(reason::CONFIRMATION_MISSING, format!("nobody is there to say yes to this: {asked}"))
        .remedy("run it on a terminal; nothing but a person there can answer"))
}

/// Reads one line of a terminal in [`Hidden`] mode; `None` for Ctrl-C or Ctrl-D.
fn read_line(tty: &mut impl Read) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    // Full size at once: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MOST_TYPED));
    let mut byte = Zeroizing::new([0_u8; 1]);
    loop {
        if tty.read(&mut *byte).map_err(|e| broken(&e))? == 0 {
            return Ok(None);
        }
        match byte.first().copied().unwrap_or_default() {
            b'\n' | b'\r' => return Ok(Some(line)),
            CTRL_C | CTRL_D => return Ok(None),
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => drop_character(&mut line),
            _ if line.len() >= MOST_TYPED => {
                return Err(Failure::new(reason::LIMIT, format!("more than {MOST_TYPED} bytes were typed")));
            }
            other => line.push(other),
        }
    }
}

/// Takes the last UTF-8 character away.
fn drop_character(line: &mut Vec<u8>) {
    while let Some(byte) = line.pop() {
        if byte & 0xc0 != 0x80 {
            break;
        }
    }
}

/// Keys, while [`Hidden`] holds.
pub(crate) struct Keys(Receiver);

impl Keys {
    /// The next one; none when the terminal hangs up.
    pub(crate) async fn key(&self) -> Option<u8> {
        let mut byte = Zeroizing::new([0_u8; 1]);
        loop {
            self.0.readable().await.ok()?;
            match self.0.try_read(&mut *byte) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                read => return byte.first().copied().filter(|_| read.is_ok_and(|read| read > 0)),
            }
        }
    }
}

/// The terminal without echo, line editing and signals, until this is dropped.
pub(crate) struct Hidden<'a> {
    tty: &'a File,
    before: Termios,
    noted: Noted,
}

impl<'a> Hidden<'a> {
    fn begin(tty: &'a File) -> Result<Self, Failure> {
        let before = termios::tcgetattr(tty).map_err(|e| broken(&e.into()))?;
        let mut modes = before.clone();
        modes.local_modes &= !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // Flush: what was typed before the question is no answer to it.
        let noted = Noted::new(tty, &before);
        termios::tcsetattr(tty, OptionalActions::Flush, &modes).map_err(|e| broken(&e.into()))?;
        Ok(Self { tty, before, noted })
    }

    /// What takes from the screen what is put on it from now on, should a signal end this process.
    pub(crate) fn clears(&self, clear: &'static [u8]) {
        self.noted.clears(clear);
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(reason::IO, format!("the terminal does not answer: {error}"))
}

const TTY: &str = "/dev/tty";
const MOST_TYPED: usize = 1024;
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::read_line;

    fn typed(keys: &[u8]) -> Option<Vec<u8>> {
        read_line(&mut &*keys).unwrap().map(|line| line.to_vec())
    }

    #[test]
    fn a_secret_ends_with_enter_and_can_be_corrected() {
        assert_eq!(typed(b"abc\n"), Some(b"abc".to_vec()));
        assert_eq!(typed(b"abx\x7fc\r"), Some(b"abc".to_vec()));
        assert_eq!(typed("aö\x08b\n".as_bytes()), Some(b"ab".to_vec()));
        assert_eq!(typed(b"wrong\x15right\n"), Some(b"right".to_vec()));
    }

    #[test]
    fn ctrl_c_and_ctrl_d_cancel() {
        assert_eq!(typed(b"abc\x03"), None);
        assert_eq!(typed(b"abc\x04"), None);
        assert_eq!(typed(b"abc"), None);
    }

    #[test]
    fn endless_typing_is_refused() {
        assert_eq!(read_line(&mut &*vec![b'a'; 5000]).unwrap_err().reason(), "LIMIT");
    }
}
