//! What each kind of token wants to be told of it, and what means nothing for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backend::pkcs11::{Limits, Pkcs11Config, check_uri};

use super::super::raw::RawToken;
use super::super::{Card, Module, Select, TokenKind};
use super::seconds;
use crate::limits;

pub(super) fn file_kind(raw: &RawToken) -> Result<TokenKind, String> {
    misplaced(raw, &[("serial", raw.serial.is_some()), ("env", raw.env.is_some()), of_cards(raw)])?;
    Ok(TokenKind::File)
}

/// Such a token holds no key whole, so nothing unlocks it.
pub(super) fn shares(raw: &RawToken) -> Result<TokenKind, String> {
    let of_others = [
        ("pin", raw.pin.is_some()),
        ("unlock_for", raw.unlock_for.is_some()),
        ("serial", raw.serial.is_some()),
        ("env", raw.env.is_some()),
        of_cards(raw),
    ];
    misplaced(raw, &of_others)?;
    if raw.name.starts_with('.') {
        return Err(
            "a token of kind \"shares\" has a folder of its name, which cannot begin with a dot".to_owned()
        );
    }
    Ok(TokenKind::Shares {
        collect_for: raw.collect_for.as_deref().map_or(Ok(limits::COLLECT), collect_for)?,
    })
}

/// Long enough for people to come, and no longer than a day for what was given to lie in memory.
fn collect_for(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Some(total) if (1..=86_400).contains(&total) => Ok(Duration::from_secs(total)),
        _ => Err("collect_for must be a number with s, m or h, from one second to 24 hours, such as \"15m\""
            .to_owned()),
    }
}

pub(super) fn card(raw: RawToken) -> Result<Card, String> {
    misplaced(&raw, &[])?;
    let named = raw.serial.as_ref().ok_or("serial is missing: it is printed on the YubiKey")?;
    let serial = serial(named)?;
    let serial =
        serial.parse().map_err(|_| format!("serial = {serial:?} is no YubiKey's: it is a number"))?;
    Ok(Card { serial, env: environment(raw.env)?, need_unlock: raw.need_unlock.unwrap_or(false) })
}

/// What means something for YubiKeys alone.
fn of_cards(raw: &RawToken) -> (&'static str, bool) {
    ("need_unlock", raw.need_unlock.is_some())
}

/// What means something for modules alone, and `more`.
fn misplaced(raw: &RawToken, more: &[(&str, bool)]) -> Result<(), String> {
    let of_modules = [
        ("module", raw.module.is_some()),
        ("label", raw.label.is_some()),
        ("manufacturer", raw.manufacturer.is_some()),
        ("uri", raw.uri.is_some()),
        ("reserved", raw.reserved.is_some()),
        ("sha256", raw.sha256.is_some()),
        ("sessions", raw.sessions.is_some()),
        ("deadline", raw.deadline.is_some()),
        ("paths", raw.paths.is_some()),
        ("network", raw.network.is_some()),
    ];
    match of_modules.iter().chain(more).find(|(_, there)| *there) {
        Some((name, _)) => Err(format!("{name} means nothing for kind {:?}: remove it", raw.kind)),
        None => Ok(()),
    }
}

fn environment(env: Option<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>, String> {
    let env = env.unwrap_or_default();
    match env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
        true => Err("env holds a name that is empty or has = in it".to_owned()),
        false => Ok(env),
    }
}

/// What an entry says of a token, as one URI (RFC 7512 section 2.3).
fn uri_of(attributes: &[(&str, Option<String>)]) -> String {
    let encoded = |value: &String| value.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let given = attributes.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let all: Vec<_> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("pkcs11:{}", all.join(";"))
}

pub(super) fn module(raw: RawToken) -> Result<Module, String> {
    if raw.need_unlock.is_some() {
        return Err("need_unlock means nothing for kind \"pkcs11\": remove it".to_owned());
    }
    let path = raw.module.ok_or("module is missing: name the PKCS#11 module's file")?;
    if !path.is_absolute() {
        return Err("module must be an absolute path".to_owned());
    }
    let serial = raw.serial.as_ref().map(serial).transpose()?;
    let select = match (raw.label, serial, raw.manufacturer, raw.uri) {
        (Some(label), None, None, None) => Select::Label(label),
        (None, Some(serial), None, None) => Select::Serial(serial),
        (None, None, None, Some(uri)) => match check_uri(&uri) {
            Ok(()) => Select::Uri(uri),
            Err(why) => return Err(format!("uri: {why}")),
        },
        (label, serial, Some(manufacturer), None) => {
            Select::Uri(uri_of(&[("token", label), ("serial", serial), ("manufacturer", Some(manufacturer))]))
        }
        _ => {
            return Err("give exactly one of label, serial and uri; manufacturer stands alone or beside label and serial"
                .to_owned());
        }
    };
    let sha256 = raw.sha256.map(digest).transpose()?;
    let limits = Limits { paths: raw.paths.map(writable).transpose()?, network: raw.network };
    let sessions = raw.sessions.unwrap_or(1);
    if !(1..=MOST_SESSIONS).contains(&sessions) {
        return Err(format!(
            "sessions, the signatures that the module makes at once, goes from 1 to {MOST_SESSIONS}"
        ));
    }
    let deadline = raw.deadline.as_deref().map_or(Ok(Pkcs11Config::DEADLINE), deadline)?;
    let env = environment(raw.env)?;
    Ok(Module { path, select, env, reserved: raw.reserved, limits, sha256, sessions, deadline })
}

/// Long enough for a module across a network that goes through its dead members first; a call that hangs for longer helps
/// nobody.
fn deadline(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Some(total) if (5..=600).contains(&total) => Ok(Duration::from_secs(total)),
        _ => Err("deadline, how long each call of the module may take, goes from 5s to 10m".to_owned()),
    }
}

/// What the module may write, and the rest not.
fn writable(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, String> {
    match paths.iter().find(|path| !path.is_absolute() || path.parent().is_none()) {
        None => Ok(paths),
        Some(path) if path.is_absolute() => {
            Err("paths holds \"/\", which confines nothing: name folders".to_owned())
        }
        Some(path) => Err(format!("paths holds {}, which is not absolute", path.display())),
    }
}

/// Some tokens have 16 sessions for all programs together.
const MOST_SESSIONS: usize = 16;

fn serial(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        _ => Err("serial must be a string or a number".to_owned()),
    }
}

fn digest(text: String) -> Result<String, String> {
    let is_digest = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text == "any" || is_digest {
        return Ok(text);
    }
    Err("sha256 must be 64 lowercase hex digits, or \"any\"".to_owned())
}
