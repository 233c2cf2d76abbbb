//! Text that others wrote, and small words.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use tuf::word::{self, is_unseen};

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

/// The same for what this program says with commands in it: a backslash stays, as whoever pastes one needs it.
pub(crate) fn told(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let of = |c: char| if is_unseen(c) { visible(c.encode_utf8(&mut [0; 4])).into_owned() } else { c.into() };
    Cow::Owned(text.chars().map(of).collect())
}

/// A path as it is typed in a command that is printed for people to run: quoted for the shell where it has to be.
pub(crate) fn typed_path(path: &Path) -> String {
    word::path(path)
}

fn must_show(c: char) -> bool {
    c == '\\' || is_unseen(c)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{count, short_digest, short_keyid, size, told, typed_path, visible};

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
    fn a_command_in_what_is_told_keeps_its_backslash_and_shows_nothing_unseen() {
        assert_eq!(told(r"run: tufctl bump 'a\,b'"), r"run: tufctl bump 'a\,b'");
        assert_eq!(told("a\u{202e}b\n\\"), "a\\u{202e}b\\n\\");
        assert_eq!(typed_path(Path::new("-r")), "./-r");
        assert_eq!(typed_path(Path::new("my repo")), "'my repo'");
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
