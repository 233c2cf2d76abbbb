//! The commands, one file each: arguments in, a [`Report`] out.

mod audit;
mod backup;
mod bump;
mod busy;
mod completions;
mod delegation;
mod diff;
mod key;
mod lengths;
mod limits;
mod lint;
mod man;
mod names;
mod observing;
mod repo;
mod root;
mod share;
mod sign;
mod signed_root;
pub(crate) mod staging;
mod status;
mod target;
mod token;
mod verify;

use crate::args::Command;
use crate::context::Context;
use crate::error::Failure;
use crate::render::Report;

/// Runs a command.
pub(crate) fn run(command: &Command, context: &Context) -> Result<Report, Failure> {
    let end = dispatch(command, context);
    end.map_err(|failure| match command.folder() {
        Some(dir) => busy::explained(failure, dir, context).in_folder(dir),
        None => failure,
    })
}

fn dispatch(command: &Command, context: &Context) -> Result<Report, Failure> {
    match command {
        Command::Status => status::run(context),
        Command::Lock => token::lock_all(context),
        Command::Unlock => token::unlock_all(context),
        Command::Token(command) => token::run(command, context),
        Command::Key(command) => key::run(command, context),
        Command::Share(command) => share::run(command, context),
        Command::Repo(command) => repo::run(command, context),
        Command::Target(command) => target::run(command, context),
        Command::Delegation(command) => delegation::run(command, context),
        Command::Root(command) => root::run(command, context),
        Command::Bump(args) => bump::run(args, context),
        Command::Diff { dir } => diff::run(dir, context),
        Command::Sign(args) => sign::run(args, context),
        Command::Verify(args) => verify::run(args, context),
        Command::Lint(args) => lint::run(args, context),
        Command::Audit(command) => audit::run(command, context),
        Command::Backup(args) => backup::make(args, context),
        Command::Restore(args) => backup::restore(args, context),
        Command::Completions { shell } => completions::run(*shell),
        Command::Man { dir } => man::run(dir),
    }
}
