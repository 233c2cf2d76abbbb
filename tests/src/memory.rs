//! What stands in the memory of another process: all that it has written to is read, page by page, while it is stopped.
//!
//! The standard library alone: the agent's own tests take this file in, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is looked for. It lies here masked, so that this process is not full of it.
pub struct Patterns {
    masked: Vec<(String, Vec<u8>)>,
    /// By their first two bytes, so that one is compared only where it could begin.
    starts: Vec<Vec<usize>>,
    longest: usize,
}

impl Patterns {
    /// None yet.
    pub fn new() -> Self {
        Self { masked: Vec::new(), starts: vec![Vec::new(); 1 << 16], longest: 2 }
    }

    /// One more.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 8, "{name} is so short that it may be found by chance");
        self.starts[start(bytes[0], bytes[1])].push(self.masked.len());
        self.longest = self.longest.max(bytes.len());
        self.masked.push((name.to_owned(), bytes.iter().map(|byte| byte ^ MASK).collect()));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.masked.len()
    }

    /// The names of those that stand in the memory of a process; an error where nobody may look into it.
    pub fn found(&self, pid: u32) -> Result<BTreeSet<String>, String> {
        self.places(pid).map(|places| places.into_keys().collect())
    }

    /// The same, each with the beginnings of the regions (of `/proc/PID/maps`) in which it stands.
    pub fn places(&self, pid: u32) -> Result<Places, String> {
        let path = format!("/proc/{pid}/mem");
        let memory = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        let _stopped = Stopped::now(pid);
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut found = Places::new();
        let mut named = BTreeSet::new();
        for region in maps.lines().map(Region::parse).filter(Region::is_looked_at) {
            named.insert(region.name);
            self.look_at(&memory, &region, &mut found);
        }
        // Where the program leaves things by accident was looked at.
        assert!(named.contains("[heap]") && named.contains("[stack]"), "{maps}");
        Ok(found)
    }

    fn look_at(&self, memory: &File, region: &Region<'_>, found: &mut Places) {
        let mut buffer = vec![0; self.longest + CHUNK];
        // The end of what came before lies in front of each piece.
        let mut before = 0;
        let mut from = region.from;
        while from < region.to {
            let wanted = usize::try_from(region.to - from).unwrap().min(CHUNK);
            let piece = &mut buffer[before..before + wanted];
            if let Err(error) = memory.read_exact_at(piece, from) {
                // A file may be shorter than its mapping; what the program has made itself is there.
                assert!(!region.is_anonymous, "{}: {error}", region.line);
                return;
            }
            let here = |name: &str| {
                found.entry(name.to_owned()).or_default().insert(region.from);
            };
            self.search(&buffer[..before + wanted], before, here);
            let keep = (before + wanted).min(self.longest - 1);
            buffer.copy_within(before + wanted - keep..before + wanted, 0);
            before = keep;
            from += u64::try_from(wanted).unwrap();
        }
    }

    /// Page by page, since most of them were never written to.
    fn search(&self, bytes: &[u8], mut at: usize, mut found: impl FnMut(&str)) {
        while at < bytes.len() {
            let end = bytes.len().min(at + PAGE);
            if bytes[at..end] != ZEROS[..end - at] {
                let page = &bytes[at.saturating_sub(self.longest - 1)..end];
                for (place, pair) in page.windows(2).enumerate() {
                    for index in &self.starts[start(pair[0], pair[1])] {
                        let (name, masked) = &self.masked[*index];
                        let here = page[place..].iter().zip(masked);
                        if page.len() - place >= masked.len() && here.into_iter().all(|(a, b)| a ^ MASK == *b)
                        {
                            found(name);
                        }
                    }
                }
            }
            at = end;
        }
    }

    /// Fails when one of them stays there. A call may have been answered before its last pages were wiped.
    #[track_caller]
    pub fn assert_nowhere(&self, pid: u32, when: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let found = self.found(pid).unwrap();
            if found.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{when}: {found:?}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self::new()
    }
}

/// Where things were found.
pub type Places = BTreeMap<String, BTreeSet<u64>>;

/// The flags that the kernel keeps for the region of a process that begins there (`VmFlags` of `/proc/PID/smaps`).
pub fn flags(pid: u32, region: u64) -> Vec<String> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let from = smaps.find(&format!("{region:x}-")).unwrap();
    let flags = smaps[from..].lines().find_map(|line| line.strip_prefix("VmFlags: ")).unwrap();
    flags.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Whether this test may look into the memory of others. Root may; anybody else may in a user namespace of their own, where
/// the test is then run a second time, and this run has nothing left to do. `test` is its full name.
#[track_caller]
pub fn may_look(test: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0) {
        return true;
    }
    let unshared = |program: &str, arguments: &[&str]| {
        Command::new("unshare").args(["--user", "--map-root-user", program]).args(arguments).status()
    };
    if unshared("true", &[]).is_ok_and(|status| status.success()) {
        let program = std::env::current_exe().unwrap();
        let again = unshared(program.to_str().unwrap(), &[test, "--exact", "--nocapture"]).unwrap();
        assert!(again.success(), "it failed in a user namespace");
        return false;
    }
    let missing = "nobody may look into the memory of another process here; run the tests as root, or allow user namespaces";
    assert!(std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(), "required, and missing: {missing}");
    println!("SKIPPED: {missing}");
    false
}

/// A process that does nothing until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn now(pid: u32) -> Self {
        send(pid, "STOP");
        let end = Instant::now() + LIMIT;
        let stopped = Self(pid);
        while !stopped.threads_stand() {
            assert!(Instant::now() < end, "process {pid} does not stop");
            sleep(Duration::from_millis(5));
        }
        stopped
    }

    fn threads_stand(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).unwrap();
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The name in parentheses may hold anything; the state follows it.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't']))
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        send(self.0, "CONT");
    }
}

fn send(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
}

/// One line of `/proc/PID/maps`.
struct Region<'a> {
    line: &'a str,
    name: &'a str,
    from: u64,
    to: u64,
    is_anonymous: bool,
}

impl<'a> Region<'a> {
    fn parse(line: &'a str) -> Self {
        let mut parts = line.split_ascii_whitespace();
        let (from, to) = parts.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let inode = parts.nth(3).unwrap();
        let name = parts.next().unwrap_or_default();
        Self { line, name, from, to, is_anonymous: inode == "0" && !name.starts_with("[v") }
    }

    /// All that may be read, but for what the kernel puts there and the pages of programs and libraries as they lie in their files.
    fn is_looked_at(&self) -> bool {
        let permissions = self.line.split_ascii_whitespace().nth(1).unwrap();
        permissions.starts_with('r')
            && !self.name.starts_with("[v")
            && (self.is_anonymous || permissions.contains('w'))
    }
}

fn start(one: u8, two: u8) -> usize {
    usize::from(u16::from_be_bytes([one, two]))
}

const MASK: u8 = 0x5a;
const PAGE: usize = 4096;
const ZEROS: [u8; PAGE] = [0; PAGE];
const CHUNK: usize = 256 * PAGE;
const LIMIT: Duration = Duration::from_secs(30);
