//! What may follow what: versions, expiry and listings that are signed, seen or refused, cell by cell.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::{Agent, Home, Outcome, Published};

use crate::forge::{key, keyid, signed_by};
use crate::key_types::home_with_softhsm;
use crate::recovered::leaky;
use crate::terminal::talk;

/// Changes the `signed` part of what is staged of a role, by hand.
pub(crate) fn restage(repo: &Published, role: &str, change: impl FnOnce(&mut Value)) {
    let path = repo.dir().join(format!("staged/{role}.json"));
    let mut staged: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut staged["signed"]);
    fs::write(path, staged.to_string()).unwrap();
}

/// Publishes this as the next metadata of a role: signed by the other holder of the online key.
fn publish(repo: &Published, file: &str, signed: &Value) {
    let path = repo.dir().join("metadata").join(file);
    let _ = fs::remove_file(&path);
    fs::write(path, signed_by(signed, &[(keyid(&key(7)), 7)])).unwrap();
}

/// The other holder renews targets, snapshot and timestamp, all with these versions.
pub(crate) fn others_publish(repo: &Published, versions: [u64; 3], change: impl FnOnce(&mut Value)) {
    let [targets, snapshot, timestamp] = versions;
    let newest = |role: &str| repo.metadata(&format!("{}.{role}.json", repo.version(role)))["signed"].clone();
    let (mut own, mut listing) = (newest("targets"), newest("snapshot"));
    let mut last = repo.metadata("timestamp.json")["signed"].clone();
    own["version"] = targets.into();
    change(&mut own);
    listing["version"] = snapshot.into();
    listing["meta"]["targets.json"] = json!({"version": targets});
    last["version"] = timestamp.into();
    last["meta"]["snapshot.json"] = json!({"version": snapshot});
    publish(repo, &format!("{targets}.targets.json"), &own);
    publish(repo, &format!("{snapshot}.snapshot.json"), &listing);
    publish(repo, "timestamp.json", &last);
}

/// A time relative to now, as metadata writes it.
fn day(home: &Home, days: &str) -> String {
    let format = "+%Y-%m-%dT%H:%M:%SZ";
    let mut command = std::process::Command::new("date");
    command.args(["-u", "-d", days, format]).current_dir(home.dir());
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn sixteen_versions_further_pass_and_seventeen_only_when_a_person_says_so() {
    let (home, _agent, repo) = leaky();
    let stage = |version: u64| {
        home.run("bump repo targets --yes").done();
        restage(&repo, "targets", |signed| signed["version"] = version.into());
        home.refused("sign repo", 3, "CONFIRMATION_MISSING");
    };
    stage(17);
    let near = home.run("sign repo --yes").done();
    assert!(!near.text().contains("more than 16 at once"), "{near}");
    stage(34);
    let error = home.refused("sign repo --yes", 3, "VERSION_JUMP");
    let sentence = "targets jumps from version 17 to 34, more than 16 at once";
    assert!(error["message"].as_str().unwrap().contains(sentence), "{error}");
    assert_eq!((&error["details"]["role"], &error["details"]["version"]), (&"targets".into(), &34.into()));
    let staged = fs::read_to_string(repo.dir().join("staged/targets.json")).unwrap();
    assert!(!staged.contains("\"sig\""), "it was signed: {staged}");
    let Some((code, screen)) = talk(&home, "sign repo --yes", &[("[y/N] ", "n\n")]) else { return };
    assert_eq!(code, 3, "{screen}");
    // The second yes was typed before its question stood there: it is no answer to it.
    let ahead = [("[y/N] ", "y\ny\n"), ("[y/N] ", "n\n")];
    let (code, screen) = talk(&home, "sign repo", &ahead).unwrap();
    assert_eq!(code, 3, "{screen}");
    let (code, screen) = talk(&home, "sign repo --yes", &[("[y/N] ", "y\n")]).unwrap();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains(sentence), "{screen}");
    assert_eq!(repo.version("targets"), 34);
    let journal = home.run("audit export").done().stdout;
    let confirmed: Vec<_> = journal.lines().filter(|line| line.contains("sign.confirmed")).collect();
    assert_eq!(confirmed.len(), 1, "{journal}");
    assert!(
        confirmed[0].contains("by_person") && confirmed[0].contains("jumps from version 17 to 34"),
        "{journal}"
    );
}

#[test]
fn a_jump_is_counted_from_what_was_published_and_not_from_what_was_signed() {
    let (home, _agent, repo) = leaky();
    let stage = |version: u64| {
        home.run("bump repo targets --yes").done();
        restage(&repo, "targets", |signed| signed["version"] = version.into());
    };
    stage(17);
    home.run("sign repo --yes --no-publish").done();
    stage(18);
    let error = home.refused("sign repo --yes --no-publish", 3, "VERSION_JUMP");
    assert!(error["message"].as_str().unwrap().contains("targets jumps from version 1 to 18"), "{error}");
    // Nor is there another content under what was signed.
    stage(17);
    restage(&repo, "targets", |signed| signed["x-other"] = json!(true));
    home.refused("sign repo --yes", 3, "WATERMARK");
}

#[test]
fn a_root_does_not_jump_whoever_asks() {
    let (home, _agent, repo) = leaky();
    home.run("bump repo root").done();
    restage(&repo, "root", |signed| signed["version"] = 3.into());
    let error = home.refused("sign repo --yes", 3, "VERSION_JUMP");
    assert_eq!(error["details"]["next_version"], 2, "{error}");
    assert_eq!(repo.version("root"), 1);
}

#[test]
fn what_others_published_is_taken_as_seen_and_gone_on_from() {
    let (home, _agent, repo) = leaky();
    others_publish(&repo, [40, 30, 50], |signed| signed["x-theirs"] = json!(true));
    home.run("bump repo root").done();
    home.run("sign repo --yes").done();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("snapshot")), (41, 31));
    assert_eq!(repo.metadata("41.targets.json")["signed"]["x-theirs"], true, "what they wrote is lost");
    let status = home.run("status").done();
    assert!(!status.text().contains("alarm"), "{status}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

/// A repository in which the other holder published other content under the version that was signed here.
fn forked() -> (Home, Agent, Published) {
    let (home, agent, repo) = leaky();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    others_publish(&repo, [2, 3, 9], |signed| signed["x-theirs"] = json!(true));
    (home, agent, repo)
}

#[test]
fn other_content_than_was_signed_stops_its_role_until_a_person_has_looked() {
    let (home, _agent, _repo) = forked();
    home.run("bump repo targets --yes");
    home.refused("sign repo --yes", 3, "WATERMARK");
    let status = home.run("status --json").done().json();
    let alarms = status["alarms"].to_string();
    assert!(alarms.contains("targets of app") && alarms.contains("version 2"), "{status}");
    let journal = home.run("audit export").done().stdout;
    assert!(journal.contains("alarm"), "{journal}");
    let error = home.refused("sign repo --yes", 3, "WATERMARK");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl repo adopt"), "{error}");
    let looked = home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    assert!(looked.stderr.contains("acknowledged"), "{looked}");
    assert_eq!(home.run("status --json").done().json()["alarms"].as_array().unwrap().len(), 0);
    home.run("bump repo targets --yes").done();
    home.run("sign repo --yes").done();
}

/// What was signed here as `role` stands published with other content: it is an alarm, the repository signs nothing of the
/// role, and goes on once a person has looked.
#[track_caller]
fn alarms(home: &Home, role: &str, version: u64) {
    home.run(&format!("bump repo {role} --yes"));
    home.refused("sign repo --yes", 3, "WATERMARK");
    let alarms = home.run("status --json").done().json()["alarms"].to_string();
    assert!(
        alarms.contains(&format!("{role} of app")) && alarms.contains(&format!("version {version}")),
        "{alarms}"
    );
    assert!(home.journalled("alarm.raised").iter().any(|it| it["body"]["role"] == role), "{alarms}");
}

#[test]
fn other_content_of_a_snapshot_than_was_signed_is_an_alarm() {
    let (home, _agent, repo) = leaky();
    let mut listing = repo.metadata("1.snapshot.json")["signed"].clone();
    listing["x-theirs"] = json!(true);
    publish(&repo, "1.snapshot.json", &listing);
    alarms(&home, "snapshot", 1);
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn other_content_of_a_root_than_was_signed_is_an_alarm() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["online"]);
    home.secret("root.pem", crate::recovered::SEVEN);
    home.run("key import root root.pem --token file").done();
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    home.run("bump repo root").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    let mut theirs = repo.metadata("2.root.json")["signed"].clone();
    theirs["x-theirs"] = json!(true);
    publish(&repo, "2.root.json", &theirs);
    alarms(&home, "root", 2);
}

#[test]
fn a_snapshot_of_an_older_folder_neither_loses_nor_lowers_an_entry() {
    let (home, _agent, repo) = leaky();
    home.keys(&["team"]);
    let before = repo.copy_to(&home.path("before"));
    home.run("delegation add repo team --key team --paths t/*").done();
    home.run("sign repo --yes").done();
    let first = repo.copy_to(&home.path("first"));
    home.run("bump repo team").done();
    home.run("sign repo --yes").done();
    for (old, lost) in [(before, ["targets", "team"].as_slice()), (first, &["team"])] {
        let name = old.dir().file_name().unwrap().to_str().unwrap();
        let versions = (old.version("snapshot"), old.version("timestamp"));
        home.run(&format!("bump {name} snapshot --yes")).done();
        let error = home.refused(&format!("sign {name} --yes"), 3, "SNAPSHOT_INVALID");
        assert!(lost.iter().any(|role| error["details"]["entry"] == *role), "{error}");
        assert_eq!((old.version("snapshot"), old.version("timestamp")), versions);
    }
}

#[test]
fn what_is_written_into_a_staged_listing_by_hand_is_not_signed() {
    let (home, _agent, repo) = leaky();
    let cases: [fn(&mut Value); 4] = [
        |meta| drop(meta.as_object_mut().unwrap().remove("targets.json")),
        |meta| meta["targets.json"] = json!({"version": 4}),
        |meta| meta["ghost.json"] = json!({"version": 1}),
        |meta| meta["root.json"] = json!({"version": 1}),
    ];
    let good = repo.metadata("1.snapshot.json")["signed"]["meta"].clone();
    for change in cases {
        home.run("bump repo snapshot timestamp").done();
        restage(&repo, "snapshot", |signed| change(&mut signed["meta"]));
        restage(&repo, "timestamp", |signed| signed["meta"]["snapshot.json"]["version"] = 99.into());
        home.run("sign repo --yes").done();
        let snapshot = format!("{}.snapshot.json", repo.version("snapshot"));
        assert_eq!(repo.metadata(&snapshot)["signed"]["meta"], good, "{snapshot}");
        home.run("verify repo --root repo/metadata/1.root.json").done();
    }
}

#[test]
fn an_expiry_lies_ahead_and_within_the_length_and_a_tenth() {
    let (home, _agent, repo) = leaky();
    home.run("bump repo targets").done();
    for days in ["-1 minute", "+100 days", "+20000 days"] {
        let expires = day(&home, days);
        restage(&repo, "targets", |signed| signed["expires"] = expires.into());
        let error = home.refused("sign repo --yes", 3, "EXPIRY");
        assert_eq!(error["details"]["role"], "targets", "{error}");
    }
    // 90 days are recorded, and 9 are their tenth.
    let expires = day(&home, "+98 days");
    restage(&repo, "targets", |signed| signed["expires"] = expires.into());
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 2);
}

#[test]
fn a_length_beyond_that_of_another_role_of_the_key_is_named_before_it_is_signed() {
    let (home, _agent, repo) = leaky();
    home.run("delegation add repo nightly --key online --threshold 1 --paths n/*").done();
    home.run("sign repo --yes").done();
    home.run("bump repo nightly --expires 7d --yes").done();
    let signed = home.run("sign repo --yes").done();
    assert!(!signed.stderr.contains("passed off"), "{signed}");
    home.run("bump repo targets").done();
    let signed = home.run("sign repo --yes").done();
    assert!(
        signed.stderr.contains("passed off")
            && signed.stderr.contains("7 days that are recorded for nightly"),
        "{signed}"
    );
    assert_eq!(repo.version("targets"), 3);
}

#[test]
fn adopting_again_lowers_nothing_and_another_name_is_refused() {
    let (home, _agent, repo) = leaky();
    let old = repo.copy_to(&home.path("old"));
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    home.refused("repo adopt old --name other --root old/metadata/1.root.json --yes", 3, "REPOSITORY_KNOWN");
    home.run("repo adopt old --name app --root old/metadata/1.root.json --yes").done();
    home.write("other.txt", "other\n");
    home.run("target add old other.txt --yes").done();
    restage(&old, "targets", |signed| signed["version"] = 2.into());
    home.refused("sign old --yes", 3, "WATERMARK");
    assert_eq!(old.version("targets"), 1);
}

#[test]
fn a_key_of_another_chain_signs_only_where_a_person_shares_it() {
    let (home, _agent, repo) = leaky();
    let init =
        "repo init second --name second --root fresh --targets online --snapshot online --timestamp fresh";
    let told = home.run(init).done();
    let warned = |outcome: &Outcome| outcome.stderr.matches("serves the repository app").count();
    assert_eq!(warned(&told), 1, "{told}");
    // Nobody is told of a key that signs for this repository already.
    let told = home.run("delegation add repo docs --key online --threshold 1 --paths docs/*").done();
    assert_eq!(warned(&told), 0, "{told}");
    let error = home.refused("sign second --yes", 3, "SHARED_KEY");
    assert!(error["remedy"].as_str().unwrap().contains("--shared-key"), "{error}");
    assert!(home.published("second").names("metadata").is_empty());
    home.run("sign second --yes --shared-key").done();
    assert_eq!(home.published("second").version("targets"), 1);
    assert_eq!(repo.version("targets"), 1);
}

#[test]
fn a_token_key_whose_state_was_lost_signs_after_an_adoption_only() {
    let Some((home, agent, _folder)) = home_with_softhsm() else { return };
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
    home.run("sign repo --yes").done();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    home.run("bump repo targets").done();
    assert!(agent.stop().success());
    fs::remove_dir_all(home.state()).unwrap();
    let _agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    let error = home.refused("sign repo --yes", 3, "REPOSITORY_UNKNOWN");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl repo adopt"), "{error}");
    let adopted = home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    assert!(adopted.stderr.contains("no record of what its keys signed for app before"), "{adopted}");
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("targets"), 3);
}
