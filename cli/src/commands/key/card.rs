//! What a key on a YubiKey is asked for: its slot and policies, and the card's management key.

use std::path::Path;

use tufagent_proto::v1;
use zeroize::Zeroizing;

use crate::args::{ManagementKeyArgs, SlotArgs};
use crate::client::Agent;
use crate::commands::token::{YUBIKEY, described_device};
use crate::context::Context;
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
/// is none, a person is asked for it, for the YubiKey that `token` names (empty: the only token).
pub(super) fn with_management_key<T>(
    (context, agent, token): (&Context, &Agent, &str),
    args: &ManagementKeyArgs,
    call: impl Fn(Option<&Secret>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let given = args.management_key_file.as_deref().map(from_file).transpose()?;
    let token = card(agent, token);
    if let Some(token) = &token {
        announce_touch(context, agent, token);
    }
    let Some(token) = token.filter(|_| given.is_none()) else { return call(given.as_ref()) };
    match (call(None), Terminal::open()) {
        (Err(failure), Some(terminal)) if failure.reason() == reason::MANAGEMENT_KEY => {
            let label = format!("management key of {} (hex, or default)", described_device(&token));
            let typed = terminal.secret(&label)?;
            call(Some(&parse(&typed).ok_or_else(|| malformed("what was typed"))?))
        }
        (done, _) => done,
    }
}

/// The YubiKey that is meant, if it is one. What else is wrong with the name is told by whoever makes the call.
fn card(agent: &Agent, name: &str) -> Option<v1::Token> {
    let all = agent.tokens().ok()?;
    let meant = match all.as_slice() {
        [only] if name.is_empty() => Some(only),
        all => all.iter().find(|token| token.name == name),
    };
    meant.filter(|token| token.kind == YUBIKEY).cloned()
}

/// A card whose management key wants a touch blinks, and says nothing.
pub(crate) fn announce_touch(context: &Context, agent: &Agent, token: &v1::Token) {
    if agent.card_facts(&token.name).is_ok_and(|facts| facts.management_touch) {
        let word = context.screen.err().yellow("touch when it blinks:");
        context.screen.show(format!("{word} {}, for its management key …", described_device(token)));
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
