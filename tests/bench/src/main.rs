//! What `cargo xtask bench` measures: every row as a ratio, measured in one run on this machine.
//!
//! Each row takes turns with what it is compared with, after a warm-up, and gives medians: a machine that is slow for a
//! while is slow for both. A thing that is not there (python-tuf, SoftHSM, ssh-agent) leaves its rows open, and the
//! report says what would bring it.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot be made ends the run with what is wrong; it talks to people"
)]

mod bed;
mod client;
mod constant;
mod crowd;
mod large;
mod load;
mod machine;
mod metadata;
mod python;
mod report;
mod samples;
mod shares;
mod sign;
mod slip39;
mod small;
mod ssh_agent;
mod token;
mod touch;
mod wire;

use std::path::PathBuf;

use report::Report;

/// Measures some rows.
type Group = fn(&bed::Bed, &mut Report);

/// What was asked for.
struct Options {
    /// The folder of `tuf-agent` and `tufctl` as they are shipped.
    shipped: PathBuf,
    /// The folder of the `tuf-agent` that can be told not to flush.
    measuring: PathBuf,
    /// Where the report goes; a `.txt` beside it has the table.
    output: PathBuf,
    /// Names of groups of rows, or how they begin (`token`); empty: all.
    only: Vec<String>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        let begins = |only: &String| {
            name.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        self.only.is_empty() || self.only.iter().any(begins)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "load" => return load::main(rest),
        Some((command, rest)) if command == "crowd" => return crowd::main(rest),
        Some((command, rest)) if command == "raw-token" => return token::main(rest),
        Some((command, rest)) if command == "bare-server" => return wire::main(rest),
        _ => {}
    }
    let options = options(&arguments);
    let mut report = Report::default();
    machine::measure(&mut report);
    let bed = bed::Bed::new(&options.shipped, &options.measuring);
    let groups: [(&str, Group); 12] = [
        ("wire", wire::measure),
        ("load", large::measure),
        ("sign", sign::measure),
        ("small", small::measure),
        ("crowd", crowd::measure),
        ("ssh-agent", ssh_agent::measure),
        ("token-one", token::one_at_a_time),
        ("token-in-flight", token::in_flight),
        ("token-hung", token::beside_a_hung_one),
        ("shares-speed", shares::measure),
        ("shares-time", constant::measure),
        ("touch", touch::measure),
    ];
    for (name, measure) in groups {
        if options.wants(name) {
            eprintln!("measuring: {name}");
            measure(&bed, &mut report);
        }
    }
    report.write(&options.output);
}

fn options(arguments: &[String]) -> Options {
    let value = |flag: &str| {
        let at = arguments.iter().position(|word| word == flag);
        at.and_then(|at| arguments.get(at + 1)).cloned()
    };
    let folder = |flag: &str| PathBuf::from(value(flag).unwrap_or_else(|| panic!("{flag} is needed")));
    Options {
        shipped: folder("--shipped"),
        measuring: folder("--measuring"),
        output: folder("--output"),
        only: value("--only").map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
    }
}
