//! What a helper says, cut to what anybody needs of it: a module can write into its helper's memory and onto its socket, and what
//! one token says goes to everybody, in answers that list all of them (FAULTS B6).

use serde_json::Value;

use crate::StoredKey;
use crate::host::protocol::{HostError, Reply, WireError, WireKey, parse_head};

/// A reply whose texts and lists are no longer than they may be.
pub(super) fn reply(head: &[u8]) -> Result<Reply, WireError> {
    // No part is longer than the whole.
    if head.len() <= NAME {
        return parse_head(head);
    }
    let mut value: Value = parse_head(head)?;
    bound(&mut value, MESSAGE);
    serde_json::from_value(value).map_err(|error| WireError::Garbage(error.to_string()))
}

/// The same of an error that came over the lane.
pub(super) fn error(mut error: HostError) -> HostError {
    cut(&mut error.message, MESSAGE);
    if let Some(remedy) = error.remedy.as_mut() {
        cut(remedy, MESSAGE);
    }
    error.unwell = error.unwell.filter(|key| key.len() <= KEY);
    error
}

/// The keys of a token that are listed, and what is told of the others. Those that were seen before go first: whoever reaches a
/// token without its PIN may put public objects on it, and hides none by that.
pub(super) fn keys(
    mut keys: Vec<WireKey>,
    seen: &[StoredKey],
    odd: Option<String>,
) -> (Vec<WireKey>, Option<String>) {
    let over = keys.len().saturating_sub(MOST_KEYS);
    if over == 0 {
        return (keys, odd);
    }
    let seen: std::collections::BTreeSet<String> =
        seen.iter().map(|stored| hex::encode(stored.public.spki_der())).collect();
    keys.sort_by_key(|key| !seen.contains(&key.public));
    keys.truncate(MOST_KEYS);
    let left_out = format!("it shows {over} keys more than the {MOST_KEYS} that are listed");
    (keys, Some(odd.map_or(left_out.clone(), |odd| format!("{odd}; {left_out}"))))
}

fn bound(value: &mut Value, most: usize) {
    match value {
        Value::String(text) => cut(text, most),
        Value::Array(items) => {
            items.truncate(MOST_ITEMS);
            items.iter_mut().for_each(|item| bound(item, most));
        }
        Value::Object(members) => {
            let mut kept = 0_usize;
            members.retain(|name, _| {
                kept = kept.saturating_add(1);
                name.len() <= NAME && kept <= MOST_MEMBERS
            });
            members.iter_mut().for_each(|(name, member)| bound(member, most_of(name)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// How long a text of this name may be.
fn most_of(name: &str) -> usize {
    match name {
        "label" | "serial" | "model" | "manufacturer" | "firmware" | "library" | "description" => NAME,
        "public" | "unwell" | "path" => KEY,
        _ => MESSAGE,
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let room = most.saturating_sub(CUT.len());
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push_str(CUT);
    }
}

const CUT: &str = "…";
/// What a token or a key is called; PKCS#11 has 32 bytes for a label.
const NAME: usize = 256;
/// What is said to people.
const MESSAGE: usize = 2 << 10;
/// An RSA key of 16,384 bits in hexadecimal, or a path.
const KEY: usize = 4 << 10;
/// No list is longer, of whatever.
const MOST_ITEMS: usize = 16 << 10;
const MOST_MEMBERS: usize = 256;
/// So many keys of one token are listed.
pub(super) const MOST_KEYS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::host::protocol::{HostErrorKind, TokenStatus};

    fn sent(reply: &Reply) -> Reply {
        super::reply(&serde_json::to_vec(reply).unwrap()).unwrap()
    }

    #[test]
    fn what_is_short_is_as_it_was_and_what_is_long_is_cut_at_a_character() {
        let said = Reply::Status(TokenStatus { label: "build ü".to_owned(), ..TokenStatus::default() });
        assert_eq!(sent(&said), said);
        let error = HostError::new(HostErrorKind::Device, "ü".repeat(3 << 20)).remedy("r".repeat(5000));
        let Reply::Error(heard) = sent(&Reply::Error(error.clone())) else { panic!("no error") };
        for heard in [heard, super::error(error)] {
            assert!(
                heard.message.len() <= MESSAGE && heard.message.ends_with("ü…"),
                "{}",
                heard.message.len()
            );
            assert_eq!(heard.remedy.map(|remedy| remedy.len()), Some(MESSAGE));
        }
        let long = Reply::Status(TokenStatus {
            label: "l".repeat(9000),
            serial: "s".repeat(9000),
            ..TokenStatus::default()
        });
        let Reply::Status(heard) = sent(&long) else { panic!("no status") };
        assert_eq!((heard.label.len(), heard.serial.len()), (NAME, NAME));
    }

    #[test]
    fn of_too_many_keys_those_are_listed_that_were_seen_before() {
        let key = |n: u32| WireKey {
            label: format!("k{n}"),
            public: hex::encode(
                tuf::key::PublicKey::from_ed25519(
                    ed25519_dalek::SigningKey::from_bytes(&[u8::try_from(n % 256).unwrap(); 32])
                        .verifying_key()
                        .to_bytes(),
                )
                .unwrap()
                .spki_der(),
            ),
            origin: Origin::Unknown,
            place: None,
        };
        let own = key(255);
        let stored = crate::pkcs11::names::stored_keys(vec![own.clone()]);
        let mut shown: Vec<WireKey> = (0..600).map(|n| key(n % 200)).collect();
        shown.push(own.clone());
        let (listed, odd) = keys(shown, &stored, None);
        assert_eq!((listed.len(), &listed[0]), (MOST_KEYS, &own));
        assert!(odd.unwrap().contains("89 keys more than the 512"));
        assert_eq!(keys(vec![own.clone()], &[], None), (vec![own], None));
    }
}
