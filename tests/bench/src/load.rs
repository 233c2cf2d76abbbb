//! A process that loads and verifies one large role: its time and its memory are its own.

use std::path::Path;
use std::time::Instant;

use tuf::canonical::canonical;
use tuf::json::{Document, MAX_BYTES};
use tuf::metadata::{Limits, Metadata};
use tuf::role::RoleKind;
use tuf::verify::check_signatures;

use crate::samples::Samples;

/// `load DIR`: prints milliseconds for loading and verifying, the process's peak in KiB then, and for canonicalising
/// megabytes a second.
pub(crate) fn main(arguments: &[String]) {
    let [folder] = arguments else { panic!("load DIR") };
    let folder = Path::new(folder).join("metadata");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    let root = Metadata::parse(read("1.root.json"), &Limits::agent()).expect("a root");
    let root = root.as_root().expect("a root");
    let began = Instant::now();
    let targets = Metadata::parse(read("1.targets.json"), &Limits::agent()).expect("targets");
    let report = check_signatures(&targets, &root.keys, root.role(RoleKind::Targets));
    assert!(report.met(), "the signature is good");
    let elapsed = began.elapsed();
    let peak = peak();
    let mut samples = Samples::default();
    let mut bytes = 0;
    // Written with spaces and line breaks: nothing of it is canonical as it stands.
    let document: serde_json::Value = serde_json::from_slice(targets.signed_bytes()).expect("JSON");
    let spaced = serde_json::to_vec_pretty(&document).expect("JSON");
    let spaced = Document::parse(spaced, MAX_BYTES).expect("JSON");
    for _ in 0..7 {
        bytes = samples.time(|| canonical(spaced.root())).len();
    }
    println!("{} {peak} {}", elapsed.as_secs_f64() * 1e3, bytes as f64 / samples.median());
}

/// The most memory that this process ever had, KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
