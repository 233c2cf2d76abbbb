//! Private keys that were published by mistake: all can read them now.

use super::{File, Finding, Severity};
use crate::json::{Kind, Value};

/// Where a private key stands inside `value`, as the way to it: in a key object beside `public`, or as PEM anywhere. An
/// empty member is none.
pub fn private_key_in(value: Value<'_>) -> Option<String> {
    find(value, "", false, 0)
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

/// `key`: inside a key object, where a member that is called private is one.
fn find(value: Value<'_>, name: &str, key: bool, depth: u8) -> Option<String> {
    if depth > MOST_DEPTH {
        return None;
    }
    let deeper = depth.saturating_add(1);
    match value.kind() {
        Kind::String => {
            let raw = value.raw_str();
            let pem = raw.contains("PRIVATE KEY-----") || raw.contains("AGE-SECRET-KEY-");
            (pem || key && raw.len() > 2 && is_private_name(name)).then(String::new)
        }
        Kind::Array => {
            let inside = value.items().enumerate();
            inside
                .into_iter()
                .find_map(|(index, item)| Some(format!("[{index}]{}", find(item, name, key, deeper)?)))
        }
        Kind::Object => {
            let key = key || value.get("keyval").is_some();
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
    fn the_way_to_a_private_key_is_told() {
        let value = json!({"signed": {"keys": {"ab": {"keyval": {"public": "00", "private": "11"}}}}});
        assert_eq!(found(&value).as_deref(), Some(".signed.keys.ab.keyval.private"));
    }
}
