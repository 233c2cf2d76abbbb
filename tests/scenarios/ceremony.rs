//! What people around a split key are asked, shown and told, and what keeps them from harm when they err.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tufagent_tests::{Home, Outcome, binary, is_root};

use crate::split_signing::{among, confirm, people, split_key, two};
use crate::terminal::{talk, talk_in_steps};

const INIT: &str =
    "repo init repo --name app --root q1 --targets online --snapshot online --timestamp online";

#[test]
fn quiet_shows_what_a_share_is_given_for_to_whoever_is_asked_for_it_and_to_nobody_else() {
    let (home, _agent) = people(&["online"]);
    split_key(&home, "q1");
    home.run(INIT).done();
    home.run("sign repo --yes").exits(4);
    let collect = "share collect repo --role root --manifest q1/set.json --quiet";
    let steps = [("[y/N] ", "y\n"), ("q ends it: ", "\u{3}")];
    let Some((_, screen)) = talk(&home, collect, &steps) else { return };
    for shown in ["key of root: q1", "sha256", "0 of 2 shares"] {
        assert!(screen.contains(shown), "{shown}: {screen}");
    }
    let done = home.run(&format!("share collect repo --role root{} --quiet", two("q1"))).done();
    assert_eq!(done.stderr, "", "{done}");
    let drill = home.run(&format!("share drill{} -q", two("q1"))).done();
    assert_eq!(drill.stderr, "", "{drill}");
}

#[test]
fn a_drill_puts_everybody_on_record_whose_share_was_checked() {
    let (home, _agent) = people(&[]);
    split_key(&home, "q1");
    let ben = " --share q1/ben.share --passphrase-file ben=ben.pass";
    let drilled = home.run(&format!("share drill{}{ben} --json", two("q1"))).done().json();
    let mut named: Vec<String> = serde_json::from_value(drilled["custodians"].clone()).unwrap();
    named.sort();
    assert_eq!(named, ["ann", "ben", "cy"], "{drilled}");
    let journalled = home.journalled("share.drill");
    assert_eq!(journalled[0]["body"]["custodians"].as_array().unwrap().len(), 3, "{journalled:?}");
    // As many as the key needs are enough all the same.
    home.run(&format!("share drill{}", two("q1"))).done();
}

#[test]
fn a_new_set_is_given_up_by_its_own_command_and_after_a_question() {
    let (home, _agent) = people(&["fk"]);
    split_key(&home, "q1");
    let prove =
        |out: &str| home.run(&format!("share resplit --phase prove{}{}", two("q1"), among(out))).done();
    prove("new");
    let refused = home.refused("share split q1 --abort", 2, "USAGE");
    assert_eq!(
        refused["remedy"],
        "to give up a new set of it that waits: tufctl share resplit q1 --phase abort"
    );
    let abort = "share resplit q1 --phase abort";
    home.refused(abort, 3, "CONFIRMATION_MISSING");
    let Some((code, screen)) = talk(&home, abort, &[("(0 of 3 shares proven)? [y/N] ", "n\n")]) else {
        return;
    };
    assert_eq!(code, 3, "{screen}");
    let sets = |home: &Home| home.run("share list --json").done().json()["sets"].clone();
    assert_eq!(
        (&sets(&home)[1]["state"], &sets(&home)[1]["waits_for"]),
        (&"proving".into(), &"proof".into())
    );
    // Proven by all, it says what lacks.
    for name in ["ann", "ben", "cy"] {
        confirm(&home, "new", name);
    }
    let listed = home.run("share list").done();
    assert!(listed.stdout.contains("all proven: commit lacks"), "{listed}");
    assert!(listed.stderr.contains("tufctl share resplit q1 --phase commit"), "{listed}");
    assert_eq!(sets(&home)[1]["waits_for"], "commit");
    home.run(&format!("{abort} --yes")).done();
    assert_eq!(sets(&home).as_array().unwrap().len(), 1);
    // A first set of a key that is whole nowhere goes with its key, which is asked; one with its whole copy loses nothing.
    home.run(&format!("key generate q2 --token people --type ed25519{}", among("q2"))).done();
    home.refused("share split q2 --abort", 3, "CONFIRMATION_MISSING");
    home.run("share split q2 --abort --yes").done();
    home.run(&format!("share split fk{}", among("fk"))).done();
    home.run("share split fk --abort").done();
}

#[test]
fn what_is_weak_about_a_set_is_said_once() {
    let (home, _agent) = people(&[]);
    let weak = |out: &str| among(out).replace("--threshold 2", "--threshold 3 --allow-weak-set");
    let once = |made: tufagent_tests::Outcome| {
        let warnings = made.stderr.lines().filter(|line| line.starts_with("warning:"));
        let said = warnings.filter(|line| line.contains("lost") || line.contains("is weak"));
        assert_eq!(said.count(), 1, "{made}");
    };
    once(home.run(&format!("key generate q1 --token people --type ed25519{}", weak("q1"))).done());
    split_key(&home, "q2");
    once(home.run(&format!("share resplit --phase prove{}{}", two("q2"), weak("new"))).done());
}

#[test]
fn verify_says_of_a_file_that_it_could_not_look_at_neither_right_nor_wrong() {
    let home = Home::new();
    home.write("set.json", "{}");
    home.write("open.txt", "academic acid acrobat romp");
    let missing = home.refused("share verify none.share --fingerprint 9f31c04ab2775d10", 2, "USAGE");
    assert!(missing["message"].as_str().unwrap().contains("none.share"), "{missing}");
    fs::set_permissions(home.path("open.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open = home.refused("share verify open.txt --fingerprint 9f31c04ab2775d10", 2, "USAGE");
    assert!(open["remedy"].as_str().unwrap().contains("chmod 600"), "{open}");
    home.refused("share verify open.txt --manifest none.json", 2, "USAGE");
    home.refused("share verify open.txt --manifest set.json", 6, "VERIFICATION");
}

#[test]
fn a_refused_repository_leaves_no_folder_that_was_not_there() {
    let (home, _agent) = people(&["online"]);
    let init = |dir: &str| INIT.replace("repo init repo", &format!("repo init {dir}"));
    home.refused(&init("new/deep"), 3, "KEY_NOT_FOUND");
    assert!(!home.path("new").exists());
    fs::create_dir(home.path("mine")).unwrap();
    home.refused(&init("mine"), 3, "KEY_NOT_FOUND");
    assert!(home.path("mine").is_dir());
}

#[test]
fn where_a_record_is_damaged_its_key_signs_nothing_and_no_key_gets_a_new_role() {
    let (home, agent) = people(&["fk", "on", "other"]);
    home.run("repo init repo --name app --root fk,on --targets on --snapshot on --timestamp on").done();
    home.run("sign repo --yes").done();
    home.run(&format!("share split fk{}", among("fk"))).done();
    agent.stop();
    let record = home.state().join("shares/people/fk.split");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("proving", "alive")).unwrap();
    let agent = home.start();
    home.unlock_file_store();
    // Whether its shares are proven nobody knows.
    home.run("bump repo root").done();
    home.refused("sign repo --yes --key fk", 3, "SHARE_UNPROVEN");
    let refused = home.refused("root add-key repo targets --key other --yes", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("fk.split"), "{refused}");
    // What they have they go on signing.
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    agent.stop();
    fs::write(&record, text).unwrap();
    let _agent = home.start();
    home.unlock_file_store();
    home.run("root add-key repo targets --key other --yes").done();
}

#[test]
fn that_memory_cannot_be_locked_is_said_at_the_start_and_to_whoever_has_a_key_split() {
    let home = Home::new();
    home.config("[[token]]\nname = \"people\"\nkind = \"shares\"\n");
    for name in ["ann", "ben", "cy"] {
        home.secret(&format!("{name}.pass"), &format!("c4n4ry of {name}"));
    }
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -l 0 && exec \"$@\"", "sh"]);
    if is_root() {
        command.args(["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    }
    command.arg(binary("tuf-agent"));
    let agent = home.start_through(command);
    assert!(agent.log().contains("memory cannot be locked"), "{}", agent.log());
    let status = home.run("status --json").done().json();
    assert!(status["alarms"].to_string().contains("raise ulimit -l"), "{status}");
    let told = |outcome: &Outcome| {
        assert!(outcome.stderr.contains("may reach swap: raise the agent's limit (ulimit -l"), "{outcome}");
    };
    told(&home.run(&format!("key generate q1 --token people --type ed25519{}", among("q1"))).done());
    for name in ["ann", "ben", "cy"] {
        confirm(&home, "q1", name);
    }
    told(&home.run(&format!("share resplit --phase prove{}{}", two("q1"), among("new"))).done());
    home.run("share resplit q1 --phase abort --yes").done();
    // It works all the same.
    home.run(&format!("share drill{}", two("q1"))).done();
}

#[test]
fn who_leaves_the_hand_out_keeps_the_others_from_nothing() {
    let (home, _agent) = people(&[]);
    let generate = "key generate q1 --token people --type ed25519 --threshold 2 --custodian ann --custodian ben \
                    --custodian cy";
    let again = "Show the share of ann again? [y/N] ";
    let steps: Vec<Value> = [
        ("Ctrl-C leaves.", "\n"),
        ("asked back.", "\n"),
        ("word  1 of 33: ", "\u{3}"),
        (again, "n\n"),
        ("Go on, with ben, cy, ann? Otherwise these shares are lost [y/N] ", "y\n"),
        ("Nobody but ben", "\u{3}"),
        ("Go on, with cy, ann, ben? Otherwise these shares are lost [y/N] ", "n\n"),
    ]
    .iter()
    .map(|(wait, typed)| json!([wait, typed]))
    .collect();
    let Some((code, screen)) = talk_in_steps(&home, generate, &Value::from(steps).to_string()) else {
        return;
    };
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("its shares were not all handed out"), "{screen}");
}
