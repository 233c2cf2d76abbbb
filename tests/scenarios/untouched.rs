//! Of many bins `sign` opens the one that changed: the rest the agent has seen, and it says so.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use tufagent_tests::{Home, Published, binary, need, oracle};

use crate::judges::{Judges, Reads};
use crate::strace::Strace;

/// Signs and publishes under strace; the names of the files in `metadata/` that were opened.
fn sign_opening(home: &Home, strace: &Strace, dir: &str) -> BTreeSet<String> {
    let trace = home.dir().join("opened");
    let mut command: Command = strace.command();
    home.environment(&mut command);
    command.envs(strace.variables()).args(["-f", "-y", "-qq", "-e", "trace=open,openat,openat2", "-o"]);
    command.arg(&trace).arg(binary("tufctl")).args(["sign", dir, "--yes", "--quiet"]);
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    // Each call that succeeded ends with the file that it opened: `= 4</…/metadata/timestamp.json>`.
    let opened = trace.lines().filter_map(|line| line.rsplit_once(" = ")?.1.split_once('<'));
    let paths = opened.filter_map(|(_, path)| path.split_once('>'));
    let metadata = format!("/{dir}/metadata/");
    paths.filter_map(|(path, _)| Some(path.split_once(&metadata)?.1.to_owned())).collect()
}

/// What `sign` may open where this role is to get its second version after so many snapshots.
fn needed(role: &str, before: u64, snapshot: u64) -> BTreeSet<String> {
    let names =
        [format!("{before}.{role}.json"), format!("{snapshot}.snapshot.json"), "timestamp.json".to_owned()];
    names.into()
}

/// The role that lists a target.
fn role_of(home: &Home, dir: &str, path: &str) -> String {
    let listed = home.run(&format!("target list {dir} --json")).done().json();
    let targets = listed["targets"].as_array().unwrap();
    targets.iter().find(|target| target["path"] == path).unwrap()["role"].as_str().unwrap().to_owned()
}

/// The bytes of every file in `metadata/`, by name.
fn files(repo: &Published) -> BTreeSet<(String, Vec<u8>)> {
    repo.names("metadata").into_iter().map(|name| (name.clone(), repo.bytes(&name))).collect()
}

#[test]
fn of_a_repository_of_bins_sign_opens_and_writes_the_touched_bin_snapshot_and_timestamp_alone() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent) = Home::unlocked();
    let arguments = ["large", "300", "hashed=16", "succinct=16"];
    let made = oracle::run_python("python_tuf_large.py", &arguments, &home.path(""));
    let Some(made) = need(made) else { return };
    made.done();
    for (kind, reads) in [("hashed", Reads::All), ("succinct", Reads::NotTough)] {
        let dir = format!("large/{kind}");
        let repo = home.published(&dir);
        let judges = Judges::new(&home, kind, reads);
        judges.accept(&repo, &["0.txt", "1.txt"]);
        home.run(&format!("key import {kind} {dir}.pem --token file")).done();
        home.run(&format!("repo adopt {dir} --name {kind} --root {dir}/metadata/1.root.json --yes")).done();
        let role = role_of(&home, &dir, "0.txt");
        for round in 1..=2_u64 {
            home.write("0.txt", format!("round {round}\n"));
            home.run(&format!("target add {dir} 0.txt")).done();
            let before = files(&repo);
            assert_eq!(sign_opening(&home, &strace, &dir), needed(&role, round, round), "{kind}");
            let after = files(&repo);
            let written: BTreeSet<_> = after.difference(&before).map(|(name, _)| name.clone()).collect();
            assert_eq!(written, needed(&role, round + 1, round + 1), "{kind}");
            judges.accept(&repo, &["0.txt", "1.txt", "2.txt"]);
        }
    }
}

#[test]
fn roles_beside_the_bins_and_above_a_changed_one_are_not_opened_either() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["docs", "deep", "bins"]);
    home.run("delegation add repo docs --key docs --threshold 1 --paths docs/*").done();
    home.run("delegation add repo deep --parent docs --key deep --threshold 1 --paths docs/deep/*").done();
    home.run("delegation add repo bin --parent deep --key bins --threshold 1 --succinct-bins 4").done();
    home.write("app.txt", "of a bin\n");
    home.run("target add repo app.txt --path docs/deep/").done();
    home.run("sign repo --yes").done();
    let role = role_of(&home, "repo", "docs/deep/app.txt");
    home.write("app.txt", "of a bin, changed\n");
    home.run(&format!("target add repo app.txt --path docs/deep/ --role {role}")).done();
    let (version, snapshot) = (repo.version(&role), repo.version("snapshot"));
    assert_eq!(sign_opening(&home, &strace, "repo"), needed(&role, version, snapshot));
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&home, "nested", Reads::NotTough).accept(&repo, &["docs/deep/app.txt"]);
    // A new root is its own matter: then the chain is read.
    home.keys(&["second"]);
    home.run("root add-key repo timestamp --key second").done();
    assert!(sign_opening(&home, &strace, "repo").contains("1.root.json"));
    home.write("app.txt", "after the root\n");
    home.run(&format!("target add repo app.txt --path docs/deep/ --role {role}")).done();
    let (version, snapshot) = (repo.version(&role), repo.version("snapshot"));
    assert_eq!(sign_opening(&home, &strace, "repo"), needed(&role, version, snapshot));
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

/// Gives `staged/repository.json` another name for the repository.
fn rename_staged(repo: &Published, name: Option<&str>) {
    let path = repo.dir().join("staged/repository.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["name"] = name.into();
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn a_wrong_name_in_staged_and_files_that_are_not_what_the_agent_saw_are_found_out() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["other"]);
    home.run(
        "repo init second --name second --root other --root-threshold 1 --targets other --targets-threshold 1 \
         --snapshot other --timestamp other",
    )
    .done();
    home.run("sign second --yes").done();
    let signed_for = |round: u64| {
        let journal = home.run("audit list --json").done().json();
        let entries = journal["entries"].as_array().unwrap().clone();
        let text = entries.iter().rfind(|entry| entry.to_string().contains("timestamp")).unwrap().to_string();
        assert_eq!(repo.version("targets"), round + 1);
        assert!(!text.contains("second"), "{text}");
    };
    let stage = |round: u64| {
        home.write("app.txt", format!("round {round}\n"));
        home.run("target add repo app.txt").done();
    };
    // Whatever the hint says, the repository is told by its root.
    for (round, name) in [(1, Some("second")), (2, Some("nobody")), (3, None), (4, Some("app"))] {
        stage(round);
        rename_staged(&repo, name);
        let opened = sign_opening(&home, &strace, "repo");
        assert_eq!(opened.contains("1.root.json"), round != 4, "{opened:?}");
        signed_for(round);
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
    // A root that is not as long as what was seen is read, and is the repository's identity again.
    stage(5);
    let root = repo.bytes("1.root.json");
    let longer = [root.as_slice(), b"\n"].concat();
    fs::write(repo.dir().join("metadata/1.root.json"), longer).unwrap();
    assert!(sign_opening(&home, &strace, "repo").contains("1.root.json"));
    stage(6);
    let theirs = home.published("second").bytes("1.root.json");
    let theirs = [theirs.as_slice(), b"\n\n"].concat();
    fs::write(repo.dir().join("metadata/1.root.json"), theirs).unwrap();
    let refused = home.run("sign repo --yes --json");
    assert_ne!(refused.code, 0, "{refused}");
    fs::write(repo.dir().join("metadata/1.root.json"), root).unwrap();
    // A snapshot that the agent has not verified is shown to it, and refused.
    let name = format!("{}.snapshot.json", repo.version("snapshot"));
    let snapshot = repo.bytes(&name);
    repo.damage(&name, |text| text.replace("\"expires\"", "\"x-more\": 1, \"expires\""));
    let refused = home.run("sign repo --yes --json");
    assert_eq!(refused.code, 6, "{refused}");
    fs::write(repo.dir().join("metadata").join(&name), snapshot).unwrap();
    let opened = sign_opening(&home, &strace, "repo");
    assert!(!opened.contains("1.root.json"), "{opened:?}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&home, "after", Reads::All).accept(&repo, &["app.txt"]);
}
