//! Limits, as a caller meets them: every refusal has the reason `LIMIT`, and the next caller gets its answer.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use support::{Client, Running, reason};
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tuf_agent::limits;
use tufagent_proto::v1::agent_client::AgentClient;
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::repositories_client::RepositoriesClient;
use tufagent_proto::v1::sign_request::Part;
use tufagent_proto::v1::signing_client::SigningClient;
use tufagent_proto::v1::*;

/// It is refused for its size, with words, and another caller is served.
#[track_caller]
fn is_over_a_limit(status: &Status) {
    assert_eq!((reason(status).as_str(), status.code()), ("LIMIT", Code::ResourceExhausted), "{status:?}");
    assert!(!status.message().is_empty(), "{status:?}");
}

async fn serves(agent: &Running) {
    let client = agent.connect().await;
    AgentClient::new(client.channel).status(StatusRequest {}).await.unwrap();
}

fn chunk(size: usize) -> Part {
    Part::Chunk(vec![b' '; size])
}

fn file(size: u64) -> Part {
    Part::File(FileHeader { role: "targets".into(), size, ..FileHeader::default() })
}

fn begin() -> Part {
    Part::Begin(SignBegin { repository: "app".into(), role: "targets".into(), ..SignBegin::default() })
}

#[tokio::test]
async fn a_message_over_4_mib_is_refused_by_name_whatever_the_call() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    for size in [5 << 20, 16 << 20] {
        let large = GenerateKeyRequest { name: "x".repeat(size), ..Default::default() };
        is_over_a_limit(&KeysClient::new(client.channel.clone()).generate(large).await.unwrap_err());
        is_over_a_limit(&client.sign(vec![begin(), file(64 << 20), chunk(size)]).await.unwrap_err());
        let observed = observe_request::Part::Chunk(vec![0; size]);
        let stream = tokio_stream::iter([ObserveRequest { part: Some(observed) }]);
        is_over_a_limit(&RepositoriesClient::new(client.channel.clone()).observe(stream).await.unwrap_err());
    }
    serves(&agent).await;
}

#[tokio::test]
async fn a_file_over_64_mib_is_refused_by_its_header_and_a_chunk_over_1_mib_too() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    is_over_a_limit(&client.sign(vec![begin(), file((64 << 20) + 1)]).await.unwrap_err());
    is_over_a_limit(&client.sign(vec![begin(), file(64 << 20), chunk((1 << 20) + 1)]).await.unwrap_err());
    let empty =
        || Part::File(FileHeader { role: "targets".into(), size: 0, purpose: 1, ..FileHeader::default() });
    let files = (0..limits::FILES + 1).map(|_| empty());
    is_over_a_limit(&client.sign(std::iter::once(begin()).chain(files).collect()).await.unwrap_err());
}

#[tokio::test]
async fn lists_and_secrets_have_limits_of_their_own() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    let keys = vec![String::new(); limits::KEYS_NAMED + 1];
    let many_keys = Part::Begin(SignBegin { keys, ..SignBegin::default() });
    is_over_a_limit(&client.sign(vec![many_keys]).await.unwrap_err());
    let mut repositories = RepositoriesClient::new(client.channel.clone());
    let digests =
        FindRepositoryRequest { root_digests: vec![String::new(); limits::FILES + 1], ..Default::default() };
    is_over_a_limit(&repositories.find(digests).await.unwrap_err());
    let files =
        MissingRequest { files: vec![FileDigest::default(); limits::LISTED + 1], ..Default::default() };
    is_over_a_limit(&repositories.missing(files).await.unwrap_err());
    let without = vec!["targets".to_owned(); limits::LISTED + 1];
    is_over_a_limit(&repositories.recall(RecallRequest { without, ..Default::default() }).await.unwrap_err());
    let files =
        RecallRequest { files: vec![FileDigest::default(); limits::LISTED + 1], ..Default::default() };
    is_over_a_limit(&repositories.recall(files).await.unwrap_err());
    let expiry_days = (0..limits::FILES + 1).map(|n| (n.to_string(), 1)).collect();
    let lengths = RegisterRepositoryRequest { name: "app".into(), expiry_days, ..Default::default() };
    is_over_a_limit(&repositories.register(lengths).await.unwrap_err());
    is_over_a_limit(&client.unlock("file", &vec![b'x'; limits::SECRET + 1]).await.unwrap_err());
}

#[tokio::test]
async fn headers_over_16_kib_are_refused_by_name_and_the_connection_lives_on() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    let mut client = AgentClient::new(client.channel);
    let mut request = Request::new(StatusRequest {});
    for number in 0..5 {
        let name = tonic::metadata::MetadataKey::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        request.metadata_mut().insert(name, MetadataValue::try_from("a".repeat(4000)).unwrap());
    }
    is_over_a_limit(&client.status(request).await.unwrap_err());
    client.status(StatusRequest {}).await.unwrap();
}

/// Opens a Sign call and leaves it open without a word.
async fn open_call(client: &Client) -> Result<impl Send + use<>, Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<SignRequest>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let events = SigningClient::new(client.channel.clone()).sign(stream).await?;
    Ok((sender, events))
}

#[tokio::test]
async fn calls_of_one_process_have_a_limit_over_all_its_connections_and_ended_ones_make_room() {
    let agent = Running::start("").await;
    let connections = [agent.connect().await, agent.connect().await];
    let mut open = Vec::new();
    let refused = loop {
        match open_call(&connections[usize::from(open.len() >= 200)]).await {
            Ok(call) => open.push(call),
            Err(status) => break status,
        }
        assert!(open.len() <= limits::CALLS_OF_PROCESS, "no limit is met");
    };
    is_over_a_limit(&refused);
    assert_eq!(open.len(), limits::CALLS_OF_PROCESS);
    drop(open);
    for _ in 0..500 {
        if open_call(&connections[0]).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the places are not given back");
}

#[tokio::test]
async fn an_unknown_call_and_bytes_that_are_no_message_are_errors_with_a_reason() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    for (path, code, word) in [
        ("/tufagent.v1.Agent/NoSuch", Code::Unimplemented, "UNSUPPORTED"),
        ("/no.Such/Thing", Code::Unimplemented, "UNSUPPORTED"),
        ("/tufagent.v1.Keys/Generate", Code::InvalidArgument, "USAGE"),
    ] {
        let mut grpc = tonic::client::Grpc::new(client.channel.clone());
        grpc.ready().await.unwrap();
        // A message of another shape: field 1 as a number, where a string belongs.
        let request = Request::new(AuditListRequest { after: 1 << 60, limit: 7 });
        let codec = tonic_prost::ProstCodec::<AuditListRequest, StatusReply>::default();
        let status = grpc.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, word), "{path}: {status:?}");
    }
}

#[tokio::test]
async fn names_with_line_breaks_escapes_and_marks_come_back_and_are_journalled_as_plain_short_text() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    let hostile = format!("a\n{{\"b\":\u{1b}[2J\u{202e}\"{}", "x".repeat(100_000));
    let mut repositories = RepositoriesClient::new(client.channel.clone());
    let expiry_days = std::iter::once((hostile.clone(), 1)).collect();
    let calls = [
        client.generate(&hostile).await.map(|_| ()).unwrap_err(),
        client
            .unlock_with(UnlockTokenRequest { name: hostile.clone(), ..Default::default() })
            .await
            .unwrap_err(),
        repositories
            .find(FindRepositoryRequest { name: hostile.clone(), ..Default::default() })
            .await
            .unwrap_err(),
        repositories
            .register(RegisterRepositoryRequest { name: hostile.clone(), ..Default::default() })
            .await
            .unwrap_err(),
        repositories
            .register(RegisterRepositoryRequest { name: "app".into(), expiry_days, ..Default::default() })
            .await
            .unwrap_err(),
        client
            .sign(vec![Part::File(FileHeader {
                role: hostile.clone(),
                size: 1 << 40,
                ..FileHeader::default()
            })])
            .await
            .unwrap_err(),
        client
            .sign(vec![
                begin(),
                Part::File(FileHeader { role: hostile.clone(), size: 1 << 40, ..FileHeader::default() }),
            ])
            .await
            .unwrap_err(),
        client
            .sign(vec![
                Part::Begin(SignBegin {
                    repository: hostile.clone(),
                    role: "root".into(),
                    ..Default::default()
                }),
                file(2),
                chunk(2),
            ])
            .await
            .unwrap_err(),
    ];
    for status in &calls {
        let plain =
            |text: &str| !text.chars().any(|c| c.is_control() || c == '\u{202e}') && text.len() < 10_000;
        assert!(plain(status.message()) && !reason(status).is_empty(), "{status:?}");
        assert!(status.details().len() < 40_000, "{} bytes of details", status.details().len());
    }
    let mut audit = audit_client::AuditClient::new(client.channel.clone());
    let mut entries = audit.list(AuditListRequest::default()).await.unwrap().into_inner();
    let mut refusals = 0;
    while let Some(entry) = entries.next().await {
        let entry = entry.unwrap();
        refusals += u32::from(entry.kind == "refused");
        assert!(entry.body_json.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", entry.body_json);
        assert!(entry.body_json.len() < 10_000, "{} bytes in one entry", entry.body_json.len());
    }
    assert_eq!(refusals, 8, "every refusal is journalled");
    let log = agent.log();
    assert!(!log.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{log}");
    assert!(log.lines().all(|line| line.len() < 10_000));
}
