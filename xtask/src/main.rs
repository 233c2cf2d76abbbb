//! `cargo xtask`: the demo, the tests, the arrows, and installing. Only the standard library, so that it builds in seconds.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to people")]

mod arrows;
mod bench;
mod build;
mod demo;
mod install;
mod json;
mod shell;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo                          from nothing to a signed, published repository, in a temporary folder
  test [--require-all] [--kryoptic] [FILTER]
                                fetch what the tests need, without root, and run every test whose name
                                holds FILTER; what cannot be had is SKIPPED, or with --require-all a failure;
                                --kryoptic builds one more PKCS#11 module to test with, which takes minutes
  bench [--output F] [--only ROWS]
                                measure what it must reach, as ratios in one run, beside what this machine can;
                                ROWS are of load,sign,small,crowd,ssh-agent,token
  arrows                        fail on a dependency between crates that the design does not draw
  install --prefix P [--destdir D]
                                binaries, units, man pages, completions
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["demo"] => demo::demo(),
        ["test", rest @ ..] => test::Options::parse(rest).and_then(test::test),
        ["bench", rest @ ..] => bench::Options::parse(rest).and_then(bench::bench),
        ["arrows"] => arrows::arrows(),
        ["install", rest @ ..] => install::Options::parse(rest).and_then(install::install),
        _ => Err(format!("unknown: {}\n\n{HELP}", words.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
