//! Arbitrary bytes in the place of the ledger's files: refused and left as they are, or a ledger whose chain verifies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use support::intent;
use tempfile::tempdir;
use tufagent_ledger::Ledger;

type Files = BTreeMap<String, Vec<u8>>;

const NAMES: [&str; 4] = ["ledger.db", "ledger.db-wal", "ledger.db-shm", "journal.head"];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The files in a folder, without folders.
fn files(folder: &Path) -> Files {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// The files of a ledger that was not closed: part of it is in the log.
fn unclosed() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        run(async {
            let folder = tempdir().unwrap();
            let ledger = Ledger::open(folder.path()).unwrap();
            let new = support::adopted("app", 1, "root 1", "key");
            let app = ledger.register_repository(new).await.unwrap().id;
            for number in 1..5 {
                ledger.record_intent(intent(app, "targets", number, "x")).await.unwrap();
            }
            let found = files(folder.path());
            assert!(found["ledger.db-wal"].len() > 4096, "there is a log");
            found
        })
    })
}

fn open(given: &Files) {
    let folder = tempdir().unwrap();
    for (name, bytes) in given {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    match Ledger::open(folder.path()) {
        Err(error) => {
            assert!(!error.is_refusal() && !error.remedy().is_empty(), "{error}");
            let mut left = files(folder.path());
            let mut before = given.clone();
            // The index of the log is SQLite's own: it is made anew by whoever opens the log.
            left.remove("ledger.db-shm");
            before.remove("ledger.db-shm");
            // SQLite begins an empty log where there is none.
            if !before.contains_key("ledger.db-wal") && left.get("ledger.db-wal").is_some_and(Vec::is_empty) {
                left.remove("ledger.db-wal");
            }
            assert!(left == before, "{error}: {:?} are {:?}", lengths(&before), lengths(&left));
        }
        Ok(ledger) => run(async {
            assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
        }),
    }
}

fn lengths(files: &Files) -> Vec<(&str, usize)> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect()
}

#[test]
fn the_ledger_that_is_damaged_here_opens_while_it_is_whole() {
    open(unclosed());
    let folder = tempdir().unwrap();
    for (name, bytes) in unclosed() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    assert!(Ledger::open(folder.path()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_in_the_place_of_a_file_is_refused_or_harmless(
        name in prop::sample::select(NAMES.to_vec()),
        noise in prop::collection::vec(any::<u8>(), 0..5000),
        keep in 0_usize..200,
        alone in any::<bool>(),
    ) {
        let mut given = if alone { Files::new() } else { unclosed().clone() };
        // With the real beginning the noise gets past the magic numbers.
        let bytes = [unclosed().get(name).map_or(&[][..], |real| &real[..keep.min(real.len())]), &noise[..]].concat();
        given.insert(name.to_owned(), bytes);
        open(&given);
    }

    #[test]
    fn a_ledger_with_changed_bytes_is_refused_or_verifies(
        changes in prop::collection::vec(
            (prop::sample::select(NAMES.to_vec()), any::<prop::sample::Index>(), any::<u64>(), 0_usize..9), 1..6),
    ) {
        let mut given = unclosed().clone();
        for (name, at, new, length) in changes {
            let Some(bytes) = given.get_mut(name) else { continue };
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, new.to_be_bytes().into_iter().take(end - at));
        }
        open(&given);
    }

    #[test]
    fn a_ledger_that_is_cut_or_lacks_files_is_refused_or_verifies(
        cut in prop::sample::select(NAMES.to_vec()),
        at in any::<prop::sample::Index>(),
        missing in prop::sample::select(NAMES.to_vec()),
        remove in any::<bool>(),
    ) {
        let mut given = unclosed().clone();
        if let Some(bytes) = given.get_mut(cut) {
            bytes.truncate(at.index(bytes.len() + 1));
        }
        if remove {
            given.remove(missing);
        }
        open(&given);
    }
}
