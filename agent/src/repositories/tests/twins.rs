//! Roles that say the same, each in a file of its own: none takes the place of another.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use policy::Reason;
use tuf::metadata::{Algorithms, MetaFile, Metadata};

use super::support::{House, delegating_to, pen, role, sign, snapshot, targets};
use crate::repositories::{Described, Repositories};

/// `one`, `two` and `three` say the same, and each has its own key.
struct Twins {
    house: House,
    top: Metadata,
    files: BTreeMap<&'static str, Metadata>,
}

impl Twins {
    async fn new() -> Self {
        let pens = [("one", 5), ("two", 6), ("three", 7)];
        let top = sign(&delegating_to(1, &pens), &[&pen(3)]);
        let house = House::published(&top).await;
        let same = targets(1, 80);
        let files: BTreeMap<_, _> = pens.map(|(name, number)| (name, sign(&same, &[&pen(number)]))).into();
        let shown: Vec<_> = pens.map(|(name, _)| (name, &files[name])).into();
        house.observe(true, &shown).await.unwrap();
        Self { house, top, files }
    }

    /// The agent starts anew.
    async fn anew(self) -> Self {
        let repositories = Repositories::open(Arc::clone(&self.house.ledger)).await.unwrap();
        Self { house: House { repositories, ..self.house }, ..self }
    }

    async fn misses(&self, name: &str) -> bool {
        let file = &self.files[name];
        let about = Described {
            role: role(name),
            version: file.version(),
            digest: file.digest(),
            file: Some(file.file_digest()),
        };
        self.house.repositories.misses(&*self.house.app().await, &about).await.unwrap()
    }

    /// Whether a snapshot may be signed that tells of each by digests of which the agent takes no note.
    async fn listed(&self) -> Result<(), Reason> {
        let entry = |file: &Metadata| MetaFile {
            version: file.version(),
            length: None,
            hashes: Some(Algorithms { sha256: false, sha512: true, other: Vec::new() }.of(file.bytes())),
        };
        let mut entries: Vec<_> = self.files.iter().map(|(name, file)| (*name, entry(file))).collect();
        entries.push(("targets", entry(&self.top)));
        let facts = self.house.facts("snapshot", &snapshot(1, &entries), &pen(4), &[]).await;
        facts.map(drop).map_err(|refusal| refusal.reason)
    }

    /// Where the file of a role lies.
    fn text_of(&self, name: &str) -> PathBuf {
        let texts = fs::read_dir(self.house.folder.path().join("metadata")).unwrap();
        let bytes = self.files[name].bytes();
        texts.map(|text| text.unwrap().path()).find(|text| fs::read(text).unwrap() == **bytes).unwrap()
    }
}

#[tokio::test]
async fn each_is_compared_with_its_own_file_and_one_that_is_lost_is_shown_again() {
    let mut twins = Twins::new().await;
    for _ in 0..2 {
        assert_eq!(twins.listed().await, Ok(()));
        for name in ["one", "two", "three"] {
            assert!(!twins.misses(name).await, "{name}");
        }
        twins = twins.anew().await;
    }
    for name in ["one", "two", "three"] {
        fs::remove_file(twins.text_of(name)).unwrap();
        twins = twins.anew().await;
        for other in ["one", "two", "three"] {
            assert_eq!(twins.misses(other).await, other == name, "{other} without {name}");
        }
        assert_eq!(twins.listed().await, Err(Reason::SnapshotInvalid));
        twins.house.observe(true, &[(name, &twins.files[name])]).await.unwrap();
        assert_eq!(twins.listed().await, Ok(()));
    }
}

#[tokio::test]
async fn a_watermark_that_still_reaches_its_threshold_is_not_taken_back() {
    let twins = Twins::new().await;
    for name in ["one", "two", "three"] {
        let app = twins.house.app().await;
        let refused = twins.house.repositories.look_at_reset(&app, &role(name)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Policy, "{name}");
    }
}

#[tokio::test]
async fn a_way_that_was_open_is_not_closed_because_another_role_says_the_same() {
    let top = sign(&delegating_to(1, &[("left", 5), ("right", 6), ("twin", 10)]), &[&pen(3)]);
    let left = sign(&delegating_to(1, &[("rel", 7)]), &[&pen(5)]);
    let right = sign(&delegating_to(1, &[("rel", 8)]), &[&pen(6)]);
    let same = targets(1, 80);
    let (both, twin) = (sign(&same, &[&pen(7), &pen(8)]), sign(&same, &[&pen(10)]));
    let house = House::published(&top).await;
    let files = [("left", &left), ("right", &right), ("rel", &both), ("twin", &twin)];
    house.observe(true, &files).await.unwrap();
    let next = sign(&targets(2, 80), &[&pen(7)]);
    let refused = house.observe(false, &[("rel", &next)]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ThresholdMissing);
}

#[tokio::test]
async fn their_files_stay_while_they_are_the_newest_and_come_into_a_backup() {
    let twins = Twins::new().await;
    let texts = twins.house.folder.path().join("metadata");
    let age = || {
        for text in fs::read_dir(&texts).unwrap() {
            let text = File::options().write(true).open(text.unwrap().path()).unwrap();
            text.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
        }
    };
    age();
    twins.house.ledger.prune_texts().await.unwrap();
    let kept = ["one", "two", "three"].map(|name| twins.text_of(name));
    let copy = twins.house.folder.path().join("copy.db");
    let noted = twins.house.ledger.snapshot(copy).await.unwrap().texts;
    let named = |text: &PathBuf| noted.iter().any(|digest| text.ends_with(format!("{digest}.json")));
    assert!(kept.iter().all(named), "{kept:?}");
    // What nobody says any more goes.
    let next = targets(2, 80);
    for (name, number) in [("one", 5), ("two", 6), ("three", 7)] {
        twins.house.observe(true, &[(name, &sign(&next, &[&pen(number)]))]).await.unwrap();
    }
    age();
    twins.house.ledger.prune_texts().await.unwrap();
    assert!(kept.iter().all(|text| !text.exists()), "{kept:?}");
}
