//! Helpers gone mad, by their module or by themselves: their token is told of, and no other one waits (FAULTS B6, B8, D3).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backend::pkcs11::{Card, Pkcs11Token, Settle, Tally};
use backend::{Backend, TokenState};
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::lab::{Lab, sign, start, unlock, unlocked, wait_for};

pub const CASES: &[Case] = &[
    ("each_way_to_go_mad_costs_a_module_its_own_token_alone", mad_modules),
    ("a_reply_that_was_lost_after_the_signature_is_not_asked_for_again", lost_replies),
    ("what_a_helper_says_is_cut_so_that_it_harms_no_answer_about_others", talkative),
    ("a_module_that_was_given_no_pin_is_not_heard_when_it_says_that_one_was_accepted", unasked),
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

/// The names of tokens whose helper does its work, and says more than anybody asked for.
const TALKERS: [&str; 3] = ["long-text", "many-keys", "no-pin"];

fn talkative() {
    let lab = Lab::new();
    let token = start(lab.config("long-text"));
    let problem = token.info().problem.unwrap();
    assert!(problem.contains("AAAA") && problem.len() < 4096, "{}", problem.len());
    let token = start(lab.config("many-keys"));
    wait_for(&token, TokenState::Locked);
    assert_eq!(token.keys().unwrap().len(), 512);
    assert!(
        token.odd_objects().is_some_and(|odd| odd.contains("11488 keys more")),
        "{:?}",
        token.odd_objects()
    );
    let info = token.info();
    assert!(info.serial.is_some_and(|serial| serial.len() <= 256), "a serial number is short");
}

/// Counts what it is asked to count.
struct Counts(Arc<AtomicUsize>);

impl Tally for Counts {
    fn count(&self, _: &Card) -> Option<Settle> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(drop))
    }
}

fn unasked() {
    let lab = Lab::new();
    let (config, counted) = (lab.config("no-pin"), Arc::new(AtomicUsize::new(0)));
    let token = Pkcs11Token::new(config, std::env::current_exe().unwrap()).unwrap();
    token.count_by(Box::new(Counts(Arc::clone(&counted))));
    assert!(token.first_look(Duration::from_secs(60)));
    assert!(token.keys().unwrap().is_empty());
    assert_eq!(counted.load(Ordering::Relaxed), 0, "nobody gave it a PIN");
    // With a PIN it is heard, once: it may say that it presented that in another way.
    let _ = unlock(&token);
    assert_eq!(counted.load(Ordering::Relaxed), 1);
}

/// What such a helper says to a request: nothing before its answer, most often.
fn said(name: &str, op: &str, module: &str) -> Vec<String> {
    let text = |text: &str, n: usize| text.repeat(n);
    let last = match op {
        "open" => format!(r#"{{"is":"opened","path":"{module}","sha256":"{}"}}"#, text("0", 64)),
        "confine" => r#"{"is":"confined","confined":true,"gap":null}"#.to_owned(),
        "load" if name == "long-text" => {
            format!(r#"{{"is":"error","kind":"device","message":"{}"}}"#, text("A", 5 << 20))
        }
        "load" => r#"{"is":"loaded","library":"talker"}"#.to_owned(),
        "list" if name == "many-keys" => {
            let key = |n: u32| {
                let mut point = [0; 32];
                point[..4].copy_from_slice(&n.to_be_bytes());
                let public = ed25519_dalek::SigningKey::from_bytes(&point).verifying_key().to_bytes();
                let public = hex::encode(PublicKey::from_ed25519(public).unwrap().spki_der());
                format!(r#"{{"label":"k{n}","public":"{public}","origin":"unknown"}}"#)
            };
            let keys: Vec<String> = (0..12_000).map(key).collect();
            format!(r#"{{"is":"keys","keys":[{}],"all":false,"odd":null,"of":null}}"#, keys.join(","))
        }
        "list" => r#"{"is":"keys","keys":[],"all":false,"odd":null,"of":null}"#.to_owned(),
        "poll" | "look" | "login" => format!(
            r#"{{"is":"status","label":"lab","serial":"{}","count_low":false,"final_try":false,"blocked":false,"logged_in":false}}"#,
            text("1", if name == "many-keys" { 10_000 } else { 8 })
        ),
        _ => r#"{"is":"done"}"#.to_owned(),
    };
    if name != "no-pin" || !matches!(op, "list" | "login") {
        return vec![last];
    }
    let presented = r#"{"is":"presented","accepted":true}"#;
    let again = [r#"{"is":"presents"}"#, presented].map(str::to_owned);
    [&again[..], &again[..], &[last]].concat()
}

/// `host-token NAME` of a helper that is mad; `None` where the name is another one.
pub fn helper(name: &str) -> Option<ExitCode> {
    if TALKERS.contains(&name) {
        return Some(talk(name));
    }
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

/// The next frame: its id and its head.
fn heard(socket: &mut File) -> Option<(u64, serde_json::Value)> {
    let mut start = [0; 16];
    socket.read_exact(&mut start).ok()?;
    let len = |at: usize| usize::try_from(u32::from_be_bytes(start[at..at + 4].try_into().unwrap())).unwrap();
    let mut rest = vec![0; len(0) + len(4)];
    socket.read_exact(&mut rest).ok()?;
    let id = u64::from_be_bytes(start[8..].try_into().unwrap());
    Some((id, serde_json::from_slice(&rest[..len(0)]).unwrap()))
}

fn talk(name: &str) -> ExitCode {
    let mut socket = File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut module = String::new();
    while let Some((id, request)) = heard(&mut socket) {
        if let Some(path) = request["module"].as_str() {
            path.clone_into(&mut module);
        }
        for word in said(name, request["op"].as_str().unwrap(), &module) {
            if socket.write_all(&frame(id, word.as_bytes())).is_err() {
                return ExitCode::SUCCESS;
            }
            if word.contains("presents") {
                heard(&mut socket);
            }
        }
    }
    ExitCode::SUCCESS
}

fn frame(id: u64, head: &[u8]) -> Vec<u8> {
    let len = u32::try_from(head.len()).unwrap().to_be_bytes();
    [&len[..], &[0; 4], &id.to_be_bytes(), head].concat()
}

const DEADLINE: Duration = Duration::from_secs(4);
