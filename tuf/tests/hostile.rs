//! Arbitrary bytes as metadata: an error, never a panic, whatever is then asked of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use proptest::prelude::*;
use tufagent_tuf as tuf;

use tuf::diff::difference;
use tuf::edit::Editor;
use tuf::lint::{self, lint};
use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, Version};
use tuf::time::UtcTime;
use tuf::trust::{Options, TrustedSet};
use tuf::verify::check_signatures;

const REPO: [(&str, &[u8]); 3] = [
    ("root", include_bytes!("vectors/repo/1.root.json")),
    ("timestamp", include_bytes!("vectors/repo/timestamp.json")),
    ("snapshot", include_bytes!("vectors/repo/1.snapshot.json")),
];
const TARGETS: &[u8] = include_bytes!("vectors/repo/1.targets.json");

/// Everything that is ever done with bytes that somebody sent.
fn use_it_all(bytes: &[u8]) {
    let limits = Limits::agent();
    let good = Metadata::parse(TARGETS, &limits).unwrap();
    let trusted = Metadata::parse(REPO[0].1, &limits).unwrap();
    for read in [Metadata::parse(bytes, &limits), Metadata::parse_signed_part(bytes, &limits)] {
        let Ok(metadata) = read else { continue };
        let _ = (metadata.digest(), metadata.canonical_signed(), metadata.with_signatures(&[]));
        let _ = metadata.preimage();
        for authority in [&trusted, &metadata] {
            if let Some(root) = authority.as_root() {
                for kind in RoleKind::ALL {
                    let _ = check_signatures(&metadata, &root.keys, root.role(kind)).met();
                }
                let _ = root.wrong_keyids();
            }
        }
        let role = metadata.kind().role();
        let shown = difference(&role, None, &metadata);
        let _ = (
            shown.is_empty(),
            difference(&role, Some(&metadata), &good),
            difference(&role, Some(&good), &metadata),
        );
        if let Some(targets) = metadata.as_targets() {
            let _ = targets.targets().count();
        }
        lint_it(&metadata);
        let mut edit = Editor::new(&metadata);
        edit.set_version(Version::new(7).unwrap());
        let _ = edit.remove_target("file.txt");
        if let Ok(edited) = edit.finish() {
            let read = Metadata::parse(edited, &limits);
            assert!(read.is_ok(), "what was edited can be read: {read:?}");
        }
    }
    if let Ok(mut set) = TrustedSet::from_root(bytes, &Options::new(None)) {
        let _ = set.update_root(bytes);
    }
    if let Ok(mut set) = TrustedSet::from_root(REPO[0].1, &Options::new(None)) {
        let _ = (set.update_root(bytes), set.update_timestamp(bytes), set.update_snapshot(bytes));
    }
}

/// Judged alone, and beside files that are as they should be.
fn lint_it(metadata: &Metadata) {
    let limits = Limits::agent();
    let file = |content: &Metadata| lint::File {
        role: content.kind().role(),
        name: format!("{}.json", content.kind().role()),
        content: content.clone(),
    };
    let [root, timestamp, snapshot] = REPO.map(|(_, bytes)| file(&Metadata::parse(bytes, &limits).unwrap()));
    let targets = file(&Metadata::parse(TARGETS, &limits).unwrap());
    let mut beside = lint::Repository {
        roots: vec![root],
        timestamp: Some(timestamp),
        snapshot: Some(snapshot),
        targets: [(targets.role.clone(), targets)].into(),
        ..Default::default()
    };
    let mut alone = lint::Repository::default();
    for repository in [&mut alone, &mut beside] {
        let file = file(metadata);
        match metadata.kind() {
            RoleKind::Root => repository.roots.push(file),
            RoleKind::Timestamp => repository.timestamp = Some(file),
            RoleKind::Snapshot => repository.snapshot = Some(file),
            RoleKind::Targets => drop(repository.targets.insert(file.role.clone(), file)),
        }
        for finding in lint(repository, UtcTime::from_unix(1_800_000_000)) {
            assert!(!finding.message.is_empty() && finding.message.len() < 20_000);
        }
    }
}

#[test]
fn the_corpus_is_refused_without_a_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hostile");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let read = Metadata::parse(bytes.as_slice(), &Limits::agent());
        assert!(read.is_err(), "{} is read", path.display());
        let why = read.unwrap_err().to_string();
        assert!(!why.is_empty() && why.len() < 1000, "{}: {why}", path.display());
        assert!(!why.chars().any(char::is_control), "{}: {why:?}", path.display());
        use_it_all(&bytes);
        files += 1;
    }
    assert!(files >= 25, "{files} files");
}

/// Bytes of a real file with a few changes: closer to what gets deep into the readers than noise is.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<&[u8]> = REPO.iter().map(|(_, bytes)| *bytes).chain([TARGETS]).collect();
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "null",
        "-1",
        "1e9",
        "0.5",
        "\\u0000",
        "\\ud800",
        "{}",
        "[]",
        "99999999999999999999",
    ];
    let change =
        (any::<prop::sample::Index>(), 0_usize..30, prop::sample::select(tokens.to_vec()), any::<u8>());
    (prop::sample::select(all), prop::collection::vec(change, 1..6)).prop_map(|(bytes, changes)| {
        let mut bytes = bytes.to_vec();
        for (at, length, token, byte) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            let end = (at + length % 12).min(bytes.len());
            let new = if length < 20 { token.as_bytes().to_vec() } else { vec![byte] };
            bytes.splice(at..end, new);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        use_it_all(&bytes);
    }

    #[test]
    fn damaged_metadata_is_never_a_panic(bytes in changed()) {
        use_it_all(&bytes);
    }
}
