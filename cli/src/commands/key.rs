//! `tufctl key …`

mod attest;
mod card;

use serde_json::{Value, json};
use tuf::word;
use tufagent_proto::v1;
use zeroize::Zeroizing;

use crate::args::{ImportArgs, KeyCommand, KeyFormat};
use crate::client::Agent;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::keys;
use crate::prompt::{Terminal, confirm};
use crate::render::{Report, Style, Table, count, short_keyid, visible};
use crate::secret::Secret;
use crate::shares;

pub(crate) use card::{announce_touch, factory as factory_management_key, from_file as management_key_from};

/// Runs a `key` command.
pub(crate) fn run(command: &KeyCommand, context: &Context) -> Result<Report, Failure> {
    let style = context.screen.out();
    match command {
        KeyCommand::Generate(args) => {
            check_name(&args.name)?;
            if args.terms.is_given() {
                return super::share::generate(args, context);
            }
            let token = args.token.as_deref().unwrap_or_default();
            let agent = context.agent()?;
            let (key, warnings) =
                card::with_management_key((context, agent, token), &args.card, |management| {
                    agent.generate(&args.name, token, &args.key_type, card::options(&args.slot), management)
                })?;
            warned(&key, warnings, context, style)
        }
        KeyCommand::List => {
            let agent = context.agent()?;
            let all = agent.keys()?;
            tell_silent(&all, &agent.tokens()?, context);
            list(&all, style)
        }
        KeyCommand::Show { name } => shown(&held(context.agent()?, name)?, style),
        KeyCommand::Export { name, format } => {
            let key = held(context.agent()?, name)?;
            for warning in context.agent()?.may_serve("", "", vec![key.name.clone()])? {
                context.screen.warn(warning);
            }
            export(&key, *format)
        }
        KeyCommand::Import(args) => import(args, context),
        KeyCommand::Attest { name } => attest::attest(name, context),
        KeyCommand::Remove { name, force, card, yes } => {
            let agent = context.agent()?;
            let key = &held(agent, name)?;
            let is_split = agent.sets()?.iter().any(|set| set.key == key.name && set.token == key.token);
            confirm(&removal(key, is_split), yes.yes)?;
            let warnings = card::with_management_key((context, agent, &key.token), card, |management| {
                agent.remove_key(key, *force, management)
            })?;
            warnings.iter().for_each(|warning| context.screen.warn(warning));
            let mut text = format!("{name} is gone\n");
            if is_split {
                text.push_str(&format!("enough shares of it still make the key: {}\n", way_back(key)));
            }
            Ok(Report::new(
                json!({"removed": name, "token": key.token, "keyid": key.keyid, "shares_make_it": is_split,
                    "warnings": warnings}),
                text,
            ))
        }
    }
}

/// The key of this name. Where none is seen, it may lie on a token that does not show its keys now.
fn held(agent: &Agent, name: &str) -> Result<v1::Key, Failure> {
    let all = agent.keys()?;
    let missing = match keys::find(&all, name) {
        Ok(key) => return Ok(key.clone()),
        Err(missing) => missing,
    };
    let tokens = agent.tokens().unwrap_or_default();
    let hides = |token: &&v1::Token| match token.state.as_str() {
        "absent" | "failed" => true,
        state => token.silent || state == "locked" && token.problem.is_some(),
    };
    let hiding = tokens.iter().find(hides).map(|token| {
        let problem = token.problem.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        let remedy =
            format!("it may lie on {}, which is {}{problem}: see tufctl token list", token.name, token.state);
        missing.clone().remedy(visible(&remedy))
    });
    Err(hiding.unwrap_or(missing))
}

/// What is asked before a key goes. Of a split key the agent has nothing but the manifests.
fn removal(key: &v1::Key, is_split: bool) -> String {
    let (name, token) = (&key.name, &key.token);
    if !is_split {
        return format!("Destroy key {name} on {token}? There is no way back");
    }
    format!(
        "Forget the split key {name} on {token}? Its manifests go; enough shares of it still make the key ({})",
        way_back(key)
    )
}

fn way_back(key: &v1::Key) -> String {
    let import = word::both_before(&key.name, "set.json", &word::option("--token", &key.token));
    format!("have them destroyed; the way back is tufctl key import {import}")
}

/// Names that the agent would refuse: told here, before a passphrase is asked for.
fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(allowed) && !keys::is_file(name) {
        return Ok(());
    }
    Err(Failure::new(reason::NAME_INVALID, format!("{name} is no name for a key"))
        .remedy("use letters, digits, dot, underscore and hyphen; not beginning with a hyphen, nor ending in .json or .pem")
        .detail("name", name))
}

/// `{name, token, type, keyid, public}` and more.
pub(crate) fn json(key: &v1::Key) -> Result<Value, Failure> {
    let object = keys::of_agent(key)?;
    let mut document = json!({
        "name": key.name,
        "token": key.token,
        "type": key.r#type,
        "keyid": key.keyid,
        "public": object.public_text(),
        "keytype": object.keytype(),
        "scheme": object.scheme(),
        "available": key.available,
        "unanswered": key.unanswered,
        "origin": key.origin,
    });
    if let Some(members) = document.as_object_mut().filter(|_| !key.unproven.is_empty()) {
        members.insert("unproven".to_owned(), key.unproven.clone().into());
    }
    if let Some(members) = document.as_object_mut().filter(|_| !key.slot.is_empty()) {
        for (name, value) in [("slot", &key.slot), ("touch", &key.touch), ("pin_policy", &key.pin_policy)] {
            members.insert(name.to_owned(), value.as_str().into());
        }
    }
    Ok(document)
}

fn shown(key: &v1::Key, style: Style) -> Result<Report, Failure> {
    Ok(Report::new(json(key)?, text(key, style)?))
}

fn text(key: &v1::Key, style: Style) -> Result<String, Failure> {
    let json = json(key)?;
    let public = json.get("public").and_then(Value::as_str).unwrap_or_default();
    let mut text = format!(
        "{} · {} on {}{}\nkeyid  {}\n",
        style.bold(visible(&key.name)),
        key.r#type,
        visible(&key.token),
        presence(key),
        visible(&key.keyid),
    );
    if !key.slot.is_empty() {
        let (slot, touch, pin) = (visible(&key.slot), visible(&key.touch), visible(&key.pin_policy));
        text.push_str(&format!("slot   {slot}, {}, touch {touch}, PIN {pin}\n", visible(&key.origin)));
    }
    if public.contains('\n') {
        text.push_str(public);
    } else {
        text.push_str(&format!("public {}", visible(public)));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// What is said behind the token's name.
fn presence(key: &v1::Key) -> String {
    match (key.available, key.unanswered, key.unproven.len()) {
        (true, _, 0) => String::new(),
        (true, _, shares) => {
            let shares = count(u64::try_from(shares).unwrap_or(u64::MAX), "share");
            format!(" (signs nothing: {shares} not proven)")
        }
        (false, true, _) => " (does not answer)".to_owned(),
        (false, false, _) => " (not there now)".to_owned(),
    }
}

/// A token of which no key is listed may hold some all the same.
fn tell_silent(keys: &[v1::Key], tokens: &[v1::Token], context: &Context) {
    for token in tokens {
        let silent = token.silent || token.state == "failed" || token.state == "absent";
        if silent && !keys.iter().any(|key| key.token == token.name) {
            let problem = token.problem.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            let state = match () {
                () if token.in_use => "in use",
                () if token.silent => "asked for them, and does not answer",
                () => &token.state,
            };
            let name = &token.name;
            context.screen.warn(format!("the keys of {name} are not known: it is {state}{problem}"));
        }
    }
}

fn list(all: &[v1::Key], style: Style) -> Result<Report, Failure> {
    let list = all.iter().map(json).collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::new(&["KEY", "TYPE", "TOKEN", "KEYID"]);
    for key in all {
        let token = visible(&key.token);
        let token = format!("{token}{}", presence(key));
        table.row([visible(&key.name).as_ref(), &key.r#type, &token, &short_keyid(&key.keyid)]);
        table.paint(0, |style, text| style.bold(text));
    }
    let text = if all.is_empty() { "no keys\n".to_owned() } else { table.render(style) };
    Ok(Report::new(json!({"keys": list}), text))
}

fn export(key: &v1::Key, format: KeyFormat) -> Result<Report, Failure> {
    let object = keys::of_agent(key)?;
    match format {
        KeyFormat::Tuf => {
            let exported = json!({
                "keyid": key.keyid,
                "key": {
                    "keytype": object.keytype(),
                    "scheme": object.scheme(),
                    "keyval": {"public": object.public_text()},
                },
            });
            let text = format!("{exported}\n");
            Ok(Report::new(exported, text))
        }
        KeyFormat::Pem => {
            let public = object.public_key().map_err(|e| {
                Failure::new(reason::UNSUPPORTED, format!("{} cannot be written as PEM: {e}", key.name))
            })?;
            let pem = public.spki_pem();
            Ok(Report::new(json!({"name": key.name, "keyid": key.keyid, "pem": pem}), pem))
        }
    }
}

fn import(args: &ImportArgs, context: &Context) -> Result<Report, Failure> {
    check_name(&args.name)?;
    // The manifest of a split key is no secret: every custodian has a copy.
    let file = match shares::manifest(&args.file) {
        Ok(manifest) => {
            if let Some(token) = &args.token {
                shares::check_token(token, context.agent()?)?;
            }
            shares::confirm_newer(&manifest, args.yes, context.agent()?)?;
            Secret::new(Zeroizing::new(manifest.to_json().as_bytes().to_vec()))
        }
        Err(changed) if shares::claims_manifest(&args.file) => return Err(changed),
        Err(_) => Secret::from_key_file(&args.file)?,
    };
    let passphrase = match &args.passphrase_file {
        Some(path) => Some(Secret::from_pin_file(path)?),
        None if is_encrypted(&file) => Some(ask_passphrase(&args.file.display().to_string())?),
        None => None,
    };
    let token = args.token.as_deref().unwrap_or_default();
    let agent = context.agent()?;
    let (key, warnings) = card::with_management_key((context, agent, token), &args.card, |management| {
        let (options, how) = (card::options(&args.slot), (management, args.duplicate));
        agent.import(&args.name, token, &file, passphrase.as_ref(), options, how)
    })?;
    warned(&key, warnings, context, context.screen.out())
}

/// A new key, with what a person should know of it.
fn warned(key: &v1::Key, warnings: Vec<String>, context: &Context, style: Style) -> Result<Report, Failure> {
    for warning in &warnings {
        context.screen.warn(warning);
    }
    let mut document = json(key)?;
    if let Some(members) = document.as_object_mut() {
        members.insert("warnings".to_owned(), warnings.into());
    }
    Ok(Report::new(document, text(key, style)?))
}

fn ask_passphrase(file: &str) -> Result<Secret, Failure> {
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(
            reason::PIN_REQUIRED,
            format!("{file} is encrypted and there is no terminal to ask for its passphrase at"),
        )
        .remedy("give it with --passphrase-file FILE"));
    };
    terminal.secret(&format!("passphrase of {}", visible(file)))
}

/// Whether a key file says that it is encrypted: PKCS#8's label, OpenSSL's old header, or
/// securesystemslib's old form with its five fields between `@@@@`.
fn is_encrypted(file: &Secret) -> bool {
    let bytes = file.reveal_secret_bytes();
    [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED", b"@@@@"]
        .iter()
        .any(|mark| bytes.windows(mark.len()).any(|window| window == *mark))
}

#[cfg(test)]
mod tests {

    use zeroize::Zeroizing;

    use super::{check_name, is_encrypted};
    use crate::secret::Secret;

    #[test]
    fn names_that_look_like_files_are_refused() {
        for name in ["root-a", "a.b_c", "json"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "bob.json", "x.pem", "a/b", "é"] {
            assert_eq!(check_name(name).unwrap_err().exit_code(), 2, "{name}");
        }
    }

    #[test]
    fn encrypted_files_are_known_by_their_marks() {
        let is = |text: &str| is_encrypted(&Secret::new(Zeroizing::new(text.as_bytes().to_vec())));
        assert!(is("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(is("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
        assert!(!is("-----BEGIN PRIVATE KEY-----\n"));
    }
}
