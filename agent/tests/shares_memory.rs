//! What of a split key can be found in the memory of the agent: nothing, once it was split and once it has signed.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "what was not looked at is said")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

#[path = "../../tests/src/memory.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod memory;

use base64ct::{Base64, Encoding as _};
use memory::Patterns;
use sha2::Digest as _;
use support::shares::{Made, NAMES, Reply, agent, opened, root_of, signature, terms, tuf};
use support::{Client, Running};
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::split_request::Of;
use tufagent_proto::v1::{ImportKeyRequest, SplitRequest};

const PASSPHRASE: &[u8] = b"correct horse";

/// A key: as it is, backwards, in hex, and (Ed25519) what is made of it.
fn patterns_of(secret: &[u8; 32], ed25519: bool) -> Patterns {
    let mut all = Patterns::new();
    let mut one = |name: &str, bytes: &[u8]| {
        let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
        all.add(name, bytes);
        all.add(&format!("{name}, backwards"), &backwards);
        all.add(&format!("{name} in hex"), hex::encode(bytes).as_bytes());
        all.add(&format!("{name} in base64"), &Base64::encode_string(bytes).as_bytes()[..40]);
    };
    one("the secret", secret);
    if ed25519 {
        let mut expanded: [u8; 64] = sha2::Sha512::digest(secret).into();
        one("its prefix", &expanded[32..]);
        one("its scalar before clamping", &expanded[..32]);
        expanded[0] &= 248;
        expanded[31] = (expanded[31] & 63) | 64;
        one("its scalar", &expanded[..32]);
    }
    all
}

fn add_words(patterns: &mut Patterns, made: &Made) {
    for (name, words) in &made.words {
        // The first four words are the same in many shares, and public.
        let value: Vec<_> = words.split(' ').skip(4).take(6).collect();
        patterns.add(&format!("words of {name}"), value.join(" ").as_bytes());
        patterns.add(&format!("words of {name}, upper case"), value.join(" ").to_uppercase().as_bytes());
    }
}

/// PKCS#8 (RFC 5958), for a seed of Ed25519 or a scalar of P-256.
fn pem(secret: &[u8; 32], ed25519: bool) -> String {
    let before = if ed25519 {
        "302e020100300506032b657004220420"
    } else {
        "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420"
    };
    let der = [hex::decode(before).unwrap(), secret.to_vec()].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", Base64::encode_string(&der))
}

/// A key that this test knows, in the file store.
async fn imported(client: &Client, secret: &[u8; 32], ed25519: bool) {
    client.unlock("file", PASSPHRASE).await.unwrap();
    let file = Some(client.seal(pem(secret, ed25519).as_bytes(), "import:root-s").await);
    let request =
        ImportKeyRequest { name: "root-s".into(), token: "file".into(), file, ..Default::default() };
    KeysClient::new(client.channel.clone()).import(request).await.unwrap();
}

fn nothing(patterns: &Patterns, agent: &Running, when: &str) {
    patterns.assert_nowhere(agent.pid(), when);
}

async fn life_of(ed25519: bool) {
    let mut secret = [7; 32];
    secmem::fill_random(&mut secret[1..]).unwrap();
    let mut patterns = patterns_of(&secret, ed25519);
    let (agent, client) = agent().await;
    imported(&client, &secret, ed25519).await;
    // The control: as long as the file store is unlocked, the key is there to be found.
    let found = patterns.found(agent.pid()).unwrap();
    assert!(found.contains("the secret"), "{found:?}");
    let reply = Reply::new();
    let terms = Some(terms(2, &NAMES, &reply));
    let request = SplitRequest { of: Some(Of::Key("root-s".into())), terms, ..Default::default() };
    let made = reply.open(client.shares().split(request).await.unwrap().into_inner());
    add_words(&mut patterns, &made);
    client.prove_all(&made).await;
    nothing(&patterns, &agent, "after the last proof");
    client.register("app").await;
    let file = root_of(&tuf(&made.key), 300);
    let (mut shown, collection) = opened(&client, &file).await;
    client.give(&collection, made.words_of("cy")).await.unwrap();
    nothing(&patterns, &agent, "while one share is given");
    client.give(&collection, made.words_of("ben")).await.unwrap();
    signature(&mut shown).await;
    nothing(&patterns, &agent, "after the signature");
    client.drill(&made.set.sha256, &[made.words_of("ann"), made.words_of("ben")]).await.unwrap();
    let new = client
        .resplit(&made.set.sha256, &[made.words_of("ann"), made.words_of("ben")], 2, &["dee", "eve", "fay"])
        .await
        .unwrap();
    add_words(&mut patterns, &new);
    nothing(&patterns, &agent, "after a drill and another set");
    assert!(!agent.log().contains(made.words_of("ann")) && !agent.log().contains(&hex::encode(secret)));
}

fn life(test: &str, ed25519: bool) {
    if memory::may_look(test) {
        tokio::runtime::Runtime::new().unwrap().block_on(life_of(ed25519));
    }
}

#[test]
fn a_seed_its_expansion_and_the_words_are_found_nowhere_after_use() {
    life("a_seed_its_expansion_and_the_words_are_found_nowhere_after_use", true);
}

#[test]
fn a_scalar_and_the_words_are_found_nowhere_after_use() {
    life("a_scalar_and_the_words_are_found_nowhere_after_use", false);
}
