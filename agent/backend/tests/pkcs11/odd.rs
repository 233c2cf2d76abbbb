//! Objects that a module tells of and that are none, or cannot be read: they are passed over and told of, and the keys of the
//! token serve (FAULTS D4, B8).

use backend::Backend;
use backend::pkcs11::Pkcs11Token;
use tuf::key::{KeyType, PublicKey};

use crate::Case;
use crate::lab::{Lab, examine, sign, unlocked};

pub const CASES: &[Case] = &[
    ("an_object_that_cannot_be_read_hides_no_other_key_and_is_told_of", unreadable),
    ("handles_that_name_nothing_and_counts_that_cannot_be_cost_no_key", strange_handles),
    (
        "a_module_that_finds_each_object_twice_or_all_whatever_is_searched_for_has_no_ambiguous_key",
        not_ambiguous,
    ),
    ("a_flag_that_is_empty_counts_as_not_told", empty_flags),
    ("doctor_removes_nothing_of_others_where_the_module_finds_all", sweeps_its_own),
];

fn bed() -> (Lab, Pkcs11Token, [PublicKey; 3]) {
    let lab = Lab::new();
    let token = unlocked(lab.lying_config("liar"));
    let keys = [("k1", KeyType::Ed25519), ("k2", KeyType::EcdsaP256), ("k3", KeyType::EcdsaP256)]
        .map(|(name, kind)| token.generate(&name.parse().unwrap(), kind).unwrap().public);
    (lab, token, keys)
}

/// The token does not remember what it has found.
fn anew(lab: &Lab, token: &Pkcs11Token, lie: &str) {
    token.lock();
    lab.say(lie);
    crate::lab::unlock(token).unwrap();
}

fn listed(token: &Pkcs11Token) -> Vec<String> {
    let mut names: Vec<_> = token.keys().unwrap().iter().map(|key| key.name.to_string()).collect();
    names.sort();
    names
}

fn unreadable() {
    for lie in [
        "object CKR_OBJECT_HANDLE_INVALID label=k2",
        "object CKR_GENERAL_ERROR label=k2",
        "attribute CKA_ID huge label=k2",
    ] {
        let (lab, token, [k1, k2, k3]) = bed();
        anew(&lab, &token, lie);
        assert_eq!(listed(&token), ["k1", "k3"], "{lie}");
        for key in [&k1, &k3] {
            sign(&token, key, "beside it").unwrap();
        }
        assert_ne!(sign(&token, &k2, "itself").unwrap_err().reason(), "KEY_NOT_FOUND", "{lie}");
        let told = token.info().warnings.join(" ");
        assert!(told.contains("cannot be read"), "{lie}: {told:?}");
        let diagnosis = examine(&token);
        assert!(
            diagnosis.quirks().iter().any(|quirk| quirk.id == "objects-odd"),
            "{lie}: {:?}",
            diagnosis.facts
        );
        anew(&lab, &token, "pass");
        assert_eq!(listed(&token), ["k1", "k2", "k3"]);
        assert!(token.info().warnings.is_empty(), "{:?}", token.info());
        sign(&token, &k2, "well again").unwrap();
    }
}

fn strange_handles() {
    let (lab, token, keys) = bed();
    let helper = token.info().helper_pid;
    for (lie, told) in [
        ("C_FindObjects unknown", "cannot be read"),
        ("C_FindObjects nameless", "handle 0"),
        ("C_FindObjects more", "more objects than it was asked for"),
        ("C_FindObjects huge", "more objects than it was asked for"),
    ] {
        anew(&lab, &token, lie);
        assert_eq!(listed(&token), ["k1", "k2", "k3"], "{lie}");
        for key in &keys {
            sign(&token, key, lie).unwrap();
        }
        let warnings = token.info().warnings.join(" ");
        assert!(warnings.contains(told), "{lie}: {warnings:?}");
    }
    assert_eq!(token.info().helper_pid, helper, "its helper went on");
    // What never ends is ended.
    anew(&lab, &token, "C_FindObjects endless");
    assert!(sign(&token, &keys[0], "endless").is_err());
}

fn not_ambiguous() {
    let (lab, token, keys) = bed();
    for lie in ["C_FindObjects twice", "search ignored", "search ignored\nC_FindObjects twice"] {
        anew(&lab, &token, lie);
        assert_eq!(listed(&token), ["k1", "k2", "k3"], "{lie}");
        for key in &keys {
            sign(&token, key, lie).unwrap();
        }
        assert!(token.info().warnings.is_empty(), "{lie}: {:?}", token.info().warnings);
    }
}

fn empty_flags() {
    let (lab, token, keys) = bed();
    let flags = ["CKA_LOCAL", "CKA_NEVER_EXTRACTABLE", "CKA_ALWAYS_AUTHENTICATE", "CKA_SENSITIVE"];
    let lie: Vec<_> = flags.iter().map(|flag| format!("attribute {flag} hex:")).collect();
    anew(&lab, &token, &lie.join("\n"));
    assert_eq!(listed(&token), ["k1", "k2", "k3"]);
    for key in &keys {
        sign(&token, key, "empty").unwrap();
        assert!(token.made_here(key).is_err(), "what is not told is not believed");
    }
}

fn sweeps_its_own() {
    let (lab, token, keys) = bed();
    lab.say("search ignored");
    let diagnosis = examine(&token);
    assert_eq!((diagnosis.facts.removed, diagnosis.facts.left.len()), (0, 0));
    anew(&lab, &token, "pass");
    assert_eq!(listed(&token), ["k1", "k2", "k3"]);
    for key in &keys {
        sign(&token, key, "still there").unwrap();
    }
}
