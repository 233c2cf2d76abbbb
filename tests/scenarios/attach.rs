//! Other processes of the same user cannot look into the agent or its helpers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use softhsm::{Skipped, SoftHsm};
use tufagent_tests::{Agent, Home, PIN, binary, is_root, need};

/// Tries what a debugger or a thief does, on a process and, to see that it would work, on a child of its own.
const THIEF: &str = r#"
import ctypes, ctypes.util, errno, json, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def outcome(result):
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def ptrace(request, pid):
    said = outcome(libc.ptrace(request, pid, None, None))
    if said == "done":
        os.waitpid(pid, 0x40000000) if request == 16 else None
        libc.ptrace(17, pid, None, None)
    return said
def opened(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            if name == "mem":
                maps = open(f"/proc/{pid}/maps").read().splitlines()
                stack = next(line for line in maps if "[stack]" in line)
                file.seek(int(stack.split("-")[0], 16))
            file.read(1)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def read_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    local, remote = Piece(ctypes.addressof(buffer), 8), Piece(0x1000, 8)
    said = outcome(libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
    return "done" if said == "EFAULT" else said
def take_descriptor(pid):
    handle = os.pidfd_open(pid)
    return outcome(libc.syscall(438, handle, 0, 0))
def all_of(pid):
    return {"attach": ptrace(16, pid), "mem": opened(pid, "mem"), "environ": opened(pid, "environ"),
            "maps": opened(pid, "maps"), "process_vm_readv": read_memory(pid), "pidfd_getfd": take_descriptor(pid)}
child = subprocess.Popen(["sleep", "60"])
print(json.dumps({"victim": all_of(int(sys.argv[1])), "child": all_of(child.pid)}))
child.kill()
"#;

/// An ordinary user: this one, or nobody where the tests run as root.
struct Ordinary {
    home: Home,
    programs: PathBuf,
}

const NOBODY: u32 = 65534;

impl Ordinary {
    fn new() -> Self {
        let home = Home::new();
        let programs = home.dir().join("programs");
        fs::create_dir(&programs).unwrap();
        for name in ["tuf-agent", "tufctl"] {
            fs::copy(binary(name), programs.join(name)).unwrap();
        }
        let this = Self { home, programs };
        this.hand_over(this.home.dir());
        this
    }

    /// Gives everything below to the ordinary user.
    fn hand_over(&self, path: &Path) {
        if !is_root() {
            return;
        }
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| self.hand_over(&entry.unwrap().path()));
        }
    }

    fn command(&self, program: &Path) -> Command {
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
        command
    }

    fn start(&self) -> Agent {
        let agent = Agent::spawn(&self.home, self.command(&self.programs.join("tuf-agent")));
        let end = Instant::now() + Duration::from_secs(30);
        while !agent.log().contains("ready") {
            assert!(Instant::now() < end, "the agent is not ready:\n{}", agent.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        agent
    }

    fn tufctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&self.programs.join("tufctl"));
        self.home.environment(&mut command);
        command.args(arguments).output().unwrap()
    }

    /// What a thief of the same user gets.
    fn steal_from(&self, pid: u32) -> Value {
        // The system's, which every user may run.
        let system = Path::new("/usr/bin/python3");
        let mut command = self.command(if system.exists() { system } else { Path::new("python3") });
        self.home.environment(&mut command);
        let output = command.args(["-c", THIEF, &pid.to_string()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&said)
            .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

#[track_caller]
fn nothing_was_stolen(tried: &Value) {
    let child = tried["child"].as_object().unwrap();
    // Where the machine forbids it for every process the test proves less, and says so.
    if child.values().any(|said| said != "done") {
        println!("this machine forbids some of it to everybody: {tried}");
    }
    for (what, said) in tried["victim"].as_object().unwrap() {
        assert!(said == "EPERM" || said == "EACCES", "{what}: {said} in {tried}");
    }
}

#[test]
fn a_process_of_the_same_user_cannot_attach_to_the_agent_or_read_its_memory() {
    let user = Ordinary::new();
    let agent = user.start();
    let tried = user.steal_from(agent.pid());
    nothing_was_stolen(&tried);
    assert!(user.tufctl(&["status"]).status.success(), "it does not serve any more");
}

#[test]
fn gdb_of_the_same_user_can_neither_attach_nor_make_a_core() {
    let gdb = Path::new("/usr/bin/gdb");
    let found =
        if gdb.exists() { Ok(gdb) } else { Err(Skipped::new("gdb is not there", "apt-get install gdb")) };
    let Some(gdb) = need(found) else { return };
    let user = Ordinary::new();
    let agent = user.start();
    let core = user.home.path("core-by-gdb");
    let attach = |pid: u32| {
        let mut command = user.command(gdb);
        user.home.environment(&mut command);
        let dump = format!("generate-core-file {}", core.display());
        command.args(["-nx", "-batch", "-p", &pid.to_string(), "-ex", "info registers", "-ex", &dump]);
        let output = command.current_dir(user.home.path("")).stdin(Stdio::null()).output().unwrap();
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat()
    };
    let said = attach(agent.pid());
    assert!(said.contains("Operation not permitted"), "{said}");
    assert!(!core.exists(), "{said}");
    assert!(user.tufctl(&["status"]).status.success(), "it does not serve any more");
    // It is the agent that forbids it, unless this machine does to everybody.
    let mut other = user.command(Path::new("sleep")).arg("60").spawn().unwrap();
    let said = attach(other.id());
    other.kill().unwrap();
    other.wait().unwrap();
    if !core.exists() {
        println!("this machine forbids gdb to attach to anything: {said}");
    }
}

#[test]
fn a_process_of_the_same_user_cannot_attach_to_the_helper_of_a_token() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let user = Ordinary::new();
    let folder = softhsm.folder(&user.home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    user.home.config(&Home::softhsm_table("hsm", "build", &folder));
    user.hand_over(user.home.dir());
    let agent = user.start();
    let list =
        || -> Value { serde_json::from_slice(&user.tufctl(&["token", "list", "--json"]).stdout).unwrap() };
    let helper = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        list()["tokens"].as_array()?.iter().find_map(|token| token["helper_pid"].as_u64())
    });
    let helper = u32::try_from(helper.expect("the token has a helper")).unwrap();
    nothing_was_stolen(&user.steal_from(helper));
    drop(agent);
}

#[test]
fn an_agent_that_aborts_leaves_no_core() {
    let user = Ordinary::new();
    let mut agent = user.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    agent.signal("ABRT");
    let status = agent.wait();
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(!status.core_dumped(), "{status}");
    let left = fs::read_dir(user.home.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("core")).collect();
    assert!(left.is_empty(), "{left:?}");
    let mode = fs::metadata(user.home.state()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
