//! Signing over the socket: the signed part alone, and calls under way while the agent reloads or ends.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use support::{Client, Running, header, reason};
use tuf::edit::{NewRole, NewRoles, new_root, new_snapshot, new_targets};
use tuf::key::Key;
use tuf::metadata::{Limits, Metadata, SignatureEntry};
use tuf::role::Version;
use tuf::time::UtcTime;
use tufagent_proto::v1::repositories_client::RepositoriesClient;
use tufagent_proto::v1::sign_request::Part;
use tufagent_proto::v1::{
    FileCopy, FileHeader, FindRepositoryRequest, SetExpiryRequest, SignBegin, SignSignature,
};

const PASSPHRASE: &[u8] = b"correct horse";

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn in_days(days: i64) -> UtcTime {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    UtcTime::from_unix(i64::try_from(now).unwrap() + days * 86_400)
}

fn read(bytes: Vec<u8>) -> Metadata {
    Metadata::parse(bytes, &Limits::agent()).unwrap()
}

async fn key(client: &Client, name: &str) -> Key {
    Key::from_json(client.generate(name).await.unwrap().tuf_json.as_bytes()).unwrap()
}

/// The whole file of a role of `app`, every key of it.
fn whole(role: &str) -> SignBegin {
    SignBegin { repository: "app".into(), role: role.into(), ..SignBegin::default() }
}

/// The signed part alone, by one key.
fn part_alone(key: &str) -> SignBegin {
    SignBegin { keys: vec![key.into()], signed_only: true, ..SignBegin::default() }
}

fn verifies(key: &Key, file: &Metadata, signature: &SignSignature) -> bool {
    let bytes = hex::decode(&signature.sig).unwrap();
    key.verify(&file.canonical_signed(), &bytes).is_ok()
}

/// An agent with the repository `app`, whose root 1 it has seen: the keys `root`, `targets` (one role
/// each) and `online` (snapshot and timestamp).
async fn with_app(config: &str) -> (Running, Client, Key) {
    let agent = Running::start(config).await;
    let client = agent.connect().await;
    client.unlock("file", PASSPHRASE).await.unwrap();
    let (root, targets) = (key(&client, "root").await, key(&client, "targets").await);
    let online = key(&client, "online").await;
    let of = |key: &Key| NewRole { keys: vec![key.clone()], threshold: 1 };
    let roles =
        NewRoles { root: of(&root), targets: of(&targets), snapshot: of(&online), timestamp: of(&online) };
    let file = read(new_root(version(1), in_days(300), true, &roles).unwrap());
    client.register("app").await;
    let signed = client.show(whole("root"), file.bytes()).await.unwrap().confirm().await.unwrap();
    let entry = SignatureEntry { keyid: root.computed_keyid(), sig: signed.sig };
    client.observe("app", "root", &file.with_signatures(&[entry])).await;
    (agent, client, targets)
}

#[tokio::test]
async fn the_signed_part_alone_is_signed_for_the_only_role_of_its_key() {
    let (_agent, client, targets) = with_app("").await;
    let file = read(new_targets(version(1), in_days(80)));
    let shown = client.show(part_alone("targets"), &file.canonical_signed()).await.unwrap();
    assert_eq!((shown.inspected.repository.as_str(), shown.inspected.role.as_str()), ("app", "targets"));
    assert_eq!(shown.inspected.sha256, file.digest().to_string());
    assert!(verifies(&targets, &file, &shown.confirm().await.unwrap()));
    // It counts for the watermark as a whole file does.
    let other = read(new_targets(version(1), in_days(70)));
    let refused = client.show(part_alone("targets"), &other.canonical_signed()).await.err().unwrap();
    assert_eq!(reason(&refused), "WATERMARK");
}

#[tokio::test]
async fn the_signed_part_alone_is_refused_for_a_key_with_two_roles_or_another_kind_of_role() {
    let (_agent, client, _) = with_app("").await;
    let snapshot = read(new_snapshot(version(1), in_days(6), &std::collections::BTreeMap::new()).unwrap());
    let cases = [
        (part_alone("online"), "POLICY"),
        (part_alone("targets"), "METADATA_INVALID"),
        (SignBegin { role: "snapshot".into(), ..part_alone("targets") }, "KEY_NOT_OF_ROLE"),
        (SignBegin { keys: vec![], ..part_alone("") }, "USAGE"),
        (part_alone("nobody"), "KEY_NOT_FOUND"),
    ];
    for (begin, expected) in cases {
        let shown = format!("{begin:?}");
        let refused = client.show(begin, &snapshot.canonical_signed()).await.err().unwrap();
        assert_eq!(reason(&refused), expected, "{shown}");
    }
}

#[tokio::test]
async fn a_call_under_way_ends_with_its_signature_when_a_reload_takes_its_token_away() {
    let (agent, client, targets) = with_app("").await;
    let file = read(new_targets(version(1), in_days(80)));
    let shown = client.show(whole("targets"), file.bytes()).await.unwrap();
    agent.configure("[[token]]\nname = 'keys'\nkind = 'file'");
    agent.signal("HUP");
    client.reaches("keys", "locked").await;
    assert!(verifies(&targets, &file, &shown.confirm().await.unwrap()));
}

#[tokio::test]
async fn a_lock_reaches_a_token_that_a_reload_took_away_from_a_call_under_way() {
    let (agent, client, _) = with_app("").await;
    let file = read(new_targets(version(1), in_days(80)));
    let shown = client.show(whole("targets"), file.bytes()).await.unwrap();
    agent.configure("[[token]]\nname = 'keys'\nkind = 'file'");
    agent.signal("HUP");
    client.reaches("keys", "locked").await;
    client.lock().await;
    assert_eq!(reason(&shown.confirm().await.unwrap_err()), "TOKEN_LOCKED");
}

#[tokio::test]
async fn sigterm_lets_a_call_under_way_finish_and_then_ends_it() {
    let (mut agent, client, targets) = with_app("").await;
    let file = read(new_targets(version(1), in_days(80)));
    let shown = client.show(whole("targets"), file.bytes()).await.unwrap();
    agent.signal("TERM");
    agent.says("calls under way may finish").await;
    assert!(verifies(&targets, &file, &shown.confirm().await.unwrap()));
    assert!(agent.ended().await.success());
    assert!(!agent.log().contains("cut off"), "{}", agent.log());
}

#[tokio::test]
async fn a_client_that_vanishes_before_it_confirms_gets_nothing_is_journalled_and_keeps_nobody() {
    let (agent, client, targets) = with_app("").await;
    let (gone, kept) =
        (read(new_targets(version(1), in_days(70))), read(new_targets(version(1), in_days(80))));
    let waiting = agent.connect().await;
    let shown = waiting.show(whole("targets"), gone.bytes()).await.unwrap();
    // Another client is served while the agent waits for the first one's word.
    let other = client.show(whole("targets"), kept.bytes()).await.unwrap();
    assert!(verifies(&targets, &kept, &other.confirm().await.unwrap()));
    drop((shown, waiting));
    let refused = |(kind, body): &(String, String)| kind == "refused" && body.contains("CANCELLED");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let journal = loop {
        let journal = client.journal().await;
        if journal.iter().any(refused) {
            break journal;
        }
        assert!(std::time::Instant::now() < end, "nothing is journalled of it: {journal:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let digest = gone.digest().to_string();
    let of_it = |(kind, body): &&(String, String)| kind.starts_with("sign.") && body.contains(&digest);
    assert_eq!(journal.iter().filter(of_it).count(), 0, "an intent is left: {journal:?}");
    // What it wanted is signed nowhere: its version is taken by the other, the next one is free.
    let next = read(new_targets(version(2), in_days(80)));
    let shown = client.show(whole("targets"), next.bytes()).await.unwrap();
    assert!(verifies(&targets, &next, &shown.confirm().await.unwrap()));
}

#[tokio::test]
async fn a_version_that_jumps_is_signed_only_when_a_person_said_so() {
    let (_agent, client, targets) = with_app("").await;
    let near = read(new_targets(version(16), in_days(80)));
    let shown = client.show(whole("targets"), near.bytes()).await.unwrap();
    assert!(shown.asks_a_person().is_empty());
    assert!(verifies(&targets, &near, &shown.confirm().await.unwrap()));
    let far = read(new_targets(version(17), in_days(80)));
    let shown = client.show(whole("targets"), far.bytes()).await.unwrap();
    assert_eq!(shown.asks_a_person(), ["targets jumps from version 0 to 17, more than 16 at once"]);
    assert_eq!(reason(&shown.confirm().await.unwrap_err()), "VERSION_JUMP");
    let shown = client.show(whole("targets"), far.bytes()).await.unwrap();
    assert!(verifies(&targets, &far, &shown.confirm_as(true).await.unwrap()));
    let journal = client.journal().await;
    let said = |(kind, body): &&(String, String)| kind == "sign.confirmed" && body.contains("by_person");
    assert_eq!(journal.iter().filter(said).count(), 1, "{journal:?}");
}

#[tokio::test]
async fn a_length_grows_only_with_the_one_that_stands_in_hand() {
    let (_agent, client, _) = with_app("").await;
    let set = |days, from_days| {
        let (repository, role) = ("app".to_owned(), "snapshot".to_owned());
        let request = SetExpiryRequest { repository, role, days, from_days };
        let mut repositories = RepositoriesClient::new(client.channel.clone());
        async move { repositories.set_expiry(request).await.map(drop) }
    };
    // Nothing of it was signed yet: this is its first length.
    set(30, 0).await.unwrap();
    for from in [0, 7, 31] {
        assert_eq!(reason(&set(400, from).await.unwrap_err()), "CONFIRMATION_MISSING", "from {from}");
    }
    set(400, 30).await.unwrap();
    set(5, 0).await.unwrap();
    let journal = client.journal().await;
    let changes = journal.iter().filter(|(kind, _)| kind == "repository.expiry").count();
    assert_eq!(changes, 3, "{journal:?}");
}

/// Targets metadata of more than a mebibyte, most of which is one member that nobody knows.
fn large(number: u64) -> Vec<u8> {
    let small = String::from_utf8(new_targets(version(number), in_days(80))).unwrap();
    let padding = format!("\"x-large\": \"{}\",", "0123456789abcdef".repeat(70_000));
    small.replacen("\"_type\"", &format!("{padding} \"_type\""), 1).into_bytes()
}

#[tokio::test]
async fn of_a_large_file_that_the_agent_has_verified_only_what_is_new_need_come() {
    let (_agent, client, targets) = with_app("").await;
    let first = read(large(1));
    let copy = |offset, length| Part::Copy(FileCopy { offset, length });
    let based = |file: &[u8], sha256: String| FileHeader { base_sha256: sha256, ..header("targets", file) };
    let kept = async || {
        let mut repositories = RepositoriesClient::new(client.channel.clone());
        let request = FindRepositoryRequest { name: "app".into(), ..Default::default() };
        repositories.find(request).await.unwrap().into_inner().repository.unwrap().kept
    };
    // What was signed and not verified yet is no base, nor what nobody has seen.
    let signed = client.show(whole("targets"), first.bytes()).await.unwrap().confirm().await.unwrap();
    assert_eq!(kept().await, []);
    for sha256 in [first.file_digest().to_string(), "0".repeat(64)] {
        let refused =
            client.show_as(whole("targets"), based(first.bytes(), sha256), vec![]).await.err().unwrap();
        assert_eq!(reason(&refused), "BASE_UNKNOWN");
    }
    let entry = SignatureEntry { keyid: targets.computed_keyid(), sig: signed.sig };
    let published = read(first.with_signatures(&[entry]));
    client.observe("app", "targets", published.bytes()).await;
    let [only] = kept().await.try_into().unwrap();
    assert_eq!((only.role.as_str(), only.version), ("targets", 1));
    assert_eq!(
        (&only.sha256, &only.file_sha256),
        (&first.digest().to_string(), &published.file_digest().to_string())
    );

    let next = read(large(2));
    let all: &[u8] = next.bytes();
    let middle = published.bytes().windows(100).position(|window| window == &all[100_000..100_100]).unwrap();
    let pieces = || {
        vec![
            Part::Chunk(all[..100_000].to_vec()),
            copy(u64::try_from(middle).unwrap(), 1_000_000),
            Part::Chunk(all[1_100_000..].to_vec()),
        ]
    };
    let base = || based(all, only.file_sha256.clone());
    let shown = client.show_as(whole("targets"), base(), pieces()).await.unwrap();
    // What it makes of the pieces is what it signs.
    assert_eq!(shown.inspected.sha256, next.digest().to_string());
    assert!(verifies(&targets, &next, &shown.confirm().await.unwrap()));

    let far = copy(u64::try_from(published.bytes().len()).unwrap(), 1);
    for (header, content) in [
        (header("targets", all), vec![copy(0, 1)]),
        (base(), vec![far]),
        (base(), vec![copy(u64::MAX, 2)]),
        (based(all, "no digest".into()), vec![]),
    ] {
        let refused = client.show_as(whole("targets"), header, content).await.err().unwrap();
        assert_eq!(reason(&refused), "USAGE", "{refused:?}");
    }
    let bomb = FileHeader { size: (64 << 20) - 1, ..base() };
    let again = (0..64).map(|_| copy(0, 1 << 20)).collect();
    let refused = client.show_as(whole("targets"), bomb, again).await.err().unwrap();
    assert_eq!(reason(&refused), "USAGE", "what copies make is bounded as what is sent");
}
