//! The lying module itself does what its documentation says: judged through cryptoki, in a process of its own.

use std::path::Path;
use std::process::{Command, ExitCode};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use lying_pkcs11::Desk;

use crate::Case;
use crate::lab::{Lab, PIN};

pub const CASES: &[Case] = &[("the_lying_module_lies_as_it_is_told_and_only_so", all)];

type Probe = (&'static str, fn(&Bed));

const PROBES: &[Probe] = &[
    ("calls", calls),
    ("tries", tries),
    ("sessions", sessions),
    ("gone", gone),
    ("attributes", attributes),
    ("slots", slots),
    ("each-time", each_time),
    ("find", find),
    ("traced", traced),
];

fn all() {
    for (name, _) in PROBES {
        let lab = Lab::new();
        let config = lab.lying_config("liar");
        let probe = Command::new(std::env::current_exe().unwrap())
            .args(["probe-double", name])
            .arg(lab.dir.path())
            .envs(&config.env)
            .output()
            .unwrap();
        assert!(probe.status.success(), "{name}: {}", String::from_utf8_lossy(&probe.stderr));
    }
}

pub fn probe(words: &[String]) -> ExitCode {
    let [name, folder] = words else { return ExitCode::FAILURE };
    let (_, probe) = PROBES.iter().find(|(known, _)| known == name).unwrap();
    probe(&Bed::new(Path::new(folder)));
    ExitCode::SUCCESS
}

struct Bed {
    desk: Desk,
    pkcs11: Pkcs11,
    slot: Slot,
}

impl Bed {
    fn new(folder: &Path) -> Self {
        let pkcs11 = Pkcs11::new(lying_pkcs11::module().unwrap()).unwrap();
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        Self { desk: Desk::new(folder), pkcs11, slot }
    }

    fn session(&self) -> Session {
        self.pkcs11.open_rw_session(self.slot).unwrap()
    }

    fn logged_in(&self) -> Session {
        let session = self.session();
        session.login(UserType::User, Some(&pin(PIN))).unwrap();
        session
    }
}

fn pin(text: &str) -> AuthPin {
    text.into()
}

fn make_key(session: &Session, label: &str) -> (ObjectHandle, ObjectHandle) {
    let named = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())];
    let params = Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let public = [&named[..], &[params]].concat();
    let private = [&named[..], &[Attribute::Private(true), Attribute::Sign(true)]].concat();
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap()
}

#[track_caller]
fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RvError {
    match outcome.unwrap_err() {
        Error::Pkcs11(code, _) => code,
        other => panic!("{other:?}"),
    }
}

fn calls(bed: &Bed) {
    let info = || bed.pkcs11.get_token_info(bed.slot);
    bed.desk.say("C_GetTokenInfo 2 CKR_DEVICE_ERROR");
    info().unwrap();
    assert_eq!(code(info()), RvError::DeviceError);
    info().unwrap();
    for text in ["C_GetTokenInfo once CKR_HOST_MEMORY", "# again\nC_GetTokenInfo once CKR_HOST_MEMORY"] {
        bed.desk.say(text);
        assert_eq!(info().is_err(), !text.contains("again"), "what is told once is told once");
        info().unwrap();
    }
    bed.desk.say("* CKR_GENERAL_ERROR");
    assert_eq!(code(info()), RvError::GeneralError);
    bed.desk.say("C_OpenSession sleep 50");
    let before = std::time::Instant::now();
    let session = bed.session();
    assert!(before.elapsed().as_millis() >= 50);
    bed.desk.say("C_GenerateKeyPair stuck CKR_USER_NOT_LOGGED_IN");
    let params = Attribute::EcParams(vec![0]);
    let make = session.generate_key_pair(&Mechanism::EccKeyPairGen, &[params], &[]);
    assert_eq!(code(make), RvError::UserNotLoggedIn);
    bed.desk.say("");
    assert_eq!(code(session.find_objects(&[])), RvError::OperationActive);
    bed.session().find_objects(&[]).unwrap();
}

fn tries(bed: &Bed) {
    bed.desk.say("token tries 3");
    let session = bed.session();
    let flags = || {
        let info = bed.pkcs11.get_token_info(bed.slot).unwrap();
        (info.user_pin_count_low(), info.user_pin_final_try(), info.user_pin_locked())
    };
    let wrong = || code(session.login(UserType::User, Some(&pin("wrong-pin"))));
    assert_eq!(flags(), (false, false, false));
    assert_eq!((wrong(), flags()), (RvError::PinIncorrect, (true, false, false)));
    assert_eq!((wrong(), flags()), (RvError::PinIncorrect, (true, true, false)));
    session.login(UserType::User, Some(&pin(PIN))).unwrap();
    session.logout().unwrap();
    assert_eq!(flags(), (false, false, false));
    assert_eq!([wrong(), wrong(), wrong()][2], RvError::PinLocked);
    assert_eq!(flags(), (false, false, true));
    assert_eq!(code(session.login(UserType::User, Some(&pin(PIN)))), RvError::PinLocked);
    bed.desk.say("token tries 3\ntoken flags none +final-try\ntoken serial 4711\ntoken label other one");
    assert_eq!(flags(), (false, true, false));
    let info = bed.pkcs11.get_token_info(bed.slot).unwrap();
    assert_eq!((info.serial_number(), info.label()), ("4711", "other one"));
    bed.desk.reset();
    session.login(UserType::User, Some(&pin(PIN))).unwrap();
}

fn sessions(bed: &Bed) {
    bed.desk.say("sessions limit 2");
    let first = bed.session();
    let _second = bed.session();
    assert_eq!(code(bed.pkcs11.open_rw_session(bed.slot)), RvError::SessionCount);
    drop(first);
    let _third = bed.session();
    assert_eq!(code(bed.pkcs11.open_rw_session(bed.slot)), RvError::SessionCount);
}

fn gone(bed: &Bed) {
    let session = bed.logged_in();
    bed.desk.say("token gone");
    assert_eq!(code(session.find_objects(&[])), RvError::DeviceRemoved);
    assert_eq!(bed.pkcs11.get_slots_with_token().unwrap(), []);
    assert_eq!(code(bed.pkcs11.get_token_info(bed.slot)), RvError::TokenNotPresent);
    bed.desk.say("");
    assert_eq!(code(session.find_objects(&[])), RvError::SessionHandleInvalid);
    bed.logged_in();
}

fn attributes(bed: &Bed) {
    let session = bed.logged_in();
    let (public, private) = make_key(&session, "a");
    make_key(&session, "b");
    let get = |object, kind| session.get_attributes(object, &[kind]).unwrap();
    assert_eq!(get(private, AttributeType::Local), [Attribute::Local(true)]);
    bed.desk.say(
        "attribute CKA_LOCAL false private label=a\nattribute CKA_ID hex:07\nattribute CKA_EC_POINT raw\n\
         attribute CKA_NEVER_EXTRACTABLE absent",
    );
    assert_eq!(get(private, AttributeType::Local), [Attribute::Local(false)]);
    assert_eq!(get(public, AttributeType::Local), [Attribute::Local(true)]);
    assert_eq!(get(private, AttributeType::NeverExtractable), []);
    for class in [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY] {
        for object in session.find_objects(&[Attribute::Class(class)]).unwrap() {
            assert_eq!(get(object, AttributeType::Id), [Attribute::Id(vec![7])]);
        }
    }
    let point = get(public, AttributeType::EcPoint);
    assert!(matches!(point.as_slice(), [Attribute::EcPoint(point)] if point.len() == 65), "{point:?}");
}

fn slots(bed: &Bed) {
    bed.desk.say(
        "slots bad 2\nslots blank 1\nslots twice\nmechanism CKM_EDDSA absent\nmechanism CKM_ECDSA unlisted",
    );
    let real = bed.slot;
    let found = bed.pkcs11.get_slots_with_token().unwrap();
    assert_eq!(found.iter().position(|slot| *slot == real), Some(3), "{found:?}");
    assert_eq!(code(bed.pkcs11.get_token_info(found[0])), RvError::DeviceError);
    assert!(!bed.pkcs11.get_token_info(found[2]).unwrap().token_initialized());
    let twins: Vec<_> = found[3..].iter().map(|slot| bed.pkcs11.get_token_info(*slot).unwrap()).collect();
    let serial = twins[0].serial_number();
    assert_eq!(twins.iter().filter(|info| info.serial_number() == serial).count(), 2);
    let listed = bed.pkcs11.get_mechanism_list(real).unwrap();
    assert!(!listed.contains(&MechanismType::EDDSA) && !listed.contains(&MechanismType::ECDSA));
    let session = bed.logged_in();
    let (_, key) = make_key(&session, "k");
    session.sign(&Mechanism::Ecdsa, key, &[1; 32]).unwrap();
    bed.desk.say("mechanism CKM_ECDSA refused");
    assert_eq!(code(session.sign(&Mechanism::Ecdsa, key, &[1; 32])), RvError::MechanismInvalid);
}

fn each_time(bed: &Bed) {
    let session = bed.logged_in();
    let (public, private) = make_key(&session, "k");
    bed.desk.say("always-authenticate context\nmultipart yes");
    assert_eq!(
        session.get_attributes(private, &[AttributeType::AlwaysAuthenticate]).unwrap(),
        [Attribute::AlwaysAuthenticate(true)]
    );
    assert_eq!(code(session.sign(&Mechanism::Ecdsa, private, &[1; 32])), RvError::UserNotLoggedIn);
    let context = |text| session.login(UserType::ContextSpecific, Some(&pin(text)));
    assert_eq!(code(context(PIN)), RvError::OperationNotInitialized);
    session.sign_init(&Mechanism::Ecdsa, private).unwrap();
    assert_eq!(code(context("wrong-pin")), RvError::PinIncorrect);
    context(PIN).unwrap();
    session.sign_update(&[1; 16]).unwrap();
    session.sign_update(&[1; 16]).unwrap();
    let signature = session.sign_final().unwrap();
    session.verify(&Mechanism::Ecdsa, public, &[1; 32], &signature).unwrap();
    assert_eq!(bed.desk.trace().context_logins(), 3);

    bed.desk.say("always-authenticate relogin");
    session.logout().unwrap();
    session.login(UserType::User, Some(&pin(PIN))).unwrap();
    let private = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
    session.sign(&Mechanism::Ecdsa, private, &[1; 32]).unwrap();
    assert_eq!(code(session.sign(&Mechanism::Ecdsa, private, &[1; 32])), RvError::UserNotLoggedIn);
}

fn find(bed: &Bed) {
    let session = bed.logged_in();
    make_key(&session, "k");
    let found = || session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap().len();
    for (lie, count) in [("", 1), ("C_FindObjects twice", 2), ("C_FindObjects none", 0)] {
        bed.desk.say(lie);
        assert_eq!(found(), count, "{lie}");
    }
    bed.desk.say("C_FindObjects endless");
    let many = session.iter_objects(&[]).unwrap().take(1000).count();
    assert_eq!(many, 1000);
}

fn traced(bed: &Bed) {
    let session = bed.logged_in();
    let (public, private) = make_key(&session, "k");
    let sign = || session.sign(&Mechanism::Ecdsa, private, &[1; 32]);
    bed.desk.forget();
    bed.desk.say("C_Sign 1 after CKR_DEVICE_ERROR\nC_Sign 2 CKR_DEVICE_ERROR\nC_Sign 3 long\nC_Sign 4 stale\nC_Sign 5 zero\nC_Sign 6 empty");
    assert_eq!(code(sign()), RvError::DeviceError);
    assert_eq!(code(sign()), RvError::DeviceError);
    drop(session);
    let session = bed.logged_in();
    let private = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
    let sign = || session.sign(&Mechanism::Ecdsa, private, &[1; 32]).unwrap();
    let long = sign();
    assert_eq!((long.len(), sign().as_slice()), (65, &long[..64]));
    assert_eq!((sign(), sign()), (vec![0; 64], vec![]));
    let trace = bed.desk.trace();
    assert_eq!((trace.calls("C_Sign"), trace.signatures(), trace.logins()), (6, 5, 1));
    let _ = public;
    assert!(trace.sequence().any(|call| call == "C_CloseSession"));
}
