//! `tuf-agent-softhsm`: makes a SoftHSM token for a build machine and writes the agent's configuration.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to people")]

extern crate tufagent_softhsm as softhsm;

mod setup;

use std::process::ExitCode;

const HELP: &str = "\
tuf-agent-softhsm DIR --label LABEL --pin-file FILE [OPTIONS]

Makes a SoftHSM token LABEL in DIR, unless one is there, and names it in the agent's configuration, so that the agent
signs with its keys unattended. Said a second time it changes nothing, and says so when the token has another PIN.
What the agent would refuse is refused before anything is made. SoftHSM is the system's, or is fetched without root (on
Debian and Ubuntu).

  --label LABEL          the token's label, up to 32 bytes
  --pin-file FILE        holds the user PIN and nothing else; nobody else may read it
  --so-pin-file FILE     holds the security officer's PIN; without it that PIN is random and nobody knows it
  --name NAME            what the agent calls the token (default: LABEL)
  --pin SOURCE           where the agent takes the PIN from: prompt (default), fd:N, credential:NAME, file:/PATH
  --unlock-for TIME      how long one PIN lasts, such as 8h, or forever (default: forever, with prompt 1h)
  --config FILE          the configuration to write (default: $XDG_CONFIG_HOME/tuf-agent/config.toml)
  --agent FILE           the tuf-agent that checks what is to be written (default: beside this program, then on PATH)
  --third-party DIR      where what is fetched goes (default: $XDG_CACHE_HOME/tuf-agent)

A PIN never stands on a command line, in the environment or in the configuration. Exit codes: 0 done, 1 it failed, and
the message says what helps, 2 wrong usage.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match setup::Options::parse(&words) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("tuf-agent-softhsm: {why}\nsee: tuf-agent-softhsm --help");
            return ExitCode::from(2);
        }
    };
    match setup::run(&options) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("tuf-agent-softhsm: {why}");
            ExitCode::FAILURE
        }
    }
}
