//! PINs that the agent takes by itself from where a desktop or the kernel keeps them, and what each place leaves behind
//! (FAULTS C4).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use softhsm::{SecretService, SoftHsm, TokenFolder, third_party_dir};
use tufagent_tests::{Agent, Home, PIN, binary, need, oracle};

/// A home with a token of SoftHsm named `hsm`, whose `pin` the configuration gives so.
fn home_with(pin: &str) -> Option<(Home, TokenFolder)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&format!("{}pin = {pin}\n", Home::softhsm_table("hsm", "build", &folder)));
    Some((home, folder))
}

/// Makes a key and signs with it.
#[track_caller]
fn signs(home: &Home) {
    home.run("key generate online --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root online --targets online --snapshot online --timestamp online")
        .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

/// No process of the agent was given the PIN in its arguments or its environment.
#[track_caller]
fn assert_nowhere_in_proc(home: &Home, agent: &Agent) {
    let helper = home.token("hsm")["helper_pid"].as_u64().unwrap();
    for pid in [u64::from(agent.pid()), helper] {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.is_empty() || file == "environ", "{path}");
            assert!(!bytes.windows(PIN.len()).any(|window| window == PIN.as_bytes()), "{path} holds the PIN");
        }
    }
}

const SERVICE: &str = "{ secret_service = { service = \"tuf-agent\", token = \"hsm\" } }";
const ITEM: [&str; 4] = ["service", "tuf-agent", "token", "hsm"];

fn service(home: &Home) -> Option<SecretService> {
    need(
        third_party_dir()
            .and_then(|third_party| SecretService::start(&third_party, &home.dir().join("keyring"))),
    )
}

fn start_on(home: &Home, service: &SecretService) -> Agent {
    let command = Command::new(binary("tuf-agent"));
    Agent::start_in_environment(home, command, &[("DBUS_SESSION_BUS_ADDRESS", service.bus())])
}

#[test]
fn a_pin_in_the_secret_service_unlocks_the_token_by_itself() {
    let Some((home, _folder)) = home_with(SERVICE) else { return };
    let Some(service) = service(&home) else { return };
    service.store(PIN, &ITEM).unwrap();
    service.store("another one", &["service", "tuf-agent", "token", "other"]).unwrap();
    let agent = start_on(&home, &service);
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(home.token("hsm")["pin_source"], "secret-service");
    signs(&home);
    assert_nowhere_in_proc(&home, &agent);
    // Each time anew: nothing is kept of a locked keyring.
    home.run("token lock hsm").done();
    service.lock().unwrap();
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["message"].as_str().unwrap().contains("is locked"), "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm"), "{refused}");
}

#[test]
fn an_item_that_is_missing_wrong_or_not_the_only_one_is_told() {
    let Some((home, _folder)) = home_with(SERVICE) else { return };
    let Some(service) = service(&home) else { return };
    let agent = start_on(&home, &service);
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["message"].as_str().unwrap().contains("is not there"), "{refused}");
    service.store("wrong-pin-3c1f", &ITEM).unwrap();
    home.refused("token unlock hsm", 5, "PIN_INCORRECT");
    // What was wrong is not tried again by itself, and what came in its place is.
    home.refused("key generate k --token hsm --type ecdsa-p256", 5, "TOKEN_LOCKED");
    service.store(PIN, &ITEM).unwrap();
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    home.run("token lock hsm").done();
    service.store("one more", &[&ITEM[..], &["more", "of it"]].concat()).unwrap();
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["message"].as_str().unwrap().contains("could be any of 2"), "{refused}");
}

#[test]
fn without_a_bus_the_agent_serves_and_says_what_is_missing() {
    let Some((home, _folder)) = home_with(SERVICE) else { return };
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["remedy"].as_str().unwrap().contains("DBUS_SESSION_BUS_ADDRESS"), "{refused}");
    home.unlock_file_store();
    home.keys(&["other"]);
}

#[test]
fn a_pin_in_a_keyring_of_the_kernel_unlocks_the_token_by_itself() {
    let Some((home, _folder)) = home_with("{ keyring = \"tuf-agent:hsm\" }") else { return };
    let Some(python) = need(oracle::python()) else { return };
    let pin = home.secret("pin", PIN);
    let in_keyring = |name: &str, program: &Path| {
        let mut command = Command::new(&python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/keyring.py"));
        command.arg(name).arg(&pin).arg(program);
        command
    };
    let tried = in_keyring("tuf-agent:hsm", Path::new("/bin/true")).stdin(Stdio::null()).status().unwrap();
    if !tried.success() {
        println!("SKIPPED: this machine lets nobody add keys to the kernel's keyrings");
        return;
    }
    let agent = home.start_through(in_keyring("tuf-agent:hsm", &binary("tuf-agent")));
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(home.token("hsm")["pin_source"], "keyring");
    signs(&home);
    assert_nowhere_in_proc(&home, &agent);
    drop(agent);
    let agent = home.start_through(in_keyring("another", &binary("tuf-agent")));
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["remedy"].as_str().unwrap().contains("keyctl padd user tuf-agent:hsm"), "{refused}");
}

#[test]
fn a_pin_from_a_file_a_descriptor_or_a_credential_stands_in_no_process_list() {
    for source in ["file", "fd", "credential"] {
        let Some((home, folder)) = home_with("\"prompt\"") else { return };
        let path = home.secret("pin", PIN);
        let text = path.display().to_string();
        let pin = match source {
            "file" => format!("{{ file = {text:?} }}"),
            "fd" => "{ fd = 9 }".to_owned(),
            _ => "{ credential = \"pin\" }".to_owned(),
        };
        home.config(&format!("{}pin = {pin}\n", Home::softhsm_table("hsm", "build", &folder)));
        let mut command = Command::new("sh");
        command.args(["-c", "exec 9< \"$0\"; exec \"$@\""]).arg(&path).arg(binary("tuf-agent"));
        let credentials = path.parent().unwrap().display().to_string();
        let agent = Agent::start_in_environment(&home, command, &[("CREDENTIALS_DIRECTORY", &credentials)]);
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
        assert_eq!(home.token("hsm")["pin_source"], source);
        signs(&home);
        assert_nowhere_in_proc(&home, &agent);
    }
}
