//! What a key on a YubiKey is asked for: its slot and policies, and the card's management key.

use std::path::Path;

use tufagent_proto::v1;
use zeroize::Zeroizing;

use crate::args::{ManagementKeyArgs, SlotArgs};
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::secret::Secret;

/// As it travels; none where nothing was said, as for other tokens.
pub(super) fn options(args: &SlotArgs) -> Option<v1::CardOptions> {
    let text = |word: &Option<String>| word.clone().unwrap_or_default();
    let options = v1::CardOptions {
        slot: text(&args.slot),
        touch: text(&args.touch),
        pin_policy: text(&args.pin_policy),
        overwrite: args.overwrite,
        management_key: None,
        force: args.force,
    };
    (options != v1::CardOptions::default()).then_some(options)
}

/// Makes a call with the management key of the file. Without one the agent takes the key that the PIN protects; where there
/// is none, a person is asked for it.
pub(super) fn with_management_key<T>(
    args: &ManagementKeyArgs,
    call: impl Fn(Option<&Secret>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let Some(path) = &args.management_key_file {
        return call(Some(&from_file(path)?));
    }
    match (call(None), Terminal::open()) {
        (Err(failure), Some(terminal)) if failure.reason() == reason::MANAGEMENT_KEY => {
            let typed = terminal.secret("management key of the YubiKey (hex, or default)")?;
            call(Some(&parse(&typed).ok_or_else(|| malformed("what was typed"))?))
        }
        (done, _) => done,
    }
}

/// A management key that a file holds.
pub(crate) fn from_file(path: &Path) -> Result<Secret, Failure> {
    let text = Secret::from_pin_file(path)?;
    parse(&text).ok_or_else(|| malformed(&path.display().to_string()))
}

/// The one of the factory; to be given to a card that says itself that it has it, or when a person says so.
pub(crate) fn factory() -> Secret {
    Secret::new(Zeroizing::new(FACTORY.to_vec()))
}

/// Hexadecimal digits, or the word for the one of the factory, which is never tried unsaid.
fn parse(text: &Secret) -> Option<Secret> {
    let text = text.reveal_secret_bytes();
    if text == b"default" {
        return Some(factory());
    }
    let mut key = Zeroizing::new(vec![0; text.len() / 2]);
    hex::decode_to_slice(text, &mut key).ok()?;
    [16, 24, 32].contains(&key.len()).then(|| Secret::new(key))
}

fn malformed(what: &str) -> Failure {
    Failure::new(reason::MANAGEMENT_KEY, format!("{what} is no management key"))
        .remedy("write it as 32, 48 or 64 hexadecimal digits, or the word default for the one of the factory")
}

/// Of every YubiKey that nobody has set up.
const FACTORY: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_management_key_is_hexadecimal_or_the_word_default() {
        let key = |text: &str| parse(&Secret::new(Zeroizing::new(text.as_bytes().to_vec())));
        let bytes = |text: &str| key(text).map(|key| key.reveal_secret_bytes().to_vec());
        assert_eq!(bytes("default"), Some(FACTORY.to_vec()));
        assert_eq!(bytes(&"0a".repeat(24)), Some(vec![10; 24]));
        assert_eq!(bytes(&"0A".repeat(32)), Some(vec![10; 32]));
        for wrong in ["", "Default", "0a", &"0a".repeat(25), &"0".repeat(49), &"zz".repeat(24)] {
            assert!(key(wrong).is_none(), "{wrong}");
        }
    }
}
