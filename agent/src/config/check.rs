//! From the file's text to a `Config`: every rule, each with a sentence of its own.

mod kind;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backend::TokenName;
use backend::attestation::Roots;
use backend::card::{PinPolicy, Touch};

use super::raw::{Raw, RawRole, RawToken};
use super::{Config, ConfigError, OriginRule, PinSource, TokenConfig, TokenKind, UnlockFor, source};

/// Checks the whole text.
///
/// # Errors
/// The first thing that is wrong, and what would be right.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let raw: Raw = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    if raw.grant.is_some() || raw.approval.is_some() {
        return Err(invalid("the tables grant and approval are reserved and mean nothing yet: remove them"));
    }
    let pinentry = raw.pinentry.unwrap_or_else(|| PathBuf::from(PINENTRY));
    if !pinentry.is_absolute() {
        return Err(invalid("pinentry must be an absolute path, such as \"/usr/bin/pinentry\""));
    }
    let origins = raw.role.into_iter().map(origin).collect::<Result<_, _>>()?;
    if !raw.attestation_roots.iter().all(|path| path.is_absolute()) {
        return Err(invalid("attestation_roots must be absolute paths of PEM files"));
    }
    let mut config = Config {
        tokens: Vec::new(),
        origins,
        allow_group: allow_group(&raw.allow_groups)?,
        attestation_roots: raw.attestation_roots,
        roots: Arc::new(Roots::yubico()),
    };
    let mut file_is_named = false;
    for token in raw.token {
        file_is_named |= check_file_store(&token, file_is_named)?;
        let enabled = token.enabled.unwrap_or(true);
        let checked = check_token(token, &pinentry)?;
        if config.tokens.iter().any(|t| t.name == checked.name) {
            return Err(invalid(format!("two tokens are named {}: give each its own name", checked.name)));
        }
        if let (true, Some(other)) =
            (enabled, config.tokens.iter().find(|other| is_same_card(other, &checked)))
        {
            return Err(invalid(format!(
                "{} and {} are one YubiKey: name each serial number once",
                other.name, checked.name
            )));
        }
        if enabled {
            config.tokens.push(checked);
        }
    }
    if !file_is_named {
        add_default_file_store(&mut config)?;
    }
    Ok(config)
}

/// Its keys would be there twice, and `lock` of the one would leave the other unlocked.
fn is_same_card(one: &TokenConfig, other: &TokenConfig) -> bool {
    matches!((&one.kind, &other.kind), (TokenKind::Yubikey(one), TokenKind::Yubikey(other)) if one.serial == other.serial)
}

/// A `[[role]]`: what it demands of its keys.
fn origin(raw: RawRole) -> Result<OriginRule, ConfigError> {
    let of = |why: &str| invalid(format!("role {:?}: {why}", raw.name));
    let role = raw.name.parse().map_err(|_| of("this is no name of a role"))?;
    if raw.origin != "token" {
        return Err(of("origin is not \"token\", the one thing that can be demanded"));
    }
    let named = raw.repository.as_deref().map(str::parse::<ledger::RepositoryName>).transpose();
    named.map_err(|_| of("repository is no name of a repository"))?;
    let (touch, pin) = (raw.touch.as_deref().map(str::parse), raw.pin_policy.as_deref().map(str::parse));
    let touch = touch.transpose().map_err(|why: String| of(&why))?;
    let pin = pin.transpose().map_err(|why: String| of(&why))?;
    if touch == Some(Touch::Never) || pin == Some(PinPolicy::Never) {
        return Err(of("touch and pin_policy demand something: leave out what is not demanded"));
    }
    Ok(OriginRule { repository: raw.repository, role, touch, pin })
}

/// A `[[token]]` of kind `file` renames the one store or takes it away; there is no second one.
fn check_file_store(token: &RawToken, seen: bool) -> Result<bool, ConfigError> {
    if token.kind == "file" && seen {
        return Err(invalid("there is one file store: keep one [[token]] of kind \"file\""));
    }
    Ok(token.kind == "file")
}

fn add_default_file_store(config: &mut Config) -> Result<(), ConfigError> {
    let name: TokenName = "file".parse().map_err(|e| invalid(format!("{e}")))?;
    if config.tokens.iter().any(|t| t.name == name) {
        return Err(invalid(
            "the name file belongs to the file store: rename that token, or the store by a [[token]] of kind \"file\"",
        ));
    }
    let (kind, pin, unlock_for) = (TokenKind::File, PinSource::Prompt, UnlockFor::default());
    config.tokens.insert(0, TokenConfig { name, kind, pin, unlock_for, confirm: None });
    Ok(())
}

fn check_token(raw: RawToken, pinentry: &Path) -> Result<TokenConfig, ConfigError> {
    let name: TokenName =
        TokenName::given(&raw.name).map_err(|e| invalid(format!("the token name {:?}: {e}", raw.name)))?;
    let of = |why: String| invalid(format!("token {name}: {why}"));
    let pin = source::read(raw.pin.as_ref(), pinentry).map_err(of)?;
    let confirm = match raw.confirm.as_deref() {
        None => None,
        Some("pinentry") => Some(pinentry.to_owned()),
        Some(_) => return Err(of("confirm can be \"pinentry\" alone".to_owned())),
    };
    let unlock_for = raw.unlock_for.as_deref().map_or(Ok(UnlockFor::default()), unlock_for).map_err(of)?;
    if raw.collect_for.is_some() && raw.kind != "shares" {
        return Err(of(format!("collect_for means nothing for kind {:?}: remove it", raw.kind)));
    }
    let kind = match raw.kind.as_str() {
        "file" => kind::file_kind(&raw).map_err(of)?,
        "pkcs11" => TokenKind::Pkcs11(kind::module(raw).map_err(of)?),
        "yubikey" => TokenKind::Yubikey(kind::card(raw).map_err(of)?),
        "shares" => kind::shares(&raw).map_err(of)?,
        _ => return Err(of("kind is none of \"file\", \"pkcs11\", \"yubikey\", \"shares\"".to_owned())),
    };
    if pin == PinSource::Unwanted && !matches!(kind, TokenKind::Pkcs11(_)) {
        return Err(of("pin = \"none\" is for a PKCS#11 token that wants no PIN: remove it".to_owned()));
    }
    let (pin, unlock_for) = match kind {
        TokenKind::Shares { .. } => (PinSource::Nothing, UnlockFor::Forever),
        _ => (pin, unlock_for),
    };
    Ok(TokenConfig { name, kind, pin, unlock_for, confirm })
}

/// Debian's; a link to the one that fits the desktop.
const PINENTRY: &str = "/usr/bin/pinentry";

fn unlock_for(text: &str) -> Result<UnlockFor, String> {
    const FORM: &str = "unlock_for must be a number with s, m, h or d, such as \"8h\", or \"forever\"";
    if text == "forever" {
        return Ok(UnlockFor::Forever);
    }
    match seconds(text).ok_or(FORM)? {
        // A year is longer than any machine should hold a PIN.
        total if (1..=365 * 86_400).contains(&total) => Ok(UnlockFor::Time(Duration::from_secs(total))),
        _ => Err("unlock_for must be from one second to 365 days, or \"forever\"".to_owned()),
    }
}

/// A number with s, m, h or d.
fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(number.saturating_mul(seconds))
}

/// A socket file has one group, so one name is all that can be kept.
fn allow_group(groups: &[toml::Value]) -> Result<Option<u32>, ConfigError> {
    let group = match groups {
        [] => return Ok(None),
        [group] => group,
        _ => return Err(invalid("allow_groups holds more than one group: a socket has one, so name one")),
    };
    let gid = match group {
        toml::Value::Integer(gid) => {
            u32::try_from(*gid).map_err(|_| invalid("allow_groups holds an invalid gid"))?
        }
        toml::Value::String(name) => gid_of(name)?,
        _ => return Err(invalid("allow_groups must hold a group's name or gid")),
    };
    Ok(Some(gid))
}

/// Looks the name up in `/etc/group`.
fn gid_of(name: &str) -> Result<u32, ConfigError> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find_map(|fields| match fields.as_slice() {
            [group, _, gid, ..] if *group == name => gid.parse().ok(),
            _ => None,
        })
        .ok_or_else(|| {
            invalid(format!("allow_groups names {name:?}, which /etc/group does not have: give its gid"))
        })
}

/// The parser's own message may quote the line, and the line may hold a secret: its number is enough.
fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or_else(String::new, |before| format!(", line {}", before.matches('\n').count() + 1));
    ConfigError::Invalid { at, why: error.message().to_owned() }
}

fn invalid(why: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { at: String::new(), why: why.into() }
}

#[cfg(test)]
mod tests;
