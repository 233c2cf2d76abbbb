//! What a module or a pinentry forks ends with it: such a child has a copy of all that its parent knew.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use lying_pkcs11::Desk;
use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PIN, binary, need, signal};

/// A locked token `hsm` whose module has forked a child.
fn forking() -> Option<(Home, Agent, Desk)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    let desk = home.lying_desk("hsm");
    desk.say("try fork 1");
    home.secret("pin", PIN);
    let agent = home.start();
    agent.wait_until(|| desk.trace().forked().count() == 1);
    Some((home, agent, desk))
}

/// Whether it runs; who is dead and was not waited for does not.
fn runs(process: u32) -> bool {
    let told = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = told.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[track_caller]
fn all_end(desk: &Desk, limit: Duration) {
    let end = Instant::now() + limit;
    let alive = || desk.trace().forked().filter(|process| runs(*process)).collect::<Vec<_>>();
    while !alive().is_empty() {
        assert!(Instant::now() < end, "still there: {:?}", alive());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_module_forked_ends_with_its_helper_and_the_helpers_end_is_seen_at_once() {
    let Some((home, agent, desk)) = forking() else { return };
    let helper = || home.token("hsm")["helper_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let (first, child) = (helper().unwrap(), desk.trace().forked().next().unwrap());
    assert!(runs(child), "or this proves nothing");
    let before = Instant::now();
    signal(first, "KILL");
    agent.wait_until(|| helper().is_some_and(|pid| pid != first) && home.token("hsm")["state"] == "locked");
    // The child held the helper's end of each connection.
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    assert!(!runs(child));
}

#[test]
fn while_a_token_is_absent_what_its_module_forks_does_not_add_up() {
    let Some((home, agent, desk)) = forking() else { return };
    desk.say("try fork 1\ntoken gone");
    // Each of these helpers has its own.
    agent.wait_until(|| desk.trace().forked().count() >= 5);
    let alive = desk.trace().forked().filter(|process| runs(*process)).count();
    assert!(alive <= 2, "{alive}");
    assert_eq!(home.token("hsm")["state"], "absent");
    agent.stop();
    all_end(&desk, Duration::from_secs(5));
}

#[test]
fn what_a_module_forked_ends_with_the_agent_whatever_ends_that() {
    for how in ["TERM", "KILL"] {
        let Some((home, mut agent, desk)) = forking() else { return };
        home.run("token unlock hsm --pin-file pin").done();
        agent.signal(how);
        while !agent.has_ended() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // A helper whose agent is gone has a moment for a call under way.
        all_end(&desk, Duration::from_secs(10));
    }
}

#[test]
fn what_a_hung_module_forked_ends_with_an_agent_that_was_killed() {
    let Some((home, mut agent, desk)) = forking() else { return };
    desk.say("try fork 1\nC_Login hang");
    let mut unlock = Command::new(binary("tufctl"));
    home.environment(&mut unlock);
    unlock.args(["token", "unlock", "hsm", "--pin-file", "pin"]);
    let mut unlock = unlock.spawn().unwrap();
    agent.wait_until(|| desk.trace().calls("C_Login") == 1);
    agent.signal("KILL");
    unlock.wait().unwrap();
    while !agent.has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    all_end(&desk, Duration::from_secs(15));
}

#[test]
fn what_a_pinentry_started_ends_with_it() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let child = home.dir().join("child");
    let script = format!(
        "#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! > {child:?}\necho OK\nwhile read -r line; do\n\
         case \"$line\" in GETPIN*) printf 'D {PIN}\\nOK\\n';; *) echo OK;; esac\ndone\n"
    );
    let program = home.write("pinentry", &script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    home.config(&format!(
        "pinentry = {:?}\n{}pin = \"pinentry\"\n",
        program.display().to_string(),
        Home::softhsm_table("hsm", "build", &folder)
    ));
    let command = Command::new(binary("tuf-agent"));
    let _agent = Agent::start_in_environment(&home, command, &[("DISPLAY", ":none")]);
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    let child: u32 = fs::read_to_string(&child).unwrap().trim().parse().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while runs(child) {
        assert!(Instant::now() < end, "pinentry's child is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}
