//! A client of the agent that does nothing but sign: the wire protocol, over one connection.

use std::path::Path;

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tufagent_proto::v1::agent_client::AgentClient;
use tufagent_proto::v1::repositories_client::RepositoriesClient;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::signing_client::SigningClient;
use tufagent_proto::v1::{
    FileHeader, ObserveBegin, ObserveRequest, SignBegin, SignConfirm, SignRequest, SignSignature,
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

    /// Signs one file with one key. What is shown must have the digest that the client computed itself.
    pub(crate) async fn sign(
        &self,
        repository: &str,
        role: &str,
        key: &str,
        file: &[u8],
        digest: &str,
        when: Confirm,
    ) -> SignSignature {
        let begin = SignBegin {
            repository: repository.to_owned(),
            role: role.to_owned(),
            keys: vec![key.to_owned()],
            ..SignBegin::default()
        };
        let header = FileHeader { role: role.to_owned(), size: file.len() as u64, ..FileHeader::default() };
        let upload = [
            sign_request::Part::Begin(begin),
            sign_request::Part::File(header),
            sign_request::Part::Chunk(file.to_vec()),
        ];
        let (confirm, confirmed) = mpsc::channel(1);
        let confirmation = || {
            let part = sign_request::Part::Confirm(SignConfirm { sha256: digest.to_owned(), person: false });
            confirm.try_send(SignRequest { part: Some(part) }).expect("there is room");
        };
        if when == Confirm::AtOnce {
            confirmation();
        }
        let upload = tokio_stream::iter(upload).map(|part| SignRequest { part: Some(part) });
        let stream = upload.chain(ReceiverStream::new(confirmed));
        let mut client = SigningClient::new(self.channel.clone());
        let mut events = client.sign(stream).await.expect("the call is taken").into_inner();
        let mut signature = None;
        while let Some(event) = events.message().await.expect("an event") {
            match event.event.expect("an event") {
                Event::Inspected(shown) => {
                    assert_eq!(shown.sha256, digest, "the agent shows what was sent");
                    if when == Confirm::WhenShown {
                        confirmation();
                    }
                }
                Event::Signature(made) => signature = Some(made),
                Event::Skipped(skipped) => panic!("not signed: {skipped:?}"),
                Event::Waiting(_) | Event::Ask(_) | Event::Collect(_) => {}
            }
        }
        signature.expect("a signature")
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
