//! Keys that are whole in the file store as well, sets that take each other's place, and backups of both.

use tonic::Status;
use tufagent_proto::v1::agent_client::AgentClient;
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::restore_request::Part;
use tufagent_proto::v1::split_request::Of;
use tufagent_proto::v1::*;

use tuf::metadata::Metadata;

use super::shares::{Made, NAMES, Reply, agent, opened, root_of, signature, terms, tuf};
use super::{Client, Running};

pub const PASSPHRASE: &[u8] = b"correct horse";
pub const OTHERS: [&str; 4] = ["dee", "eve", "fay", "gus"];

/// A key of the file store, and a root that it has.
pub async fn whole() -> (Running, Client, Key, Metadata) {
    let (agent, client) = agent().await;
    client.unlock("file", PASSPHRASE).await.unwrap();
    let request = tufagent_proto::v1::GenerateKeyRequest {
        name: "root-s".into(),
        token: "file".into(),
        r#type: "ed25519".into(),
        ..Default::default()
    };
    let key =
        KeysClient::new(client.channel.clone()).generate(request).await.unwrap().into_inner().key.unwrap();
    client.register("app").await;
    let file = root_of(&tuf(&key), 300);
    (agent, client, key, file)
}

pub async fn split_whole(client: &Client, keep: bool) -> Made {
    let reply = Reply::new();
    let terms = Some(terms(2, &NAMES, &reply));
    let request = SplitRequest { of: Some(Of::Key("root-s".into())), terms, keep, ..Default::default() };
    reply.open(client.shares().split(request).await.unwrap().into_inner())
}

/// The manifest of a set, given to an agent.
pub async fn import_set(client: &Client, manifest: &[u8]) -> Result<Key, Status> {
    let file = Some(client.seal(manifest, "import:root-s").await);
    let request =
        ImportKeyRequest { name: "root-s".into(), token: "people".into(), file, ..Default::default() };
    Ok(KeysClient::new(client.channel.clone()).import(request).await?.into_inner().key.unwrap())
}

pub fn key_file(agent: &Running) -> std::path::PathBuf {
    agent.folder.path().join("s/tuf-agent/keys/root-s.key")
}

/// The set works: two of its custodians sign.
pub async fn works(client: &Client, made: &Made, file: &Metadata) {
    let (mut shown, collection) = opened(client, file).await;
    for name in made.words.iter().take(usize::try_from(collection.need).unwrap()) {
        client.give(&collection, &name.1).await.unwrap();
    }
    let sig = hex::decode(signature(&mut shown).await.sig).unwrap();
    tuf(&made.key).verify(&file.canonical_signed(), &sig).unwrap();
}

pub async fn backup(client: &Client) -> Vec<u8> {
    let passphrase = Some(client.seal(b"paper", "backup").await);
    let request = tufagent_proto::v1::BackupRequest { passphrase };
    let mut agent = AgentClient::new(client.channel.clone());
    let mut chunks = agent.backup(request).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        file.extend(chunk.data);
    }
    file
}

pub async fn restore(client: &Client, file: &[u8]) -> RestoreReply {
    let passphrase = client.seal(b"paper", "restore").await;
    let chunks = file.chunks(1 << 20).map(|chunk| Part::Chunk(chunk.to_vec()));
    let parts: Vec<_> = std::iter::once(Part::Passphrase(passphrase))
        .chain(chunks)
        .map(|part| RestoreRequest { part: Some(part) })
        .collect();
    AgentClient::new(client.channel.clone()).restore(tokio_stream::iter(parts)).await.unwrap().into_inner()
}
