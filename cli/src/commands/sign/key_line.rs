//! A key of a staged role, as `sign` tells of it at its end.

use serde_json::{Value, json};
use tuf::key::KeyId;
use tufagent_proto::v1;

use crate::commands::token::described;
use crate::error::{Failure, reason};
use crate::render::{short_keyid, visible};

/// A key of a role: what it is called here, and where it lies.
pub(super) struct KeyLine {
    pub(super) keyid: KeyId,
    pub(super) name: Option<String>,
    pub(super) token: Option<(String, String)>,
    /// It is split, so its custodians must come together.
    pub(super) split: bool,
    /// Why it cannot sign, whatever its token can.
    pub(super) barred: Option<Failure>,
    /// It has signed for this repository here, and no token holds it any more.
    pub(super) gone: bool,
    /// Then: the tokens that are not there, and of which nobody has seen yet which keys they hold.
    pub(super) maybe_on: Vec<v1::Token>,
}

impl KeyLine {
    /// As `missing` has it.
    pub(super) fn json(&self) -> Value {
        let keyid = self.keyid.as_str();
        let Some((token, state)) = &self.token else {
            return match &self.name {
                Some(name) => json!({"keyid": keyid, "name": name}),
                None => json!({"keyid": keyid}),
            };
        };
        let mut key = json!({"keyid": keyid, "key": self.name, "token": token, "state": state});
        let more = match &self.barred {
            Some(why) => Some(("reason", why.reason())),
            None => self.split.then_some(("how", HOW)),
        };
        if let (Some(members), Some((name, value))) = (key.as_object_mut(), more) {
            members.insert(name.into(), value.into());
        }
        key
    }

    /// What is said of it in its line.
    pub(super) fn barred_in_words(&self) -> &'static str {
        match self.barred.as_ref().is_some_and(|why| why.reason() == reason::SHARE_UNPROVEN) {
            true => "missing, its shares are not proven",
            false => "missing, on its token no more",
        }
    }

    /// It signs when its custodians come together.
    pub(super) fn collects(&self) -> bool {
        self.split && self.barred.is_none()
    }

    /// The tokens that may hold it, for people.
    pub(super) fn maybe_on_in_words(&self) -> Option<String> {
        let device = |token: &v1::Token| match &token.problem {
            Some(why) if token.in_use || token.untrusted => {
                format!("{}, which cannot be asked ({})", described(token), visible(why))
            }
            _ => described(token),
        };
        let devices: Vec<_> = self.maybe_on.iter().map(device).collect();
        (self.gone && !devices.is_empty()).then(|| devices.join(" or "))
    }

    /// Whether another program holds a token that may hold it.
    pub(super) fn is_maybe_held(&self) -> bool {
        self.maybe_on.iter().any(|token| token.in_use)
    }

    /// The token that may hold it, where its module is not trusted any more.
    pub(super) fn maybe_on_untrusted(&self) -> Option<&v1::Token> {
        self.maybe_on.iter().find(|token| token.untrusted)
    }

    /// What to do that it may sign.
    pub(super) fn way_back(&self) -> String {
        match (self.is_maybe_held(), self.maybe_on_untrusted()) {
            (true, _) => "sign again when the other program is done with it".to_owned(),
            (false, Some(token)) => format!(
                "if you changed the module, then: tufctl token trust {}; and sign again",
                visible(&token.name)
            ),
            (false, None) => "insert it and sign again".to_owned(),
        }
    }

    pub(super) fn called(&self) -> String {
        self.name
            .as_deref()
            .map_or_else(|| short_keyid(self.keyid.as_str()), |name| visible(name).into_owned())
    }
}

/// How a split key comes to sign.
pub(super) const HOW: &str = "share collect";
