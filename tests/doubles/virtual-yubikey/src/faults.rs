//! What is to go wrong, and when.

use std::time::Duration;

use crate::apdu::Sw;

/// What happens at one command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// This status word, and nothing is done.
    Sw(Sw),
    /// Everything is done, and this status word answers.
    SwAfter(Sw),
    /// This answer, status word and all, and nothing is done.
    Answer(Vec<u8>),
    /// It takes so long before anything is done.
    Slow(Duration),
    /// The connection to the reader breaks, and is there again at once: a card that was reset. Nothing is done.
    Close,
    /// The card is pulled out, and nothing is done.
    Remove,
    /// The card is pulled out when everything is done, before it answers.
    RemoveAfter,
}

impl Fault {
    /// `6a80`, `after 6a80`, `answer HEX`, `slow MS`, `close`, `remove`, `remove after`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let unknown = || format!("no fault: {}", words.join(" "));
        let sw =
            |text: &str| u16::from_str_radix(text, 16).ok().filter(|_| text.len() == 4).ok_or_else(unknown);
        match *words {
            ["close"] => Ok(Self::Close),
            ["remove"] => Ok(Self::Remove),
            ["remove", "after"] => Ok(Self::RemoveAfter),
            ["answer", hex] => hex::decode(hex).map(Self::Answer).map_err(|_| unknown()),
            ["slow", ms] => ms.parse().map(|ms| Self::Slow(Duration::from_millis(ms))).map_err(|_| unknown()),
            ["after", text] => sw(text).map(Self::SwAfter),
            [text] => sw(text).map(Self::Sw),
            _ => Err(unknown()),
        }
    }
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Planned>);

#[derive(Debug)]
struct Planned {
    /// Counted down at each command that is meant.
    left: u64,
    ins: Option<u8>,
    fault: Fault,
}

impl Faults {
    /// At the N-th command from now (1 is the next one), or the N-th with an instruction.
    pub(crate) fn plan(&mut self, nth: u64, ins: Option<u8>, fault: Fault) {
        self.0.push(Planned { left: nth.max(1), ins, fault });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    /// A command is here: what happens at it.
    pub(crate) fn at(&mut self, ins: u8) -> Option<Fault> {
        for planned in &mut self.0 {
            if planned.ins.is_none_or(|it| it == ins) {
                planned.left = planned.left.saturating_sub(1);
            }
        }
        let due = self.0.iter().position(|planned| planned.left == 0)?;
        Some(self.0.remove(due).fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_at_its_command_once() {
        let mut faults = Faults::default();
        faults.plan(2, None, Fault::Close);
        faults.plan(1, Some(0x87), Fault::Sw(0x6f00));
        assert_eq!(
            [faults.at(0xa4), faults.at(0x20), faults.at(0x87), faults.at(0x87)],
            [None, Some(Fault::Close), Some(Fault::Sw(0x6f00)), None]
        );
        assert_eq!(faults.left(), 0);
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        assert_eq!(Fault::parse(&["after", "6a80"]), Ok(Fault::SwAfter(0x6a80)));
        assert_eq!(Fault::parse(&["slow", "20"]), Ok(Fault::Slow(Duration::from_millis(20))));
        assert_eq!(Fault::parse(&["answer", "9000"]), Ok(Fault::Answer(vec![0x90, 0])));
        for words in [&["6a8"][..], &["closed"], &["slow", "x"], &["answer", "9"], &[]] {
            assert!(Fault::parse(words).is_err(), "{words:?}");
        }
    }
}
