//! The requests, one method each.

use std::sync::PoisonError;
use std::time::Duration;

use tonic::Streaming;
use tufagent_proto::v1::{
    self, agent_client::AgentClient, audit_client::AuditClient, keys_client::KeysClient, observe_request,
    repositories_client::RepositoriesClient, tokens_client::TokensClient,
};

use super::seal::{SealUse, seal};
use super::upload::{Part, needs_whole};
use super::{Agent, MOST_MESSAGE, WireFile};
use crate::error::{Failure, reason};
use crate::secret::Secret;

/// A card that nobody keeps answers sooner.
const A_WHILE: Duration = Duration::from_secs(2);

/// The agent itself.
impl Agent {
    /// What runs, and which tokens are there.
    pub(crate) fn status(&self) -> Result<v1::StatusReply, Failure> {
        self.ask(AgentClient::new(self.channel.clone()).status(v1::StatusRequest {}))
    }

    /// Whether these keys of the agent may be given to a role; what people should know of it before, such as of which it
    /// cannot be asked now.
    pub(crate) fn may_serve(
        &self,
        repository: &str,
        role: &str,
        keys: Vec<String>,
    ) -> Result<Vec<String>, Failure> {
        let request = v1::MayServeRequest { repository: repository.into(), role: role.into(), keys };
        let mut client = KeysClient::new(self.channel.clone());
        let v1::MayServeReply { mut unasked, warnings } = self.wait(client.may_serve(request))?;
        unasked.extend(warnings);
        Ok(unasked)
    }

    /// Takes a backup, piece by piece.
    pub(crate) fn backup(
        &self,
        passphrase: &Secret,
        piece: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let request = v1::BackupRequest { passphrase: Some(self.seal(&SealUse::Backup, passphrase)?) };
        let client = AgentClient::new(self.channel.clone()).max_decoding_message_size(MOST_MESSAGE);
        let mut stream = self.wait({ client }.backup(request))?;
        while let Some(chunk) = self.next(&mut stream)? {
            piece(&chunk.data)?;
        }
        Ok(())
    }

    /// Gives a backup back, in pieces of at most 1 MiB.
    pub(crate) fn restore(
        &self,
        passphrase: &Secret,
        pieces: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> Result<v1::RestoreReply, Failure> {
        let sealed = v1::restore_request::Part::Passphrase(self.seal(&SealUse::Restore, passphrase)?);
        let parts = std::iter::once(sealed).chain(pieces.map(v1::restore_request::Part::Chunk));
        let upload = tokio_stream::iter(parts.map(|part| v1::RestoreRequest { part: Some(part) }));
        self.wait(AgentClient::new(self.channel.clone()).restore(upload))
    }

    pub(super) fn tokens_client(&self) -> TokensClient<tonic::transport::Channel> {
        TokensClient::new(self.channel.clone())
    }

    pub(super) fn seal(&self, purpose: &SealUse<'_>, secret: &Secret) -> Result<v1::Sealed, Failure> {
        self.seal_bytes(purpose, secret.reveal_secret_bytes())
    }

    /// As [`Self::seal`], for what lies in locked memory.
    pub(super) fn seal_bytes(&self, purpose: &SealUse<'_>, secret: &[u8]) -> Result<v1::Sealed, Failure> {
        let mut known = self.seal_key.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let mut client = AgentClient::new(self.channel.clone());
            *known = Some(self.ask(client.open_seal(v1::OpenSealRequest {}))?.public_key);
        }
        seal(known.as_deref().unwrap_or_default(), purpose, secret)
    }
}

/// Keys.
impl Agent {
    /// All keys of all tokens.
    pub(crate) fn keys(&self) -> Result<Vec<v1::Key>, Failure> {
        self.list_keys(v1::ListKeysRequest { to_sign: false })
    }

    /// The same, to choose among them: no token that hangs is waited for.
    pub(crate) fn keys_to_sign(&self) -> Result<Vec<v1::Key>, Failure> {
        self.list_keys(v1::ListKeysRequest { to_sign: true })
    }

    fn list_keys(&self, request: v1::ListKeysRequest) -> Result<Vec<v1::Key>, Failure> {
        Ok(self.ask(self.keys_client().list(request))?.keys)
    }

    /// Makes a key; an empty token is the only one there is.
    pub(crate) fn generate(
        &self,
        name: &str,
        token: &str,
        key_type: &str,
        card: Option<v1::CardOptions>,
        management: Option<&Secret>,
    ) -> Result<(v1::Key, Vec<String>), Failure> {
        let card = self.card_options(name, card, management)?;
        let request =
            v1::GenerateKeyRequest { name: name.into(), token: token.into(), r#type: key_type.into(), card };
        let reply = self.wait(self.keys_client().generate(request))?;
        Ok((reply.key.ok_or_else(incomplete)?, reply.warnings))
    }

    /// With the card's management key, sealed.
    fn card_options(
        &self,
        name: &str,
        card: Option<v1::CardOptions>,
        management: Option<&Secret>,
    ) -> Result<Option<v1::CardOptions>, Failure> {
        let Some(key) = management else { return Ok(card) };
        let management_key = Some(self.seal(&SealUse::ManagementKey(name), key)?);
        Ok(Some(v1::CardOptions { management_key, ..card.unwrap_or_default() }))
    }

    /// Brings a private key in; with what a person should know of it.
    pub(crate) fn import(
        &self,
        name: &str,
        token: &str,
        file: &Secret,
        passphrase: Option<&Secret>,
        card: Option<v1::CardOptions>,
        (management, duplicate): (Option<&Secret>, bool),
    ) -> Result<(v1::Key, Vec<String>), Failure> {
        let purpose = SealUse::Import(name);
        let request = v1::ImportKeyRequest {
            name: name.into(),
            token: token.into(),
            file: Some(self.seal(&purpose, file)?),
            passphrase: passphrase.map(|secret| self.seal(&purpose, secret)).transpose()?,
            card: self.card_options(name, card, management)?,
            duplicate,
        };
        let reply = self.wait(self.keys_client().import(request))?;
        Ok((reply.key.ok_or_else(incomplete)?, reply.warnings))
    }

    /// What the maker of a YubiKey vouches for of a key; `slow` is called when that takes a while.
    pub(crate) fn attest_key(&self, name: &str, slow: impl FnOnce()) -> Result<v1::AttestKeyReply, Failure> {
        let request = v1::AttestKeyRequest { name: name.into() };
        self.wait(async {
            let mut client = self.keys_client();
            let mut call = std::pin::pin!(client.attest(request));
            match tokio::time::timeout(A_WHILE, call.as_mut()).await {
                Ok(done) => done,
                Err(_) => {
                    slow();
                    call.await
                }
            }
        })
    }

    /// Destroys this very key; one that still serves a role only with `force`. Gives what a person should know of it.
    pub(crate) fn remove_key(
        &self,
        key: &v1::Key,
        force: bool,
        management: Option<&Secret>,
    ) -> Result<Vec<String>, Failure> {
        let card = self.card_options(&key.name, None, management)?;
        let (name, keyid, token) = (key.name.clone(), key.keyid.clone(), key.token.clone());
        self.wait(self.keys_client().remove(v1::RemoveKeyRequest { name, force, card, keyid, token }))
            .map(|reply| reply.warnings)
    }

    fn keys_client(&self) -> KeysClient<tonic::transport::Channel> {
        KeysClient::new(self.channel.clone())
    }
}

/// What the agent knows about repositories.
impl Agent {
    /// The record of this name.
    pub(crate) fn repository(&self, name: &str) -> Result<v1::Repository, Failure> {
        self.find(v1::FindRepositoryRequest { name: name.into(), root_digests: Vec::new() })
    }

    /// The record whose root chain holds one of these published roots (hex digests of their canonical `signed`).
    pub(crate) fn repository_of_roots(&self, root_digests: Vec<String>) -> Result<v1::Repository, Failure> {
        self.find(v1::FindRepositoryRequest { name: String::new(), root_digests })
    }

    fn find(&self, request: v1::FindRepositoryRequest) -> Result<v1::Repository, Failure> {
        self.ask(self.repositories_client().find(request))?.repository.ok_or_else(incomplete)
    }

    /// Makes a record.
    pub(crate) fn register(
        &self,
        request: v1::RegisterRepositoryRequest,
    ) -> Result<v1::RegisterRepositoryReply, Failure> {
        self.wait(self.repositories_client().register(request))
    }

    /// Which of these files the agent has not verified yet.
    pub(crate) fn missing(
        &self,
        name: &str,
        published: bool,
        files: Vec<v1::FileDigest>,
    ) -> Result<Vec<v1::FileDigest>, Failure> {
        let request = v1::MissingRequest { repository: name.into(), files, published };
        Ok(self.wait(self.repositories_client().missing(request))?.files)
    }

    /// Whether this is what the agent has signed last of its role, or was to sign.
    pub(crate) fn was_signed(&self, name: &str, file: v1::FileDigest) -> Result<bool, Failure> {
        let request = v1::WasSignedRequest { repository: name.into(), file: Some(file) };
        Ok(self.wait(self.repositories_client().was_signed(request))?.signed)
    }

    /// What the agent has verified of a repository, and which of the files that were read it has not.
    pub(crate) fn recall(&self, request: v1::RecallRequest) -> Result<v1::RecallReply, Failure> {
        self.wait(self.repositories_client().recall(request))
    }

    /// Gives the agent complete metadata to verify and take note of, in the order root chain, targets roles
    /// (parents first), snapshot, timestamp.
    pub(crate) fn observe(
        &self,
        name: &str,
        published: bool,
        files: Vec<WireFile>,
    ) -> Result<v1::ObserveReply, Failure> {
        self.show(v1::ObserveBegin { repository: name.into(), published, ..Default::default() }, files)
    }

    /// Adopts a repository from a whole published copy, in the same order. `acknowledge`: a person has looked at its alarms;
    /// `without`: delegated roles that they know to be lost.
    pub(crate) fn adopt(
        &self,
        registration: v1::RegisterRepositoryRequest,
        (acknowledge, without): (bool, &[String]),
        files: Vec<WireFile>,
    ) -> Result<v1::ObserveReply, Failure> {
        let begin = v1::ObserveBegin {
            repository: registration.name.clone(),
            published: true,
            adopt: true,
            acknowledge,
            registration: Some(registration),
            without: without.to_vec(),
        };
        self.show(begin, files)
    }

    fn show(&self, begin: v1::ObserveBegin, files: Vec<WireFile>) -> Result<v1::ObserveReply, Failure> {
        match self.show_once(begin.clone(), files.clone()) {
            // What it had at hand it has no more.
            Err(failure) if needs_whole(&failure, &files) => {
                self.show_once(begin, files.into_iter().map(WireFile::whole).collect())
            }
            observed => observed,
        }
    }

    fn show_once(&self, begin: v1::ObserveBegin, files: Vec<WireFile>) -> Result<v1::ObserveReply, Failure> {
        let parts = std::iter::once(observe_request::Part::Begin(begin)).chain(
            files.into_iter().flat_map(WireFile::parts).map(|part| match part {
                Part::Header(header) => observe_request::Part::File(header),
                Part::Chunk(chunk) => observe_request::Part::Chunk(chunk),
                Part::Copy(copy) => observe_request::Part::Copy(copy),
            }),
        );
        let upload = tokio_stream::iter(parts.map(|part| v1::ObserveRequest { part: Some(part) }));
        self.wait(self.repositories_client().observe(upload))
    }

    /// Changes the length for which a role's metadata is valid, days. `from` is the one that stands, as it was shown to
    /// whoever confirmed the new one.
    pub(crate) fn set_expiry(
        &self,
        name: &str,
        role: &str,
        (from_days, days): (u32, u32),
    ) -> Result<v1::Repository, Failure> {
        let request = v1::SetExpiryRequest { repository: name.into(), role: role.into(), days, from_days };
        self.ask(self.repositories_client().set_expiry(request))?.repository.ok_or_else(incomplete)
    }

    /// All repositories that the agent knows.
    pub(crate) fn repositories(&self) -> Result<Vec<v1::Repository>, Failure> {
        Ok(self.wait(self.repositories_client().list(v1::ListRepositoriesRequest {}))?.repositories)
    }

    /// The newest root that the agent signed or verified.
    pub(crate) fn newest_root(&self, name: &str) -> Result<v1::NewestRootReply, Failure> {
        self.wait(self.repositories_client().newest_root(v1::NewestRootRequest { repository: name.into() }))
    }

    /// Puts a role's watermark back; with an empty digest it only tells from where to where.
    pub(crate) fn reset_watermark(
        &self,
        name: &str,
        role: &str,
        confirmed: &str,
    ) -> Result<v1::ResetWatermarkReply, Failure> {
        let (repository, role, confirmed_sha256) = (name.into(), role.into(), confirmed.into());
        let request = v1::ResetWatermarkRequest { repository, role, confirmed_sha256 };
        self.wait(self.repositories_client().reset_watermark(request))
    }

    fn repositories_client(&self) -> RepositoriesClient<tonic::transport::Channel> {
        RepositoriesClient::new(self.channel.clone()).max_decoding_message_size(MOST_MESSAGE)
    }
}

/// The journal.
impl Agent {
    /// Entries after `after`, at most `limit` of them (0: all).
    pub(crate) fn audit(&self, after: u64, limit: u64) -> Result<AuditEntries<'_>, Failure> {
        let mut client = AuditClient::new(self.channel.clone()).max_decoding_message_size(MOST_MESSAGE);
        let stream = self.wait(client.list(v1::AuditListRequest { after, limit }))?;
        Ok(AuditEntries { agent: self, stream })
    }

    /// Checks the whole chain.
    pub(crate) fn audit_verify(&self) -> Result<v1::AuditVerifyReply, Failure> {
        self.wait(AuditClient::new(self.channel.clone()).verify(v1::AuditVerifyRequest {}))
    }
}

/// Journal entries as they arrive.
pub(crate) struct AuditEntries<'a> {
    agent: &'a Agent,
    stream: Streaming<v1::AuditEntry>,
}

impl Iterator for AuditEntries<'_> {
    type Item = Result<v1::AuditEntry, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.agent.next(&mut self.stream).transpose()
    }
}

pub(super) fn incomplete() -> Failure {
    Failure::new(reason::INTERNAL, "the agent's answer is incomplete")
        .remedy("run a tuf-agent of the same version as tufctl")
}
