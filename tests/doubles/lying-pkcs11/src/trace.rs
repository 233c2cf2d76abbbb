//! The trace: what was asked of the module, what the real one answered, what was told.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use cryptoki_sys::{CK_RV, CK_USER_TYPE, CKU_CONTEXT_SPECIFIC, CKU_USER};

use crate::names;

/// Writes one line: a sign, the process, the call, and more.
pub(crate) fn note(sign: char, call: &str, more: &str) {
    let Some(path) = std::env::var_os("LYING_TRACE") else { return };
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
        let line = format!("{sign} {} {call} {more}", std::process::id());
        // One write a line, so that lines of two processes do not mix.
        let _ = file.write_all(format!("{}\n", line.trim_end()).as_bytes());
    }
}

/// The same, with a code.
pub(crate) fn note_code(sign: char, call: &str, code: CK_RV) {
    note(sign, call, &names::of_code(code));
}

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `>` the call came in; `=` the real module was asked, and this was its answer; `<` what was told; `?` what was tried.
    pub sign: char,
    /// Of the helper.
    pub process: u32,
    /// Such as `C_Login`; `C_Sign?` where only the length is asked for.
    pub call: String,
    /// Behind `>`: `session=N`, `slot=N`, `user=N`. Behind the others: the name of the code.
    pub more: String,
}

/// A trace, read. Calls that are counted are those that came in, also when the process died of them.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Its lines.
    pub entries: Vec<Entry>,
}

impl Trace {
    /// Reads a file; one that is not there is empty.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self { entries: text.lines().filter_map(Entry::parse).collect() }
    }

    /// How often the call came in.
    #[must_use]
    pub fn calls(&self, call: &str) -> usize {
        self.begun().filter(|entry| entry.call == call).count()
    }

    /// How often a PIN was presented by C_Login as the user's.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.logins_as(CKU_USER)
    }

    /// How often it was for one signature.
    #[must_use]
    pub fn context_logins(&self) -> usize {
        self.logins_as(CKU_CONTEXT_SPECIFIC)
    }

    /// How many signatures the real module made, whatever became of them.
    #[must_use]
    pub fn signatures(&self) -> usize {
        let made = |entry: &&Entry| {
            entry.sign == '='
                && entry.more == "CKR_OK"
                && matches!(entry.call.as_str(), "C_Sign" | "C_SignFinal")
        };
        self.entries.iter().filter(made).count()
    }

    /// How often this was told at the call.
    #[must_use]
    pub fn told(&self, call: &str, code: &str) -> usize {
        let told = |entry: &&Entry| entry.sign == '<' && entry.call == call && entry.more == code;
        self.entries.iter().filter(told).count()
    }

    /// How an attempt ended, each time: `ok`, or a kind of [`std::io::Error`] such as `PermissionDenied`.
    pub fn tried<'a>(&'a self, what: &'a str, about: &'a str) -> impl Iterator<Item = &'a str> {
        let tries = self.entries.iter().filter(move |entry| entry.sign == '?' && entry.call == what);
        tries.filter_map(move |entry| entry.more.split_once(' ').filter(|it| it.1 == about)).map(|it| it.0)
    }

    /// The processes that were forked.
    pub fn forked(&self) -> impl Iterator<Item = u32> {
        let tries = self.entries.iter().filter(|entry| entry.sign == '?' && entry.call == "fork");
        tries.filter_map(|entry| entry.more.strip_prefix("ok ")?.parse().ok())
    }

    /// How many of these calls were under way at once, at most. Calls that the process died of do not count.
    #[must_use]
    pub fn most_at_once(&self, call: &str) -> usize {
        let (mut now, mut most) = (0_usize, 0);
        for entry in self.entries.iter().filter(|entry| entry.call == call) {
            match entry.sign {
                '>' => now += 1,
                '<' => now = now.saturating_sub(1),
                _ => {}
            }
            most = most.max(now);
        }
        most
    }

    /// The calls in their order.
    pub fn sequence(&self) -> impl Iterator<Item = &str> {
        self.begun().map(|entry| entry.call.as_str())
    }

    fn begun(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.sign == '>')
    }

    fn logins_as(&self, user: CK_USER_TYPE) -> usize {
        let word = format!("user={user}");
        let as_user = |entry: &&Entry| entry.call == "C_Login" && entry.more.split(' ').any(|it| it == word);
        self.begun().filter(as_user).count()
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let sign = words.next()?.chars().next()?;
        let process = words.next()?.parse().ok()?;
        let call = words.next()?.to_owned();
        Some(Self { sign, process, call, more: words.next().unwrap_or_default().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_counted_by_what_came_in_and_what_was_made() {
        let text = "> 7 C_Login session=1 user=1\n< 7 C_Login CKR_PIN_INCORRECT\n> 7 C_Login session=1 user=2\n\
            > 7 C_Sign? session=1\n> 7 C_Sign session=1\n= 7 C_Sign CKR_OK\n< 7 C_Sign CKR_DEVICE_ERROR\n> 8 C_Fin";
        let trace = Trace { entries: text.lines().filter_map(Entry::parse).collect() };
        assert_eq!((trace.logins(), trace.context_logins(), trace.signatures()), (1, 1, 1));
        assert_eq!((trace.calls("C_Sign"), trace.told("C_Sign", "CKR_DEVICE_ERROR")), (1, 1));
        assert_eq!(trace.sequence().last(), Some("C_Fin"));
        let text =
            "> 7 C_Sign\n< 7 C_Sign CKR_OK\n> 7 C_Sign\n> 7 C_Sign\n= 7 C_Sign CKR_OK\n< 7 C_Sign CKR_OK";
        let trace = Trace { entries: text.lines().filter_map(Entry::parse).collect() };
        assert_eq!((trace.most_at_once("C_Sign"), trace.most_at_once("C_Login")), (2, 0));
    }
}
