//! A client of the agent that does nothing but sign: the wire protocol, over one connection.

use std::path::Path;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tufagent_proto::v1::agent_client::AgentClient;
use tufagent_proto::v1::repositories_client::RepositoriesClient;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::signing_client::SigningClient;
use tufagent_proto::v1::{
    FileHeader, ObserveBegin, ObserveRequest, SignBegin, SignConfirm, SignEvent, SignRequest, SignSignature,
    StatusRequest, observe_request, sign_request,
};

/// When a client confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// After the agent has shown what it understood: a round trip more.
    WhenShown,
    /// With the files, by the digest that the client has computed itself.
    AtOnce,
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let address = format!("unix:{}", socket.display());
        let endpoint = Endpoint::try_from(address).expect("an address");
        Self { channel: endpoint.connect().await.expect("the agent answers") }
    }

    /// A call on which one signature after the other is asked for.
    pub(crate) fn call(&self) -> Call {
        let (requests, stream) = mpsc::channel(8);
        let signing = SigningClient::new(self.channel.clone());
        Call { requests, events: Events::Not(signing, stream) }
    }

    /// Shows the agent complete metadata, so that the next versions are in turn.
    pub(crate) async fn observe(&self, repository: &str, files: Vec<(String, Vec<u8>)>) {
        let begin = ObserveBegin { repository: repository.to_owned(), published: true, ..Default::default() };
        let mut parts = vec![observe_request::Part::Begin(begin)];
        for (role, bytes) in files {
            let header = FileHeader { role, size: bytes.len() as u64, ..FileHeader::default() };
            parts.extend([observe_request::Part::File(header), observe_request::Part::Chunk(bytes)]);
        }
        let requests = parts.into_iter().map(|part| ObserveRequest { part: Some(part) });
        let requests: Vec<_> = requests.collect();
        let mut client = RepositoriesClient::new(self.channel.clone());
        client.observe(tokio_stream::iter(requests)).await.expect("it is noted");
    }

    /// How many commits the agent's ledger has made.
    pub(crate) async fn commits(&self) -> u64 {
        let mut client = AgentClient::new(self.channel.clone());
        client.status(StatusRequest {}).await.expect("status").into_inner().ledger_commits
    }
}

/// One `Sign` call for many signatures, as a program makes it that signs file after file.
pub(crate) struct Call {
    requests: mpsc::Sender<SignRequest>,
    events: Events,
}

enum Events {
    /// The call is made with the first request, so that nothing waits for its headers.
    Not(SigningClient<Channel>, mpsc::Receiver<SignRequest>),
    Come(Streaming<SignEvent>),
    Taken,
}

impl Call {
    /// Signs one file with one key. What is shown must have the digest that the client computed itself.
    pub(crate) async fn sign(
        &mut self,
        repository: &str,
        role: &str,
        key: &str,
        file: &[u8],
        digest: &str,
        when: Confirm,
    ) -> SignSignature {
        self.send(sign_request::Part::Begin(SignBegin {
            repository: repository.to_owned(),
            role: role.to_owned(),
            keys: vec![key.to_owned()],
            more: true,
            ..SignBegin::default()
        }));
        let header = FileHeader { role: role.to_owned(), size: file.len() as u64, ..FileHeader::default() };
        self.send(sign_request::Part::File(header));
        self.send(sign_request::Part::Chunk(file.to_vec()));
        let confirm = SignConfirm { sha256: digest.to_owned(), person: false };
        if when == Confirm::AtOnce {
            self.send(sign_request::Part::Confirm(confirm.clone()));
        }
        let mut signature = None;
        loop {
            match self.next().await {
                Event::Inspected(shown) => {
                    assert_eq!(shown.sha256, digest, "the agent shows what was sent");
                    if when == Confirm::WhenShown {
                        self.send(sign_request::Part::Confirm(confirm.clone()));
                    }
                }
                Event::Signature(made) => signature = Some(made),
                Event::Skipped(skipped) => panic!("not signed: {skipped:?}"),
                Event::Waiting(_) | Event::Ask(_) | Event::Collect(_) => {}
                Event::Done(_) => return signature.expect("a signature"),
            }
        }
    }

    fn send(&self, part: sign_request::Part) {
        self.requests.try_send(SignRequest { part: Some(part) }).expect("there is room");
    }

    async fn next(&mut self) -> Event {
        let mut events = match std::mem::replace(&mut self.events, Events::Taken) {
            Events::Not(mut signing, requests) => {
                signing.sign(ReceiverStream::new(requests)).await.expect("the call is taken").into_inner()
            }
            Events::Come(events) => events,
            Events::Taken => panic!("a request was given up"),
        };
        let event = events.message().await.expect("an event").expect("the call goes on");
        self.events = Events::Come(events);
        event.event.expect("an event")
    }
}
