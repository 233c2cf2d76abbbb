//! `tufctl token …`, and `lock` and `unlock` for all tokens at once.

mod asking;
mod doctor;
mod setup;
mod unblock;

use serde_json::{Map, Value, json};
use tufagent_proto::v1;

pub(crate) use self::asking::{ask, looked_at, unlock_asking, unlock_for_use};
pub(crate) use self::unblock::unblocking;

use self::asking::{agree_to_last_try, check_is_not_blocked, check_is_there, is_typed, to_be_asked_for};
use crate::args::{ChangePinArgs, TokenCommand, UnlockArgs};
use crate::context::Context;
use crate::error::Failure;
use crate::prompt::{Terminal, confirm};
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
        TokenCommand::Trust { name, yes } => trust(name, yes.yes, context),
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
        let token = match Terminal::open() {
            Some(_) => &looked_at(agent, token.clone()).unwrap_or_else(|_| token.clone()),
            None => token,
        };
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
        } else if let Err(blocked) = check_is_not_blocked(token) {
            context.screen.warn(format!("{}; {}", blocked.message(), blocked.remedy_text()));
        } else if token.state != UNLOCKED {
            context.screen.warn(format!("{} is {}{}", token.name, token.state, problem(token)));
        }
    }
    failed.map_or_else(|| Ok(listed(&agent.tokens()?, context)), Err)
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
    put("in_use", if token.in_use { json!(true) } else { Value::Null });
    put("puk_blocked", if token.puk_blocked { json!(true) } else { Value::Null });
    put("fresh", json!(token.fresh));
    put("locks_in_seconds", json!(token.locks_in_seconds));
    put("silent", if token.silent { json!(true) } else { Value::Null });
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
    if token.silent {
        parts.push("it does not answer when it is asked for its keys".to_owned());
    }
    if token.puk_blocked {
        parts.push("its PUK is blocked, too".to_owned());
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
            let token = looked_at(agent, agent.token(&args.name)?)?;
            check_is_not_blocked(&token)?;
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
            if is_typed(&token) {
                let token = to_be_asked_for(agent, token, shown.is_some())?;
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

/// What is agreed to is the file that was shown: the agent refuses another one that lies there by then.
fn trust(name: &str, yes: bool, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    agent.token(name)?;
    let there = agent.look_at_module(name)?;
    confirm(&trust_question(name, &there), yes)?;
    let v1::TrustTokenReply { path, sha256, trusted_before } = agent.trust(name, &there.sha256)?;
    let text = format!(
        "{name} trusts its module {}\nsha256 {sha256}\nbefore {}\n",
        visible(&path),
        visible(&trusted_before)
    );
    let json = json!({"name": name, "path": path, "sha256": sha256, "trusted_before": trusted_before});
    Ok(Report::new(json, text))
}

fn trust_question(name: &str, there: &v1::LookAtModuleReply) -> String {
    let v1::LookAtModuleReply { path, sha256, trusted } = there;
    if trusted == sha256 {
        return format!("{name}: {path} with sha256 {sha256} is trusted already. Start the token with it?");
    }
    format!(
        "{name}: trusted now is {trusted}; {path} has sha256 {sha256}. Trust that, and give it the token's PIN?"
    )
}

fn change_pin(args: &ChangePinArgs, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let mut token = agent.token(&args.name)?;
    if args.pin_file.is_none() {
        token = to_be_asked_for(agent, token, args.last_try)?;
    }
    let shown = match args.last_try {
        true => Some(agree_to_last_try(&looked_at(agent, token.clone())?)?),
        false => None,
    };
    let with_files = |failure: Failure| {
        failure.remedy(format!("tufctl token change-pin {} --pin-file OLD --new-pin-file NEW", args.name))
    };
    // A prompt names the card that it is for; a file does not.
    let serial = token.serial.as_deref().filter(|_| args.pin_file.is_none());
    let old = match &args.pin_file {
        Some(path) => Secret::from_pin_file(path)?,
        None => ask(&token, false).map_err(with_files)?,
    };
    let new = match &args.new_pin_file {
        Some(path) => Secret::from_pin_file(path)?,
        None => ask(&token, true).map_err(with_files)?,
    };
    agent.change_secret(&args.name, &old, &new, shown, serial)?;
    let now = agent.token(&args.name)?;
    let note = now.problem.as_deref().map(|problem| format!("note: {}\n", visible(problem)));
    let text = format!("{} has a new {}\n{}", args.name, word(&token), note.unwrap_or_default());
    Ok(Report::new(json(&now), text))
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

    use super::{Style, described, json, table, trust_question};

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
    fn whoever_is_to_trust_a_module_reads_which_in_place_of_which() {
        let mut there = tufagent_proto::v1::LookAtModuleReply {
            path: "/usr/lib/m.so".into(),
            sha256: "ab".repeat(32),
            trusted: "none".into(),
        };
        let question = trust_question("hsm", &there);
        for part in ["hsm", "/usr/lib/m.so", &there.sha256, "trusted now is none"] {
            assert!(question.contains(part), "{question}");
        }
        there.trusted = "cd".repeat(32);
        assert!(trust_question("hsm", &there).contains(&there.trusted));
        there.trusted.clone_from(&there.sha256);
        assert!(trust_question("hsm", &there).contains("trusted already"));
    }

    #[test]
    fn names_from_the_agent_cannot_paint_the_table() {
        let mut evil = token();
        evil.problem = Some("gone\x1b[2J".into());
        let table = table(&[evil], Style::new(false));
        assert!(!table.contains('\x1b') && table.contains("\\u{1b}"), "{table}");
    }
}
