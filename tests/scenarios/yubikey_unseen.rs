//! YubiKeys of the configuration that were never there since the agent was started: nobody knows yet which keys they hold, so
//! a person is asked for them where a key is missing that they could have.

use serde_json::json;
use tufagent_tests::cards::{CARD_PIN, FIRMWARE_5_4, FIRMWARE_5_7};

use crate::terminal::talk_in_steps;
use crate::yubikey_away::meanwhile;
use crate::yubikey_matrix::Desk;

/// Two cards, of which `alice` signs the root of `repo`, of which a new version of `role` is staged; both are out, and the
/// agent was started after that.
fn desk(role: &str) -> Option<Desk> {
    let mut desk = Desk::with(&[FIRMWARE_5_7, FIRMWARE_5_4])?;
    desk.unlock("alice");
    desk.key("root-a", "alice", "");
    desk.home.unlock_file_store();
    desk.home.keys(&["online"]);
    desk.init("root-a", "online");
    desk.sign().done();
    desk.home.run(&format!("bump repo {role}")).done();
    desk.cards.iter().for_each(|card| card.remove());
    desk.restart();
    desk.home.unlock_file_store();
    for name in ["alice", "bob"] {
        desk.until(name, "absent");
    }
    Some(desk)
}

#[test]
fn a_yubikey_that_was_never_there_is_asked_for_and_signs_when_it_comes() {
    let Some(desk) = desk("root") else { return };
    let (home, alice) = (&desk.home, &desk.cards[0]);
    let before = alice.counters();
    let talked = std::thread::scope(|scope| {
        let comes = meanwhile(scope, home.dir(), "comes", || {
            alice.insert();
            alice.until_seen();
        });
        let steps = json!([
            ["alice (YubiKey 15350041) or bob (YubiKey 15350042) and press Enter", "\n", comes],
            ["PIN of alice", format!("{CARD_PIN}\n")],
            ["[y/N] ", "y\n"],
        ]);
        talk_in_steps(home, "sign repo", &steps.to_string())
    });
    let Some((code, screen)) = talked else { return };
    assert!(code == 0 && screen.contains("published"), "{screen}");
    assert!(screen.contains("root-a, to sign root version 2"), "{screen}");
    let after = alice.counters();
    assert_eq!((after.verifies, after.signatures), (before.verifies + 1, before.signatures + 1), "{screen}");
}

#[test]
fn one_that_comes_with_no_key_of_the_role_is_told_so_and_not_asked_for_again() {
    let Some(desk) = desk("root") else { return };
    let (home, bob) = (&desk.home, &desk.cards[1]);
    let talked = std::thread::scope(|scope| {
        let comes = meanwhile(scope, home.dir(), "comes", || {
            bob.insert();
            bob.until_seen();
        });
        let goes = meanwhile(scope, home.dir(), "goes", || {
            bob.remove();
            desk.until("bob", "absent");
        });
        let steps = json!([
            ["alice (YubiKey 15350041) or bob (YubiKey 15350042) and press Enter", "\n", comes],
            ["insert alice (YubiKey 15350041) and press Enter", "\n", goes],
            ["insert alice (YubiKey 15350041) and press Enter", "no\n"],
        ]);
        talk_in_steps(home, "sign repo", &steps.to_string())
    });
    let Some((code, screen)) = talked else { return };
    // Nothing was signed, and the one that may hold the key is away.
    assert_eq!(code, 5, "{screen}");
    assert!(screen.contains("bob (YubiKey 15350042) has no key that root lacks"), "{screen}");
    assert_eq!(screen.matches("or bob (YubiKey").count(), 1, "it is not thought of again: {screen}");
    assert!(screen.contains("may lie on alice (YubiKey 15350041)"), "{screen}");
    assert_eq!(bob.counters().verifies, 0, "{screen}");
}

#[test]
fn what_others_on_the_screen_can_give_or_a_script_runs_into_is_no_reason_to_ask() {
    let Some(desk) = desk("targets") else { return };
    // Nothing is missing that could be on one.
    let steps = json!([["[y/N] ", "y\n"]]);
    let Some((code, screen)) = talk_in_steps(&desk.home, "sign repo", &steps.to_string()) else { return };
    assert!(code == 0 && !screen.contains("press Enter"), "{screen}");
    // A script is asked nothing.
    desk.home.run("bump repo root").done();
    desk.home.refused("sign repo --yes", 5, "TOKEN_ABSENT");
}
