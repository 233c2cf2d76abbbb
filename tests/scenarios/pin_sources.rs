//! PINs that the agent takes by itself from where a desktop or the kernel keeps them, and what each place leaves behind
//! (FAULTS C4).

use std::fs;
use std::io::Write as _;
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

#[test]
fn no_process_of_a_request_holds_the_pin_in_its_arguments_or_its_environment() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    let agent = home.start();
    home.secret("pin", PIN);
    let desk = home.lying_desk("hsm");
    desk.say("C_Login once hang");
    // While the token has the PIN, tufctl waits, which has read it.
    let mut command = Command::new(binary("tufctl"));
    home.environment(&mut command);
    let mut tufctl = command.args(["token", "unlock", "hsm", "--pin-file", "pin"]).spawn().unwrap();
    agent.wait_until(|| desk.trace().logins() == 1);
    let helper = u32::try_from(home.token("hsm")["helper_pid"].as_u64().unwrap()).unwrap();
    let seen = processes_of(&home);
    for (pid, name) in [(agent.pid(), "the agent"), (helper, "the helper"), (tufctl.id(), "tufctl")] {
        assert!(seen.contains(&pid), "{name} is not among {seen:?}");
    }
    for pid in seen {
        assert_not_given_the_pin(pid);
    }
    tufagent_tests::signal(helper, "KILL");
    assert!(!tufctl.wait().unwrap().success());
}

/// All processes that were started for this home: what they inherit says so, and so does what they were told.
fn processes_of(home: &Home) -> Vec<u32> {
    let dir = home.dir().display().to_string();
    let of_home = |pid: &u32| {
        let told =
            ["environ", "cmdline"].map(|file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default());
        told.iter().any(|bytes| bytes.windows(dir.len()).any(|window| window == dir.as_bytes()))
    };
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(of_home).collect()
}

/// What every user of the machine, or this one, could read of a process.
#[track_caller]
fn assert_not_given_the_pin(pid: u32) {
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{pid}/{file}");
        let Ok(bytes) = fs::read(&path) else { continue };
        assert!(!bytes.windows(PIN.len()).any(|window| window == PIN.as_bytes()), "{path} holds the PIN");
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

/// Starts the agent with a pipe as descriptor 9 whose other end stays open; `first` is a command that writes into it.
fn start_on_pipe(home: &Home, first: &str) -> Agent {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("mkfifo -m 600 pipe && exec 9<>pipe && {first} && exec \"$0\" \"$@\"")]);
    home.start_through({
        command.arg(binary("tuf-agent"));
        command
    })
}

#[test]
fn a_pipe_that_stays_open_gives_its_line_and_is_not_waited_for_without_end() {
    let Some((home, _folder)) = home_with("{ fd = 9 }") else { return };
    home.secret("pin", &format!("{PIN}\n"));
    let agent = start_on_pipe(&home, "cat pin >&9");
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    signs(&home);
    drop(agent);

    // Nothing comes: the agent serves meanwhile, and the token tells what it waits for.
    fs::remove_file(home.path("pipe")).unwrap();
    let agent = start_on_pipe(&home, "true");
    home.unlock_file_store();
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let told = home.token("hsm");
    assert_eq!(told["state"], "locked", "{told}");
    assert!(told["problem"].as_str().unwrap().contains("nothing has come on descriptor 9"), "{told}");
    let refused = home.refused("key generate k --token hsm --type ecdsa-p256", 5, "SECRET_FILE");
    assert!(refused["remedy"].as_str().unwrap().contains("tufctl token unlock hsm"), "{refused}");
    // It comes later.
    let mut pipe = fs::OpenOptions::new().write(true).open(home.path("pipe")).unwrap();
    pipe.write_all(format!("{PIN}\n").as_bytes()).unwrap();
    home.run("token unlock hsm").done();
}

#[test]
fn what_the_agent_has_opened_itself_is_never_presented_as_a_pin() {
    let Some((home, _folder)) = home_with("{ fd = 3 }") else { return };
    let config = fs::read_to_string(home.dir().join("config/tuf-agent/config.toml")).unwrap();
    // Whatever these tests were started with is closed.
    let start = || {
        let mut command = Command::new("bash");
        command.args(["-c", "for fd in {3..30}; do eval \"exec $fd>&-\"; done; exec \"$0\" \"$@\""]);
        command.arg(binary("tuf-agent"));
        home.start_through(command)
    };
    let agent = start();
    for fd in 3..=30 {
        home.config(&config.replace("fd = 3", &format!("fd = {fd}")));
        agent.signal("HUP");
        let told = format!("descriptor {fd} was not given to the agent");
        agent.wait_until(|| home.token("hsm")["problem"].as_str().is_some_and(|said| said.contains(&told)));
        let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
        assert!(refused["remedy"].as_str().unwrap().contains(&format!("{fd}<pin.txt")), "{refused}");
    }
    assert!(home.journalled("token.attempt").is_empty());
    drop(agent);
    // Nor at the start.
    let _agent = start();
    assert!(home.journalled("token.attempt").is_empty());
}

#[test]
fn a_wrong_pin_on_a_descriptor_is_corrected_in_the_file_or_by_the_next_line_of_the_pipe() {
    let Some((home, _folder)) = home_with("{ fd = 9 }") else { return };
    let pin = home.secret("pin", "wrong-pin");
    let mut command = Command::new("sh");
    command.args(["-c", "exec 9<pin; exec \"$0\" \"$@\""]).arg(binary("tuf-agent"));
    let agent = home.start_through(command);
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    fs::write(&pin, PIN).unwrap();
    home.run("token unlock hsm").done();
    drop(agent);

    home.secret("pin", "wrong-pin\n");
    let agent = start_on_pipe(&home, "cat pin >&9");
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let presented = home.journalled("token.attempt").len();
    let refused = home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(refused["message"].as_str().unwrap().contains("nothing has come"), "{refused}");
    assert_eq!(home.journalled("token.attempt").len(), presented, "the wrong one was presented again");
    let mut pipe = fs::OpenOptions::new().write(true).open(home.path("pipe")).unwrap();
    pipe.write_all(format!("{PIN}\n").as_bytes()).unwrap();
    home.run("token unlock hsm").done();
}

#[test]
fn a_line_that_is_cut_off_in_a_pipe_costs_no_try() {
    let Some((home, _folder)) = home_with("{ fd = 9 }") else { return };
    let agent = start_on_pipe(&home, "printf canary- >&9");
    agent.wait_until(|| home.token("hsm")["problem"].is_string());
    let told = home.token("hsm");
    assert!(told["problem"].as_str().unwrap().contains("a part of a line"), "{told}");
    let mut pipe = fs::OpenOptions::new().write(true).open(home.path("pipe")).unwrap();
    pipe.write_all(b"pin-93d7\n").unwrap();
    home.refused("token unlock hsm", 5, "SECRET_FILE");
    assert!(home.journalled("token.attempt").is_empty());
}

#[test]
fn a_token_that_does_not_unlock_itself_keeps_no_other_from_signing() {
    let Some((home, _folder)) = home_with("{ file = \"PIN\" }") else { return };
    home.secret("pin", &format!("{PIN}\n"));
    let config = fs::read_to_string(home.dir().join("config/tuf-agent/config.toml")).unwrap();
    home.config(&config.replace("PIN", &home.path("pin").display().to_string()));
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.unlock_file_store();
    home.key("filed", "ed25519");
    home.run("key generate carded --token hsm --type ecdsa-p256").done();
    home.run(
        "repo init repo --name app --root carded,filed --root-threshold 2 --targets carded --snapshot filed --timestamp filed",
    )
    .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.run("token lock hsm").done();
    home.run("bump repo root").done();
    let half = home.run("sign repo --yes --json").exits(4).json();
    let signed: Vec<_> = half["signed"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
    assert_eq!(signed, ["filed"], "{half}");
    let unsigned = &half["unsigned"][0];
    assert_eq!((&unsigned["key"], &unsigned["reason"]), (&"carded".into(), &"TOKEN_LOCKED".into()), "{half}");
    // The other way about, and where nothing at all can be signed without it.
    assert_eq!(home.run("sign repo --yes --json").exits(5).json()["error"]["reason"], "TOKEN_LOCKED");
    home.refused("sign repo --key carded --yes", 5, "TOKEN_LOCKED");
    home.run("bump repo targets").done();
    home.refused("sign repo --role targets --yes", 5, "TOKEN_LOCKED");
    home.run("token unlock hsm").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn unlock_means_each_token_also_where_one_of_them_cannot_be_unlocked() {
    let Some((home, _folder)) = home_with("{ fd = 9 }") else { return };
    home.secret("pin", &format!("{PIN}\n"));
    let agent = start_on_pipe(&home, "cat pin pin pin >&9");
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    // The file store was never used.
    home.run("lock").done();
    home.run("unlock").done();
    assert_eq!(home.token("hsm")["state"], "unlocked");
    // Its passphrase is for a person to type, and none is there.
    home.unlock_file_store();
    home.run("lock").done();
    let refused = home.refused("unlock", 5, "PIN_REQUIRED");
    assert_eq!(refused["details"]["token"], "file", "{refused}");
    assert_eq!(home.token("hsm")["state"], "unlocked");
    assert_eq!(home.token("file")["state"], "locked");
}
