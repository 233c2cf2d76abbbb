//! What is adopted although it is damaged, odd or very large, and what is not, with the way out.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::{Home, Published};

use crate::forge::{Forge, key, keyid, signed_by};
use crate::judges::{Judges, Reads};

/// A published repository with the delegated role `team`, whose newest file is lost; and what was in it.
fn with_a_lost_role(home: &Home) -> (Published, Vec<u8>) {
    let repo = home.published_repository();
    home.keys(&["team"]);
    home.write("t.txt", "t\n");
    home.run("delegation add repo team --key team --paths t/*").done();
    home.run("target add repo t.txt --path t/ --role team").done();
    home.run("sign repo --yes").done();
    let lost = repo.bytes("1.team.json");
    fs::remove_file(repo.dir().join(TEAM)).unwrap();
    (repo, lost)
}

/// The agent forgets what it knew, and has its keys.
fn anew(home: &Home, agent: tufagent_tests::Agent) -> tufagent_tests::Agent {
    assert!(agent.stop().success());
    let (state, away) = (home.state(), home.path("away"));
    fs::rename(&state, &away).unwrap();
    assert!(home.start().stop().success());
    fs::remove_dir_all(state.join("keys")).ok();
    fs::rename(away.join("keys"), state.join("keys")).unwrap();
    let agent = home.start();
    home.run("token unlock file --pin-file passphrase").done();
    agent
}

const ADOPT: &str = "repo adopt repo --name app --root repo/metadata/1.root.json --yes";

#[test]
fn a_repository_that_has_lost_a_delegated_role_is_adopted_by_a_persons_word_and_goes_on() {
    let (home, agent) = Home::unlocked();
    let (repo, _) = with_a_lost_role(&home);
    let judges = Judges::new(&home, "before", Reads::NotTough);
    judges.accept(&repo, &["app.txt"]);
    let _agent = anew(&home, agent);
    let refused = home.refused(ADOPT, 6, "VERIFICATION");
    assert_eq!(refused["details"]["role"], "team", "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("--without team"), "{refused}");
    // What is there is not lost, and targets never are.
    home.refused(&format!("{ADOPT} --without team,targets"), 2, "USAGE");
    assert!(home.journalled("repository.adopted").is_empty());
    let adopted = home.run(&format!("{ADOPT} --without team --json")).done().json();
    assert!(adopted["alarms"].to_string().contains("team version 1 is lost"), "{adopted}");
    // It is told for as long as it is lost.
    let said = home.run("repo show repo");
    let way = "bring metadata/1.team.json back, or take the role out: tufctl delegation remove repo team";
    assert!(said.clone().done().stderr.contains(way), "{said}");
    let lost = || home.run("repo show repo --json").done().json()["lost"].clone();
    assert_eq!(lost(), json!([{"role": "team", "version": 1}]));
    // The rest is changed and signed, and the role stays listed as it was.
    home.write("new.txt", "new\n");
    home.run("target add repo new.txt").done();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!((&signed["published"], repo.version("targets")), (&json!(true), 3), "{signed}");
    let listed = |repo: &Published| -> Value {
        let file = repo.metadata(&format!("{}.snapshot.json", repo.version("snapshot")));
        file["signed"]["meta"]["team.json"]["version"].clone()
    };
    assert_eq!(listed(&repo), 1);
    assert!(!repo.has("1.team.json") && !repo.has("2.team.json"));
    judges.accept(&repo, &["app.txt", "new.txt"]);
    assert_eq!(lost(), json!([{"role": "team", "version": 1}]));
    // Taken out, it is missed by nobody.
    home.run("delegation remove repo team --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(lost(), json!([]));
    judges.accept(&repo, &["app.txt", "new.txt"]);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

/// The agent has adopted the repository without `team`; gives also what was in the role's lost file.
fn adopted_without(home: &Home, agent: tufagent_tests::Agent) -> (Published, Vec<u8>, tufagent_tests::Agent) {
    let (repo, lost) = with_a_lost_role(home);
    let agent = anew(home, agent);
    home.run(&format!("{ADOPT} --without team")).done();
    (repo, lost, agent)
}

fn targets_of(repo: &Published, file: &str) -> Vec<String> {
    repo.metadata(file)["signed"]["targets"].as_object().unwrap().keys().cloned().collect()
}

const TEAM: &str = "metadata/1.team.json";
const VERIFY: &str = "verify repo --root repo/metadata/1.root.json";

#[test]
fn a_lost_role_is_begun_anew_under_a_later_version_and_its_old_file_changes_nothing() {
    let (home, agent) = Home::unlocked();
    let (repo, lost, _agent) = adopted_without(&home, agent);
    home.refused(VERIFY, 6, "VERIFICATION");
    home.write("n.txt", "n\n");
    home.run("target add repo n.txt --path t/ --role team").done();
    home.run("sign repo --yes").done();
    assert!(repo.has("2.team.json") && !repo.has("1.team.json"));
    assert_eq!(targets_of(&repo, "2.team.json"), ["t/n.txt"]);
    home.run(VERIFY).done();
    let judges = Judges::new(&home, "anew", Reads::All);
    judges.accept(&repo, &["app.txt", "t/n.txt"]);
    // It comes back too late: what was signed since is the newest.
    fs::write(repo.dir().join(TEAM), &lost).unwrap();
    home.run(VERIFY).done();
    home.run("bump repo team").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("team"), targets_of(&repo, "3.team.json")), (3, vec!["t/n.txt".to_owned()]));
    home.run(ADOPT).done();
    judges.accept(&repo, &["app.txt", "t/n.txt"]);
}

#[test]
fn a_lost_role_whose_file_comes_back_goes_on_from_it() {
    for again in [false, true] {
        let (home, agent) = Home::unlocked();
        let (repo, lost, _agent) = adopted_without(&home, agent);
        home.write("new.txt", "new\n");
        home.run("target add repo new.txt").done();
        home.run("sign repo --yes").done();
        let judges = Judges::new(&home, "before", Reads::NotTough);
        judges.accept(&repo, &["app.txt", "new.txt"]);
        // What comes back is looked at like anything that is published: it counts by its signatures alone.
        let forged = String::from_utf8(lost.clone()).unwrap().replace("t/t.txt", "t/x.txt");
        fs::write(repo.dir().join(TEAM), forged).unwrap();
        if again {
            let adopted = home.run(&format!("{ADOPT} --json")).done().json();
            assert!(adopted["alarms"].to_string().contains("team version 1 has 0 of the 1"), "{adopted}");
        }
        fs::write(repo.dir().join(TEAM), &lost).unwrap();
        if again {
            let adopted = home.run(&format!("{ADOPT} --json")).done().json();
            assert!(!adopted["alarms"].to_string().contains("team"), "{adopted}");
        }
        home.run(VERIFY).done();
        home.write("n.txt", "n\n");
        home.run("target add repo n.txt --path t/ --role team").done();
        home.run("sign repo --yes").done();
        assert_eq!(targets_of(&repo, "2.team.json"), ["t/n.txt", "t/t.txt"], "again: {again}");
        home.run(VERIFY).done();
        judges.accept(&repo, &["app.txt", "new.txt", "t/t.txt", "t/n.txt"]);
        Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt", "t/t.txt", "t/n.txt"]);
    }
}

#[test]
fn a_role_whose_encoded_name_no_file_system_holds_is_told_of_as_missing_with_the_limit() {
    let home = Home::new();
    let mut forge = Forge::new();
    // Three bytes each in the name of the role, nine in that of its file.
    let name = "\u{20ac}".repeat(60);
    forge.targets["delegations"]["roles"][0]["name"] = name.clone().into();
    forge.snapshot["meta"] = json!({"targets.json": {"version": 1}, format!("{name}.json"): {"version": 1}});
    forge.write(&home.path("repo"));
    let _agent = home.start();
    let refused = home.refused(ADOPT, 6, "VERIFICATION");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("is not there") && message.contains("255"), "{refused}");
    assert_eq!(refused["details"]["role"], name, "{refused}");
    home.run_list(&[
        "repo",
        "adopt",
        "repo",
        "--name",
        "app",
        "--root",
        "repo/metadata/1.root.json",
        "--yes",
        "--without",
        &name,
    ])
    .done();
}

#[test]
fn a_folder_that_is_a_link_is_refused_when_it_is_adopted_and_not_first_when_it_is_published() {
    let home = Home::new();
    let _agent = home.start();
    for folder in ["metadata", "targets"] {
        let _ = fs::remove_dir_all(home.path("repo"));
        Forge::new().write(&home.path("repo"));
        let (real, link) = (home.path(format!("real-{folder}")), home.path(format!("repo/{folder}")));
        fs::rename(&link, &real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let refused = home.refused(ADOPT, 3, "REPOSITORY_INVALID");
        assert!(refused["message"].as_str().unwrap().contains("symbolic link"), "{refused}");
    }
    assert!(home.journalled("repository.adopted").is_empty());
}

/// 32,768 bins, all of one content: targets metadata does not name its role.
fn many_bins(home: &Home) {
    let mut forge = Forge::new();
    let bins = json!({"keyids": [keyid(&key(2))], "threshold": 1, "bit_length": 15, "name_prefix": "bin"});
    let delegations = &mut forge.targets["delegations"];
    delegations.as_object_mut().unwrap().remove("roles");
    delegations["succinct_roles"] = bins;
    let mut meta = json!({"targets.json": {"version": 1}});
    let text = signed_by(&forge.team, &[(keyid(&key(2)), 2)]);
    fs::create_dir_all(home.path("repo/metadata")).unwrap();
    for bin in 0..1 << 15 {
        let name = format!("bin-{bin:04x}.json");
        fs::write(home.path(format!("repo/metadata/1.{name}")), &text).unwrap();
        meta[name] = json!({"version": 1});
    }
    forge.snapshot["meta"] = meta;
    forge.write(&home.path("repo"));
    fs::remove_file(home.path("repo/metadata/1.team.json")).unwrap();
}

#[test]
fn a_repository_of_32_768_bins_is_adopted_whole() {
    let home = Home::new();
    many_bins(&home);
    let _agent = home.start();
    let adopted = home.run(&format!("{ADOPT} --json")).done().json();
    assert_eq!(adopted["roles"].as_array().unwrap().len(), (1 << 15) + 4, "{}", adopted["alarms"]);
    assert_eq!(home.journalled("repository.adopted").len(), 1);
}
