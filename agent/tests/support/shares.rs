//! A client's end of split keys.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, Serializable as _, single_shot_open};
use tonic::Status;
use tufagent_proto::v1::custodian::How;
use tufagent_proto::v1::handed_share::Share as Handed;
use tufagent_proto::v1::shares_client::SharesClient;
use tufagent_proto::v1::*;

use tuf::edit::{NewRole, NewRoles, new_root};
use tuf::metadata::{Limits, Metadata};
use tuf::role::Version;
use tuf::time::UtcTime;
use tufagent_proto::v1::sign_event::Event;

use super::{Client, Running, Shown, seal_to};

pub const CONFIG: &str = "[[token]]\nname = 'people'\nkind = 'shares'\n";
pub const NAMES: [&str; 3] = ["ann", "ben", "cy"];

/// A set, with the words of its shares in the order of the custodians.
pub struct Made {
    pub key: Key,
    pub set: ShareSet,
    pub words: Vec<(String, String)>,
    pub warnings: Vec<String>,
}

impl Made {
    pub fn words_of(&self, custodian: &str) -> &str {
        &self.words.iter().find(|(name, _)| name == custodian).unwrap().1
    }
}

/// The key of one call.
pub struct Reply(<X25519HkdfSha256 as hpke::Kem>::PrivateKey, pub Vec<u8>);

impl Reply {
    pub fn new() -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        Self(private, public.to_bytes().to_vec())
    }

    pub fn open(&self, reply: SplitReply) -> Made {
        let set = reply.set.unwrap();
        let words = reply.shares.into_iter().map(|share| {
            let Some(Handed::Words(sealed)) = share.share else { panic!("no words") };
            let encapped =
                <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated_key).unwrap();
            let words = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &self.0,
                &encapped,
                b"tuf-agent seal v1",
                &sealed.ciphertext,
                format!("share:{}:{}", set.sha256, share.custodian).as_bytes(),
            );
            (share.custodian, String::from_utf8(words.unwrap()).unwrap())
        });
        Made { words: words.collect(), key: reply.key.unwrap(), set, warnings: reply.warnings }
    }
}

/// M of these, as words.
pub fn terms(threshold: u32, names: &[&str], reply: &Reply) -> SplitTerms {
    let custodians =
        names.iter().map(|name| Custodian { name: (*name).into(), how: Some(How::Words(true)) }).collect();
    let group = ShareGroup { name: "shares".into(), threshold, custodians };
    SplitTerms { groups: vec![group], group_threshold: 1, allow_weak: false, reply_key: reply.1.clone() }
}

pub fn new_key(name: &str, kind: &str) -> split_request::Of {
    split_request::Of::NewKey(NewSplitKey { name: name.into(), r#type: kind.into() })
}

impl Client {
    pub fn shares(&self) -> SharesClient<tonic::transport::Channel> {
        SharesClient::new(self.channel.clone())
    }

    pub async fn split(&self, of: split_request::Of, threshold: u32, names: &[&str]) -> Result<Made, Status> {
        let reply = Reply::new();
        let request =
            SplitRequest { of: Some(of), terms: Some(terms(threshold, names, &reply)), ..Default::default() };
        Ok(reply.open(self.shares().split(request).await?.into_inner()))
    }

    pub async fn prove(&self, set: &str, words: &str) -> Result<ConfirmShareReply, Status> {
        let share = self.seal(words.as_bytes(), &format!("confirm:{set}")).await;
        let request = ConfirmShareRequest { set_sha256: set.into(), share: Some(share) };
        Ok(self.shares().confirm(request).await?.into_inner())
    }

    pub async fn prove_all(&self, made: &Made) {
        for (_, words) in &made.words {
            self.prove(&made.set.sha256, words).await.unwrap();
        }
    }

    pub async fn sets(&self) -> Vec<ShareSet> {
        self.shares().list(ListSetsRequest {}).await.unwrap().into_inner().sets
    }

    pub async fn collections(&self) -> Vec<Collection> {
        self.shares().collections(CollectionsRequest {}).await.unwrap().into_inner().collections
    }

    pub async fn give(&self, to: &Collection, words: &str) -> Result<GiveShareReply, Status> {
        let aad = format!("collect:{}:{}", to.id, tuf::digest::Sha256Digest::of(&to.bound()));
        self.give_sealed(&to.id, seal_to(&to.public_key, words.as_bytes(), &aad)).await
    }

    pub async fn give_sealed(&self, collection: &str, share: Sealed) -> Result<GiveShareReply, Status> {
        let request = GiveShareRequest { collection: collection.into(), share: Some(share), wait: false };
        Ok(self.shares().give(request).await?.into_inner())
    }

    /// A rehearsal with these shares.
    pub async fn drill(&self, set: &str, words: &[&str]) -> Result<DrillReport, Status> {
        let mut events =
            self.shares().drill(DrillRequest { set_sha256: set.into(), shares: 0 }).await?.into_inner();
        let mut words = words.iter();
        loop {
            match events.message().await?.unwrap().event.unwrap() {
                drill_event::Event::Report(report) => return Ok(report),
                drill_event::Event::Collecting(collection) if collection.have < collection.need => {
                    self.give(&collection, words.next().unwrap()).await?;
                }
                drill_event::Event::Collecting(_) => {}
            }
        }
    }

    /// Another set of the same key, from these shares of the old one.
    pub async fn resplit(
        &self,
        old: &str,
        words: &[&str],
        threshold: u32,
        names: &[&str],
    ) -> Result<Made, Status> {
        let reply = Reply::new();
        let terms = Some(terms(threshold, names, &reply));
        let request = ResplitRequest { set_sha256: old.into(), terms };
        let mut events = self.shares().resplit(request).await?.into_inner();
        let mut words = words.iter();
        loop {
            match events.message().await?.unwrap().event.unwrap() {
                resplit_event::Event::Made(made) => return Ok(reply.open(made)),
                resplit_event::Event::Collecting(collection) if collection.have < collection.need => {
                    self.give(&collection, words.next().unwrap()).await?;
                }
                resplit_event::Event::Collecting(_) => {}
            }
        }
    }

    /// Signs with a key that lies whole in the file store.
    pub async fn sign_whole(&self, file: &Metadata) -> Result<SignSignature, Status> {
        let begin = SignBegin { collects: false, ..root() };
        self.show(begin, file.bytes()).await?.confirm().await
    }

    pub async fn end_resplit(&self, set: &str, commit: bool) -> Result<EndResplitReply, Status> {
        let request = EndResplitRequest { set_sha256: set.into(), commit };
        Ok(self.shares().end_resplit(request).await?.into_inner())
    }
}

pub fn root_of(key: &tuf::key::Key, days: i64) -> Metadata {
    let role = || NewRole { keys: vec![key.clone()], threshold: 1 };
    let roles = NewRoles { root: role(), targets: role(), snapshot: role(), timestamp: role() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let expires = UtcTime::from_unix(i64::try_from(now).unwrap() + days * 86_400);
    let bytes = new_root(Version::new(1).unwrap(), expires, true, &roles).unwrap();
    Metadata::parse(bytes, &Limits::agent()).unwrap()
}

pub fn tuf(key: &tufagent_proto::v1::Key) -> tuf::key::Key {
    tuf::key::Key::from_json(key.tuf_json.as_bytes()).unwrap()
}

pub fn root() -> SignBegin {
    SignBegin { repository: "app".into(), role: "root".into(), collects: true, ..SignBegin::default() }
}

pub async fn agent() -> (Running, Client) {
    let agent = Running::start(CONFIG).await;
    let client = agent.connect().await;
    (agent, client)
}

/// A proven 2-of-3 key in a repository `app`, and its root to be signed.
pub async fn proven(client: &Client, kind: &str) -> (Made, Metadata) {
    let made = client.split(new_key("root-s", kind), 2, &NAMES).await.unwrap();
    client.prove_all(&made).await;
    client.register("app").await;
    let file = root_of(&tuf(&made.key), 300);
    (made, file)
}

/// Confirms, and waits until the collection is open.
pub async fn opened(client: &Client, file: &Metadata) -> (Shown, Collection) {
    let mut shown = client.show(root(), file.bytes()).await.unwrap();
    shown.say_yes().await;
    let Some(Event::Collect(SignCollect { collection: Some(collection) })) = shown.event().await.unwrap()
    else {
        panic!("no collection")
    };
    (shown, collection)
}

/// The signature that comes once enough shares were given.
pub async fn signature(shown: &mut Shown) -> SignSignature {
    loop {
        match shown.event().await.unwrap() {
            Some(Event::Signature(signature)) => return signature,
            Some(_) => {}
            None => panic!("no signature"),
        }
    }
}

pub async fn refusal(shown: &mut Shown) -> tonic::Status {
    loop {
        match shown.event().await {
            Ok(Some(Event::Collect(_) | Event::Skipped(_))) => {}
            Ok(other) => panic!("{other:?}"),
            Err(status) => return status,
        }
    }
}

pub fn details(status: &tonic::Status) -> serde_json::Value {
    let info = <ErrorInfo as prost::Message>::decode(status.details()).unwrap();
    serde_json::from_str(&info.details_json).unwrap()
}
