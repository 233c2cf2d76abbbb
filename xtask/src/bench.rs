//! `cargo xtask bench`: builds what is shipped and what measures, and runs the measurements of `tests/bench/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{self, Profile};
use crate::{shell, test};

/// What was asked for on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    output: Option<PathBuf>,
    only: Option<String>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = words;
        while let [flag, after @ ..] = rest {
            let [value, after @ ..] = after else { return Err(format!("bench: {flag} wants a value")) };
            match *flag {
                "--output" => options.output = Some(PathBuf::from(value)),
                "--only" => options.only = Some((*value).to_owned()),
                _ => return Err(format!("bench: unknown option {flag}")),
            }
            rest = after;
        }
        Ok(options)
    }
}

/// Builds, measures, and says where the report is.
pub(crate) fn bench(options: Options) -> Result<(), String> {
    let third_party = softhsm::third_party_dir().map_err(|e| e.to_string())?;
    fs::create_dir_all(&third_party).map_err(|e| format!("{}: {e}", third_party.display()))?;
    test::report_skipped(&test::prepare(&third_party));
    let measuring = measuring_agent()?;
    let shipped = build::binaries(Profile::Release)?;
    build::refuse_unsafe(&shipped)?;
    let output = match options.output {
        Some(file) => std::path::absolute(&file).map_err(|e| format!("{}: {e}", file.display()))?,
        None => shell::target_dir()?.join("bench.json"),
    };
    let mut command = Command::new(shipped.join("tufagent-bench"));
    command.arg("--shipped").arg(&shipped).arg("--measuring").arg(&measuring).arg("--output").arg(&output);
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    command.env("TUFAGENT_BIN_DIR", &shipped).env("TUFAGENT_THIRD_PARTY", &third_party);
    shell::run(&mut command)?;
    println!("written to {} and {}", output.display(), output.with_extension("txt").display());
    Ok(())
}

/// The measurements, and an agent that can be told not to flush, in a folder that nothing is shipped from. It is moved
/// away at once: what stays in the release folder is built after it, without the feature.
fn measuring_agent() -> Result<PathBuf, String> {
    let target = shell::target_dir()?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(shell::cargo());
        command.args(["build", "--release"]).args(arguments).arg("--target-dir").arg(&target);
        shell::run(command.current_dir(shell::workspace()))
    };
    cargo(&["--package", "tufagent-bench"])?;
    cargo(&["--package", "tuf-agent", "--features", "tuf-agent/unsafe-flush"])?;
    let folder = target.join("measuring");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    move_file(&target.join("release/tuf-agent"), &folder.join("tuf-agent"))?;
    Ok(folder)
}

fn move_file(from: &Path, to: &Path) -> Result<(), String> {
    fs::rename(from, to).map_err(|e| format!("{}: {e}", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_a_file_and_names_of_rows() {
        let options = Options::parse(&["--output", "F", "--only", "small,load"]).unwrap();
        assert_eq!(options, Options { output: Some("F".into()), only: Some("small,load".to_owned()) });
        assert!(Options::parse(&["--output"]).is_err());
        assert!(Options::parse(&["--all", "x"]).is_err());
    }
}
