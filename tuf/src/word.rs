//! Words of commands that are printed for people to run: whatever a repository's names hold, a shell reads them as they are.
//!
//! Names of roles and paths come from other people's repositories, and a remedy is pasted. Every name in a printed command goes
//! through here.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

/// A word of a printed command: quoted where a shell would read more than a word into it. For a word that may begin with a
/// dash see [`last`] and [`option`].
#[must_use]
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
    if text.chars().any(is_unseen) {
        return octal(text);
    }
    // A remedy says DIR where the folder is filled in, and zsh looks a command up for `=name`.
    let is_special = text.is_empty() || text.starts_with('=') || text.starts_with("DIR");
    if !is_special && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r#"'"'"'"#).replace(" DIR", " ''DIR"))
}

/// A path as such a word; one that begins with a dash is written from here.
#[must_use]
pub fn path(path: &Path) -> String {
    let text = path.display().to_string();
    if text.starts_with('-') { word(&format!("./{text}")) } else { word(&text) }
}

/// The same for words that stand last in a command: behind `--` where one begins with a dash.
#[must_use]
pub fn last(text: &str) -> String {
    let word = word(text);
    if text.starts_with('-') { format!("-- {word}") } else { word }
}

/// The same for a word that options follow: they go before one that begins with a dash.
#[must_use]
pub fn before(text: &str, options: &str) -> String {
    if text.starts_with('-') {
        format!("{options} {}", last(text))
    } else {
        format!("{} {options}", word(text))
    }
}

/// The same for two words that belong together.
#[must_use]
pub fn both_before(first: &str, second: &str, options: &str) -> String {
    if first.starts_with('-') {
        format!("{options} {} {}", last(first), word(second))
    } else {
        format!("{} {} {options}", word(first), word(second))
    }
}

/// An option with its value: `--role docs`, and `--role=-docs` where the value would be taken for an option itself.
#[must_use]
pub fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("{name}{between}{}", word(value))
}

/// The same for an option that takes several values behind commas: a comma of this one is written `\,` there.
#[must_use]
pub fn one_of(name: &str, value: &str) -> String {
    option(name, &one_of_list(value))
}

/// A value as it stands in a list of values between commas: see [`split_list`].
#[must_use]
pub fn one_of_list(value: &str) -> String {
    if value.contains(',') { value.replace('\\', r"\\").replace(',', r"\,") } else { doubled(value) }
}

/// The values of a list between commas; `\,` is a comma of a value, `\\` a backslash, and any other backslash itself.
#[must_use]
pub fn split_list(list: &str) -> Vec<String> {
    let (mut values, mut value) = (Vec::new(), String::new());
    let mut rest = list.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ',' => values.push(std::mem::take(&mut value)),
            '\\' => value.push(rest.next_if(|next| matches!(next, ',' | '\\')).unwrap_or(c)),
            c => value.push(c),
        }
    }
    values.push(value);
    values
}

/// Whether a character is not seen, or changes the place or the look of others.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control() || INVISIBLE.iter().any(|range| range.contains(&c))
}

/// A backslash that would be read as part of an escape is written twice.
fn doubled(value: &str) -> String {
    if value.contains(r"\\") || value.ends_with('\\') { value.replace('\\', r"\\") } else { value.to_owned() }
}

/// Nothing invisible is printed; bash, zsh and ksh read it as it is, and no shell reads a command in it.
fn octal(text: &str) -> String {
    let mut out = String::from("$'");
    for c in text.chars() {
        let is_plain = c.is_alphanumeric() || "_@%+=:,./-".contains(c);
        if is_plain && !is_unseen(c) {
            out.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('\'');
    out
}

/// Characters that are not seen, or that change the place or the look of others.
const INVISIBLE: [RangeInclusive<char>; 18] = [
    '\u{ad}'..='\u{ad}',       // soft hyphen
    '\u{34f}'..='\u{34f}',     // combining grapheme joiner
    '\u{61c}'..='\u{61c}',     // Arabic letter mark
    '\u{115f}'..='\u{1160}',   // Hangul fillers
    '\u{17b4}'..='\u{17b5}',   // Khmer inherent vowels
    '\u{180b}'..='\u{180f}',   // Mongolian selectors and separator
    '\u{200b}'..='\u{200f}',   // zero width, direction marks
    '\u{2028}'..='\u{202e}',   // line and paragraph separators, direction embeddings and overrides
    '\u{2060}'..='\u{206f}',   // word joiner, invisible operators, direction isolates
    '\u{2800}'..='\u{2800}',   // Braille blank
    '\u{3164}'..='\u{3164}',   // Hangul filler
    '\u{fe00}'..='\u{fe0f}',   // variation selectors
    '\u{feff}'..='\u{feff}',   // byte order mark
    '\u{ffa0}'..='\u{ffa0}',   // half-width Hangul filler
    '\u{fff0}'..='\u{fffb}',   // interlinear annotation
    '\u{1bca0}'..='\u{1bca3}', // shorthand format controls
    '\u{1d173}'..='\u{1d17a}', // musical format controls
    '\u{e0000}'..='\u{e0fff}', // tags, variation selectors
];

#[cfg(test)]
mod tests {
    use super::{before, both_before, last, one_of, one_of_list, option, split_list, word};

    const ODD: [&str; 20] = [
        "",
        "a b",
        "it's",
        "$HOME",
        "~",
        "a;b",
        "*",
        "\"",
        "back\\slash",
        "two\nlines '",
        "\u{202e}x",
        "$(touch x)",
        "`touch x`",
        "a\u{3164}",
        "'\u{200b}'; touch x; '",
        "=ls",
        "#",
        "!!",
        "a DIR b",
        "DIR",
    ];

    fn read_by(shell: &str, line: &str) -> Option<String> {
        let read =
            std::process::Command::new(shell).args(["-c", line]).env("LC_ALL", "C.UTF-8").output().ok()?;
        Some(String::from_utf8(read.stdout).unwrap())
    }

    #[test]
    fn a_word_of_a_command_is_what_the_shell_reads() {
        for plain in ["repo", "/srv/größe/x-1.0_2", "a@b=c"] {
            assert_eq!(word(plain), plain);
        }
        for odd in ODD {
            let shown = word(odd);
            assert!(!shown.chars().any(super::is_unseen), "{shown}");
            let line = format!("printf %s {shown}");
            assert_eq!(read_by("bash", &line).unwrap(), odd, "{shown}");
            // A shell that does not know $'…' reads another word, and no command.
            let line = format!("set -- {shown}; printf %s $#");
            assert_eq!(read_by("sh", &line).unwrap(), "1", "{shown}");
        }
    }

    #[test]
    fn a_word_is_never_the_folder_that_is_filled_in() {
        for odd in ["DIR", "DIR,", "a DIR b", " DIR"] {
            assert!(word(odd).split(' ').all(|part| !part.starts_with("DIR")), "{}", word(odd));
        }
    }

    #[test]
    fn what_begins_with_a_dash_is_no_option() {
        assert_eq!(last("-x"), "-- -x");
        assert_eq!((last("x"), last("- x")), ("x".to_owned(), "-- '- x'".to_owned()));
        assert_eq!(before("-x", "--yes"), "--yes -- -x");
        assert_eq!(before("x;y", "--yes"), "'x;y' --yes");
        assert_eq!(both_before("-x", "y z", "--yes"), "--yes -- -x 'y z'");
        assert_eq!(both_before("x", "y z", "--yes"), "x 'y z' --yes");
        assert_eq!(option("--role", "-x"), "--role=-x");
        assert_eq!(option("--role", "x y"), "--role 'x y'");
    }

    #[test]
    fn a_name_with_a_comma_stands_in_a_list() {
        assert_eq!(split_list("a,b"), ["a", "b"]);
        assert_eq!(split_list(r"a\,b,c\d,e\\"), ["a,b", r"c\d", r"e\"]);
        assert_eq!(one_of("--role", "a,b"), r"--role 'a\,b'");
        for name in ["a", "a,b", r"a\b", r"a\", r"a\\b", r"a\,b", ",", r"\", ""] {
            assert_eq!(split_list(&one_of_list(name)), [name], "{}", one_of_list(name));
        }
        assert_eq!(split_list(&format!("{},{}", one_of_list(r"x\"), one_of_list("y,z"))), [r"x\", "y,z"]);
    }
}
