//! A helper keeps its module to what the token's entry names (FAULTS B5), seen by a module that tries more.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use lying_pkcs11::Desk;
use serde_json::Value;
use softhsm::{Skipped, SoftHsm, TokenFolder};
use tufagent_tests::{Agent, Home, PIN, need};

use crate::strace::Strace;

/// What this kernel can keep a module from: files and TCP at least.
pub(crate) fn landlock() -> Result<ABI, Skipped> {
    // Of a thread that ends.
    let tried = std::thread::spawn(|| {
        Ruleset::default().handle_access(AccessFs::from_all(ABI::V1))?.create()?.restrict_self()
    });
    match tried.join().unwrap().unwrap().landlock {
        LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V4 => Ok(effective_abi),
        other => Err(Skipped::new(format!("landlock: {other:?}"), "a kernel from 6.7 on, with landlock")),
    }
}

/// SoftHSM behind the module that lies, and what it will try to reach.
struct World {
    home: Home,
    folder: TokenFolder,
    table: String,
    desk: Desk,
    tcp: TcpListener,
    udp: UdpSocket,
    name: String,
    abi: ABI,
    _abstract: UnixListener,
}

impl World {
    fn new() -> Option<Self> {
        let abi = need(landlock())?;
        let softhsm = need(SoftHsm::find_or_fetch())?;
        let home = Home::new();
        let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
        folder.init_token("build", "so-pin-4711", PIN).unwrap();
        home.secret("pin", PIN);
        home.write("outside.txt", "nobody's business\n");
        let (table, desk) = (home.lying_table("hsm", "build", &folder), home.lying_desk("hsm"));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = format!("tufagent-{}-{}", std::process::id(), tcp.local_addr().unwrap().port());
        let place = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let _abstract = UnixListener::bind_addr(&place).unwrap();
        Some(Self { home, folder, table, desk, tcp, udp, name, abi, _abstract })
    }

    /// What no module needs: what, and about what.
    fn forbidden(&self) -> Vec<(&'static str, String)> {
        let text = |path: std::path::PathBuf| path.display().to_string();
        let mut forbidden = vec![
            ("read", text(self.home.path("outside.txt"))),
            ("read", text(self.home.state().join("ledger.db"))),
            ("read", text(self.home.path("pin"))),
            ("write", text(self.home.path("outside.txt"))),
            ("write", text(self.home.path("fresh.txt"))),
            ("write", text(self.folder.configuration())),
            ("run", "/bin/true".to_owned()),
            ("run", text(self.desk.folder().join("true"))),
        ];
        if self.abi >= ABI::V6 {
            forbidden.push(("abstract", self.name.clone()));
            forbidden.push(("signal", std::process::id().to_string()));
        }
        forbidden
    }

    /// What files are not read, written nor run by, and what is no file at all.
    fn sealed(&self) -> Vec<(&'static str, String)> {
        let files = [self.home.path("pin"), self.home.path("outside.txt"), self.home.state()];
        let changes = ["mode", "owner", "times", "xattr"];
        let of = |file: &std::path::PathBuf| changes.map(|what| (what, file.display().to_string()));
        let keys = ["get", "add", "request"].map(|how| ("keyring", how.to_owned()));
        files.iter().flat_map(of).chain(keys).chain(calls(&CALLS)).collect()
    }

    fn connect(&self) -> (&'static str, String) {
        ("connect", self.tcp.local_addr().unwrap().to_string())
    }

    /// Ways out over the network beside a plain connection by TCP.
    fn network(&self) -> Vec<(&'static str, String)> {
        let udp = self.udp.local_addr().unwrap().to_string();
        let tcp = self.connect().1;
        vec![self.connect(), ("udp", udp), ("mptcp", tcp.clone()), ("fastopen", tcp)]
    }

    fn allowed(&self) -> Vec<(&'static str, String)> {
        let text = |path: std::path::PathBuf| path.display().to_string();
        vec![
            ("read", text(self.folder.configuration())),
            ("read", "/etc/passwd".to_owned()),
            ("read", "/dev/urandom".to_owned()),
            ("write", "/dev/null".to_owned()),
            ("write", text(self.desk.folder().join("fresh.txt"))),
            ("write", text(self.folder.tokens_dir().join("fresh.txt"))),
            ("thread", "1".to_owned()),
        ]
    }

    /// Starts the agent with a module that tries all of it, as soon as it is loaded.
    fn start(&self, table: &str) -> Agent {
        fs::copy("/bin/true", self.desk.folder().join("true")).unwrap();
        let tries = [self.forbidden(), self.sealed(), self.allowed(), self.network()].concat();
        self.desk.say(&tries.iter().map(|(what, about)| format!("try {what} {about}\n")).collect::<String>());
        self.home.config(table);
        let agent = self.home.start();
        self.home.run("token unlock hsm --pin-file pin").done();
        agent
    }

    fn ended(&self, (what, about): &(&str, String)) -> Vec<String> {
        self.desk.trace().tried(what, about).map(str::to_owned).collect()
    }

    /// All of them ended so, and were tried.
    #[track_caller]
    fn all_ended(&self, tries: &[(&'static str, String)], as_: &str) {
        for it in tries {
            let ended = self.ended(it);
            assert!(!ended.is_empty() && ended.iter().all(|how| how == as_), "{it:?}: {ended:?}");
        }
    }

    fn hsm(&self) -> Value {
        self.home.token("hsm")
    }

    /// The module does what it is for.
    #[track_caller]
    fn signs(&self) {
        let home = &self.home;
        home.run("key generate k --token hsm --type ecdsa-p256").done();
        home.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
        assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
        home.run("verify repo --root repo/metadata/1.root.json").done();
    }
}

fn calls(names: &[&str]) -> Vec<(&'static str, String)> {
    names.iter().map(|name| ("call", (*name).to_owned())).collect()
}

/// System calls that go around what a module is kept to.
const CALLS: [&str; 9] = [
    "io_uring_setup",
    "open_by_handle_at",
    "kcmp",
    "personality",
    "pidfd_getfd",
    "process_vm_writev",
    "ptrace",
    "setns",
    "unshare",
];

/// Without the lines that confine the token.
pub(crate) fn without_limits(table: &str) -> String {
    let limits = |line: &&str| line.starts_with("paths = ") || line.starts_with("network = ");
    table.split_inclusive('\n').filter(|line| !limits(line)).collect()
}

#[test]
fn a_confined_module_reaches_what_its_entry_names_and_nothing_else_and_still_signs() {
    let Some(world) = World::new() else { return };
    let _agent = world.start(&world.table);
    world.signs();
    world.all_ended(&world.forbidden(), "PermissionDenied");
    world.all_ended(&world.sealed(), "PermissionDenied");
    world.all_ended(&world.network(), "PermissionDenied");
    world.all_ended(&world.allowed(), "ok");
    // Also before the first call, by what runs when it is loaded.
    assert_eq!(world.desk.trace().entries[0].sign, '?');
    assert_eq!(fs::read_to_string(world.home.path("outside.txt")).unwrap(), "nobody's business\n");
    assert!(!world.home.path("fresh.txt").exists());
    let shown = world.hsm();
    assert_eq!(shown["confined"], true, "{shown}");
    assert_eq!(shown.get("unconfined").is_none(), world.abi >= ABI::V6, "{shown}");
    // The one that measures is confined as well.
    world.desk.forget();
    let told = world.home.run("token doctor hsm --pin-file pin --json").done().json();
    assert_eq!((&told["confined"], &told["uses"]["ecdsa-p256"]["verdict"]), (&true.into(), &"yes".into()));
    world.all_ended(&world.forbidden(), "PermissionDenied");
}

#[test]
fn a_module_that_nobody_confines_reaches_everything_and_token_list_says_why() {
    let Some(world) = World::new() else { return };
    let _agent = world.start(&without_limits(&world.table));
    world.signs();
    let changes = world.sealed().into_iter().filter(|(what, _)| ["mode", "owner", "times"].contains(what));
    let udp = world.network().into_iter().filter(|(what, _)| ["connect", "udp"].contains(what));
    for it in world.forbidden().into_iter().chain(changes).chain(udp).chain(world.allowed()) {
        let it = &it;
        assert!(world.ended(it).iter().any(|how| how == "ok"), "{it:?}: {:?}", world.ended(it));
    }
    let shown = world.hsm();
    assert_eq!(shown["confined"], false, "{shown}");
    assert!(shown["unconfined"].as_str().unwrap().contains("`paths`"), "{shown}");
    let list = world.home.run("token list").done().stdout;
    assert!(list.contains("not confined: its entry has no `paths`"), "{list}");
}

#[test]
fn the_network_is_a_modules_only_when_its_entry_says_so() {
    let Some(world) = World::new() else { return };
    let agent = world.start(&world.table.replace("network = false", "network = true"));
    world.all_ended(&world.network()[..2], "ok");
    world.all_ended(&world.forbidden(), "PermissionDenied");
    world.all_ended(&world.sealed(), "PermissionDenied");
    assert_eq!(world.hsm()["confined"], true);
    // The network alone can be taken away, too, and the ways around; that is not called confined.
    drop(agent);
    world.desk.forget();
    let _agent = world.start(&(without_limits(&world.table) + "network = false\n"));
    world.all_ended(&world.network(), "PermissionDenied");
    world.all_ended(&calls(&CALLS), "PermissionDenied");
    world.all_ended(
        &["read", "mode"].map(|what| (what, world.home.path("outside.txt").display().to_string())),
        "ok",
    );
    assert_eq!(world.hsm()["confined"], false);
    world.signs();
}

#[test]
fn softhsm_is_confined_by_its_own_configuration_where_the_entry_says_nothing() {
    let Some(world) = World::new() else { return };
    world.home.config(&without_limits(&Home::softhsm_table("hsm", "build", &world.folder)));
    let _agent = world.home.start();
    world.home.run("token unlock hsm --pin-file pin").done();
    assert_eq!(world.hsm()["confined"], true, "{}", world.hsm());
    world.signs();
}

#[test]
fn a_path_that_is_not_there_keeps_the_module_from_being_loaded_until_it_is() {
    let Some(world) = World::new() else { return };
    let stick = world.home.dir().join("stick");
    let table = world.table.replace("paths = [", &format!("paths = [{:?}, ", stick.display().to_string()));
    world.home.config(&table);
    let agent = world.home.start();
    let refused = world.home.refused("token unlock hsm --pin-file pin", 5, "TOKEN_ABSENT");
    assert!(refused["message"].as_str().unwrap().contains("stick"), "{refused}");
    assert!(world.desk.trace().entries.is_empty(), "the module was loaded");
    let shown = world.hsm();
    assert_eq!(shown["state"], "absent", "{shown}");
    let problem = shown["problem"].as_str().unwrap();
    assert!(problem.contains("stick") && problem.contains("make it, or take it out"), "{problem}");
    fs::create_dir(&stick).unwrap();
    agent.wait_until(|| world.hsm()["state"] == "locked");
    world.home.run("token unlock hsm --pin-file pin").done();
    world.signs();
}

#[test]
fn a_confined_helper_whose_module_hangs_ends_with_its_agent() {
    let Some(world) = World::new() else { return };
    let agent = world.start(&world.table);
    let helper = world.hsm()["helper_pid"].as_u64().unwrap();
    world.desk.say("C_GetTokenInfo hang");
    world.desk.forget();
    agent.wait_until(|| world.desk.trace().calls("C_GetTokenInfo") > 0);
    agent.kill();
    let end = Instant::now() + Duration::from_secs(60);
    let stat = || fs::read_to_string(format!("/proc/{helper}/stat")).unwrap_or_default();
    while !stat().is_empty() && !stat().contains(") Z ") {
        assert!(Instant::now() < end, "the helper outlives its agent");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn where_the_kernel_has_no_landlock_the_module_works_and_token_list_says_so() {
    let (Some(world), Some(strace)) = (World::new(), need(Strace::find())) else { return };
    world.home.config(&world.table);
    let none = ["-e", "trace=landlock_create_ruleset", "-e", "inject=landlock_create_ruleset:error=ENOSYS"];
    let (agent, _trace) = strace.start(&world.home, &none);
    agent.wait_until(|| world.hsm()["state"] == "locked");
    let shown = world.hsm();
    assert_eq!(
        (&shown["confined"], &shown["unconfined"]),
        (&false.into(), &"this kernel has no landlock".into())
    );
    assert!(agent.log().contains("no landlock"), "{}", agent.log());
}

#[test]
fn of_a_module_that_cannot_be_loaded_it_is_told_as_well_that_it_is_confined() {
    let Some(world) = World::new() else { return };
    let broken = world.desk.folder().join("broken.so");
    fs::write(&broken, "no library\n").unwrap();
    let line =
        |line: &str| if line.starts_with("module = ") { format!("module = {broken:?}") } else { line.into() };
    world.home.config(&world.table.lines().map(|l| line(l) + "\n").collect::<String>());
    let agent = world.home.start();
    agent.wait_until(|| world.hsm()["problem"].as_str().is_some_and(|it| it.contains("it is confined")));
    assert_eq!(world.hsm()["confined"], true, "{}", world.hsm());
}
