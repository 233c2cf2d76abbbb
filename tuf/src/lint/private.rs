//! Private keys that were published by mistake: all can read them now.

use super::{File, Finding, Severity};
use crate::{
    json::{Kind, Value},
    key::{Key, PublicKey},
};

/// Where a private key stands inside `value`, as the way to it: in a key object under a name that says so or as the seed
/// or scalar of that very key under any name, or as PEM or base64 of DER anywhere. An empty member is none.
pub fn private_key_in(value: Value<'_>) -> Option<String> {
    find(value, "", None, 0)
}

/// Looks into all of a file, signatures and all.
pub(super) fn published(file: &File, found: &mut Vec<Finding>) {
    if let Some(way) = private_key_in(file.content.document().root()) {
        let message = format!("a private key stands at {way}: all can read it now");
        found.push(
            Finding::new("private-key", Severity::Error, file, message)
                .remedy("replace the key: tufctl root replace-key, or tufctl delegation edit"),
        );
    }
}

/// `key`: the key object that this lies in.
fn find(value: Value<'_>, name: &str, key: Option<&Around>, depth: u8) -> Option<String> {
    if depth > MOST_DEPTH {
        return None;
    }
    let deeper = depth.saturating_add(1);
    match value.kind() {
        Kind::String => {
            let text = value.as_str()?;
            let pem = text.contains("PRIVATE KEY-----") || text.contains("AGE-SECRET-KEY-") || is_der(&text);
            let inside = |around: &Around| {
                !text.is_empty() && is_private_name(name)
                    || around.public.as_ref().is_some_and(|public| makes(&text, public))
            };
            (pem || key.is_some_and(inside)).then(String::new)
        }
        Kind::Array => {
            let inside = value.items().enumerate();
            inside
                .into_iter()
                .find_map(|(index, item)| Some(format!("[{index}]{}", find(item, name, key, deeper)?)))
        }
        Kind::Object => {
            let own = value.get("keyval").map(|_| Around::of(value));
            let key = own.as_ref().or(key);
            value.members().find_map(|(member, inner)| {
                let own = member.as_str()?;
                // Below a member that is called so, everything is.
                let called = if is_private_name(name) { name } else { &own };
                let way = find(inner, called, key, deeper)?;
                Some(format!(".{}{way}", own.escape_debug()))
            })
        }
        _ => None,
    }
}

/// A key object, and its public key if it can be read.
struct Around {
    public: Option<PublicKey>,
}

impl Around {
    fn of(value: Value<'_>) -> Self {
        let key = Key::parse(value).ok();
        Self { public: key.and_then(|key| key.public_key().ok().cloned()) }
    }
}

/// Whether the text is the hexadecimal of what `public` is made from: an Ed25519 seed or a scalar of its curve.
fn makes(text: &str, public: &PublicKey) -> bool {
    let Ok(bytes) = hex::decode(text.trim()) else { return false };
    // Some write seed and public key in one.
    let seed = bytes.get(..32).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    let ed25519 = seed.and_then(|seed| {
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        PublicKey::from_ed25519(key.verifying_key().to_bytes()).ok()
    });
    let p256 = p256::ecdsa::SigningKey::from_slice(&bytes).ok();
    let p256 = p256
        .and_then(|key| PublicKey::from_p256_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok());
    let p384 = p384::ecdsa::SigningKey::from_slice(&bytes).ok();
    let p384 = p384
        .and_then(|key| PublicKey::from_p384_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok());
    [ed25519, p256, p384].into_iter().flatten().any(|made| made == *public)
}

/// How PKCS#8 and SEC1 of Ed25519 and ECDSA begin in base64.
fn is_der(text: &str) -> bool {
    const HEADS: [&str; 6] = [
        "MC4CAQAwBQYDK2Vw",
        "MFECAQEwBQYDK2Vw",
        "MIGHAgEAMBMGByqGSM49",
        "MIG2AgEAMBAGByqGSM49",
        "MHcCAQEEI",
        "MIGkAgEBBD",
    ];
    HEADS.iter().any(|head| text.trim_start().starts_with(head))
}

fn is_private_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("private")
        || name.contains("secret")
        || matches!(name.as_str(), "seed" | "priv" | "sk" | "d")
}

const MOST_DEPTH: u8 = 64;

#[cfg(test)]
mod tests {
    use super::private_key_in;
    use crate::json::Document;
    use serde_json::json;

    fn found(value: &serde_json::Value) -> Option<String> {
        private_key_in(Document::parse(value.to_string().as_bytes(), 1 << 16).unwrap().root())
    }

    #[test]
    fn private_parts_are_found_wherever_they_stand() {
        for value in [
            json!({"keyval": {"public": "00", "private": "11"}}),
            json!({"keyval": {"public": "00"}, "private_key": ["11"]}),
            json!({"keyval": {"public": "00"}, "x-private": {"of": {"mine": "11"}}}),
            json!({"keyval": {"public": "00", "seed": "11"}}),
            json!({"keyval": {"public": "-----BEGIN EC PRIVATE KEY-----\n"}}),
            json!({"signed": {"targets": {"a": {"custom": {"note": ["-----BEGIN PRIVATE KEY-----\n"]}}}}}),
        ] {
            assert!(found(&value).is_some(), "{value}");
        }
        for value in [
            json!({"keyval": {"public": "00", "private": ""}}),
            json!({"keyval": {"public": "-----BEGIN PUBLIC KEY-----\n"}, "x-private": null}),
            json!({"targets": {"private/secret.bin": {"length": 1, "custom": {"private": "no key object"}}}}),
        ] {
            assert_eq!(found(&value), None, "{value}");
        }
    }

    #[test]
    fn the_seed_of_a_key_is_found_under_any_name() {
        let seed = [7; 32];
        let public = hex::encode(ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().as_bytes());
        let key = |note: String| json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}, "x-note": note});
        assert_eq!(found(&key(hex::encode(seed))).as_deref(), Some(".x-note"));
        assert!(found(&key(format!("{}{public}", hex::encode(seed)))).is_some());
        assert_eq!(found(&key("ab".repeat(32))), None);
        assert_eq!(found(&key(public.clone())), None);
        assert!(found(&key("MC4CAQAwBQYDK2VwBCIEIA==".to_owned())).is_some());
        let scalar = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let point = hex::encode(scalar.verifying_key().to_sec1_point(false).as_bytes());
        let old = json!({"keytype": "ecdsa-sha2-nistp256", "scheme": "ecdsa-sha2-nistp256",
            "keyval": {"public": point, "x": hex::encode([7; 32])}});
        assert_eq!(found(&old).as_deref(), Some(".keyval.x"));
    }

    #[test]
    fn the_way_to_a_private_key_is_told() {
        let value = json!({"signed": {"keys": {"ab": {"keyval": {"public": "00", "private": "11"}}}}});
        assert_eq!(found(&value).as_deref(), Some(".signed.keys.ab.keyval.private"));
    }
}
