//! What is on disk before a signature leaves (FAULTS G1), seen from outside with strace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use softhsm::Skipped;
use tufagent_tests::{Agent, Home, binary, need};

/// strace, from the system or the third-party folder.
struct Strace {
    program: PathBuf,
    /// For strace alone, not for the program that it traces.
    libraries: Option<String>,
}

impl Strace {
    /// Finds one that this machine lets trace.
    fn find() -> Result<Self, Skipped> {
        let remedy = "apt-get install strace, and allow ptrace (containers: --cap-add SYS_PTRACE)";
        let fetched = softhsm::third_party_dir()?.join("debs/strace+libunwind8");
        let strace = if fetched.is_dir() {
            let libraries = fs::read_dir(fetched.join("usr/lib")).into_iter().flatten().flatten();
            let libraries: Vec<_> = libraries.map(|it| it.path().display().to_string()).collect();
            Self { program: fetched.join("usr/bin/strace"), libraries: Some(libraries.join(":")) }
        } else {
            Self { program: PathBuf::from("strace"), libraries: None }
        };
        let mut probe = strace.command();
        probe.envs(strace.variables()).args(["-f", "-e", "trace=execve", "true"]);
        let works = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if works.is_ok_and(|it| it.success()) {
            Ok(strace)
        } else {
            Err(Skipped::new("strace does not work", remedy))
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-E", "LD_LIBRARY_PATH"]);
        command
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.libraries.iter().map(|it| ("LD_LIBRARY_PATH", it.as_str())).collect()
    }

    /// Starts the agent under strace, which writes one file of calls in order.
    fn start(&self, home: &Home, options: &[&str]) -> (Agent, PathBuf) {
        let trace = home.dir().join("trace");
        let mut command = self.command();
        command.args(["-f", "-y", "-s", "70000", "-o"]).arg(&trace).args(options).arg(binary("tuf-agent"));
        (Agent::start_in_environment(home, command, &self.variables()), trace)
    }
}

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

/// Everything up to the signing itself.
fn prepare(home: &Home) {
    home.unlock_file_store();
    home.small_repository();
}

/// Runs once to learn how often the agent makes `call` on the ledger before it signs, then again with that call
/// failing from there on: the request is refused, and no signature exists anywhere.
#[track_caller]
fn a_fault_means_no_signature(call: &str, error: &str) {
    let Some(strace) = need(Strace::find()) else { return };
    let only = |home: &Home| ["-P".to_owned(), home.state().join("ledger.db-wal").display().to_string()];
    let home = Home::new();
    let [flag, path] = only(&home);
    let (agent, trace) = strace.start(&home, &[&flag, &path, "-e", &format!("trace={call}")]);
    prepare(&home);
    let calls =
        fs::read_to_string(trace).unwrap().lines().filter(|it| it.contains(&format!("{call}("))).count();
    assert!(calls > 0, "the agent does not {call} the ledger");
    agent.stop();

    let home = Home::new();
    let [flag, path] = only(&home);
    let inject = format!("inject={call}:error={error}:when={}+", calls + 1);
    let (agent, _trace) = strace.start(&home, &[&flag, &path, "-e", &format!("trace={call}"), "-e", &inject]);
    prepare(&home);
    let outcome = home.run("sign repo --yes --json");
    assert_ne!(outcome.code, 0, "{outcome}");
    assert!(outcome.json()["error"]["reason"].is_string(), "{outcome}");
    assert_unsigned(&home, call);
    drop(agent);
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
fn when_the_flush_fails_nothing_is_signed() {
    a_fault_means_no_signature("fsync", "EIO");
}

#[test]
fn when_the_disk_is_full_nothing_is_signed() {
    a_fault_means_no_signature("pwrite64", "ENOSPC");
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
