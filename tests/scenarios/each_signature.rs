//! Keys that take the PIN for each signature, on tokens whose PIN a person types (FAULTS C1, C5, C7).

use std::fs;
use std::path::Path;

use lying_pkcs11::Desk;
use serde_json::{Value, json};
use softhsm::{Ready, Skipped, SoftHsm, Tpm2, third_party_dir};
use tufagent_tests::{Agent, Home, PIN, need};

use crate::terminal::{talk, talk_in_steps};

/// The end of the prompt that `tufctl` shows for the token.
const PROMPT: &str = "label build): ";

fn softhsm(dir: &Path) -> Result<Ready, Skipped> {
    let folder = SoftHsm::find_or_fetch()?.folder(dir)?;
    Ok(folder.ready(&folder.init_token("build", "so-pin-4711", PIN)?))
}

fn tpm2(dir: &Path) -> Result<Ready, Skipped> {
    Tpm2::find_or_fetch_in(&third_party_dir()?)?.token(dir, "build", "so-pin-4711", PIN)
}

/// A token behind the lying module whose key `online` signs timestamp and snapshot; the module itself wants the PIN for each
/// of its signatures.
struct Bed {
    home: Home,
    _agent: Agent,
    desk: Desk,
    _ready: Ready,
}

impl Bed {
    fn new(make: fn(&Path) -> Result<Ready, Skipped>) -> Option<Self> {
        let home = Home::new();
        let ready = need(make(&home.dir().join("token")))?;
        home.config(&home.lie_before("hsm", &ready.module, &ready.table("hsm")));
        let desk = home.lying_desk("hsm");
        desk.say("always-authenticate made");
        let agent = home.start();
        home.secret("pin", PIN);
        home.secret("wrong", "wrong-pin-77ac");
        home.unlock_file_store();
        home.keys(&["root", "targets"]);
        home.run("token unlock hsm --pin-file pin").done();
        home.run("key generate online --token hsm --type ecdsa-p256").done();
        home.run(
            "repo init repo --name app --root root --targets targets --snapshot online --timestamp online",
        )
        .done();
        desk.forget();
        Some(Self { home, _agent: agent, desk, _ready: ready })
    }

    /// Signs at a terminal where the PIN is typed as often as `pins` says.
    fn sign(&self, pins: &[&str]) -> Option<(i32, String)> {
        let lines: Vec<_> = pins.iter().map(|pin| format!("{pin}\n")).collect();
        let steps: Vec<_> = lines.iter().map(|line| (PROMPT, line.as_str())).collect();
        talk(&self.home, "sign repo --yes", &steps)
    }

    /// Logins for one signature, signatures, other logins.
    fn asked(&self) -> (usize, usize, usize) {
        let trace = self.desk.trace();
        (trace.context_logins(), trace.signatures(), trace.logins())
    }
}

#[track_caller]
fn one_pin_one_signature(make: fn(&Path) -> Result<Ready, Skipped>) {
    let Some(bed) = Bed::new(make) else { return };
    let Some((code, screen)) = bed.sign(&[PIN, PIN]) else { return };
    assert_eq!(code, 0, "{screen}");
    assert_eq!(bed.asked(), (2, 2, 0), "{screen}");
    let serial = bed.home.token("hsm")["serial"].as_str().unwrap().to_owned();
    for shown in ["online takes its PIN", "snapshot v1 of app", "timestamp v1 of app", "sha256 ", &serial] {
        assert!(screen.contains(shown), "{shown} is not in\n{screen}");
    }
    let trace = bed.desk.trace();
    let calls: Vec<_> = trace.sequence().collect();
    for at in (0..calls.len()).filter(|at| calls[*at] == "C_SignInit") {
        assert_eq!(calls[at..at + 3], ["C_SignInit", "C_Login", "C_Sign"], "{calls:?}");
    }
    // Nothing was kept of it.
    bed.home.run("bump repo timestamp").done();
    let (code, screen) = bed.sign(&[PIN]).unwrap();
    assert_eq!((code, bed.asked()), (0, (3, 3, 0)), "{screen}");
    // A wrong one is one attempt, counted, and ends the login.
    bed.home.run("bump repo timestamp").done();
    let attempts = bed.home.journalled("token.attempt").len();
    let (code, screen) = bed.sign(&["wrong-pin-77ac"]).unwrap();
    assert_eq!((code, bed.asked()), (5, (4, 3, 0)), "{screen}");
    assert_eq!(bed.home.journalled("token.attempt").len(), attempts + 1);
    assert_eq!(bed.home.token("hsm")["state"], "locked");
    let refused = bed.home.refused("token unlock hsm --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!(refused["details"]["wrong"], 2, "{refused}");
    bed.home.run("token unlock hsm --pin-file pin").done();
    let (code, screen) = bed.sign(&[PIN]).unwrap();
    assert_eq!(code, 0, "{screen}");
}

#[test]
fn a_key_of_softhsm_takes_a_typed_pin_for_each_signature() {
    one_pin_one_signature(softhsm);
}

#[test]
fn a_key_of_a_tpm_takes_a_typed_pin_for_each_signature() {
    one_pin_one_signature(tpm2);
}

#[test]
fn where_nobody_types_it_nothing_is_signed_tried_or_recorded() {
    let Some(bed) = Bed::new(softhsm) else { return };
    let Some((code, screen)) = bed.sign(&[PIN, PIN]) else { return };
    assert_eq!(code, 0, "{screen}");
    bed.desk.forget();
    bed.home.run("bump repo timestamp").done();
    let recorded = || (bed.home.journalled("sign.intent").len(), bed.home.journalled("token.attempt").len());
    let before = recorded();
    let refused = bed.home.refused("sign repo --yes", 5, "PIN_REQUIRED");
    assert!(refused["remedy"].as_str().unwrap().contains("terminal"), "{refused}");
    assert_eq!((&refused["details"]["key"], &refused["details"]["token"]), (&json!("online"), &json!("hsm")));
    // Ctrl-C, and nothing but Enter.
    for typed in ["\u{3}", "\n"] {
        let (code, screen) = talk(&bed.home, "sign repo --yes", &[(PROMPT, typed)]).unwrap();
        assert_ne!(code, 0, "{screen}");
    }
    assert_eq!((recorded(), bed.asked()), (before, (0, 0, 0)));
    assert_eq!(bed.home.token("hsm")["state"], "unlocked");
    let (code, screen) = bed.sign(&[PIN]).unwrap();
    assert_eq!((code, bed.asked()), (0, (1, 1, 0)), "{screen}");
}

#[test]
fn a_key_that_did_not_sign_stands_in_the_json_with_the_reason() {
    let Some(bed) = Bed::new(softhsm) else { return };
    let home = &bed.home;
    let unsigned = |signed: &Value, role: &str, reason: &str| {
        let [one] = signed["unsigned"].as_array().unwrap().as_slice() else { panic!("{signed}") };
        let names = ["role", "key", "token", "reason"].map(|name| one[name].as_str().unwrap());
        assert_eq!(names, [role, "online", "hsm", reason], "{signed}");
        assert_eq!((&one["version"], one["keyid"].as_str().unwrap().len()), (&json!(1), 64), "{signed}");
        for sentence in ["message", "remedy"] {
            assert!(one[sentence].as_str().is_some_and(|text| !text.is_empty()), "{signed}");
        }
    };
    home.run("delegation add repo team --key targets,online --threshold 2 --paths t/*").done();
    home.run("token lock hsm").done();
    unsigned(&home.run("sign repo --yes --json").exits(4).json(), "team", "TOKEN_LOCKED");
    unsigned(&home.refused("sign repo --yes", 5, "TOKEN_LOCKED")["details"], "team", "TOKEN_LOCKED");
    // Now the token is there, and nobody types the PIN that the key takes for each signature.
    home.run("token unlock hsm --pin-file pin").done();
    home.run("delegation add repo club --key targets,online --threshold 2 --paths c/*").done();
    let signed = home.run("sign repo --role club,targets --yes --json").exits(4).json();
    unsigned(&signed, "club", "PIN_REQUIRED");
    let Some((code, screen)) = bed.sign(&[PIN; 4]) else { return };
    assert_eq!(code, 0, "{screen}");
    home.run("bump repo targets").done();
    let staged = home.run("sign repo --role targets --yes --json").exits(4).json();
    assert_eq!(staged["unsigned"], json!([]), "{staged}");
}

#[test]
fn a_card_that_is_swapped_while_the_prompt_stands_gets_no_pin() {
    let Some(bed) = Bed::new(softhsm) else { return };
    let control = bed.home.dir().join("swap");
    fs::write(&control, "token serial BBBB2222").unwrap();
    let env = bed.desk.env(Path::new("/real.so"));
    let (_, at) = env.into_iter().find(|(name, _)| name == "LYING_CONTROL").unwrap();
    let swap = format!("cp {} {at}.new && mv {at}.new {at}", control.display());
    let steps = json!([[PROMPT, format!("{PIN}\n"), swap]]).to_string();
    let Some((code, screen)) = talk_in_steps(&bed.home, "sign repo --yes", &steps) else { return };
    assert_eq!((code, bed.asked().0), (5, 0), "{screen}");
    assert!(screen.contains("BBBB2222"), "{screen}");
}

#[test]
fn bins_by_the_dozen_are_asked_for_one_after_the_other() {
    let Some(bed) = Bed::new(softhsm) else { return };
    let Some((code, screen)) = bed.sign(&[PIN, PIN]) else { return };
    assert_eq!(code, 0, "{screen}");
    bed.home.run("delegation add repo bin --key online --threshold 1 --succinct-bins 64").done();
    bed.desk.forget();
    let (code, screen) = bed.sign(&[PIN; 66]).unwrap();
    assert_eq!((code, bed.asked()), (0, (66, 66, 0)), "{screen}");
}

#[test]
fn a_signature_that_fails_after_its_pin_was_accepted_is_journalled_as_one_that_was_asked_for() {
    let Some(bed) = Bed::new(softhsm) else { return };
    let journalled = |kind: &str| bed.home.journalled(kind).len();
    let before = (journalled("token.attempt"), journalled("token.accepted"));
    bed.desk.say("always-authenticate made\nC_Sign * CKR_DATA_INVALID");
    let Some((code, screen)) = bed.sign(&[PIN]) else { return };
    assert_ne!(code, 0, "{screen}");
    assert_eq!(bed.desk.trace().context_logins(), 1, "{screen}");
    assert_eq!((journalled("token.attempt"), journalled("token.accepted")), (before.0 + 1, before.1 + 1));
    assert_eq!(journalled("token.not-asked"), 0);
}

#[test]
fn a_pin_that_a_module_may_have_looked_at_is_counted_each_time_that_it_is_presented() {
    // A token that tells of the wrong one, or does not.
    for (answer, flags) in [
        ("CKR_OPERATION_NOT_INITIALIZED", ""),
        ("CKR_USER_ALREADY_LOGGED_IN", "token flags none\n"),
        ("CKR_USER_TYPE_INVALID", "token flags none\n"),
        ("CKR_FUNCTION_NOT_SUPPORTED", ""),
    ] {
        let Some(bed) = Bed::new(softhsm) else { return };
        // Whatever it says to it, it has looked at the PIN, which is wrong.
        bed.desk.say(&format!("always-authenticate made\n{flags}C_Login 1 after {answer}"));
        let counted = || bed.home.journalled("token.attempt").len();
        let before = counted();
        let Some((code, screen)) = bed.sign(&["wrong-pin-77ac"]) else { return };
        let (contexts, signatures, logins) = bed.asked();
        assert_eq!((code, signatures), (4, 0), "{screen}");
        assert_eq!((counted() - before, contexts), (contexts + logins, 1), "{answer} {flags}: {screen}");
        assert_eq!(bed.home.token("hsm")["state"], "locked", "{answer} {flags}: {screen}");
    }
}
