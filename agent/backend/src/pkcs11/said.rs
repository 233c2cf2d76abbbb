//! What a module prints, in the agent's log: bounded, and with nothing that a terminal would obey.

use std::io::{BufRead as _, BufReader, Read};
use std::time::{Duration, Instant};

/// Line by line, until it has closed its end.
pub(super) fn log_lines(token: &str, from: impl Read) {
    each_line(from, Instant::now, |line| tracing::info!(token, "helper: {line}"));
}

/// A module that prints without end fills no disk: so many lines in a time are said, and how many were left out.
fn each_line(from: impl Read, now: impl Fn() -> Instant, mut say: impl FnMut(&str)) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    let (mut began, mut said, mut left_out) = (now(), 0_u32, 0_u64);
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let is_over = matches!(read, Ok(0) | Err(_));
        if is_over || now().saturating_duration_since(began) >= PERIOD {
            if left_out > 0 {
                say(&format!("{left_out} lines left out"));
            }
            (began, said, left_out) = (now(), 0, 0);
        }
        if is_over {
            return;
        }
        if said >= LINES {
            left_out = left_out.saturating_add(1);
            continue;
        }
        said = said.saturating_add(1);
        say(&String::from_utf8_lossy(&line).trim_end().escape_debug().to_string());
        if said == LINES {
            say("more than these lines are left out for some seconds");
        }
    }
}

const LINE_MAX: u64 = 1024;
/// So many lines in so long a time.
const LINES: u32 = 100;
const PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_module_that_prints_without_end_has_some_lines_of_each_period_in_the_log() {
        let start = Instant::now();
        let (asked, mut said) = (Cell::new(0), Vec::new());
        // A millisecond a look at the clock, of which there is about one a line.
        let now = || {
            asked.set(asked.get() + 1);
            start + Duration::from_millis(asked.get())
        };
        let flood = "flood\u{1b}[2J\n".repeat(25_000);
        each_line(flood.as_bytes(), now, |line| said.push(line.to_owned()));
        let lines = said.iter().filter(|line| *line == "flood\\u{1b}[2J").count();
        let left_out = said.iter().filter_map(|line| line.strip_suffix(" lines left out"));
        let left_out: Vec<usize> = left_out.map(|number| number.parse().unwrap()).collect();
        assert_eq!((lines, left_out.len()), (300, 3), "{said:?}");
        assert_eq!(lines + left_out.iter().sum::<usize>(), 25_000);
    }

    #[test]
    fn a_few_lines_are_said_as_they_are() {
        let mut said = Vec::new();
        each_line(&b"one\ntwo"[..], Instant::now, |line| said.push(line.to_owned()));
        assert_eq!(said, ["one", "two"]);
    }
}
