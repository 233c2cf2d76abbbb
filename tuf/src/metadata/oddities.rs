//! What others write and not every stock client reads: kept as it stands, told to people, and refused by `verify`.

use super::Metadata;
use crate::json::{Kind, Value};

/// Odd things in a file, each kind with its number and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Oddities {
    /// Integers beyond 2^53 - 1: tuf-js reads other numbers and so refuses the signatures, tough does from 2^64 on.
    pub large_integers: Odd,
    /// Integers of so many digits that python-tuf reads nothing of the file.
    pub unreadable_integers: Odd,
    /// Targets whose `custom` is no object (specification 4.5): tough refuses the file.
    pub plain_customs: Odd,
}

/// How many there are, and the first: an integer, or the number of its digits; a target's path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Odd {
    /// How many.
    pub count: usize,
    /// The first.
    pub first: String,
}

impl Odd {
    fn note(&mut self, text: &str) {
        if self.count == 0 {
            text.clone_into(&mut self.first);
        }
        self.count = self.count.saturating_add(1);
    }
}

/// Something odd, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Oddity {
    /// What it is and who stumbles: the end of a sentence.
    pub what: String,
    /// The section of the specification that says otherwise.
    pub spec: &'static str,
}

impl Oddities {
    /// One for each kind that there is.
    pub fn told(&self) -> Vec<Oddity> {
        let mut told = Vec::new();
        let Odd { count, first } = &self.large_integers;
        if *count > 0 {
            let shown: String = first.chars().take(40).collect();
            let what = format!(
                "holds {count} {} beyond 2^53 - 1, such as {shown}, which tuf-js (and from 2^64 on tough) reads as another number",
                if *count == 1 { "integer" } else { "integers" },
            );
            told.push(Oddity { what, spec: "4.1" });
        }
        let Odd { count, first } = &self.unreadable_integers;
        if *count > 0 {
            let what = format!(
                "holds {count} {} of more than {MOST_DIGITS} digits ({first}), with which python-tuf reads nothing of it",
                if *count == 1 { "integer" } else { "integers" },
            );
            told.push(Oddity { what, spec: "4.1" });
        }
        let Odd { count, first } = &self.plain_customs;
        if *count > 0 {
            let what = format!(
                "has {count} {} whose `custom` is no object, such as {first:?}, which tough refuses",
                if *count == 1 { "target" } else { "targets" },
            );
            told.push(Oddity { what, spec: "4.5" });
        }
        told
    }
}

impl Metadata {
    /// What not every stock client reads in this file. Walks over all targets.
    pub fn oddities(&self) -> Oddities {
        let mut found = Oddities::default();
        for text in self.large_integers() {
            found.large_integers.note(text);
            let digits = text.trim_start_matches('-').len();
            if digits > MOST_DIGITS {
                found.unreadable_integers.note(&digits.to_string());
            }
        }
        let targets = self.as_targets().into_iter().flat_map(|targets| targets.value().members());
        for (path, file) in targets {
            if file.get("custom").map(Value::kind).is_some_and(|kind| kind != Kind::Object) {
                found.plain_customs.note(&path.as_str().unwrap_or_default());
            }
        }
        found
    }

    /// Integers beyond 2^53 - 1, digit for digit, also beside what is signed: clients read that too.
    pub fn large_integers(&self) -> impl Iterator<Item = &str> {
        self.document().large_integers(self.document().root())
    }
}

/// More digits Python makes no number of (`sys.int_info.default_max_str_digits`).
const MOST_DIGITS: usize = 4300;
