//! Small roles over the socket: one at a time, and 64 in flight.

use std::time::Instant;

use serde_json::json;
use tokio::runtime::Runtime;
use tufagent_tests::{Agent, Home};

use crate::bed::{self, Bed, Flush};
use crate::client::{Call, Client, Confirm};
use crate::machine::Commit;
use crate::metadata::Subject;
use crate::report::Report;
use crate::samples::Samples;

/// Versions that may be signed above the newest verified one; then the agent is shown the last.
const IN_TURN: usize = 16;
/// Requests in flight.
pub(crate) const IN_FLIGHT: usize = 64;
/// Connections that they come on.
pub(crate) const CONNECTIONS: usize = 8;
/// Milliseconds that are added to each flush in the slow half of the row.
const ADDED: u32 = 3;

/// Both rows.
pub(crate) fn measure(bed: &Bed, report: &mut Report) {
    one_at_a_time(bed, report);
    in_flight(bed, report);
}

/// An agent, a connection to it, and a role whose versions it signs one after the other.
pub(crate) struct Lane {
    home: Home,
    _agent: Agent,
    runtime: Runtime,
    client: Client,
    call: Call,
    subject: Subject,
    key: String,
}

impl Lane {
    /// The role `targets` of the home's repository, signed by the key `key`.
    pub(crate) fn new((home, agent): (Home, Agent), key: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(Client::connect(&home.socket()));
        let (subject, call) = (bed::subject(&home, "targets"), client.call());
        Self { home, _agent: agent, runtime, client, call, subject, key: key.to_owned() }
    }

    /// Signs the next versions, as many as are in turn, and adds the time of each.
    pub(crate) fn round(&mut self, samples: &mut Samples, when: Confirm) {
        let mut last = None;
        for _ in 0..IN_TURN {
            let (file, digest) = self.subject.next();
            let signed = self.call.sign("app", "targets", &self.key, &file, &digest, when);
            last = Some(samples.time(|| self.runtime.block_on(signed)));
        }
        let made = last.expect("signed");
        let file = self.subject.signed(&made.keyid, &made.sig);
        self.runtime.block_on(self.client.observe("app", vec![("targets".to_owned(), file)]));
    }

    /// What the key signs in the end.
    pub(crate) fn message(&self) -> Vec<u8> {
        self.subject.canonical()
    }

    /// The home.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }
}

fn one_at_a_time(bed: &Bed, report: &mut Report) {
    let mut lane = Lane::new(bed.published(Flush::Shipped, 0), "online");
    let mut commit = Commit::new();
    let (mut signing, mut at_once) = (Samples::default(), Samples::default());
    let (mut committing, mut apart) = (Samples::default(), Samples::default());
    for round in 0..40 {
        if round == 10 {
            (signing, at_once, committing, apart) = Default::default();
        }
        lane.round(&mut signing, Confirm::WhenShown);
        lane.round(&mut at_once, Confirm::AtOnce);
        (0..IN_TURN).for_each(|_| committing.time(|| commit.commit()));
        (0..IN_TURN).for_each(|_| {
            Commit::pause();
            apart.time(|| commit.commit());
        });
    }
    let (p50, alone) = (signing.median(), committing.median());
    report.fact(
        "one durable commit, as far after the one before as those of signatures",
        format!("{:.0} µs", apart.median()),
        json!({"p50_us": apart.median()}),
    );
    report.fact(
        "the same, confirmed with the files by the digest",
        format!("p50 {:.0} µs = commit + {:.0} µs", at_once.median(), at_once.median() - alone),
        json!({"p50_us": at_once.median(), "over_us": at_once.median() - alone}),
    );
    report.goal(
        "small role, Ed25519, durable, one at a time",
        "p50 <= one durable commit + 200 µs",
        format!(
            "p50 {p50:.0} µs = commit {alone:.0} µs + {:.0} µs; p99 {:.0} µs",
            p50 - alone,
            signing.at(0.99)
        ),
        p50 <= alone + 200.0,
        json!({"p50_us": p50, "p99_us": signing.at(0.99), "commit_us": alone, "over_us": p50 - alone}),
    );
}

/// 64 roles (bins of one repository, one key), each signed version after version, all at once.
pub(crate) struct Fleet {
    _home: Home,
    _agent: Agent,
    runtime: Runtime,
    clients: Vec<Client>,
    subjects: Vec<Subject>,
}

/// What one round of a fleet gave.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    signatures: f64,
    seconds: f64,
    commits: f64,
}

impl Pace {
    pub(crate) fn rate(self) -> f64 {
        self.signatures / self.seconds
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.signatures += other.signatures;
        self.seconds += other.seconds;
        self.commits += other.commits;
    }
}

impl Fleet {
    fn new(bed: &Bed, flush: Flush) -> Self {
        Self::of(bed.published(flush, IN_FLIGHT as u32))
    }

    /// The bins of the home's repository, all signed by `online`.
    pub(crate) fn of((home, agent): (Home, Agent)) -> Self {
        // One thread: a second one would take the processor from what is measured, to hand work to the first.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let connect = || runtime.block_on(Client::connect(&home.socket()));
        let clients = (0..CONNECTIONS).map(|_| connect()).collect();
        let subjects = (0..IN_FLIGHT).map(|at| bed::subject(&home, &format!("bin-{at:02x}"))).collect();
        Self { _home: home, _agent: agent, runtime, clients, subjects }
    }

    pub(crate) fn round(&mut self, when: Confirm) -> Pace {
        let before = self.runtime.block_on(self.clients[0].commits());
        let subjects = std::mem::take(&mut self.subjects);
        let began = Instant::now();
        let lanes = subjects.into_iter().enumerate().map(|(at, mut subject)| {
            let client = self.clients[at % CONNECTIONS].clone();
            self.runtime.spawn(async move {
                let (mut last, mut call) = (None, client.call());
                for _ in 0..IN_TURN {
                    let (file, digest) = subject.next();
                    let role = subject.role.clone();
                    last = Some(call.sign("app", &role, "online", &file, &digest, when).await);
                }
                let made = last.expect("signed");
                let file = subject.signed(&made.keyid, &made.sig);
                (subject, file)
            })
        });
        let lanes: Vec<_> = lanes.collect();
        let done: Vec<_> =
            lanes.into_iter().map(|lane| self.runtime.block_on(lane).expect("a lane")).collect();
        let seconds = began.elapsed().as_secs_f64();
        let commits = self.runtime.block_on(self.clients[0].commits()) - before;
        let files = done.iter().map(|(subject, file)| (subject.role.clone(), file.clone())).collect();
        self.runtime.block_on(self.clients[0].observe("app", files));
        self.subjects = done.into_iter().map(|(subject, _)| subject).collect();
        Pace { signatures: (IN_FLIGHT * IN_TURN) as f64, seconds, commits: commits as f64 }
    }
}

fn in_flight(bed: &Bed, report: &mut Report) {
    let mut free = Fleet::new(bed, Flush::Off);
    let mut shipped = Fleet::new(bed, Flush::Shipped);
    let mut slower = Fleet::new(bed, Flush::Slower(ADDED));
    let mut commit = Commit::new();
    let mut committing = Samples::default();
    let mut paces = [Pace::default(); 3];
    for round in 0..8 {
        for (pace, fleet) in paces.iter_mut().zip([&mut free, &mut shipped, &mut slower]) {
            let one = fleet.round(Confirm::WhenShown);
            if round > 0 {
                pace.add(one);
            }
        }
        (0..50).for_each(|_| committing.time(|| commit.commit()));
    }
    let [free, shipped, slower] = paces;
    report.fact(
        "R0: 64 in flight without any flush",
        format!("{:.0} signatures/s", free.rate()),
        json!({"rate": free.rate()}),
    );
    for (what, pace, added) in [
        ("64 in flight, durable", shipped, 0.0),
        ("64 in flight, 3 ms added to each flush", slower, f64::from(ADDED) * 1e-3),
    ] {
        let flush = committing.median() * 1e-6 + added;
        let bound = IN_FLIGHT as f64 / (flush + IN_FLIGHT as f64 / free.rate());
        let (part, each) = (pace.rate() / bound, pace.signatures / pace.commits);
        report.goal(
            what,
            ">= 80 % of 64 / (flush + 64 / R0); >= 20 signatures a flush",
            format!(
                "{:.0}/s, {:.0} % of {bound:.0}/s; {each:.1} signatures a flush",
                pace.rate(),
                part * 100.0
            ),
            part >= 0.8 && each >= 20.0,
            json!({"rate": pace.rate(), "bound": bound, "part": part, "per_flush": each, "flush_s": flush}),
        );
    }
}
