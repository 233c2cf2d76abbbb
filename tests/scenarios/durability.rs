//! What is on disk before a signature leaves (FAULTS G1), seen from outside with strace.

use std::fs;

use serde_json::Value;
use tufagent_tests::{Home, is_root, need};

use crate::strace::Strace;

/// The line numbers of the trace that satisfy a condition.
fn lines(trace: &[String], holds: impl Fn(&str) -> bool) -> Vec<usize> {
    trace.iter().enumerate().filter(|(_, line)| holds(line)).map(|(number, _)| number).collect()
}

fn is_flush(line: &str) -> bool {
    line.contains("fdatasync(") || line.contains("fsync(")
}

/// One published signature with its digest, as the journal tells it.
fn signature_of(home: &Home, file: &str) -> String {
    let metadata: Value = home.published("repo").metadata(file);
    metadata["signatures"][0]["sig"].as_str().unwrap().to_owned()
}

const CALLS: &str = "trace=fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg,rename,renameat,renameat2";

#[test]
fn the_intent_is_flushed_before_the_signature_is_sent() {
    let Some(strace) = need(Strace::find()) else { return };
    if !is_root() {
        println!("the agent is hardened: only root's strace sees what it writes; see the next test");
        return;
    }
    let home = Home::new();
    let (agent, trace) = strace.start(&home, &["-e", CALLS]);
    home.unlock_file_store();
    home.published_repository();
    agent.stop();
    let trace: Vec<String> = fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect();
    for (role, file) in
        [("root", "1.root.json"), ("targets", "1.targets.json"), ("timestamp", "timestamp.json")]
    {
        let signature = signature_of(&home, file);
        let sent = lines(&trace, |line| line.contains(&signature) && line.contains("<socket:["));
        let sent = *sent.first().unwrap_or_else(|| panic!("{role}: the signature was never sent"));
        let on_ledger = |line: &str| line.contains("ledger.db-wal");
        let intent = lines(&trace, |line| line.contains("pwrite64(") && on_ledger(line));
        let intent = *intent.iter().rfind(|it| **it < sent).unwrap_or_else(|| panic!("{role}: no intent"));
        let flushed = lines(&trace, |line| is_flush(line) && on_ledger(line));
        assert!(
            flushed.iter().any(|it| intent < *it && *it < sent),
            "{role}: the intent (line {intent}) is not flushed before the signature is sent (line {sent})"
        );
    }
}

/// Everything up to the signing itself goes well; then each thread's first `call` meets the fault, and all that follow:
/// no signature exists anywhere.
#[track_caller]
fn a_fault_means_no_signature(call: &str, fault: &str) {
    let Some(strace) = need(Strace::find()) else { return };
    if !is_root() {
        println!("the agent is hardened: only root's strace can be put to it while it runs");
        return;
    }
    let (home, agent) = Home::unlocked();
    home.small_repository();
    let (only, inject) = (format!("trace={call}"), format!("inject={call}:{fault}:when=1+"));
    let (_attached, trace) = strace.attach(&home, agent.pid(), &["-e", &only, "-e", &inject]);
    let outcome = home.run("sign repo --yes --json");
    assert_ne!(outcome.code, 0, "{outcome}");
    assert!(outcome.json()["error"]["reason"].is_string(), "{outcome}");
    assert_unsigned(&home, call);
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains(&format!("{call}(")), "{call} is not what the agent calls: {trace}");
}

/// No file of the repository has a signature.
#[track_caller]
fn assert_unsigned(home: &Home, failed: &str) {
    for name in home.published("repo").names("staged") {
        let text = fs::read_to_string(home.path("repo/staged").join(&name)).unwrap();
        assert!(!text.contains("\"sig\""), "{name} has a signature after {failed} failed: {text}");
    }
    assert!(home.published("repo").names("metadata").is_empty(), "something was published");
}

#[test]
fn an_agent_that_dies_at_the_flush_of_the_intent_has_sent_no_signature() {
    a_fault_means_no_signature("fdatasync", "signal=KILL");
}

#[test]
fn when_the_flush_fails_nothing_is_signed() {
    a_fault_means_no_signature("fdatasync", "error=EIO");
}

#[test]
fn when_the_disk_is_full_nothing_is_signed() {
    a_fault_means_no_signature("pwrite64", "error=ENOSPC");
}

#[test]
fn when_a_rename_fails_nothing_is_signed() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    let difference = home.run("diff repo --json").done().json();
    let root = difference["roles"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap();
    // A folder that is not empty lies where the text of what is signed will be put.
    let digest = root["sha256"].as_str().unwrap();
    fs::create_dir_all(home.state().join(format!("metadata/{digest}.json/in-the-way"))).unwrap();
    let outcome = home.run("sign repo --role root --yes --json");
    assert_ne!(outcome.code, 0, "{outcome}");
    assert_unsigned(&home, "a rename");
}
