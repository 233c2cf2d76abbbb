//! `token doctor`: what it says of a module is what PKCS#11 itself says, it leaves nothing, and it survives.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::Duration;

use backend::doctor::{Finding, Place, Told, Verdict};
use backend::pkcs11::{Asking, Profile};
use backend::{Backend, TokenState};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::{Session, UserType};
use serde_json::{Value, json};
use tuf::key::KeyType;

use crate::Case;
use crate::lab::{Lab, PIN, examine, secret, sign, start, unlocked};

pub const CASES: &[Case] = &[
    ("doctor_finds_of_softhsm_what_pkcs11_says_directly", as_it_is),
    ("doctor_without_a_pin_makes_no_login_and_says_what_is_not_known", without_a_pin),
    ("doctor_with_a_wrong_pin_makes_one_attempt_and_ends", wrong_pin),
    ("doctor_removes_what_a_killed_run_left_and_leaves_the_tokens_own_keys", leftovers),
    ("doctor_survives_a_module_that_crashes_and_one_that_hangs_and_the_token_goes_on_signing", falls),
    ("doctor_uses_no_handle_of_before_a_login_so_the_tokens_own_keys_stay", handles_renewed),
    ("doctor_that_nobody_waits_for_ends_and_leaves_nothing", nobody_waits),
];

/// Every fact that has a direct counterpart is compared with it, none with what a page says of SoftHSM.
fn as_it_is() {
    let lab = Lab::new();
    let profiles = lab.dir.path().join("profiles");
    let mut config = lab.config("hsm");
    config.profiles = Some(profiles.clone());
    let token = unlocked(config);
    token.generate(&"own".parse().unwrap(), KeyType::EcdsaP256).unwrap();
    let before = direct_facts(&lab, &[]);
    let diagnosis = examine(&token);
    let facts = &diagnosis.facts;
    let listed: Vec<&str> = facts.mechanisms.iter().flatten().map(|it| it.name.as_str()).collect();
    let direct: Vec<&str> =
        before["mechanisms"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(listed, direct);
    let (p256, ed25519) = (&facts.curves["ecdsa-p256"], &facts.curves["ed25519"]);
    assert_eq!(json!(p256.point_len), before["p256_point"]);
    assert_eq!(json!(ed25519.point_len), before["ed25519_point"]);
    assert_eq!(json!(p256.hash_and_sign.is_yes()), before["hash_and_sign"]);
    assert_eq!(json!(ed25519.accepted.contains(&"edwards25519".to_owned())), before["edwards25519"]);
    assert_eq!(json!(ed25519.accepted.contains(&"Ed25519".to_owned())), before["Ed25519"]);
    let mut lengths = facts.digest_lengths.clone().unwrap();
    lengths.sort_unstable();
    assert_eq!(json!(lengths), before["digests"]);
    assert_eq!(json!(facts.eddsa.heeds_parameters.is_yes()), before["heeds_prehash"]);
    assert_eq!(json!(facts.eddsa.multi_part.is_yes()), before["multi_part"]);
    let logins = facts.logins.as_ref().unwrap();
    assert_eq!(json!(logins.token_handle.is_yes()), before["old_handle"]);
    assert_eq!(json!(logins.second), before["second_login"]);
    let made = facts.generated.as_ref().unwrap();
    let told = json!([made.local, made.never_extractable, made.always_sensitive]);
    assert_eq!(told, before["origin"]);
    assert_eq!(made.readable, Finding::No("withheld as sensitive".to_owned()));
    let always = facts.always.as_ref().unwrap();
    assert_eq!(json!(always.honoured.is_yes()), before["always_honoured"]);
    assert_eq!(facts.token.as_ref().unwrap().sessions, Told::NoLimit);
    assert_eq!(facts.place, Some(Place::Session));
    assert!(facts.troubles.is_empty() && facts.left.is_empty(), "{facts:?}");
    // Nothing came, nothing went.
    assert_eq!(direct_facts(&lab, &[])["objects"], before["objects"]);
    let uses = diagnosis.uses();
    for (name, it) in uses.named() {
        let expected = if name == "root_ceremony" { Verdict::Limited } else { Verdict::Yes };
        assert_eq!(it.verdict, expected, "{name}: {}", it.why);
    }
    let ids: Vec<&str> = diagnosis.quirks().iter().map(|quirk| quirk.id).collect();
    for id in ["digest-only", "digest-length-unchecked", "eddsa-one-shot", "handles-end-with-login"] {
        assert!(ids.contains(&id), "{id} is not among {ids:?}");
    }
    assert!(token.save_profile(&diagnosis).unwrap());
    let kept = Profile::read(&profiles, diagnosis.sha256, diagnosis.facts.token.as_ref()).unwrap().unwrap();
    assert_eq!(kept.facts, diagnosis.facts);
    assert_eq!(token.info().state, TokenState::Unlocked, "the helper that signs was not touched");
}

fn without_a_pin() {
    let lab = Lab::new();
    let mut config = lab.lying_config("hsm");
    config.profiles = Some(lab.dir.path().join("profiles"));
    let token = start(config);
    let diagnosis = token.examine(Err("no PIN was given".to_owned()), &(), |_| true).unwrap();
    assert_eq!(lab.traced("C_Login"), 0);
    assert!(diagnosis.facts.mechanisms.is_some() && diagnosis.facts.sessions.is_some());
    assert!(diagnosis.facts.curves.is_empty() && !diagnosis.facts.not_measured.is_empty());
    for (name, it) in diagnosis.uses().named() {
        assert_eq!(it.verdict, Verdict::Limited, "{name}: {}", it.why);
    }
    assert!(!token.save_profile(&diagnosis).unwrap());
    assert!(!lab.dir.path().join("profiles").exists());
}

fn wrong_pin() {
    let lab = Lab::new();
    let token = start(lab.lying_config("hsm"));
    let error = token
        .examine(Ok((&secret("wrong-pin"), &Asking::default())), &crate::lab::Uncounted, |_| true)
        .unwrap_err();
    assert_eq!((error.reason(), lab.traced("C_Login")), ("PIN_INCORRECT", 1));
    // SoftHSM tells of it until the next right one; then nothing more is presented than the entry itself.
    let diagnosis = token.examine(Err("no PIN was given".to_owned()), &(), |_| true).unwrap();
    assert!(diagnosis.facts.token.as_ref().unwrap().count_low);
    assert!(diagnosis.quirks().iter().any(|quirk| quirk.id == "pin-count-low"));
    assert_eq!(lab.traced("C_Login"), 1);
}

fn leftovers() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let key = token.generate(&"own".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let clean = direct_facts(&lab, &[])["objects"].clone();
    assert_ne!(direct_facts(&lab, &["leave"])["objects"], clean);
    let diagnosis = examine(&token);
    assert_eq!(diagnosis.facts.removed, 2);
    assert!(diagnosis.quirks().iter().any(|quirk| quirk.id == "leftovers-removed"));
    assert_eq!(direct_facts(&lab, &[])["objects"], clean);
    sign(&token, &key, "its own key is still there").unwrap();
}

fn falls() {
    let lab = Lab::new();
    let mut config = lab.lying_config("hsm");
    config.deadline = Duration::from_secs(2);
    let token = unlocked(config);
    let key = token.generate(&"own".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let clean = direct_facts(&lab, &[])["objects"].clone();
    for (lie, how) in [("crash", "died"), ("hang", "did not answer")] {
        lab.say(lie);
        let diagnosis = examine(&token);
        lab.say("pass");
        let troubles = &diagnosis.facts.troubles;
        assert!(troubles.iter().any(|it| it.probe == "P-256" && it.how.contains(how)), "{troubles:?}");
        assert!(diagnosis.quirks().iter().any(|quirk| quirk.id == "does-not-survive"));
        // What signs nothing was measured all the same.
        assert!(diagnosis.facts.generated.is_some(), "{:?}", diagnosis.facts.not_measured);
        assert_ne!(diagnosis.uses().unattended.verdict, Verdict::Yes);
        sign(&token, &key, "by the helper that was never asked to lie").unwrap();
        assert_eq!(direct_facts(&lab, &[])["objects"], clean);
    }
}

/// The standard lets a login give handles anew: that of a key that was made to measure with is that of the token's own then.
fn handles_renewed() {
    for more in ["", "always-authenticate relogin", "always-authenticate made\nalways-authenticate context"] {
        let lab = Lab::new();
        lab.say("handles renewed");
        let token = unlocked(lab.lying_config("hsm"));
        let key = token.generate(&"own".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        let clean = direct_facts(&lab, &[])["objects"].clone();
        lab.say(&format!("handles renewed\n{more}"));
        let diagnosis = examine(&token);
        let facts = &diagnosis.facts;
        // They were renewed: without that nothing would be shown here.
        let logins = facts.logins.as_ref().unwrap_or_else(|| panic!("{more}: {:?}", facts.not_measured));
        let told =
            if facts.place == Some(Place::Token) { &logins.token_handle } else { &logins.session_handle };
        assert_eq!(*told, Finding::No("the old handle is another object".to_owned()), "{more}");
        assert!(facts.left.is_empty() && facts.troubles.is_empty(), "{more}: {facts:?}");
        assert_eq!(direct_facts(&lab, &[])["objects"], clean, "{more}");
        lab.say("handles renewed");
        sign(&token, &key, "its own key is still there").unwrap();
    }
}

fn nobody_waits() {
    let lab = Lab::new();
    let token = unlocked(lab.config("hsm"));
    let clean = direct_facts(&lab, &[])["objects"].clone();
    let mut steps = 0;
    let ended = token.examine(Ok((&secret(PIN), &Asking::default())), &crate::lab::Uncounted, |step| {
        steps = step.number;
        step.number < 6
    });
    assert!(ended.is_err());
    assert_eq!(steps, 6, "nothing is asked for after the end");
    assert_eq!(direct_facts(&lab, &[])["objects"], clean);
}

/// SoftHSM asked by nobody but this test, in a process of its own.
fn direct_facts(lab: &Lab, words: &[&str]) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("direct-facts")
        .arg(lab.folder.module())
        .args(words)
        .envs(lab.folder.env())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn direct(words: &[String]) -> ExitCode {
    let [module, rest @ ..] = words else { return ExitCode::FAILURE };
    let pkcs11 = Pkcs11::new(module).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&PIN.into())).unwrap();
    if rest.iter().any(|word| word == "leave") {
        let named = [Attribute::Token(true), Attribute::Label(b"tuf-agent doctor, may be removed".to_vec())];
        let private = [&named[..], &[Attribute::Sign(true)]].concat();
        pair(&session, &Mechanism::EccKeyPairGen, P256, &named, &private).unwrap();
    }
    let mut facts = BTreeMap::new();
    let mut mechanisms: Vec<String> =
        pkcs11.get_mechanism_list(slot).unwrap().iter().map(ToString::to_string).collect();
    mechanisms.sort();
    facts.insert("mechanisms", json!(mechanisms));
    facts.insert("objects", json!(objects(&session)));
    signing(&session, &mut facts);
    let second = match pkcs11.open_rw_session(slot).unwrap().login(UserType::User, Some(&PIN.into())) {
        Ok(()) => "CKR_OK",
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => "CKR_USER_ALREADY_LOGGED_IN",
        Err(_) => "something else",
    };
    facts.insert("second_login", json!(second));
    let own = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)]);
    if let Some(own) = own.unwrap().first() {
        session.logout().unwrap();
        session.login(UserType::User, Some(&PIN.into())).unwrap();
        let looked = session.get_attributes(*own, &[AttributeType::Id]);
        facts.insert("old_handle", json!(looked.is_ok()));
    }
    println!("{}", json!(facts));
    ExitCode::SUCCESS
}

fn signing(session: &Session, facts: &mut BTreeMap<&'static str, Value>) {
    let signs = [Attribute::Sign(true), Attribute::Sensitive(true), Attribute::Extractable(false)];
    let (public, private) = pair(session, &Mechanism::EccKeyPairGen, P256, &[], &signs).unwrap();
    let (ed_public, ed) = pair(session, &Mechanism::EccEdwardsKeyPairGen, ED25519, &[], &signs).unwrap();
    facts.insert("p256_point", json!(point_len(session, public)));
    facts.insert("ed25519_point", json!(point_len(session, ed_public)));
    facts.insert("hash_and_sign", json!(session.sign(&Mechanism::EcdsaSha256, private, b"x").is_ok()));
    let taken = |len: &usize| session.sign(&Mechanism::Ecdsa, private, &vec![7; *len]).is_ok();
    facts.insert("digests", json!([20, 32, 33, 64].into_iter().filter(taken).collect::<Vec<_>>()));
    for (name, form) in
        [("edwards25519", b"\x13\x0cedwards25519".as_slice()), ("Ed25519", b"\x13\x07Ed25519")]
    {
        let made = pair(session, &Mechanism::EccEdwardsKeyPairGen, form, &[], &signs);
        facts.insert(name, json!(made.is_ok()));
    }
    let by = |scheme| Mechanism::Eddsa(EddsaParams::new(scheme));
    let pure = session.sign(&by(EddsaSignatureScheme::Pure), ed, b"x").unwrap();
    let hashed = session.sign(&by(EddsaSignatureScheme::Ed25519ph(&[])), ed, b"x");
    facts.insert("heeds_prehash", json!(!hashed.is_ok_and(|signature| signature == pure)));
    session.sign_init(&by(EddsaSignatureScheme::Pure), ed).unwrap();
    facts.insert("multi_part", json!(session.sign_update(b"x").is_ok()));
    let told = session.get_attributes(
        private,
        &[AttributeType::Local, AttributeType::NeverExtractable, AttributeType::AlwaysSensitive],
    );
    let told: Vec<bool> = told
        .unwrap()
        .into_iter()
        .filter_map(|attribute| match attribute {
            Attribute::Local(it) | Attribute::NeverExtractable(it) | Attribute::AlwaysSensitive(it) => {
                Some(it)
            }
            _ => None,
        })
        .collect();
    facts.insert("origin", json!(told));
    let always = [&signs[..], &[Attribute::AlwaysAuthenticate(true)]].concat();
    let (_, always) = pair(session, &Mechanism::EccKeyPairGen, P256, &[], &always).unwrap();
    facts.insert("always_honoured", json!(session.sign(&Mechanism::Ecdsa, always, &[7; 32]).is_err()));
}

type Handles = (cryptoki::object::ObjectHandle, cryptoki::object::ObjectHandle);

fn pair(
    session: &Session,
    mechanism: &Mechanism<'_>,
    curve: &[u8],
    public: &[Attribute],
    private: &[Attribute],
) -> Result<Handles, cryptoki::error::Error> {
    let public = [public, &[Attribute::EcParams(curve.to_vec())]].concat();
    session.generate_key_pair(mechanism, &public, private)
}

fn point_len(session: &Session, key: cryptoki::object::ObjectHandle) -> usize {
    match session.get_attributes(key, &[AttributeType::EcPoint]).unwrap().as_slice() {
        [Attribute::EcPoint(point)] => point.len(),
        other => panic!("{other:?}"),
    }
}

/// Labels of all objects of the token.
fn objects(session: &Session) -> Vec<String> {
    let mut labels: Vec<String> = session
        .find_objects(&[Attribute::Token(true)])
        .unwrap()
        .into_iter()
        .map(|object| {
            format!(
                "{:?}",
                session.get_attributes(object, &[AttributeType::Class, AttributeType::Label]).unwrap()
            )
        })
        .collect();
    labels.sort();
    labels
}

const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
