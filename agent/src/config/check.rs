//! From the file's text to a `Config`: every rule, each with a sentence of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backend::TokenName;
use backend::attestation::Roots;
use backend::card::{PinPolicy, Touch};
use backend::pkcs11::Limits;

use super::raw::{Raw, RawRole, RawToken};
use super::{
    Card, Config, ConfigError, Module, OriginRule, PinSource, Select, TokenConfig, TokenKind, UnlockFor,
    source,
};

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
        if enabled {
            config.tokens.push(checked);
        }
    }
    if !file_is_named {
        add_default_file_store(&mut config)?;
    }
    Ok(config)
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
        raw.name.parse().map_err(|e| invalid(format!("the token name {:?}: {e}", raw.name)))?;
    let of = |why: String| invalid(format!("token {name}: {why}"));
    let pin = source::read(raw.pin.as_ref(), pinentry).map_err(of)?;
    let confirm = match raw.confirm.as_deref() {
        None => None,
        Some("pinentry") => Some(pinentry.to_owned()),
        Some(_) => return Err(of("confirm can be \"pinentry\" alone".to_owned())),
    };
    let unlock_for = raw.unlock_for.as_deref().map_or(Ok(UnlockFor::default()), unlock_for).map_err(of)?;
    let kind = match raw.kind.as_str() {
        "file" => file_kind(&raw).map_err(of)?,
        "pkcs11" => TokenKind::Pkcs11(module(raw).map_err(of)?),
        "yubikey" => TokenKind::Yubikey(card(raw).map_err(of)?),
        "shares" => {
            return Err(of(format!(
                "kind {:?} is not in this version: use \"yubikey\", \"pkcs11\" or \"file\"",
                raw.kind
            )));
        }
        _ => return Err(of("kind is none of \"file\", \"pkcs11\", \"yubikey\"".to_owned())),
    };
    Ok(TokenConfig { name, kind, pin, unlock_for, confirm })
}

fn file_kind(raw: &RawToken) -> Result<TokenKind, String> {
    misplaced(raw, &[("serial", raw.serial.is_some()), ("env", raw.env.is_some())])?;
    Ok(TokenKind::File)
}

fn card(raw: RawToken) -> Result<Card, String> {
    misplaced(&raw, &[])?;
    let named = raw.serial.as_ref().ok_or("serial is missing: it is printed on the YubiKey")?;
    let serial = serial(named)?;
    let serial =
        serial.parse().map_err(|_| format!("serial = {serial:?} is no YubiKey's: it is a number"))?;
    Ok(Card { serial, env: environment(raw.env)? })
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

/// RFC 3986 section 3.1: a scheme is the same in upper case.
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("pkcs11"))
}

/// What an entry says of a token, as one URI (RFC 7512 section 2.3).
fn uri_of(attributes: &[(&str, Option<String>)]) -> String {
    let encoded = |value: &String| value.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let given = attributes.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let all: Vec<_> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("pkcs11:{}", all.join(";"))
}

fn module(raw: RawToken) -> Result<Module, String> {
    let path = raw.module.ok_or("module is missing: name the PKCS#11 module's file")?;
    if !path.is_absolute() {
        return Err("module must be an absolute path".to_owned());
    }
    let serial = raw.serial.as_ref().map(serial).transpose()?;
    let select = match (raw.label, serial, raw.manufacturer, raw.uri) {
        (Some(label), None, None, None) => Select::Label(label),
        (None, Some(serial), None, None) => Select::Serial(serial),
        (None, None, None, Some(uri)) if has_scheme(&uri) => Select::Uri(uri),
        (None, None, None, Some(_)) => return Err("uri must begin with \"pkcs11:\"".to_owned()),
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
    let env = environment(raw.env)?;
    Ok(Module { path, select, env, reserved: raw.reserved, limits, sha256, sessions })
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

/// Debian's; a link to the one that fits the desktop.
const PINENTRY: &str = "/usr/bin/pinentry";

fn unlock_for(text: &str) -> Result<UnlockFor, String> {
    const FORM: &str = "unlock_for must be a number with s, m, h or d, such as \"8h\", or \"forever\"";
    if text == "forever" {
        return Ok(UnlockFor::Forever);
    }
    let unit = text.chars().last().ok_or(FORM)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(FORM.to_owned()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or(FORM)?;
    match number.checked_mul(seconds) {
        // A year is longer than any machine should hold a PIN.
        Some(total) if (1..=365 * 86_400).contains(&total) => Ok(UnlockFor::Time(Duration::from_secs(total))),
        _ => Err("unlock_for must be from one second to 365 days, or \"forever\"".to_owned()),
    }
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
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn without_a_word_there_is_the_file_store_and_nobody_else_may_connect() {
        let config = parse("").unwrap();
        assert_eq!(config.tokens.len(), 1);
        assert_eq!(config.tokens[0].name.to_string(), "file");
        assert_eq!(config.tokens[0].unlock_for, UnlockFor::Time(Duration::from_secs(3600)));
        assert_eq!(config.allow_group, None);
    }

    #[test]
    fn a_role_can_demand_keys_of_a_tokens_own_and_nothing_else() {
        let config = parse("[[role]]\nname = 'root'\norigin = 'token'\n[[role]]\nname = 'targets'\nrepository = 'app'\norigin = 'token'").unwrap();
        let rule = OriginRule { repository: None, role: "root".parse().unwrap(), touch: None, pin: None };
        assert_eq!(config.origins[0], rule);
        assert_eq!(config.origins[1].repository.as_deref(), Some("app"));
        let table = "[[role]]\nname = 'root'\norigin = 'token'\n";
        let config = parse(&format!("{table}touch = 'cached'\npin_policy = 'always'")).unwrap();
        let demanded = (Some(Touch::Cached), Some(PinPolicy::Always));
        assert_eq!((config.origins[0].touch, config.origins[0].pin), demanded);
        for (line, word) in
            [("touch = 'never'", "touch"), ("pin_policy = 'never'", "pin_policy"), ("touch = 'yes'", "touch")]
        {
            assert!(refused(&format!("{table}{line}")).contains(word), "{line}");
        }
        assert!(refused("attestation_roots = ['roots.pem']").contains("absolute"));
        assert!(refused("[[role]]\nname = 'root'\norigin = 'yubikey'").contains("origin"));
        assert!(refused("[[role]]\nname = 'root'").contains("origin"));
        assert!(refused("[[role]]\nname = 'root'\norigin = 'token'\nrepository = ''").contains("repository"));
        assert!(
            refused("[[role]]\nname = 'root'\norigin = 'token'\nreposotory = 'app'").contains("reposotory")
        );
    }

    #[test]
    fn the_file_store_can_be_renamed_and_taken_away() {
        let config = parse("[[token]]\nname = 'keys'\nkind = 'file'\nunlock_for = 'forever'").unwrap();
        assert_eq!(config.tokens[0].name.to_string(), "keys");
        assert_eq!(config.tokens[0].unlock_for, UnlockFor::Forever);
        assert!(parse("[[token]]\nname = 'keys'\nkind = 'file'\nenabled = false").unwrap().tokens.is_empty());
    }

    #[test]
    fn a_token_is_named_by_its_manufacturer_alone_or_with_more() {
        let select = |words: &str| {
            let text = format!("[[token]]\nname = 'hsm'\nkind = 'pkcs11'\nmodule = '/m.so'\n{words}");
            parse(&text).map(|config| match &config.tokens[1].kind {
                TokenKind::Pkcs11(module) => module.select.clone(),
                kind => panic!("{kind:?}"),
            })
        };
        let uri = |text: &str| Select::Uri(text.to_owned());
        assert_eq!(select("manufacturer = 'A;'").unwrap(), uri("pkcs11:manufacturer=%41%3B"));
        assert_eq!(
            select("manufacturer = 'A'\nlabel = 'b'\nserial = 1").unwrap(),
            uri("pkcs11:token=%62;serial=%31;manufacturer=%41")
        );
        assert_eq!(select("uri = 'PKCS11:token=a'").unwrap(), uri("PKCS11:token=a"));
        for wrong in ["", "label = 'a'\nserial = 1", "manufacturer = 'A'\nuri = 'pkcs11:token=a'"] {
            assert!(select(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pkcs11_token_takes_all_its_words() {
        let text = "[[token]]\nname = 'hsm'\nkind = 'pkcs11'\nmodule = '/m.so'\nserial = 123\nenv = { A = 'b' }\nreserved = 'x'\nsha256 = 'any'\npaths = ['/a', '/b/c']\nnetwork = false\nsessions = 4\npin = { fd = 3 }\nunlock_for = '8h'";
        let config = parse(text).unwrap();
        let TokenKind::Pkcs11(module) = &config.tokens[1].kind else { panic!("not pkcs11") };
        assert_eq!(module.select, Select::Serial("123".into()));
        let paths = Some(vec!["/a".into(), "/b/c".into()]);
        assert_eq!(module.limits, Limits { paths, network: Some(false) });
        assert_eq!(module.sessions, 4);
        assert_eq!(config.tokens[1].pin, PinSource::Fd(3));
        for wrong in ["0", "17"] {
            assert!(
                refused(&text.replace("sessions = 4", &format!("sessions = {wrong}")))
                    .contains("from 1 to 16")
            );
        }
    }

    #[test]
    fn a_yubikey_is_named_by_its_number_and_has_no_module() {
        let with = |line: &str| format!("[[token]]\nname = 'a'\nkind = 'yubikey'\n{line}");
        for serial in ["12345678", "'12345678'"] {
            let config = parse(&with(&format!("serial = {serial}\nenv = {{ A = 'b' }}"))).unwrap();
            let TokenKind::Yubikey(card) = &config.tokens[1].kind else { panic!("no card") };
            assert_eq!((card.serial, card.env["A"].as_str()), (12_345_678, "b"));
        }
        assert!(refused(&with("")).contains("serial is missing"));
        assert!(refused(&with("serial = -1")).contains("is a number"));
        assert!(refused(&with("serial = 1\nmodule = '/m.so'")).contains("module means nothing"));
        assert!(refused(&with("serial = 1\nlabel = 'x'")).contains("label means nothing"));
    }

    #[test]
    fn what_is_not_in_this_version_is_refused_by_name() {
        assert!(refused("[[token]]\nname = 'a'\nkind = 'shares'").contains("not in this version"));
        assert!(refused("[grant]\nx = 1").contains("reserved"));
        assert!(refused("[[approval]]").contains("reserved"));
    }

    #[test]
    fn what_a_module_may_write_is_absolute_and_not_everything() {
        let with = |line: &str| {
            format!("[[token]]\nname = 'a'\nkind = 'pkcs11'\nmodule = '/m.so'\nlabel = 'x'\n{line}")
        };
        let TokenKind::Pkcs11(module) = &parse(&with("")).unwrap().tokens[1].kind else { panic!() };
        assert_eq!(module.limits, Limits::default());
        assert!(parse(&with("paths = []")).is_ok());
        assert!(refused(&with("paths = ['tokens']")).contains("not absolute"));
        assert!(refused(&with("paths = ['/a', '/']")).contains("confines nothing"));
        assert!(refused("[[token]]\nname = 'a'\nkind = 'file'\npaths = ['/a']").contains("paths"));
    }

    #[test]
    fn a_person_is_asked_by_the_pinentry_that_is_named() {
        let text = "pinentry = '/opt/ask'\n[[token]]\nname = 'a'\nkind = 'file'\npin = 'pinentry'\nconfirm = 'pinentry'";
        let token = &parse(text).unwrap().tokens[0];
        assert_eq!(token.pin, PinSource::Pinentry("/opt/ask".into()));
        assert_eq!(token.confirm.as_deref(), Some(Path::new("/opt/ask")));
        assert!(!token.pin.is_unattended());
        let default = parse("[[token]]\nname = 'a'\nkind = 'file'\npin = 'pinentry'").unwrap();
        assert_eq!(default.tokens[0].pin, PinSource::Pinentry(PINENTRY.into()));
        assert_eq!(default.tokens[0].confirm, None);
        assert!(refused("pinentry = 'ask'").contains("absolute"));
        assert!(refused("[[token]]\nname = 'a'\nkind = 'file'\nconfirm = 'yes'").contains("confirm"));
    }

    #[test]
    fn a_pin_can_lie_in_a_keyring() {
        let config = |name: &str| {
            parse(&format!("[[token]]\nname = 'a'\nkind = 'file'\npin = {{ keyring = {name:?} }}"))
        };
        let token = &config("tuf-agent:hsm").unwrap().tokens[0];
        assert_eq!(token.pin, PinSource::Keyring("tuf-agent:hsm".into()));
        assert!(token.pin.is_unattended());
        assert!(config("").is_err());
    }

    #[test]
    fn an_item_of_the_secret_service_is_named_by_its_attributes() {
        let config = |pin: &str| {
            parse(&format!("[[token]]\nname = 'a'\nkind = 'file'\npin = {{ secret_service = {pin} }}"))
        };
        let named = "{ service = 'tuf-agent', token = 'hsm' }";
        if cfg!(not(feature = "secret-service")) {
            assert!(
                refused(&format!(
                    "[[token]]\nname = 'a'\nkind = 'file'\npin = {{ secret_service = {named} }}"
                ))
                .contains("built without")
            );
            return;
        }
        let token = &config(named).unwrap().tokens[0];
        assert!(token.pin.is_unattended());
        assert_eq!(
            token.pin.place(),
            "the item of the Secret Service with service = \"tuf-agent\", token = \"hsm\""
        );
        for bad in ["{}", "{ a = '' }", "{ a = 1 }", "'x'", "{ a = \"\\u0007\" }"] {
            assert!(config(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_words_are_refused_with_their_line() {
        let message = refused("[[token]]\nname = 'a'\nkind = 'file'\npni = 'prompt'");
        assert!(message.contains("pni") && message.contains("line 4"), "{message}");
    }

    #[test]
    fn a_pin_written_into_the_file_is_refused_and_not_repeated() {
        for text in ["pin = '424242'", "pin = { value = '424242' }", "pin = 424242", "pin = '424242"] {
            let message = refused(&format!("[[token]]\nname = 'a'\nkind = 'file'\n{text}"));
            assert!(!message.contains("424242"), "{message}");
        }
    }

    #[test]
    fn two_tokens_of_one_name_or_two_file_stores_are_refused() {
        let p11 = |name: &str| {
            format!("[[token]]\nname = '{name}'\nkind = 'pkcs11'\nmodule = '/m.so'\nlabel = 'x'\n")
        };
        assert!(refused(&(p11("a") + &p11("a"))).contains("two tokens"));
        assert!(refused(&p11("file")).contains("belongs to the file store"));
        assert!(
            refused("[[token]]\nname='a'\nkind='file'\n[[token]]\nname='b'\nkind='file'")
                .contains("one file store")
        );
    }

    #[test]
    fn a_group_is_taken_by_name_or_number_and_only_one() {
        assert_eq!(parse("allow_groups = [77]").unwrap().allow_group, Some(77));
        assert_eq!(parse("allow_groups = ['root']").unwrap().allow_group, Some(0));
        assert!(refused("allow_groups = [1, 2]").contains("name one"));
    }

    /// Words of the right kind in any order, and any text at all.
    fn configuration() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let word = prop_oneof![
            Just("[[token]]"),
            Just("name"),
            Just("kind"),
            Just("\"pkcs11\""),
            Just("\"file\""),
            Just("module"),
            Just("pin"),
            Just("env"),
            Just("unlock_for"),
            Just("\"8h\""),
            Just("serial"),
            Just("uri"),
            Just("allow_groups"),
            Just("{ file = \"/x\" }"),
            Just("{ fd = 3 }"),
            Just("[1]"),
            Just("-1"),
            Just("99999999999999999999"),
            Just("1979-05-27"),
            Just("= "),
            Just("\n"),
            Just("\"/m.so\""),
            Just("true"),
            Just("\"\\u0007\""),
        ];
        prop_oneof![proptest::collection::vec(word, 0..40).prop_map(|words| words.concat()), any::<String>()]
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_a_configuration_or_an_error_and_never_a_panic(text in configuration()) {
            if let Err(error) = parse(&text) {
                proptest::prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
