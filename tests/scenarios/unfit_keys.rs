//! Keys that lie on a token and cannot be used, and keys of unusual sizes: told for what they are (FAULTS D5).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::pins::lying_home;

fn names(home: &tufagent_tests::Home) -> Vec<(String, Value)> {
    let keys = home.run("key list --json").done().json();
    let of = |key: &Value| (key["name"].as_str().unwrap().to_owned(), key["type"].clone());
    keys["keys"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn keys_that_cannot_be_used_are_told_with_the_reason() {
    let Some(home) = lying_home("") else { return };
    let desk = home.lying_desk("hsm");
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    for (name, kind) in [("good", "ecdsa-p256"), ("explicit", "ecdsa-p256"), ("other", "rsa-3072")] {
        home.run(&format!("key generate {name} --token hsm --type {kind}")).done();
    }
    assert_eq!(names(&home).len(), 3);
    assert!(home.token("hsm")["warnings"].is_null(), "{}", home.token("hsm"));
    agent.stop();
    // The numbers of a curve in place of its name (X9.62), and CKK_DSA.
    desk.say(
        "attribute CKA_EC_PARAMS hex:3081f7020101 label=explicit\nattribute CKA_KEY_TYPE hex:0100000000000000 label=other",
    );
    let agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(names(&home), [("good".to_owned(), "ecdsa-p256".into())]);
    let warnings = home.token("hsm")["warnings"].to_string();
    for said in ["2 keys of it are not listed", "explicit", "explicit parameters", "other", "DSA"] {
        assert!(warnings.contains(said), "{said}: {warnings}");
    }
    assert!(agent.log().contains("2 keys of it are not listed"), "{}", agent.log());
    let measured = home.run("token doctor hsm --pin-file pin --json").done().json();
    let quirks = measured["quirks"].as_array().unwrap();
    let unfit = quirks.iter().find(|quirk| quirk["id"] == "keys-unfit");
    assert!(unfit.unwrap()["seen"].as_str().unwrap().contains("explicit parameters"), "{measured}");
    // They keep no other key from anything.
    home.run("key generate more --token hsm --type ecdsa-p256").done();
    desk.say("");
    home.run("token lock hsm").done();
    home.run("token unlock hsm --pin-file pin").done();
    let end = Instant::now() + Duration::from_secs(10);
    while names(&home).len() != 4 {
        assert!(Instant::now() < end, "{:?}", names(&home));
    }
    assert!(home.token("hsm")["warnings"].is_null(), "{}", home.token("hsm"));
}

#[test]
fn an_rsa_key_of_an_unusual_size_is_listed_by_its_own() {
    let Some(home) = lying_home("") else { return };
    let _agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate big --token hsm --type rsa-3072").done();
    assert_eq!(names(&home), [("big".to_owned(), "rsa-3072".into())]);
    home.lying_desk("hsm").say(&format!("attribute CKA_MODULUS hex:{}", "bb".repeat(375)));
    home.run("token lock hsm").done();
    home.run("token unlock hsm --pin-file pin").done();
    let kinds: Vec<_> = names(&home).into_iter().map(|(_, kind)| kind).collect();
    assert!(kinds.contains(&"rsa-3000".into()), "{kinds:?}");
}
