use backend::pkcs11::Limits;

use super::*;
use crate::config::Select;

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
    assert!(refused("[[role]]\nname = 'root'\norigin = 'token'\nreposotory = 'app'").contains("reposotory"));
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
    let text = "[[token]]\nname = 'hsm'\nkind = 'pkcs11'\nmodule = '/m.so'\nserial = 123\nenv = { A = 'b' }\nreserved = 'x'\nsha256 = 'any'\npaths = ['/a', '/b/c']\nnetwork = false\nsessions = 4\ndeadline = '2m'\npin = { fd = 3 }\nunlock_for = '8h'";
    let config = parse(text).unwrap();
    let TokenKind::Pkcs11(module) = &config.tokens[1].kind else { panic!("not pkcs11") };
    assert_eq!(module.select, Select::Serial("123".into()));
    let paths = Some(vec!["/a".into(), "/b/c".into()]);
    assert_eq!(module.limits, Limits { paths, network: Some(false) });
    assert_eq!((module.sessions, module.deadline), (4, Duration::from_secs(120)));
    let config = parse(&text.replace("deadline = '2m'\n", "")).unwrap();
    let TokenKind::Pkcs11(module) = &config.tokens[1].kind else { panic!("not pkcs11") };
    assert_eq!(module.deadline, Duration::from_secs(15));
    for wrong in ["0s", "4s", "11m", "soon"] {
        assert!(refused(&text.replace("'2m'", &format!("'{wrong}'"))).contains("5s to 10m"), "{wrong}");
    }
    assert_eq!(config.tokens[1].pin, PinSource::Fd(3));
    for wrong in ["0", "17"] {
        assert!(
            refused(&text.replace("sessions = 4", &format!("sessions = {wrong}"))).contains("from 1 to 16")
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
    let needs = |line: &str| match &parse(&with(line)).unwrap().tokens[1].kind {
        TokenKind::Yubikey(card) => card.need_unlock,
        _ => panic!("no card"),
    };
    assert!(!needs("serial = 1") && needs("serial = 1\nneed_unlock = true"));
    for kind in ["file'", "shares'", "pkcs11'\nmodule = '/m.so'\nlabel = 'x'"] {
        let other = format!("[[token]]\nname = 'b'\nneed_unlock = true\nkind = '{kind}");
        assert!(refused(&other).contains("need_unlock means nothing"), "{kind}");
    }
    assert!(refused(&with("")).contains("serial is missing"));
    assert!(refused(&with("serial = -1")).contains("is a number"));
    assert!(refused(&with("serial = 1\nmodule = '/m.so'")).contains("module means nothing"));
    assert!(refused(&with("serial = 1\nlabel = 'x'")).contains("label means nothing"));
    let twice = with("serial = 1\n") + &with("serial = '1'\n").replace("'a'", "'b'");
    assert!(refused(&twice).contains("a and b are one YubiKey"));
    assert!(parse(&twice.replace("serial = '1'", "serial = '1'\nenabled = false")).is_ok());
}

#[test]
fn a_token_of_shares_has_no_pin_no_device_and_there_may_be_several() {
    let token = |name: &str, line: &str| format!("[[token]]\nname = '{name}'\nkind = 'shares'\n{line}\n");
    let config = parse(&(token("a", "") + &token("b", "confirm = 'pinentry'"))).unwrap();
    let collects_for = |line: &str| parse(&token("a", line)).unwrap().tokens[1].collect_for().as_secs();
    assert_eq!((collects_for(""), collects_for("collect_for = '2h'")), (15 * 60, 2 * 3600));
    for wrong in ["0s", "2d", "15", "forever", "99999999999999999999h"] {
        assert!(refused(&token("a", &format!("collect_for = '{wrong}'"))).contains("collect_for"), "{wrong}");
    }
    assert!(
        refused("[[token]]\nname = 'f'\nkind = 'file'\ncollect_for = '1h'")
            .contains("collect_for means nothing")
    );
    assert_eq!((&config.tokens[1].pin, config.tokens[1].pin.is_unattended()), (&PinSource::Nothing, false));
    assert_eq!(config.tokens[2].confirm.as_deref(), Some(Path::new(PINENTRY)));
    assert!(refused(&token("..", "")).contains("begin with a dot"));
    for line in ["pin = 'prompt'", "unlock_for = '8h'", "serial = 1", "module = '/m.so'", "env = { A = 'b' }"]
    {
        assert!(refused(&token("a", line)).contains("means nothing"), "{line}");
    }
}

#[test]
fn what_is_not_in_this_version_is_refused_by_name() {
    assert!(refused("[grant]\nx = 1").contains("reserved"));
    assert!(refused("[[approval]]").contains("reserved"));
}

#[test]
fn what_a_module_may_write_is_absolute_and_not_everything() {
    let with =
        |line: &str| format!("[[token]]\nname = 'a'\nkind = 'pkcs11'\nmodule = '/m.so'\nlabel = 'x'\n{line}");
    let TokenKind::Pkcs11(module) = &parse(&with("")).unwrap().tokens[1].kind else { panic!() };
    assert_eq!(module.limits, Limits::default());
    assert!(parse(&with("paths = []")).is_ok());
    assert!(refused(&with("paths = ['tokens']")).contains("not absolute"));
    assert!(refused(&with("paths = ['/a', '/']")).contains("confines nothing"));
    assert!(refused("[[token]]\nname = 'a'\nkind = 'file'\npaths = ['/a']").contains("paths"));
}

#[test]
fn a_person_is_asked_by_the_pinentry_that_is_named() {
    let text =
        "pinentry = '/opt/ask'\n[[token]]\nname = 'a'\nkind = 'file'\npin = 'pinentry'\nconfirm = 'pinentry'";
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
fn only_a_module_can_have_a_token_that_wants_no_pin() {
    let module = "[[token]]\nname = 'a'\nkind = 'pkcs11'\nmodule = '/m.so'\nlabel = 'x'\npin = 'none'";
    let pin = &parse(module).unwrap().tokens[1].pin;
    assert!(*pin == PinSource::Unwanted && pin.is_unattended());
    for kind in ["kind = 'file'", "kind = 'yubikey'\nserial = 1"] {
        let text = format!("[[token]]\nname = 'a'\n{kind}\npin = 'none'");
        assert!(refused(&text).contains("PKCS#11 token that wants no PIN"), "{kind}");
    }
}

#[test]
fn a_pin_can_lie_in_a_keyring() {
    let config =
        |name: &str| parse(&format!("[[token]]\nname = 'a'\nkind = 'file'\npin = {{ keyring = {name:?} }}"));
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
            refused(&format!("[[token]]\nname = 'a'\nkind = 'file'\npin = {{ secret_service = {named} }}"))
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
    let p11 =
        |name: &str| format!("[[token]]\nname = '{name}'\nkind = 'pkcs11'\nmodule = '/m.so'\nlabel = 'x'\n");
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
