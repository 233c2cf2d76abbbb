//! The phases of split keys in any order, with ends of the agent between them: whatever was done, the sets are worth what
//! the order of what was done says, and the key is never lost. `TUFAGENT_SEED` tries other orders.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::shares::{Made, NAMES, agent, new_key};
use support::whole::{OTHERS, backup, import_set, key_file, restore, split_whole, whole};
use support::{Client, Running, reason};

/// What somebody does.
#[derive(Debug, Clone)]
enum Phase {
    /// A custodian of the newest set proves their share.
    Prove(usize),
    /// Somebody shows a share of an older set, be it alive or dead.
    ProveOlder(usize, usize),
    /// Another set is made, of one of two shapes.
    Resplit(bool),
    /// The newest set shall take over.
    Commit,
    /// The newest set is given up.
    Abort,
    /// Shares of the newest set and of the one before are brought together.
    Mix,
    /// The set that is alive is rehearsed.
    Drill,
    /// A backup is made, or the last one restored.
    Copy,
    Restore,
    /// The manifest of any set that ever was is imported.
    Import(usize),
    /// kill -9.
    Kill,
}

fn phases() -> impl Strategy<Value = Vec<Phase>> {
    let one = prop_oneof![
        10 => (0..4_usize).prop_map(Phase::Prove),
        2 => (0..4_usize, 0..4_usize).prop_map(|(set, one)| Phase::ProveOlder(set, one)),
        4 => any::<bool>().prop_map(Phase::Resplit),
        4 => Just(Phase::Commit),
        1 => Just(Phase::Abort),
        1 => Just(Phase::Mix),
        1 => Just(Phase::Drill),
        1 => Just(Phase::Copy),
        1 => Just(Phase::Restore),
        1 => (0..4_usize).prop_map(Phase::Import),
        2 => Just(Phase::Kill),
    ];
    proptest::collection::vec(one, 12..40)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Proving,
    Alive,
    Dead,
    /// It was given up, and is not known any more.
    Gone,
}

/// What must be true, said without the agent.
struct Story {
    agent: Running,
    client: Client,
    sets: Vec<(Made, Worth, BTreeSet<usize>)>,
    /// Whether the file store has the key.
    whole: bool,
    copy: Option<Vec<u8>>,
    done: Vec<String>,
}

impl Story {
    async fn begin(of_file_store: bool) -> Self {
        let (agent, client, made) = if of_file_store {
            let (agent, client, _, _) = whole().await;
            let made = split_whole(&client, false).await;
            (agent, client, made)
        } else {
            let (agent, client) = agent().await;
            let made = client.split(new_key("root-s", "ed25519"), 2, &NAMES).await.unwrap();
            (agent, client, made)
        };
        let sets = vec![(made, Worth::Proving, BTreeSet::new())];
        Self { agent, client, sets, whole: of_file_store, copy: None, done: Vec::new() }
    }

    fn find(&self, worth: Worth) -> Option<usize> {
        self.sets.iter().position(|set| set.1 == worth)
    }

    /// A set that is proven was alive at once where there was none before.
    fn proves(&mut self, set: usize, one: usize) {
        let first = self.find(Worth::Alive).is_none();
        let (made, worth, proven) = &mut self.sets[set];
        proven.insert(one);
        if first && *worth == Worth::Proving && proven.len() == made.words.len() {
            *worth = Worth::Alive;
            self.whole = false;
        }
    }

    async fn prove(&mut self, set: usize, one: usize) {
        let (made, worth, _) = &self.sets[set];
        let one = one % made.words.len();
        let shown = self.client.prove(&made.set.sha256, &made.words[one].1).await;
        match (worth, shown) {
            (Worth::Proving | Worth::Alive, Ok(_)) => self.proves(set, one),
            (Worth::Dead | Worth::Gone, Err(refused)) => assert_eq!(reason(&refused), "SHARE_INVALID"),
            (worth, shown) => panic!("{worth:?}: {shown:?}; {:#?}", self.done),
        }
    }

    async fn resplit(&mut self, large: bool) {
        let Some(alive) = self.find(Worth::Alive) else { return };
        let old = &self.sets[alive].0;
        let words: Vec<_> = old.words.iter().rev().map(|(_, words)| words.as_str()).collect();
        let (threshold, names): (_, &[&str]) = if large { (3, &OTHERS) } else { (2, &NAMES) };
        let made = self.client.resplit(&old.set.sha256, &words, threshold, names).await;
        match (self.find(Worth::Proving), made) {
            (None, Ok(made)) => self.sets.push((made, Worth::Proving, BTreeSet::new())),
            (Some(_), Err(refused)) => assert_eq!(reason(&refused), "NAME_TAKEN"),
            (waiting, made) => panic!("{waiting:?}: {:?}; {:#?}", made.err(), self.done),
        }
    }

    async fn commit(&mut self) {
        let newest = self.sets.len() - 1;
        let (made, worth, proven) = &self.sets[newest];
        let complete = proven.len() == made.words.len();
        let ended = self.client.end_resplit(&made.set.sha256, true).await;
        match (worth, ended) {
            (Worth::Alive, Ok(_)) => {}
            (Worth::Proving, Ok(_)) if complete => {
                if let Some(old) = self.find(Worth::Alive) {
                    self.sets[old].1 = Worth::Dead;
                }
                self.sets[newest].1 = Worth::Alive;
            }
            (Worth::Proving, Err(refused)) if !complete => assert_eq!(reason(&refused), "SHARE_UNPROVEN"),
            (Worth::Gone, Err(refused)) => assert_eq!(reason(&refused), "SHARE_INVALID"),
            (worth, ended) => panic!("{worth:?}: {ended:?}; {:#?}", self.done),
        }
    }

    /// Of the first set only what is whole elsewhere is given up, so that there is something to go on with.
    async fn abort(&mut self) {
        let newest = self.sets.len() - 1;
        if newest == 0 && !self.whole {
            return;
        }
        let (made, worth, _) = &self.sets[newest];
        let ended = self.client.end_resplit(&made.set.sha256, false).await;
        assert_eq!(ended.is_ok(), *worth == Worth::Proving, "{ended:?}; {:#?}", self.done);
        if *worth == Worth::Proving {
            self.sets[newest].1 = Worth::Gone;
        }
        if newest == 0 && ended.is_ok() {
            let made = split_whole(&self.client, false).await;
            self.sets.push((made, Worth::Proving, BTreeSet::new()));
        }
    }

    async fn mix(&self) {
        let (Some(alive), newest) = (self.find(Worth::Alive), self.sets.len() - 1) else { return };
        if alive == newest {
            return;
        }
        let (alive, other) = (&self.sets[alive].0, &self.sets[newest].0);
        let words = [alive.words[0].1.as_str(), other.words[1].1.as_str()];
        let refused = self.client.drill(&alive.set.sha256, &words).await.unwrap_err();
        assert_eq!(reason(&refused), "SHARE_INVALID", "{:#?}", self.done);
    }

    /// Some of its people bring the key together.
    async fn drill(&self) {
        let Some(alive) = self.find(Worth::Alive) else { return };
        let made = &self.sets[alive].0;
        let words: Vec<_> = made.words.iter().skip(1).map(|(_, words)| words.as_str()).collect();
        let report = self.client.drill(&made.set.sha256, &words).await;
        report.unwrap_or_else(|error| panic!("{error:?}; {:#?}", self.done));
    }

    async fn import(&self, set: usize) {
        let (made, worth, _) = &self.sets[set % self.sets.len()];
        let whole = self.find(Worth::Alive).is_none() && self.whole;
        let imported = import_set(&self.client, &made.set.manifest).await;
        let refused = imported.expect_err("none is newer than what is here");
        let expected: &[&str] = match worth {
            _ if whole => &["NAME_TAKEN", "DUPLICATE_KEY"],
            Worth::Proving if self.find(Worth::Alive).is_none() => &["SHARE_UNPROVEN"],
            Worth::Alive => &["DUPLICATE_KEY", "NAME_TAKEN"],
            _ => &["SHARE_INVALID", "SHARE_UNPROVEN"],
        };
        assert!(expected.contains(&reason(&refused).as_str()), "{worth:?}: {refused:?}; {:#?}", self.done);
    }

    async fn goes_on(&mut self, phase: &Phase) {
        self.done.push(format!("{phase:?}"));
        let newest = self.sets.len() - 1;
        match *phase {
            Phase::Prove(one) => self.prove(newest, one).await,
            Phase::ProveOlder(set, one) => self.prove(set % self.sets.len(), one).await,
            Phase::Resplit(large) => self.resplit(large).await,
            Phase::Commit => self.commit().await,
            Phase::Abort => self.abort().await,
            Phase::Mix => self.mix().await,
            Phase::Drill => self.drill().await,
            Phase::Copy => self.copy = Some(backup(&self.client).await),
            Phase::Restore => {
                if let Some(copy) = &self.copy {
                    restore(&self.client, copy).await;
                }
            }
            Phase::Import(set) => self.import(set).await,
            Phase::Kill => {
                self.agent.kill_and_start().await;
                self.client = self.agent.connect().await;
                if self.whole {
                    self.client.unlock("file", support::whole::PASSPHRASE).await.unwrap();
                }
            }
        }
        self.is_as_told().await;
    }

    /// What the agent lists, and what lies in the file store.
    async fn is_as_told(&self) {
        let listed = self.client.sets().await;
        for (made, worth, proven) in &self.sets {
            let set = listed.iter().find(|set| set.sha256 == made.set.sha256);
            let (state, confirmed) = set.map_or(("", 0), |set| (set.state.as_str(), set.confirmed.len()));
            let expected = match worth {
                Worth::Proving => ("proving", proven.len()),
                Worth::Alive => ("alive", proven.len()),
                // Sets that are dead are listed no more.
                Worth::Dead | Worth::Gone => (state, confirmed),
            };
            assert_eq!((state, confirmed), expected, "{:#?}", self.done);
            assert!(*worth != Worth::Dead || state != "alive", "{:#?}", self.done);
        }
        assert_eq!(key_file(&self.agent).exists(), self.whole, "{:#?}", self.done);
        assert!(self.whole || self.find(Worth::Alive).is_some() || self.sets.len() == 1, "{:#?}", self.done);
    }
}

#[test]
fn in_whatever_order_phases_come_the_sets_are_worth_what_they_say_and_no_key_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: 20, failure_persistence: None, ..Config::default() };
    let seed: u64 = std::env::var("TUFAGENT_SEED").map_or(1, |text| text.parse().expect("a number"));
    let seed = [seed.to_le_bytes(); 4].concat();
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let told = (any::<bool>(), phases());
    let run = |(of_file_store, phases): (bool, Vec<Phase>)| {
        runtime.block_on(async {
            let mut story = Story::begin(of_file_store).await;
            for phase in &phases {
                story.goes_on(phase).await;
            }
            story.drill().await;
        });
        Ok(())
    };
    runner.run(&told, run).unwrap();
}
