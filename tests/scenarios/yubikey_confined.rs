//! The helper of a YubiKey is kept to pcscd (FAULTS B5), seen by a libpcsclite that tries more; and a real one needs no more.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use landlock::ABI;
use lying_pkcs11::Desk;
use tufagent_tests::cards::FIRMWARE_5_7;
use tufagent_tests::{Home, need};

use crate::confinement::landlock;
use crate::yubikeys::Bed;

#[test]
fn a_yubikey_signs_by_a_helper_that_is_confined_and_token_list_says_so() {
    let Some(abi) = need(landlock()) else { return };
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("root-a", "--type ecdsa-p256");
    bed.repository("root-a");
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    let shown = bed.home.token("alice");
    assert_eq!(shown["confined"], true, "{shown}");
    assert_eq!(shown.get("unconfined").is_none(), abi >= ABI::V6, "{shown}");
}

#[test]
fn a_smart_card_library_that_is_bad_reaches_no_file_of_this_user_no_program_and_no_network() {
    let Some(abi) = need(landlock()) else { return };
    let home = Home::new();
    home.write("outside.txt", "nobody's business\n");
    home.secret("pin", "pin-of-another-4711");
    let folder = home.dir().join("library");
    fs::create_dir(&folder).unwrap();
    // Its code runs as soon as it is loaded. That it has no function of libpcsclite's does not matter then.
    let bad = lying_pkcs11::module().expect("liblying_pkcs11.so lies beside the test program");
    fs::copy(bad, folder.join("libpcsclite.so.1")).unwrap();
    fs::copy("/bin/true", folder.join("true")).unwrap();
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let text = |path: std::path::PathBuf| path.display().to_string();
    let outside = text(home.path("outside.txt"));
    let mut forbidden = vec![
        ("read", outside.clone()),
        ("read", text(home.path("pin"))),
        ("read", text(home.state().join("ledger.db"))),
        ("write", outside.clone()),
        ("write", text(folder.join("fresh.txt"))),
        ("mode", outside),
        ("run", "/bin/true".to_owned()),
        ("run", text(folder.join("true"))),
        ("connect", tcp.local_addr().unwrap().to_string()),
        ("udp", udp.local_addr().unwrap().to_string()),
        ("keyring", "get".to_owned()),
        ("call", "ptrace".to_owned()),
        ("call", "io_uring_setup".to_owned()),
    ];
    if abi >= ABI::V6 {
        forbidden.push(("signal", std::process::id().to_string()));
    }
    let allowed = [("read", text(folder.join("control"))), ("read", "/etc/passwd".to_owned())];
    let desk = Desk::new(&folder);
    let tries = forbidden.iter().chain(&allowed).map(|(what, about)| format!("try {what} {about}\n"));
    desk.say(&tries.collect::<String>());
    // It may write to no file: what it has to say goes into the agent's log.
    let [_, control, _] = desk.env(&folder);
    let variables = [("LD_LIBRARY_PATH", text(folder)), ("LYING_TRACE", "/proc/self/fd/2".to_owned())];
    let variables = variables.into_iter().chain([(control.0.as_str(), control.1)]);
    let env: Vec<_> = variables.map(|(name, value)| format!("{name} = {value:?}")).collect();
    home.config(&format!(
        "[[token]]\nname = \"alice\"\nkind = \"yubikey\"\nserial = 1\nenv = {{ {} }}\n",
        env.join(", ")
    ));
    let agent = home.start();
    for (tries, ended) in [(&forbidden[..], "PermissionDenied"), (&allowed[..], "ok")] {
        for (what, about) in tries {
            let told = |line: &str| line.contains(&format!(" {what} {ended} {about} "));
            agent.wait_until(|| agent.log().lines().any(told));
            let one =
                |line: &&str| line.contains(&format!(" {what} ")) && line.contains(&format!(" {about} "));
            let log = agent.log();
            assert!(log.lines().filter(one).all(told), "{what} {about}:\n{log}");
        }
    }
    assert_eq!(home.token("alice")["confined"], true);
    assert_eq!(fs::read_to_string(home.path("outside.txt")).unwrap(), "nobody's business\n");
}
