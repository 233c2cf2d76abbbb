//! What belongs to large repositories: of many bins a command touches one, and what shares a file says so.

use std::collections::BTreeSet;
use std::fs;

use tufagent_tests::{Home, Published, need, oracle};

use crate::judges::{Judges, Reads};

/// Names in `metadata/`.
fn names(repo: &Published) -> BTreeSet<String> {
    let entries = fs::read_dir(repo.dir().join("metadata")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_changed_target_of_bins_is_signed_without_a_look_at_the_other_bins() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["bins"]);
    home.run("delegation add repo bin --key bins --threshold 1 --succinct-bins 16").done();
    let files: Vec<String> = (0..40).map(|n| format!("pool/file-{n}.txt")).collect();
    fs::create_dir_all(home.path("pool")).unwrap();
    for file in &files {
        home.write(file, file);
    }
    home.run("target add repo pool --path pool/").done();
    home.run("sign repo --yes").done();
    let paths: Vec<&str> = files.iter().map(String::as_str).collect();
    let remembering = Judges::new(&home, "remembering", Reads::NotTough);
    remembering.accept(&repo, &paths);

    let listed = home.run("target list repo --json").done().json();
    let targets = listed["targets"].as_array().unwrap();
    let role = targets.iter().find(|target| target["path"] == "pool/file-7.txt").unwrap()["role"].clone();
    let role = role.as_str().unwrap();
    // Whoever reads another bin now finds none.
    let (metadata, aside) = (repo.dir().join("metadata"), home.path("aside"));
    fs::create_dir_all(&aside).unwrap();
    let others = |name: &&String| name.contains(".bin-") && **name != format!("1.{role}.json");
    let moved: Vec<String> = names(&repo).iter().filter(others).cloned().collect();
    assert_eq!(moved.len(), 15);
    moved.iter().for_each(|name| fs::rename(metadata.join(name), aside.join(name)).unwrap());
    let before = names(&repo);
    home.write("pool/file-7.txt", "another text\n");
    home.run("target add repo pool/file-7.txt --path pool/").done();
    let difference = home.run("diff repo --json").done().json();
    assert_eq!(difference["roles"].as_array().unwrap().len(), 1, "{difference}");
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    let new: Vec<String> = names(&repo).difference(&before).cloned().collect();
    assert_eq!(new, [format!("2.{role}.json"), "3.snapshot.json".to_owned()]);

    moved.iter().for_each(|name| fs::rename(aside.join(name), metadata.join(name)).unwrap());
    remembering.accept(&repo, &paths);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run("target remove repo pool/file-7.txt").done();
    home.run("sign repo --yes").done();
    Judges::new(&home, "removed", Reads::NotTough).refuse(&repo, &["pool/file-7.txt"]);
}

#[test]
fn without_consistent_snapshots_two_roles_list_one_path_only_with_one_content() {
    let (home, _agent) = Home::unlocked();
    let made = oracle::run_python(
        "python_tuf_repository.py",
        &["repo", "key.pem", "--inconsistent"],
        &home.path(""),
    );
    let Some(made) = need(made) else { return };
    made.done();
    home.run("key import theirs key.pem --token file").done();
    home.run("repo adopt repo --name theirs --root repo/metadata/1.root.json --yes").done();
    home.keys(&["docs"]);
    home.run("delegation add repo docs --key docs --threshold 1 --paths shared/*").done();
    home.write("one.txt", "one\n");
    home.write("other.txt", "other\n");
    home.run("target add repo one.txt --path shared/file --role docs").done();
    let refused =
        home.refused("target add repo other.txt --path shared/file --role targets", 3, "TARGET_NAME");
    assert_eq!(refused["details"]["role"], "docs", "{refused}");
    home.run("target add repo one.txt --path shared/file --role targets").done();
    home.run("sign repo --yes").done();
    home.refused("target add repo other.txt --path shared/file --role docs", 3, "TARGET_NAME");
    // Taken out of the one, it may change in the other.
    home.run("target remove repo shared/file --role targets").done();
    home.run("target add repo other.txt --path shared/file --role docs").done();
    home.run("sign repo --yes").done();
    assert_eq!(fs::read(home.path("repo/targets/shared/file")).unwrap(), b"other\n");
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

/// The roles whose files are new, without their versions.
fn changed(repo: &Published, before: &BTreeSet<String>) -> Vec<String> {
    let new = names(repo).difference(before).cloned().collect::<Vec<_>>();
    new.iter().map(|name| name.split_once('.').unwrap().1.to_owned()).collect()
}

#[test]
fn one_target_of_fifty_thousand_is_changed_in_repositories_of_every_kind_that_python_tuf_made() {
    let (home, _agent) = Home::unlocked();
    let kinds = ["plain", "hashed=256", "succinct=1024"];
    let arguments = [["large", "50000"].as_slice(), &kinds].concat();
    let made = oracle::run_python("python_tuf_large.py", &arguments, &home.path(""));
    let Some(made) = need(made) else { return };
    made.done();
    for (kind, reads, role) in [
        ("plain", Reads::NotJs, "targets"),
        ("hashed", Reads::All, "bin-"),
        ("succinct", Reads::NotTough, "bin-"),
    ] {
        let (dir, repo) = (format!("large/{kind}"), home.published(&format!("large/{kind}")));
        // Clients that hold the state before, and go on from it.
        let judges = Judges::new(&home, kind, reads);
        judges.accept(&repo, &["0.txt", "1.txt"]);
        home.run(&format!("key import {kind} {dir}.pem --token file")).done();
        home.run(&format!("repo adopt {dir} --name {kind} --root {dir}/metadata/1.root.json --yes")).done();
        let before = names(&repo);
        home.write("0.txt", "another text\n");
        home.run(&format!("target add {dir} 0.txt")).done();
        let difference = home.run(&format!("diff {dir} --json")).done().json();
        assert_eq!(difference["roles"].as_array().unwrap().len(), 1, "{difference}");
        let signed = home.run(&format!("sign {dir} --yes --json")).done().json();
        assert_eq!(signed["published"], true, "{signed}");
        let changed = changed(&repo, &before);
        assert!(changed.len() == 2 && changed.contains(&"snapshot.json".to_owned()), "{changed:?}");
        assert!(changed.iter().any(|name| name.starts_with(role)), "{changed:?}");
        judges.accept(&repo, &["0.txt", "1.txt", "2.txt"]);
    }
}

#[test]
fn bins_by_the_thousand_are_made_signed_and_published_at_once() {
    let (home, agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["bins"]);
    home.run("delegation add repo bin --key bins --threshold 1 --succinct-bins 2048").done();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(
        (&signed["published"], signed["signed"].as_array().unwrap().len()),
        (&true.into(), 2051),
        "{signed}"
    );
    // In their order, whichever was done first.
    let roles: Vec<&str> =
        signed["signed"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert!(roles[1..2049].is_sorted() && roles[0] == "targets", "{roles:?}");
    assert_eq!(names(&repo).iter().filter(|name| name.contains(".bin-")).count(), 2048);
    assert!(repo.names("staged").is_empty());
    assert!(repo.names("metadata").iter().all(|name| name.ends_with(".json")), "something was left behind");
    Judges::new(&home, "bins", Reads::NotTough).accept(&repo, &["app.txt"]);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}
