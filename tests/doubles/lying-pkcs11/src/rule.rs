//! One lie at a call: `CALL WHEN [once] [after] [until-restart] LIE`.

use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::names;

/// A line that begins with the name of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    call: String,
    when: When,
    /// The line itself, under which it is remembered that it was told.
    pub(crate) once: Option<String>,
    /// The real module is asked first.
    pub(crate) after: bool,
    /// Told to whoever was initialised before the text came.
    pub(crate) until_restart: bool,
    pub(crate) lie: Lie,
}

/// Which of the calls, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Range(u64, u64),
    Each(u64),
}

/// What is done in place of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Code(CK_RV),
    Stuck(CK_RV),
    Sleep(Duration),
    Hang,
    Spin,
    Segv,
    Abort,
    Exit(i32),
    Bend(Bend),
}

/// What becomes of the real module's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bend {
    Wrong,
    Short,
    Long,
    Zero,
    Empty,
    OtherKey,
    Stale,
    Huge,
    None,
    Twice,
    More,
    Unknown,
    Nameless,
    Endless,
}

impl Rule {
    /// A lie told at each call.
    pub(crate) fn always(call: &str, lie: Lie) -> Self {
        Self {
            call: call.to_owned(),
            when: When::Range(1, u64::MAX),
            once: None,
            after: false,
            until_restart: false,
            lie,
        }
    }

    /// Reads a line of which `call` is the first word.
    pub(crate) fn parse(line: &str, call: &str, words: &[&str]) -> Option<Self> {
        let mut rest = words;
        let mut when = When::Range(1, u64::MAX);
        if let [first, after @ ..] = rest
            && let Some(given) = When::parse(first)
        {
            (when, rest) = (given, after);
        }
        let mut take = |word: &str| match rest {
            [first, others @ ..] if *first == word => {
                rest = others;
                true
            }
            _ => false,
        };
        let once = take("once").then(|| line.to_owned());
        let after = take("after");
        let until_restart = take("until-restart");
        let lie = Lie::parse(rest)?;
        Some(Self { call: call.to_owned(), when, once, after, until_restart, lie })
    }

    /// The name under which its calls are counted.
    pub(crate) fn call(&self) -> &str {
        &self.call
    }

    pub(crate) fn is_of(&self, call: &str) -> bool {
        self.call == call || (self.call == "*" && is_of_all(call))
    }

    pub(crate) fn holds_at(&self, count: u64) -> bool {
        match self.when {
            When::Range(from, to) => (from..=to).contains(&count),
            When::Each(step) => count.is_multiple_of(step),
        }
    }
}

impl When {
    fn parse(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self::Range(1, u64::MAX));
        }
        if let Some(step) = word.strip_prefix('%') {
            return step.parse().ok().filter(|step| *step > 0).map(Self::Each);
        }
        match word.split_once('-') {
            None => word.parse().ok().map(|n| Self::Range(n, n)),
            Some((from, "")) => Some(Self::Range(from.parse().ok()?, u64::MAX)),
            Some((from, to)) => Some(Self::Range(from.parse().ok()?, to.parse().ok()?)),
        }
    }
}

impl Lie {
    fn parse(words: &[&str]) -> Option<Self> {
        Some(match words {
            ["stuck", code] => Self::Stuck(names::code(code)?),
            ["sleep", milliseconds] => Self::Sleep(Duration::from_millis(milliseconds.parse().ok()?)),
            ["exit", status] => Self::Exit(status.parse().ok()?),
            ["hang"] => Self::Hang,
            ["spin"] => Self::Spin,
            ["segv"] => Self::Segv,
            ["abort"] => Self::Abort,
            [word] => match Bend::parse(word) {
                Some(bend) => Self::Bend(bend),
                None => Self::Code(names::code(word)?),
            },
            _ => return None,
        })
    }
}

impl Bend {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "wrong" => Self::Wrong,
            "short" => Self::Short,
            "long" => Self::Long,
            "zero" => Self::Zero,
            "empty" => Self::Empty,
            "other-key" => Self::OtherKey,
            "stale" => Self::Stale,
            "huge" => Self::Huge,
            "none" => Self::None,
            "twice" => Self::Twice,
            "more" => Self::More,
            "unknown" => Self::Unknown,
            "nameless" => Self::Nameless,
            "endless" => Self::Endless,
            _ => return None,
        })
    }
}
/// Whether the call counts where a lie is about all calls.
pub(crate) fn is_of_all(call: &str) -> bool {
    !call.ends_with('?') && call != "C_GetFunctionList"
}
