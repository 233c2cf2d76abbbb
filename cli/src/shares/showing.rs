//! A share that is shown to its custodian once, and read back by them.

use custody::{SecretBytes, SignedManifest};

use super::page::{Line, Page};
use super::rule;
use super::typing::{WORDS, Wanted, rows, type_share};
use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::Screen;

/// Shows the words when their custodian asks for them, clears them, and has them typed: that is the custodian's proof.
///
/// # Errors
/// `CANCELLED` when somebody leaves; what the agent says of the proof.
pub(super) fn hand_out(
    whose: &str,
    words: &SecretBytes,
    manifest: &SignedManifest,
    agent: &Agent,
    screen: Screen,
) -> Result<(), Failure> {
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(reason::USAGE, "there is no terminal to show shares at"));
    };
    loop {
        show(&terminal, whose, words, manifest)?;
        let title = format!("Share of {whose}: type it from what was written down");
        match type_share(&title, Wanted::Same(words.reveal_secret_bytes())) {
            Ok(_) => break,
            Err(failure) if failure.reason() == reason::CANCELLED => {
                if !terminal.confirm(&format!("Show the share of {whose} again?"))? {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    let proven = agent.confirm_share(&manifest.digest().to_string(), words.reveal_secret_bytes())?;
    screen.note(format!("{whose} has written it down and proven it"));
    proven.notes.iter().for_each(|note| screen.note(note));
    Ok(())
}

fn show(
    terminal: &Terminal,
    whose: &str,
    words: &SecretBytes,
    manifest: &SignedManifest,
) -> Result<(), Failure> {
    let page = Page::begin(terminal)?;
    let head =
        format!("Share of {whose} · {} · {} make the key", manifest.key_name(), rule(manifest.terms()));
    let alone =
        format!("Nobody but {whose} should see this screen now. Enter shows the words, Ctrl-C leaves.");
    turn(terminal, &page, |small| {
        page.draw(&[vec![head.as_bytes()], vec![], vec![alone.as_bytes()], vec![], vec![small.as_bytes()]])
    })?;
    let numbers: Vec<String> = (1..=WORDS).map(|number| format!("{number:>3} ")).collect();
    turn(terminal, &page, |small| {
        // They would scroll off, or be cut in two.
        if !small.is_empty() {
            return page.draw(&[vec![head.as_bytes()], vec![], vec![small.as_bytes()]]);
        }
        let mut lines: Vec<Line<'_>> = vec![vec![head.as_bytes()], vec![]];
        lines.extend(rows(words.reveal_secret_bytes().split(|byte| *byte == b' '), &numbers));
        lines.extend([
            vec![],
            vec![b"Write them down, then press Enter: they go, and are asked back.".as_slice()],
        ]);
        page.draw(&lines)
    })
}

/// Shows what `draw` draws, anew whenever the terminal gets another size, until Enter is pressed where all words fit;
/// what it is given says that they do not.
fn turn(
    terminal: &Terminal,
    page: &Page<'_>,
    draw: impl Fn(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let (size, small) = (terminal.size(), too_small(terminal));
        draw(small.as_deref().unwrap_or_default())?;
        loop {
            match page.key_unless(|| terminal.size() != size)? {
                Some(Some(b'\r' | b'\n')) if small.is_none() => return Ok(()),
                Some(None | Some(0x03 | 0x04)) => return Err(Failure::cancelled("the hand-out was left")),
                Some(Some(_)) => {}
                None => break,
            }
        }
    }
}

/// What is said where the words do not fit.
fn too_small(terminal: &Terminal) -> Option<String> {
    let (columns, lines) = terminal.size()?;
    let (wide, high) = NEEDED;
    (columns < wide || lines < high).then(|| {
        format!("This terminal has {columns} columns and {lines} lines; the words need {wide} and {high}: make it larger first.")
    })
}

/// Columns and lines that all words take, with what stands around them.
const NEEDED: (u16, u16) = (48, 16);
