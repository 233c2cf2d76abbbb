//! Killed with -9 at any moment of signing and publishing: `tufctl`, the agent, or both.
//!
//! After each kill: no signature lies anywhere without its record in the journal; a client that remembers the state
//! before sees a whole repository; commands that read say what was cut off; the next `sign` goes on to the end.
//! `TUFAGENT_KILLS` sets how many kills there are in all (500), `TUFAGENT_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tuf::metadata::{Limits, Metadata};
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{Agent, Home, Published, binary, need};

/// What kind of repository it is, and so what each round changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Consistent,
    /// Without consistent snapshots; each round changes a target under its name.
    Plain,
    /// Each round is a root that gives an online role another key.
    Keys,
    /// Nested delegations, and bins.
    Delegations,
}

/// A repository that is changed again and again, with what is known of it.
pub(crate) struct Story {
    pub(crate) home: Home,
    pub(crate) repo: Published,
    kind: Kind,
    agent: Option<Agent>,
    /// Names of our keys by keyid.
    keys: BTreeMap<String, String>,
    /// Role, digest and key of every intent in the journal.
    records: BTreeSet<(String, String, String)>,
    /// Files whose signatures were looked at: what is published never changes, but by a rename.
    looked_at: BTreeSet<(String, u64)>,
    last_entry: u64,
    timestamp: u64,
    python: Option<(Client, Memory)>,
    /// How often python-tuf is still asked in the middle of things.
    samples: u32,
}

const CLIENT: &str = "verify repo --root repo/metadata/1.root.json --state memory";

impl Story {
    pub(crate) fn begin(kind: Kind) -> Self {
        let (home, agent) = Home::unlocked();
        home.small_repository();
        home.keys(&["other", "outer", "inner"]);
        if kind == Kind::Plain {
            let file = home.path("repo/staged/root.json");
            let text = fs::read_to_string(&file).unwrap();
            let plain = text.replace("\"consistent_snapshot\":true", "\"consistent_snapshot\":false");
            let plain = plain.replace("\"consistent_snapshot\": true", "\"consistent_snapshot\": false");
            assert_ne!(plain, text);
            fs::write(file, plain).unwrap();
        }
        if kind == Kind::Delegations {
            home.run("delegation add repo outer --key outer --threshold 1 --paths a/*,a/b/*").done();
            home.run("delegation add repo inner --key inner --threshold 1 --paths a/b/* --parent outer")
                .done();
        }
        home.write("app.txt", "hello\n");
        home.run("target add repo app.txt --role targets").done();
        home.run("sign repo --yes").done();
        home.run(CLIENT).done();
        let listed = home.run("key list --json").done().json();
        let keys = listed["keys"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let keys = keys.map(|key| (text(&key["keyid"]), text(&key["name"]))).collect();
        let repo = home.published("repo");
        let python = need(Client::python()).map(|it| (it, Memory::new(home.dir().join("python"))));
        let (records, looked_at, last_entry) = Default::default();
        let timestamp = repo.version("timestamp");
        let agent = Some(agent);
        let samples = 2;
        Self { home, repo, kind, agent, keys, records, looked_at, last_entry, timestamp, python, samples }
    }

    /// Stages what this round changes.
    pub(crate) fn stage(&self, round: usize) {
        let home = &self.home;
        let file = format!("file-{round}.txt");
        home.write(&file, &file);
        match self.kind {
            Kind::Consistent => drop(home.run(&format!("target add repo {file} --path dir/")).done()),
            Kind::Plain => {
                home.write("app.txt", format!("round {round}\n"));
                home.run(&format!("target add repo app.txt {file}")).done();
                home.run("target add repo app.txt --path a/b/deep.txt").done();
            }
            Kind::Keys => {
                let role = ["timestamp", "snapshot", "targets"][round % 3];
                let (old, new) =
                    if (round / 3).is_multiple_of(2) { ("online", "other") } else { ("other", "online") };
                home.run(&format!("root replace-key repo {role} --old {old} --new {new} --yes")).done();
            }
            Kind::Delegations => {
                home.run(&format!("target add repo {file} --path a/ --role outer")).done();
                home.run(&format!("target add repo {file} --path a/b/ --role inner")).done();
            }
        }
    }

    pub(crate) fn sign(&self) -> Command {
        let mut command = Command::new(binary("tufctl"));
        self.home.environment(&mut command);
        command.args(["sign", "repo", "--yes", "--quiet"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.home.path("repo/staged/.publishing").exists()
    }

    /// Everything that must hold right after something was killed.
    pub(crate) fn judge(&mut self, what: &str) {
        let interrupted = self.is_interrupted();
        if self.agent.is_none() {
            self.agent = Some(self.home.start());
            self.home.unlock_file_store();
        }
        self.signatures_are_recorded(what);
        self.client_sees_a_whole_repository(what);
        if interrupted {
            let shown = self.home.run("repo show repo").done();
            assert!(shown.text().contains("cut off"), "{what}: {shown}");
        }
        if let Some((client, memory)) = self.python.as_ref().filter(|_| interrupted && self.samples > 0) {
            self.samples -= 1;
            client.accepts(&self.repo, memory, &["app.txt"]);
        }
    }

    /// The next command that writes goes on to the end.
    pub(crate) fn go_on(&mut self, what: &str) {
        let signed = self.home.run("sign repo --yes");
        assert_eq!(signed.code, 0, "{what}: {signed}");
        assert_eq!(self.repo.names("staged"), Vec::<String>::new(), "{what}");
        let rest = ["metadata", "targets", "memory"];
        let beside = self.repo.names("").into_iter().filter(|name| name != ".key-names.json");
        assert!(
            beside.clone().all(|name| rest.contains(&name.as_str())),
            "{what}: {:?}",
            self.repo.names("")
        );
        let left = files_below(self.repo.dir()).into_iter().find(|it| it.contains(".tufctl"));
        assert_eq!(left, None, "{what}");
        let timestamp = self.repo.version("timestamp");
        assert!(timestamp > self.timestamp, "{what}: nothing new was published: {signed}");
        self.timestamp = timestamp;
    }

    /// At the end stock clients take all of it, and the journal holds.
    pub(crate) fn end(&mut self) {
        self.signatures_are_recorded("at the end");
        self.home.run(CLIENT).done();
        if let Some((client, memory)) = &self.python {
            client.accepts(&self.repo, memory, &["app.txt"]);
        }
        self.home.run("audit verify").done();
    }

    fn client_sees_a_whole_repository(&self, what: &str) {
        let seen = self.home.run(CLIENT);
        assert_eq!(seen.code, 0, "{what}: {seen}");
    }

    /// Whoever has a signature finds its intent in the journal.
    fn signatures_are_recorded(&mut self, what: &str) {
        loop {
            let list = self.home.run(&format!("audit list --after {} --limit 1000 --json", self.last_entry));
            let list = list.done().json()["entries"].as_array().unwrap().clone();
            for entry in &list {
                self.last_entry = entry["seq"].as_u64().unwrap();
                if entry["kind"] == "sign.intent" {
                    let text = |name: &str| entry["body"][name].as_str().unwrap().to_owned();
                    for key in entry["body"]["keys"].as_array().unwrap() {
                        let name = key["name"].as_str().unwrap().to_owned();
                        self.records.insert((text("role"), text("sha256"), name));
                    }
                }
            }
            if list.len() < 1000 {
                break;
            }
        }
        for folder in ["staged", "metadata"] {
            for file in files_below(&self.repo.dir().join(folder)) {
                let inode = fs::metadata(&file).unwrap().ino();
                if self.looked_at.insert((file.clone(), inode)) {
                    self.is_recorded(Path::new(&file), what);
                }
            }
        }
    }

    fn is_recorded(&self, file: &Path, what: &str) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let Some(stem) = name.strip_suffix(".json").filter(|it| *it != "repository") else { return };
        let role = stem.rsplit('.').next().unwrap();
        // Clients have it already.
        let Ok(metadata) = Metadata::parse(fs::read(file).unwrap(), &Limits::agent()) else {
            panic!("{what}: {} is cut short", file.display())
        };
        for entry in metadata.signatures().iter().filter(|entry| !entry.sig.is_empty()) {
            let record =
                (role.to_owned(), metadata.digest().to_string(), self.keys[entry.keyid.as_str()].clone());
            assert!(self.records.contains(&record), "{what}: {name} is signed without a record: {record:?}");
        }
    }
}

/// Paths of all files below a folder.
fn files_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| {
        if path.is_dir() { files_below(&path) } else { vec![path.to_str().unwrap().to_owned()] }
    };
    paths.flat_map(below).collect()
}

/// xorshift64*: a run is repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit.max(1)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// How long `sign` takes, and its last part that publishes; learnt from runs that were not killed.
struct Pace {
    whole: Duration,
    publishing: Duration,
}

/// Kills at random moments: a quarter of all that were asked for.
fn kill_at_random(kind: Kind) {
    let rounds = number("TUFAGENT_KILLS").unwrap_or(500).div_ceil(4);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("TUFAGENT_SEED").unwrap_or_else(|| u64::from(clock.subsec_nanos()) | 1);
    println!("{kind:?}: TUFAGENT_SEED={seed} repeats the moments of these {rounds} kills");
    let mut random = Random(seed.max(1));
    let mut story = Story::begin(kind);
    let mut pace = Pace { whole: Duration::from_millis(60), publishing: Duration::from_millis(20) };
    let mut figures = BTreeMap::<&str, u32>::new();
    for round in 0..usize::try_from(rounds).unwrap() {
        story.stage(round);
        let victim = match random.below(10) {
            0 => "the agent",
            1 => "both",
            _ => "tufctl",
        };
        let what = format!("{kind:?}, seed {seed}, round {round}, {victim} killed");
        let ended = kill_once(&mut story, victim, &mut random, &mut pace);
        *figures.entry(victim).or_default() += 1;
        if ended {
            *figures.entry("too late: it had ended").or_default() += 1;
        }
        if story.is_interrupted() {
            *figures.entry("in the middle of publishing").or_default() += 1;
        }
        story.judge(&what);
        if fs::read_dir(story.repo.dir().join("staged")).is_ok_and(|mut it| it.next().is_some()) {
            story.go_on(&what);
        } else {
            story.timestamp = story.repo.version("timestamp");
        }
    }
    story.end();
    println!("{kind:?}: {figures:?}");
    let hit = figures.get("in the middle of publishing").copied().unwrap_or(0);
    assert!(rounds < 100 || hit > 0, "no kill met a publication: {figures:?}");
}

/// One `sign` that is killed; whether it had ended by itself before. Every second kill waits for the publication.
fn kill_once(story: &mut Story, victim: &str, random: &mut Random, pace: &mut Pace) -> bool {
    let begun = Instant::now();
    let mut tufctl = story.sign().spawn().unwrap();
    let aimed = random.below(2) == 0;
    let limit = if aimed { pace.publishing } else { pace.whole };
    let pause = Duration::from_micros(random.below(u64::try_from(limit.as_micros()).unwrap()));
    while aimed && !story.is_interrupted() && tufctl.try_wait().unwrap().is_none() {
        sleep(Duration::from_micros(50));
    }
    let met = Instant::now();
    while met.elapsed() < pause && tufctl.try_wait().unwrap().is_none() {
        sleep(Duration::from_micros(100).min(pause));
    }
    let ended = tufctl.try_wait().unwrap().is_some();
    if victim != "tufctl"
        && let Some(agent) = story.agent.take()
    {
        agent.kill();
    }
    if victim != "the agent" {
        tufctl.kill().unwrap();
    }
    tufctl.wait().unwrap();
    let (limit, took) =
        if aimed { (&mut pace.publishing, met.elapsed()) } else { (&mut pace.whole, begun.elapsed()) };
    if ended {
        *limit = (*limit * 3 + took) / 4;
    } else if pause >= *limit * 9 / 10 {
        *limit = *limit * 11 / 10;
    }
    ended
}

#[test]
fn kills_at_random_leave_a_repository_with_consistent_snapshots_whole() {
    kill_at_random(Kind::Consistent);
}

#[test]
fn kills_at_random_leave_a_repository_without_consistent_snapshots_whole() {
    kill_at_random(Kind::Plain);
}

#[test]
fn kills_at_random_leave_a_repository_whose_online_keys_change_whole() {
    kill_at_random(Kind::Keys);
}

#[test]
fn kills_at_random_leave_a_repository_with_delegations_whole() {
    kill_at_random(Kind::Delegations);
}
