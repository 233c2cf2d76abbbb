//! `tufctl sign` after one of 100,000 targets changed: the whole process, with a key of the file store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use softhsm::debs;
use tufagent_tests::{Agent, Home};

use crate::bed::{Bed, Flush};
use crate::large::TARGETS;
use crate::python;
use crate::report::Report;
use crate::samples::Samples;

/// Bins of the other repository.
const BINS: u32 = 256;
const ONE: &str = "tufctl sign, one of 100,000 targets changed";
const ONE_GOAL: &str = "300 ms; 5 times python-tuf";
const BIN: &str = "the same in a repository of 256 bins";
const BIN_GOAL: &str = "30 ms; touched bin, snapshot, timestamp alone";
/// The one that changes.
const TARGET: &str = "packages/project-0420/file-042000-1.0.tar.gz";

/// Both rows, each in turns with python-tuf in a copy of the repository.
pub(crate) fn measure(bed: &Bed, report: &mut Report) {
    let python = match python::interpreter() {
        Ok(python) => python,
        Err(why) => {
            report.skipped(ONE, ONE_GOAL, &why);
            return report.skipped(BIN, BIN_GOAL, &why);
        }
    };
    let one = Repository::new(bed, &python, None);
    let (ms, theirs) = one.turns(bed);
    let ratio = theirs / ms;
    report.goal(
        ONE,
        ONE_GOAL,
        format!("{ms:.0} ms; python-tuf {theirs:.0} ms: {ratio:.1} times"),
        ms <= 300.0 && ratio >= 5.0,
        json!({"ms": ms, "python_ms": theirs, "ratio": ratio}),
    );
    let bins = Repository::new(bed, &python, Some(BINS));
    let (ms, theirs) = bins.turns(bed);
    let touched = bins.touched(bed);
    let (known, files) = match &touched {
        Ok(files) => (only_what_is_needed(files), files.iter().cloned().collect::<Vec<_>>().join(" ")),
        Err(why) => (false, format!("files unknown: {why}")),
    };
    report.goal(
        BIN,
        BIN_GOAL,
        format!("{ms:.0} ms; python-tuf {theirs:.0} ms; metadata opened: {files}"),
        ms <= 30.0 && known,
        json!({"ms": ms, "python_ms": theirs, "ratio": theirs / ms, "metadata_opened": files}),
    );
}

/// One repository, adopted by an agent that has its key, and a copy for python-tuf.
struct Repository {
    home: Home,
    _agent: Agent,
    python: PathBuf,
}

impl Repository {
    fn new(bed: &Bed, python: &Path, bins: Option<u32>) -> Self {
        let (home, agent) = bed.home(Flush::Shipped);
        let mut make = python::command(python, "python_make.py");
        make.arg(home.path("repo")).arg(home.path("key.pem")).arg(TARGETS.to_string());
        python::run(make.args(bins.map(|bins| bins.to_string())));
        python::run(Command::new("cp").arg("-a").arg(home.path("repo")).arg(home.path("copy")));
        home.run("key import online key.pem --token file").done();
        home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
        Self { home, _agent: agent, python: python.to_owned() }
    }

    /// Milliseconds of ours and of python-tuf's, medians.
    fn turns(&self, bed: &Bed) -> (f64, f64) {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for round in 0..8 {
            let (mut warm, mut warm_python) = (Samples::default(), Samples::default());
            let (mine, other) =
                if round == 0 { (&mut warm, &mut warm_python) } else { (&mut ours, &mut theirs) };
            self.change(round);
            let mut sign = Command::new(bed.tufctl());
            self.home.environment(&mut sign);
            mine.time(|| python::run(sign.args(["sign", "repo", "--yes", "--quiet"])));
            let mut script = python::command(&self.python, "python_sign.py");
            script.arg(self.home.path("copy")).arg(self.home.path("key.pem")).arg(TARGET);
            other.time(|| python::run(script.arg(self.home.path("changed"))));
        }
        (ours.median() * 1e-3, theirs.median() * 1e-3)
    }

    fn change(&self, round: usize) {
        self.home.write("changed", format!("round {round}\n"));
        self.home.run_list(&["target", "add", "repo", "changed", "--path", TARGET, "--yes"]).done();
    }

    /// The metadata files of the repository that one `sign` opened, by strace.
    fn touched(&self, bed: &Bed) -> Result<BTreeSet<String>, String> {
        let strace = strace()?;
        self.change(99);
        let trace = self.home.path("trace");
        let mut sign = Command::new(strace);
        self.home.environment(&mut sign);
        sign.args(["-f", "-e", "trace=open,openat,openat2", "-o"]).arg(&trace).arg(bed.tufctl());
        python::run(sign.args(["sign", "repo", "--yes", "--quiet"]));
        let text = std::fs::read_to_string(trace).expect("the trace");
        let opened = text.lines().filter(|line| !line.contains("ENOENT") && !line.contains("O_DIRECTORY"));
        let quoted = opened.filter_map(|line| line.split('"').nth(1));
        let inside = quoted.filter(|path| path.ends_with(".json"));
        Ok(inside.filter_map(|path| Some(Path::new(path).file_name()?.to_str()?.to_owned())).collect())
    }
}

/// One bin, snapshot and timestamp, in whatever versions, and what is noted of what is staged.
fn only_what_is_needed(files: &BTreeSet<String>) -> bool {
    let role = |name: &str| {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        let version = stem.split_once('.').filter(|(version, _)| version.bytes().all(|b| b.is_ascii_digit()));
        version.map_or(stem, |(_, role)| role).to_owned()
    };
    let mut roles: BTreeSet<String> = files.iter().map(|name| role(name)).collect();
    let others = ["snapshot", "timestamp", "repository"].map(|name| roles.remove(name));
    others.iter().take(2).all(|found| *found)
        && roles.len() == 1
        && roles.iter().all(|role| role.starts_with("bin-"))
}

fn strace() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|dir| dir.join("strace")).find(|it| it.is_file()) {
        return Ok(found);
    }
    let third_party = softhsm::third_party_dir().map_err(|skipped| skipped.to_string())?;
    let root = debs::fetch(&third_party, &["strace", "libunwind8"]).map_err(|skipped| skipped.to_string())?;
    Ok(root.join("usr/bin/strace"))
}
