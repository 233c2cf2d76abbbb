//! Several signatures on one call, and how such a call ends.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::time::{Duration, Instant};

use support::{Client, Running, header, reason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tuf::edit::{NewRole, NewRoles, new_root, new_targets};
use tuf::key::Key;
use tuf::metadata::{Limits, Metadata, SignatureEntry};
use tuf::role::Version;
use tuf::time::UtcTime;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_request::Part;
use tufagent_proto::v1::signing_client::SigningClient;
use tufagent_proto::v1::{SignBegin, SignConfirm, SignEvent, SignRequest};

fn in_days(days: i64) -> UtcTime {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    UtcTime::from_unix(i64::try_from(now).unwrap() + days * 86_400)
}

fn read(bytes: Vec<u8>) -> Metadata {
    Metadata::parse(bytes, &Limits::agent()).unwrap()
}

fn targets(number: u64) -> Metadata {
    read(new_targets(Version::new(number).unwrap(), in_days(80)))
}

/// An agent with the repository `app`, whose root 1 it has seen, signed by one key for all roles.
async fn with_app() -> (Running, Client, Key) {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    client.unlock("file", b"correct horse").await.unwrap();
    let key = Key::from_json(client.generate("all").await.unwrap().tuf_json.as_bytes()).unwrap();
    let of = || NewRole { keys: vec![key.clone()], threshold: 1 };
    let roles = NewRoles { root: of(), targets: of(), snapshot: of(), timestamp: of() };
    let file = read(new_root(Version::new(1).unwrap(), in_days(300), true, &roles).unwrap());
    client.register("app").await;
    let begin = SignBegin { repository: "app".into(), role: "root".into(), ..SignBegin::default() };
    let signed = client.show(begin, file.bytes()).await.unwrap().confirm().await.unwrap();
    let entry = SignatureEntry { keyid: key.computed_keyid(), sig: signed.sig };
    client.observe("app", "root", &file.with_signatures(&[entry])).await;
    (agent, client, key)
}

/// A call that goes on after a signature.
struct Call {
    parts: mpsc::Sender<SignRequest>,
    events: Streaming<SignEvent>,
}

impl Call {
    async fn open(client: &Client) -> Self {
        let (parts, requests) = mpsc::channel(80);
        let stream = ReceiverStream::new(requests);
        let events = SigningClient::new(client.channel.clone()).sign(stream).await.unwrap().into_inner();
        Self { parts, events }
    }

    async fn send(&self, part: Part) {
        // Where the call has ended its events say why.
        let _ = self.parts.send(SignRequest { part: Some(part) }).await;
    }

    /// The next event; none when the agent has ended the call well.
    async fn next(&mut self) -> Result<Option<Event>, Status> {
        Ok(self.events.message().await?.map(|event| event.event.unwrap()))
    }

    /// Asks for a signature, confirmed with the file.
    async fn ask(&self, file: &Metadata, more: bool) {
        let (repository, role) = ("app".to_owned(), "targets".to_owned());
        self.send(Part::Begin(SignBegin { repository, role, more, ..SignBegin::default() })).await;
        self.send(Part::File(header("targets", file.bytes()))).await;
        self.send(Part::Chunk(file.bytes().to_vec())).await;
        self.send(Part::Confirm(SignConfirm { sha256: file.digest().to_string(), person: false })).await;
    }

    /// What comes of it: the signature, and whether the call goes on.
    async fn signed(&mut self, by: &Key, file: &Metadata) -> Result<bool, Status> {
        let Some(Event::Inspected(shown)) = self.next().await? else { panic!("not shown") };
        assert_eq!(shown.sha256, file.digest().to_string());
        let Some(Event::Signature(made)) = self.next().await? else { panic!("not signed") };
        by.verify(&file.canonical_signed(), &hex::decode(made.sig).unwrap()).unwrap();
        match self.next().await? {
            Some(Event::Done(_)) => Ok(true),
            None => Ok(false),
            other => panic!("out of turn: {other:?}"),
        }
    }
}

async fn refusals(client: &Client) -> usize {
    client.journal().await.iter().filter(|(kind, _)| kind == "refused").count()
}

#[tokio::test]
async fn one_call_gives_signature_after_signature_and_ends_when_the_client_closes_its_side() {
    let (_agent, client, key) = with_app().await;
    let mut call = Call::open(&client).await;
    for number in 1..=5 {
        call.ask(&targets(number), true).await;
        assert!(call.signed(&key, &targets(number)).await.unwrap());
    }
    let Call { parts, mut events } = call;
    drop(parts);
    assert!(events.message().await.unwrap().is_none());
    // The last one says itself that it is that.
    let mut call = Call::open(&client).await;
    for (number, more) in [(6, true), (7, false)] {
        call.ask(&targets(number), more).await;
        assert_eq!(call.signed(&key, &targets(number)).await.unwrap(), more);
    }
    let journal = client.journal().await;
    let kinds = |wanted: &str| journal.iter().filter(|(kind, _)| kind == wanted).count();
    // Root's and these: each has its intent.
    assert_eq!((kinds("sign.intent"), kinds("refused")), (8, 0), "{journal:?}");
}

#[tokio::test]
async fn a_refusal_ends_the_call_and_what_came_before_stays() {
    let (_agent, client, key) = with_app().await;
    let mut call = Call::open(&client).await;
    call.ask(&targets(1), true).await;
    assert!(call.signed(&key, &targets(1)).await.unwrap());
    // The version is taken by another content.
    let other = read(new_targets(Version::new(1).unwrap(), in_days(70)));
    call.ask(&other, true).await;
    assert_eq!(reason(&call.next().await.unwrap_err()), "WATERMARK");
    let mut call = Call::open(&client).await;
    call.ask(&targets(1), true).await;
    assert!(call.signed(&key, &targets(1)).await.unwrap());
    // Anything but the next Begin.
    call.send(Part::Confirm(SignConfirm::default())).await;
    assert_eq!(reason(&call.next().await.unwrap_err()), "USAGE");
}

#[tokio::test]
async fn a_client_that_goes_away_between_two_requests_was_refused_nothing() {
    let (agent, client, key) = with_app().await;
    let leaving = agent.connect().await;
    let mut call = Call::open(&leaving).await;
    call.ask(&targets(1), true).await;
    assert!(call.signed(&key, &targets(1)).await.unwrap());
    let before = refusals(&client).await;
    drop((call, leaving));
    // The agent has noticed by the time that it has signed for another one, and once more.
    for number in 2..=3 {
        let mut call = Call::open(&client).await;
        call.ask(&targets(number), false).await;
        assert!(!call.signed(&key, &targets(number)).await.unwrap());
    }
    assert_eq!(refusals(&client).await, before);
}

#[tokio::test]
async fn sigterm_ends_a_call_on_which_nothing_is_asked_and_waits_for_none() {
    let (mut agent, client, key) = with_app().await;
    let mut call = Call::open(&client).await;
    call.ask(&targets(1), true).await;
    assert!(call.signed(&key, &targets(1)).await.unwrap());
    agent.signal("TERM");
    assert!(call.next().await.unwrap().is_none());
    drop((call, client));
    assert!(agent.ended().await.success());
    assert!(!agent.log().contains("cut off"), "{}", agent.log());
}

#[tokio::test]
async fn a_call_on_which_nothing_is_asked_for_30_seconds_ends_without_an_error() {
    let (_agent, client, key) = with_app().await;
    let mut call = Call::open(&client).await;
    call.ask(&targets(1), true).await;
    assert!(call.signed(&key, &targets(1)).await.unwrap());
    let began = Instant::now();
    assert!(call.next().await.unwrap().is_none());
    assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
}
