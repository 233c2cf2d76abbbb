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

use super::{Client, seal_to};

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
        let aad = format!("collect:{}:{}", to.id, to.sha256);
        self.give_sealed(&to.id, seal_to(&to.public_key, words.as_bytes(), &aad)).await
    }

    pub async fn give_sealed(&self, collection: &str, share: Sealed) -> Result<GiveShareReply, Status> {
        let request = GiveShareRequest { collection: collection.into(), share: Some(share) };
        Ok(self.shares().give(request).await?.into_inner())
    }

    pub async fn end_resplit(&self, set: &str, commit: bool) -> Result<EndResplitReply, Status> {
        let request = EndResplitRequest { set_sha256: set.into(), commit };
        Ok(self.shares().end_resplit(request).await?.into_inner())
    }
}
