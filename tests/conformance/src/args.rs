//! The command line that the conformance suite documents. Flags may stand before or after the command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

/// What is asked for, complete.
#[derive(Debug)]
pub(crate) enum Asked {
    Init(Init),
    Refresh(Refresh),
    Download(Download),
}

/// Trust a root.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) metadata_dir: PathBuf,
    pub(crate) trusted_root: PathBuf,
}

/// Bring top-level metadata up to date.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) metadata_dir: PathBuf,
    pub(crate) metadata_url: String,
}

/// Bring metadata up to date and fetch targets, in this order.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) refresh: Refresh,
    pub(crate) target_names: Vec<String>,
    pub(crate) target_base_url: String,
    pub(crate) target_dir: PathBuf,
}

/// A TUF client with the command line of the public conformance suite.
#[derive(Debug, Parser)]
#[command(name = "tuf-conformance-client", version)]
struct Line {
    /// Folder of trusted metadata
    #[arg(long, global = true, value_name = "DIR")]
    metadata_dir: Option<PathBuf>,
    /// Address of the repository's metadata
    #[arg(long, global = true, value_name = "URL")]
    metadata_url: Option<String>,
    /// Path of a target to download; may be repeated
    #[arg(long, global = true, value_name = "PATH", allow_hyphen_values = true)]
    target_name: Vec<String>,
    /// Address of the repository's target files
    #[arg(long, global = true, value_name = "URL")]
    target_base_url: Option<String>,
    /// Folder for downloaded targets
    #[arg(long, global = true, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trust this root; asks the repository nothing
    Init {
        /// The root to begin with
        trusted_root: PathBuf,
    },
    /// Bring the metadata of the top-level roles up to date
    Refresh,
    /// Bring metadata up to date and download the targets
    Download,
}

/// Reads the command line; wrong usage is exit code 1, as every refusal is.
pub(crate) fn parse() -> Result<Asked, ExitCode> {
    Line::try_parse().and_then(complete).map_err(|error| {
        let told = error.print().is_ok();
        let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if help && told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

fn complete(line: Line) -> Result<Asked, clap::Error> {
    let metadata_dir = needed(line.metadata_dir, "--metadata-dir")?;
    if let Command::Init { trusted_root } = line.command {
        return Ok(Asked::Init(Init { metadata_dir, trusted_root }));
    }
    let refresh = Refresh { metadata_dir, metadata_url: needed(line.metadata_url, "--metadata-url")? };
    if matches!(line.command, Command::Refresh) {
        return Ok(Asked::Refresh(refresh));
    }
    let names = Some(line.target_name).filter(|names| !names.is_empty());
    Ok(Asked::Download(Download {
        refresh,
        target_names: needed(names, "--target-name")?,
        target_base_url: needed(line.target_base_url, "--target-base-url")?,
        target_dir: needed(line.target_dir, "--target-dir")?,
    }))
}

fn needed<T>(value: Option<T>, flag: &str) -> Result<T, clap::Error> {
    let missing = || Line::command().error(ErrorKind::MissingRequiredArgument, format!("{flag} is needed"));
    value.ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, clap::Error> {
        Line::try_parse_from(line.split(' ')).and_then(complete)
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in
            ["c --metadata-dir D --metadata-url U refresh", "c refresh --metadata-url U --metadata-dir D"]
        {
            let Ok(Asked::Refresh(refresh)) = asked(line) else { panic!("{line}") };
            assert_eq!((refresh.metadata_dir, refresh.metadata_url), (PathBuf::from("D"), "U".to_owned()));
        }
    }

    #[test]
    fn targets_keep_their_order_and_may_begin_with_a_hyphen() {
        let line = "c --metadata-dir D --metadata-url U --target-name b --target-name -a --target-base-url B \
                    --target-dir O download";
        let Ok(Asked::Download(download)) = asked(line) else { panic!("{line}") };
        assert_eq!(download.target_names, ["b", "-a"]);
    }

    #[test]
    fn a_missing_flag_is_named() {
        for (line, flag) in [
            ("c init R", "--metadata-dir"),
            ("c --metadata-dir D refresh", "--metadata-url"),
            (
                "c --metadata-dir D --metadata-url U --target-base-url B --target-dir O download",
                "--target-name",
            ),
        ] {
            let Err(error) = asked(line) else { panic!("{line}") };
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
