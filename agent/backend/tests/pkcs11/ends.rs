//! The end of a helper: the module is told (C_Finalize), and holds nobody up who does not want to hear it.

use std::time::{Duration, Instant};

use backend::{Backend, TokenState};
use tuf::key::KeyType;

use crate::Case;
use crate::lab::{Lab, examine, pid, sign, start, unlock, unlocked, wait_for, wait_until};

pub const CASES: &[Case] = &[
    ("an_ended_token_logs_out_closes_its_sessions_and_ends_its_module", in_order),
    ("a_module_that_does_not_end_holds_up_nobody", does_not_end),
    ("each_helper_of_an_absent_token_ends_its_module", while_absent),
    ("a_helper_that_is_started_anew_ends_its_module_first", renewed),
    ("doctor_ends_the_module_that_it_measured", doctor),
];

/// More than a helper is given, with what a busy machine adds.
const BOUND: Duration = Duration::from_secs(4);

fn in_order() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    sign(&token, &key, "before the end").unwrap();
    lab.desk().forget();
    drop(token);
    let trace = lab.desk().trace();
    let calls: Vec<_> = trace.sequence().filter(|call| call.starts_with("C_")).collect();
    assert_eq!(calls.last(), Some(&"C_Finalize"), "{calls:?}");
    assert_eq!((trace.calls("C_Logout"), trace.calls("C_Finalize")), (1, 1));
    assert_eq!(trace.calls("C_CloseSession"), 2, "{calls:?}");
}

fn does_not_end() {
    for lie in
        ["hang", "spin", "segv", "abort", "exit 3", "CKR_GENERAL_ERROR", "CKR_CRYPTOKI_NOT_INITIALIZED"]
    {
        let lab = Lab::new();
        let token = unlocked(lab.lying_config("liar"));
        let helper = pid(&token);
        lab.say(&format!("C_Finalize {lie}"));
        let before = Instant::now();
        drop(token);
        assert!(before.elapsed() < BOUND, "{lie}: {:?}", before.elapsed());
        assert_eq!(lab.traced("C_Finalize"), 1, "{lie}");
        assert!(rustix::process::test_kill_process(helper).is_err(), "{lie}: it is still there");
        // Nothing of it is left for the next one.
        lab.say("");
        unlock(&start(lab.lying_config("liar"))).unwrap();
    }
}

fn while_absent() {
    let lab = Lab::new();
    let token = start(lab.lying_config("liar"));
    lab.say("token gone");
    wait_for(&token, TokenState::Absent);
    wait_until(|| lab.traced("C_Initialize") >= 3, || "no new helper looks".to_owned());
    lab.say("");
    wait_for(&token, TokenState::Locked);
    drop(token);
    assert_eq!(lab.traced("C_Finalize"), lab.traced("C_Initialize"));
}

fn renewed() {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let key = token.generate(&"k".parse().unwrap(), KeyType::EcdsaP256).unwrap().public;
    let old = pid(&token);
    lab.desk().forget();
    lab.say("C_Sign CKR_GENERAL_ERROR\nC_SignFinal CKR_GENERAL_ERROR");
    for _ in 0..2 {
        sign(&token, &key, "fails").unwrap_err();
    }
    wait_until(
        || token.info().helper_pid.is_some_and(|_| pid(&token) != old),
        || format!("{:?}", token.info()),
    );
    let trace = lab.desk().trace();
    let ends = trace.sequence().position(|call| call == "C_Finalize");
    let starts = trace.sequence().position(|call| call == "C_Initialize");
    assert!(ends.is_some() && ends < starts, "{ends:?} {starts:?}");
}

fn doctor() {
    let lab = Lab::new();
    let token = start(lab.lying_config("liar"));
    lab.desk().forget();
    examine(&token);
    let trace = lab.desk().trace();
    assert!(trace.calls("C_Initialize") > 0);
    assert_eq!(trace.calls("C_Finalize"), trace.calls("C_Initialize"));
}
