//! Who may have a key split, for whom, and what people are told of it first.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use support::shares::{CONFIG, NAMES, Reply, new_key, opened, proven, root, root_of, signature, terms, tuf};
use support::{Client, Running, reason};
use tuf::digest::Sha256Digest;
use tuf::metadata::SignatureEntry;
use tufagent_proto::v1::custodian::How;
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::resplit_event::Event as ResplitSays;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::split_request::Of;
use tufagent_proto::v1::{
    Collection, GenerateKeyRequest, ResplitRequest, SignBegin, SignCollect, SplitRequest, SplitTerms,
};

/// A pinentry that answers as its file `mode` says, and keeps what it was told.
struct Pinentry(tempfile::TempDir);

impl Pinentry {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let double = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/doubles/pinentry.sh");
        let program = folder.path().join("pinentry");
        std::fs::copy(double, &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn config(&self, tokens: &str) -> String {
        let program = self.0.path().join("pinentry").display().to_string();
        format!("pinentry = {program:?}\n{tokens}")
    }

    fn answer(&self, mode: &str) {
        std::fs::write(self.0.path().join("mode"), mode).unwrap();
        let _ = std::fs::remove_file(self.0.path().join("log"));
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.0.path().join("log")).unwrap_or_default()
    }

    fn dialogues(&self) -> usize {
        self.told().matches("CONFIRM").count()
    }
}

async fn with_key(agent: &Running) -> Client {
    let client = agent.connect().await;
    client.unlock("file", b"correct horse").await.unwrap();
    let request = GenerateKeyRequest {
        name: "online".into(),
        token: "file".into(),
        r#type: "ed25519".into(),
        ..Default::default()
    };
    KeysClient::new(client.channel.clone()).generate(request).await.unwrap();
    client
}

#[tokio::test]
async fn a_whole_key_is_split_only_when_the_person_whom_its_token_asks_has_seen_to_whom_each_share_goes() {
    let pinentry = Pinentry::new();
    let file = "[[token]]\nname = 'file'\nkind = 'file'\nconfirm = 'pinentry'\n";
    let agent = Running::start(&pinentry.config(&format!("{file}{CONFIG}"))).await;
    let client = with_key(&agent).await;
    pinentry.answer("no");
    let refused = client.split(Of::Key("online".into()), 2, &NAMES).await.err().unwrap();
    assert_eq!(reason(&refused), "CONFIRMATION_MISSING");
    assert!(client.sets().await.is_empty());
    assert!(!client.journal().await.iter().any(|(kind, _)| kind.starts_with("share.")));
    pinentry.answer("yes");
    client.split(Of::Key("online".into()), 2, &NAMES).await.unwrap();
    let told = pinentry.told();
    assert_eq!(pinentry.dialogues(), 1, "{told}");
    for text in ["Split the key online", "2 of 3 shares", "ben: in words, to the caller"] {
        assert!(told.contains(text), "{text}: {told}");
    }
    // Nobody is asked by a token that is not configured so; many custodians take several dialogues, none cut off.
    pinentry.answer("yes");
    client.split(new_key("other", "ed25519"), 2, &NAMES).await.unwrap();
    assert_eq!(pinentry.dialogues(), 0);
}

#[tokio::test]
async fn a_person_is_shown_all_custodians_of_a_large_set() {
    let pinentry = Pinentry::new();
    let people = "[[token]]\nname = 'people'\nkind = 'shares'\nconfirm = 'pinentry'\n";
    let agent = Running::start(&pinentry.config(people)).await;
    let client = agent.connect().await;
    pinentry.answer("yes");
    let names: Vec<String> = (0..16).map(|at| format!("{at:02}-{}", "n".repeat(60))).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    client.split(new_key("root-s", "ed25519"), 9, &all).await.unwrap();
    let told = pinentry.told();
    assert!(pinentry.dialogues() > 1, "{told}");
    assert!(all.iter().all(|name| told.contains(name)), "{told}");
}

const AGE: &str = "age1w56rtxng32mmzc4rljcrw69q9kkaygytayzg905p8q3sl6xwva3q7c6epw";

/// What the custodians of the old set are told of these terms.
async fn told(client: &Client, set: &str, terms: SplitTerms) -> Collection {
    let request = ResplitRequest { set_sha256: set.into(), terms: Some(terms) };
    let mut events = client.shares().resplit(request).await.unwrap().into_inner();
    match events.message().await.unwrap().unwrap().event.unwrap() {
        ResplitSays::Collecting(collection) => collection,
        ResplitSays::Made(_) => panic!("nobody gave a share"),
    }
}

#[tokio::test]
async fn shares_are_given_for_a_new_set_with_its_recipients_and_its_weaknesses() {
    let agent = Running::start(CONFIG).await;
    let client = agent.connect().await;
    let (made, _) = proven(&client, "ed25519").await;
    let set = made.set.sha256.as_str();
    let reply = Reply::new();
    let plain = told(&client, set, terms(2, &["dan", "eve", "fay"], &reply)).await;
    let mut wanted = terms(2, &["dan", "eve", "fay"], &reply);
    wanted.groups[0].custodians[1].how = Some(How::AgeRecipient(AGE.into()));
    let other = told(&client, set, wanted).await;
    // The same names and numbers; to whom the shares go is another content.
    assert_ne!(plain.sha256, other.sha256);
    assert_eq!(Sha256Digest::of(other.terms_json.as_bytes()).to_string(), other.sha256);
    let said: serde_json::Value = serde_json::from_str(&other.terms_json).unwrap();
    let group = &said["terms"]["groups"][0];
    assert_eq!(group["custodians"], serde_json::json!(["dan", "eve", "fay"]));
    assert_eq!(group["how"], serde_json::json!(["words", AGE, "words"]));
    assert_eq!(said["terms"]["weaknesses"], serde_json::json!([]));
    let weak = SplitTerms { allow_weak: true, ..terms(3, &["dan", "eve", "fay"], &reply) };
    let weak = told(&client, set, weak).await;
    let said: serde_json::Value = serde_json::from_str(&weak.terms_json).unwrap();
    assert_eq!(said["terms"]["weaknesses"], serde_json::json!(["none-may-be-lost"]));
}

#[tokio::test]
async fn the_journal_keeps_to_which_recipient_each_share_has_gone() {
    let agent = Running::start(CONFIG).await;
    let client = with_key(&agent).await;
    let reply = Reply::new();
    let mut wanted = terms(2, &NAMES, &reply);
    wanted.groups[0].custodians[1].how = Some(How::AgeRecipient(AGE.into()));
    let request =
        SplitRequest { of: Some(Of::Key("online".into())), terms: Some(wanted), ..Default::default() };
    client.shares().split(request).await.unwrap();
    let journal = client.journal().await;
    let (_, entry) = journal.iter().find(|(kind, _)| kind == "share.split").unwrap();
    assert!(entry.contains(AGE), "{entry}");
}

#[tokio::test]
async fn custodians_are_told_what_is_unusual_and_which_repository_it_is() {
    let agent = Running::start(CONFIG).await;
    let client = agent.connect().await;
    let (made, file) = proven(&client, "ed25519").await;
    let (mut shown, first) = opened(&client, &file).await;
    assert_eq!((first.warnings.as_slice(), first.root_sha256.as_str()), (&[][..], ""));
    for name in ["ann", "ben"] {
        client.give(&first, made.words_of(name)).await.unwrap();
    }
    signature(&mut shown).await;
    // Another root of this version, in its place.
    let other = root_of(&tuf(&made.key), 200);
    let begin = SignBegin { supersede: file.digest().to_string(), ..root() };
    let mut shown = client.show(begin, other.bytes()).await.unwrap();
    shown.say_yes_as(true).await;
    let Some(Event::Collect(SignCollect { collection: Some(second) })) = shown.event().await.unwrap() else {
        panic!("no collection")
    };
    let warned =
        |to: &Collection| to.warnings.iter().any(|one| one.contains("takes the place of other content"));
    assert!(warned(&second), "{:?}", second.warnings);
    // Whoever was not shown the warning seals for something else.
    let silent = Collection { warnings: Vec::new(), ..second.clone() };
    assert_eq!(reason(&client.give(&silent, made.words_of("ann")).await.unwrap_err()), "USAGE");
    client.give(&second, made.words_of("ann")).await.unwrap();
    client.give(&second, made.words_of("cy")).await.unwrap();
    let signed = signature(&mut shown).await;
    let entry = SignatureEntry { keyid: tuf(&made.key).computed_keyid(), sig: signed.sig };
    client.observe("app", "root", &other.with_signatures(&[entry])).await;
    // The same content once more, now that it is trusted.
    let (_shown, third) = opened(&client, &other).await;
    assert_eq!((third.root_version, third.root_sha256), (1, other.digest().to_string()));
}
