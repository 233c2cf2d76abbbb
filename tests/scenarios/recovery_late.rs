//! A fast-forward attack that nobody noticed at first: what was signed on top of it in good faith is not lost.

use serde_json::Value;
use tufagent_tests::{Home, Published};

use crate::judges::{Judges, Reads};
use crate::recovery::{FAR, commands_of, fast_forward, follow, leaky, steal};

const HEADING: &str = "FAST-FORWARD ATTACK ON TIMESTAMP AND SNAPSHOT";

/// A release that nobody wants to miss.
fn release(home: &Home, name: &str, folder: &str) {
    home.write(name, format!("this is {name}\n"));
    let path = if folder.is_empty() { String::new() } else { format!(" --path {folder}") };
    home.run(&format!("target add repo {name}{path}")).done();
    home.run("sign repo --yes").done();
}

/// Everything is as small as it was before the attack, and clients that fell for it go on.
#[track_caller]
fn is_left_behind(home: &Home, repo: &Published, judges: &Judges, targets: &[&str]) {
    for role in ["snapshot", "timestamp"] {
        assert!(repo.version(role) < 100, "{role} {}", repo.version(role));
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(repo, targets);
    Judges::new(home, "fresh", Reads::All).accept(repo, targets);
    // What comes next is as ever.
    home.run("bump repo targets").done();
    let difference = home.run("diff repo").done();
    assert!(!difference.text().contains("removed"), "{difference}");
    home.run("sign repo --yes").done();
    judges.accept(repo, targets);
}

#[test]
fn releases_on_top_of_a_fast_forward_stay_when_it_is_left_behind() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt"]);
    fast_forward(&repo, &["snapshot", "timestamp"]);
    release(&home, "important.txt", "");
    release(&home, "more.txt", "docs/");
    assert_eq!(repo.version("snapshot"), FAR + 2);
    // Another delegate came, with a release of its own, and one that went again.
    home.run("delegation add repo late --key docs-new --threshold 1 --paths late/*").done();
    home.run("delegation add repo short --key docs-new --threshold 1 --paths short/*").done();
    release(&home, "new.txt", "late/");
    home.run("delegation remove repo short --yes").done();
    home.run("sign repo --yes").done();
    let all = ["app.txt", "important.txt", "docs/guide.txt", "docs/more.txt", "late/new.txt"];
    judges.accept(&repo, &all);
    let before = ["targets", "docs", "late", "short"].map(|role| repo.version(role));
    follow(&home, HEADING);
    assert_eq!(["targets", "docs", "late", "short"].map(|role| repo.version(role)), before);
    is_left_behind(&home, &repo, &judges, &all);
}

#[test]
fn what_a_timer_renewed_on_top_of_a_fast_forward_goes_with_it() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt"]);
    fast_forward(&repo, &["snapshot", "timestamp"]);
    for roles in ["timestamp", "snapshot timestamp", "timestamp", "snapshot"] {
        home.run(&format!("bump repo {roles}")).done();
        home.run("sign repo --yes").done();
    }
    judges.accept(&repo, &["app.txt"]);
    let told = follow(&home, HEADING);
    let reset = told.iter().find(|told| told.stdout.contains("snapshot of app goes on from version 1"));
    assert!(reset.is_some(), "what was signed here before the attack");
    is_left_behind(&home, &repo, &judges, &["app.txt", "docs/guide.txt"]);
}

#[test]
fn a_thief_who_goes_on_after_the_reset_is_not_followed() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt"]);
    fast_forward(&repo, &["snapshot", "timestamp"]);
    release(&home, "important.txt", "");
    for role in ["timestamp", "snapshot"] {
        home.run(&format!("root replace-key repo {role} --old online --new online-2")).done();
    }
    home.run("sign repo --role root --yes");
    for role in ["timestamp", "snapshot"] {
        home.run(&format!("repo reset-watermark repo {role} --yes")).done();
    }
    // Nobody here has ever seen these.
    let snapshot = steal(&repo, "snapshot", 7, |signed| signed["version"] = (FAR * 10).into());
    steal(&repo, "timestamp", 7, |signed| {
        signed["version"] = (FAR * 10).into();
        signed["meta"]["snapshot.json"] = serde_json::json!({"version": snapshot});
    });
    home.run("sign repo --yes").done();
    is_left_behind(&home, &repo, &judges, &["app.txt", "important.txt"]);
}

#[test]
fn targets_that_were_released_on_top_of_stolen_ones_are_left_behind_with_them() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt"]);
    fast_forward(&repo, &["targets", "snapshot", "timestamp"]);
    release(&home, "more.txt", "docs/");
    release(&home, "late.txt", "");
    follow(&home, "FAST-FORWARD ATTACK ON TARGETS");
    assert!(repo.version("targets") < 100);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    // What the delegate released has no part in it; targets go on from the last one before the attack.
    judges.accept(&repo, &["app.txt", "docs/guide.txt", "docs/more.txt"]);
    release(&home, "late.txt", "");
    judges.accept(&repo, &["app.txt", "late.txt"]);
}

/// Follows the section on targets as far as its last command, which signs and publishes.
fn all_but_the_last_of_targets(home: &Home) {
    let commands = commands_of("FAST-FORWARD ATTACK ON TARGETS");
    let (last, before) = commands.split_last().unwrap();
    assert_eq!(last, "tufctl sign repo");
    for command in before {
        let outcome = home.run(&format!("{} --yes", command.strip_prefix("tufctl ").unwrap()));
        assert!([0, 4].contains(&outcome.code), "{command}: {outcome}");
    }
}

#[test]
fn a_reset_that_is_asked_for_once_more_throws_away_nothing_more() {
    let (home, _agent, repo) = leaky();
    release(&home, "late.txt", "");
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt", "late.txt"]);
    fast_forward(&repo, &["targets", "snapshot", "timestamp"]);
    all_but_the_last_of_targets(&home);
    let staged = repo.dir().join("staged/targets.json");
    let content = std::fs::read(&staged).unwrap();
    for role in ["targets", "snapshot", "timestamp", "targets"] {
        let again = home.run(&format!("repo reset-watermark repo {role} --yes --json")).done().json();
        assert_eq!((&again["from"], again["to"].as_u64() < Some(100)), (&Value::Null, true), "{again}");
        assert_eq!(std::fs::read(&staged).unwrap(), content, "{role}");
    }
    // One that was cut off behind the agent's part of it is finished.
    std::fs::remove_file(&staged).unwrap();
    home.run("repo reset-watermark repo targets --yes").done();
    assert!(staged.exists());
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "late.txt"]);
}

#[test]
fn a_delegates_new_key_that_goes_with_an_attack_is_told_of_and_leaves_no_role_unsigned() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    fast_forward(&repo, &["targets", "snapshot", "timestamp"]);
    let change = "delegation edit repo docs --add-key docs-new --remove-key docs-old --yes";
    home.run(change).done();
    home.run("sign repo --yes").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    let told = "what goes: key docs-new of docs; what comes back: key docs-old of docs";
    all_but_the_last_of_targets(&home);
    let again = home.run("repo reset-watermark repo targets --yes").done();
    let diff = home.run("diff repo").done();
    assert!(again.stderr.contains(told) && diff.stderr.contains(told), "{again}{diff}");
    let refused = home.refused("sign repo --yes", 4, "THRESHOLD_MISSING");
    assert_eq!(refused["details"]["role"], "docs", "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl delegation edit repo docs"), "{refused}");
    home.run(change).done();
    let signed = home.run("sign repo --yes").done();
    assert!(!signed.stderr.contains("comes back"), "{signed}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
}

#[test]
fn a_delegation_that_comes_back_with_a_reset_is_told_of_before_it_is_signed() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    fast_forward(&repo, &["targets", "snapshot", "timestamp"]);
    home.run("delegation remove repo docs").done();
    home.run("target add repo guide.txt --path docs/").done();
    home.run("sign repo --yes").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    all_but_the_last_of_targets(&home);
    let diff = home.run("diff repo").done();
    let told = "what goes: target docs/guide.txt; what comes back: delegation docs";
    assert!(diff.stderr.contains(told), "{diff}");
    home.run("delegation remove repo docs").done();
    home.run("target add repo guide.txt --path docs/").done();
    let signed = home.run("sign repo --yes").done();
    assert!(!signed.stderr.contains("comes back"), "{signed}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
}
