//! A real agent in a private folder, and a client's end of its socket.

pub mod shares;
pub mod steps;
pub mod whole;

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, OpModeS, Serializable as _, single_shot_seal};
use prost::Message as _;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tufagent_proto::v1::agent_client::AgentClient;
use tufagent_proto::v1::audit_client::AuditClient;
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::repositories_client::RepositoriesClient;
use tufagent_proto::v1::signing_client::SigningClient;
use tufagent_proto::v1::tokens_client::TokensClient;
use tufagent_proto::v1::*;

pub struct Running {
    pub folder: tempfile::TempDir,
    child: Child,
}

impl Running {
    /// Ends it at once, without a word, and starts another one on the same state.
    pub async fn kill_and_start(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        for _ in 0..500 {
            if tokio::net::UnixStream::connect(self.socket()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the agent is not ready:\n{}", self.log());
    }

    /// Ends it at once, and leaves its state.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// The folder of its state.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("s/tuf-agent")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts with this configuration and waits until it answers.
    pub async fn start(config: &str) -> Self {
        Self::start_on(config, None).await
    }

    /// The same, on a copy of the state that another one has left.
    pub async fn start_on(config: &str, left: Option<&std::path::Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["c", "c/tuf-agent", "s", "r"] {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        write(&folder.path().join("c/tuf-agent/config.toml"), config, 0o600);
        if let Some(left) = left {
            let copied =
                Command::new("cp").arg("-a").args([left.join("."), folder.path().join("s")]).status();
            assert!(copied.unwrap().success());
        }
        let child = spawn(folder.path());
        let running = Self { folder, child };
        running.answers().await;
        running
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("r/tuf-agent/agent.sock")
    }

    pub fn configure(&self, config: &str) {
        write(&self.folder.path().join("c/tuf-agent/config.toml"), config, 0o600);
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(self.folder.path().join("log")).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits until the log holds the text.
    pub async fn says(&self, text: &str) {
        for _ in 0..500 {
            if self.log().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{text:?} is not in the log:\n{}", self.log());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..1000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the agent does not end:\n{}", self.log());
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Client {
        let uri = format!("unix:{}", self.socket().display());
        Client { channel: Endpoint::try_from(uri).unwrap().connect().await.unwrap() }
    }
}

fn spawn(folder: &std::path::Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_tuf-agent"))
        .arg("--allow-root")
        .env_clear()
        .env("XDG_CONFIG_HOME", folder.join("c"))
        .env("XDG_STATE_HOME", folder.join("s"))
        .env("XDG_RUNTIME_DIR", folder.join("r"))
        .env("TUF_AGENT_LOG", "debug")
        .env("DISPLAY", ":none")
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Client {
    pub channel: Channel,
}

impl Client {
    pub async fn seal(&self, secret: &[u8], purpose: &str) -> Sealed {
        let mut agent = AgentClient::new(self.channel.clone());
        let key = agent.open_seal(OpenSealRequest {}).await.unwrap().into_inner().public_key;
        seal_to(&key, secret, purpose)
    }

    pub async fn unlock(&self, token: &str, secret: &[u8]) -> Result<Token, Status> {
        let secret = Some(self.seal(secret, &format!("unlock:{token}")).await);
        self.unlock_with(UnlockTokenRequest { name: token.into(), secret, ..UnlockTokenRequest::default() })
            .await
    }

    pub async fn unlock_with(&self, request: UnlockTokenRequest) -> Result<Token, Status> {
        let reply = TokensClient::new(self.channel.clone()).unlock(request).await?;
        Ok(reply.into_inner().token.unwrap())
    }

    pub async fn lock(&self) {
        TokensClient::new(self.channel.clone()).lock(LockTokenRequest::default()).await.unwrap();
    }

    pub async fn state(&self, token: &str) -> String {
        let reply = TokensClient::new(self.channel.clone()).list(ListTokensRequest {}).await.unwrap();
        let tokens = reply.into_inner().tokens;
        tokens.iter().find(|t| t.name == token).map_or("none".into(), |t| t.state.clone())
    }

    /// Waits until a token has the state.
    pub async fn reaches(&self, token: &str, state: &str) {
        for _ in 0..500 {
            if self.state(token).await == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{token} does not become {state}");
    }

    pub async fn generate(&self, name: &str) -> Result<Key, Status> {
        let request =
            GenerateKeyRequest { name: name.into(), r#type: "ed25519".into(), ..Default::default() };
        Ok(KeysClient::new(self.channel.clone()).generate(request).await?.into_inner().key.unwrap())
    }

    /// Sends these parts and gives the first event or refusal.
    pub async fn sign(&self, parts: Vec<sign_request::Part>) -> Result<Option<SignEvent>, Status> {
        let requests = parts.into_iter().map(|part| SignRequest { part: Some(part) });
        let stream = tokio_stream::iter(requests);
        let mut events = SigningClient::new(self.channel.clone()).sign(stream).await?.into_inner();
        events.message().await
    }
}

/// A Sign call that was shown what it would sign and has not confirmed it.
pub struct Shown {
    parts: tokio::sync::mpsc::Sender<SignRequest>,
    events: tonic::Streaming<SignEvent>,
    pub inspected: SignInspected,
}

impl Client {
    /// Sends a request to sign this file, and waits until the agent shows what it is.
    pub async fn show(&self, begin: SignBegin, file: &[u8]) -> Result<Shown, Status> {
        let header = header(&begin.role, file);
        let chunks = file.chunks(1 << 20).map(|chunk| sign_request::Part::Chunk(chunk.to_vec()));
        self.show_as(begin, header, chunks.collect()).await
    }

    /// The same, with the file as it is sent.
    pub async fn show_as(
        &self,
        begin: SignBegin,
        header: FileHeader,
        content: Vec<sign_request::Part>,
    ) -> Result<Shown, Status> {
        let (parts, requests) = tokio::sync::mpsc::channel(80);
        let first = [sign_request::Part::Begin(begin), sign_request::Part::File(header)];
        for part in first.into_iter().chain(content) {
            parts.send(SignRequest { part: Some(part) }).await.unwrap();
        }
        let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut events = SigningClient::new(self.channel.clone()).sign(stream).await?.into_inner();
        match events.message().await?.and_then(|event| event.event) {
            Some(sign_event::Event::Inspected(inspected)) => Ok(Shown { parts, events, inspected }),
            other => panic!("not shown: {other:?}"),
        }
    }

    /// The journal: kind and body of each entry.
    pub async fn journal(&self) -> Vec<(String, String)> {
        let mut audit = AuditClient::new(self.channel.clone());
        let mut entries = audit.list(AuditListRequest::default()).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(entry) = entries.message().await.unwrap() {
            all.push((entry.kind, entry.body_json));
        }
        all
    }

    pub async fn register(&self, repository: &str) {
        let request = RegisterRepositoryRequest { name: repository.into(), ..Default::default() };
        RepositoriesClient::new(self.channel.clone()).register(request).await.unwrap();
    }

    /// Shows the agent a file that was published.
    pub async fn observe(&self, repository: &str, role: &str, file: &[u8]) {
        let begin = ObserveBegin { repository: repository.into(), published: true, ..Default::default() };
        let first = [observe_request::Part::Begin(begin), observe_request::Part::File(header(role, file))];
        let chunks = file.chunks(1 << 20).map(|chunk| observe_request::Part::Chunk(chunk.to_vec()));
        let parts = first.into_iter().chain(chunks);
        let requests: Vec<_> = parts.map(|part| ObserveRequest { part: Some(part) }).collect();
        let mut repositories = RepositoriesClient::new(self.channel.clone());
        repositories.observe(tokio_stream::iter(requests)).await.unwrap();
    }
}

impl Shown {
    /// What only a person may say yes to.
    pub fn asks_a_person(&self) -> &[String] {
        &self.inspected.person
    }

    /// Confirms, and gives the first signature.
    pub async fn confirm(self) -> Result<SignSignature, Status> {
        self.confirm_as(false).await
    }

    /// Confirms.
    pub async fn say_yes(&mut self) {
        self.say_yes_as(false).await;
    }

    /// The same, as a person said or a program.
    pub async fn say_yes_as(&mut self, person: bool) {
        let confirm = SignConfirm { sha256: self.inspected.sha256.clone(), person };
        let part = Some(sign_request::Part::Confirm(confirm));
        self.parts.send(SignRequest { part }).await.unwrap();
    }

    /// What the agent says next.
    pub async fn event(&mut self) -> Result<Option<sign_event::Event>, Status> {
        Ok(self.events.message().await?.and_then(|event| event.event))
    }

    /// Confirms, as a person said or a program, and gives the first signature.
    pub async fn confirm_as(mut self, person: bool) -> Result<SignSignature, Status> {
        let confirm = SignConfirm { sha256: self.inspected.sha256.clone(), person };
        let part = Some(sign_request::Part::Confirm(confirm));
        self.parts.send(SignRequest { part }).await.unwrap();
        while let Some(event) = self.events.message().await? {
            if let Some(sign_event::Event::Signature(signature)) = event.event {
                return Ok(signature);
            }
        }
        panic!("no signature came");
    }
}

/// What comes before a file.
pub fn header(role: &str, file: &[u8]) -> FileHeader {
    FileHeader { role: role.into(), size: u64::try_from(file.len()).unwrap(), ..FileHeader::default() }
}

/// The reason that a status carries.
pub fn reason(status: &Status) -> String {
    ErrorInfo::decode(status.details()).unwrap().reason
}

/// As the agent writes its own.
pub fn write_private(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn write(path: &std::path::Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Seals to a key that is known already.
pub fn seal_to(key: &[u8], secret: &[u8], purpose: &str) -> Sealed {
    let key = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(key).unwrap();
    let (encapped, ciphertext) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &key,
        b"tuf-agent seal v1",
        secret,
        purpose.as_bytes(),
    )
    .unwrap();
    Sealed { encapsulated_key: encapped.to_bytes().to_vec(), ciphertext }
}
