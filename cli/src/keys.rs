//! Keys as they are named on the command line: by the agent's name, or by a public key file.

use std::io::{ErrorKind, Read};
use std::path::Path;

use tuf::key::{Key, PublicKey};
use tufagent_proto::v1;

use crate::error::{Failure, reason};
use crate::reading;

/// Whether an argument is a path of a public key file, not a name (CONTRACT section 2).
pub(crate) fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".json") || argument.ends_with(".pem")
}

/// What a colleague's key is called: the base name of its file.
pub(crate) fn file_label(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    (!stem.is_empty()).then(|| stem.to_owned())
}

/// The agent's key of this name.
pub(crate) fn find<'k>(keys: &'k [v1::Key], name: &str) -> Result<&'k v1::Key, Failure> {
    keys.iter().find(|key| key.name == name).ok_or_else(|| {
        Failure::new(reason::KEY_NOT_FOUND, format!("no such key: {name}"))
            .remedy("tufctl key list shows what is there; a colleague's key is named by its file, such as ./bob.json")
            .detail("key", name)
    })
}

/// TUF's key object of a key of the agent.
pub(crate) fn of_agent(key: &v1::Key) -> Result<Key, Failure> {
    Key::from_json(key.tuf_json.as_bytes()).map_err(|e| {
        Failure::new(reason::INTERNAL, format!("the agent's key {} cannot be read: {e}", key.name))
    })
}

/// Reads a public key file as `key export` writes it: TUF JSON or PEM.
pub(crate) fn from_file(path: &Path) -> Result<Key, Failure> {
    let mut text = String::new();
    let read = reading::open_named(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    let parsed = match read {
        Err(e) if e.kind() != ErrorKind::InvalidData => return Err(Failure::io("read", path, &e)),
        Err(_) => Err("it is no text".to_owned()),
        Ok(_) => parse(&text),
    };
    parsed.map_err(|why| {
        Failure::new(reason::KEY_FILE, format!("{} holds no public key: {why}", path.display()))
            .remedy("write one with: tufctl key export NAME > NAME.json")
            .detail("file", path.display().to_string())
    })
}

fn parse(text: &str) -> Result<Key, String> {
    if text.contains("PRIVATE KEY") {
        return Err("it is a private key".into());
    }
    if text.trim_start().starts_with("-----BEGIN") {
        return PublicKey::from_spki_pem(text).map(|key| key.to_key()).map_err(|e| e.to_string());
    }
    #[derive(serde::Deserialize)]
    struct Exported<'a> {
        keyid: Option<String>,
        #[serde(borrow)]
        key: Option<&'a serde_json::value::RawValue>,
    }
    let exported: Exported<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    // `{"keyid", "key"}` as we export it, or the key object alone.
    let object = exported.key.map_or(text, serde_json::value::RawValue::get);
    let key = Key::from_json(object.as_bytes()).map_err(|e| e.to_string())?;
    key.public_key().map_err(|e| e.to_string())?;
    match exported.keyid {
        Some(keyid) if keyid != key.computed_keyid().to_string() => {
            Err(format!("its keyid {keyid} is not that of the key"))
        }
        _ => Ok(key),
    }
}

const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::{is_file, parse};
    use tuf::key::PublicKey;

    #[test]
    fn files_are_known_by_a_slash_or_their_ending() {
        for (argument, file) in
            [("bob.json", true), ("./bob", true), ("k.pem", true), ("bob", false), ("json", false)]
        {
            assert_eq!(is_file(argument), file, "{argument}");
        }
    }

    #[test]
    fn an_exported_key_its_object_alone_and_its_pem_are_the_same_key() {
        // The generator of the curve's prime-order group: a valid point.
        let point = hex::decode("5866666666666666666666666666666666666666666666666666666666666666").unwrap();
        let public = PublicKey::from_ed25519(point.try_into().unwrap()).unwrap();
        let key = public.to_key();
        let exported = format!(r#"{{"keyid":"{}","key":{}}}"#, key.computed_keyid(), key.json());
        for text in [exported.as_str(), key.json(), &public.spki_pem()] {
            assert_eq!(parse(text).unwrap().computed_keyid(), key.computed_keyid(), "{text}");
        }
    }

    #[test]
    fn private_keys_wrong_keyids_and_other_files_are_refused() {
        assert!(parse("-----BEGIN PRIVATE KEY-----\n").unwrap_err().contains("private"));
        let key = r#"{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"5866666666666666666666666666666666666666666666666666666666666666"}}"#;
        assert!(parse(&format!(r#"{{"keyid":"00","key":{key}}}"#)).unwrap_err().contains("keyid"));
        assert!(parse(r#"{"keytype":"gost"}"#).is_err());
        assert!(parse("hello").is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_a_key_or_an_error_and_never_a_panic(text: String, part in "[{}\\[\\],:\"a-z0-9-]{0,60}") {
            let _ = (parse(&text), parse(&part), parse(&format!("-----BEGIN{part}")));
            let _ = parse(&format!("{{\"key\":{{\"keytype\":\"rsa\",\"scheme\":\"rsassa-pss-sha256\",\"keyval\":{part}}}}}"));
        }
    }
}
