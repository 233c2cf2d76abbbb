//! What of a split key can be found in the memory of the agent: nothing, once it was split and once it has signed.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, reason = "what was not looked at is said")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use base64ct::{Base64, Encoding as _};
use sha2::Digest as _;
use support::shares::{Made, NAMES, Reply, agent, opened, root_of, signature, terms, tuf};
use support::{Client, Running};
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::split_request::Of;
use tufagent_proto::v1::{ImportKeyRequest, SplitRequest};

const PASSPHRASE: &[u8] = b"correct horse";

/// What is looked for, masked, so that this process is not full of it.
struct Patterns(BTreeMap<String, Vec<u8>>);

const MASK: u8 = 0x5a;

impl Patterns {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.to_owned(), bytes.iter().map(|byte| byte ^ MASK).collect());
    }

    /// A key: as it is, backwards, in hex, and (Ed25519) what is made of it.
    fn of_secret(secret: &[u8; 32], ed25519: bool) -> Self {
        let mut all = Self(BTreeMap::new());
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

    fn add_words(&mut self, made: &Made) {
        for (name, words) in &made.words {
            // The first four words are the same in many shares, and public.
            let value: Vec<_> = words.split(' ').skip(4).take(6).collect();
            self.add(&format!("words of {name}"), value.join(" ").as_bytes());
            self.add(&format!("words of {name}, upper case"), value.join(" ").to_uppercase().as_bytes());
        }
    }

    /// Those that stand in the memory of a process; none where nobody may look.
    fn found(&self, pid: u32) -> Option<Vec<String>> {
        let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let mut found = Vec::new();
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            if !rest.starts_with('r') || rest.contains("[v") {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            if memory.read_exact_at(&mut bytes, from).is_err() {
                continue;
            }
            bytes.iter_mut().for_each(|byte| *byte ^= MASK);
            for (name, pattern) in &self.0 {
                let first = pattern[0];
                let mut rest = bytes.as_slice();
                while let Some(at) = rest.iter().position(|byte| *byte == first) {
                    if rest[at..].starts_with(pattern) {
                        found.push(name.clone());
                        break;
                    }
                    rest = &rest[at + 1..];
                }
            }
        }
        Some(found)
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
    assert_eq!(patterns.found(agent.pid()).unwrap(), Vec::<String>::new(), "{when}");
}

async fn life_of(ed25519: bool) {
    let mut secret = [7; 32];
    secmem::fill_random(&mut secret[1..]).unwrap();
    let mut patterns = Patterns::of_secret(&secret, ed25519);
    let (agent, client) = agent().await;
    imported(&client, &secret, ed25519).await;
    // The control: as long as the file store is unlocked, the key is there to be found.
    let Some(found) = patterns.found(agent.pid()) else {
        eprintln!("skipped: nobody may look into the memory of another process here");
        return;
    };
    assert!(found.contains(&"the secret".to_owned()), "{found:?}");
    let reply = Reply::new();
    let terms = Some(terms(2, &NAMES, &reply));
    let request = SplitRequest { of: Some(Of::Key("root-s".into())), terms, ..Default::default() };
    let made = reply.open(client.shares().split(request).await.unwrap().into_inner());
    patterns.add_words(&made);
    let own = patterns.found(std::process::id()).unwrap();
    assert!(own.contains(&"words of ann".to_owned()), "words would be found: {own:?}");
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
    patterns.add_words(&new);
    nothing(&patterns, &agent, "after a drill and another set");
    assert!(!agent.log().contains(made.words_of("ann")) && !agent.log().contains(&hex::encode(secret)));
}

#[tokio::test]
async fn a_seed_its_expansion_and_the_words_are_found_nowhere_after_use() {
    life_of(true).await;
}

#[tokio::test]
async fn a_scalar_and_the_words_are_found_nowhere_after_use() {
    life_of(false).await;
}
