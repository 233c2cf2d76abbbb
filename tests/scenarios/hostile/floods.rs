//! What a client may send very often, or open and leave.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tufagent_tests::Home;

use super::{Probe, is_well, open_files, peak_kib};
use crate::wire::{
    CONTINUATION, DATA, HEADERS, HEADERS_END, HELLO, PING, RESET, SETTINGS, SIGN, STATUS, Wire, call, frame,
    header,
};

/// Sends this very often, and looks how the agent bears it.
#[track_caller]
fn flood(what: &str, times: u32, frames: impl Fn(u32) -> Vec<u8>) {
    let home = Home::new();
    let agent = home.start();
    let before = peak_kib(&agent);
    let probe = Probe::start(&home);
    for _ in 0..4 {
        let mut wire = Wire::hello(&home.socket());
        wire.0.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let sent = (0..times).take_while(|number| wire.send(&frames(*number)).is_ok()).count();
        println!("{what}: {sent} of {times} were taken");
    }
    probe.end(what);
    let grew = peak_kib(&agent).saturating_sub(before);
    assert!(grew < 32 << 10, "{what}: the agent grew by {grew} KiB");
    is_well(&home, &agent);
}

#[test]
fn rapid_resets_are_borne() {
    flood("resets", 50_000, |number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, HEADERS_END, stream, &call(STATUS)), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat()
    });
}

#[test]
fn settings_without_end_are_borne() {
    flood("settings", 100_000, |number| {
        let [_, _, high, low] = (number % 60_000).to_be_bytes();
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, high, low])
    });
}

#[test]
fn pings_without_end_are_borne() {
    flood("pings", 100_000, |number| frame(PING, 0, 0, &u64::from(number).to_be_bytes()));
}

#[test]
fn headers_without_end_are_borne() {
    let more: Vec<u8> = (0..60).flat_map(|_| header("x-more", &"a".repeat(120))).collect();
    flood("headers", 20_000, |number| match number {
        0 => frame(HEADERS, 0, 1, &call(STATUS)),
        _ => frame(CONTINUATION, 0, 1, &more),
    });
}

#[test]
fn empty_data_without_end_is_borne() {
    flood("empty data", 100_000, |number| match number {
        0 => frame(HEADERS, HEADERS_END, 1, &call(SIGN)),
        _ => frame(DATA, 0, 1, &[]),
    });
}

#[test]
fn calls_that_are_opened_and_left_are_bounded_and_others_are_served() {
    let home = Home::new();
    let agent = home.start();
    let probe = Probe::start(&home);
    // From a process of its own: this one's share is the probe's.
    let script = "
import socket, sys, time
held = []
for _ in range(60):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(2)
    s.connect(sys.argv[1])
    held.append(s)
    try:
        s.sendall(bytes.fromhex(sys.argv[2]))
        for n in range(250):
            s.sendall(bytes.fromhex(sys.argv[3])[:5] + (2 * n + 1).to_bytes(4, 'big') + bytes.fromhex(sys.argv[3])[9:])
    except OSError:
        pass
print('held', flush=True)
time.sleep(5)
";
    let Some(python) = tufagent_tests::need(tufagent_tests::oracle::python()) else { return };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let open = frame(HEADERS, HEADERS_END, 1, &call(SIGN));
    let mut flood = std::process::Command::new(python)
        .args(["-c", script])
        .arg(home.socket())
        .args([hex(HELLO), hex(&open)])
        .spawn()
        .unwrap();
    assert!(flood.wait().unwrap().success());
    probe.end("calls that are left open");
    is_well(&home, &agent);
}

/// How the other processes are told where to.
const SOCKET: &str = "TUFAGENT_TEST_FLOOD";
/// So many processes open so many connections each.
const PROCESSES: usize = 8;
const EACH: usize = 1250;

/// Does nothing but in a process that [`processes`] started: opens connections, says how many, and holds them until its
/// input ends.
#[test]
fn one_of_many_processes_that_hold_connections() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let mut held = Vec::new();
    for number in 0..EACH {
        let Ok(mut wire) = Wire::connect(Path::new(&socket)) else { break };
        let _ = match number % 3 {
            0 => Ok(()),
            1 => wire.send(HELLO),
            _ => wire.send(&HELLO[..10]),
        };
        held.push(wire);
    }
    println!("\nheld {}", held.len());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().lines().next();
}

/// Lets them end, once what they print is read.
fn end(mut children: Vec<(Child, BufReader<ChildStdout>)>) {
    for (child, said) in &mut children {
        drop(child.stdin.take());
        let _ = std::io::copy(said, &mut std::io::sink());
        child.wait().unwrap();
    }
}

/// Starts them, with all the open files that the system lets them have; gives how many connections they opened.
fn processes(socket: &Path) -> (Vec<(Child, BufReader<ChildStdout>)>, usize) {
    let start = || {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -Sn \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "hostile::floods::one_of_many_processes_that_hold_connections",
            "--nocapture",
        ]);
        command.env(SOCKET, socket).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<Child> = (0..PROCESSES).map(|_| start()).collect();
    let mut opened = 0;
    let children = started.into_iter().map(|mut child| {
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let held = loop {
            let mut line = String::new();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it says how many it holds");
            if let Some(held) = line.strip_prefix("held ") {
                break held.trim_end().parse::<usize>().unwrap();
            }
        };
        opened += held;
        (child, said)
    });
    (children.collect(), opened)
}

#[test]
fn ten_thousand_connections_of_several_processes_leave_another_clients_small_request_quick() {
    let mut best = Duration::MAX;
    for run in 1..=3 {
        let home = Home::new();
        let agent = home.start();
        // What the machine itself takes now, with whatever runs beside.
        let probe = Probe::start(&home);
        std::thread::sleep(Duration::from_secs(1));
        let calm = probe.p99(&format!("nobody else, run {run}"));
        let probe = Probe::start(&home);
        let (children, opened) = processes(&home.socket());
        assert!(opened >= 9 * PROCESSES * EACH / 10, "{opened} connections were opened");
        home.run("status").done();
        let files = open_files(&agent);
        assert!(files < 1000, "the agent has {files} files open");
        let p99 = probe.p99(&format!("{opened} connections of {PROCESSES} processes, run {run}"));
        best = best.min(p99.saturating_sub(calm));
        end(children);
        is_well(&home, &agent);
        if best < Duration::from_millis(50) {
            return;
        }
    }
    panic!("p99 is {best:?} above that of a calm agent, in the best of three runs");
}
