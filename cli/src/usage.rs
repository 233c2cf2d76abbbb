//! Lines that clap could not make sense of: exit 2, as a JSON error under `--json`. Help and version: exit 0.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ErrorKind};

use crate::args::Cli;
use crate::error::{Failure, reason};
use crate::render::{Screen, visible};

/// Ends the process for what `clap` gave in place of a command.
pub(crate) fn end(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && wants_json(std::env::args_os().skip(1)) {
        let screen = Screen::new(true, true);
        return ExitCode::from(screen.finish(Err(failure(error, std::env::args_os().skip(1)))));
    }
    // clap prints help and version to stdout, errors and help instead of a missing subcommand to stderr. It repeats
    // arguments as they were given: those that could drive the terminal are made visible.
    let text = error.to_string();
    if !asked && text.lines().any(|line| visible(line) != line) {
        let screen = Screen::new(false, false);
        text.trim_end().lines().for_each(|line| screen.show(visible(line)));
    } else {
        let _ = error.print();
    }
    if asked { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Whether `--json` stands anywhere before a `--`: clap gave no arguments to ask.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|a| a != OsStr::new("--")).any(|a| a == OsStr::new("--json"))
}

/// The first sentence of clap's text is the message, the usage line the remedy.
fn failure(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(reason::USAGE, "a subcommand is missing").remedy("tufctl --help lists them");
    }
    let text = error.to_string();
    let sentence: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(|line| line.trim()).collect();
    let sentence = sentence.join(" ");
    let message = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let usage = usage.split_whitespace().collect::<Vec<_>>().join(" ");
    let remedy = usage.strip_prefix("Usage: ").map(ToOwned::to_owned);
    let remedy = remedy.unwrap_or_else(|| format!("see {} --help", command_of(arguments)));
    Failure::new(reason::USAGE, message).remedy(remedy)
}

/// The command that was meant: `tufctl share split`.
fn command_of(arguments: impl Iterator<Item = OsString>) -> String {
    let root = Cli::command();
    let (mut named, mut command) = (root.get_name().to_owned(), &root);
    for argument in arguments {
        let Some(below) = argument.to_str().and_then(|name| command.find_subcommand(name)) else { continue };
        command = below;
        named.push(' ');
        named.push_str(below.get_name());
    }
    named
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{failure, wants_json};
    use crate::args::Cli;
    use crate::error::Failure;

    fn of(line: &str) -> Failure {
        let words = || line.split_whitespace();
        failure(&Cli::try_parse_from(words()).unwrap_err(), words().skip(1).map(Into::into))
    }

    #[test]
    fn a_usage_error_says_what_is_wrong_and_how_it_is_written() {
        let failure = of("tufctl key generate a");
        assert_eq!((failure.reason(), failure.exit_code()), ("USAGE", 2));
        assert_eq!(failure.message(), "the following required arguments were not provided: --type <TYPE>");
        assert!(failure.remedy_text().starts_with("tufctl key generate"), "{}", failure.remedy_text());
    }

    #[test]
    fn a_missing_subcommand_is_wrong_usage_too() {
        assert_eq!(of("tufctl token --json").exit_code(), 2);
        assert!(of("tufctl nonsense").message().contains("nonsense"));
    }

    #[test]
    fn a_value_that_cannot_be_read_leads_to_the_help_of_its_command() {
        for line in [
            "tufctl share split a --threshold 2 --custodian ann=rot13",
            "tufctl --json share split a --group board",
            "tufctl share split a --group board=2:x,y,-z --group-threshold 1",
        ] {
            let failure = of(line);
            assert_eq!(failure.reason(), "USAGE");
            assert_eq!(failure.remedy_text(), "see tufctl share split --help", "{}", failure.message());
        }
        assert_eq!(
            of("tufctl share verify --fingerprint 12").remedy_text(),
            "see tufctl share verify --help"
        );
    }

    #[test]
    fn json_is_seen_anywhere_but_after_two_hyphens() {
        let wants = |line: &str| wants_json(line.split_whitespace().map(Into::into));
        assert!(wants("status --json"));
        assert!(wants("--json nonsense"));
        assert!(!wants("target add dir -- --json"));
    }
}
