//! The log on stderr: for the person or service manager that started the agent. It never holds a secret.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

/// Writes each event as one line: names that others have chosen cannot begin another one.
struct OneLine {
    /// Escape sequences are our own: the formatter escapes those of others.
    colours: bool,
}

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.write_all(event).map(|()| event.len())
    }

    fn write_all(&mut self, event: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(one_line(event, self.colours).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// An event as it is logged, with one line break, at its end.
#[must_use]
pub fn one_line(event: &[u8], colours: bool) -> String {
    let text = String::from_utf8_lossy(event);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let mut out = String::with_capacity(text.len());
    for c in line.chars() {
        match c {
            '\u{1b}' if colours => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// Starts it; `filter` is the value of `TUF_AGENT_LOG`.
pub fn start(filter: Option<&str>) {
    let parsed = filter.filter(|text| !text.is_empty()).map(|text| EnvFilter::builder().parse(text));
    let (filter, bad) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("info"), Some(error)),
        None => (EnvFilter::new("info"), None),
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || OneLine { colours: is_terminal })
        .with_ansi(is_terminal)
        .with_target(false)
        .try_init();
    if let Some(error) = bad {
        tracing::warn!(%error, "TUF_AGENT_LOG is not understood, so info is logged");
    }
    drop(started);
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let event = b"INFO refused: a\nINFO forged\x07 role=\"x\"\n";
        assert_eq!(one_line(event, false), "INFO refused: a\\nINFO forged\\u{7} role=\"x\"\n");
        assert_eq!(one_line(b"\x1b[2mINFO\x1b[0m\n", true), "\u{1b}[2mINFO\u{1b}[0m\n");
        assert_eq!(one_line(b"\x1b[2m", false), "\\u{1b}[2m\n");
    }
}
