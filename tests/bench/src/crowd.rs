//! Somebody else's small request while a crowd of callers uploads large files and stalls.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tufagent_proto::v1::signing_client::SigningClient;
use tufagent_proto::v1::{FileHeader, SignBegin, SignRequest, sign_request::Part};

use crate::bed::{Bed, Flush};
use crate::client::Client;
use crate::report::Report;
use crate::samples::Samples;

/// Connections of the crowd, and uploads on each.
const CONNECTIONS: usize = 8;
const UPLOADS: usize = 8;
/// What each of them says that it will send.
const FILE: usize = 64 << 20;
const CHUNK: usize = 1 << 20;
/// Connections beside these on which nothing is said.
const IDLE: usize = 1000;
/// An upload that has stalled for this long is begun anew.
const STALLED: Duration = Duration::from_secs(2);
/// How long is measured.
const MEASURED: Duration = Duration::from_secs(12);
/// The goal, milliseconds.
const GOAL: f64 = 50.0;

/// The row: the crowd is a process of its own.
pub(crate) fn measure(bed: &Bed, report: &mut Report) {
    let (home, agent) = bed.home(Flush::Shipped);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(Client::connect(&home.socket()));
    let (alone, _) = ask(&runtime, &client, Duration::from_secs(1));
    let crowd = Crowd::start(home.socket());
    let (with, most) = ask(&runtime, &client, MEASURED);
    crowd.end();
    let p99 = with.at(0.99) / 1e3;
    let memory = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("its status");
    let peak =
        memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak").trim().to_owned();
    report.goal(
        "another client's small request beside 64 uploads of 64 MiB that stall and 1000 idle connections",
        "p99 <= 50 ms",
        format!("p99 {p99:.1} ms, most {most:.1} ms; alone {:.2} ms; the agent's peak {peak}", alone.at(0.99) / 1e3),
        p99 <= GOAL,
        json!({"p99_ms": p99, "most_ms": most, "alone_p99_ms": alone.at(0.99) / 1e3, "answers": with.number()}),
    );
}

/// Asks for the status again and again for this long; all times, and the longest in milliseconds.
fn ask(runtime: &tokio::runtime::Runtime, client: &Client, during: Duration) -> (Samples, f64) {
    let mut samples = Samples::default();
    let began = Instant::now();
    while began.elapsed() < during {
        samples.time(|| runtime.block_on(client.commits()));
        std::thread::sleep(Duration::from_millis(2));
    }
    let most = samples.at(1.0) / 1e3;
    (samples, most)
}

/// The other process.
struct Crowd(Child);

impl Crowd {
    fn start(socket: PathBuf) -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.arg("crowd").arg(socket).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("the crowd"))
    }

    /// Sends it home, if it is still there.
    fn end(mut self) {
        assert!(self.0.try_wait().expect("a child").is_none(), "the crowd has gone home early");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `tufagent-bench crowd SOCKET`: uploads and stalls until it is killed.
pub(crate) fn main(arguments: &[String]) {
    let socket = PathBuf::from(arguments.first().expect("the socket"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _within = runtime.enter();
    for _ in 0..CONNECTIONS {
        let address = format!("unix:{}", socket.display());
        let channel = Endpoint::try_from(address).expect("an address").connect_lazy();
        for _ in 0..UPLOADS {
            let channel = channel.clone();
            runtime.spawn(async move {
                loop {
                    let _ = tokio::time::timeout(STALLED, upload(SigningClient::new(channel.clone()))).await;
                }
            });
        }
    }
    let mut idle = Vec::new();
    loop {
        // Those that were closed to make room come again.
        idle.truncate(0);
        idle.extend((0..IDLE).filter_map(|_| UnixStream::connect(&socket).ok()));
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// All of a file but its last chunk, which never comes.
async fn upload(mut client: SigningClient<tonic::transport::Channel>) {
    let begin =
        SignBegin { repository: "app".to_owned(), role: "targets".to_owned(), ..SignBegin::default() };
    let header = FileHeader { role: "targets".to_owned(), size: FILE as u64, ..FileHeader::default() };
    let chunks = (1..FILE / CHUNK).map(|_| Part::Chunk(vec![b' '; CHUNK]));
    let parts = [Part::Begin(begin), Part::File(header)].into_iter().chain(chunks);
    let (stalls, never) = mpsc::channel(1);
    let upload = tokio_stream::iter(parts).map(|part| SignRequest { part: Some(part) });
    let _ = client.sign(upload.chain(ReceiverStream::new(never))).await.map(|events| async move {
        let _ = events.into_inner().message().await;
    });
    drop(stalls);
}
