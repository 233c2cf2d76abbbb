//! Names of roles and of targets that the files of a publication cannot have.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use tufagent_tests::{Home, Published, binary, need};

use crate::delegates_files::{delegations, not_consistent, put, role, with_delegate};
use crate::forge::{key, keyid, signed_by};
use crate::judges::{Judges, Reads};
use crate::recovered::SEVEN;
use crate::strace::Strace;

const VERIFY: &str = "verify repo --root repo/metadata/1.root.json";

#[test]
fn no_delegates_role_is_published_in_the_place_of_a_root() {
    for name in ["1.root", "2.root", "7.ROOT"] {
        let (home, _agent, repo) = with_delegate(false);
        put(&repo, "dev", &role(1, json!({"delegations": delegations(name)})));
        put(&repo, name, &role(1, json!({})));
        let before = (repo.names("metadata"), home.journalled("sign.intent").len());
        let refused = home.refused("sign repo --yes", 3, "POLICY");
        assert_eq!(refused["details"]["role"], name, "{refused}");
        let (message, remedy) = (refused["message"].as_str().unwrap(), refused["remedy"].as_str().unwrap());
        assert!(
            message.contains("to which dev delegates") && message.contains("the name of a root"),
            "{message}"
        );
        assert!(remedy.contains("whoever holds the keys of dev"), "{remedy}");
        assert_eq!((repo.names("metadata"), home.journalled("sign.intent").len()), before);
        home.run(VERIFY).done();
        // As the remedy says.
        put(&repo, "dev", &role(1, json!({})));
        fs::remove_file(repo.dir().join(format!("staged/{name}.json"))).unwrap();
        home.run("sign repo --yes").done();
        home.run(VERIFY).done();
    }
}

#[test]
fn with_consistent_snapshots_such_a_name_is_nobody_elses() {
    let (home, _agent, repo) = with_delegate(true);
    put(&repo, "dev", &role(1, json!({"delegations": delegations("2.root")})));
    put(&repo, "2.root", &role(1, json!({})));
    home.run("sign repo --yes").done();
    home.run(VERIFY).done();
    home.run("root set-threshold repo targets 1").exits(0);
}

#[test]
fn a_role_whose_file_name_is_too_long_is_refused_before_anything_is_signed() {
    for (name, file) in [("a".repeat(230), "a".repeat(230)), ("é".repeat(40), "%C3%A9".repeat(40))] {
        let (home, _agent, repo) = with_delegate(true);
        put(&repo, "dev", &role(1, json!({"delegations": delegations(&name)})));
        put(&repo, &file, &role(1, json!({})));
        let refused = home.refused("sign repo --yes", 3, "POLICY");
        assert_eq!(refused["details"]["role"], name.as_str(), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("longer than a file name can be"), "{refused}");
        assert!(!repo.dir().join("staged/.publishing").exists());
        put(&repo, "dev", &role(1, json!({"delegations": delegations("x")})));
        fs::remove_file(repo.dir().join(format!("staged/{file}.json"))).unwrap();
        put(&repo, "x", &role(1, json!({})));
        home.run("sign repo --yes").done();
        home.run(VERIFY).done();
    }
}

#[test]
fn a_publication_that_ends_at_a_name_that_is_too_long_for_the_disk_is_undone() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent, repo) = with_delegate(true);
    home.run("sign repo --yes").done();
    home.run("bump repo targets").done();
    let mut command: Command = strace.command();
    home.environment(&mut command);
    command.envs(strace.variables()).args(["-f", "-qq", "-o"]).arg(home.dir().join("trace-of-tufctl"));
    command.args(["-e", "trace=renameat", "-e", "inject=renameat:error=ENAMETOOLONG:when=1"]);
    command.arg(binary("tufctl")).args(["sign", "repo", "--yes", "--quiet"]);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(repo.dir().join("staged").exists() && !repo.dir().join("staged/.publishing").exists());
    home.run(VERIFY).done();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 3);
}

#[test]
fn targets_are_not_called_as_files_on_their_way_are() {
    let home = Home::unlocked();
    let (home, _agent) = (home.0, home.1);
    let repo = home.published_repository();
    for path in [".tufctl.tmp", ".tufctl.tmp.0/x", "a/.tufctl.targets"] {
        let refused = home.refused(&format!("target add repo app.txt --path {path}"), 3, "TARGET_NAME");
        assert!(refused["message"].as_str().unwrap().contains("files on their way"), "{refused}");
    }
    // Nor does anybody else bring one in.
    home.run("target add repo app.txt --path b.txt").done();
    repo.damage("../staged/targets.json", |text| text.replace("b.txt", ".tufctl.tmp"));
    home.refused("sign repo --yes", 3, "TARGET_NAME");
}

/// What others have published without consistent snapshots, with key 7: targets of these paths and contents.
fn others_publish(repo: &Published, version: u64, targets: &[(&str, &str)]) {
    let file = |text: &str| json!({"length": text.len(), "hashes": {"sha256": tuf::digest::Sha256Digest::of(text.as_bytes()).to_string()}});
    let write = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut signed = repo.metadata(name)["signed"].clone();
        signed["version"] = version.into();
        change(&mut signed);
        let text = signed_by(&signed, &[(keyid(&key(7)), 7)]);
        fs::write(repo.dir().join("metadata").join(name), text).unwrap();
    };
    for (path, text) in targets {
        let place = repo.dir().join("targets").join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }
    write("targets.json", &|signed| {
        signed["targets"] = targets.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect();
    });
    write("snapshot.json", &|signed| signed["meta"]["targets.json"] = json!({"version": version}));
    write("timestamp.json", &|signed| signed["meta"]["snapshot.json"] = json!({"version": version}));
}

#[test]
fn targets_of_others_that_are_called_so_stay_and_hinder_nobody() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["root"]);
    home.secret("online.pem", SEVEN);
    home.run("key import online online.pem --token file").done();
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    let repo = home.published("repo");
    not_consistent(&repo);
    home.run("sign repo --yes").done();
    let theirs = [
        (".tufctl.tmp", "one"),
        (".tufctl.tmp.1", "two"),
        ("d/.tufctl.tmp.0/x", "three"),
        ("d/.tufctl.tmp", "four"),
        ("z", "z"),
    ];
    others_publish(&repo, 2, &theirs);
    home.run(VERIFY).done();
    home.write("new.txt", "new\n");
    for path in ["a", "d/b", "z", "d/y"] {
        home.run(&format!("target add repo new.txt --path {path} --yes")).done();
    }
    home.run("sign repo --yes").done();
    home.run(VERIFY).done();
    let names =
        ["a", "d/b", "z", "d/y", ".tufctl.tmp", ".tufctl.tmp.1", "d/.tufctl.tmp.0/x", "d/.tufctl.tmp"];
    Judges::new(&home, "all", Reads::All).accept(&repo, &names);
    let left = [repo.names("targets"), repo.names("targets/d")].concat();
    assert_eq!(
        left,
        [".tufctl.tmp", ".tufctl.tmp.1", "a", "d", "z", ".tufctl.tmp", ".tufctl.tmp.0", "b", "y"]
    );
    let kept = |path: &str| fs::read_to_string(repo.dir().join("targets").join(path)).unwrap();
    assert_eq!([kept(".tufctl.tmp.1"), kept("d/.tufctl.tmp"), kept(".tufctl.tmp")], ["two", "four", "one"]);
}

#[test]
fn integers_that_python_makes_no_number_of_are_told_also_beside_what_is_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    repo.damage("timestamp.json", |text| text.replacen('{', &format!("{{\"x\":{},", "9".repeat(5000)), 1));
    let told = home.run("verify repo --root repo/metadata/1.root.json --json").exits(6).json();
    assert_eq!(told["error"]["details"]["spec"], "4.1", "{told}");
    let linted = home.run("lint repo").stdout;
    assert!(linted.contains("more than 4300 digits"), "{linted}");
}

#[test]
fn a_folder_of_targets_brings_in_no_files_from_elsewhere() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("secret", "secret\n");
    home.write("dist/a", "a");
    home.write("dist/sub/b", "b");
    let (dist, link) = (home.path("dist"), home.path("dist/sub/link"));
    let add = |words: &str| {
        let refused = home.refused("target add repo dist", 2, "USAGE");
        assert!(refused["message"].as_str().unwrap().contains(words), "{refused}");
        assert!(refused["details"]["file"].as_str().unwrap().ends_with("dist/sub/link"), "{refused}");
        assert!(!repo.dir().join("staged").exists());
        fs::remove_file(&link).unwrap();
    };
    std::os::unix::fs::symlink("../../secret", &link).unwrap();
    add("leads out of the folder");
    if tufagent_tests::is_root() {
        std::os::unix::fs::symlink("../a", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(1234), None).unwrap();
        add("a link of another user's");
    }
    std::os::unix::fs::symlink(dist.join("a"), &link).unwrap();
    home.run("target add repo dist").done();
    home.run("sign repo --yes").done();
}
