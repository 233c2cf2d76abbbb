//! A machine without pcsc-lite: nothing of the agent needs it, and it is told of only where a YubiKey is asked for.

use std::fs;
use std::process::Command;

use tufagent_tests::{Home, binary};

#[test]
fn no_program_needs_the_library_of_pcsc_to_start() {
    for program in ["tuf-agent", "tufctl"] {
        // The system's own loader tells what it would load.
        let loads = Command::new(binary(program)).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
        let loads = String::from_utf8_lossy(&loads.stdout).into_owned();
        assert!(loads.contains("libc.so"), "{loads}");
        assert!(!loads.to_lowercase().contains("pcsc"), "{program}: {loads}");
    }
}

#[test]
fn an_agent_without_a_yubikey_never_looks_for_it() {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    let maps = fs::read_to_string(format!("/proc/{}/maps", agent.pid())).unwrap();
    assert!(!maps.contains("pcsc"), "{maps}");
    assert!(!agent.log().contains("pcsc"), "{}", agent.log());
}

#[test]
fn without_the_library_a_yubikey_says_so_and_the_others_sign() {
    let home = Home::new();
    // Before any other one that the machine may have.
    let folder = home.path("libraries");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("libpcsclite.so.1"), "").unwrap();
    home.config(&format!(
        "[[token]]\nname = \"alice\"\nkind = \"yubikey\"\nserial = 12345678\nenv = {{ LD_LIBRARY_PATH = {folder:?} }}\n"
    ));
    let agent = home.start();
    home.unlock_file_store();
    home.published_repository();
    agent.wait_until(|| home.token("alice")["state"] == "failed");
    let problem = home.token("alice")["problem"].to_string();
    assert!(problem.contains("libpcsclite cannot be loaded"), "{problem}");
    assert!(problem.contains("apt install pcscd libpcsclite1"), "{problem}");
    home.write("pin", "123456");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(home.path("pin"), mode).unwrap();
    let refused = home.refused("token unlock alice --pin-file pin", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("libpcsclite"), "{refused}");
    home.run("bump repo targets").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}
