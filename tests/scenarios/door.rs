//! The agent's door: who may come in, and that there is one agent for one state folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tufagent_tests::{Agent, Home, binary, is_root, need, oracle};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn spawn(home: &Home) -> Agent {
    Agent::spawn(home, Command::new(binary("tuf-agent")))
}

#[track_caller]
fn does_not_start(home: &Home, said: &str) {
    let mut agent = spawn(home);
    assert!(!agent.wait().success(), "it starts");
    assert!(agent.log().contains(said), "{said:?} is not in:\n{}", agent.log());
}

#[test]
fn the_socket_is_0600_in_a_0700_folder() {
    let home = Home::new();
    let _agent = home.start();
    assert_eq!(mode(&home.socket()), 0o600);
    assert_eq!(mode(home.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&home.state()), 0o700);
    for entry in fs::read_dir(home.state()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()) & 0o077, 0, "{} can be read by others", entry.path().display());
    }
}

#[test]
fn a_symbolic_link_in_the_place_of_the_socket_is_refused() {
    let home = Home::new();
    let folder = home.socket().parent().unwrap().to_path_buf();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(home.path("elsewhere"), home.socket()).unwrap();
    does_not_start(&home, "symbolic link");
    assert!(home.socket().is_symlink(), "it was replaced");
}

#[test]
fn a_symbolic_link_in_the_place_of_the_folder_is_refused() {
    let home = Home::new();
    let elsewhere = home.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere, home.socket().parent().unwrap()).unwrap();
    does_not_start(&home, "symbolic link");
}

#[test]
fn a_folder_that_others_may_enter_is_refused() {
    let home = Home::new();
    let folder = home.socket().parent().unwrap().to_path_buf();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    does_not_start(&home, "0755");
    assert_eq!(mode(&folder), 0o755, "it was changed");
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let home = Home::new();
    let folder = home.socket().parent().unwrap().to_path_buf();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.socket(), "a file").unwrap();
    does_not_start(&home, "agent.sock");
    assert_eq!(fs::read_to_string(home.socket()).unwrap(), "a file");
}

#[test]
fn a_live_socket_of_another_program_is_not_replaced() {
    let home = Home::new();
    let folder = home.socket().parent().unwrap().to_path_buf();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let inode = fs::metadata(home.socket()).unwrap().ino();
    does_not_start(&home, "agent.sock");
    assert_eq!(fs::metadata(home.socket()).unwrap().ino(), inode);
    drop(listener);
}

#[test]
fn the_socket_of_a_dead_agent_is_replaced() {
    let home = Home::new();
    home.start().kill();
    assert!(home.socket().exists(), "a killed agent leaves its socket");
    let _agent = home.start();
}

#[test]
fn a_second_agent_for_the_same_state_is_refused_and_the_first_serves_on() {
    let home = Home::new();
    let agent = home.start();
    let mut command = Command::new(binary("tuf-agent"));
    command.arg("--socket").arg(home.path("other.sock"));
    let mut second = Agent::spawn(&home, command);
    assert!(!second.wait().success());
    assert_eq!(home.run("status --json").done().json()["pid"], agent.pid());
}

#[test]
fn of_many_agents_that_start_at_once_exactly_one_serves() {
    let home = Home::new();
    let mut all: Vec<Agent> = (0..50).map(|_| spawn(&home)).collect();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let running = all.iter_mut().filter_map(|agent| (!agent.has_ended()).then(|| agent.pid())).count();
        if running == 1 {
            break;
        }
        assert!(running > 0, "none is left:\n{}", all[0].log());
        assert!(std::time::Instant::now() < end, "{running} are still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    let winner = all.iter_mut().find_map(|agent| (!agent.has_ended()).then(|| agent.pid())).unwrap();
    let served = (0..100).find_map(|_| {
        let outcome = home.run("status --json");
        std::thread::sleep(Duration::from_millis(20));
        (outcome.code == 0).then(|| outcome.json()["pid"].clone())
    });
    assert_eq!(served, Some(winner.into()));
}

#[test]
fn another_user_is_refused_before_anything_is_parsed() {
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let home = Home::new();
    let agent = home.start();
    // Even with the folders and the socket thrown open.
    for folder in [home.dir().to_path_buf(), home.dir().join("run"), home.dir().join("run/tuf-agent")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(home.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let tufctl = home.dir().join("tufctl");
    fs::copy(binary("tufctl"), &tufctl).unwrap();
    let status = |id: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", id, "--regid", id, "--clear-groups"]).arg(&tufctl);
        command.args(["status", "--json", "--socket"]).arg(home.socket()).current_dir("/");
        command.output().unwrap().status.code()
    };
    assert_eq!(status("0"), Some(0));
    assert!(matches!(status("65534"), Some(3 | 7)), "another user gets in");
    assert!(agent.log().contains("65534"), "the log does not say who was turned away:\n{}", agent.log());
}

#[test]
fn members_of_the_configured_group_may_connect_and_nobody_else() {
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let home = Home::new();
    home.config("allow_groups = [54321]");
    let _agent = home.start();
    assert_eq!(mode(&home.socket()), 0o660);
    assert_eq!(mode(home.socket().parent().unwrap()), 0o750);
    // The way to the folder is open; the folder and the socket are for the group.
    for folder in [home.dir().to_path_buf(), home.dir().join("run")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let tufctl = home.dir().join("tufctl");
    fs::copy(binary("tufctl"), &tufctl).unwrap();
    let status = |groups: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534"]).args(groups).arg(&tufctl);
        command.args(["status", "--json", "--socket"]).arg(home.socket()).current_dir("/");
        command.output().unwrap().status.code()
    };
    assert_eq!(status(&["--groups", "54321"]), Some(0));
    assert_ne!(status(&["--clear-groups"]), Some(0));
    // The kernel keeps strangers out of the folder; were it open, the agent would still ask for the group.
    fs::set_permissions(home.socket().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_ne!(status(&["--clear-groups"]), Some(0));
    assert_eq!(status(&["--groups", "54321"]), Some(0));
}

#[test]
fn root_is_refused_unless_told() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let mut command = Command::new(binary("tuf-agent"));
    home.environment(&mut command);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--allow-root"), "{said}");
}

/// Binds a socket, makes it descriptor 3 and becomes the agent, as systemd does.
const ACTIVATOR: &str = "
import os, socket, sys
path, pid, count, program = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
first = socket.socket(socket.AF_UNIX)
first.bind(path)
os.chmod(path, int(os.environ.pop('SOCKET_MODE', '0600'), 8))
first.listen()
for number in range(count):
    os.dup2(first.fileno(), 20 + number)
for number in range(count):
    os.dup2(20 + number, 3 + number)
os.environ['LISTEN_PID'] = str(os.getpid()) if pid == 'own' else pid
os.environ['LISTEN_FDS'] = str(count)
os.execv(program[0], program)
";

fn activator(home: &Home, pid: &str, count: &str) -> Option<Command> {
    let mut command = Command::new(need(oracle::python())?);
    command.args(["-c", ACTIVATOR]).arg(home.socket()).args([pid, count]).arg(binary("tuf-agent"));
    Some(command)
}

#[test]
fn a_socket_passed_by_the_service_manager_is_served() {
    let home = Home::new();
    let Some(command) = activator(&home, "own", "1") else { return };
    let _agent = home.start_through(command);
    assert_eq!(mode(&home.socket()), 0o600);
    home.unlock_file_store();
}

#[test]
fn a_passed_socket_with_other_permissions_than_our_own_is_refused() {
    let home = Home::new();
    let Some(command) = activator(&home, "own", "1") else { return };
    let mut agent = Agent::spawn_in_environment(&home, command, &[("SOCKET_MODE", "0666")]);
    assert!(!agent.wait().success());
    assert!(agent.log().contains("0666"), "{}", agent.log());
}

#[test]
fn two_passed_sockets_are_refused() {
    let home = Home::new();
    let Some(command) = activator(&home, "own", "2") else { return };
    let mut agent = Agent::spawn(&home, command);
    assert!(!agent.wait().success());
    assert!(agent.log().contains("2 sockets"), "{}", agent.log());
}

#[test]
fn a_socket_that_was_passed_to_another_process_is_not_taken() {
    let home = Home::new();
    // The socket is live, in another process's name: as with any live socket, it is not replaced.
    let Some(command) = activator(&home, "1", "1") else { return };
    let mut agent = Agent::spawn(&home, command);
    assert!(!agent.wait().success() && !agent.log().is_empty());
}

#[test]
fn the_service_manager_hears_ready_reloading_and_stopping() {
    let home = Home::new();
    let path = home.dir().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let notify = path.display().to_string();
    let variables = [("NOTIFY_SOCKET", notify.as_str())];
    let agent = Agent::spawn_in_environment(&home, Command::new(binary("tuf-agent")), &variables);
    let mut heard = String::new();
    let mut wait_for = |word: &str| {
        let mut buffer = [0; 4096];
        while !heard.contains(word) {
            let length =
                socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{word} was not heard ({e}): {heard}"));
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
            heard.push('\n');
        }
    };
    wait_for("READY=1");
    home.run("status").done();
    agent.signal("HUP");
    wait_for("RELOADING=1");
    agent.signal("TERM");
    wait_for("STOPPING=1");
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error_that_says_so() {
    let home = Home::new();
    let mut command = Command::new(binary("tuf-agent"));
    command.arg("--socket").arg(home.path("x".repeat(120)));
    let mut agent = Agent::spawn(&home, command);
    assert!(!agent.wait().success());
    assert!(agent.log().contains("107"), "{}", agent.log());
}
