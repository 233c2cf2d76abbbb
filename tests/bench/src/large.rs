//! A role of 100,000 targets: loaded and verified, canonicalised.

use std::process::Command;

use serde_json::json;

use crate::bed::Bed;
use crate::python;
use crate::report::Report;

/// Targets of the large repositories.
pub(crate) const TARGETS: u32 = 100_000;

const LOAD: &str = "load and verify a role of 100,000 targets";
const LOAD_GOAL: &str = "150 ms, 100 MB; 5 times python-tuf";
const CANONICAL: &str = "canonicalise";
const CANONICAL_GOAL: &str = ">= 150 MB/s";

/// What a process said of itself: milliseconds, KiB, and for ours megabytes a second.
type Told = [f64; 3];

/// Takes turns with python-tuf, each in a process of its own.
pub(crate) fn measure(_bed: &Bed, report: &mut Report) {
    let python = match python::interpreter() {
        Ok(python) => python,
        Err(why) => {
            report.skipped(LOAD, LOAD_GOAL, &why);
            return report.skipped(CANONICAL, CANONICAL_GOAL, &why);
        }
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (repo, key) = (folder.path().join("repo"), folder.path().join("key.pem"));
    let mut make = python::command(&python, "python_make.py");
    python::run(make.arg(&repo).arg(&key).arg(TARGETS.to_string()));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..8 {
        let program = std::env::current_exe().expect("this program");
        let mine = told(Command::new(program).arg("load").arg(&repo));
        let other = told(python::command(&python, "python_load.py").arg(&repo));
        if round > 0 {
            ours.push(mine);
            theirs.push(other);
        }
    }
    let (ms, kib, speed) = (median(&ours, 0), median(&ours, 1), median(&ours, 2));
    let (their_ms, their_kib) = (median(&theirs, 0), median(&theirs, 1));
    let (ratio, mb, their_mb) = (their_ms / ms, kib * 1024e-6, their_kib * 1024e-6);
    report.goal(
        LOAD,
        LOAD_GOAL,
        format!("{ms:.0} ms, {mb:.0} MB; python-tuf {their_ms:.0} ms, {their_mb:.0} MB: {ratio:.1} times"),
        ms <= 150.0 && mb <= 100.0 && ratio >= 5.0,
        json!({"ms": ms, "mb": mb, "python_ms": their_ms, "python_mb": their_mb, "ratio": ratio}),
    );
    report.goal(
        CANONICAL,
        CANONICAL_GOAL,
        format!("{speed:.0} MB/s"),
        speed >= 150.0,
        json!({"mb_per_s": speed}),
    );
}

fn told(command: &mut Command) -> Told {
    let mut told = [0.0; 3];
    let said = python::run(command);
    for (place, word) in told.iter_mut().zip(said.split_whitespace()) {
        *place = word.parse().expect("a number");
    }
    told
}

fn median(runs: &[Told], column: usize) -> f64 {
    let mut sorted: Vec<f64> = runs.iter().map(|run| run[column]).collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
