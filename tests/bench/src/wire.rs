//! What the wire costs by itself: calls as they are made for small roles, over a socket like the agent's, answered with
//! constants by a server that looks at nothing. No agent that speaks gRPC is quicker than this, with the signature and its
//! verification on top.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::signing_server::{Signing, SigningServer};
use tufagent_proto::v1::{SignDone, SignEvent, SignInspected, SignRequest, SignSignature};

use crate::bed::Bed;
use crate::client::{Call, Client, Confirm};
use crate::report::Report;
use crate::samples::Samples;
use crate::small::{CONNECTIONS, IN_FLIGHT};

/// About what a small role has.
const FILE: &[u8] = &[b'x'; 500];
const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
/// Begin, header and file.
const PARTS: usize = 3;
/// As the agent has it.
const WINDOW: u32 = 256 << 10;
/// Calls of each lane in flight.
const EACH: usize = 100;

/// The rows: facts, which the goals are to be seen against.
pub(crate) fn measure(_bed: &Bed, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Bare::start(folder.path().join("socket"));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|_| runtime.block_on(Client::connect(&server.socket))).collect();
    let mut first = clients[0].call();
    let (mut shown, mut at_once) = (Samples::default(), Samples::default());
    for round in 0..40 {
        if round == 10 {
            (shown, at_once) = Default::default();
        }
        for (samples, when) in [(&mut shown, Confirm::WhenShown), (&mut at_once, Confirm::AtOnce)] {
            (0..16).for_each(|_| samples.time(|| runtime.block_on(sign(&mut first, when))));
        }
    }
    let rate = in_flight(&runtime, &clients);
    let (shown, at_once) = (shown.median(), at_once.median());
    report.fact(
        "a call like one for a signature, of a server that does nothing",
        format!(
            "p50 {shown:.0} µs; {at_once:.0} µs confirmed with the files; {IN_FLIGHT} in flight {rate:.0}/s"
        ),
        json!({"shown_us": shown, "at_once_us": at_once, "in_flight_rate": rate}),
    );
}

async fn sign(call: &mut Call, when: Confirm) {
    call.sign("app", "targets", "online", FILE, DIGEST, when).await;
}

/// Calls a second, the second time that they are made.
fn in_flight(runtime: &Runtime, clients: &[Client]) -> f64 {
    let round = || {
        let began = Instant::now();
        let lanes: Vec<_> = clients.iter().cycle().take(IN_FLIGHT).cloned().collect();
        let lanes = lanes.into_iter().map(|client| {
            runtime.spawn(async move {
                let mut call = client.call();
                for _ in 0..EACH {
                    sign(&mut call, Confirm::AtOnce).await;
                }
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().for_each(|lane| runtime.block_on(lane).expect("a lane"));
        (IN_FLIGHT * EACH) as f64 / began.elapsed().as_secs_f64()
    };
    round();
    round()
}

/// The server, in a process of its own; it ends with this value.
struct Bare {
    process: Child,
    socket: PathBuf,
}

impl Bare {
    fn start(socket: PathBuf) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("bare-server").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().expect("it starts");
        let bare = Self { process, socket };
        let end = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(&bare.socket).is_err() {
            assert!(Instant::now() < end, "the bare server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        bare
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `tufagent-bench bare-server SOCKET`: serves until it is killed, with as many threads as the agent.
pub(crate) fn main(arguments: &[String]) {
    let [socket] = arguments else { panic!("bare-server SOCKET") };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let _within = runtime.enter();
    let listener = UnixListener::bind(Path::new(socket)).expect("a socket");
    let serving = runtime.spawn(async move {
        let server =
            Server::builder().initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        server.serve_with_incoming(SigningServer::new(Constants), UnixListenerStream::new(listener)).await
    });
    runtime.block_on(serving).expect("it serves").expect("it serves");
}

/// Answers everybody the same.
struct Constants;

type Events = Pin<Box<dyn Stream<Item = Result<SignEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Signing for Constants {
    type SignStream = Events;

    async fn sign(&self, request: Request<Streaming<SignRequest>>) -> Result<Response<Events>, Status> {
        let mut requests = request.into_inner();
        let (events, mut stream) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            loop {
                for _ in 0..PARTS {
                    if requests.next().await.is_none() {
                        return;
                    }
                }
                let _ = events.send(Ok(event(inspected()))).await;
                let _ = requests.next().await;
                let _ = events.send(Ok(event(signature()))).await;
                let _ = events.send(Ok(event(Event::Done(SignDone {})))).await;
            }
        });
        // The headers leave with the first event.
        let first = stream.recv().await;
        Ok(Response::new(Box::pin(tokio_stream::iter(first).chain(ReceiverStream::new(stream)))))
    }
}

fn event(event: Event) -> SignEvent {
    SignEvent { event: Some(event) }
}

fn inspected() -> Event {
    let (repository, role, sha256) = ("app".to_owned(), "targets".to_owned(), DIGEST.to_owned());
    Event::Inspected(SignInspected { repository, role, version: 2, sha256, ..SignInspected::default() })
}

fn signature() -> Event {
    let (keyid, sig) = (DIGEST.to_owned(), DIGEST.repeat(2));
    Event::Signature(SignSignature { keyid, sig, key: "online".to_owned(), token: "file".to_owned() })
}
