//! PKCS#11 tokens over SoftHSM, alone and behind the lying module, each in a real helper process.
//!
//! This program is its own helper: as `host-token NAME` it is what `tuf-agent host-token NAME` is, so it
//! has a `main` of its own. Words on the command line choose tests by name, as with cargo's.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, missing_docs, unreachable_pub)]

extern crate tufagent_backend as backend;

mod always;
mod card;
mod card_steps;
mod crew;
mod doctor;
mod double;
mod ends;
mod keys;
mod lab;
mod lane;
mod lies;
mod life;
mod lone;
mod mad;
mod matrix;
mod measured;
mod modules;
mod odd;
mod passing;
mod real;
mod sessions;
mod twins;
mod worn;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

type Case = (&'static str, fn());

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    match words.first().map(String::as_str) {
        Some("host-token") => return words.get(1).and_then(|name| mad::helper(name)).unwrap_or_else(host),
        Some("direct-facts") => return doctor::direct(&words[1..]),
        Some("change-objects") => return lone::change(&words[1..]),
        Some("make-twins") => return twins::make(&words[1..]),
        Some(card::DIAL) => {
            virtual_yubikey::dial::serve(words[1].as_ref()).unwrap();
            return ExitCode::SUCCESS;
        }
        Some("probe-double") => return double::probe(&words[1..]),
        _ => {}
    }
    if has("--list") {
        // nextest asks a second time, for those that are ignored: none is.
        if !has("--ignored") {
            cases().iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if let Err(skipped) = lab::softhsm() {
        println!("SKIPPED: PKCS#11 tests: {skipped}");
        return ExitCode::from(u8::from(std::env::var_os("TUFAGENT_REQUIRE_ALL").is_some()));
    }
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let exact = has("--exact");
    let chosen = |name: &str| {
        let matches =
            |filter: &&String| if exact { name == **filter } else { name.contains(filter.as_str()) };
        filters.is_empty() || filters.iter().any(matches)
    };
    let mut failed = Vec::new();
    let mut passed = 0;
    for (name, case) in cases().into_iter().filter(|(name, _)| chosen(name)) {
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(_) => {
                failed.push(name);
                println!("test {name} ... FAILED");
            }
        }
    }
    println!("\ntest result: {passed} passed; {} failed {failed:?}\n", failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}

fn host() -> ExitCode {
    match backend::host::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn cases() -> Vec<Case> {
    [
        doctor::CASES,
        measured::CASES,
        odd::CASES,
        passing::CASES,
        double::CASES,
        keys::CASES,
        twins::CASES,
        lone::CASES,
        lies::CASES,
        life::CASES,
        mad::CASES,
        matrix::CASES,
        sessions::CASES,
        always::CASES,
        lane::CASES,
        crew::CASES,
        modules::CASES,
        card::CASES,
        card_steps::CASES,
        worn::CASES,
        ends::CASES,
    ]
    .concat()
}
