//! `tufctl token …`, and `lock` and `unlock` for all tokens at once.

mod doctor;
mod setup;
mod unblock;

use serde_json::{Map, Value, json};
use tufagent_proto::v1;

use crate::args::{ChangePinArgs, TokenCommand, UnlockArgs};
use crate::client::Agent;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::{Terminal, confirm, confirm_by_person};
use crate::render::{Report, Style, Table, span, visible};
use crate::secret::Secret;

/// Runs a `token` command.
pub(crate) fn run(command: &TokenCommand, context: &Context) -> Result<Report, Failure> {
    match command {
        TokenCommand::List => Ok(listed(&context.agent()?.tokens()?, context)),
        TokenCommand::Unlock(args) => unlock(args, context),
        TokenCommand::Lock { name } => {
            let agent = context.agent()?;
            // Asked first, so that a name nobody knows is told with the names that there are.
            agent.token(name)?;
            agent.lock(name)?;
            one(&agent.token(name)?, context)
        }
        TokenCommand::ChangePin(args) => change_pin(args, context),
        TokenCommand::Setup(args) => setup::setup(args, context),
        TokenCommand::Unblock(args) => unblock::unblock(args, context),
        TokenCommand::Doctor(args) => doctor::doctor(args, context),
        TokenCommand::Trust { name, yes } => {
            let agent = context.agent()?;
            agent.token(name)?;
            confirm(&format!("Trust the module that {name} has now?"), yes.yes)?;
            let sha256 = agent.trust(name)?;
            let text = format!("{name} trusts its module · sha256 {sha256}\n");
            Ok(Report::new(json!({"name": name, "sha256": sha256}), text))
        }
    }
}

/// `tufctl lock`: every token, until it is unlocked again.
pub(crate) fn lock_all(context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    agent.lock("")?;
    Ok(listed(&agent.tokens()?, context))
}

/// `tufctl unlock`: every token that is locked, one prompt each. One that cannot be unlocked keeps no other from it.
///
/// # Errors
/// The first of what kept tokens from being unlocked.
pub(crate) fn unlock_all(context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let tokens = agent.tokens()?;
    let mut failed: Option<Failure> = None;
    for token in &tokens {
        if token.state == LOCKED {
            // Nobody is there to choose a passphrase, and a store that holds nothing is not what is meant.
            if token.fresh && tokens.len() > 1 && Terminal::open().is_none() {
                context.screen.note(format!("{} was never used, and stays locked", token.name));
                continue;
            }
            match unlock_asking(agent, token) {
                Err(failure) if failure.exit_code() == 5 => match failed {
                    None => failed = Some(failure),
                    Some(_) => context.screen.warn(failure.message()),
                },
                unlocked => drop(unlocked?),
            }
        } else if token.state != UNLOCKED {
            context.screen.warn(format!("{} is {}{}", token.name, token.state, problem(token)));
        }
    }
    failed.map_or_else(|| Ok(listed(&agent.tokens()?, context)), Err)
}

/// Unlocks one token: by the source that the agent's configuration names, or by a prompt.
///
/// # Errors
/// `PIN_REQUIRED` (exit 5) when it must be asked and no terminal is there; what the agent says otherwise.
pub(crate) fn unlock_asking(agent: &Agent, token: &v1::Token) -> Result<v1::Token, Failure> {
    if !matches!(token.pin_source.as_str(), "prompt" | "") {
        return agent.unlock(&token.name, None, None, None);
    }
    check_is_not_last_try(token)?;
    let secret = ask(token, token.fresh)?;
    agent.unlock(&token.name, Some(&secret), None, token.serial.as_deref())
}

/// A token as `token list` and `status` show it under `--json`.
pub(crate) fn json(token: &v1::Token) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            members.insert(name.into(), value);
        }
    };
    put("name", json!(token.name));
    put("kind", json!(token.kind));
    put("state", json!(token.state));
    put("serial", json!(token.serial));
    put("label", json!(token.label));
    put("pin_tries_left", json!(token.pin_tries_left));
    put("helper_pid", json!(token.helper_pid));
    put("confined", json!(token.confined));
    put("unconfined", json!(token.unconfined));
    put("measured", json!(token.measured));
    put("problem", json!(token.problem));
    put("fresh", json!(token.fresh));
    put("locks_in_seconds", json!(token.locks_in_seconds));
    put("pin_source", json!(token.pin_source));
    put("warnings", if token.warnings.is_empty() { Value::Null } else { json!(token.warnings) });
    Value::Object(members)
}

/// Tokens as a table.
pub(crate) fn table(tokens: &[v1::Token], style: Style) -> String {
    if tokens.is_empty() {
        return "no tokens\n".into();
    }
    let mut table = Table::new(&["TOKEN", "KIND", "STATE", "NOTE"]);
    for token in tokens {
        table.row([visible(&token.name).as_ref(), visible(&token.kind).as_ref(), &token.state, &note(token)]);
        table.paint(0, |style, text| style.bold(text));
        match token.state.as_str() {
            UNLOCKED => table.paint(2, |style, text| style.green(text)),
            LOCKED => table.paint(2, |style, text| style.yellow(text)),
            _ => table.paint(2, |style, text| style.red(text)),
        };
    }
    let mut text = table.render(style);
    for token in tokens {
        for warning in &token.warnings {
            let (name, warning) = (visible(&token.name), visible(warning));
            text.push_str(&format!("{} {name}: {warning}\n", style.yellow("warning:")));
        }
    }
    text
}

/// What a person may want to know about a token beside its state.
fn note(token: &v1::Token) -> String {
    let mut parts = Vec::new();
    if token.fresh {
        parts.push("never used: the first unlock sets its passphrase".to_owned());
    }
    if let Some(problem) = &token.problem {
        parts.push(visible(problem).into_owned());
    }
    if let Some(serial) = &token.serial {
        parts.push(format!("serial {}", visible(serial)));
    }
    if let Some(seconds) = token.locks_in_seconds {
        parts.push(format!("locks in {}", span(i64::try_from(seconds).unwrap_or(i64::MAX))));
    }
    if let Some(left) = token.pin_tries_left {
        parts.push(tries(left));
    }
    if token.measured.as_deref() == Some("outdated") {
        parts.push(format!(
            "its module changed since it was measured: tufctl token doctor {}",
            visible(&token.name)
        ));
    }
    if let Some(gap) = &token.unconfined {
        let word = if token.confined == Some(true) { "confined, but" } else { "not confined:" };
        parts.push(format!("{word} {}", visible(gap)));
    }
    parts.join(" · ")
}

fn problem(token: &v1::Token) -> String {
    token.problem.as_deref().map(|problem| format!(": {problem}")).unwrap_or_default()
}

fn listed(tokens: &[v1::Token], context: &Context) -> Report {
    let list: Vec<_> = tokens.iter().map(json).collect();
    Report::new(json!({"tokens": list}), table(tokens, context.screen.out()))
}

/// The answer of a command about one token.
fn one(token: &v1::Token, context: &Context) -> Result<Report, Failure> {
    let style = context.screen.out();
    let mut text = format!("{} is {}", style.bold(visible(&token.name)), token.state);
    if let Some(seconds) = token.locks_in_seconds {
        text.push_str(&format!(" for {}", span(i64::try_from(seconds).unwrap_or(i64::MAX))));
    }
    text.push('\n');
    Ok(Report::new(json(token), text))
}

fn unlock(args: &UnlockArgs, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let shown = match args.last_try {
        true => {
            let token = agent.token(&args.name)?;
            check_is_there(&token)?;
            Some(agree_to_last_try(&token)?)
        }
        false => None,
    };
    let serial = args.serial.as_deref();
    let unlocked = match &args.pin_file {
        // No look at the token first: with a PIN at hand this is exactly one attempt, now.
        Some(path) => agent.unlock(&args.name, Some(&Secret::from_pin_file(path)?), shown, serial)?,
        None => {
            let token = agent.token(&args.name)?;
            if matches!(token.pin_source.as_str(), "prompt" | "") {
                check_is_there(&token)?;
                if shown.is_none() {
                    check_is_not_last_try(&token)?;
                }
                if let Some(problem) = &token.problem {
                    context.screen.warn(format!("{}: {problem}", token.name));
                }
                let secret = ask(&token, token.fresh)?;
                // The PIN is for the card that the prompt has named.
                let serial = serial.or(token.serial.as_deref());
                agent.unlock(&args.name, Some(&secret), shown, serial)?
            } else {
                agent.unlock(&args.name, None, shown, serial)?
            }
        }
    };
    one(&unlocked, context)
}

/// Nobody is asked for the PIN of a card that is not there: it would be for whichever comes (FAULTS C5). Nor for one that is
/// blocked.
///
/// # Errors
/// `TOKEN_ABSENT`, `PIN_BLOCKED`.
fn check_is_there(token: &v1::Token) -> Result<(), Failure> {
    let name = visible(&token.name);
    let failure = match token.state.as_str() {
        _ if Terminal::open().is_none() => return Ok(()),
        "absent" => Failure::new(reason::TOKEN_ABSENT, format!("{name} is not there{}", problem(token)))
            .remedy(match token.kind == YUBIKEY {
                true => "insert it, then run this again",
                false => "insert it, or bring its folder or service back, then run this again",
            }),
        "blocked" if token.kind == YUBIKEY => {
            Failure::new(reason::PIN_BLOCKED, format!("the PIN of {} is blocked", described(token)))
                .remedy(format!("give it a new one by its PUK: tufctl token unblock {name}"))
        }
        _ => return Ok(()),
    };
    Err(failure.detail("token", token.name.as_str()))
}

/// Nobody types a PIN that is not presented then.
///
/// # Errors
/// `PIN_BLOCKED`.
fn check_is_not_last_try(token: &v1::Token) -> Result<(), Failure> {
    if token.kind != YUBIKEY || token.pin_tries_left != Some(1) || Terminal::open().is_none() {
        return Ok(());
    }
    let message = format!("{} blocks its PIN when the next one is wrong", described(token));
    Err(Failure::new(reason::PIN_BLOCKED, message)
        .remedy(format!(
            "make sure of the PIN, then: tufctl token unlock {} --last-try",
            visible(&token.name)
        ))
        .detail("token", token.name.as_str())
        .detail("tries_left", 1))
}

/// Asks the person for it; what they were shown is what the agent compares the card with.
fn agree_to_last_try(token: &v1::Token) -> Result<v1::LastTryShown, Failure> {
    let wrong = token.pins_wrong.unwrap_or_default();
    let before = match wrong {
        0 => String::new(),
        1 => " It did not accept the last one.".to_owned(),
        more => format!(" It did not accept the last {more}."),
    };
    let (word, which) = (word(token), described(token));
    confirm_by_person(&format!("Try a {word} of {which} even if it is the last try that is left?{before}"))?;
    let serial = token.serial.clone().unwrap_or_default();
    Ok(v1::LastTryShown { serial, pin_tries_left: token.pin_tries_left, pins_wrong: wrong })
}

fn change_pin(args: &ChangePinArgs, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let token = agent.token(&args.name)?;
    let with_files = |failure: Failure| {
        failure.remedy(format!("tufctl token change-pin {} --pin-file OLD --new-pin-file NEW", args.name))
    };
    // A prompt names the card that it is for; a file does not.
    let serial = token.serial.as_deref().filter(|_| args.pin_file.is_none());
    if args.pin_file.is_none() {
        check_is_there(&token)?;
        check_is_not_last_try(&token)?;
    }
    let old = match &args.pin_file {
        Some(path) => Secret::from_pin_file(path)?,
        None => ask(&token, false).map_err(with_files)?,
    };
    let new = match &args.new_pin_file {
        Some(path) => Secret::from_pin_file(path)?,
        None => ask(&token, true).map_err(with_files)?,
    };
    agent.change_secret(&args.name, &old, &new, serial)?;
    let now = agent.token(&args.name)?;
    let note = now.problem.as_deref().map(|problem| format!("note: {}\n", visible(problem)));
    let text = format!("{} has a new {}\n{}", args.name, word(&token), note.unwrap_or_default());
    Ok(Report::new(json(&now), text))
}

/// Asks for a token's secret, saying which device it is for; twice when it is new.
///
/// # Errors
/// `PIN_REQUIRED` where nobody is there to type it, or nothing was typed.
pub(crate) fn ask(token: &v1::Token, new: bool) -> Result<Secret, Failure> {
    let name = &token.name;
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(
            reason::PIN_REQUIRED,
            format!("the {} of {name} is needed and there is no terminal to ask at", word(token)),
        )
        .remedy(format!("tufctl token unlock {name} --pin-file FILE"))
        .detail("token", token.name.as_str()));
    };
    let label = format!("{} of {}", word(token), described(token));
    if new { terminal.new_secret(&label) } else { terminal.secret(&label) }
}

/// `alice (YubiKey 12345678)`, `build-hsm (PKCS#11 9e…, label build)`, `file (file store)`.
pub(crate) fn described(token: &v1::Token) -> String {
    described_with(token, token.pin_tries_left)
}

/// The same without the tries of its PIN: where something else is asked for.
pub(crate) fn described_device(token: &v1::Token) -> String {
    described_with(token, None)
}

fn described_with(token: &v1::Token, left: Option<u32>) -> String {
    let kind = match token.kind.as_str() {
        "file" => "file store".to_owned(),
        "pkcs11" => "PKCS#11".to_owned(),
        YUBIKEY => "YubiKey".to_owned(),
        other => visible(other).into_owned(),
    };
    let serial = token.serial.as_deref().map(|serial| format!(" {}", visible(serial))).unwrap_or_default();
    let label = token.label.as_deref().filter(|label| *label != token.name);
    let label = label.map(|label| format!(", label {}", visible(label))).unwrap_or_default();
    let tries = left.map(|left| format!(", {}", tries(left))).unwrap_or_default();
    format!("{} ({kind}{serial}{label}{tries})", visible(&token.name))
}

/// `1 try left`
fn tries(left: u32) -> String {
    if left == 1 { "1 try left".to_owned() } else { format!("{left} tries left") }
}

fn word(token: &v1::Token) -> &str {
    match token.secret_word.as_str() {
        "" if token.kind == "file" => "passphrase",
        "" => "PIN",
        word => word,
    }
}

pub(crate) const YUBIKEY: &str = "yubikey";
const LOCKED: &str = "locked";
const UNLOCKED: &str = "unlocked";

#[cfg(test)]
mod tests {
    use tufagent_proto::v1::Token;

    use super::{Style, described, json, table};

    fn token() -> Token {
        Token {
            name: "alice".into(),
            kind: "yubikey".into(),
            state: "locked".into(),
            serial: Some("12345678".into()),
            pin_tries_left: Some(3),
            ..Default::default()
        }
    }

    #[test]
    fn a_prompt_names_the_device_and_the_tries() {
        assert_eq!(described(&token()), "alice (YubiKey 12345678, 3 tries left)");
        let labelled = Token { label: Some("build".into()), ..token() };
        assert_eq!(described(&labelled), "alice (YubiKey 12345678, label build, 3 tries left)");
        let last = Token { pin_tries_left: Some(1), ..token() };
        assert_eq!(described(&last), "alice (YubiKey 12345678, 1 try left)");
    }

    #[test]
    fn optional_members_are_left_out_of_the_json_when_unknown() {
        let json = json(&token());
        assert_eq!(json["state"], "locked");
        assert_eq!(json["pin_tries_left"], 3);
        assert!(json.get("helper_pid").is_none());
    }

    #[test]
    fn names_from_the_agent_cannot_paint_the_table() {
        let mut evil = token();
        evil.problem = Some("gone\x1b[2J".into());
        let table = table(&[evil], Style::new(false));
        assert!(!table.contains('\x1b') && table.contains("\\u{1b}"), "{table}");
    }
}
