//! Every code at every call (FAULTS D2): what the agent makes of it stands in one table, `src/host/ckr.tsv`.
//!
//! Each cell is a call of the helper's and a code, told once and told always. Checked of each: the answer; that no PIN
//! was presented that nobody entered; that no signature was made again whose outcome nobody knows; and that all is well
//! again once the module tells the truth, after an unlock at most.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use backend::import::parse_private_key;
use backend::pkcs11::{Asking, Pkcs11Token};
use backend::{Backend, BackendError, TokenState};
use ed25519_dalek::pkcs8::EncodePrivateKey;
use pkcs8::LineEnding;
use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::always::sign_with;
use crate::lab::{Lab, PIN, secret, sign, start, unlock};

pub const CASES: &[Case] = &[
    ("every_code_at_the_calls_that_find_a_token_is_met_as_the_table_says", || matrix(FINDING, "")),
    ("every_code_at_the_calls_of_a_login_is_met_as_the_table_says", || matrix(LOGINS, "")),
    ("every_code_at_the_calls_of_a_signature_is_met_as_the_table_says", || matrix(SIGNATURES, "")),
    ("every_code_at_the_calls_about_keys_is_met_as_the_table_says", || matrix(KEYS, "")),
    ("every_code_at_the_calls_of_a_pin_for_each_signature_is_met_as_the_table_says", || matrix(EACH_USE, "")),
    ("every_code_at_c_sign_of_one_table_of_several_is_met_as_the_table_says", || {
        matrix(ONE_OF_SEVERAL, "tables each\n");
    }),
    ("every_code_at_the_calls_of_doctor_alone_is_met_as_the_table_says", || matrix(DOCTOR, "")),
];

/// The codes that are tried beside those of the table.
const MORE_CODES: &[&str] = &[
    "CKR_HOST_MEMORY",
    "CKR_GENERAL_ERROR",
    "CKR_FUNCTION_FAILED",
    "CKR_ARGUMENTS_BAD",
    "CKR_ATTRIBUTE_SENSITIVE",
    "CKR_DATA_LEN_RANGE",
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_MEMORY",
    "CKR_FUNCTION_CANCELED",
    "CKR_KEY_TYPE_INCONSISTENT",
    "CKR_KEY_FUNCTION_NOT_PERMITTED",
    "CKR_SESSION_READ_ONLY_EXISTS",
    "CKR_USER_ALREADY_LOGGED_IN",
    "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
    "CKR_USER_TYPE_INVALID",
    "CKR_BUFFER_TOO_SMALL",
    "CKR_CRYPTOKI_ALREADY_INITIALIZED",
    "CKR_DOMAIN_PARAMS_INVALID",
    "CKR_VENDOR_DEFINED",
    "0x80000123",
];

/// The calls of the helper's, and what somebody does that leads to them: all that it ever makes.
type Calls = &'static [(&'static str, Deed)];

const FINDING: Calls = &[
    ("C_GetFunctionList", Deed::Open),
    ("C_Initialize", Deed::Open),
    ("C_GetInfo", Deed::Open),
    ("C_GetSlotList", Deed::Open),
    ("C_GetTokenInfo", Deed::Open),
    ("C_OpenSession", Deed::Open),
    ("C_GetSessionInfo", Deed::Open),
];
const LOGINS: Calls = &[("C_Login", Deed::Unlock), ("C_Logout", Deed::Lock), ("C_SetPIN", Deed::ChangePin)];
const SIGNATURES: Calls = &[
    ("C_FindObjectsInit", Deed::FindAndSign),
    ("C_FindObjects", Deed::FindAndSign),
    ("C_FindObjectsFinal", Deed::FindAndSign),
    ("C_GetAttributeValue", Deed::FindAndSign),
    ("C_SignInit", Deed::Sign),
    ("C_Sign", Deed::Sign),
    ("C_CloseSession", Deed::SignInNewSession),
    ("C_Finalize", Deed::SignAfterReload),
];
const KEYS: Calls = &[
    ("C_GenerateKeyPair", Deed::Generate),
    ("C_CreateObject", Deed::Import),
    ("C_DestroyObject", Deed::Remove),
];
const EACH_USE: Calls = &[
    ("C_SignInit", Deed::SignEachUse),
    ("C_Login:each-use", Deed::SignEachUse),
    ("C_Sign:each-use", Deed::SignEachUse),
];
/// Of a module that gives another table to each who asks.
const ONE_OF_SEVERAL: Calls = &[("C_Sign", Deed::Sign), ("C_Sign:each-use", Deed::SignEachUse)];
const DOCTOR: Calls = &[
    ("C_GetSlotInfo", Deed::Measure),
    ("C_GetMechanismList", Deed::Measure),
    ("C_GetMechanismInfo", Deed::Measure),
    ("C_CopyObject", Deed::MeasureKeys),
    ("C_SignUpdate", Deed::MeasureParts),
    ("C_SignFinal?", Deed::MeasureParts),
    ("C_SignFinal", Deed::MeasureParts),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    /// The agent starts, and somebody unlocks the token.
    Open,
    Unlock,
    Lock,
    Sign,
    /// The first signature after an unlock.
    FindAndSign,
    /// One whose session has just become useless.
    SignInNewSession,
    /// One before which the module has forgotten that it was initialised.
    SignAfterReload,
    Generate,
    Import,
    Remove,
    ChangePin,
    /// By a key that takes the PIN for each signature.
    SignEachUse,
    /// Doctor, without a PIN.
    Measure,
    /// Doctor, with one.
    MeasureKeys,
    /// The same, of a module that signs in several parts.
    MeasureParts,
}

impl Deed {
    /// How often the PIN may be presented as the user's: as often as somebody enters it.
    const fn entries(self) -> usize {
        match self {
            // With the login before it, where there is none for the signature.
            Self::Open | Self::Unlock | Self::SignEachUse => 1,
            // A module may have the old PIN presented by a login.
            Self::ChangePin => 1,
            // A PIN that was taken is presented anew by what is about logins (tests of doctor count it).
            Self::MeasureKeys | Self::MeasureParts => usize::MAX,
            _ => 0,
        }
    }

    /// What else the module says.
    fn beside(self, lie: &str) -> &'static str {
        match self {
            Self::SignInNewSession => "C_SignInit 1 CKR_OBJECT_HANDLE_INVALID\n",
            Self::SignAfterReload => "C_SignInit 1 CKR_CRYPTOKI_NOT_INITIALIZED\n",
            Self::SignEachUse if says_no_context(lie) => {
                "always-authenticate relogin\nattribute CKA_ALWAYS_AUTHENTICATE true private\n"
            }
            Self::SignEachUse => "always-authenticate context\n",
            Self::Measure | Self::MeasureKeys => QUICK,
            Self::MeasureParts => QUICK_PARTS,
            _ => "",
        }
    }
}

/// `(call, code)` to the two answers.
struct Table(BTreeMap<(String, String), [String; 2]>);

impl Table {
    fn read() -> Self {
        let text = include_str!("../../src/host/ckr.tsv");
        let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
        let row = |line: &str| {
            let [call, code, _, once, always, _] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let answers = [once.to_owned(), always.to_owned()];
            let cells = call.split(' ').flat_map(|call| code.split(' ').map(move |code| (call, code)));
            cells
                .map(|(call, code)| ((call.to_owned(), code.to_owned()), answers.clone()))
                .collect::<Vec<_>>()
        };
        Self(rows.flat_map(row).collect())
    }

    fn codes(&self) -> Vec<&str> {
        let listed = self.0.keys().filter(|(call, code)| call == "*" && code != "*");
        let listed = listed.map(|(_, code)| code.as_str());
        listed.chain(MORE_CODES.iter().copied()).collect()
    }

    /// The row that says most.
    fn answers(&self, call: &str, code: &str) -> &[String; 2] {
        let row = |call: &str, code: &str| self.0.get(&(call.to_owned(), code.to_owned()));
        row(call, code)
            .or_else(|| row(call, "*"))
            .or_else(|| row(function(call), code))
            .or_else(|| row(function(call), "*"))
            .or_else(|| row("*", code))
            .unwrap_or(&self.0[&("*".into(), "*".into())])
    }
}

/// PKCS#11's name of it.
fn function(call: &str) -> &str {
    call.trim_end_matches("?").trim_end_matches(":each-use")
}

/// `base`: what the module says all the time.
fn matrix(calls: Calls, base: &'static str) {
    let table = Table::read();
    let cells: Vec<_> =
        calls.iter().flat_map(|call| table.codes().into_iter().map(move |code| (*call, code))).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut bed = Bed::new(base);
                while let Some(((call, deed), code)) =
                    cells.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    for (when, expected) in ["1 once", "*"].iter().zip(table.answers(call, code)) {
                        let lie = format!("{} {when} {code}", call.trim_end_matches(":each-use"));
                        if let Err(why) = bed.cell(*deed, &lie, expected) {
                            wrong.lock().unwrap().push(format!("{call}\t{code}\t{when}\t{why}"));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), 2 * cells.len(), wrong.join("\n"));
}

/// Whether the module is said to know no login for one signature.
fn says_no_context(lie: &str) -> bool {
    let codes = [
        "CKR_OPERATION_NOT_INITIALIZED",
        "CKR_USER_TYPE_INVALID",
        "CKR_FUNCTION_NOT_SUPPORTED",
        "CKR_USER_ALREADY_LOGGED_IN",
    ];
    lie.starts_with("C_Login") && codes.iter().any(|code| lie.ends_with(code))
}

/// A token behind the lying module, unlocked, with a key.
struct Bed {
    lab: Lab,
    base: &'static str,
    token: Pkcs11Token,
    key: PublicKey,
    file: SecretBytes,
    names: usize,
}

impl Bed {
    fn new(base: &'static str) -> Self {
        let lab = Lab::new();
        lab.say(base);
        let token = start(lab.lying_config("liar"));
        unlock(&token).unwrap();
        let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
        let file = p256::SecretKey::from_slice(&[9; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
        Self { lab, base, token, key, file: SecretBytes::copy_from(file.as_bytes()), names: 0 }
    }

    fn cell(&mut self, deed: Deed, lie: &str, expected: &str) -> Result<(), String> {
        let desk = self.lab.desk();
        desk.say(self.base);
        desk.reset();
        let of_a_pin = lie.starts_with("C_Login") || lie.starts_with("C_SetPIN");
        match lie.contains("CRYPTOKI") || deed == Deed::SignAfterReload || of_a_pin {
            // What it may do once in 30 s it may do now.
            true => self.renew(),
            false => self.heal(),
        }
        if deed == Deed::Import {
            self.keep_one_key();
        }
        let spare = if deed == Deed::Remove { Some(self.make_key()) } else { None };
        if matches!(deed, Deed::Unlock | Deed::FindAndSign | Deed::SignEachUse) {
            self.forget_keys();
        }
        if matches!(deed, Deed::FindAndSign | Deed::SignEachUse) {
            unlock(&self.token).unwrap();
        }
        desk.forget();
        desk.say(&format!("{}{}{lie}", self.base, deed.beside(lie)));
        let outcome = self.act(deed, spare.as_ref());
        let trace = desk.trace();
        desk.say(self.base);
        let told = match &outcome {
            Ok(()) => "ok",
            Err(error) => error.reason(),
        };
        let full = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if told != expected {
            return Err(format!("{told} and not {expected}: {full}"));
        }
        let logins = [trace.logins(), trace.context_logins()];
        if logins.iter().any(|count| *count > deed.entries()) {
            return Err(format!("{logins:?} logins"));
        }
        if told != "ok" && trace.calls("C_Sign") > 1 && full.contains("not known") {
            return Err("a signature of unknown outcome was asked for again".to_owned());
        }
        let used_up = lie == "C_Initialize * CKR_CRYPTOKI_ALREADY_INITIALIZED";
        let not_loaded = lie.starts_with("C_GetFunctionList *");
        if used_up || not_loaded || says_no_context(lie) {
            // The helper has done what it may do in 30 s, is started again after 10 s, or knows that its module has no login
            // for a signature, which was a lie. A new one may, is, and does not.
            self.renew();
        }
        if deed == Deed::SignEachUse {
            self.forget_keys();
        }
        self.recovers()
    }

    /// The login goes, and with it what was seen of the keys.
    fn forget_keys(&self) {
        self.token.lock();
        let _ = self.token.keys();
    }

    /// Everything works again, once the token was unlocked if it must be.
    fn recovers(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let error = match sign(&self.token, &self.key, "all is well") {
                Ok(_) => break,
                Err(error) => error,
            };
            if begun.elapsed() > RECOVERS_WITHIN {
                self.renew();
                return Err(format!("does not recover: {error}"));
            }
            // Whoever unlocks it has it looked at; otherwise that is done every two seconds.
            if self.token.info().state != TokenState::Unlocked && unlock(&self.token).is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn act(&mut self, deed: Deed, spare: Option<&PublicKey>) -> Result<(), BackendError> {
        if deed == Deed::Open {
            self.token = start(self.lab.lying_config("liar"));
        }
        let name = self.name();
        let token = &self.token;
        match deed {
            Deed::Open | Deed::Unlock => unlock(token),
            Deed::Lock => {
                token.lock();
                token.keys().map(drop)
            }
            Deed::Sign | Deed::FindAndSign | Deed::SignInNewSession | Deed::SignAfterReload => {
                sign(token, &self.key, "x").map(drop)
            }
            Deed::Generate => token.generate(&name, KeyType::EcdsaP256).map(drop),
            Deed::Import => token.import(&name, parse_private_key(&self.file, None).unwrap()).map(drop),
            Deed::Remove => token.remove(spare.unwrap()),
            Deed::ChangePin => token.change_secret(&secret(PIN), &secret(PIN)),
            Deed::SignEachUse => sign_with(token, &self.key, PIN),
            Deed::Measure => token.examine(Err("nobody logs in".to_owned()), &(), |_| true).map(drop),
            Deed::MeasureKeys | Deed::MeasureParts => token
                .examine(Ok((&secret(PIN), &Asking::default())), &crate::lab::Uncounted, |_| true)
                .map(drop),
        }
    }

    fn make_key(&mut self) -> PublicKey {
        let name = self.name();
        self.token.generate(&name, KeyType::EcdsaP256).unwrap().public
    }

    fn name(&mut self) -> backend::KeyName {
        self.names += 1;
        format!("k{}", self.names).parse().unwrap()
    }

    /// The truth is told; a helper that has used up what it may do in 30 s is replaced.
    fn heal(&mut self) {
        let well = |token: &Pkcs11Token, key| {
            token.info().state == TokenState::Unlocked && sign(token, key, "well").is_ok()
        };
        if well(&self.token, &self.key) || (unlock(&self.token).is_ok() && well(&self.token, &self.key)) {
            return;
        }
        self.renew();
    }

    fn renew(&mut self) {
        self.token = start(self.lab.lying_config("liar"));
        unlock(&self.token).unwrap();
    }

    fn keep_one_key(&self) {
        for key in self.token.keys().unwrap() {
            if key.public != self.key {
                self.token.remove(&key.public).unwrap();
            }
        }
    }
}

/// Doctor has less to do.
const QUICK: &str = "sessions limit 4\nmechanism CKM_RSA_PKCS_KEY_PAIR_GEN absent\n\
    mechanism CKM_EC_EDWARDS_KEY_PAIR_GEN absent\n";
const QUICK_PARTS: &str = "sessions limit 4\nmechanism CKM_RSA_PKCS_KEY_PAIR_GEN absent\nmultipart yes\n";
/// Most of the time is spent waiting for helpers.
const THREADS: usize = 8;
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
