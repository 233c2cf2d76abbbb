//! Digests of other kinds than SHA-256 and SHA-512, as python-tuf writes them when told to: the specification leaves open
//! which there are (4.4). They count where they are strong, and stay of their kinds.

use std::fs;

use serde_json::Value;
use tufagent_tests::{Home, Published};

use crate::strangers_kinds::{Clients, Kind, change, made};

const VERIFY: &str = "verify digests-of-other-kinds --root digests-of-other-kinds/metadata/1.root.json";

fn changed(home: &Home) -> Option<(Kind, Clients, Published)> {
    let mut kind = made(home, "digests-of-other-kinds")?.pop()?;
    let clients = Clients::new(home);
    clients.accept(&[&kind]);
    change(home, &mut kind);
    clients.accept(&[&kind]);
    let repo = home.published(&kind.kind);
    Some((kind, clients, repo))
}

fn kinds(entry: &Value) -> Vec<&str> {
    entry["hashes"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn files_that_are_signed_anew_get_digests_of_the_kinds_that_they_had() {
    let (home, _agent) = Home::unlocked();
    let Some((mut kind, clients, repo)) = changed(&home) else { return };
    let newest = |role: &str| repo.metadata(&format!("{}.{role}.json", repo.version(role)));
    let snapshot = newest("snapshot");
    for role in ["targets.json", "team.json", "fresh.json"] {
        assert_eq!(kinds(&snapshot["signed"]["meta"][role]), ["sha384"], "{role}");
    }
    let timestamp = repo.metadata("timestamp.json");
    assert_eq!(kinds(&timestamp["signed"]["meta"]["snapshot.json"]), ["md5", "sha3-512"]);
    // New content under an old name: what was listed, and the one that every client knows.
    home.write("three.txt", "three and more");
    home.write("a.txt", "of the team, and more");
    home.run(&format!("target add {} three.txt", kind.kind)).done();
    home.run(&format!("target add {} a.txt --path team/", kind.kind)).done();
    home.run(&format!("sign {} --yes", kind.kind)).done();
    let three = newest("targets")["signed"]["targets"]["three.txt"].clone();
    assert_eq!(kinds(&three), ["sha256", "sha384"]);
    let team = newest("team")["signed"]["targets"]["team/a.txt"].clone();
    assert_eq!(kinds(&team), ["blake2b512", "sha1", "sha256"]);
    for (_, digest) in three["hashes"].as_object().unwrap() {
        let name = format!("targets/{}.three.txt", digest.as_str().unwrap());
        assert_eq!(fs::read_to_string(repo.dir().join(name)).unwrap(), "three and more");
    }
    home.run(VERIFY).done();
    kind.targets.retain(|path| !["three.txt", "team/a.txt"].contains(&path.as_str()));
    kind.targets.extend(["three.txt".to_owned(), "team/a.txt".to_owned()]);
    clients.accept(&[&kind]);
}

#[test]
fn a_file_with_another_digest_than_is_listed_is_refused_whatever_its_kind() {
    let (home, _agent) = Home::unlocked();
    let Some((_, _, repo)) = changed(&home) else { return };
    home.run(VERIFY).done();
    let by_content = |content: &str| -> Vec<_> {
        let files = fs::read_dir(repo.dir().join("targets")).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        files.filter(|path| fs::read(path).unwrap() == content.as_bytes()).collect()
    };
    for (content, other, algorithm) in
        [("three", "THREE", "sha384"), ("keccak", "KECCAK", "sha3-256"), ("cut", "CUT", "sha384")]
    {
        let files = by_content(content);
        let write = |what: &str| files.iter().for_each(|file| fs::write(file, what).unwrap());
        write(other);
        let refused = home.refused(VERIFY, 6, "VERIFICATION");
        let why = refused["message"].as_str().unwrap();
        assert!(why.contains(&format!("has another {algorithm} than is listed")), "{refused}");
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
        assert_eq!(home.refused(VERIFY, 6, "VERIFICATION")["details"]["spec"], "5.7.2");
        write(content);
    }
    // Metadata, too: one letter less of what nothing but a SHA-384 describes.
    let team = repo.dir().join(format!("metadata/{}.team.json", repo.version("team")));
    let text = fs::read_to_string(&team).unwrap();
    fs::write(&team, format!("{}\n", text.trim_end())).unwrap();
    let refused = home.refused(VERIFY, 6, "VERIFICATION");
    assert_eq!(refused["details"]["role"], "team", "{refused}");
}

#[test]
fn a_weak_digest_alone_does_not_count() {
    let (home, _agent) = Home::unlocked();
    let Some(kinds) = made(&home, "digests-that-do-not-count") else { return };
    let name = &kinds[0].kind;
    home.run(&format!("repo adopt {name} --name weak --root {name}/metadata/1.root.json --yes")).done();
    let refused =
        home.refused(&format!("verify {name} --root {name}/metadata/1.root.json"), 6, "VERIFICATION");
    assert!(
        refused["message"].as_str().unwrap().contains("no digest that can be checked and counts"),
        "{refused}"
    );
    let found = home.run(&format!("lint {name} --json")).exits(6).json();
    let told = found["findings"].as_array().unwrap().iter().filter(|it| it["rule"] == "hashes");
    let told: Vec<_> = told.map(|it| it["message"].as_str().unwrap()).collect();
    assert!(told.iter().any(|it| it.contains("3 targets")), "{told:?}");
}
