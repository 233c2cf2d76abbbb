//! How tufctl speaks: the terminal voice.
//!
//! # Where words go
//! * Results go to stdout: what a command was asked for, so that it can be piped. Everything said *to a
//!   person* (what is about to happen, progress, warnings, errors) goes to stderr. Questions and secrets go
//!   to `/dev/tty` and nowhere else.
//! * Under `--json` stdout holds exactly one JSON document, success or error; no table, no line more.
//!   Member names are those of CONTRACT section 3 and never change meaning. Text for people still goes to stderr.
//! * `--quiet` silences stderr except for errors, warnings, questions, and what these are about: nobody says yes to, or gives
//!   a share for, what was not shown.
//!
//! # How it is said
//! * One sentence: what happened, and why. Lower case after the prefix, no full stop, no exclamation mark, no
//!   "please", no "successfully". Never blame: "no such key: root-b", not "you gave a wrong key".
//! * `error:` is what happened; `help:` is what to do, best as a command that can be copied.
//!   `warning:` is something that went through and should be looked at.
//! * A noun first, in the words of DESIGN section 5: *token*, *key*, *repository*, *role*. The same thing has the same
//!   name everywhere. Keys are shown by their name, colleagues' keys by their file's name or the first
//!   eight digits of the keyid.
//! * Numbers carry their unit; times are RFC 3339 with how far away they are; digests are
//!   shortened in the middle (`9f31…c2`) for the eye, whole wherever they are compared or confirmed.
//! * `+` came, `-` went, `~` changed, `·` missing. Marks, never colour alone: everything must read without colour.
//!
//! # Colour and movement
//! * Colour only on a terminal, never with `NO_COLOR` set or `TERM=dumb`. Green done, yellow waits or
//!   warns, red failed, bold for names, dim for what can be skipped.
//! * Progress bars only on a terminal, only for work over half a second, and they vanish when done.
//! * A wait for a person (touch, PIN) is always announced, with the device's name, before it begins.
//!
//! # What others wrote
//! * Text from metadata, file names and the agent passes through [`visible`]: control, bidirectional and invisible
//!   characters are written as `\u{202e}`, so that nothing on the screen can be forged.
//! * A name in a command that is printed passes through [`tuf::word`], here as in the agent: pasted, it is the name and
//!   nothing else.

mod difference;
mod progress;
mod style;
mod table;
mod text;
mod time;

pub(crate) use self::difference::{KeyNames, difference};
pub(crate) use self::progress::{Progress, Steps};
pub(crate) use self::style::Style;
pub(crate) use self::table::Table;
pub(crate) use self::text::{count, first_of, short_digest, short_keyid, size, told, typed_path, visible};
pub(crate) use self::time::{expires, expiry, now, span};

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::error::Failure;

/// What a command ends with when it did its work, wholly or (exit 3, 4 or 6) not.
#[derive(Debug)]
pub(crate) struct Report {
    json: Option<Value>,
    text: String,
    hint: Option<String>,
    exit: u8,
}

impl Report {
    /// A result: `json` for scripts, `text` (lines, may be empty) for people.
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json: Some(json), text: text.into(), hint: None, exit: 0 }
    }

    /// The command wrote its result to stdout itself.
    pub(crate) fn written() -> Self {
        Self { json: None, text: String::new(), hint: None, exit: 0 }
    }

    /// What people may want to do next, said after the result.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One member more of the document.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        if let Some(members) = self.json.as_mut().and_then(Value::as_object_mut) {
            members.insert(name.to_owned(), value);
        }
        self
    }

    /// Another exit code than 0, with the same document on stdout.
    #[must_use]
    pub(crate) fn exit(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }
}

/// Where a command speaks to people, and how its result is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    quiet: bool,
    out: Style,
    err: Style,
}

impl Screen {
    /// A screen for this process's stdout and stderr.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let colours = style::wanted();
        Self {
            json,
            quiet,
            out: Style::new(colours && !json && io::stdout().is_terminal()),
            err: Style::new(colours && io::stderr().is_terminal()),
        }
    }

    /// Whether the result is a JSON document.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether stderr is a terminal that may be drawn on: progress bars.
    pub(crate) fn draws(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// The style of results.
    pub(crate) fn out(&self) -> Style {
        self.out
    }

    /// The style of what is said to people.
    pub(crate) fn err(&self) -> Style {
        self.err
    }

    /// Says a line (or several) to people; silent under `--quiet`.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            say(text.as_ref());
        }
    }

    /// What must be seen before a question is answered: also under `--quiet`.
    pub(crate) fn show(&self, text: impl AsRef<str>) {
        say(text.as_ref());
    }

    /// What is shown because somebody is `asked` about it; otherwise silent under `--quiet`.
    pub(crate) fn show_if(&self, asked: bool, text: impl AsRef<str>) {
        if asked { self.show(text) } else { self.note(text) }
    }

    /// Warns: something went through that should be looked at.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        warned().push(text.as_ref().to_owned());
        say(&format!("{} {}", self.err.yellow("warning:"), told(text.as_ref())));
    }

    /// The same, unless it was warned of before, alone or with what follows from it.
    pub(crate) fn warn_once(&self, text: impl AsRef<str>) {
        if !warned().iter().any(|before| before.starts_with(text.as_ref())) {
            self.warn(text);
        }
    }

    /// Prints a command's end and gives the exit code.
    pub(crate) fn finish(&self, end: Result<Report, Failure>) -> u8 {
        match end {
            Ok(report) => {
                let printed = if let (true, Some(json)) = (self.json, &report.json) {
                    self.document(json)
                } else if !self.json && !report.text.is_empty() {
                    print(&report.text)
                } else {
                    Ok(())
                };
                if let Some(hint) = report.hint {
                    self.note(hint);
                }
                printed.map_or_else(|error| unprinted(&error), |()| report.exit)
            }
            Err(failure) => {
                self.fail(&failure);
                failure.exit_code()
            }
        }
    }

    /// Prints a failure: one object on stdout under `--json`, otherwise two lines on stderr.
    fn fail(&self, failure: &Failure) {
        if self.json {
            if let Err(error) = self.document(&failure.json()) {
                unprinted(&error);
            }
            return;
        }
        // Nobody reads a text for news that they have read a moment ago.
        let says_it = |rest: &str| rest.is_empty() || rest.starts_with(';');
        let is_known = warned().iter().any(|text| text.strip_prefix(failure.message()).is_some_and(says_it));
        let message = if is_known { AS_WARNED } else { failure.message() };
        say(&format!("{} {}", self.err.red("error:"), visible(message)));
        if !failure.remedy_text().is_empty() {
            say(&format!("{} {}", self.err.bold(" help:"), told(failure.remedy_text())));
        }
    }

    /// The one document of this process; whoever comes second (Ctrl-C against the result) stays silent.
    fn document(&self, json: &Value) -> io::Result<()> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::SeqCst) { Ok(()) } else { print(&json.to_string()) }
    }
}

/// What this process has warned of.
fn warned() -> MutexGuard<'static, Vec<String>> {
    static WARNED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    WARNED.lock().unwrap_or_else(PoisonError::into_inner)
}

const AS_WARNED: &str = "nothing else could be done: see the warning above";

/// Writes to stdout; a reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = write!(out, "{text}{end}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A result that could not be written (a full disk) is lost: say so, and give the exit code.
fn unprinted(error: &io::Error) -> u8 {
    say(&format!(
        "error: the command has run, but its result cannot be written to standard output: {error}\n \
         help: look at the disk behind it, and run a reading command again"
    ));
    1
}

/// Writes lines to stderr in one piece.
fn say(text: &str) {
    let mut line = String::with_capacity(text.len().saturating_add(1));
    line.push_str(text.trim_end_matches('\n'));
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}
