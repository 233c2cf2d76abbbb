//! The reference implementation of SLIP-0039, in Python, as a judge in both directions.

use std::io::Write as _;
use std::process::{Command, Stdio};

use secmem::SecretBytes;
use serde_json::{Value as Json, json};

use super::super::{Common, Value, cipher, mnemonic, text};
use super::many::{Numbers, Set};
use super::secret_of;
use crate::SplitKind;
use crate::test_sets::{new_set, simple};

/// What the judge says, or nothing where it is not there and may be missing.
fn judged(asked: &Json) -> Option<Json> {
    let python =
        softhsm::third_party_dir().ok().map(|dir| dir.join("venv/bin/python")).filter(|it| it.exists());
    let Some(python) = python else {
        assert!(std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(), "the judge of SLIP-0039 is not there");
        println!(
            "SKIPPED: shamir-mnemonic is not there\n         remedy: cargo xtask test (it wants python3-venv)"
        );
        return None;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracles/slip39.py");
    let mut command = Command::new(python);
    let mut judge = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    judge.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

const PASSPHRASES: [&str; 3] =
    ["", "TREZOR", " ~ any printable sign, longer than the 64 bytes of a block of SHA-256 ~ "];

fn written(set: &Set, which: &[usize]) -> Vec<String> {
    let mnemonic = |at: &usize| {
        let (header, value) = &set.shares[*at];
        let text = text::written(&mnemonic::encoded(*header, value));
        String::from_utf8(text.reveal_secret_bytes().to_vec()).unwrap()
    };
    which.iter().map(mnemonic).collect()
}

#[test]
fn the_reference_implementation_reads_our_sets_and_refuses_what_we_refuse() {
    let mut numbers = Numbers(3);
    let (mut cases, mut secrets) = (Vec::new(), Vec::new());
    for at in 0..100 {
        let shape = if at % 10 == 0 { numbers.set(16, 16) } else { numbers.set(3, 5) };
        let passphrase = PASSPHRASES[at % 3];
        let common = Common {
            identifier: u16::try_from(numbers.below(1 << 15)).unwrap(),
            extendable: at % 2 == 0,
            exponent: u8::from(at % 5 == 0),
            ..shape.shares[0].0.common
        };
        // Any bytes are a secret: those that were random before.
        let secret = Value::of(shape.encrypted.get());
        let encrypted = cipher::encrypt(&secret, common, &SecretBytes::copy_from(passphrase.as_bytes()));
        let set = Set::of(encrypted, common, &shape.groups);
        let mut quorum = numbers.quorum(&set);
        cases.push(json!([written(&set, &quorum), passphrase]));
        secrets.push(json!(hex::encode(secret.get())));
        quorum.pop();
        cases.push(json!([written(&set, &quorum), passphrase]));
        secrets.push(Json::Null);
    }
    if let Some(answer) = judged(&json!({"combine": cases, "make": []})) {
        assert_eq!(answer["combine"], json!(secrets));
    }
}

#[test]
fn we_read_the_sets_of_the_reference_implementation() {
    let mut numbers = Numbers(4);
    let cases: Vec<(Set, Json)> = (0..100)
        .map(|at| {
            let set = if at % 10 == 0 { numbers.set(16, 16) } else { numbers.set(3, 5) };
            let asked = json!({
                "group_threshold": set.threshold, "groups": set.groups, "secret": hex::encode(set.encrypted.get()),
                "passphrase": PASSPHRASES[at % 3], "extendable": at % 2 == 0, "exponent": u8::from(at % 5 == 0),
            });
            (set, asked)
        })
        .collect();
    let asked: Vec<_> = cases.iter().map(|(_, asked)| asked).collect();
    let Some(answer) = judged(&json!({"combine": [], "make": asked})) else { return };
    for ((set, asked), made) in cases.iter().zip(answer["make"].as_array().unwrap()) {
        let groups: Vec<Vec<String>> = serde_json::from_value(made.clone()).unwrap();
        let all = groups.concat();
        let chosen: Vec<String> = numbers.quorum(set).into_iter().map(|at| all[at].clone()).collect();
        let found = secret_of(&chosen, asked["passphrase"].as_str().unwrap()).map(hex::encode);
        assert_eq!(found.as_deref(), Ok(asked["secret"].as_str().unwrap()));
        assert!(secret_of(&chosen[1..], "").is_err());
    }
}

#[test]
fn the_key_of_a_new_set_is_recovered_without_this_program() {
    for kind in [SplitKind::Ed25519, SplitKind::EcdsaP256] {
        let set = new_set(kind, &simple(2, 3));
        let words = |at: usize| {
            let words = set.shares()[at].share.words().unwrap();
            String::from_utf8(words.reveal_secret_bytes().to_vec()).unwrap()
        };
        let asked = json!({"combine": [[[words(2), words(0)], ""]], "make": []});
        let Some(answer) = judged(&asked) else { return };
        let secret = Value::of(&hex::decode(answer["combine"][0].as_str().unwrap()).unwrap());
        assert_eq!(crate::key::public_of(kind, &secret).as_ref(), Some(set.manifest().public_key()));
    }
}
