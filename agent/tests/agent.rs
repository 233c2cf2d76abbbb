//! The running agent, spoken to over its socket.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use support::{Running, reason, write};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tufagent_proto::v1::sign_request::Part;
use tufagent_proto::v1::{FileHeader, SignBegin, SignConfirm, UnlockTokenRequest};

const PASSPHRASE: &[u8] = b"correct horse";

#[tokio::test]
async fn it_says_that_it_serves() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    let reply = HealthClient::new(client.channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(reply.into_inner().status, 1);
}

#[tokio::test]
async fn a_secret_sealed_to_another_connection_or_token_is_refused() {
    let agent = Running::start("").await;
    let (first, second) = (agent.connect().await, agent.connect().await);
    let sealed = first.seal(PASSPHRASE, "unlock:file").await;
    let request =
        UnlockTokenRequest { name: "file".into(), secret: Some(sealed), ..UnlockTokenRequest::default() };
    second.seal(b"x", "x").await;
    assert_eq!(reason(&second.unlock_with(request.clone()).await.unwrap_err()), "USAGE");
    let sealed = first.seal(PASSPHRASE, "unlock:other").await;
    let for_other = UnlockTokenRequest { secret: Some(sealed), ..request.clone() };
    assert_eq!(reason(&first.unlock_with(for_other).await.unwrap_err()), "USAGE");
    assert_eq!(first.unlock_with(request).await.unwrap().state, "unlocked");
}

#[tokio::test]
async fn a_last_try_without_what_a_person_was_shown_is_nobodys_word() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    let secret = Some(client.seal(PASSPHRASE, "unlock:file").await);
    let request =
        UnlockTokenRequest { name: "file".into(), secret, last_try: true, ..UnlockTokenRequest::default() };
    assert_eq!(reason(&client.unlock_with(request).await.unwrap_err()), "CONFIRMATION_MISSING");
    assert_eq!(client.state("file").await, "locked");
}

#[tokio::test]
async fn an_unlock_ends_by_itself_and_a_wrong_passphrase_is_said() {
    let agent = Running::start("[[token]]\nname = 'keys'\nkind = 'file'\nunlock_for = '1s'").await;
    let client = agent.connect().await;
    client.unlock("keys", PASSPHRASE).await.unwrap();
    client.reaches("keys", "locked").await;
    assert_eq!(reason(&client.generate("a").await.unwrap_err()), "TOKEN_LOCKED");
    assert_eq!(reason(&client.unlock("keys", b"wrong").await.unwrap_err()), "PIN_INCORRECT");
}

#[tokio::test]
async fn a_passphrase_from_a_file_unlocks_at_start_and_lock_holds_until_unlock() {
    let secrets = tempfile::tempdir().unwrap();
    let pin = secrets.path().join("pin");
    write(&pin, "correct horse\n", 0o600);
    let config = format!("[[token]]\nname = 'file'\nkind = 'file'\npin = {{ file = '{}' }}", pin.display());
    let agent = Running::start(&config).await;
    let client = agent.connect().await;
    client.reaches("file", "unlocked").await;
    client.lock().await;
    assert_eq!(reason(&client.generate("a").await.unwrap_err()), "TOKEN_LOCKED");
    let request = UnlockTokenRequest { name: "file".into(), secret: None, ..UnlockTokenRequest::default() };
    assert_eq!(client.unlock_with(request.clone()).await.unwrap().locks_in_seconds, None);
    client.generate("a").await.unwrap();
    client.lock().await;
    write(&pin, "correct horse\n", 0o644);
    assert_eq!(reason(&client.unlock_with(request).await.unwrap_err()), "SECRET_FILE");
    assert!(!agent.log().contains("correct horse"));
}

#[tokio::test]
async fn a_reload_is_whole_or_not_at_all_and_tokens_keep_their_state() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    client.unlock("file", PASSPHRASE).await.unwrap();
    agent.configure("[[token]]\nname = 'file'\nkind = 'pkcs12'");
    agent.signal("HUP");
    agent.says("the old one stays").await;
    assert_eq!(client.state("file").await, "unlocked");
    agent.configure("# nothing new\n");
    agent.signal("HUP");
    agent.says("configuration reloaded").await;
    assert_eq!(client.state("file").await, "unlocked");
    agent.configure("[[token]]\nname = 'keys'\nkind = 'file'");
    agent.signal("HUP");
    client.reaches("keys", "locked").await;
    assert_eq!(client.state("file").await, "none");
}

#[tokio::test]
async fn names_of_keys_are_one_name_space_and_follow_the_rules() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    client.unlock("file", PASSPHRASE).await.unwrap();
    let key = client.generate("online").await.unwrap();
    let parsed = tuf::key::Key::from_json(key.tuf_json.as_bytes()).unwrap();
    assert_eq!(parsed.computed_keyid().to_string(), key.keyid);
    assert_eq!(reason(&client.generate("online").await.unwrap_err()), "NAME_TAKEN");
    assert_eq!(reason(&client.generate("a.json").await.unwrap_err()), "NAME_INVALID");
}

#[tokio::test]
async fn sign_wants_its_parts_in_order_and_within_limits() {
    let agent = Running::start("").await;
    let client = agent.connect().await;
    let begin = || {
        Part::Begin(SignBegin { repository: "app".into(), role: "targets".into(), ..SignBegin::default() })
    };
    let file = |size| Part::File(FileHeader { role: "targets".into(), size, ..FileHeader::default() });
    let cases = [
        (vec![file(1)], "USAGE"),
        (vec![begin(), Part::Confirm(SignConfirm::default())], "USAGE"),
        (vec![begin(), Part::Chunk(vec![1])], "USAGE"),
        (vec![begin(), file(1 << 40)], "LIMIT"),
        (vec![begin(), file(3), Part::Chunk(b"{}}}".to_vec())], "USAGE"),
        (vec![begin(), file(2), Part::Chunk(b"{}".to_vec())], "METADATA_INVALID"),
        (vec![begin(), file(2)], "CANCELLED"),
    ];
    for (parts, expected) in cases {
        let shown = format!("{parts:?}");
        assert_eq!(reason(&client.sign(parts).await.unwrap_err()), expected, "{shown}");
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_http_2_is_dropped_and_others_are_served() {
    let agent = Running::start("").await;
    let mut stranger = UnixStream::connect(agent.socket()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Closed or reset: either way the read ends.
    let ended = tokio::task::spawn_blocking(move || stranger.read_to_end(&mut Vec::new()).is_ok());
    ended.await.unwrap();
    assert_eq!(agent.connect().await.state("file").await, "locked");
}

#[tokio::test]
async fn sigterm_ends_it_and_takes_the_socket_along() {
    let mut agent = Running::start("").await;
    let _idle = agent.connect().await;
    agent.signal("TERM");
    assert!(agent.ended().await.success());
    assert!(!agent.socket().exists());
}
