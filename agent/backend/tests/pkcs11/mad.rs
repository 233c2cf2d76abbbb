//! Helpers gone mad, by their module or by themselves: their token is told of, and no other one waits (FAULTS B6, B8, D3).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use backend::pkcs11::Pkcs11Token;
use backend::{Backend, TokenState};
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::lab::{Lab, sign, start, unlock, unlocked, wait_for};

pub const CASES: &[Case] = &[
    ("each_way_to_go_mad_costs_a_module_its_own_token_alone", mad_modules),
    ("a_reply_that_was_lost_after_the_signature_is_not_asked_for_again", lost_replies),
    ("an_answer_with_a_wrong_id_an_impossible_length_or_garbage_ends_the_helper", mad_helpers),
];

/// What the module does, and what whoever wants a signature is told.
const MADNESS: &[(&str, &str)] = &[
    ("C_Sign once segv", "TOKEN_FAILED"),
    ("C_Sign once abort", "TOKEN_FAILED"),
    ("C_Sign once exit 0", "TOKEN_FAILED"),
    ("C_Sign once spin", "TOKEN_FAILED"),
    ("C_SignInit once hang", "TOKEN_FAILED"),
    ("C_Sign once huge", "BAD_SIGNATURE"),
    ("C_Sign once long", "BAD_SIGNATURE"),
    ("C_Sign once short", "BAD_SIGNATURE"),
    ("C_Sign once empty", "BAD_SIGNATURE"),
    ("C_Sign once zero", "BAD_SIGNATURE"),
    ("C_Sign once stale", "BAD_SIGNATURE"),
];

/// A token that nobody lies about.
struct Good {
    token: Pkcs11Token,
    key: PublicKey,
    _lab: Lab,
}

impl Good {
    fn new() -> Self {
        let lab = Lab::new();
        let token = unlocked(lab.config("good"));
        let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        Self { token, key, _lab: lab }
    }

    /// How long the slowest of some signatures takes.
    fn slowest(&self) -> Duration {
        let one = |_| {
            let begun = Instant::now();
            sign(&self.token, &self.key, "meanwhile").unwrap();
            begun.elapsed()
        };
        (0..50).map(one).max().unwrap()
    }
}

fn mad_modules() {
    let good = Good::new();
    for (madness, expected) in MADNESS {
        // Each its own, so that none waits for the back-off of another one.
        let lab = Lab::new();
        lab.say("");
        let mut config = lab.lying_config("liar");
        config.deadline = DEADLINE;
        let token = unlocked(config);
        let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        if !madness.contains("Find") {
            sign(&token, &key, "the first").unwrap();
        }
        lab.desk().forget();
        lab.say(madness);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| sign(&token, &key, "x").expect_err(madness));
            let slowest = good.slowest();
            assert!(slowest < DEADLINE / 2, "{madness}: another token waited {slowest:?}");
            let error = waiting.join().unwrap();
            assert_eq!(error.reason(), *expected, "{madness}: {error}");
        });
        assert_eq!(lab.desk().trace().logins(), 0, "{madness}");
        lab.say("");
        if token.info().state != TokenState::Unlocked {
            unlock(&token).unwrap_or_else(|error| panic!("{madness}: {error}"));
        }
        sign(&token, &key, "well again").unwrap_or_else(|error| panic!("{madness}: {error}"));
    }
}

fn lost_replies() {
    for lie in [
        "C_Sign once after abort",
        "C_Sign once after CKR_DEVICE_REMOVED",
        "C_Sign once after CKR_DEVICE_ERROR",
    ] {
        let lab = Lab::new();
        lab.say("");
        let token = unlocked(lab.lying_config("liar"));
        let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        lab.desk().forget();
        lab.say(lie);
        let error = sign(&token, &key, "once").expect_err(lie);
        assert_eq!(error.reason(), "TOKEN_FAILED", "{lie}: {error}");
        assert!(lie.contains("abort") || error.to_string().contains("not known"), "{lie}: {error}");
        assert_eq!(lab.desk().trace().signatures(), 1, "{lie}: made once");
        assert_eq!(lab.desk().trace().calls("C_Sign"), 1, "{lie}: asked for once");
    }
}

/// The names of tokens whose helper is [`helper`].
const HELPERS: [&str; 4] = ["wrong-id", "four-gib", "garbage", "other-answer"];

fn mad_helpers() {
    let good = Good::new();
    let lab = Lab::new();
    for name in HELPERS {
        let token = start(lab.config(name));
        assert_eq!(token.info().state, TokenState::Failed, "{name}");
        let error = unlock(&token).expect_err(name);
        assert_eq!(error.reason(), "TOKEN_FAILED", "{name}: {error}");
        assert!(token.info().problem.is_some_and(|problem| problem.contains("helper")), "{:?}", token.info());
        assert!(good.slowest() < DEADLINE / 2, "{name}");
    }
    // Where the helper is in its right mind, the same entry works.
    let token = start(lab.config("sane"));
    wait_for(&token, TokenState::Locked);
}

/// `host-token NAME` of a helper that is mad; `None` where the name is another one.
pub fn helper(name: &str) -> Option<ExitCode> {
    if !HELPERS.contains(&name) {
        return None;
    }
    let mut socket = File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut start = [0; 16];
    while socket.read_exact(&mut start).is_ok() {
        let len = |at: usize| u32::from_be_bytes(start[at..at + 4].try_into().unwrap());
        let mut rest = vec![0; usize::try_from(len(0) + len(4)).unwrap()];
        socket.read_exact(&mut rest).unwrap();
        let id = u64::from_be_bytes(start[8..].try_into().unwrap());
        let answer = match name {
            "wrong-id" => frame(id + 1, br#"{"is":"opened","path":"/m.so","sha256":"00"}"#),
            "four-gib" => vec![0xff; 16],
            "garbage" => frame(id, b"\xff\x00 no json"),
            _ => frame(id, br#"{"is":"done"}"#),
        };
        if socket.write_all(&answer).is_err() {
            break;
        }
    }
    Some(ExitCode::SUCCESS)
}

fn frame(id: u64, head: &[u8]) -> Vec<u8> {
    let len = u32::try_from(head.len()).unwrap().to_be_bytes();
    [&len[..], &[0; 4], &id.to_be_bytes(), head].concat()
}

const DEADLINE: Duration = Duration::from_secs(4);
