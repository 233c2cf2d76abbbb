//! How long signatures may take is told before they are verified: a small file may carry many that are slow.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tufagent_tuf::key::{Key, KeyId};
use tufagent_tuf::metadata::{Limits, Metadata};
use tufagent_tuf::role::{RoleKeys, Threshold};
use tufagent_tuf::verify::signature_work;

/// Metadata with an entry under each of these keyids; none of the signatures is good.
fn signed_with(keyids: &[KeyId]) -> Metadata {
    let entries: Vec<_> = keyids.iter().map(|keyid| json!({"keyid": keyid.as_str(), "sig": "00"})).collect();
    let file = json!({
        "signed": {
            "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2030-01-01T00:00:00Z", "targets": {},
        },
        "signatures": entries,
    });
    Metadata::parse(file.to_string().into_bytes(), &Limits::agent()).unwrap()
}

#[test]
fn signatures_that_are_slow_to_verify_count_as_much_as_large_files_and_others_next_to_nothing() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors/keys.json")).unwrap();
    let of = |kind: &str| -> (KeyId, Key) {
        let found = vectors.iter().find(|vector| vector["type"] == kind).unwrap();
        let key = Key::from_json(found["key"].to_string().as_bytes()).unwrap();
        (found["keyid"].as_str().unwrap().parse().unwrap(), key)
    };
    let all = ["ed25519", "ecdsa-p256", "rsa-4096", "ecdsa-p521"].map(of);
    let keys: BTreeMap<KeyId, Key> = all.iter().cloned().collect();
    let keyids: Vec<KeyId> = all.iter().map(|(keyid, _)| keyid.clone()).collect();
    let role = |keyids: &[KeyId]| RoleKeys::new(keyids.to_vec(), Threshold::ONE).unwrap();
    let work =
        |entries: &[KeyId], of_role: &[KeyId]| signature_work(&signed_with(entries), &keys, &role(of_role));
    let [fast, middling, slow, slowest] = [0, 1, 2, 3].map(|at| work(&keyids, &keyids[at..=at]));
    assert!(fast <= middling && middling <= 8 << 10, "{fast} {middling}");
    assert!(slow >= 128 << 10 && slowest >= 1 << 20, "{slow} {slowest}");
    assert_eq!(work(&keyids, &keyids), fast + middling + slow + slowest);
    // Neither what is signed by nobody of the role nor a key that has not signed is verified.
    assert_eq!(work(&keyids[..1], &keyids), fast);
    assert_eq!(work(&keyids, &keyids[..1]), fast);
}
