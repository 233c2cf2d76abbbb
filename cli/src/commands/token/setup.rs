//! `tufctl token setup`: a YubiKey's own PIN, PUK and management key in place of those of the factory.
//!
//! What the card says decides: a value of the factory is given to it only where it says that this one holds, and a person is
//! told. Each step stands for itself; run again, it goes on where it ended.

use std::path::Path;

use serde_json::json;
use tufagent_proto::v1;
use zeroize::Zeroizing;

use super::{described_device, problem, tries};
use crate::args::SetupArgs;
use crate::client::Agent;
use crate::commands::key;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::Report;
use crate::secret::Secret;

/// What every YubiKey comes with.
const FACTORY_PIN: &[u8] = b"123456";
const FACTORY_PUK: &[u8] = b"12345678";

pub(super) fn setup(args: &SetupArgs, context: &Context) -> Result<Report, Failure> {
    let setting = Setting::new(args, context)?;
    setting.tell();
    // All that is missing is said, and all that a person types is asked for, before anything is changed.
    let puk = setting.planned(
        &PUK,
        setting.facts.default_puk,
        args.puk_file.as_deref(),
        args.new_puk_file.as_deref(),
    )?;
    let pin = setting.planned(
        &PIN,
        setting.facts.default_pin,
        args.pin_file.as_deref(),
        args.new_pin_file.as_deref(),
    )?;
    let management = setting.management()?;
    let mut changed = Vec::new();
    match setting.change((puk, pin, management), &mut changed) {
        Ok(()) => setting.report(&changed),
        Err(failure) if changed.is_empty() => Err(failure),
        Err(failure) => {
            let (name, what) = (&args.name, changed.join(" and the "));
            context.screen.warn(format!("the {what} of {name} was changed before that: the new one holds"));
            Err(failure.detail("changed", changed))
        }
    }
}

/// The old value and the new one.
type Change = Option<(Secret, Secret)>;

struct Setting<'a> {
    args: &'a SetupArgs,
    context: &'a Context,
    agent: &'a Agent,
    token: v1::Token,
    facts: v1::CardFactsReply,
    terminal: Option<Terminal>,
}

/// PIN or PUK.
struct Word {
    name: &'static str,
    factory: &'static [u8],
    option: &'static str,
}

const PIN: Word = Word { name: "PIN", factory: FACTORY_PIN, option: "--new-pin-file" };
const PUK: Word = Word { name: "PUK", factory: FACTORY_PUK, option: "--new-puk-file" };

impl<'a> Setting<'a> {
    fn new(args: &'a SetupArgs, context: &'a Context) -> Result<Self, Failure> {
        let agent = context.agent()?;
        // Asked first, so that a name nobody knows is told with the names that there are.
        agent.token(&args.name)?;
        let facts = agent.card_facts(&args.name)?;
        // By what was seen just now.
        let token = agent.token(&args.name)?;
        Ok(Self { args, context, agent, token, facts, terminal: Terminal::open() })
    }

    /// What is still as it came from the factory.
    fn tell(&self) {
        for what in factory(&self.facts) {
            self.context.screen.warn(format!(
                "the {what} of {} is still the one of the factory, which everybody knows",
                self.args.name
            ));
        }
    }

    /// The old one and the new one, where there is something to change.
    fn planned(
        &self,
        word: &Word,
        is_factory: Option<bool>,
        old_file: Option<&Path>,
        new_file: Option<&Path>,
    ) -> Result<Change, Failure> {
        let (name, what) = (&self.args.name, word.name);
        let old = match (old_file, is_factory) {
            (Some(path), _) => Secret::from_pin_file(path)?,
            (None, Some(true)) => Secret::new(Zeroizing::new(word.factory.to_vec())),
            (None, _) => {
                if new_file.is_some() {
                    self.context.screen.warn(format!(
                        "the {what} of {name} is not the one of the factory and was left as it is; to change it, give the \
                         present one, too"
                    ));
                }
                return Ok(None);
            }
        };
        // With it the card is opened for its management key; nobody asked for another.
        let only_opens = word.name == PIN.name && self.args.protect_management_key;
        if new_file.is_none() && only_opens && is_factory != Some(true) {
            return Ok(None);
        }
        let new = match (new_file, &self.terminal) {
            (Some(path), _) => Secret::from_pin_file(path)?,
            (None, Some(terminal)) => terminal.new_secret(&format!(
                "{what} of {}, six to eight characters",
                described_device(&self.token)
            ))?,
            (None, None) => {
                return Err(Failure::new(
                    reason::PIN_REQUIRED,
                    format!("a new {what} for {name} is needed and there is no terminal to ask at"),
                )
                .remedy(format!("give it with {} FILE", word.option))
                .detail("token", name.as_str()));
            }
        };
        if !(6..=8).contains(&new.reveal_secret_bytes().len()) {
            let message = format!("the new {what} for {name} must have six to eight characters");
            return Err(Failure::new(reason::USAGE, message)
                .remedy(format!("choose another one; nothing of {name} was changed"))
                .detail("token", name.as_str()));
        }
        if new.reveal_secret_bytes() == word.factory {
            return Err(Failure::new(
                reason::USAGE,
                format!("the new {what} for {name} is the one of the factory, which everybody knows"),
            )
            .remedy("choose another one"));
        }
        Ok(Some((old, new)))
    }

    /// Whether the management key gets another, and by which one.
    fn management(&self) -> Result<Option<Option<Secret>>, Failure> {
        let is_factory = self.facts.default_management_key == Some(true);
        let asked = || match &self.terminal {
            Some(terminal) if is_factory => terminal.confirm(
                "Make a new management key at random, and keep it on the card, where the PIN opens it?",
            ),
            _ => Ok(false),
        };
        if !self.args.protect_management_key && !asked()? {
            return Ok(None);
        }
        if let Some(path) = &self.args.management_key_file {
            return key::management_key_from(path).map(|key| Some(Some(key)));
        }
        if is_factory {
            return Ok(Some(Some(key::factory_management_key())));
        }
        if self.facts.management_key_protected {
            // It is as it should be.
            return Ok(None);
        }
        Err(Failure::new(
            reason::MANAGEMENT_KEY,
            format!(
                "the management key of {} is not the one of the factory, and is needed to change it",
                self.args.name
            ),
        )
        .remedy("give it with --management-key-file FILE, in hexadecimal digits"))
    }

    /// One after another; `changed` has those that were.
    fn change(
        &self,
        (puk, pin, management): (Change, Change, Option<Option<Secret>>),
        changed: &mut Vec<&'static str>,
    ) -> Result<(), Failure> {
        let (agent, name, serial) = (self.agent, self.args.name.as_str(), self.token.serial.as_deref());
        if let Some((old, new)) = &puk {
            agent.change_puk(name, old, new, serial)?;
            changed.push(PUK.name);
        }
        if let Some((old, new)) = &pin {
            agent.change_secret(name, old, new, None, serial)?;
            changed.push(PIN.name);
        }
        if let Some(old) = &management {
            let present = match pin {
                Some((_, new)) => Some(new),
                None => self.args.pin_file.as_deref().map(Secret::from_pin_file).transpose()?,
            };
            self.unlocked(present.as_ref())?;
            key::announce_touch(self.context, agent, &self.token);
            agent.protect_management_key(name, old.as_ref())?;
            changed.push("management key");
        } else if let Some((_, new)) = &pin {
            // The card has taken this very PIN a moment ago; nobody types it once more.
            if let Err(failure) = agent.unlock(name, Some(new), None, serial) {
                self.context.screen.warn(failure.message());
            }
        }
        Ok(())
    }

    /// The management key is opened by the PIN.
    fn unlocked(&self, pin: Option<&Secret>) -> Result<(), Failure> {
        let (name, serial) = (self.args.name.as_str(), self.token.serial.as_deref());
        let now = self.agent.token(name)?;
        match pin {
            Some(pin) => self.agent.unlock(name, Some(pin), None, serial).map(drop),
            None if now.state == super::LOCKED => super::unlock_asking(self.agent, &now).map(drop),
            None => Ok(()),
        }
    }

    fn report(&self, changed: &[&str]) -> Result<Report, Failure> {
        let name = self.args.name.as_str();
        let (facts, token) = (self.agent.card_facts(name)?, self.agent.token(name)?);
        let left = factory(&facts);
        let mut text = match changed {
            [] => format!("nothing of {name} was changed\n"),
            changed => format!("{name} has a new {}\n", changed.join(", ")),
        };
        for what in &left {
            text.push_str(&format!("its {what} is still the one of the factory\n"));
        }
        if facts.management_key_protected {
            text.push_str("its management key is kept on it, where the PIN opens it\n");
        }
        if let Some(puk) = facts.puk_tries_left {
            text.push_str(&format!("{} of the PUK\n", tries(puk)));
        }
        text.push_str(&format!("it is {}{}\n", token.state, problem(&token)));
        if token.state == super::LOCKED {
            text.push_str(&format!("unlock it with its PIN: tufctl token unlock {name}\n"));
        }
        let document = json!({
            "name": name,
            "serial": facts.serial,
            "firmware": facts.firmware,
            "changed": changed,
            "factory": left,
            "management_key_protected": facts.management_key_protected,
            "management_algorithm": facts.management_algorithm,
            "pin_tries_left": facts.pin_tries_left,
            "puk_tries_left": facts.puk_tries_left,
            "state": token.state,
        });
        Ok(Report::new(document, text))
    }
}

/// What the card says is still as it came.
fn factory(facts: &v1::CardFactsReply) -> Vec<&'static str> {
    let all = [
        ("PIN", facts.default_pin),
        ("PUK", facts.default_puk),
        ("management key", facts.default_management_key),
    ];
    all.into_iter().filter(|(_, is)| *is == Some(true)).map(|(what, _)| what).collect()
}
