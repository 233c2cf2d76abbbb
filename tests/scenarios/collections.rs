//! Open collections as people live them: the opener's screen follows what others give, and what was signed is never lost.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::{Home, Outcome, binary};

use crate::custodians::{collect, init, python, split_root, with_token};
use crate::terminal::talk_in_steps;

/// The command line of `tufctl`, for the shell.
fn tufctl(line: &str) -> String {
    format!("'{}' {line}", binary("tufctl").display())
}

fn give(name: &str) -> String {
    tufctl(&format!("share give set/{name}.share --identity {name}.key --yes --json > {name}.given"))
}

fn given(home: &Home, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(home.path(format!("{name}.given"))).unwrap()).unwrap()
}

const MENU: &str = "q ends it: ";
const OPEN: &str = "share collect repo --role root --manifest set/set.json";
const TYPING: &str = "word  1 of 33: ";

/// Whoever opens a collection at a terminal; steps are what is waited for, what is typed then, and what others do before.
fn at_terminal(home: &Home, line: &str, steps: &[(&str, &str, String)]) -> Option<(i32, String)> {
    let step = |(wait, typed, others): &(&str, &str, String)| match others.as_str() {
        "" => json!([wait, typed]),
        others => json!([wait, typed, others]),
    };
    let steps: Vec<Value> = [json!(["[y/N] ", "y\n"])].into_iter().chain(steps.iter().map(step)).collect();
    talk_in_steps(home, line, &Value::from(steps).to_string())
}

/// A repository of which the root alone is not signed.
pub(crate) fn begin(home: &Home) {
    init(home);
    home.run("sign repo --yes").exits(4);
}

fn root_is_signed(home: &Home) -> bool {
    let shown = home.run("repo show repo --json").done().json();
    let root = shown["roles"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap();
    root["signed_by"].as_array().unwrap().len() == 1
}

#[test]
fn the_openers_screen_follows_what_others_give_and_takes_what_was_signed() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let steps = [
        (MENU, "", give("ann")),
        ("1 of 2 shares · given: ann · missing: ben, cy", "", give("cy")),
        ("2 of 2 shares · given: ann, cy", "", String::new()),
    ];
    let (code, screen) = at_terminal(&home, OPEN, &steps).unwrap();
    assert_eq!(code, 0, "{screen}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
    // Who gives one is told how it stands, and who gives the last what came of it.
    let first = given(&home, "ann");
    assert_eq!((&first["complete"], &first["outcome"]), (&false.into(), &Value::Null), "{first}");
    let last = given(&home, "cy");
    let expected = json!({
        "custodian": "cy", "purpose": "sign", "repository": "app", "role": "root", "version": 1, "have": 2, "need": 2,
        "given": ["ann", "cy"], "missing": [], "complete": true, "outcome": "done",
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&last[member], value, "{member}: {last}");
    }
    assert!(last["sha256"].as_str().is_some_and(|digest| screen.contains(digest)), "{last}");
}

#[test]
fn the_page_for_a_share_closes_when_others_have_given_enough() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    let drill = "share drill --manifest set/set.json";
    let steps = [
        (MENU, "\n", String::new()),
        (TYPING, "acade", give("ben")),
        ("1 of 2 shares · given: ben", "", give("cy")),
        ("drilled:", "", String::new()),
    ];
    let (code, screen) = at_terminal(&home, drill, &steps).unwrap();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("\u{1b}[?1049l"), "the page was left: {screen}");
    assert_eq!(given(&home, "cy")["outcome"], "done");
}

#[test]
fn whoever_ends_a_collection_that_has_just_had_enough_gets_what_was_signed() {
    for typed in ["q\n", "\u{3}"] {
        let (home, _agent) = with_token();
        let Some(()) = split_root(&home, "ed25519") else { return };
        begin(&home);
        // The opener sleeps while the others give.
        let others = format!(
            "kill -STOP $CHILD; {}; {}; (sleep 1; kill -CONT $CHILD) > /dev/null 2>&1 &",
            give("ann"),
            give("cy")
        );
        let (code, screen) = at_terminal(&home, OPEN, &[(MENU, typed, others)]).unwrap();
        assert_eq!(code, 0, "{typed:?}: {screen}");
        assert!(root_is_signed(&home));
    }
}

#[test]
fn what_is_lost_with_its_opener_is_signed_again() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let others = format!("kill -STOP $CHILD; {}; {}; kill -KILL $CHILD", give("ann"), give("cy"));
    let (code, screen) = at_terminal(&home, OPEN, &[(MENU, "", others)]).unwrap();
    assert_eq!(code, 128 + 9, "{screen}");
    assert_eq!(given(&home, "cy")["outcome"], "done");
    assert!(!root_is_signed(&home));
    let again = home.run(&collect(&["ben", "cy"])).done();
    assert!(again.stderr.contains("exactly this was signed before"), "{again}");
    assert!(root_is_signed(&home));
}

#[test]
fn nothing_that_is_typed_beside_the_page_is_shown_or_ends_the_collection() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let end = "Enter ends the collection";
    let steps = [
        (MENU, "acquire academic ", String::new()),
        ("nothing is typed on this line", "quick\n", String::new()),
        (MENU, "q", String::new()),
        (end, "x\n", String::new()),
        (MENU, "q", String::new()),
        (end, "\n", String::new()),
    ];
    let (code, screen) = at_terminal(&home, OPEN, &steps).unwrap();
    assert_eq!(code, 4, "{screen}");
    assert!(!screen.contains("academic") && !screen.contains("quick"), "{screen}");
    assert!(screen.contains("the collection was ended, with 0 of 2 shares of the key root-s"), "{screen}");
    let ended = home.journalled("share.collect-ended");
    assert!(ended[0].to_string().contains("SHARES_MISSING"), "{ended:?}");
}

#[test]
fn an_opener_who_leaves_is_told_that_what_was_given_is_wiped() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let steps = [(MENU, "", give("ann")), ("given: ann", "\u{3}", String::new())];
    let (code, screen) = at_terminal(&home, OPEN, &steps).unwrap();
    assert_eq!(code, 1, "{screen}");
    for said in ["with 1 of 2 shares", "what was given is wiped", "collect them again"] {
        assert!(screen.contains(said), "{said}: {screen}");
    }
    assert!(!screen.contains("what was done so far is kept"), "{screen}");
    // tufctl sign goes on with what else there is.
    let (code, screen) = at_terminal(&home, "sign repo", &[(MENU, "q\n", String::new())]).unwrap();
    assert_eq!(code, 4, "{screen}");
}

#[test]
fn a_lock_or_another_configuration_ends_what_is_being_collected() {
    let (home, agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let ends = [
        (tufctl("lock > /dev/null"), "token shares was locked, which ends"),
        (
            format!(": > '{}/config/tuf-agent/config.toml'; kill -HUP {}", home.dir().display(), agent.pid()),
            "token shares was taken out of the configuration",
        ),
    ];
    for (end, said) in ends {
        let steps = [(MENU, "", give("ann")), ("given: ann", "", end), (said, "", String::new())];
        let (code, screen) = at_terminal(&home, OPEN, &steps).unwrap();
        assert_eq!(code, 5, "{screen}");
        assert!(screen.contains("what was given is wiped"), "{screen}");
        assert_eq!(open_collections(&home), 0);
        home.unlock_file_store();
        home.run("token unlock shares");
    }
    assert!(!root_is_signed(&home));
}

fn open_collections(home: &Home) -> usize {
    // Nobody can give to one that is not open.
    let outcome: Outcome = home.run("share give set/ben.share --identity ben.key --yes");
    usize::from(!outcome.text().contains("no collection is open"))
}

#[test]
fn a_collection_that_nobody_completes_ends_at_its_deadline() {
    let (home, agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    home.config("[[token]]\nname = \"shares\"\nkind = \"shares\"\ncollect_for = \"2s\"\n");
    agent.signal("HUP");
    agent.wait_until(|| home.journalled("agent.reload").len() == 1);
    let error = home.refused(&format!("{} --wait", collect(&["ann"])), 4, "SHARES_MISSING");
    assert_eq!((&error["details"]["have"], &error["details"]["need"]), (&1.into(), &2.into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("what was given is wiped"), "{error}");
    let (code, screen) =
        at_terminal(&home, OPEN, &[(MENU, "", String::new()), ("waited long enough", "", String::new())])
            .unwrap();
    assert_eq!(code, 4, "{screen}");
}

#[test]
fn who_would_change_what_shares_are_collected_for_is_told_so() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let bump = tufctl("bump repo root --json > busy.json || true");
    let (code, screen) = at_terminal(&home, OPEN, &[(MENU, "q\n", bump)]).unwrap();
    assert_eq!(code, 4, "{screen}");
    let busy: Value = serde_json::from_str(&fs::read_to_string(home.path("busy.json")).unwrap()).unwrap();
    let message = busy["error"]["message"].as_str().unwrap();
    for said in
        ["shares of root-s are being collected for root v1", "0 of 2", "opened by uid ", "at the latest"]
    {
        assert!(message.contains(said), "{said}: {busy}");
    }
    assert!(busy["error"]["remedy"].as_str().unwrap().contains("tufctl token lock shares"), "{busy}");
    assert_eq!(busy["error"]["details"]["role"], "root", "{busy}");
}

#[test]
fn others_work_in_the_folder_while_people_walk_to_the_terminal() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    home.write("more.txt", "more\n");
    let (add, sign, show) = (
        tufctl("target add repo more.txt --yes > added.txt"),
        tufctl("sign repo --role targets --no-publish --yes > signed.txt"),
        tufctl("repo show repo > shown.txt"),
    );
    let others = format!("{add} && ({sign}; test $? = 4) && {show} && {}", give("ann"));
    let steps = [(MENU, "", others), ("given: ann", "", give("cy")), ("2 of 2 shares", "", String::new())];
    let (code, screen) = at_terminal(&home, OPEN, &steps).unwrap();
    // Its signature is there; what was not shown here is not published from here.
    assert_eq!(code, 4, "{screen}");
    assert!(screen.contains("was changed by another tufctl while shares were collected"), "{screen}");
    assert!(root_is_signed(&home) && !home.path("repo/metadata/timestamp.json").exists(), "{screen}");
    home.run("sign repo --yes").done();
    assert_eq!(home.run("target list repo").done().stdout.matches("more.txt").count(), 1);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn what_is_staged_no_more_when_it_is_signed_gets_no_signature_and_is_signed_again() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let others = format!("mv repo/staged/root.json kept.json && {}", give("ann"));
    let steps = [(MENU, "", others), ("given: ann", "", give("cy")), ("2 of 2 shares", "", String::new())];
    let (code, screen) = at_terminal(&home, OPEN, &steps).unwrap();
    assert_eq!(code, 3, "{screen}");
    assert!(
        screen.contains("was changed in staged/ or published while its shares were collected"),
        "{screen}"
    );
    fs::rename(home.path("kept.json"), home.path("repo/staged/root.json")).unwrap();
    home.run(&collect(&["ben", "cy"])).done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn nobody_is_asked_for_shares_of_a_key_that_the_role_has_not() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    home.run("key generate other --token shares --type ed25519 --threshold 2 --custodian ann --custodian ben --custodian cy --out other").done();
    let words = python(&home, &["sheet", "other/ann.html"]).unwrap();
    home.secret("ann.txt", words["words"].as_str().unwrap());
    let line = "share collect repo --role root --manifest other/set.json --share ann.txt --yes";
    home.refused(line, 3, "KEY_NOT_OF_ROLE");
}
