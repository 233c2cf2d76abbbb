//! One key under two keyids of a role, as python-tuf writes and counts them: here it counts once, the role is below its
//! threshold, and every command says what leads out of that.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::{Agent, Home};

use crate::forge::{Forge, key, keyid, signed_by};
use crate::printed_commands::{import_forged_keys, paste};

/// Another keyid of the key of `team`.
fn odd() -> String {
    "f".repeat(64)
}

/// `team` needs two signatures and has one key, twice; it delegates to `sub`. Adopted as `app`.
fn adopted() -> (Home, Agent) {
    let (home, agent) = Home::unlocked();
    import_forged_keys(&home);
    home.keys(&["new"]);
    let mut forge = Forge::new();
    let two = keyid(&key(2));
    forge.targets["delegations"]["keys"][odd()] = key(2);
    forge.targets["delegations"]["roles"][0]["keyids"] = json!([odd(), two]);
    forge.targets["delegations"]["roles"][0]["threshold"] = 2.into();
    forge.signers.insert("team", vec![(odd(), 2), (two.clone(), 2)]);
    let sub =
        json!({"name": "sub", "keyids": [two], "threshold": 1, "terminating": false, "paths": ["t/s/*"]});
    let mut below = forge.team.clone();
    forge.team["delegations"] = json!({"keys": {two.clone(): key(2)}, "roles": [sub]});
    forge.snapshot["meta"]["sub.json"] = json!({"version": 1});
    forge.write(&home.path("repo"));
    below["targets"] = json!({});
    fs::write(home.path("repo/metadata/1.sub.json"), signed_by(&below, &[(two, 2)])).unwrap();
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    (home, agent)
}

fn remedy(error: &Value) -> String {
    error["remedy"].as_str().unwrap().to_owned()
}

/// The command in a remedy that edits the delegation, with a key that is here; it is run as printed.
fn follow(home: &Home, remedy: &str) {
    let from = remedy.find("tufctl delegation edit").unwrap_or_else(|| panic!("{remedy}"));
    let line = remedy[from..].split([';', '\n']).next().unwrap();
    assert!(line.contains(&format!("--remove-key {}", odd())), "{remedy}");
    paste(home, &format!("{} --yes", line.replace("KEY ", "new ")), "team");
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn an_edit_that_leaves_one_key_under_two_keyids_says_what_to_take_out_with_it() {
    for edit in ["--add-key new", "--threshold 1"] {
        let (home, _agent) = adopted();
        let refused = home.refused(&format!("delegation edit repo team {edit} --yes"), 3, "DUPLICATE_KEY");
        assert!(
            remedy(&refused).contains(&format!("say --remove-key {} in the same command", odd())),
            "{refused}"
        );
        follow(&home, &remedy(&refused));
    }
    // To the letter: the same command with what was said.
    let (home, _agent) = adopted();
    home.run(&format!("delegation edit repo team --threshold 1 --remove-key {} --yes", odd())).done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_role_below_one_that_was_never_complete_is_not_sent_for_a_good_copy_of_it() {
    let (home, _agent) = adopted();
    let refused = home.refused("bump repo sub", 6, "VERIFICATION");
    assert_eq!(refused["details"]["role"], "team", "{refused}");
    assert!(!remedy(&refused).contains("good copy"), "{refused}");
    follow(&home, &remedy(&refused));
    home.run("bump repo sub").done();
    home.run("sign repo --yes").done();
}

#[test]
fn a_role_whose_keys_have_all_signed_says_that_it_has_too_few() {
    let (home, _agent) = adopted();
    home.run("bump repo team --yes").done();
    let short = home.run("sign repo --yes").exits(4);
    let text = short.text();
    assert!(text.contains("team needs 1 more signature (and has no key left for it)"), "{text}");
    assert!(text.contains("the same key again"), "{text}");
    follow(&home, &text);
}

#[test]
fn a_role_of_root_with_one_key_under_two_keyids_is_told_what_replaces_it() {
    let (home, _agent) = Home::unlocked();
    import_forged_keys(&home);
    home.keys(&["new"]);
    let mut forge = Forge::new();
    let one = keyid(&key(1));
    forge.root["keys"][odd()] = key(1);
    forge.root["roles"]["targets"] = json!({"keyids": [one, odd()], "threshold": 1});
    forge.write(&home.path("repo"));
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    let refused = home.refused("root add-key repo targets --key new --yes", 3, "DUPLICATE_KEY");
    let line = format!("tufctl root replace-key repo targets --old {} --new KEY", odd());
    assert!(remedy(&refused).contains(&line), "{refused}");
    paste(&home, &line.replace("KEY", "new"), "targets");
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json --accept-keyids").done();
}
