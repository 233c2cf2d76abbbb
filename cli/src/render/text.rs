//! Text that others wrote, and small words.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

/// Makes control, bidirectional and invisible characters visible as `\n` or `\u{202e}`, and the backslash as
/// `\\` so that nobody can write those by hand; everything else stays.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(must_show) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if must_show(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A path as it is typed in a command that is printed for people to run: quoted for the shell where it has to be.
pub(crate) fn typed_path(path: &Path) -> String {
    let text = path.display().to_string();
    if text.starts_with('-') { typed(&format!("./{text}")) } else { typed(&text) }
}

/// Any other word of such a command.
fn typed(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if !word.chars().any(must_show) {
        return format!("'{}'", word.replace('\'', r#"'"'"'"#));
    }
    // Nothing invisible is printed, and the shell reads it as it is.
    let mut out = String::from("$'");
    for c in word.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            c if c == '\\' || !must_show(c) => out.extend(visible(c.encode_utf8(&mut [0; 4])).chars()),
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('\'');
    out
}

fn must_show(c: char) -> bool {
    c == '\\' || c.is_control() || INVISIBLE.iter().any(|range| range.contains(&c))
}

/// The first of many names, and how many more there are.
pub(crate) fn first_of(mut names: Vec<String>, most: usize) -> String {
    let more = names.len().saturating_sub(most);
    names.truncate(most);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

/// The first and last digits of a long hex digest: `9f31…c2`.
pub(crate) fn short_digest(hex: &str) -> String {
    match (hex.get(..4), hex.len().checked_sub(2).and_then(|at| hex.get(at..))) {
        (Some(head), Some(tail)) if hex.len() > 8 => format!("{head}…{tail}"),
        _ => visible(hex).into_owned(),
    }
}

/// The first eight characters of a keyid, made visible.
pub(crate) fn short_keyid(keyid: &str) -> String {
    let head: String = keyid.chars().take(8).collect();
    visible(&head).into_owned()
}

/// `1 key`, `3 keys`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A number of bytes for the eye: `512 B`, `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = "B";
    // Tenths of the unit, so that no float is needed.
    let mut tenths = bytes.saturating_mul(10);
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// Characters that are not seen, or that change the place or the look of others.
const INVISIBLE: [std::ops::RangeInclusive<char>; 19] = [
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
    '\u{e0000}'..='\u{e007f}', // tags
    '\u{e0100}'..='\u{e01ef}', // variation selectors
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{count, short_digest, short_keyid, size, typed, typed_path, visible};

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(visible("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(visible("\x1b[2Jx\r\ny\u{7f}\u{9b}"), "\\u{1b}[2Jx\\r\\ny\\u{7f}\\u{9b}");
        assert_eq!(visible("zero\u{200b}width\u{feff}\u{2066}"), "zero\\u{200b}width\\u{feff}\\u{2066}");
        assert_eq!(visible(r"\u{202e}"), r"\\u{202e}");
    }

    #[test]
    fn what_can_be_seen_stays_as_it_is() {
        for text in ["app/x-1.0.tar.gz", "größe 漢字 🦀", "9f31…c2 · 3"] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn a_word_of_a_command_is_what_the_shell_reads() {
        for plain in ["repo", "/srv/größe/x-1.0_2", "a@b=c"] {
            assert_eq!(typed(plain), plain);
        }
        assert_eq!(typed_path(Path::new("-r")), "./-r");
        let odd =
            ["", "a b", "it's", "$HOME", "~", "a;b", "*", "\"", "back\\slash", "two\nlines '", "\u{202e}x"];
        for word in odd {
            let shown = typed(word);
            assert!(!shown.contains('\n') && !shown.contains('\u{202e}'), "{shown}");
            let line = format!("printf %s {shown}");
            let read =
                std::process::Command::new("bash").args(["-c", &line]).env("LC_ALL", "C.UTF-8").output();
            assert_eq!(String::from_utf8(read.unwrap().stdout).unwrap(), word, "{shown}");
        }
    }

    #[test]
    fn short_forms_are_for_the_eye() {
        assert_eq!(short_digest(&"ab".repeat(32)), "abab…ab");
        assert_eq!(short_digest("abc"), "abc");
        assert_eq!(short_keyid("0123456789"), "01234567");
        assert_eq!((count(1, "key"), count(0, "key")), ("1 key".into(), "0 keys".into()));
        assert_eq!((size(0), size(1023), size(1536)), ("0 B".into(), "1023 B".into(), "1.5 KiB".into()));
        assert_eq!(size(5 * 1024 * 1024 * 1024), "5.0 GiB");
    }
}
