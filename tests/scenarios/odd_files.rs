//! Files that are no files, and an agent that hangs: a sentence each, and never a wait without end.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use tufagent_tests::{Home, Published};

/// Makes something odd in place of a file.
type Make = fn(&Path);

const VERIFY: &str = "verify bad --root repo/metadata/1.root.json";

#[track_caller]
fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A copy of a published repository in which one file was replaced.
fn replaced(home: &Home, repo: &Published, file: &str, by: impl FnOnce(&Path)) {
    let _ = fs::remove_dir_all(home.path("bad"));
    let bad = repo.copy_to(&home.path("bad"));
    let path = bad.dir().join(file);
    fs::remove_file(&path).unwrap();
    by(&path);
}

#[test]
fn metadata_that_is_no_file_or_has_no_end_is_refused_by_role_file_and_section() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    for (name, role, spec) in [
        ("1.root.json", "root", "5.3.3"),
        ("timestamp.json", "timestamp", "5.4.1"),
        ("1.snapshot.json", "snapshot", "5.5.1"),
        ("1.targets.json", "targets", "5.6.1"),
    ] {
        let kinds: [(&str, Make); 5] = [
            ("a pipe", mkfifo),
            ("a folder", |path| fs::create_dir(path).unwrap()),
            ("a device", |path| symlink("/dev/zero", path).unwrap()),
            ("leads nowhere", |path| symlink("nowhere", path).unwrap()),
            ("more than", |path| fs::File::create(path).unwrap().set_len(200 << 20).unwrap()),
        ];
        for (words, make) in kinds {
            replaced(&home, &repo, &format!("metadata/{name}"), make);
            let error = home.refused(VERIFY, 6, "VERIFICATION");
            let details = &error["details"];
            assert_eq!(
                (&details["role"], &details["file"], &details["spec"]),
                (&role.into(), &name.into(), &spec.into())
            );
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        }
    }
}

#[test]
fn target_files_that_are_no_files_are_refused_and_links_to_files_are_followed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let file = format!("targets/{}", repo.names("targets")[0]);
    let kinds: [(&str, Make); 4] = [
        ("a pipe", mkfifo),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("leads nowhere", |path| symlink("nowhere", path).unwrap()),
        ("in a circle", |path| symlink(path.file_name().unwrap(), path).unwrap()),
    ];
    for (words, make) in kinds {
        replaced(&home, &repo, &file, make);
        let error = home.refused(VERIFY, 6, "VERIFICATION");
        assert_eq!(
            (&error["details"]["path"], &error["details"]["spec"]),
            (&"app.txt".into(), &"5.7.2".into())
        );
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    replaced(&home, &repo, &file, |path| symlink(home.path("app.txt"), path).unwrap());
    home.run(VERIFY).done();
}

#[test]
fn the_second_names_for_tough_are_the_same_files_or_the_repository_is_refused() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    home.write("notes.txt", "notes\n");
    home.run("target add repo notes.txt --path v2/").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    let folder = repo.names("targets").into_iter().find(|name| name.ends_with(".v2")).unwrap();
    let file = format!("targets/{folder}/notes.txt");
    let removed: Make = |_| {};
    let kinds: [Make; 3] = [removed, |path| fs::write(path, "other\n").unwrap(), mkfifo];
    for make in kinds {
        replaced(&home, &repo, &file, make);
        let error = home.refused(VERIFY, 6, "VERIFICATION");
        assert_eq!(
            (&error["details"]["file"], &error["details"]["role"]),
            (&file.clone().into(), &"targets".into())
        );
    }
    // A mirror's copy that is no link any more, and a publisher that never made them.
    replaced(&home, &repo, &file, |path| fs::write(path, "notes\n").unwrap());
    home.run(VERIFY).done();
    fs::remove_dir_all(home.path("bad/targets").join(folder)).unwrap();
    home.run(VERIFY).done();
}

#[test]
fn a_pipe_given_as_a_file_is_refused_or_empty_but_never_waited_for() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    mkfifo(&home.path("pipe"));
    fs::create_dir(home.path("folder")).unwrap();
    mkfifo(&home.path("folder/pipe"));
    for arguments in ["target add repo pipe", "target add repo folder", "target add repo /dev/zero"] {
        let error = home.refused(arguments, 1, "IO");
        assert!(error["message"].as_str().unwrap().contains("not a file"), "{error}");
    }
    home.refused("key import k pipe --token file", 5, "SECRET_FILE");
    home.refused("token unlock file --pin-file folder", 1, "IO");
    home.refused("verify repo --root pipe", 2, "USAGE");
    home.refused("root add-key repo root --key ./pipe --yes", 1, "KEY_FILE");
    mkfifo(&home.path("repo/staged/timestamp.json"));
    let error = home.refused("repo show repo", 1, "IO");
    assert!(error["remedy"].as_str().unwrap().contains("take it away"), "{error}");
}

#[test]
fn an_agent_that_hangs_is_unreachable_after_some_seconds() {
    let (home, agent) = Home::unlocked();
    agent.signal("STOP");
    for arguments in ["status", "key generate k --token file --type ed25519"] {
        let error = home.refused(arguments, 7, "UNREACHABLE");
        assert!(!error["remedy"].as_str().unwrap().is_empty(), "{error}");
    }
    agent.signal("CONT");
    home.run("status").done();
}

#[test]
fn a_listener_that_hangs_up_may_be_an_agent_all_the_same() {
    let home = Home::new();
    let listener = UnixListener::bind(home.path("sock")).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let error = home.refused("--socket sock status", 7, "UNREACHABLE");
    assert!(error["remedy"].as_str().unwrap().contains("too many"), "{error}");
}

#[test]
fn a_listener_that_says_nothing_is_no_agent() {
    let home = Home::new();
    let _silent = UnixListener::bind(home.path("sock")).unwrap();
    let error = home.refused("--socket sock status", 7, "UNREACHABLE");
    assert!(error["message"].as_str().unwrap().contains("does not answer"), "{error}");
}
