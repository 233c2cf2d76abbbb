//! Secrets are found nowhere in the memory of the agent, nor of the helpers that host tokens, once they were used: it is searched.

use std::collections::BTreeSet;
use std::process::Child;

use softhsm::{Skipped, SoftHsm};
use tufagent_tests::cards::{self, CARD_PIN, CardRoom};
use tufagent_tests::memory::{self, Patterns};
use tufagent_tests::{Agent, Home, PASSPHRASE, PIN, need, oracle, signal};

use crate::collections::begin;
use crate::custodians::{TOKEN, collect, identities, python, spawn};
use crate::secrets::{PEM, SEED};
use crate::yubikeys::{SERIAL, private};

/// A split key whose shares leave in all three ways: ann by an identity, ben under a passphrase, cy on a sheet.
struct Split<'a> {
    home: &'a Home,
    agent: &'a Agent,
    kind: &'a str,
    patterns: Patterns,
}

const BY_HAND: &str =
    "--share set/ann.share --identity ann.key --share set/ben.share --passphrase-file ben=ben.pass";

impl Split<'_> {
    /// All that is known of the set in this folder is looked for from now on.
    fn look_for(&mut self, folder: &str) {
        let sheet = python(self.home, &["sheet", &format!("{folder}/cy.html")]).unwrap();
        let cy = format!("{folder}-cy.txt");
        self.home.secret(&cy, sheet["words"].as_str().unwrap());
        let [ann, ben] = ["ann", "ben"].map(|name| format!("{folder}/{name}.share"));
        let arguments = ["traces", self.kind, &ann, "ann.key", &ben, "ben.pass", &cy, "-"];
        let traces = python(self.home, &arguments).unwrap();
        let traces = traces.as_object().unwrap();
        assert!(traces.len() > 200, "{}", traces.len());
        for (name, bytes) in traces {
            self.patterns.add(name, &hex::decode(bytes.as_str().unwrap()).unwrap());
        }
    }

    #[track_caller]
    fn nothing(&self, when: &str) {
        self.patterns.assert_nowhere(self.agent.pid(), when);
    }

    /// Everybody proves theirs, and somebody tries with what is none.
    fn prove(&self, folder: &str) {
        let confirm = |file: &str| format!("share confirm {file} --manifest {folder}/set.json");
        self.home.run(&format!("{} --identity ann.key", confirm(&format!("{folder}/ann.share")))).done();
        self.home
            .run(&format!("{} --passphrase-file ben.pass", confirm(&format!("{folder}/ben.share"))))
            .done();
        self.home.run(&confirm(&format!("{folder}-cy.txt"))).done();
    }

    /// A collection that has ann's share and waits for another.
    fn waiting(&self) -> Child {
        let child = spawn(self.home, &format!("{} --wait", collect(&["ann"])));
        // This is the control, too: what is there is found. And once it was taken it is this share's value alone.
        let is_held = |name: &String| name.starts_with("the value of set/ann.share");
        let mut found = BTreeSet::new();
        self.agent.wait_until(|| {
            found = self.patterns.found(self.agent.pid()).unwrap();
            !found.is_empty() && found.iter().all(is_held)
        });
        // Who has brought it has let go of it, of its words and of what opened them, and leaves no core when it dies.
        self.patterns.assert_nowhere(child.id(), "tufctl, which has given a share");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert!(core.split_ascii_whitespace().take(2).eq(["0", "0"]), "{core}");
        child
    }

    fn ended(&self) -> usize {
        self.home.journalled("share.collect-ended").len()
    }
}

fn life_of(kind: &str) {
    let home = Home::new();
    home.config(TOKEN);
    let agent = home.start();
    home.unlock_file_store();
    home.secret("ben.pass", "canary: a passphrase of ben's");
    let Some(ann) = identities(&home, &["ann"]) else { return };
    let people = format!("--threshold 2 {ann} --custodian ben=passphrase-file:ben.pass --custodian cy");
    let mut split = Split { home: &home, agent: &agent, kind, patterns: Patterns::new() };
    home.run(&format!("key generate root-s --token shares --type {kind} {people} --out set")).done();
    split.look_for("set");
    split.nothing("after the key was made and its shares were handed out");
    split.prove("set");
    split.nothing("after the proofs");
    begin(&home);

    // What was given is gone with the collection, whatever ends it.
    let mut opener = split.waiting();
    held_in_locked_pages(&split);
    home.run("token lock shares").done();
    opener.wait().unwrap();
    split.nothing("after a lock");
    home.run("token unlock shares").done();
    for name in ["KILL", "INT"] {
        let before = split.ended();
        let mut opener = split.waiting();
        signal(opener.id(), name);
        opener.wait().unwrap();
        agent.wait_until(|| split.ended() > before);
        split.nothing(&format!("after SIG{name} to who opened it"));
    }
    home.config(&format!("{TOKEN}collect_for = \"2s\"\n"));
    agent.signal("HUP");
    agent.wait_until(|| home.journalled("agent.reload").len() == 1);
    home.refused(&format!("{} --wait", collect(&["ann"])), 4, "SHARES_MISSING");
    split.nothing("after the deadline");
    home.config(TOKEN);
    agent.signal("HUP");
    agent.wait_until(|| home.journalled("agent.reload").len() == 2);

    let with = format!("--manifest set/set.json {BY_HAND} --yes");
    home.run(&format!("share collect repo --role root {with}")).done();
    split.nothing("after the signature");
    home.run(&format!("share drill {with}")).done();
    split.nothing("after a drill");
    home.run(&format!("share resplit --phase prove {with} {people} --out new")).done();
    split.look_for("new");
    split.nothing("after another set was made");
    split.prove("new");
    home.run("share resplit --phase commit --manifest new/set.json --yes").done();
    split.nothing("at the end");
}

/// The share that is held lies in pages that are kept out of swap, of core dumps and of forked children.
fn held_in_locked_pages(split: &Split<'_>) {
    let status = split.home.run("status --json").done().json();
    let locked = if status["alarms"].to_string().contains("not locked in memory") {
        Err(Skipped::new("this machine lets the agent lock too little memory", "raise ulimit -l"))
    } else {
        Ok(())
    };
    let locked = need(locked).is_some();
    let pid = split.agent.pid();
    let places = split.patterns.places(pid).unwrap();
    for region in &places["the value of set/ann.share"] {
        let flags = memory::flags(pid, *region);
        for flag in ["dd", "wf", "lo"].into_iter().filter(|flag| *flag != "lo" || locked) {
            assert!(flags.iter().any(|one| one == flag), "{flag} is not among {flags:?}");
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kept = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    assert!(!locked || !kept.trim().starts_with("0 "), "{kept}");
}

#[test]
fn a_split_ed25519_key_its_shares_and_what_opened_them_are_found_nowhere_after_use() {
    let name = "memory::a_split_ed25519_key_its_shares_and_what_opened_them_are_found_nowhere_after_use";
    if need(oracle::python()).is_some() && memory::may_look(name) {
        life_of("ed25519");
    }
}

#[test]
fn a_split_p256_key_its_shares_and_what_opened_them_are_found_nowhere_after_use() {
    let name = "memory::a_split_p256_key_its_shares_and_what_opened_them_are_found_nowhere_after_use";
    if need(oracle::python()).is_some() && memory::may_look(name) {
        life_of("ecdsa-p256");
    }
}

#[test]
fn the_pin_of_a_yubikey_is_found_nowhere_after_a_lock() {
    let name = "memory::the_pin_of_a_yubikey_is_found_nowhere_after_a_lock";
    let card = cards::card(SERIAL, cards::FIRMWARE_5_7);
    let Some(room) = need(CardRoom::with(&[&card])).filter(|_| memory::may_look(name)) else { return };
    let home = Home::new();
    home.config(&room.table("alice", SERIAL));
    let agent = home.start();
    home.secret("pin", CARD_PIN);
    private(&home, "management", "default");
    let mut patterns = Patterns::new();
    patterns.add("the PIN", CARD_PIN.as_bytes());
    patterns.add("the PIN in hex", hex::encode(CARD_PIN).as_bytes());
    let helper = |home: &Home| u32::try_from(home.token("alice")["helper_pid"].as_u64().unwrap()).unwrap();
    home.run("token unlock alice --pin-file pin").done();
    home.run("key generate root-a --token alice --type ecdsa-p256 --management-key-file management").done();
    home.unlock_file_store();
    home.keys(&["online"]);
    home.run("repo init repo --name app --root root-a --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    // The control: a PIN that was accepted is kept in locked pages of the helper, and there alone.
    let pid = helper(&home);
    let places = patterns.places(pid).unwrap();
    assert_eq!(places.keys().collect::<Vec<_>>(), ["the PIN"]);
    for region in &places["the PIN"] {
        let flags = memory::flags(pid, *region);
        assert!(flags.contains(&"dd".to_owned()) && flags.contains(&"wf".to_owned()), "{flags:?}");
    }
    patterns.assert_nowhere(agent.pid(), "the agent of a YubiKey that is unlocked");
    home.run("token lock alice").done();
    patterns.assert_nowhere(helper(&home), "the helper after a lock");
    patterns.assert_nowhere(agent.pid(), "the agent after a lock");
}

/// SHA-512 of the seed (RFC 8032, section 5.1.5): the scalar before it is clamped, and the prefix.
const EXPANDED: &str = "357c83864f2833cb427a2ef1c00a013cfdff2768d980c0a3a520f006904de90f\
                        9b4f0afe280b746a778684e75442502057b7473a03f08f96f5a38e9287e01f8f";

#[test]
fn pins_passphrases_and_the_seeds_of_the_file_store_are_found_nowhere_after_a_lock() {
    let name = "memory::pins_passphrases_and_the_seeds_of_the_file_store_are_found_nowhere_after_a_lock";
    let Some(softhsm) = need(SoftHsm::find_or_fetch()).filter(|_| memory::may_look(name)) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&Home::softhsm_table("hsm", "build", &folder));
    let agent = home.start();
    for (file, secret) in [
        ("pin", PIN),
        ("wrong-pin", "canary-wrong-pin"),
        ("wrong", "canary of a wrong passphrase"),
        ("key.pem", PEM),
    ] {
        home.secret(file, secret);
    }
    let expanded = hex::decode(EXPANDED).unwrap();
    let mut patterns = Patterns::new();
    for (name, bytes) in [
        ("the seed", SEED.as_slice()),
        ("the scalar", &expanded[1..31]),
        ("the prefix", &expanded[32..]),
        ("the passphrase", PASSPHRASE.as_bytes()),
        ("the wrong passphrase", b"canary of a wrong passphrase"),
        ("the PIN", PIN.as_bytes()),
        ("the wrong PIN", b"canary-wrong-pin"),
    ] {
        patterns.add(name, bytes);
        patterns.add(&format!("{name} backwards"), &bytes.iter().rev().copied().collect::<Vec<_>>());
        patterns.add(&format!("{name} in hex"), hex::encode(bytes).as_bytes());
    }
    patterns.add("the seed in the base64 of its file", b"J1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g");
    home.unlock_file_store();
    home.run("token lock file").done();
    home.run("token unlock file --pin-file wrong").exits(5);
    home.run("token unlock file --pin-file passphrase").done();
    home.run("key import known key.pem --token file").done();
    home.run("token unlock hsm --pin-file wrong-pin").exits(5);
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate hard --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root known --targets hard --snapshot hard --timestamp known")
        .done();
    home.run("sign repo --yes").done();
    let helper =
        |home: &Home| home.token("hsm")["helper_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let found = |pid: u32| patterns.found(pid).unwrap();
    // The control: a key that is unlocked is there to be found, and so is what a helper was told at its start.
    let before = helper(&home).unwrap();
    let unlocked: BTreeSet<String> = [agent.pid(), before].into_iter().flat_map(found).collect();
    assert!(unlocked.contains("the seed"), "{unlocked:?}");
    let mut control = Patterns::new();
    control.add("its argument", b"host-token");
    assert_eq!(control.found(before).unwrap().len(), 1);
    // What has proven itself is not kept, nor is what was wrong.
    let kept: Vec<_> = unlocked.iter().filter(|name| name.contains("PIN") || name.contains("pass")).collect();
    assert!(kept.is_empty(), "{kept:?}");
    home.run("lock").done();
    patterns.assert_nowhere(agent.pid(), "the agent after a lock");
    if let Some(pid) = helper(&home) {
        patterns.assert_nowhere(pid, "the helper after a lock");
    }
}
