//! What an agent believes of sets of shares that it has not seen: manifests that were imported, and backups of any age.

use serde_json::json;
use tufagent_tests::Home;

use crate::split_signing::{among, confirm, people, split_key, two};

const INIT: &str =
    "repo init repo --name app --root q1 --targets online --snapshot online --timestamp online";

#[test]
fn a_set_whose_manifest_was_imported_gets_no_new_role_before_its_shares_were_seen() {
    let (home, _agent) = people(&["online"]);
    home.run(&format!("key generate q1 --token people --type ed25519{}", among("q1"))).done();
    home.refused(INIT, 3, "SHARE_UNPROVEN");
    // Forgotten and taken in again, it is alive, and nobody has proven anything all the same.
    let import = |home: &Home| {
        home.run("key remove q1 --yes").done();
        let warned = home.run("key import q1 q1/set.json --token people --json").done().json();
        assert!(warned["warnings"][0].as_str().unwrap().contains("no new role"), "{warned}");
    };
    import(&home);
    let refused = home.refused(INIT, 3, "SHARE_UNPROVEN");
    assert!(refused["remedy"].as_str().unwrap().contains("share drill"), "{refused}");
    assert_eq!(refused["details"]["unconfirmed"], json!(["ann", "ben", "cy"]));
    let listed = home.run("share list --json").done().json();
    assert_eq!((&listed["sets"][0]["state"], &listed["sets"][0]["seen"]), (&"alive".into(), &false.into()));
    // All of them, or a drill.
    for name in ["ann", "ben"] {
        confirm(&home, "q1", name);
    }
    home.refused(INIT, 3, "SHARE_UNPROVEN");
    confirm(&home, "q1", "cy");
    home.run(INIT).done();
    home.run("sign repo --yes").exits(4);
    home.run(&format!("share collect repo --role root{}", two("q1"))).done();
    home.refused("key remove q1 --yes", 3, "KEY_IN_USE");
    home.run("key remove q1 --yes --force").done();
    home.run("key import q1 q1/set.json --token people").done();
    // What it serves it goes on signing, and gets nothing new.
    home.run("bump repo root").done();
    home.run(&format!("share collect repo --role root{}", two("q1"))).done();
    home.refused("root add-key repo targets --key q1", 3, "SHARE_UNPROVEN");
    home.run(&format!("share drill{}", two("q1"))).done();
    home.run("root add-key repo targets --key q1").done();
}

#[test]
fn backups_in_any_order_bring_back_no_whole_copy_of_a_key_that_was_split() {
    let (home, _agent) = people(&["fz"]);
    home.secret("sealing", "a passphrase for the backup");
    let backup = |name: &str| home.run(&format!("backup {name} --passphrase-file sealing")).done();
    backup("whole");
    home.run(&format!("share split fz{}", among("fz"))).done();
    backup("proving");
    for name in ["ann", "ben", "cy"] {
        confirm(&home, "fz", name);
    }
    backup("split");
    let key_file = |home: &Home| home.state().join("keys/fz.key").exists();
    assert!(!key_file(&home));
    for order in [["whole", "split"], ["proving", "split"], ["split", "whole"], ["split", "proving"]] {
        let other = Home::new();
        other.config("[[token]]\nname = \"people\"\nkind = \"shares\"\n");
        let _agent = other.start();
        other.secret("sealing", "a passphrase for the backup");
        for name in order {
            std::fs::copy(home.path(name), other.path(name)).unwrap();
            other.run(&format!("restore {name} --passphrase-file sealing")).done();
        }
        assert!(!key_file(&other), "{order:?}");
        let sets = other.run("share list --json").done().json();
        assert_eq!(
            (&sets["sets"][0]["state"], &sets["sets"][0]["whole"]),
            (&"alive".into(), &false.into()),
            "{order:?}: {sets}"
        );
        let key = other.run("key show fz --json").done().json();
        assert_eq!(key["token"], "people", "{order:?}");
    }
}

#[test]
fn a_set_that_is_newer_than_a_restored_backup_is_taken_in_by_its_manifest() {
    let (home, _agent) = people(&["online", "taken"]);
    split_key(&home, "q1");
    home.run(INIT).done();
    home.run("sign repo --yes").exits(4);
    home.run(&format!("share collect repo --role root{}", two("q1"))).done();
    home.secret("sealing", "a passphrase for the backup");
    home.run("backup old --passphrase-file sealing").done();
    let resplit = |from: &str, to: &str| {
        home.run(&format!("share resplit --phase prove{}{}", two(from), among(to))).done();
    };
    resplit("q1", "new");
    for name in ["ann", "ben", "cy"] {
        confirm(&home, "new", name);
    }
    home.run("share resplit q1 --phase commit --yes").done();
    // A new state, from a backup that knows set 1 alone.
    let other = Home::new();
    other.config("[[token]]\nname = \"people\"\nkind = \"shares\"\n");
    let _other = other.start();
    for name in ["old", "q1", "new", "repo", "ann.pass", "cy.pass"] {
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg("-a").args([home.path(name), other.path(name)]).status().unwrap().success());
    }
    other.secret("sealing", "a passphrase for the backup");
    other.run("restore old --passphrase-file sealing").done();
    other.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    other.run("bump repo root --yes").done();
    let collect = |folder: &str| format!("share collect repo --role root{}", two(folder));
    let unknown = other.refused(&collect("new"), 5, "SHARE_INVALID");
    let import = "key import q1 new/set.json --token people";
    assert!(
        unknown["remedy"].as_str().unwrap().contains("tufctl key import q1 set.json --token people"),
        "{unknown}"
    );
    // Not under the name of another key; under any free one the key keeps its own.
    other.refused(&format!("{} --yes", import.replace("q1 ", "taken ")), 3, "NAME_TAKEN");
    // The older one is dead then, so somebody says so.
    let refused = other.refused(import, 3, "CONFIRMATION_MISSING");
    assert!(refused["message"].as_str().unwrap().contains("takes the place of set 1"), "{refused}");
    let taken = other.run(&format!("{} --yes --json", import.replace("q1 ", "else "))).done().json();
    assert_eq!(taken["name"], "q1", "{taken}");
    for told in ["no new role", "takes the place of set 1", "keeps its name q1"] {
        assert!(taken["warnings"].to_string().contains(told), "{told}: {taken}");
    }
    let states = |home: &Home| -> Vec<_> {
        let listed = home.run("share list --json").done().json();
        let of =
            |set: &serde_json::Value| (set["sequence"].clone(), set["state"].clone(), set["seen"].clone());
        listed["sets"].as_array().unwrap().iter().map(of).collect()
    };
    let set = |number: u8, state: &str, seen: bool| (json!(number), json!(state), json!(seen));
    assert_eq!(states(&other), [set(1, "dead", true), set(2, "alive", false)]);
    let adopted = other.journalled("share.adopted");
    assert_eq!((adopted.len(), &adopted[0]["body"]["sequence"]), (1, &json!(2)), "{adopted:?}");
    assert!(adopted[0]["body"]["replaces"].is_string(), "{adopted:?}");
    // It signs on for its roles, gets no new one before it was seen, and the old one is dead.
    other.refused(&collect("q1"), 5, "SHARE_INVALID");
    other.refused("root add-key repo targets --key q1", 3, "SHARE_UNPROVEN");
    let signed = other.run(&format!("{} --json", collect("new"))).json();
    assert_eq!(signed["signed"][0]["key"], "q1", "{signed}");
    other.run(&format!("share drill{}", two("new"))).done();
    assert_eq!(states(&other)[1], set(2, "alive", true));
    // Neither it nor the old one once more, and no other one of its number.
    other.refused(import, 3, "DUPLICATE_KEY");
    other.refused("key import q1 q1/set.json --token people", 5, "SHARE_INVALID");
    resplit("new", "third");
    home.run("share resplit q1 --phase abort --yes").done();
    let given_up = home.refused("key import q1 third/set.json --token people --yes", 5, "SHARE_INVALID");
    assert!(given_up["message"].as_str().unwrap().contains("does not come after it"), "{given_up}");
}

#[test]
fn what_is_refused_before_a_set_is_made_leaves_nothing_and_names_the_way_on() {
    let (home, _agent) = people(&["f4"]);
    let generate = "key generate q1 --token people --type ed25519 --threshold 2 --out new";
    // One person with two shares, by what opens them.
    let age = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let pass = "passphrase-file:ann.pass";
    for alike in [age, pass] {
        let line = format!("{generate} --custodian ann={alike} --custodian ben={alike} --custodian cy");
        let refused = home.refused(&line, 3, "WEAK_SET");
        assert_eq!(refused["details"]["weaknesses"], json!(["opened-alike"]), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("ann and ben"), "{refused}");
        assert!(!home.path("new").exists(), "a folder that nothing came into");
    }
    home.secret("short.pass", "x1y2z3");
    let allowed = format!(
        "{generate} --custodian ann={age} --custodian ben={age} --custodian cy=passphrase-file:short.pass --allow-weak-set"
    );
    let made = home.run(&allowed).done();
    assert!(made.stderr.contains("the passphrase of cy is short"), "{made}");
    assert!(made.stderr.contains("opened by the same recipient"), "{made}");
    // Groups that nobody could tell apart; files in the way; a file that is no share.
    let groups = "--group board=2:a,b,c --group Board=2:d,e,f --group-threshold 2 --out groups";
    home.refused(&format!("key generate q2 --token people --type ed25519 {groups}"), 2, "USAGE");
    home.write("file", "");
    let three = "--threshold 2 --custodian a --custodian b --custodian c";
    let in_the_way = home.refused(
        &format!("key generate q2 --token people --type ed25519 {three} --out file"),
        2,
        "USAGE",
    );
    assert!(in_the_way["remedy"].as_str().unwrap().contains("name a folder"), "{in_the_way}");
    home.secret("huge", &"academic ".repeat(10_000));
    let huge = home.refused("share verify huge --manifest new/set.json", 6, "VERIFICATION");
    assert!(huge["remedy"].as_str().unwrap().contains("NAME.share"), "{huge}");
    let wrong = home.refused("share split f4 --threshold 2 --custodian ann=rot13", 2, "USAGE");
    assert_eq!(wrong["remedy"], "see tufctl share split --help");
    // A split that is under way is finished or given up, and nothing else.
    home.run(&format!("share split f4{}", among("f4"))).done();
    home.refused("key remove f4 --yes", 3, "SHARE_UNPROVEN");
    let again = home.refused(&format!("share split f4{}", among("again")), 3, "DUPLICATE_KEY");
    assert!(again["remedy"].as_str().unwrap().contains("tufctl share split f4 --abort"), "{again}");
    assert!(!home.path("again").exists());
    let manifest = "share drill --manifest f4/set.json --share f4/ann.share --passphrase-file ann.pass --share f4/ben.share \
                    --passphrase-file ben.pass --yes";
    let drill = home.refused(manifest, 3, "SHARE_UNPROVEN");
    assert!(drill["remedy"].as_str().unwrap().contains("tufctl share split f4 --abort"), "{drill}");
    // The manifest tells who must come, by groups too.
    let groups = "--group board=2:a,b,c --group ops=2:d,e,f --group-threshold 2 --out groups";
    let made = home.run(&format!("key generate q2 --token people --type ed25519 {groups}")).done();
    assert!(made.stdout.contains("2 of 2 groups: board (2 of 3), ops (2 of 3) make the key"), "{made}");
}

#[test]
fn a_sheet_of_many_people_leaves_to_the_manifest_what_its_page_has_no_room_for() {
    let (home, _agent) = people(&[]);
    let name = |at: usize| format!("custodian-{at:02}-{}", "o".repeat(50));
    let flags: String = (0..16).map(|at| format!(" --custodian {}", name(at))).collect();
    home.run(&format!("key generate many --token people --type ecdsa-p256 --threshold 9 --out many{flags}"))
        .done();
    let sheet = std::fs::read_to_string(home.path(format!("many/{}.html", name(3)))).unwrap();
    assert!(sheet.contains("<body class=\"long\">") && sheet.contains(&name(15)), "{sheet}");
    assert!(!sheet.contains("id=\"manifest\"") && sheet.contains("keep set.json with it"), "{sheet}");
    let digest =
        home.run("share list --json").done().json()["sets"][0]["sha256"].as_str().unwrap().to_owned();
    assert!(sheet.contains(&digest), "what set.json is known by: {sheet}");
}
