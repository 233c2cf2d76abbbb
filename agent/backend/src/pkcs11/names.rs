//! Names for people out of labels that others chose.

use std::collections::BTreeMap;

use tuf::key::PublicKey;

use crate::host::protocol::WireKey;
use crate::{KeyName, StoredKey};

/// The keys with names that are legal and differ: characters that no name has become `_`, and keys that
/// share a label get the first digits of their fingerprint. Entries that are no key are left out.
pub(crate) fn stored_keys(keys: Vec<WireKey>) -> Vec<StoredKey> {
    let mut by_name: BTreeMap<String, Vec<(PublicKey, WireKey)>> = BTreeMap::new();
    for key in keys {
        if let Some(public) = public_key(&key) {
            by_name.entry(legal(&key.label)).or_default().push((public, key));
        }
    }
    let mut stored = Vec::new();
    for (name, keys) in by_name {
        let alone = keys.len() == 1 && !name.is_empty();
        for (public, key) in keys {
            let fingerprint = public.fingerprint().to_string();
            let digits = fingerprint.get(..8).unwrap_or_default();
            let name = match (alone, name.is_empty()) {
                (true, _) => name.clone(),
                (_, true) => format!("key-{digits}"),
                (_, false) => format!("{name}-{digits}"),
            };
            if let Ok(name) = name.parse::<KeyName>() {
                stored.push(StoredKey { name, public, origin: key.origin, place: key.place });
            }
        }
    }
    stored
}

/// The public key of an entry.
pub(crate) fn public_key(key: &WireKey) -> Option<PublicKey> {
    PublicKey::from_spki_der(&hex::decode(&key.public).ok()?).ok()
}

fn legal(label: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    let mut name: String = label.chars().take(LABEL_MAX).map(fits).collect();
    // Whoever names it in a command would name an option.
    if name.starts_with('-') {
        name.replace_range(..1, "_");
    }
    if name.ends_with(".json") || name.ends_with(".pem") {
        name.push('_');
    }
    name
}

/// Leaves room for the fingerprint's digits within a name's 100 bytes.
const LABEL_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn key(label: &str, seed: u8) -> WireKey {
        let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        let public = hex::encode(PublicKey::from_ed25519(public).unwrap().spki_der());
        WireKey { label: label.to_owned(), public, origin: Origin::Unknown, place: None }
    }

    #[test]
    fn labels_become_names_that_are_legal_and_differ() {
        let long = "x".repeat(300);
        let keys = vec![
            key("root", 1),
            key("my key\u{202e}", 2),
            key("same", 3),
            key("same", 4),
            key("", 5),
            key("k.pem", 6),
            key(&long, 7),
            key("-rf", 8),
            key("--yes\n/x", 9),
            WireKey { label: "none".into(), public: "00".into(), origin: Origin::Unknown, place: None },
        ];
        let names: Vec<String> = stored_keys(keys).iter().map(|key| key.name.to_string()).collect();
        assert_eq!(names.len(), 9);
        for expected in ["root", "my_key_", "k.pem_", "_rf", "_-yes__x"] {
            assert!(names.iter().any(|name| name == expected), "{names:?}");
        }
        assert_eq!(names.iter().filter(|name| name.starts_with("same-")).count(), 2);
        assert_eq!(names.iter().filter(|name| name.starts_with("key-")).count(), 1);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
