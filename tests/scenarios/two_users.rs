//! Two users at one agent: what wrong secrets of one cost, the other does not pay (FAULTS C9).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use serde_json::Value;
use tufagent_tests::{Home, binary, is_root};

/// Nobody's id, and a group that the configuration admits.
const OTHER: u32 = 65_534;
const GROUP: &str = "54321";

#[test]
fn wrong_passphrases_of_one_user_make_that_user_wait_and_nobody_else() {
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let home = Home::new();
    home.config(&format!("allow_groups = [{GROUP}]"));
    let _agent = home.start();
    home.unlock_file_store();
    let wrong = home.secret("wrong", "wrong-passphrase-51c8");
    // The other user's own copies, and the way to the socket.
    let theirs = home.dir().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::copy(binary("tufctl"), theirs.join("tufctl")).unwrap();
    fs::copy(wrong, theirs.join("wrong")).unwrap();
    fs::set_permissions(theirs.join("wrong"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(theirs.join("wrong"), Some(OTHER), Some(OTHER)).unwrap();
    for folder in [home.dir().to_path_buf(), home.dir().join("run"), theirs.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let their_try = || -> Value {
        let mut command = Command::new("setpriv");
        let id = OTHER.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--groups", GROUP]).arg(theirs.join("tufctl"));
        command.args(["token", "unlock", "file", "--pin-file", "wrong", "--json", "--socket"]);
        let output = command.arg(home.socket()).current_dir(&theirs).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["error"]["reason"].clone()
    };
    let tried = (0..20).map(|_| their_try()).take_while(|reason| reason == "PIN_INCORRECT").count();
    assert!((4..20).contains(&tried), "{tried}");
    home.refused("token unlock file --pin-file wrong", 5, "PIN_INCORRECT");
    home.run("token unlock file --pin-file passphrase").done();
    let journal = home.run("audit export").done().stdout;
    assert!(journal.contains("PIN_DELAYED") && journal.contains(&format!("\"uid\":{OTHER}")), "{journal}");
}
