use super::*;
use crate::SplitKind;
use crate::test_sets::{new_set, simple};
use proptest::prelude::*;

fn words() -> Vec<String> {
    let set = new_set(SplitKind::Ed25519, &simple(2, 3));
    let text = set.shares()[1].share.words().unwrap();
    let text = std::str::from_utf8(text.reveal_secret_bytes()).unwrap();
    text.split(' ').map(str::to_owned).collect()
}

fn parsed(words: &[String]) -> Result<Share, ShareError> {
    Share::parse(words.join(" ").as_bytes())
}

#[test]
fn case_and_white_space_do_not_matter_and_nothing_else_is_let_through() {
    let words = words();
    let share = parsed(&words).unwrap();
    assert_eq!((share.word_count(), words.len()), (33, 33));
    assert_eq!((share.group_index(), share.member_index(), share.member_threshold()), (0, 1, 2));
    assert!(share.extendable() && share.group_count() == 1 && share.group_threshold() == 1);
    for text in [words.join("\n"), format!("\t {}\r\n", words.join(" \t ")), words.join(" ").to_uppercase()] {
        assert_eq!(Share::parse(text.as_bytes()).unwrap().fingerprint(), share.fingerprint());
    }
    for junk in [",", "1.", "é", "\0", "\u{a0}"] {
        let text = words.join(" ").replacen(' ', &format!(" {junk} "), 1);
        assert_eq!(Share::parse(text.as_bytes()).map(drop), Err(ShareError::UnknownWord { position: 2 }));
    }
    let long = format!("{}{}", words.join(" "), " ".repeat(TEXT_MAX));
    assert_eq!(Share::parse(long.as_bytes()).map(drop), Err(ShareError::TooLong { max: TEXT_MAX }));
}

#[test]
fn what_was_copied_with_numbers_marks_or_four_letters_a_word_is_the_same_share() {
    let words = words();
    let print = parsed(&words).unwrap().fingerprint().unwrap();
    let numbered = |mark: &str| -> String {
        (1..).zip(&words).map(|(number, word)| format!("{number}{mark}{word}\r\n")).collect()
    };
    let short: Vec<&str> = words.iter().map(|word| &word[..4]).collect();
    for text in [
        numbered(" "),
        numbered(". "),
        numbered(".\t"),
        numbered(") "),
        words.join(", "),
        format!("\u{feff}\"{}\"\r\n", words.join("\u{a0}")),
        short.join(" "),
        short.join("\n").to_uppercase(),
    ] {
        assert_eq!(Share::parse_copied(text.as_bytes()).unwrap().fingerprint().unwrap(), print, "{text}");
        assert!(Share::parse(text.as_bytes()).is_err() || text == short.join(" "), "{text}");
    }
    // What is no word is told by its place among the words, whatever stands between.
    for (wrong, position) in [("x", 3), ("acade", 3), ("\u{e9}", 3), ("ma1rch", 3), ("abc", 3)] {
        let mut words = words.clone();
        words[2] = wrong.to_owned();
        let text: String = (1..).zip(&words).map(|(at, word)| format!("{at}. {word} ")).collect();
        let found = Share::parse_copied(text.as_bytes()).map(drop);
        assert_eq!(found, Err(ShareError::UnknownWord { position }), "{wrong}");
    }
    let mut three = words.clone();
    three[0].truncate(3);
    let found = Share::parse_copied(three.join(" ").as_bytes()).map(drop);
    assert_eq!(found, Err(ShareError::UnknownWord { position: 1 }));
}

#[test]
fn every_word_that_is_changed_swapped_dropped_or_doubled_is_noticed() {
    let words = words();
    let list: Vec<&str> = include_str!("../slip39/english.txt").lines().collect();
    for at in 0..words.len() {
        for step in [1, 2, 511, 1023] {
            let mut changed = words.clone();
            let place = list.iter().position(|word| *word == changed[at]).unwrap();
            changed[at] = list[(place + step) % list.len()].to_owned();
            assert_eq!(parsed(&changed).map(drop), Err(ShareError::Checksum), "{at}");
        }
        let mut unknown = words.clone();
        unknown[at].push('x');
        assert_eq!(parsed(&unknown).map(drop), Err(ShareError::UnknownWord { position: at + 1 }));
        let mut dropped = words.clone();
        dropped.remove(at);
        assert_eq!(parsed(&dropped).map(drop), Err(ShareError::WordCount { found: 32 }));
        let mut doubled = words.clone();
        doubled.insert(at, words[at].clone());
        assert_eq!(parsed(&doubled).map(drop), Err(ShareError::WordCount { found: 34 }));
        for other in 0..at {
            let mut swapped = words.clone();
            swapped.swap(at, other);
            let same = words[at] == words[other];
            assert_eq!(parsed(&swapped).is_ok(), same, "{at} and {other}");
        }
    }
}

/// By the words' numbers, since a stack for each of so many would take minutes.
#[test]
fn each_word_that_is_changed_to_any_other_is_noticed() {
    let text = words().join(" ");
    let spelled = Spelled::read(text.as_bytes());
    let mut indices = spelled.looked_up(spelled.count()).unwrap();
    let mut tried = 0;
    for at in 0..indices.count {
        let right = indices.words[at];
        for other in (0..1024).filter(|other| *other != right) {
            indices.words[at] = other;
            assert_eq!(mnemonic::decoded(&indices).map(drop), Err(ShareError::Checksum), "{at}: {other}");
            tried += 1;
        }
        indices.words[at] = right;
    }
    assert_eq!(tried, 33 * 1023);
    assert!(mnemonic::decoded(&indices).is_ok());
}

#[test]
fn an_exponent_above_the_cap_is_an_error_of_its_own() {
    let header = |exponent| {
        let mut header = mnemonic::header_of(&[0; 4]);
        header.common.exponent = exponent;
        header
    };
    for exponent in 0..16 {
        let read = Share::parse(
            Share::new(header(exponent), &Value::zero(16)).words().unwrap().reveal_secret_bytes(),
        );
        let capped = ShareError::IterationExponent { found: exponent, max: 8 };
        assert_eq!(read.map(drop), if exponent > 8 { Err(capped) } else { Ok(()) });
    }
}

#[test]
fn no_error_holds_a_word() {
    let mut words = words();
    words[3].push_str("zzz");
    let error = parsed(&words).map(drop).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        !words.iter().any(|word| text.split(|c: char| !c.is_alphabetic()).any(|part| part == word)),
        "{text}"
    );
    assert!(text.contains("word 4"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Share::parse(&bytes).is_err());
        let _ = crate::check_so_far(&bytes);
    }

    #[test]
    fn any_words_are_read_or_refused_and_what_is_read_writes_itself(
        indices in prop::collection::vec(0_usize..1024, 0..40),
        spaces in "[ \t\r\n]{1,3}",
    ) {
        let list: Vec<&str> = include_str!("../slip39/english.txt").lines().collect();
        let words: Vec<&str> = indices.iter().map(|at| list[*at]).collect();
        if let Ok(share) = Share::parse(words.join(&spaces).as_bytes()) {
            let written = share.words().unwrap();
            prop_assert!(written.reveal_secret_bytes() == words.join(" ").as_bytes());
        }
        let found = crate::check_so_far(words.join(&spaces).as_bytes()).unwrap();
        prop_assert_eq!(found.words, words.len().min(34));
        prop_assert_eq!(found.unknown, None);
    }

    #[test]
    fn every_header_and_value_comes_back(
        packed in 0_u64..1 << 40,
        bytes in prop::collection::vec(any::<u8>(), 32),
        pairs in 8_usize..=16,
    ) {
        let shifts = [30, 20, 10, 0].map(|shift| u16::try_from(packed >> shift & 0x3FF).unwrap());
        let header = mnemonic::header_of(&shifts);
        let value = Value::of(&bytes[..2 * pairs]);
        let share = Share::new(header, &value);
        match Share::parse(share.words().unwrap().reveal_secret_bytes()) {
            Ok(read) => {
                prop_assert_eq!(read.header(), header);
                prop_assert_eq!(read.part().value, &value.bytes);
                prop_assert_eq!(read.part().len, value.len);
            }
            Err(error) => {
                let groups = header.common.group_threshold > header.common.group_count
                    || header.group_index >= header.common.group_count;
                let expected = if groups { error == ShareError::Groups } else {
                    error == ShareError::IterationExponent { found: header.common.exponent, max: 8 }
                };
                prop_assert!(expected, "{error}");
            }
        }
    }
}
