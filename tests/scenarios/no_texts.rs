//! Metadata that is signed is kept beside the ledger. Where it cannot be written, `status` and the health service say so as
//! they do of the ledger, and all is well again by itself (FAULTS E2, G3).

use std::fs;
use std::process::Command;

use tufagent_tests::{Home, binary, need, run_to_end};

use crate::health::{becomes, signs};
use crate::small_disk::SmallDisk;

#[test]
fn a_file_in_the_place_of_the_folder_of_texts_is_told_until_it_is_gone() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    becomes(&home, true);
    let (folder, away) = (home.state().join("metadata"), home.state().join("metadata.away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "not a folder\n").unwrap();
    // Before anybody signs.
    becomes(&home, false);
    home.run("bump repo targets").done();
    home.refused("sign repo --yes", 1, "STATE_IO");
    becomes(&home, false);
    let status = home.run("status").exits(7);
    assert!(
        status.stdout.contains("metadata is no folder")
            && status.stdout.contains("move what lies there away"),
        "{status}"
    );
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    becomes(&home, true);
    assert!(!folder.join(".trial").exists());
    signs(&home);
}

#[test]
fn a_disk_without_inodes_is_told_until_it_has_some() {
    let home = Home::new();
    let state = home.state();
    let Some(disk) = need(SmallDisk::mount(state.parent().unwrap(), "8m,nr_inodes=100")) else { return };
    let _agent = home.start_through(disk.agent());
    home.unlock_file_store();
    home.published_repository();
    becomes(&home, true);
    home.run("bump repo targets").done();
    let filler = state.parent().unwrap().join("filler");
    disk.shell(&format!("mkdir {0}; for n in $(seq 200); do : > {0}/$n || break; done", filler.display()));
    becomes(&home, false);
    home.refused("sign repo --yes", 1, "STATE_IO");
    becomes(&home, false);
    assert!(home.run("status").stdout.contains("df -i"));
    disk.shell(&format!("rm -r {}", filler.display()));
    becomes(&home, true);
    signs(&home);
}

#[test]
fn an_agent_that_finds_a_file_in_the_place_of_a_folder_says_what_to_do_and_does_not_promise_to_recover() {
    let home = Home::new();
    drop(home.start());
    let folder = home.state().join("metadata");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "not a folder\n").unwrap();
    let mut command = Command::new(binary("tuf-agent"));
    home.environment(&mut command);
    let ended = run_to_end(command.arg("--allow-root")).exits(1);
    let said = ended.text();
    assert!(said.contains("metadata is no folder") && !said.contains("recovers alone"), "{said}");
    // What it says is done to the letter.
    let from = said.find("mv ").unwrap_or_else(|| panic!("{said}"));
    let line = said[from..].split(')').next().unwrap();
    assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
    let _agent = home.start();
    home.unlock_file_store();
    home.published_repository();
}
