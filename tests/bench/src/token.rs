//! SoftHSM, P-256: through agent and helper, and the module called without them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde_json::json;
use softhsm::{Skipped, SoftHsm, TokenFolder};
use tufagent_tests::{Agent, Home, PIN};

use crate::bed::{Bed, Flush};
use crate::client::Confirm;
use crate::report::Report;
use crate::samples::Samples;
use crate::small::{Fleet, IN_FLIGHT, Lane, Pace};

const IN_FLIGHT_WHAT: &str = "64 in flight, SoftHSM P-256, durable, confirmed with the files";
const IN_FLIGHT_GOAL: &str = ">= 60 % of the module's own rate";
const HUNG_WHAT: &str = "SoftHSM P-256, durable, while the helper of another token hangs";
const HUNG_GOAL: &str = "p99 changes by less than 10 %";
const WHAT: &str = "SoftHSM P-256 through agent and helper, no flush";
const GOAL: &str = "token time + 150 µs";

/// Rounds with and without a token that hangs.
const HUNG_ROUNDS: usize = 20;

/// A token for the agent and one for this process, so that neither sees the other's sessions.
fn tokens() -> Result<(Home, TokenFolder), Skipped> {
    let home = Home::new();
    let folder = SoftHsm::find_or_fetch()?.folder(&home.dir().join("hsm"))?;
    folder.init_token("agents", "so-12345678", PIN)?;
    folder.init_token("raw", "so-12345678", PIN)?;
    Ok((home, folder))
}

/// Takes turns with the module.
pub(crate) fn one_at_a_time(bed: &Bed, report: &mut Report) {
    let Some((home, folder)) = tokens_for(report, WHAT, GOAL) else { return };
    let agent = published(bed, &home, &folder, Flush::Off, "");
    let mut lane = Lane::new((home, agent), "online");
    let mut raw = Raw::start(&folder);
    let (mut through, mut alone) = (Samples::default(), Samples::default());
    for round in 0..40 {
        let (mut warm, mut warm_raw) = (Samples::default(), Samples::default());
        let (ours, raws) = if round < 10 { (&mut warm, &mut warm_raw) } else { (&mut through, &mut alone) };
        lane.round(ours, Confirm::AtOnce);
        raw.round(raws);
    }
    let (p50, token) = (through.median(), alone.median());
    report.fact(
        "SoftHSM C_Sign, P-256, raw",
        format!("{:.0} signatures/s ({token:.0} µs)", 1e6 / token),
        json!({"us": token}),
    );
    report.goal(
        WHAT,
        GOAL,
        format!("p50 {p50:.0} µs = token {token:.0} µs + {:.0} µs", p50 - token),
        p50 <= token + 150.0,
        json!({"p50_us": p50, "token_us": token, "over_us": p50 - token}),
    );
}

/// The same; without a module the row says what would bring one.
fn tokens_for(report: &mut Report, what: &str, goal: &str) -> Option<(Home, TokenFolder)> {
    tokens().map_err(|skipped| report.skipped(what, goal, &skipped.to_string())).ok()
}

/// An agent with the token `hsm`, which unlocks itself and signs the repository `app` with its key `online`; `more` stands
/// before it in the configuration.
fn published(bed: &Bed, home: &Home, folder: &TokenFolder, flush: Flush, more: &str) -> Agent {
    let pin = home.secret("pin", PIN).display().to_string();
    let table = Home::softhsm_table("hsm", "agents", folder);
    home.config(&format!("{more}{table}pin = {{ file = {pin:?} }}\n"));
    let agent = bed.start(home, flush);
    home.unlock_file_store();
    home.run("key generate root --token file --type ed25519").done();
    home.run("key generate online --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    home.run("sign repo --yes").done();
    agent
}

/// 64 roles at once, in turns with the module.
pub(crate) fn in_flight(bed: &Bed, report: &mut Report) {
    let Some((home, folder)) = tokens_for(report, IN_FLIGHT_WHAT, IN_FLIGHT_GOAL) else { return };
    let agent = published(bed, &home, &folder, Flush::Shipped, "");
    home.run(&format!(
        "delegation add repo bin --succinct-bins {IN_FLIGHT} --key online --threshold 1 --yes"
    ))
    .done();
    home.run("sign repo --yes").done();
    let mut fleet = Fleet::of((home, agent));
    let mut raw = Raw::start(&folder);
    let (mut pace, mut alone) = (Pace::default(), Samples::default());
    for round in 0..16 {
        let (one, mut warm) = (fleet.round(Confirm::AtOnce), Samples::default());
        (0..8).for_each(|_| raw.round(if round == 0 { &mut warm } else { &mut alone }));
        if round > 0 {
            pace.add(one);
        }
    }
    let own = 1e6 / alone.median();
    let part = pace.rate() / own;
    report.goal(
        IN_FLIGHT_WHAT,
        IN_FLIGHT_GOAL,
        format!("{:.0}/s, {:.0} % of {own:.0}/s", pace.rate(), part * 100.0),
        part >= 0.6,
        json!({"rate": pace.rate(), "module_rate": own, "part": part}),
    );
}

/// Rounds in which the other token's helper is stopped, in the middle of being asked, in turns with rounds in which it
/// is well.
pub(crate) fn beside_a_hung_one(bed: &Bed, report: &mut Report) {
    let Some((home, folder)) = tokens_for(report, HUNG_WHAT, HUNG_GOAL) else { return };
    let pin = home.secret("pin", PIN).display().to_string();
    let other = Home::softhsm_table("other", "raw", &folder) + &format!("pin = {{ file = {pin:?} }}\n");
    let agent = published(bed, &home, &folder, Flush::Shipped, &other);
    home.run("key generate stuck --token other --type ecdsa-p256").done();
    let mut lane = Lane::new((home.clone(), agent), "online");
    let (mut well, mut hung) = (Samples::default(), Samples::default());
    for round in 0..HUNG_ROUNDS {
        let mut warm = Samples::default();
        for _ in 0..10 {
            lane.round(if round == 0 { &mut warm } else { &mut well }, Confirm::AtOnce);
        }
        let stopped = Stopped::helper_of(&home, "other");
        let mut asking = Command::new(bed.tufctl());
        home.environment(&mut asking);
        asking.args(["key", "list", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut asking = asking.spawn().expect("tufctl");
        for _ in 0..10 {
            lane.round(if round == 0 { &mut warm } else { &mut hung }, Confirm::AtOnce);
        }
        drop(stopped);
        let _ = asking.wait();
    }
    let (before, after) = (well.at(0.99), hung.at(0.99));
    let change = after / before - 1.0;
    report.goal(
        HUNG_WHAT,
        HUNG_GOAL,
        format!(
            "p99 {after:.0} µs, otherwise {before:.0} µs: {:+.0} %; p50 {:.0} µs, otherwise {:.0} µs; {} signatures each",
            change * 100.0,
            hung.median(),
            well.median(),
            hung.number()
        ),
        change < 0.1,
        json!({"p99_us": after, "p99_well_us": before, "change": change, "p50_us": hung.median(), "p50_well_us": well.median()}),
    );
}

/// A helper that does not answer, until this is dropped.
struct Stopped(String);

impl Stopped {
    fn helper_of(home: &Home, token: &str) -> Self {
        let list = home.run("token list --json").done().json();
        let tokens = list["tokens"].as_array().expect("tokens");
        let pid = &tokens.iter().find(|it| it["name"] == token).expect("the token")["helper_pid"];
        let stopped = Self(pid.to_string());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0]).status().expect("kill").success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// A process of ours that has loaded the module, whose configuration is named by the environment.
struct Raw {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Raw {
    fn start(folder: &TokenFolder) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("raw-token").arg(folder.module()).envs(folder.env());
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.expect("it starts");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, answers }
    }

    fn round(&mut self, samples: &mut Samples) {
        self.process.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let times = line.split_whitespace().map(|word| word.parse().expect("nanoseconds"));
        times.for_each(|time| samples.push(Duration::from_nanos(time)));
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The process: for each line 16 signatures; answers with the time of each, nanoseconds.
pub(crate) fn main(arguments: &[String]) {
    let [module] = arguments else { panic!("raw-token MODULE") };
    let token = Loaded::new(Path::new(module));
    for line in std::io::stdin().lines() {
        line.expect("a line");
        let time = |_| {
            let began = Instant::now();
            token.sign();
            began.elapsed().as_nanos().to_string()
        };
        println!("{}", (0..16).map(time).collect::<Vec<_>>().join(" "));
    }
}

/// The module, loaded by this process.
struct Loaded {
    session: Session,
    key: ObjectHandle,
}

impl Loaded {
    fn new(module: &Path) -> Self {
        let module = Pkcs11::new(module).expect("the module loads");
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("it starts");
        let slots = module.get_slots_with_token().expect("slots");
        let label = |slot| module.get_token_info(slot).expect("a token").label().trim().to_owned();
        let slot = slots.into_iter().find(|slot| label(*slot) == "raw").expect("the token");
        let session = module.open_rw_session(slot).expect("a session");
        session.login(UserType::User, Some(&AuthPin::new(PIN.to_owned().into()))).expect("the PIN is right");
        // The object identifier of P-256, DER.
        let curve = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let public = [Attribute::EcParams(curve), Attribute::Token(true)];
        let private = [Attribute::Token(true), Attribute::Private(true), Attribute::Sign(true)];
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).expect("a key pair");
        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
        let key = session.find_objects(&wanted).expect("objects").pop().expect("the private key");
        Self { session, key }
    }

    fn sign(&self) {
        let made = self.session.sign(&Mechanism::Ecdsa, self.key, &[7; 32]).expect("a signature");
        assert_eq!(made.len(), 64);
    }
}
