//! From `tufctl sign` to the word on the terminal that a YubiKey waits for a touch.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tufagent_tests::cards::{CARD_PIN, Card, CardRoom, FIRMWARE_5_7, card};
use tufagent_tests::{Agent, Home};

use crate::bed::{Bed, Flush};
use crate::report::Report;
use crate::samples::Samples;

const WHAT: &str = "from tufctl sign to the touch prompt, YubiKey unlocked";
const GOAL: &str = "< 300 ms";
const SERIAL: u32 = 15_350_099;

/// A card that waits, and what it signs: the targets of a repository that is published.
struct Desk {
    home: Home,
    card: Card,
    _agent: Agent,
    _room: CardRoom,
}

impl Desk {
    fn new(bed: &Bed, card: Card, room: CardRoom) -> Self {
        let home = Home::new();
        home.config(&room.table("alice", SERIAL));
        let agent = bed.start(&home, Flush::Shipped);
        home.secret("pin", CARD_PIN);
        // Not a secret: everybody knows that word.
        let management = home.write("management", "default");
        fs::set_permissions(management, fs::Permissions::from_mode(0o600)).expect("a mode");
        home.unlock_file_store();
        home.run("token unlock alice --pin-file pin").done();
        home.run("key generate releases --token alice --type ecdsa-p256 --touch always --management-key-file management")
            .done();
        home.run("key generate online --token file --type ed25519").done();
        home.run(
            "repo init repo --name app --root online --targets releases --snapshot online --timestamp online",
        )
        .done();
        card.touch_always(true);
        home.run("sign repo --yes").done();
        card.touch_always(false);
        Self { home, card, _agent: agent, _room: room }
    }

    /// One signature, and how long its prompt took to come.
    fn prompt(&self, bed: &Bed) -> Duration {
        self.home.run("bump repo targets").done();
        let mut command = Command::new(bed.tufctl());
        self.home.environment(&mut command);
        command.args(["sign", "repo", "--yes"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().expect("tufctl starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let prompt = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("touch now")));
        let took = began.elapsed();
        assert!(prompt.is_some(), "tufctl asked for no touch");
        self.card.touch();
        lines.for_each(drop);
        assert!(child.wait().expect("tufctl ends").success(), "tufctl did not sign");
        took
    }
}

pub(crate) fn measure(bed: &Bed, report: &mut Report) {
    let card = card(SERIAL, FIRMWARE_5_7);
    let room = match CardRoom::with(&[&card]) {
        Ok(room) => room,
        Err(skipped) => return report.skipped(WHAT, GOAL, &skipped.to_string()),
    };
    let desk = Desk::new(bed, card, room);
    let mut samples = Samples::default();
    for round in 0..23 {
        let took = desk.prompt(bed);
        if round > 2 {
            samples.push(took);
        }
    }
    let (p50, p95) = (samples.median() / 1e3, samples.at(0.95) / 1e3);
    report.goal(
        WHAT,
        GOAL,
        format!("p50 {p50:.0} ms, p95 {p95:.0} ms"),
        p50 < 300.0,
        json!({"p50_ms": p50, "p95_ms": p95}),
    );
}
