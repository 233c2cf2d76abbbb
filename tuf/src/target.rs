//! Names of targets, and the patterns that say which role may list them.
//!
//! Duty: judge target paths and path patterns for writing; match both as the specification does (4.5).
//! Trust: everything here comes from people or from metadata; nothing touches a disk.
//! Invariant: a [`TargetPath`] can be stored under a folder and fetched by stock clients as it stands.

use std::fmt;

use sha2::{Digest, Sha256};
use unicode_normalization::is_nfc;

/// A target's path that may be written: relative, with `/` between its segments, in NFC, free of what
/// stock clients cannot fetch or what people cannot see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetPath(String);

impl TargetPath {
    /// Judges a path for a new target. Paths that others wrote are only read, never judged by this.
    ///
    /// # Errors
    /// [`TargetPathError`] names the first rule that the path breaks.
    pub fn new_for_writing(path: &str) -> Result<Self, TargetPathError> {
        let refuse = |fault| Err(TargetPathError { path: path.to_owned(), fault });
        if let Some(fault) = text_fault(path) {
            return refuse(fault);
        }
        if let Some(c) = path.chars().find(|c| matches!(c, '#' | '?' | '%')) {
            return refuse(PathFault::UrlCharacter(c));
        }
        if let Some(segment) = path.split('/').find(|segment| segment.starts_with(RESERVED)) {
            return refuse(PathFault::Reserved(segment.to_owned()));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if path.len() > MAX_PATH || path.split('/').any(|s| s.len() > MAX_SEGMENT) || name.len() > MAX_NAME {
            return refuse(PathFault::TooLong);
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as it stands in metadata.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder part without its `/` at the end, empty for a flat name, and the file name.
    #[must_use]
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the file of a target with this path lies below the folder of targets, whoever wrote it: no `..`, nothing
/// absolute, no empty segment, no NUL (specification 4.5). What is not inside is neither signed, published nor verified.
#[must_use]
pub fn stays_inside(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Why a path may not become a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target name \"{}\" {fault}", visible(path))]
pub struct TargetPathError {
    /// The path as it was given.
    pub path: String,
    /// The rule that it breaks.
    pub fault: PathFault,
}

/// The rule that a path or pattern breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// No text at all.
    #[error("is empty")]
    Empty,
    /// Begins with `/`.
    #[error("is absolute; write it relative to the repository's targets")]
    Absolute,
    /// A segment `.`, `..` or nothing between two slashes.
    #[error("has the segment {0:?}, which leaves its folder or means nothing")]
    Segment(String),
    /// A backslash, which some systems take for a separator.
    #[error("holds a backslash; separate folders with '/'")]
    Backslash,
    /// A control character or one that changes how the text is shown.
    #[error("holds U+{:04X}, a control or direction character that people cannot see", u32::from(*.0))]
    Invisible(char),
    /// Not in Unicode's normal form C.
    #[error(
        "is not in Unicode normal form C, so that some clients look for another name; rename it to its NFC form"
    )]
    NotNfc,
    /// A character that breaks the URL that clients build.
    #[error("holds {0:?}, which clients that build URLs cannot fetch")]
    UrlCharacter(char),
    /// Longer than file systems hold once the digest stands before it.
    #[error("is too long: {MAX_NAME} bytes for the file name, {MAX_SEGMENT} for a folder, {MAX_PATH} in all")]
    TooLong,
    /// A segment as files of targets are called on their way.
    #[error("has the segment {0:?}; names that begin with {RESERVED:?} are those of files on their way")]
    Reserved(String),
    /// A wildcard that stock clients read differently.
    #[error(
        "holds {0:?}, which clients read differently; use only literal text, '*' and '?', one pattern for each depth"
    )]
    Wildcard(String),
}

impl PathFault {
    /// Whether a name with this fault can lead out of the folder of targets or deceive who reads it, so that nobody
    /// should sign it; the other faults only keep some clients from fetching the file.
    #[must_use]
    pub const fn is_unsafe(&self) -> bool {
        matches!(self, Self::Empty | Self::Absolute | Self::Segment(_) | Self::Invisible(_))
    }
}

/// Why a path pattern may not be written into a delegation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path pattern \"{}\" {fault}", visible(pattern))]
pub struct PatternError {
    /// The pattern as it was given.
    pub pattern: String,
    /// The rule that it breaks.
    pub fault: PathFault,
}

/// Judges a pattern for a delegation that we write: literal text, `*` and `?` are all that stock clients
/// read alike, and `**` is read by none as people expect.
///
/// # Errors
/// [`PatternError`] names the first rule that the pattern breaks.
pub fn check_pattern_for_writing(pattern: &str) -> Result<(), PatternError> {
    let refuse = |fault| Err(PatternError { pattern: pattern.to_owned(), fault });
    if let Some(fault) = text_fault(pattern) {
        return refuse(fault);
    }
    if pattern.contains("**") {
        return refuse(PathFault::Wildcard("**".to_owned()));
    }
    if let Some(c) = pattern.chars().find(|c| "[]{}!()".contains(*c)) {
        return refuse(PathFault::Wildcard(c.to_string()));
    }
    if let Some(c) = pattern.chars().find(|c| matches!(c, '#' | '%')) {
        return refuse(PathFault::UrlCharacter(c));
    }
    if pattern.len() > MAX_PATH {
        return refuse(PathFault::TooLong);
    }
    Ok(())
}

/// Whether a path pattern allows a path (specification 4.5): segment by segment, so that no wildcard
/// matches `/`; within a segment `*`, `?` and `[…]` as in glob(7).
#[must_use]
pub fn pattern_matches(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut segments = path.split('/');
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if segment_matches(p, s) => {}
            _ => return false,
        }
    }
}

/// Whether the SHA-256 of a path, in lowercase hex, begins with `prefix` (specification 4.5).
#[must_use]
pub fn hash_prefix_matches(prefix: &str, path: &str) -> bool {
    !prefix.is_empty() && hex::encode(Sha256::digest(path.as_bytes())).starts_with(prefix)
}

/// Characters that people cannot see or that change the order in which text is shown: controls,
/// bidirectional marks and embeddings, line and paragraph separators, the byte order mark.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text with every [invisible](is_invisible) character written as `\u{…}`, for people's eyes.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// What paths and patterns have in common.
fn text_fault(text: &str) -> Option<PathFault> {
    if text.is_empty() {
        return Some(PathFault::Empty);
    }
    if let Some(c) = text.chars().find(|c| is_invisible(*c)) {
        return Some(PathFault::Invisible(c));
    }
    if text.starts_with('/') {
        return Some(PathFault::Absolute);
    }
    if let Some(segment) = text.split('/').find(|s| matches!(*s, "" | "." | "..")) {
        return Some(PathFault::Segment(segment.to_owned()));
    }
    if text.contains('\\') {
        return Some(PathFault::Backslash);
    }
    (!is_nfc(text)).then_some(PathFault::NotNfc)
}

/// One segment against one pattern segment; going back only to the last `*` keeps it linear in practice
/// and quadratic at worst.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let (mut p, mut s) = (pattern, segment);
    let mut retry: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = p.strip_prefix('*') {
            p = rest;
            retry = Some((rest, s));
        } else if s.is_empty() && p.is_empty() {
            return true;
        } else if let Some((next_p, next_s)) = step(p, s) {
            (p, s) = (next_p, next_s);
        } else {
            let Some((after_star, from)) = retry else { return false };
            let mut shorter = from.chars();
            if shorter.next().is_none() {
                return false;
            }
            (p, s) = (after_star, shorter.as_str());
            retry = Some((after_star, s));
        }
    }
}

/// Takes one character of `s` by one item of `p` that is not `*`.
fn step<'p, 's>(p: &'p str, s: &'s str) -> Option<(&'p str, &'s str)> {
    let (mut items, mut text) = (p.chars(), s.chars());
    let (item, c) = (items.next()?, text.next()?);
    if item == '['
        && let Some((set, rest)) = bracket(items.as_str())
    {
        return in_set(set, c).then_some((rest, text.as_str()));
    }
    (item == '?' || item == c).then_some((items.as_str(), text.as_str()))
}

/// Splits what follows `[` at its closing `]`; one that stands first is a member of the set.
pub(crate) fn bracket(after: &str) -> Option<(&str, &str)> {
    let body = after.strip_prefix(['!', '^']).unwrap_or(after);
    let lead = after.len() - body.len() + body.chars().next()?.len_utf8();
    let end = lead + after.get(lead..)?.find(']')?;
    Some((after.get(..end)?, after.get(end + 1..)?))
}

fn in_set(set: &str, c: char) -> bool {
    let (members, negated) = match set.strip_prefix(['!', '^']) {
        Some(rest) => (rest, true),
        None => (set, false),
    };
    let members: Vec<char> = members.chars().collect();
    let mut rest = members.as_slice();
    let mut found = false;
    loop {
        match rest {
            [low, '-', high, tail @ ..] => {
                found |= (*low..=*high).contains(&c);
                rest = tail;
            }
            [one, tail @ ..] => {
                found |= *one == c;
                rest = tail;
            }
            [] => return found != negated,
        }
    }
}

/// How the names begin of files that are being written.
const RESERVED: &str = ".tufctl.";
/// Bytes of a whole path.
const MAX_PATH: usize = 2048;
/// Bytes of a folder's name: what file systems hold.
const MAX_SEGMENT: usize = 255;
/// Bytes of a file's name: a SHA-256 in hex and a dot stand before it when it is published.
const MAX_NAME: usize = 190;

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(path: &str) -> PathFault {
        TargetPath::new_for_writing(path).unwrap_err().fault
    }

    #[test]
    fn ordinary_paths_are_taken_as_they_stand() {
        for path in ["a", "app/x-1.0.tgz", "größe/日本語.bin", "a b", ".hidden", "...", "a..b/c"] {
            assert_eq!(TargetPath::new_for_writing(path).unwrap().as_str(), path);
        }
        assert_eq!(TargetPath::new_for_writing("a/b/c").unwrap().split(), ("a/b", "c"));
        assert_eq!(TargetPath::new_for_writing("c").unwrap().split(), ("", "c"));
    }

    #[test]
    fn a_bad_path_is_refused_with_the_rule_that_it_breaks() {
        assert_eq!(fault(""), PathFault::Empty);
        assert_eq!(fault("/etc/passwd"), PathFault::Absolute);
        assert_eq!(fault("a/../b"), PathFault::Segment("..".into()));
        assert_eq!(fault("./b"), PathFault::Segment(".".into()));
        assert_eq!(fault("a//b"), PathFault::Segment(String::new()));
        assert_eq!(fault("a/"), PathFault::Segment(String::new()));
        assert_eq!(fault("a\\b"), PathFault::Backslash);
        assert_eq!(fault("a\nb"), PathFault::Invisible('\n'));
        assert_eq!(fault("a\u{202e}b"), PathFault::Invisible('\u{202e}'));
        assert_eq!(fault("e\u{301}"), PathFault::NotNfc);
        for c in ['#', '?', '%'] {
            assert_eq!(fault(&format!("a{c}b")), PathFault::UrlCharacter(c));
        }
        assert_eq!(fault("a/.tufctl.tmp.0/x"), PathFault::Reserved(".tufctl.tmp.0".into()));
        assert_eq!(fault(&"x".repeat(191)), PathFault::TooLong);
        assert_eq!(fault(&format!("{}/x", "x".repeat(256))), PathFault::TooLong);
    }

    #[test]
    fn an_error_shows_what_cannot_be_seen() {
        let text = TargetPath::new_for_writing("a\u{202e}b").unwrap_err().to_string();
        assert!(!text.contains('\u{202e}') && text.contains("202e"), "{text}");
    }

    #[test]
    fn patterns_match_segment_by_segment_as_the_specification_says() {
        // The table of shared behaviours: pattern, path, specification.
        for (pattern, path, expected) in [
            ("d/*", "d/x", true),
            ("d/*", "d/x/y", false),
            ("*", "x/y", false),
            ("d/**", "d/x/y", false),
            ("d/*", "d/.hidden", true),
            ("d/{a,b}", "d/a", false),
            ("d/[ab]", "d/a", true),
            ("d/[!ab]", "d/a", false),
            ("d/[a-c]x", "d/bx", true),
            ("d/a?", "d/aé", true),
            ("d/!(b)", "d/a", false),
            ("*.tgz", "foo.tgz", true),
            ("foo-?.tgz", "foo-12.tgz", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZd", false),
            ("", "x", false),
            ("[", "[", true),
            ("[]]", "]", true),
            ("foo", "foo", true),
            ("foo", "Foo", false),
        ] {
            assert_eq!(pattern_matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn only_literals_stars_and_question_marks_are_written() {
        for good in ["*", "app/*", "app/x-?.tgz", "größe/*"] {
            check_pattern_for_writing(good).unwrap();
        }
        for bad in [
            "",
            "/a",
            "a/../*",
            "a/**",
            "d/{a,b}",
            "d/[ab]",
            "d/!(b)",
            "a\\b",
            "a\u{202e}",
            "e\u{301}",
            "a%2F",
        ] {
            check_pattern_for_writing(bad).unwrap_err();
        }
    }

    #[test]
    fn hash_prefixes_are_of_the_sha256_of_the_path() {
        // sha256("a") = ca978112…
        assert!(hash_prefix_matches("ca97", "a"));
        assert!(!hash_prefix_matches("CA97", "a"));
        assert!(!hash_prefix_matches("", "a"));
        assert!(!hash_prefix_matches("00", "a"));
    }

    #[test]
    fn a_long_run_of_stars_is_matched_without_exploding() {
        assert!(!pattern_matches(&"*a".repeat(60), &"a".repeat(59)));
        assert!(pattern_matches(&"*a".repeat(60), &"a".repeat(600)));
    }
}
