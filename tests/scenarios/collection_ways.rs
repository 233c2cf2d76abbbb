//! Ways that a set takes: groups, another user, a new set that is given up, another agent; and signals that come while
//! words are on the screen.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use serde_json::{Value, json};
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{binary, is_root, need, signal};

use crate::collections::begin;
use crate::custodians::{collect, confirm, identities, spawn, split_root, wait_for, with_token};
use crate::terminal::talk_in_steps;

const GROUPS: &str = "--group board=2:ann,ben,cy --group tech=2:dan,eve,fay --group-threshold 2";

fn shares(names: &[&str]) -> String {
    names.iter().map(|name| format!(" --share set/{name}.share --identity {name}.key")).collect()
}

#[test]
fn a_key_of_two_groups_is_made_by_enough_of_each_alone() {
    let (home, _agent) = with_token();
    let all = ["ann", "ben", "cy", "dan", "eve", "fay"];
    let Some(flags) = identities(&home, &all) else { return };
    home.run(&format!("key generate root-s --token shares --type ed25519 {GROUPS} {flags} --out set")).done();
    for name in all {
        home.run(&confirm("set", name)).done();
    }
    begin(&home);
    // Four shares, and the least that is needed is four; but one of tech is lacking.
    for line in
        ["share drill --manifest set/set.json", "share collect repo --role root --manifest set/set.json"]
    {
        let short =
            home.run(&format!("{line} --yes --json{}", shares(&["ann", "ben", "cy", "dan"]))).exits(4).json();
        assert_eq!((&short["have"], &short["need"]), (&3.into(), &4.into()), "{short}");
        assert_eq!(short["missing"], json!(["eve", "fay"]));
        assert_eq!(
            short["groups"][1],
            json!({"name": "tech", "have": 1, "need": 2, "missing": ["eve", "fay"]})
        );
    }
    let short = home.run(&collect(&["ann", "ben", "dan"])).exits(4);
    assert!(
        short.stdout.contains("3 of 4 shares (board 2 of 2, tech 1 of 2) · missing: eve, fay"),
        "{short}"
    );
    home.run(&collect(&["cy", "ann", "dan", "fay"])).done();
    let repo = home.published("repo");
    if let Some(client) = need(Client::python()) {
        client.accepts(&repo, &Memory::new(home.path("client")), &[]);
    }
}

#[test]
fn another_user_sees_no_collection_and_gives_by_a_sealed_share() {
    const OTHER: u32 = 65_534;
    const GROUP: &str = "54321";
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let (home, agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    agent.stop();
    home.config(&format!("allow_groups = [{GROUP}]\n[[token]]\nname = \"shares\"\nkind = \"shares\"\n"));
    let _agent = home.start();
    home.unlock_file_store();
    let theirs = home.dir().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::copy(binary("tufctl"), theirs.join("tufctl")).unwrap();
    for (from, to) in [("set/cy.share", "cy.share"), ("cy.key", "cy.key")] {
        fs::copy(home.path(from), theirs.join(to)).unwrap();
        chown(theirs.join(to), Some(OTHER), Some(OTHER)).unwrap();
    }
    for folder in [home.dir().to_path_buf(), home.dir().join("run"), theirs.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    chown(&theirs, Some(OTHER), Some(OTHER)).unwrap();
    let they = |line: &str| {
        let mut command = Command::new("setpriv");
        let id = OTHER.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--groups", GROUP]).arg(theirs.join("tufctl"));
        command.args(line.split(' ')).arg("--socket").arg(home.socket());
        let output = command.current_dir(&theirs).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), told)
    };
    let waiting = spawn(&home, &format!("{} --ticket ticket.json", collect(&["ann"])));
    let ticket = wait_for(&home.path("ticket.json"));
    let (code, told) = they("share give cy.share --identity cy.key --yes --json");
    assert_eq!((code, &told["error"]["reason"]), (4, &"SHARES_MISSING".into()), "{told}");
    fs::write(theirs.join("ticket.json"), ticket).unwrap();
    let (code, told) = they("share seal ticket.json cy.share --identity cy.key --out cy.sealed --yes --json");
    assert_eq!(code, 0, "{told}");
    fs::copy(theirs.join("cy.sealed"), home.path("cy.sealed")).unwrap();
    let given = home.run("share give cy.sealed --yes --json").done().json();
    assert_eq!((&given["custodian"], &given["outcome"]), (&"cy".into(), &"done".into()), "{given}");
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn a_new_set_that_is_given_up_leaves_the_old_one() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    let flags = identities(&home, &["dan", "eve", "fay"]).unwrap();
    home.run(&format!(
        "share resplit --phase prove --manifest set/set.json{} --threshold 2 {flags} --out new --yes",
        shares(&["ann", "ben"])
    ))
    .done();
    home.run(&confirm("new", "dan")).done();
    home.run("share resplit --phase abort --manifest new/set.json --yes").done();
    home.refused(&confirm("new", "eve"), 5, "SHARE_INVALID");
    let sets = home.run("share list --json").done().json();
    assert_eq!(sets["sets"].as_array().unwrap().len(), 1, "{sets}");
    // What waits for another key is nobody's to end by this manifest.
    home.keys(&["spare"]);
    home.run(&format!("share split spare --threshold 2 {flags} --out spare")).done();
    for phase in ["abort", "commit"] {
        let given_up = format!("share resplit --phase {phase} --manifest new/set.json --yes");
        home.refused(&given_up, 5, "SHARE_INVALID");
        home.refused(&format!("share resplit --phase {phase} --yes"), 2, "USAGE");
        home.refused(
            &format!("share resplit spare --phase {phase} --manifest set/set.json --yes"),
            2,
            "USAGE",
        );
    }
    assert_eq!(home.run("share list --json").done().json()["sets"].as_array().unwrap().len(), 2);
    begin(&home);
    home.run(&collect(&["ben", "cy"])).done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn another_agent_takes_the_manifest_in_and_signs_with_the_same_people() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ecdsa-p256") else { return };
    begin(&home);
    home.run(&collect(&["ann", "cy"])).done();
    let (fresh, _other) = with_token();
    for name in ["ann", "ben", "cy"] {
        fresh.secret(&format!("{name}.key"), &fs::read_to_string(home.path(format!("{name}.key"))).unwrap());
    }
    let copied =
        Command::new("cp").args(["-a"]).args([home.path("set"), home.path("repo"), fresh.path("")]).status();
    assert!(copied.unwrap().success());
    fresh.run("key import root-s set/set.json --token shares").done();
    fresh.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    fresh.run("bump repo root --yes").done();
    let signed = fresh.run(&format!("{} --json", collect(&["ben", "cy"])));
    assert!([0, 4].contains(&signed.code), "{signed}");
    assert_eq!(signed.json()["signed"][0]["key"], "root-s", "{signed}");
}

#[test]
fn a_signal_leaves_no_word_on_the_screen_and_the_terminal_as_it_was() {
    let (home, _agent) = with_token();
    let generate = "key generate root-s --token shares --type ed25519 --threshold 2 --custodian ann --custodian ben \
                    --custodian cy";
    home.run(&format!("{generate} --out set")).done();
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let typing = json!([["word  1 of 33: ", "aca"], ["aca", "", format!("kill -{signal} $CHILD")]]);
        let typing = talk_in_steps(&home, "share verify --manifest set/set.json", &typing.to_string());
        let Some((left, screen)) = typing else { return };
        assert_eq!(left, code, "{screen}");
        assert!(screen.ends_with("\u{1b}[2J\u{1b}[H\u{1b}[?1049l"), "{screen:?}");
    }
    // With the agent, and words on the screen.
    for (signal, code) in [("TERM", 143), ("INT", 1)] {
        let steps = json!([["Ctrl-C leaves.", "\n"], ["asked back.", "", format!("kill -{signal} $CHILD")],]);
        let line = generate.replace("root-s", &format!("root-{signal}"));
        let (left, screen) = talk_in_steps(&home, &line, &steps.to_string()).unwrap();
        assert_eq!(left, code, "{screen}");
        let (_, after) = screen.rsplit_once("asked back.").unwrap();
        assert!(after.contains("\u{1b}[2J\u{1b}[H\u{1b}[?1049l"), "{after:?}");
        // The set is there, and its name is taken.
        assert!(after.contains(&format!("tufctl share split root-{signal} --abort")), "{after:?}");
        assert!(!after.contains("what was done so far is kept"), "{after:?}");
    }
}

#[test]
fn a_terminal_that_gets_too_small_shows_no_words_until_it_is_larger_again() {
    let (home, _agent) = with_token();
    let resize = |lines: u8| format!("stty -F $TERMINAL rows {lines} columns 80");
    let steps = json!([
        ["Ctrl-C leaves.", "", resize(6)],
        ["6 lines; the words need", "\n"],
        ["", "", resize(24)],
        ["Ctrl-C leaves.", "\n"],
        ["asked back.", "", resize(9)],
        ["9 lines; the words need", "\n"],
        ["", "", resize(30)],
        ["asked back.", "\n"],
        ["word  1 of 33", "\u{3}"],
        ["again? [y/N]", "n\n"],
        ["Go on, with", "n\n"],
    ]);
    let line =
        "key generate root-s --token shares --type ed25519 --threshold 1 --custodian ann --allow-weak-set";
    let Some((left, screen)) = talk_in_steps(&home, line, &steps.to_string()) else { return };
    assert_eq!(left, 1, "{screen}");
    assert!(screen.contains("tufctl share split root-s --abort"), "{screen}");
}

#[test]
fn a_split_key_whose_token_is_locked_is_told_of_as_unsigned() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    home.run("lock").done();
    home.unlock_file_store();
    let signed = home.run("sign repo --yes --json");
    assert_eq!(signed.code, 4, "{signed}");
    let unsigned = signed.json()["unsigned"].clone();
    let of_root = unsigned.as_array().unwrap().iter().find(|one| one["role"] == "root").expect("root");
    assert_eq!(
        (&of_root["key"], &of_root["reason"]),
        (&json!("root-s"), &json!("TOKEN_LOCKED")),
        "{unsigned}"
    );
    assert_eq!(of_root["remedy"], "tufctl token unlock shares");
}

#[test]
fn ctrl_c_while_waiting_says_what_is_wiped() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    begin(&home);
    let waiting = spawn(&home, &format!("{} --ticket ticket.json", collect(&["ann"])));
    wait_for(&home.path("ticket.json"));
    signal(waiting.id(), "INT");
    let end = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&end.stderr).into_owned();
    assert_eq!(end.status.code(), Some(1), "{said}");
    assert!(said.contains("what was given is wiped") && said.contains("collect them again"), "{said}");
    // The ticket lies there still: that is said before anybody opens a share.
    let (opened, ticket) =
        (home.journalled("share.collect").len(), fs::read(home.path("ticket.json")).unwrap());
    home.refused(&format!("{} --ticket ticket.json", collect(&["ann"])), 2, "USAGE");
    assert_eq!(home.journalled("share.collect").len(), opened);
    assert_eq!(fs::read(home.path("ticket.json")).unwrap(), ticket);
    let steps = json!([["Bring shares of root-s", "n\n"]]);
    let (code, screen) = talk_in_steps(&home, "sign repo", &steps.to_string()).unwrap();
    assert!(
        code == 3 && screen.contains("you said no; no shares of root-s were asked for"),
        "{code} {screen}"
    );
}
