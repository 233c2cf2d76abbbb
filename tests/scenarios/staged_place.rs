//! What `staged/` is: a folder, a mounted one too, and never a link.

use std::fs;
use std::os::unix::fs::symlink;

use tufagent_tests::{Home, need};

use crate::small_disk::SmallDisk;

#[test]
fn a_mounted_staged_folder_is_emptied_and_used_again() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let staged = repo.dir().join("staged");
    fs::create_dir(&staged).unwrap();
    let Some(disk) = need(SmallDisk::mount(&staged, "1m")) else { return };
    let run = |arguments: &str| {
        let done = disk.tufctl(&home, arguments);
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    for round in 1..=3 {
        home.write("new.txt", format!("round {round}\n"));
        run("target add repo new.txt");
        run("sign repo --yes");
        let left = disk.shell(&format!("ls -A {}", staged.display())).stdout;
        assert_eq!(String::from_utf8(left).unwrap(), "", "round {round}");
        assert_eq!(repo.version("targets"), round + 1);
        run("verify repo --root repo/metadata/1.root.json");
    }
    assert!(run("repo show repo --json").contains("\"staged\":false"));
}

#[test]
fn emptying_that_was_cut_off_leaves_nothing_staged() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets snapshot").done();
    let kept = home.path("kept");
    fs::create_dir(&kept).unwrap();
    for name in repo.names("staged") {
        fs::copy(repo.dir().join("staged").join(&name), kept.join(&name)).unwrap();
    }
    home.run("sign repo --yes").done();
    // Some of it is gone already, and what is left was never signed by anybody.
    let staged = repo.dir().join("staged");
    fs::rename(&kept, &staged).unwrap();
    fs::write(staged.join(".emptying"), b"").unwrap();
    assert!(home.run("repo show repo").done().stderr.contains("cut off"));
    home.run("sign repo --yes").done();
    assert_eq!(repo.names("staged"), [""; 0]);
    assert_eq!(repo.version("targets"), 2);
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 3);
}

#[test]
fn a_staged_folder_that_is_a_link_is_refused_before_anything_is_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let elsewhere = home.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, repo.dir().join("staged")).unwrap();
    home.write("new.txt", "new\n");
    let signed = home.journalled("sign.intent").len();
    for command in ["target add repo new.txt", "bump repo targets", "sign repo --yes", "root restage repo"] {
        let error = home.refused(command, 3, "REPOSITORY_INVALID");
        assert!(error["message"].as_str().unwrap().contains("staged is a link"), "{error}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(home.journalled("sign.intent").len(), signed);
}
