//! A repository is its root chain, not its name: two that are begun with the same keys have roots of their own, and where two
//! folders have the same root it is said before anything is signed (DESIGN section 4, rule 3).

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use tufagent_tests::Home;

use crate::colleagues::hand_over;

fn staged_root(home: &Home, dir: &str) -> Value {
    serde_json::from_slice(&fs::read(home.path(dir).join("staged/root.json")).unwrap()).unwrap()
}

#[test]
fn repositories_that_are_begun_at_once_with_the_same_keys_have_roots_of_their_own() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k"]);
    let all = ["a", "b", "c", "d", "e", "f"];
    for name in all {
        home.run(&format!("repo init {name} --name {name} --root k --targets k --snapshot k --timestamp k"))
            .done();
    }
    let roots: BTreeSet<String> =
        all.iter().map(|name| staged_root(&home, name)["signed"].to_string()).collect();
    assert_eq!(roots.len(), all.len(), "{roots:?}");
    for name in all {
        home.run(&format!("sign {name} --yes --shared-key")).done();
        home.run(&format!("verify {name} --root {name}/metadata/1.root.json")).done();
    }
}

/// `b` is begun under a name of its own, and has the root of `a`.
fn with_the_root_of_a(home: &Home) {
    home.run("repo init b --name b --root k --targets k --snapshot k --timestamp k --shared-key").done();
    fs::copy(home.path("a/staged/root.json"), home.path("b/staged/root.json")).unwrap();
}

/// Refused before anything is signed, whatever is said of shared keys and whichever role is asked for.
fn refused(home: &Home) -> Value {
    let signed = home.journalled("sign.intent").len();
    let mut last = Value::Null;
    for flags in ["", " --shared-key", " --shared-key --role targets"] {
        last = home.refused(&format!("sign b --yes{flags}"), 3, "REPOSITORY_KNOWN");
        assert_eq!(last["details"]["repository"], "a", "{last}");
        assert_eq!(last["details"].get("signed"), None, "{last}");
    }
    assert_eq!(home.journalled("sign.intent").len(), signed);
    last
}

#[test]
fn a_folder_with_the_root_of_another_repository_is_told_before_anything_is_signed_and_has_a_way_out() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k"]);
    home.run("repo init a --name a --root k --targets k --snapshot k --timestamp k").done();
    with_the_root_of_a(&home);
    fs::create_dir(home.path("kept")).unwrap();
    fs::copy(home.path("a/staged/root.json"), home.path("kept/root.json")).unwrap();
    home.run("sign a --yes").done();
    let remedy = refused(&home)["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.ends_with("tufctl bump b root"), "{remedy}");
    // The printed command leads out, and the name was not lost either.
    home.run("bump b root").done();
    home.refused("sign b --yes", 3, "SHARED_KEY");
    home.run("sign b --yes --shared-key").done();
    home.run("verify b --root b/metadata/1.root.json").done();
    // The same copy under a name that nobody knows is not taken on.
    home.run("repo init c --name c --root k --targets k --snapshot k --timestamp k").done();
    fs::copy(home.path("kept/root.json"), home.path("c/staged/root.json")).unwrap();
    fs::write(home.path("c/staged/repository.json"), r#"{"name": "stranger"}"#).unwrap();
    let unknown = home.refused("sign c --yes", 3, "REPOSITORY_KNOWN");
    assert_eq!(unknown["details"]["repository"], "a", "{unknown}");
    home.run("repo init d --name stranger --root k --targets k --snapshot k --timestamp k").done();
    // What waits under the name that was refused can be begun anew.
    home.run("repo init e --name c --root k --targets k --snapshot k --timestamp k").done();
}

#[test]
fn a_root_that_waits_for_others_is_no_second_repositorys_either() {
    let (home, _agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    bob.keys(&["bob"]);
    hand_over(&bob, &home, "bob");
    home.keys(&["k"]);
    home.run(
        "repo init a --name a --root k,bob.json --root-threshold 2 --targets k --snapshot k --timestamp k",
    )
    .done();
    home.run("sign a --yes").exits(4);
    with_the_root_of_a(&home);
    refused(&home);
}
