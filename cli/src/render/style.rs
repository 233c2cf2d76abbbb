//! Colour, when it is wanted and can be seen.

use std::fmt::Display;

/// Puts colour around text, or nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// A style with or without colours.
    pub(crate) const fn new(colours: bool) -> Self {
        Self { colours }
    }

    /// Names.
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.wrap("1", text)
    }

    /// What the eye may skip.
    pub(crate) fn dim(self, text: impl Display) -> String {
        self.wrap("2", text)
    }

    /// Done, signed, unlocked, added.
    pub(crate) fn green(self, text: impl Display) -> String {
        self.wrap("32", text)
    }

    /// Waits for somebody, or deserves a look.
    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.wrap("33", text)
    }

    /// Failed, expired, removed.
    pub(crate) fn red(self, text: impl Display) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Whether the environment wants colours: <https://no-color.org>, and a terminal that is not dumb.
pub(super) fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::Style;

    #[test]
    fn a_plain_style_adds_nothing() {
        assert_eq!(Style::new(false).red("gone"), "gone");
        assert_eq!(Style::new(true).red("gone"), "\x1b[31mgone\x1b[0m");
    }
}
