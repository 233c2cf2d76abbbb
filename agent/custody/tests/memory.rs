//! Nothing of a key or a share stays in this process: its whole memory is searched after a set was made, collected and used.
//!
//! What is searched for is never whole in this process but where the crate itself puts it: patterns are kept masked, and
//! unmasked in locked memory alone when one is planted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use secmem::{SecretBytes, on_locked_stack};
use tuf::key::KeyType;
use tuf::preimage::{Signable, Statement, StatementKind};
use tufagent_custody::{Collected, Context, IterationExponent, NewSet, Share, SplitKind, Terms, Weak};

const MASK: u8 = 0xA7;

/// Something that must not be found, each byte masked.
struct Pattern {
    name: String,
    masked: Vec<u8>,
}

impl Pattern {
    fn new(name: impl Into<String>, bytes: impl IntoIterator<Item = u8>) -> Self {
        Self { name: name.into(), masked: bytes.into_iter().map(|byte| byte ^ MASK).collect() }
    }

    fn unmasked(&self) -> SecretBytes {
        SecretBytes::with_len(self.masked.len(), |buffer| {
            buffer.iter_mut().zip(&self.masked).for_each(|(byte, masked)| *byte = masked ^ MASK);
        })
    }

    fn derived(&self, name: &str, bytes: impl Iterator<Item = u8>) -> Self {
        Self::new(format!("{name} of {}", self.name), bytes)
    }

    fn is_at(&self, memory: &[u8]) -> bool {
        memory.iter().zip(&self.masked).all(|(byte, masked)| byte ^ MASK == *masked)
            && memory.len() >= self.masked.len()
    }
}

/// As it is, backwards, and in hexadecimal; the last as one often prints it.
fn forms(pattern: &Pattern) -> Vec<Pattern> {
    let plain = || pattern.masked.iter().map(|masked| masked ^ MASK);
    let digit = |nibble: u8, letter: u8| if nibble < 10 { b'0' + nibble } else { letter + nibble - 10 };
    let hex = |letter: u8| plain().flat_map(move |byte| [digit(byte >> 4, letter), digit(byte & 15, letter)]);
    vec![
        pattern.derived("the bytes", plain()),
        pattern.derived("the bytes backwards", plain().rev()),
        pattern.derived("the hexadecimal", hex(b'a')),
        pattern.derived("the upper case hexadecimal", hex(b'A')),
    ]
}

/// A random secret, which is never whole but in locked memory.
fn random_secret(name: &str) -> Pattern {
    let secret = SecretBytes::random(32).unwrap();
    Pattern::new(name, secret.reveal_secret_bytes().iter().copied())
}

/// What an Ed25519 key is expanded to: scalar (as the hash has it, and clamped) and prefix.
fn expanded(seed: &Pattern) -> Vec<Pattern> {
    let secret = seed.unmasked();
    let hash = on_locked_stack(|| {
        use sha2::Digest as _;
        SecretBytes::copy_from(&sha2::Sha512::digest(secret.reveal_secret_bytes()))
    });
    let hash = hash.unwrap();
    let (scalar, prefix) = hash.reveal_secret_bytes().split_at(32);
    // The first and the last byte are clamped.
    vec![
        seed.derived("the scalar", scalar[1..31].iter().copied()),
        seed.derived("the scalar backwards", scalar[1..31].iter().rev().copied()),
        seed.derived("the prefix", prefix.iter().copied()),
    ]
}

/// What is written on a sheet, every four words in a row after the header (fewer might be found by chance), the words as
/// their numbers in the list, and the share's value as bytes.
fn words_of(share: &Share, name: &str) -> Vec<Pattern> {
    let words = share.words().unwrap();
    let text = words.reveal_secret_bytes();
    let starts: Vec<usize> =
        std::iter::once(0).chain((0..text.len()).filter(|at| text[*at] == b' ').map(|at| at + 1)).collect();
    let rows = starts[4..].windows(5).map(|row| &text[row[0]..row[4] - 1]);
    let named =
        |(at, row): (usize, &[u8])| Pattern::new(format!("words {at} of {name}"), row.iter().copied());
    let mut patterns: Vec<_> = rows.enumerate().map(named).collect();
    let (numbers, value) = on_locked_stack(|| {
        // 26 words of 10 bits between header and checksum, of which the first 4 bits are padding.
        let list: Vec<&[u8]> = LIST.split(|byte| *byte == b'\n').collect();
        let place =
            |word: &[u8]| u16::try_from(list.iter().position(|other| *other == word).unwrap()).unwrap();
        let places = || text.split(|byte| *byte == b' ').map(place).skip(4).take(26);
        let numbers = SecretBytes::with_len(52, |bytes| {
            let pairs = bytes.as_chunks_mut::<2>().0.iter_mut();
            pairs.zip(places()).for_each(|(pair, place)| *pair = place.to_ne_bytes());
        });
        let bits = || places().flat_map(|place| (0..10).rev().map(move |bit| place >> bit & 1)).skip(4);
        let value = SecretBytes::with_len(32, |bytes| {
            for (at, bit) in bits().enumerate() {
                bytes[at / 8] |= u8::from(bit == 1) << (7 - at % 8);
            }
        });
        (numbers, value)
    })
    .unwrap();
    for (what, secret) in [("numbers of the words", numbers), ("value", value)] {
        let name = format!("{what} of {name}");
        patterns.push(Pattern::new(name, secret.reveal_secret_bytes().iter().copied()));
    }
    patterns
}

const LIST: &[u8] = include_bytes!("../src/slip39/english.txt");

/// The names of the patterns that are somewhere in this process's memory.
fn found(patterns: &[Pattern]) -> Vec<String> {
    // By the first two bytes, so that a pattern is looked at where it could begin only.
    let mut starts: Vec<Vec<usize>> = vec![Vec::new(); 1 << 16];
    let key = |one: u8, two: u8| usize::from(u16::from_be_bytes([one, two]));
    for (at, pattern) in patterns.iter().enumerate() {
        starts[key(pattern.masked[0] ^ MASK, pattern.masked[1] ^ MASK)].push(at);
    }
    let longest = patterns.iter().map(|pattern| pattern.masked.len()).max().unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = Vec::new();
    let mut buffer = vec![0; (1 << 20) + longest];
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [mut from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        if !rest.starts_with('r') || rest.contains("[v") {
            continue;
        }
        while from < to {
            let wanted = usize::try_from(to - from).unwrap().min(buffer.len());
            let Ok(()) = memory.read_exact_at(&mut buffer[..wanted], from) else { break };
            for (at, pair) in buffer[..wanted].windows(2).enumerate() {
                let here = &starts[key(pair[0], pair[1])];
                let here = here.iter().filter(|index| patterns[**index].is_at(&buffer[at..wanted]));
                found.extend(here.map(|index| patterns[*index].name.clone()));
            }
            from += 1 << 20;
        }
        // What was read must not be found in the buffer by a later read.
        buffer.fill(0);
    }
    found.sort();
    found.dedup();
    found
}

#[track_caller]
fn assert_nowhere(patterns: &[Pattern], when: &str) {
    assert_eq!(found(patterns), Vec::<String>::new(), "{when}");
}

fn context(passphrase: &SecretBytes) -> Context<'_> {
    let made_at = "2026-11-20T10:00:00Z".parse().unwrap();
    let exponent = IterationExponent::try_from(0).unwrap();
    Context { key_name: "root-s", made_at, exponent, passphrase, used: &[] }
}

/// Every step of a split key's life; afterwards nothing of it is anywhere.
fn life_of(kind: SplitKind) {
    let secret = random_secret("the key");
    let passphrase = random_passphrase();
    let mut patterns = forms(&secret);
    patterns.push(passphrase.derived("the bytes", passphrase.masked.iter().map(|byte| byte ^ MASK)));
    if kind.key_type() == KeyType::Ed25519 {
        patterns.extend(expanded(&secret));
    }
    let names = ["ann", "ben", "cy"].map(|name| name.parse().unwrap());
    let terms = Terms::simple(2, names.into()).unwrap().agreed(Weak::Refused).unwrap();
    let statement = Statement::new(StatementKind::Drill, "x");
    let manifest = {
        let passphrase = passphrase.unmasked();
        let set = NewSet::of_secret(&secret.unmasked(), kind, &terms, &context(&passphrase), None).unwrap();
        for new in set.shares() {
            patterns.extend(words_of(&new.share, new.custodian.name.as_str()));
        }
        let mut collected = Collected::new(set.manifest());
        let (manifest, mut shares) = set.into_parts();
        // As custodians type them, some wrongly.
        for new in shares.drain(..2) {
            let words = new.share.words().unwrap();
            let text = words.reveal_secret_bytes();
            tufagent_custody::check_so_far(&text[..text.len() / 2]).unwrap();
            Share::parse(&text[..text.len() - 1]).unwrap_err();
            collected.offer(Share::parse(text).unwrap()).unwrap();
        }
        // The search knows a share's value where it rests.
        let resting = found(&patterns);
        assert!(resting.iter().any(|name| name == "value of ann"), "{resting:?}");
        let wrong = SecretBytes::copy_from(b"wrong");
        collected.sign(Signable::Statement(&statement), &wrong).unwrap_err();
        let next = collected.resplit(&passphrase, &terms, &context(&passphrase)).unwrap();
        let mut again = Collected::new(next.manifest());
        for new in next.shares() {
            patterns.extend(words_of(&new.share, "the next set"));
            again.offer(Share::parse(new.share.words().unwrap().reveal_secret_bytes()).unwrap()).unwrap();
        }
        let signature = again.sign(Signable::Statement(&statement), &passphrase).unwrap();
        manifest.public_key().verify(statement.bytes(), signature.as_bytes()).unwrap();
        // The passphrase is the caller's, and is there until the caller lets go of it; the key and the words are gone already.
        let ours = |pattern: &&Pattern| !pattern.name.contains("passphrase");
        drop((collected, shares, next, again));
        let without: Vec<Pattern> = patterns
            .iter()
            .filter(ours)
            .map(|pattern| Pattern { name: pattern.name.clone(), masked: pattern.masked.clone() })
            .collect();
        assert_nowhere(&without, "after the signature");
        manifest
    };
    assert_nowhere(&patterns, "at the end");
    assert!(patterns.len() > 150);
    drop(manifest);
}

/// 32 printable characters.
fn random_passphrase() -> Pattern {
    let random = SecretBytes::random(32).unwrap();
    Pattern::new("the passphrase", random.reveal_secret_bytes().iter().map(|byte| b'!' + byte % 90))
}

/// One test, since two would see each other's secrets.
#[test]
fn a_key_and_its_shares_are_found_nowhere_after_use_and_a_planted_one_is() {
    life_of(SplitKind::Ed25519);
    life_of(SplitKind::EcdsaP256);

    // The search finds what is there: in locked memory, on the heap, and on a stack that nobody wiped.
    let canary = random_secret("the canary");
    let patterns = forms(&canary);
    assert_nowhere(&patterns, "before it is planted");
    let planted = canary.unmasked();
    assert_eq!(found(&patterns), ["the bytes of the canary"]);
    let heap: Vec<u8> = planted.reveal_secret_bytes().iter().rev().copied().collect();
    assert_eq!(found(&patterns), ["the bytes backwards of the canary", "the bytes of the canary"]);
    drop((planted, heap));
    leave_on_the_stack(&patterns[2]);
    assert!(found(&patterns).contains(&"the hexadecimal of the canary".to_owned()));
}

/// Many copies, so that what runs afterwards does not overwrite them all.
#[inline(never)]
fn leave_on_the_stack(pattern: &Pattern) {
    let mut copies = [[0_u8; 64]; 1024];
    for copy in &mut copies {
        copy.iter_mut().zip(&pattern.masked).for_each(|(byte, masked)| *byte = masked ^ MASK);
    }
    std::hint::black_box(&mut copies);
}
