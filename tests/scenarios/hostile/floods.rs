//! What a client may send very often, or open and leave.

use std::time::Duration;

use tufagent_tests::Home;

use super::{Probe, is_well, peak_kib};
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
