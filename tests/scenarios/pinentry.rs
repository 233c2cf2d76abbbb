//! The agent asks a person itself, through pinentry: what is shown, and that only an answer is one (FAULTS C1, C5).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PIN, binary, need};

use crate::terminal::talk;

/// A home with a SoftHSM token behind the lying module, the fake pinentry, and an agent that has a screen; `more` ends the
/// token's entry in the configuration.
struct Bed {
    home: Home,
    folder: PathBuf,
}

impl Bed {
    fn new(more: &str) -> Option<Self> {
        let softhsm = need(SoftHsm::find_or_fetch())?;
        let home = Home::new();
        let tokens = softhsm.folder(&home.dir().join("softhsm")).unwrap();
        tokens.init_token("build", "so-pin-4711", PIN).unwrap();
        let folder = home.dir().join("pinentry");
        fs::create_dir(&folder).unwrap();
        let double = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("doubles/pinentry.sh");
        fs::copy(double, folder.join("pinentry")).unwrap();
        fs::set_permissions(folder.join("pinentry"), fs::Permissions::from_mode(0o755)).unwrap();
        let table = home.lying_table("hsm", "build", &tokens);
        let program = folder.join("pinentry").display().to_string();
        home.config(&format!("pinentry = {program:?}\n{table}{more}"));
        Some(Self { home, folder })
    }

    fn start(&self) -> Agent {
        let command = Command::new(binary("tuf-agent"));
        Agent::start_in_environment(&self.home, command, &[("DISPLAY", ":none")])
    }

    fn answer(&self, mode: &str) {
        fs::write(self.folder.join("mode"), mode).unwrap();
        let _ = fs::remove_file(self.folder.join("log"));
    }

    /// What the last dialogues were told.
    fn told(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn logins(&self) -> usize {
        self.home.lying_desk("hsm").trace().logins()
    }

    fn hsm(&self) -> Value {
        let list = self.home.run("token list --json").done().json();
        list["tokens"].as_array().unwrap().iter().find(|it| it["name"] == "hsm").unwrap().clone()
    }

    /// Ends the token's login, as a crash of its module does.
    fn lose_helper(&self) {
        let helper = self.hsm()["helper_pid"].as_u64().unwrap();
        assert!(Command::new("kill").args(["-KILL", &helper.to_string()]).status().unwrap().success());
        let end = Instant::now() + Duration::from_secs(60);
        // Of one moment: right after the end of the old one the token may still count as locked.
        let is_new = |hsm: &Value| {
            hsm["state"] == "locked" && hsm["helper_pid"].as_u64().is_some_and(|pid| pid != helper)
        };
        while !is_new(&self.hsm()) {
            assert!(Instant::now() < end, "{}", self.hsm());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn repository(&self) {
        self.home.run("key generate root --token hsm --type ecdsa-p256").done();
        self.home
            .run("repo init repo --name app --root root --targets root --snapshot root --timestamp root")
            .done();
    }
}

#[test]
fn the_pin_that_a_signature_needs_is_asked_for_with_card_key_role_and_digest() {
    let Some(bed) = Bed::new("pin = \"pinentry\"\n") else { return };
    let _agent = bed.start();
    bed.answer(&format!("pin {PIN}"));
    bed.repository();
    assert!(bed.told().contains("to make the key root"), "{}", bed.told());
    assert_eq!(bed.logins(), 1);
    bed.lose_helper();
    bed.answer(&format!("pin {PIN}"));
    let signed = bed.home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    let serial = bed.hsm()["serial"].as_str().unwrap().to_owned();
    let told = bed.told();
    for shown in ["token hsm", &serial, "label build", "of app", "key root", "sha256 "] {
        assert!(told.contains(shown), "{shown} is not in\n{told}");
    }
    assert_eq!((bed.logins(), told.matches("GETPIN").count()), (2, 1), "asked once for all roles\n{told}");
    // A lock holds until somebody unlocks, and then the agent asks, too.
    bed.home.run("token lock hsm").done();
    bed.home.run("bump repo timestamp").done();
    bed.answer(&format!("pin {PIN}"));
    bed.home.run("sign repo --yes").exits(5);
    assert_eq!((bed.told(), bed.logins()), (String::new(), 2));
    bed.home.run("token unlock hsm").done();
    bed.home.run("sign repo --yes").done();
    assert_eq!(bed.logins(), 3);
}

#[test]
fn a_key_that_takes_the_pin_each_time_has_pinentry_ask_before_each_signature() {
    let Some(bed) = Bed::new("pin = \"pinentry\"\n") else { return };
    let desk = bed.home.lying_desk("hsm");
    desk.say("always-authenticate made");
    let _agent = bed.start();
    bed.answer(&format!("pin {PIN}"));
    bed.repository();
    desk.forget();
    let asked = || (desk.trace().context_logins(), desk.trace().signatures(), desk.trace().logins());
    let signed = bed.home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    let (told, serial) = (bed.told(), bed.hsm()["serial"].as_str().unwrap().to_owned());
    for shown in ["for one signature", "timestamp version 1 of app", "key root", "sha256 ", &serial] {
        assert!(told.contains(shown), "{shown} is not in\n{told}");
    }
    assert_eq!(asked(), (4, 4, 0));
    // Locked, it takes one to log in and one to sign.
    bed.lose_helper();
    bed.home.run("bump repo timestamp").done();
    bed.answer(&format!("pin {PIN}"));
    bed.home.run("sign repo --yes").done();
    assert_eq!((asked(), bed.told().matches("GETPIN").count()), ((5, 5, 1), 2), "{}", bed.told());
    bed.home.run("bump repo timestamp").done();
    bed.answer("cancel");
    bed.home.refused("sign repo --yes", 5, "PIN_REQUIRED");
    bed.answer("pin wrong-pin-5c33");
    bed.home.refused("sign repo --yes", 5, "PIN_INCORRECT");
    assert_eq!((asked(), bed.hsm()["state"].clone()), ((6, 5, 1), "locked".into()));
}

#[test]
fn whatever_is_no_answer_is_told_apart_and_costs_no_try() {
    let Some(bed) = Bed::new("pin = \"pinentry\"\n") else { return };
    let agent = bed.start();
    let request = "key generate k --token hsm --type ecdsa-p256";
    for (mode, code, reason, word) in [
        ("cancel", 5, "PIN_REQUIRED", "said no"),
        ("timeout", 5, "PIN_REQUIRED", "nobody answered"),
        ("empty", 5, "PIN_REQUIRED", "nothing was typed"),
        ("die", 5, "PIN_REQUIRED", "ended"),
    ] {
        bed.answer(mode);
        let refused = bed.home.refused(request, code, reason);
        assert!(refused["message"].as_str().unwrap().contains(word), "{mode}: {refused}");
        assert_eq!(refused["details"]["cancelled"] == true, mode == "cancel", "{refused}");
        assert_eq!(bed.logins(), 0, "{mode}");
    }
    bed.answer("pin wrong-pin-5c33");
    bed.home.refused(request, 5, "PIN_INCORRECT");
    assert_eq!((bed.logins(), bed.told().matches("GETPIN").count()), (1, 1), "one entry, one attempt");
    bed.answer(&format!("pin {}", PIN.replace('-', "%2D")));
    bed.home.run(request).done();
    drop(agent);
    // Without a screen and a terminal nobody can be asked.
    let _agent = bed.home.start();
    bed.answer(&format!("pin {PIN}"));
    let refused = bed.home.refused("key generate k2 --token hsm --type ecdsa-p256", 5, "PIN_REQUIRED");
    assert!(refused["message"].as_str().unwrap().contains("no terminal"), "{refused}");
    assert_eq!((bed.told(), bed.logins()), (String::new(), 2));
}

#[test]
fn a_token_that_wants_a_yes_signs_only_with_one_and_a_no_leaves_no_mark() {
    let Some(bed) = Bed::new("confirm = \"pinentry\"\n") else { return };
    let _agent = bed.start();
    bed.home.secret("pin", PIN);
    bed.home.run("token unlock hsm --pin-file pin").done();
    bed.repository();
    for mode in ["no", "cancel", "timeout", "die"] {
        bed.answer(mode);
        let refused = bed.home.refused("sign repo --yes", 3, "CONFIRMATION_MISSING");
        assert_eq!(refused["details"]["token"], "hsm", "{mode}: {refused}");
    }
    bed.answer("yes");
    let signed = bed.home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    let told = bed.told();
    assert!(told.contains("Sign with token hsm") && told.contains("timestamp version 1 of app"), "{told}");
}

#[test]
fn a_yes_is_never_asked_for_at_the_terminal_of_the_program_that_wants_the_signature() {
    let Some(bed) = Bed::new("confirm = \"pinentry\"\n") else { return };
    bed.home.secret("pin", PIN);
    bed.answer("yes");
    // No screen: what is left is the caller's terminal, at which any program can type.
    let agent = bed.home.start();
    bed.home.run("token unlock hsm --pin-file pin").done();
    bed.repository();
    let Some((code, screen)) = talk(&bed.home, "sign repo --yes", &[]) else { return };
    assert_eq!((code, bed.told()), (3, String::new()), "{screen}");
    assert!(screen.contains("GPG_TTY"), "{screen}");
    drop(agent);
    // With a screen that is where it is asked, and a terminal is not named beside it.
    let _agent = bed.start();
    bed.home.run("token unlock hsm --pin-file pin").done();
    let (code, screen) = talk(&bed.home, "sign repo --yes", &[]).unwrap();
    let told = bed.told();
    assert!(code == 0 && told.contains("Sign with token hsm") && !told.contains("ttyname"), "{screen}{told}");
}

#[test]
fn what_only_a_person_may_say_is_told_by_the_agent_itself_before_the_yes() {
    let Some(bed) = Bed::new("confirm = \"pinentry\"\n") else { return };
    let _agent = bed.start();
    bed.home.secret("pin", PIN);
    bed.home.run("token unlock hsm --pin-file pin").done();
    bed.home.unlock_file_store();
    bed.home.keys(&["online", "spare"]);
    bed.home.run("key generate root --token hsm --type ecdsa-p256").done();
    bed.home
        .run("repo init repo --name app --root root,spare --root-threshold 2 --targets online --snapshot online --timestamp online")
        .done();
    bed.answer("yes");
    bed.home.run("sign repo --key root --yes").exits(4);
    assert!(!bed.told().contains("Before you sign"), "nothing is unusual about it: {}", bed.told());
    bed.home.run("root add-key repo root --key online").done();
    let refused = bed.home.refused("sign repo --yes", 3, "WATERMARK");
    let digest = refused["details"]["signed_sha256"].as_str().unwrap();
    // The program says that a person agreed; whoever sits there is told what to.
    let command = format!("sign repo --key root --yes --supersede {digest}");
    bed.answer("no");
    let Some((code, screen)) = talk(&bed.home, &command, &[("[y/N] ", "y\n")]) else { return };
    let told = bed.told();
    assert!(told.contains("Before you sign with token hsm") && told.contains(digest), "{told}{screen}");
    assert!(!told.contains("Sign with token hsm"), "a no is the end of it: {told}");
    assert_eq!(code, 3, "{screen}");
    bed.answer("yes");
    let (code, screen) = talk(&bed.home, &command, &[("[y/N] ", "y\n")]).unwrap();
    assert!(code == 4 && bed.told().contains("Sign with token hsm"), "{screen}{}", bed.told());
}

/// Whether the pinentry that hangs (it is a `sleep` by then) runs as a child of the agent.
fn is_open(agent: &Agent) -> bool {
    let parent = agent.pid().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.filter(|stat| stat.contains("(sleep)")).any(|stat| {
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        rest.split(' ').nth(1) == Some(&parent)
    })
}

/// Waits for what must come.
#[track_caller]
fn comes(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_caller_that_goes_while_a_person_is_asked_for_the_pin_takes_the_dialogue_along_and_nobody_waits_behind_it()
 {
    let Some(bed) = Bed::new("pin = \"pinentry\"\n") else { return };
    let agent = bed.start();
    bed.answer(&format!("pin {PIN}"));
    bed.repository();
    bed.lose_helper();
    bed.answer("hang");
    let logins = bed.logins();
    let mut command = Command::new(binary("tufctl"));
    bed.home.environment(&mut command);
    let mut waiting = command.args(["sign", "repo", "--yes", "--quiet"]).spawn().unwrap();
    comes("the dialogue", || bed.told().contains("GETPIN") && is_open(&agent));
    // Others are served meanwhile.
    bed.home.run("status --json").done();
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    comes("the end of the dialogue", || !is_open(&agent));
    assert_eq!(bed.logins(), logins, "nothing was presented");
    // The next caller asks anew, and is waited for by nobody's shadow.
    bed.answer(&format!("pin {PIN}"));
    let signed = bed.home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    assert_eq!((bed.logins(), bed.told().matches("GETPIN").count()), (logins + 1, 1), "{}", bed.told());
}

#[test]
fn who_gives_no_pin_for_one_key_of_a_token_is_not_asked_at_once_for_the_next() {
    let Some(bed) = Bed::new("pin = \"pinentry\"\n") else { return };
    let _agent = bed.start();
    bed.answer(&format!("pin {PIN}"));
    for name in ["one", "two", "three"] {
        bed.home.run(&format!("key generate {name} --token hsm --type ecdsa-p256")).done();
    }
    bed.home
        .run("repo init repo --name app --root one,two,three --targets one --snapshot one --timestamp one")
        .done();
    bed.lose_helper();
    for (answer, reason, logins) in
        [("cancel", "PIN_REQUIRED", 0), ("pin wrong-pin-7a1e", "PIN_INCORRECT", 1)]
    {
        bed.answer(answer);
        let before = bed.logins();
        bed.home.refused("sign repo --yes", 5, reason);
        assert_eq!(bed.told().matches("GETPIN").count(), 1, "{answer}: {}", bed.told());
        assert_eq!(bed.logins() - before, logins, "{answer}");
    }
    bed.answer(&format!("pin {PIN}"));
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

/// Begins what has a person asked, waits until the dialogue is open, and locks.
fn lock_at_dialogue(bed: &Bed, agent: &Agent, request: &str, lock: &str) -> Value {
    bed.answer("hang");
    let mut command = Command::new(binary("tufctl"));
    bed.home.environment(&mut command);
    command.args(request.split(' ')).arg("--json");
    let waiting = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    comes("the dialogue", || bed.told().contains("SETDESC") && is_open(agent));
    bed.home.run(lock).done();
    comes("the end of the dialogue", || !is_open(agent));
    // Whoever would be asked now says yes to everything.
    bed.answer(&format!("pin {PIN}"));
    let output = waiting.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "{request}, {lock}: {told}");
    assert_eq!(told["error"]["reason"], "TOKEN_LOCKED", "{request}, {lock}: {told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("locked meanwhile"), "{told}");
    assert_eq!((bed.told(), bed.hsm()["state"].clone()), (String::new(), "locked".into()), "nobody is asked");
    told
}

#[test]
fn a_lock_takes_the_open_dialogue_away_and_whoever_waited_for_it_is_refused() {
    let Some(bed) = Bed::new("pin = \"pinentry\"\n") else { return };
    let agent = bed.start();
    bed.answer(&format!("pin {PIN}"));
    bed.repository();
    let requests = ["sign repo --yes", "key generate k --token hsm --type ecdsa-p256", "token unlock hsm"];
    for (request, lock) in requests.into_iter().zip(["token lock hsm", "lock", "token lock hsm"]) {
        // Locked, and by nobody's word.
        bed.answer(&format!("pin {PIN}"));
        bed.home.run("token unlock hsm").done();
        bed.lose_helper();
        let logins = bed.logins();
        lock_at_dialogue(&bed, &agent, request, lock);
        assert_eq!(bed.logins(), logins, "{request}, {lock}: nothing was presented");
        // The lock holds, for whoever comes later, too.
        bed.home.run("sign repo --yes").exits(5);
        assert_eq!((bed.told(), bed.logins()), (String::new(), logins), "{request}, {lock}");
    }
    bed.home.run("token unlock hsm").done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_lock_takes_the_dialogue_of_one_signature_away_and_that_of_a_yes() {
    let Some(bed) = Bed::new("pin = \"pinentry\"\nconfirm = \"pinentry\"\n") else { return };
    let desk = bed.home.lying_desk("hsm");
    desk.say("always-authenticate made");
    let agent = bed.start();
    bed.answer(&format!("pin {PIN}"));
    bed.repository();
    desk.forget();
    lock_at_dialogue(&bed, &agent, "sign repo --yes", "token lock hsm");
    let asked = || (desk.trace().context_logins(), desk.trace().logins(), desk.trace().signatures());
    assert_eq!(asked(), (0, 0, 0));
    drop(agent);
    bed.home.config(
        &std::fs::read_to_string(bed.home.dir().join("config/tuf-agent/config.toml"))
            .unwrap()
            .replace("confirm = \"pinentry\"\n", ""),
    );
    let agent = bed.start();
    bed.home.run("token unlock hsm").done();
    desk.forget();
    lock_at_dialogue(&bed, &agent, "sign repo --yes", "lock");
    assert_eq!(asked(), (0, 0, 0));
}
